"""What is off by rounding is taken as what it was meant to be, in every reader; what is further off
is refused with both values.
"""

import json
from dataclasses import asdict, replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from factories import MemoryReader, grid, shared_data, times, write_archive, write_knmi, write_odim
from factories_cf import add_bounds, write_cf

from nowcast.baselines.persistence import Persistence
from nowcast.cli.config import compose, folder, plain
from nowcast.data import checking, inspection
from nowcast.data.archive import Archive
from nowcast.data.cadence import are_regular, on_time, regular_phase, usual_step
from nowcast.data.conversion import convert
from nowcast.data.inputs import read_frames
from nowcast.data.preparation import Preparation
from nowcast.data.reading import ReadingProcess
from nowcast.data.tolerant import Tolerant
from nowcast.data.windows import longest_run, window_starts
from nowcast.evaluation.external import ForecastFiles
from nowcast.forecasting import watch
from nowcast.forecasting.forecaster import Forecaster
from nowcast.forecasting.prediction import newest_frames
from nowcast.forecasting.replay import replay
from nowcast.models.base import Capabilities
from nowcast.output.contents import Contents
from nowcast.output.netcdf import write_forecast
from nowcast.readers.array_grid import ArrayGrid
from nowcast.readers.arrays import Arrays
from nowcast.readers.auto import Auto
from nowcast.readers.axes import straight_axis
from nowcast.readers.bom_rainfields import BomRainfields
from nowcast.readers.cf_netcdf import CfNetcdf
from nowcast.readers.decoding import Coding
from nowcast.readers.geotiff import GeoTiff
from nowcast.readers.intervals import interval_minutes
from nowcast.readers.knmi_hdf5 import KnmiHdf5
from nowcast.readers.odim_hdf5 import OdimHdf5
from nowcast.runtime.build import build
from nowcast.runtime.errors import UserError
from nowcast.types.frames import Forecast, Frames, Grid
from nowcast.types.task import Task
from nowcast.types.tolerance import DEFAULT, Tolerance, applied
from nowcast.types.transform import Identity

NAN = np.nan
EXACT = Tolerance(0, 0, 0, 0, 0)
NO_BAD_RATES = Tolerance(negative_rate=0, bad_share=0)
SECOND = np.timedelta64(1, "s")


def field(seed: int = 0, side: int = 40) -> np.ndarray:
    """A field of 1,600 pixels with rates that tenths and 32 bits tell exactly; one bad pixel is
    0.06 % of it.
    """
    return np.random.default_rng(seed).integers(0, 200, (side, side)).astype(np.float32) / 2


def test_right_rates_stay_as_they_are_to_the_bit():
    for seed in range(20):
        rates = field(seed)
        rates[np.random.default_rng(seed).random(rates.shape) < 0.2] = NAN
        tidy, discarded = DEFAULT.tidied(rates, "a")
        assert tidy is rates and discarded == 0


def test_a_little_below_zero_is_dry_a_few_bad_pixels_are_missing_and_the_rest_stays():
    for seed in range(50):
        generator = np.random.default_rng(seed)
        rates, expected = (np.stack([field(seed), field(seed + 1)]) for _ in range(2))
        places = [generator.choice(1600, 3, replace=False) for _ in range(2)]
        for number, chosen in enumerate(places):
            flat, wanted = rates[number].reshape(-1), expected[number].reshape(-1)
            flat[chosen[0]], wanted[chosen[0]] = -generator.uniform(1e-9, 0.05), 0.0
            if number:
                flat[chosen[1]], wanted[chosen[1]] = (
                    generator.choice([-0.0501, -9999.0, 5000.5, 32767.0, 9.97e36, np.inf, -np.inf]),
                    NAN,
                )
        tidy, discarded = DEFAULT.tidied(rates, "a")
        np.testing.assert_array_equal(tidy, expected)
        assert discarded.tolist() == [0, 1]


