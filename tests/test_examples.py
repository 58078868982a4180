from itertools import islice

import h5py
import numpy as np
import pytest

import nowcast
from nowcast.data import examples


def field(path):
    with h5py.File(path) as file:
        assert (
            dict(file.attrs)
            == dict(file["dataset1"].attrs)
            == dict(file["dataset1/data1/data"].attrs)
            == {}
        )
        return file["/dataset1/data1/data"][()]


def test_files_hold_rates_and_minus_9999_and_their_time_in_the_name(tmp_path):
    paths = examples.write_civil_protection_files(
        tmp_path / "new", frames=14, shape=(140, 120), seed=3
    )
    assert [path.name for path in (paths[0], paths[1], paths[-1])] == [
        "SRI_202611250000.h5",
        "SRI_202611250005.h5",
        "SRI_202611250105.h5",
    ]
    assert sorted((tmp_path / "new").iterdir()) == paths
    first, last = field(paths[0]), field(paths[-1])
    assert first.dtype == np.float32 and first.shape == (140, 120)
    assert np.array_equal(first == -9999, last == -9999) and 0.4 < (first == -9999).mean() < 0.6
    assert first[first != -9999].min() == 0 and last[last != -9999].min() == 0
    expected = np.round(next(examples.moving_rain(140, 120, seed=3)), 2)
    assert np.array_equal(first[first != -9999], expected[first != -9999])


def test_the_rain_has_cells_above_10_and_50_mm_per_hour():
    frames = np.stack(list(islice(examples.moving_rain(300, 260, seed=0), 6)))
    assert (frames >= 0.1).mean((1, 2)) == pytest.approx([0.2] * 6, abs=0.03)
    assert ((frames >= 10).mean((1, 2)) > 0.002).all() and (frames >= 50).sum() > 30
    assert frames.max() <= 100


def test_the_rain_moves_by_3_columns_and_a_row_and_a_half_a_frame_and_changes_on_its_way():
    """After five frames it lies 7 rows further down and 16 columns further right, there with a
    correlation of 0.98^5 = 0.90 of its logarithm.
    """
    first, *_, last = islice(examples.moving_rain(200, 180, seed=1), 6)
    wet = np.log10(np.maximum(first, 0.1)), np.log10(np.maximum(last, 0.1))
    moved = {
        shift: np.corrcoef(np.roll(wet[0], shift, (0, 1)).ravel(), wet[1].ravel())[0, 1]
        for shift in ((0, 0), (7, 16), (-7, -16))
    }
    assert 0.75 < moved[7, 16] < 0.95 and max(moved[0, 0], moved[-7, -16]) < 0.6


def test_the_command_tells_what_it_wrote(tmp_path, capsys):
    examples.main([str(tmp_path), "--frames", "2", "--rows", "30", "--columns", "20"])
    assert capsys.readouterr().out.startswith(
        f"wrote 2 files, {tmp_path}/SRI_202611250000.h5 to SRI_202611250005.h5, 0.0 MB"
    )
    assert field(tmp_path / "SRI_202611250005.h5").shape == (30, 20)


def test_numbers_below_1_are_one_line(tmp_path, capsys):
    with pytest.raises(
        ValueError,
        match="0 frames of 4 rows and 5 columns were asked for; at least one of each is needed",
    ):
        examples.write_civil_protection_files(tmp_path, frames=0, shape=(4, 5))
    with pytest.raises(SystemExit) as exit:
        examples.main([str(tmp_path), "--rows", "-1"])
    assert (
        exit.value.code == 2
        and capsys.readouterr().err
        == "python -m nowcast.data.examples: error: 144 frames of -1 rows and 1200 columns were "
        "asked for; at least one of each is needed.\n"
    )


def test_odim_files_are_read_as_the_rain_that_was_written_to_half_a_decibel(tmp_path):
    paths = examples.write_odim_files(tmp_path, frames=3, shape=(40, 60), seed=2)
    assert [path.name for path in paths] == [f"radar_2026112500{m}.h5" for m in ("00", "05", "10")]
    frames = nowcast.read(tmp_path)  # recognised without a word about the format
    assert frames.values.shape == (3, 40, 60)
    assert frames.quantity == "reflectivity, Z = 200 R^1.6"
    assert [str(time)[11:16] for time in frames.times] == ["00:00", "00:05", "00:10"]
    assert frames.grid.spacing == pytest.approx((1000.0, 1000.0))
    written = np.stack(list(islice(examples.moving_rain(40, 60, seed=2), 3)))
    observed = ~np.isnan(frames.values)
    assert observed[0, 20, 30] and not observed[0, 0, 0] and 0.6 < observed.mean() < 0.99
    wet = observed & (written > 0)
    assert np.array_equal(frames.values[observed] > 0, written[observed] > 0)
    # half of half a decibel is a factor of 10^(0.25 / 16) in the rain rate
    np.testing.assert_allclose(frames.values[wet], written[wet], rtol=10 ** (0.26 / 16) - 1)


def test_odim_files_lie_where_wradlib_sees_them(tmp_path):
    wradlib = pytest.importorskip("wradlib")
    (path,) = examples.write_odim_files(tmp_path, frames=1, shape=(40, 60))
    content = wradlib.io.read_opera_hdf5(str(path))
    assert content["where"]["xsize"] == 60 and content["where"]["ysize"] == 40
    assert content["where"]["LL_lon"] < 11 < content["where"]["UR_lon"]
    assert content["where"]["LL_lat"] < 47 < content["where"]["UR_lat"]


def test_the_command_writes_either_format_and_names_it(tmp_path, capsys):
    sizes = ["--frames", "2", "--rows", "30"]
    examples.main([str(tmp_path), "--format", "odim", *sizes])
    assert f"wrote 2 files, {tmp_path}/radar_202611250000.h5" in capsys.readouterr().out
    assert nowcast.read(tmp_path).values.shape == (2, 30, 160)
    with pytest.raises(SystemExit):
        examples.main([str(tmp_path), "--format", "punched-cards"])
    assert "civil_protection" in capsys.readouterr().err