def test_more_than_the_accepted_share_is_refused_with_both_values_and_the_tolerance():
    rates = field()
    rates[0, :2] = -1.0, 6000.0
    with pytest.raises(
        UserError,
        match=r"a has rates that are negative or above 5000 mm/h \(from -1 to 6000\) in 2 of "
        r"1600 pixels, but tolerance.negative_rate=0.05 mm/h and tolerance.bad_share=0.001",
    ):
        DEFAULT.tidied(rates, "a")
    assert np.isnan(Tolerance(bad_share=0.0013).tidied(rates, "a")[0][0, :2]).all()
    assert Tolerance(negative_rate=1.0).tidied(rates, "a")[0][0, 0] == 0
    with pytest.raises(UserError, match="tolerance.bad_share=0 of the pixels"):
        EXACT.tidied(np.where(field() == 0, np.float32(-1e-5), field()), "a")


@pytest.mark.parametrize("mark", [-0.01, -0.05, -0.001, -2e-6])
def test_a_mark_a_little_below_zero_is_refused_by_its_number_and_rounding_never_is(mark):
    for seed in range(10):
        rates = field(seed)
        pixels = np.random.default_rng(seed).permutation(1600)
        rates.flat[pixels[:400]] = NAN  # 1,200 are observed: 12 of them may be a little below 0
        rates.flat[pixels[-12:]] = np.float32(mark)
        assert np.count_nonzero(DEFAULT.tidied(rates, "a")[0].flat[pixels[-12:]]) == 0
        rates.flat[pixels[-13:]] = np.float32(mark)
        with pytest.raises(
            UserError,
            match=f"a: 13 of 1200 observed pixels are {mark:g} mm/h: a mark for missing pixels[?]"
            ".*tolerance.negative_share=0.01",
        ):
            DEFAULT.tidied(np.stack([field(), rates]), "a")
        assert (Tolerance(negative_share=0.02).tidied(rates, "a")[0].flat[pixels[-13:]] == 0).all()
        rates.flat[pixels[-13]] = mark * 0.9
        with pytest.raises(UserError, match=f"13 of 1200 observed pixels are {mark:g} to "):
            Tolerance(negative_share=0.0).tidied(rates, "a")
        rates.flat[pixels[-800:]] = -np.float32(1e-6) * np.random.default_rng(seed).random(800)
        for tolerance in (DEFAULT, EXACT, Tolerance(negative_share=0.0)):
            assert (tolerance.tidied(rates, "a")[0].flat[pixels[-800:]] == 0).all()


def test_one_odd_pixel_is_accepted_of_a_hundred_and_none_of_fewer():
    for height, width, accepted in ((10, 10, True), (9, 11, False), (20, 30, True), (2, 3, False)):
        for value, expected in ((-12.0, NAN), (-0.01, 0.0)):
            rates = np.ones((height, width), np.float32)
            rates[1, 1] = value
            if accepted:
                np.testing.assert_array_equal(DEFAULT.tidied(rates, "a")[0][1, 1], expected)
                rates[0, 1] = value
                if value == -0.01 and height * width == 600:  # 6 are accepted
                    rates[:10, 0] = value
            with pytest.raises(UserError, match="tolerance.(bad|negative)_share"):
                DEFAULT.tidied(rates, "a")
            for strict in (EXACT, Tolerance(bad_share=0.0, negative_share=0.0)):
                with pytest.raises(UserError):
                    strict.tidied(rates, "a")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("negative_rate", -0.1),
        ("negative_share", 1.1),
        ("bad_share", 1.1),
        ("seconds", NAN),
        ("pixels", 0.5),
        ("corners", 1.5),
        ("seconds", "15"),
        ("pixels", True),
        ("seconds", np.inf),
    ],
)
def test_tolerances_that_cannot_be_are_refused(name, value):
    with pytest.raises(UserError, match=f"tolerance.{name} is .*; expected a number from 0 to"):
        Tolerance(**{name: value})


# in every reader


def written(tmp_path: Path, kind: str, rates: np.ndarray) -> tuple[object, Path]:
    """(a reader, a file of its format with these rates [mm/h], bad ones among them)."""
    height, width = rates.shape
    if kind == "odim":
        return OdimHdf5(), write_odim(
            tmp_path / "a.h5",
            rates.astype(np.float64),
            scaling={"nodata": -9999000.0, "undetect": -8888000.0},
        )
    if kind == "knmi":  # GEO = 0.005 PV - 20 mm in 5 min: -0.01 mm/h and -12 mm/h are numbers, too
        counts = np.round((np.clip(rates, -12, 600) / 12 + 20) / 0.005)
        return KnmiHdf5(), write_knmi(
            tmp_path / "a.h5",
            np.where(rates < 0, np.where(rates < -0.05, 3800, 4000), counts),
            calibration_formulas=b"GEO=0.005*PV-20.0",
        )
    if kind == "netcdf":
        return CfNetcdf(), write_cf(tmp_path / "a.nc", rates[None])
    if kind == "zarr":
        from test_reader_zarr_composite import ZarrComposite, write_zarr

        write_zarr(tmp_path / "a.zarr", rates[None])
        return ZarrComposite(), tmp_path / "a.zarr"
    if kind == "geotiff":
        import rasterio

        form = {
            "driver": "GTiff",
            "count": 1,
            "height": height,
            "width": width,
            "dtype": "float32",
            "crs": "EPSG:3035",
            "transform": rasterio.Affine(1000, 0, 0, 0, -1000, 0),
        }
        with rasterio.open(tmp_path / "202006010000.tif", "w", **form) as file:
            file.write(rates, 1)
        return GeoTiff(
            Coding("rain_rate", missing=()), time="%Y%m%d%H%M"
        ), tmp_path / "202006010000.tif"
    reader = Arrays(
        ArrayGrid("EPSG:3035", 0.0, 0.0, 1000.0, 1000.0),
        None if kind == "npy" else "rate",
        Coding("rain_rate"),
        time_in_name="%Y%m%d%H%M",
    )
    if kind == "npy":
        np.save(tmp_path / "202006010000.npy", rates)
    elif kind == "npz":
        np.savez(tmp_path / "202006010000.npz", rate=rates)
    else:
        with h5py.File(tmp_path / "202006010000.hdf5", "w") as file:
            file["rate"] = rates
    return reader, tmp_path / f"202006010000.{kind}"


KINDS = ("odim", "knmi", "netcdf", "zarr", "geotiff", "npy", "npz", "hdf5")


@pytest.mark.parametrize("kind", KINDS)
def test_every_reader_takes_rounding_for_dry_and_one_bad_pixel_for_missing_and_refuses_many(
    tmp_path, kind
):
    rates = field(side=40)
    rates[rates > 50] = 1.5
    rates[3, 4], rates[5, 6] = -0.01, -12.0
    reader, path = written(tmp_path, kind, rates)
    frames = Tolerant(reader).read(path)
    assert frames.values[0, 3, 4] == pytest.approx(0, abs=1e-5) and frames.values[0, 3, 4] >= 0
    assert (
        np.isnan(frames.values[0, 5, 6])
        and np.isnan(frames.values).sum() == 1
        and frames.discarded.tolist() == [1]
    )
    rest = (rates >= 0) & ~np.isnan(frames.values[0])
    np.testing.assert_allclose(
        frames.values[0][rest], rates[rest], atol=0.04 if kind == "knmi" else 0
    )
    np.testing.assert_array_equal(
        reader.read(path).values, frames.values
    )  # without a tolerance of its own the usual one holds
    with pytest.raises(
        UserError,
        match="rates that are negative .* in [12] of 1600 pixels, but tolerance.negative_rate=0 "
        "mm/h and tolerance.bad_share=0 of",
    ):
        Tolerant(reader, NO_BAD_RATES).read(path)
    (tmp_path / "many").mkdir()
    rates[:2] = -12.0
    reader, path = written(tmp_path / "many", kind, rates)
    with pytest.raises(
        UserError,
        match="rates that are negative or above 5000 mm/h .from -12.* to .* in 81 of 1600 pixels",
    ):
        Tolerant(reader).read(path)


def test_the_tolerance_goes_into_the_process_that_reads_and_the_count_comes_back(tmp_path):
    rates = field()
    rates[5, 6] = -12.0
    _, path = written(tmp_path, "odim", rates)
    with ReadingProcess(Tolerant(Auto())) as process:
        assert process.read(path).discarded.tolist() == [1]
    with (
        ReadingProcess(Tolerant(Auto(), NO_BAD_RATES)) as process,
        pytest.raises(UserError, match="tolerance.bad_share=0 of the pixels"),
    ):
        process.read(path)
    text = Contents(Auto()).read(path)
    assert (
        "discarded   1 pixels in 1 frames, negative or above 5000 mm/h in the file, are missing now"
        in text
    )


def test_counts_of_a_file_of_several_frames_belong_to_their_frames(tmp_path):
    rates = np.stack([field(seed) for seed in range(4)])
    rates[1, 0, 0] = rates[3, 1, 1] = -3.0
    frames = Tolerant(CfNetcdf()).read(
        write_cf(tmp_path / "a.nc", rates, minutes=[15, 5, 0, 10])
    )  # out of order
    assert frames.discarded.tolist() == [0, 1, 1, 0] and frames[1:2].discarded.tolist() == [1]
    assert read_frames(
        [tmp_path / "a.nc"], reader=Tolerant(CfNetcdf()), last=2
    ).discarded.tolist() == [1, 0]


def test_the_bom_file_with_three_packed_numbers_below_its_mark_is_read_but_for_three_pixels():
    path = shared_data() / "cases" / "C10_bom_negative" / "66_20201031_004000.prcp-c10.nc"
    frames = Tolerant(BomRainfields()).read(path)
    assert frames.discarded.tolist() == [3] and frames.values.shape == (1, 512, 512)
    with h5py.File(path) as file:
        stored = file["precipitation"][...].squeeze()
    assert np.isnan(frames.values).sum() == np.count_nonzero(stored < 0)


# recorded in the archive


def test_an_archive_records_tolerance_and_discarded_pixels_and_both_survive_more_frames(tmp_path):
    counts = [2, 0, 7, 0]
    frames = {
        f"{i}.h5": Frames(np.full((1, 2, 3), i), times(5 * i), grid(), discarded=[count])
        for i, count in enumerate(counts)
    }
    prepare = Preparation({"_target_": "tests.Memory"}, tolerance=Tolerance(seconds=20.0))
    names = sorted(frames)
    assert (
        convert(
            names[:2], tmp_path / "a.nc", reader=MemoryReader(frames), prepare=prepare
        ).discarded
        == 2
    )
    summary = convert(names[2:], tmp_path / "a.nc", reader=MemoryReader(frames), prepare=prepare)
    assert summary.discarded == 9 and str(summary).endswith(
        "9 pixels that cannot be rain made missing"
    )
    archive = Archive(tmp_path / "a.nc")
    assert (
        archive.discarded.tolist() == counts
        and archive.frames(2, 4).discarded.tolist() == [7, 0]
        and archive.tolerance == Tolerance(seconds=20.0)
    )
    assert archive.settings["tolerance"] == asdict(Tolerance(seconds=20.0))
    assert "discarded   9 pixels in 2 frames" in inspection.info(
        tmp_path / "a.nc"
    ) and "2020-06-01T00:10:00: 7 pixels" in checking.check(tmp_path / "a.nc")
    with pytest.raises(
        UserError,
        match=r"made with other settings: tolerance.seconds 20.0 against 15.0; give another",
    ):
        convert(
            names,
            tmp_path / "a.nc",
            reader=MemoryReader(frames),
            prepare=replace(prepare, tolerance=DEFAULT),
        )


def test_an_archive_without_a_bad_pixel_holds_nothing_more_and_one_of_an_older_nowcast_gets_frames(
    tmp_path,
):
    path = write_archive(tmp_path / "a.nc", np.ones((2, 2, 3)), [0, 5])
    with h5py.File(path, "r+") as file:
        assert "discarded_pixels" not in file
        settings = json.loads(file.attrs["settings"])
        del settings["tolerance"]
        file.attrs["settings"] = np.bytes_(json.dumps(settings, sort_keys=True).encode())
    assert Archive(path).tolerance == DEFAULT and Archive(path).discarded.tolist() == [0, 0]
    frames = {"2.h5": Frames(np.ones((1, 2, 3)), times(10), grid(), discarded=[4])}
    assert convert(["2.h5"], path, reader=MemoryReader(frames)).frames == 3
    assert Archive(path).tolerance == DEFAULT and Archive(path).discarded.tolist() == [0, 0, 4]


def test_a_dry_field_packed_with_an_offset_in_32_bits_is_dry_in_any_number_of_pixels(tmp_path):
    scales = [(np.float32(0.01), np.float32(offset)) for offset in (256.11, 256.36, 163.83, 20.01)]
    lowest = []
    for number, (scale, offset) in enumerate(scales):
        raw = np.full((1, 20, 20), -round(float(offset) / 0.01), np.int16)
        raw[0, 0] += 100
        packing = {"scale_factor": scale, "add_offset": offset}
        rate = {"standard_name": "rainfall_rate", "units": "mm h-1"}
        path = write_cf(tmp_path / f"{number}.nc", raw, field=rate | packing)
        values = CfNetcdf().read(path).values[0]
        assert values[0] == pytest.approx(1, abs=1e-4) and (abs(values[1:]) < 1e-4).all()
        lowest.append(float(raw[0, 1, 0]) * float(scale) + float(offset))
    assert min(lowest) < -3e-6  # more than the rounding of a rate near 0


def test_frames_are_added_to_an_archive_made_before_a_field_of_tolerance_was_there(tmp_path):
    path = write_archive(tmp_path / "a.nc", np.ones((2, 2, 3)), [0, 5])
    with h5py.File(path, "r+") as file:
        settings = json.loads(file.attrs["settings"])
        del settings["tolerance"]["negative_share"]
        file.attrs["settings"] = np.bytes_(json.dumps(settings, sort_keys=True).encode())
    frames = {"2.h5": Frames(np.ones((1, 2, 3)), times(10), grid())}
    with pytest.raises(UserError, match="tolerance.negative_share 0.01 against 0.5"):
        other = Preparation(settings["reader"], tolerance=Tolerance(negative_share=0.5))
        convert(["2.h5"], path, reader=MemoryReader(frames), prepare=other)
    assert convert(["2.h5"], path, reader=MemoryReader(frames)).frames == 3
    assert Archive(path).tolerance == DEFAULT


# times


def jittered(
    seed: int, count: int = 60, *, step: int = 300, most: int = 15, gaps: float = 0.1
) -> tuple[np.ndarray, np.ndarray]:
    """(times that are off by up to so many seconds, with gaps; which step each is meant for)."""
    generator = np.random.default_rng(seed)
    steps = np.flatnonzero(generator.random(count) >= gaps)
    return times(0)[0] + (
        steps * step + generator.integers(-most, most + 1, steps.size)
    ) * SECOND, steps


@pytest.mark.parametrize("step", [60, 120, 300, 600, 900])
def test_windows_of_frames_off_by_seconds_are_those_of_the_frames_on_time(step):
    task = Task(2, 3, step / 60)
    for seed in range(20):
        moments, steps = jittered(seed, step=step, most=min(15, step // 4))
        on = times(0)[0] + steps * step * SECOND
        assert (
            list(window_starts(moments, task))
            == list(window_starts(on, task, tolerance=EXACT))
            == list(window_starts(on, task))
        )
        assert longest_run(moments, task.timedelta) == longest_run(on, task.timedelta)
        assert usual_step(moments) == step * SECOND
        assert (
            list(on_time(moments, task.timedelta)) == list(on)
            or regular_phase(moments, task.timedelta) != 0 * SECOND
        )


def test_frames_three_seconds_late_belong_to_the_cadence_and_twenty_do_not():
    task, regular = Task(2, 2, 5), times(*range(0, 60, 5))
    for late, expected in (
        (3, 9),
        (15, 9),
        (29, 9),
        (31, 3),
    ):  # 30 s: one frame early by 15, the other late by 15
        moments = regular.copy()
        moments[5] += late * SECOND
        assert len(window_starts(moments, task)) == expected + 2 * (late > 30), late
    moments = regular.copy()
    moments[5] += 3 * SECOND
    assert (
        len(window_starts(moments, task, tolerance=EXACT)) == 5
        and len(window_starts(moments, task, tolerance=Tolerance(seconds=1))) == 5
    )
    assert not are_regular(
        times(0)[0] + np.arange(20) * 303 * SECOND, 300 * SECOND
    )  # seconds that add up are no jitter
    assert usual_step(times(0)[0] + np.arange(20) * 303 * SECOND) == 303 * SECOND


def persistence(context: int = 2) -> Forecaster:
    return Forecaster(Persistence(), Identity(), Task(context, 2, 5))


def late_frames(*seconds: int, values=1.0) -> Frames:
    return Frames(
        np.full((len(seconds), 2, 3), values),
        times(*range(0, 5 * len(seconds), 5)) + np.array(seconds) * SECOND,
        grid(),
    )


def test_a_forecast_is_made_from_frames_some_seconds_off_and_starts_at_the_newest():
    forecast = persistence(3)(late_frames(0, 3, 2))
    assert (
        str(forecast.analysis_time) == "2020-06-01T00:10:02"
        and str(forecast.valid_times[0]) == "2020-06-01T00:15:02"
    )
    with pytest.raises(
        UserError, match="needs 3 frames in a row every 5 minutes, but only the last 1 is"
    ):
        persistence(3)(late_frames(0, 0, 3), tolerance=EXACT)
    with pytest.raises(UserError, match="needs 3 frames in a row"):
        persistence(3)(late_frames(0, 0, 45))


def test_a_model_for_any_cadence_is_given_the_minutes_that_are_meant():
    class AnyCadence(Persistence):
        capabilities = Capabilities(needs_scale=True, any_scale=True)

        def forward(self, context, forecast_length, observed=None, scale=None):
            self.timestep = scale.timestep.tolist()
            return super().forward(context, forecast_length, observed, scale)

    forecaster = Forecaster(AnyCadence(), Identity(), Task(4, 2, 10))
    forecast = forecaster(late_frames(0, 4, 1, 3))
    # twenty minutes ahead, as its two steps of ten are
    assert forecaster.model.timestep == [5.0]
    assert list(np.diff(forecast.valid_times) / SECOND) == [300, 300, 300]
    assert forecaster.follow(late_frames(0, 4, 1, 3).times) and forecaster.task.timestep == 5


class AnyCadence(Persistence):
    capabilities = Capabilities(needs_scale=True, any_scale=True)

    def forward(self, context, forecast_length, observed=None, scale=None):
        self.timestep = scale.timestep.tolist()
        return super().forward(context, forecast_length, observed, scale)


@pytest.mark.parametrize("twin", [7, 15, -7])
@pytest.mark.parametrize("place", [-1, -2, -4])
@pytest.mark.parametrize("as_archive", [True, False])
def test_two_frames_of_one_time_give_the_forecast_of_the_one_that_is_nearer(
    tmp_path, twin, place, as_archive
):
    regular = times(*range(0, 40, 5))
    moments = np.sort(np.append(regular, regular[place] + twin * SECOND))
    values = np.full((9, 2, 3), 9.0)
    values[np.isin(moments, regular)] = np.arange(8)[:, None, None]
    frames = Frames(values, moments, grid())
    if as_archive:
        convert(["a"], tmp_path / "a", reader=MemoryReader({"a": frames}))
        given = tmp_path / "a"
    else:
        (tmp_path / "in").mkdir()
        for number in range(9):
            part = frames[number : number + 1]
            seconds = int((part.times[0] - times(0)[0]) / SECOND)
            write_cf(
                tmp_path / "in" / f"{number}.nc",
                part.values,
                time={"units": "seconds since 2020-06-01"},
                minutes=[seconds],
            )
        given = tmp_path / "in"
    for context_length in (2, 4):
        for model in (Persistence(), AnyCadence()):
            forecaster = Forecaster(model, Identity(), Task(context_length, 2, 5))
            found = newest_frames(given, context_length=context_length, reader=Auto(), outputs=[])
            assert list(found.times) == list(regular[-context_length:])
            for taken in (found, frames, frames[-context_length - 1 :]):
                forecast = forecaster(taken)
                assert forecast.analysis_time == regular[-1] and (forecast.values == 7).all()
                assert list(np.diff(forecast.valid_times) / SECOND) == [300]
    forecaster = Forecaster(AnyCadence(), Identity(), Task(4, 2, 10))
    assert forecaster.follow(moments) and forecaster.task.timestep == 5


def test_an_analysis_time_finds_the_frame_some_seconds_off(tmp_path):
    path = write_archive(tmp_path / "a.nc", np.ones((4, 2, 3)), [0, 5, 10, 15])
    frames = {"a": late_frames(2, 3, 4, 5)}
    convert(["a"], path, reader=MemoryReader(frames), replace=True)
    found = newest_frames(
        path, context_length=2, reader=Auto(), outputs=[], analysis_time="2020-06-01T00:10"
    )
    assert [str(time)[11:] for time in found.times] == ["00:05:03", "00:10:04"]
    with pytest.raises(UserError, match="has no frame at the analysis time 2020-06-01 00:10 UTC"):
        newest_frames(
            path,
            context_length=2,
            reader=Auto(),
            outputs=[],
            analysis_time="2020-06-01T00:10",
            tolerance=Tolerance(seconds=2.0),
        )


def test_info_and_check_see_no_gap_in_frames_some_seconds_off(tmp_path):
    convert(
        ["a"],
        tmp_path / "a.nc",
        reader=MemoryReader(
            {"a": late_frames(*np.random.default_rng(0).integers(0, 8, 30).tolist())}
        ),
    )
    text = checking.check(tmp_path / "a.nc")
    assert (
        "cadence     5 min (29 of 29 steps, off by up to 6 s)" in text
        and "gaps        0\n" in text
        and "0 frames beside the most common times" in text
    )
    assert "the longest gap-free run is 30 frames" in text


def test_a_replay_of_frames_some_seconds_off_has_every_cycle_at_its_time(tmp_path, monkeypatch):
    monkeypatch.setattr(watch, "can_extrapolate", lambda: False)  # pysteps takes seconds to load
    cycles = replay(late_frames(0, 3, 1, 4, 2, 0, 5), persistence(), tmp_path / "out", every=0)
    assert [(str(cycle.time)[11:], cycle.outcomes) for cycle in cycles] == [
        (f"00:{minute}:00", ("forecast",)) for minute in (10, 15, 20, 25, 30)
    ]


def test_forecast_files_are_judged_on_frames_some_seconds_off(tmp_path):
    convert(["a"], tmp_path / "a.nc", reader=MemoryReader({"a": late_frames(0, 3, 1, 4, 2)}))
    leads = np.array([302, 600, 899]) * SECOND
    write_forecast(
        Forecast(np.ones((3, 2, 3)), times(5)[0], leads, grid()), tmp_path / "f.nc", attributes={}
    )
    archive = Archive(tmp_path / "a.nc")
    source = ForecastFiles([tmp_path / "f.nc"], archive, CfNetcdf(), name="x", context_length=2)
    batch = source.batch([0], np.zeros(1, int))
    assert (
        source.task.timestep == 5
        and source.left_out == []
        and not np.isnan(batch.observation).any()
        and not np.isnan(batch.context).any()
    )
    with pytest.raises(
        UserError, match="has the lead times 5.03333, 10, 14.9833 ... minutes; steps of one length"
    ):
        ForecastFiles(
            [tmp_path / "f.nc"], archive, CfNetcdf(), name="x", context_length=2, tolerance=EXACT
        )


def test_intervals_some_seconds_off_are_the_whole_minutes_that_are_meant(tmp_path):
    assert [
        interval_minutes(minutes) for minutes in (5, 4 + 59 / 60, 5 + 14 / 60, 5.5, 2.5, 10, 0.5)
    ] == [5, 5, 5, 5.5, 2.5, 10, 0.5]
    changes = {
        "starttime": b"174500",
        "endtime": b"174959",
        "startdate": b"20180824",
        "enddate": b"20180824",
    }
    frames = OdimHdf5().read(
        write_odim(tmp_path / "a.h5", np.full((2, 3), 1.0), quantity="ACRR", **changes)
    )
    assert frames.quantity == "rain depth in 5 min" and (frames.values == 12).all()
    amount = {"standard_name": "rainfall_amount", "units": "kg m-2"}
    path = write_cf(
        tmp_path / "a.nc",
        np.ones((2, 2, 3), np.float32),
        field=amount,
        time={"units": "seconds since 2020-06-01"},
        minutes=[300, 600],
        more=lambda file: add_bounds(file, [[0, 300], [303, 600]]),
    )
    assert CfNetcdf().read(path).quantity == "rain depth in 5 min"
    with (
        applied(EXACT),
        pytest.raises(UserError, match="its time bounds are 4.95, 5 minutes apart"),
    ):
        CfNetcdf().read(path)


# grids


def test_coordinates_rounded_by_a_provider_are_a_grid_and_rows_that_bend_are_none():
    longitudes = np.round(
        5 + np.arange(300) / 120, 3
    )  # cells of 0.00833 degrees, in three decimals
    made = Grid("EPSG:4326", longitudes, [1, 0])
    assert (
        np.ptp(np.diff(made.x)) < 1e-12 and np.abs(made.x - 5 - np.arange(300) / 120).max() < 0.0001
    )
    even = 5 + np.arange(300) / 120
    assert Grid("EPSG:4326", even, [1, 0]).x.tobytes() == even.tobytes()
    shaken = even + np.resize([0, 0.2 / 120], 300)
    with applied(Tolerance(pixels=0.3)):
        kept = Grid("EPSG:4326", shaken, [1, 0])
    assert (
        kept.difference(Grid("EPSG:4326", kept.x, [1, 0])) is None
    )  # what was read once is a grid for everybody
    with pytest.raises(UserError, match="must be evenly spaced and ascending; its steps run from"):
        Grid("EPSG:4326", 5 + np.arange(300) / 120 + 0.003 * np.sin(np.arange(300)), [1, 0])
    two = np.broadcast_to(np.arange(5.0), (4, 5)).copy()
    two[2, 3] += 0.09
    assert straight_axis(two, "x", "a", of_columns=True).tolist() == [0, 1, 2, 3, 4]
    two[2, 3] += 0.02
    with pytest.raises(
        UserError,
        match="x do not form columns: they differ by up to 0.11 in one of them, 1 lie between "
        "two and tolerance.pixels=0.1 is accepted",
    ):
        straight_axis(two, "x", "a", of_columns=True)


def test_corners_of_a_file_may_be_off_by_the_tolerance(tmp_path):
    scale = 1000.0 * (1 + 0.4 / 40)  # 40 pixels are 400 m longer than the corners are apart
    path = write_odim(tmp_path / "a.h5", field(), xscale=scale)
    assert Tolerant(OdimHdf5()).read(path).grid.shape == (40, 40)
    with pytest.raises(
        UserError,
        match="the corners in where are 40000 apart in x, expected 40400 for xsize 40 and "
        "where/xscale 1010, give or take 0.3",
    ):
        Tolerant(OdimHdf5(), Tolerance(corners=0.3)).read(path)


# settings


@pytest.mark.parametrize("command", ["convert", "predict", "watch", "info", "evaluate_forecasts"])
def test_every_command_that_reads_files_takes_tolerances(command):
    settings = plain(
        compose(
            command,
            [
                "input=a",
                "output=b.nc",
                "forecasts=a",
                "observations=b",
                "tolerance.seconds=3",
                "tolerance.pixels=0.2",
            ][
                slice(
                    *(
                        (4, None)
                        if command == "info"
                        else (2, None)
                        if command == "evaluate_forecasts"
                        else (0, 2)
                    )
                )
            ]
            + (
                ["tolerance.seconds=3", "tolerance.pixels=0.2"]
                if command not in ("info", "evaluate_forecasts")
                else []
            ),
        )
    )
    assert build(settings["tolerance"]) == Tolerance(seconds=3.0, pixels=0.2)
    with pytest.raises(UserError, match="tolerance.second"):
        compose(command, ["tolerance.second=3"])


def test_the_settings_file_is_what_holds_where_nothing_is_said():
    import yaml

    assert build(yaml.safe_load((folder() / "tolerance" / "default.yaml").read_text())) == DEFAULT
