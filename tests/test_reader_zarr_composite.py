"""Zarr of both versions, folder and zip, gives what the same NetCDF gives; nothing outside the
folder is read, no lost chunk becomes dry.
"""

import json
import os
import shutil

import numpy as np
import pytest
import xarray
import zarr

from nowcast.readers import zarr_arrays, zarr_files
from nowcast.readers.cf_netcdf import CfNetcdf
from nowcast.readers.zarr_composite import ZarrComposite
from nowcast.runtime.errors import UserError
from tests.factories import shared_data
from tests.factories_cf import LAEA_MAPPING, RATE, TIME, write_cf
from tests.factories_readers import first_real_file, from_settings_file

NAN = np.nan
VERSIONS = [2, 3]
pytestmark = pytest.mark.filterwarnings("ignore")


def write_zarr(path, raw, *, version=3, field=None, fill=None, chunks=None, minutes=None, **how):
    """A store of rain rates (T, H, W) on 1 km cells, made with zarr itself: only what is asked for
    is in it.
    """
    raw = np.asarray(raw)
    group = zarr.open_group(path, mode="w", zarr_format=version)
    arrays = {"x": (500.0 + 1000 * np.arange(raw.shape[2]), ["x"], {"standard_name": "projection_x_coordinate", "units": "m"}),
              "y": (-500.0 - 1000 * np.arange(raw.shape[1]), ["y"], {"standard_name": "projection_y_coordinate", "units": "m"}),
              "time": (5 * np.arange(len(raw)) if minutes is None else np.asarray(minutes), ["time"], TIME), "crs": (np.zeros(()), [], LAEA_MAPPING),
              "rain": (raw, ["time", "y", "x"], {name: value for name, value in {**RATE, **(field or {})}.items() if value is not None})}  # fmt: skip
    for name, (values, dims, attributes) in arrays.items():
        extra = dict(how, fill_value=fill, chunks=chunks or raw.shape) if name == "rain" else {}
        names = {"dimension_names": dims} if version == 3 else {}
        array = group.create_array(name, shape=values.shape, dtype=values.dtype, **names, **extra)
        array[...] = values
        array.attrs.update(attributes | ({"_ARRAY_DIMENSIONS": dims} if version == 2 else {}))
    return path


def zipped(folder):
    return shutil.make_archive(str(folder), "zip", folder)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_real_composite_copied_by_xarray_gives_the_frames_of_its_netcdf(tmp_path, version):
    path, expected = first_real_file("ukmo")
    with xarray.open_dataset(path, engine="netcdf4") as dataset:
        dataset.to_zarr(tmp_path / "a.zarr", zarr_format=version)
    original = CfNetcdf().read(path)
    for place in (tmp_path / "a.zarr", zipped(tmp_path / "a.zarr")):
        assert ZarrComposite().recognises(place)
        frames = ZarrComposite().read(place)
        np.testing.assert_array_equal(frames.values, original.values)
        assert np.isnan(frames.values).sum() == expected["missing_px"]
        assert frames.grid.difference(original.grid) is None and list(frames.times) == list(
            original.times
        )


@pytest.mark.parametrize("version", VERSIONS)
def test_three_real_frames_in_one_store_come_out_in_time_order(tmp_path, version):
    paths = sorted((shared_data() / "radar/ukmo/20181103").iterdir())
    with xarray.open_mfdataset(
        paths,
        engine="netcdf4",
        combine="nested",
        concat_dim="time",
        data_vars=["lwe_precipitation_rate"],
        coords="minimal",
        compat="override",
    ) as dataset:
        dataset.to_zarr(tmp_path / "a.zarr", zarr_format=version)
    frames = ZarrComposite().read(tmp_path / "a.zarr")
    assert [str(time) for time in frames.times] == [
        "2018-11-03T15:30:00",
        "2018-11-03T15:45:00",
        "2018-11-03T16:00:00",
    ]
    for place, path in enumerate(paths):
        np.testing.assert_array_equal(frames.values[place], CfNetcdf().read(path).values[0])


@pytest.mark.parametrize("version", VERSIONS)
def test_packed_values_with_a_fill_value_written_by_xarray_are_those_of_the_netcdf(
    tmp_path, version
):
    raw = np.int16([[[-1, 0, 25], [100, -1, 3]], [[0, 0, 0], [1, 2, 3]]])
    source = write_cf(
        tmp_path / "a.nc", raw, field={"scale_factor": 0.2, "_FillValue": np.int16(-1)}
    )
    with xarray.open_dataset(source, engine="netcdf4") as dataset:
        dataset.to_zarr(tmp_path / "a.zarr", zarr_format=version)
    frames = ZarrComposite().read(tmp_path / "a.zarr")
    np.testing.assert_allclose(frames.values[0], [[NAN, 0, 5], [20, NAN, 0.6]], rtol=1e-6)
    np.testing.assert_array_equal(frames.values, CfNetcdf().read(source).values)
    assert frames.quantity == "rain rate"


@pytest.mark.parametrize("version", VERSIONS)
def test_a_chunk_that_is_not_there_is_missing_where_the_fill_value_means_missing(tmp_path, version):
    path = write_zarr(
        tmp_path / "a.zarr", np.array([[[1.0, 2.0]]]), version=version, fill=NAN, chunks=(1, 1, 1)
    )
    os.remove(path / "rain" / ("0.0.1" if version == 2 else "c/0/0/1"))
    np.testing.assert_array_equal(ZarrComposite().read(path).values, [[[1, NAN]]])


def test_a_chunk_that_is_not_there_and_would_be_dry_is_refused_unless_the_settings_say_that_it_is(
    tmp_path,
):
    path = write_zarr(tmp_path / "a.zarr", np.array([[[0.0, 2.0]]]), fill=0.0, chunks=(1, 1, 1))
    assert not (
        path / "rain/c/0/0/0"
    ).exists()  # zarr leaves out chunks of nothing but the fill value
    with pytest.raises(
        UserError,
        match="the chunk rain/c/0/0/0 is not there and would read as 0.0; fetch the store again, "
        "or set reader.fill_is_dry=true",
    ):
        ZarrComposite().read(path)
    np.testing.assert_array_equal(ZarrComposite(fill_is_dry=True).read(path).values, [[[0, 2]]])


def test_a_chunk_that_is_not_there_and_would_be_rain_is_refused_whatever_the_settings(tmp_path):
    path = write_zarr(tmp_path / "a.zarr", np.array([[[7.0, 2.0]]]), fill=7.0, chunks=(1, 1, 1))
    for reader in (ZarrComposite(), ZarrComposite(fill_is_dry=True)):
        with pytest.raises(
            UserError, match="the chunk rain/c/0/0/0 is not there and would read as 7.0"
        ):
            reader.read(path)


def test_in_version_2_a_fill_value_of_0_could_be_dry_or_missing(tmp_path):
    path = write_zarr(tmp_path / "a.zarr", np.array([[[0.0, 2.0]]]), version=2, fill=0.0)
    with pytest.raises(
        UserError,
        match="rain has the fill value 0 and no _FillValue, so 0 could be dry or missing; set "
        "reader.fill_is_dry=true",
    ):
        ZarrComposite().read(path)
    np.testing.assert_array_equal(ZarrComposite(fill_is_dry=True).read(path).values, [[[0, 2]]])
    declared = write_zarr(
        tmp_path / "b.zarr",
        np.array([[[0.0, 2.0]]]),
        version=2,
        fill=0.0,
        field={"_FillValue": 0.0},
    )
    np.testing.assert_array_equal(ZarrComposite().read(declared).values, [[[NAN, 2]]])


def test_in_version_2_another_fill_value_means_missing_as_xarray_reads_it(tmp_path):
    path = write_zarr(tmp_path / "a.zarr", np.int16([[[-9, 2]]]), version=2, fill=-9)
    with xarray.open_zarr(path) as dataset:
        expected = dataset["rain"].values
    np.testing.assert_array_equal(expected, [[[NAN, 2]]])
    np.testing.assert_array_equal(ZarrComposite().read(path).values, expected)


def test_a_store_with_shards_is_read(tmp_path):
    values = np.arange(1.0, 33.0).reshape(2, 4, 4)
    path = write_zarr(tmp_path / "a.zarr", values, fill=NAN, chunks=(1, 2, 2), shards=(1, 4, 4))
    np.testing.assert_array_equal(ZarrComposite().read(path).values, values)


@pytest.mark.parametrize(
    "codec", [zarr.codecs.GzipCodec(), zarr.codecs.ZstdCodec(), zarr.codecs.BloscCodec()]
)
def test_the_usual_compressions_are_read(tmp_path, codec):
    path = write_zarr(tmp_path / "a.zarr", np.ones((1, 8, 8)), fill=NAN, compressors=codec)
    assert (ZarrComposite().read(path).values == 1).all()


def test_a_codec_that_is_not_known_here_is_refused(tmp_path, monkeypatch):
    path = write_zarr(tmp_path / "a.zarr", np.ones((1, 8, 8)), fill=NAN)
    monkeypatch.setattr(zarr_arrays, "_CODECS", {"bytes"})
    with pytest.raises(UserError, match="x has the codecs zstd; expected blosc, .*zstd"):
        ZarrComposite().read(path)


def test_a_codec_that_could_run_code_is_refused_and_does_not(tmp_path):
    path = write_zarr(tmp_path / "a.zarr", np.ones((1, 1, 1)), version=2, fill=NAN)
    metadata = json.loads((path / "rain/.zarray").read_text())
    for change in (
        {"filters": [{"id": "pickle", "protocol": 5}]},
        {"dtype": "|O", "filters": [{"id": "pickle", "protocol": 5}], "fill_value": None},
    ):
        (path / "rain/.zarray").write_text(json.dumps(metadata | change))
        (path / "rain/0.0.0").write_bytes(
            b"cos\nmkdir\n(S'" + str(tmp_path / "ran").encode() + b"'\ntR."
        )
        with pytest.raises(UserError, match="a.zarr.*pickle"):
            ZarrComposite().read(path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("what", ["rain", "rain/c/0/0/0", "rain/zarr.json", "zarr.json", "x/c/0"])
def test_a_link_out_of_the_folder_is_refused_and_one_inside_it_followed(tmp_path, what):
    path = write_zarr(tmp_path / "a.zarr", np.ones((1, 1, 1)), fill=NAN)
    (tmp_path / "b").mkdir()
    shutil.move(path / what, tmp_path / "b/moved")
    os.symlink(tmp_path / "b/moved", path / what)
    with pytest.raises(
        UserError, match="is a link that leads out of the folder, which is not followed"
    ):
        ZarrComposite().read(path)
    if what != "rain":  # else there would be two of it
        os.remove(path / what)
        shutil.move(tmp_path / "b/moved", path / "kept")
        os.symlink(path / "kept", path / what)
        assert ZarrComposite().read(path).values[0, 0, 0] == 1


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("s3://bucket/a.zarr", "no local zarr folder or zip file; remote stores are not read"),
        ("http://localhost/a.zarr", "remote stores are not read"),
        ("absent.zarr", "no local zarr"),
    ],
)
def test_what_is_not_here_is_refused(address, message):
    assert not ZarrComposite().recognises(address)
    with pytest.raises(UserError, match=message):
        ZarrComposite().read(address)


def test_other_folders_and_zip_files_are_refused(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/file").write_text("x")
    assert [
        ZarrComposite().recognises(path) for path in (tmp_path / "a", zipped(tmp_path / "a"))
    ] == [False, False]
    with pytest.raises(
        UserError, match="is a folder, but no zarr group .there is no zarr.json or .zgroup in it."
    ):
        ZarrComposite().read(tmp_path / "a")
    with pytest.raises(
        UserError,
        match="is a zip file, but no zarr group .there is no zarr.json or .zgroup at its root.",
    ):
        ZarrComposite().read(tmp_path / "a.zip")


def test_a_zip_file_that_claims_a_huge_chunk_is_refused_unread(tmp_path, monkeypatch):
    monkeypatch.setattr(zarr_files, "_MAX_MEMBER", 10)
    with pytest.raises(
        UserError,
        match="a.zip claims a file of [0-9]* bytes; more than 10 in one chunk are refused",
    ):
        ZarrComposite().read(zipped(write_zarr(tmp_path / "a", np.ones((1, 1, 1)), fill=NAN)))


def change_metadata(path, **changes):
    metadata = json.loads(path.read_text())
    path.write_text(json.dumps(metadata | changes))


def chunks_of(*sides):
    return {"name": "regular", "configuration": {"chunk_shape": sides}}


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [("rain", {"shape": [1, 2**20, 2**20]}, "rain has 1048576 values along [xy], but [xy] has "
                                            ".1,.; it contradicts itself"), ("rain", {"shape": [2**50, 1, 1]}, "along "
                                                                                                                                                                "time, "
                                                                                                                                                                "but "
                                                                                                                                                                "time "
                                                                                                                                                                "has "
                                                                                                                                                                ".1,."),
     ("rain", {"chunk_grid": chunks_of(1, 2**20, 2**20)}, "rain in chunks of 1x1048576x1048576 "
                                                          "claims 1x1x1 values in 1 chunks; more than "
                                                          "268435456 values or 65536 chunks at "
                                                          "once are refused"),
     ("x", {"shape": [2**30], "chunk_grid": chunks_of(2**30)}, "rain has 1 values along x, but x "
                                                               "has .1073741824,."), ("rain", {"shape": [-1, 1, 1]}, "a.zarr"),
     ("rain", {"shape": [0, 1, 1]}, "along time, but time has")],
)  # fmt: skip
def test_absurd_sizes_are_refused_unread(tmp_path, name, changes, message):
    path = write_zarr(tmp_path / "a.zarr", np.ones((1, 1, 1)), fill=NAN)
    change_metadata(path / name / "zarr.json", **changes)
    with pytest.raises(UserError, match=message):
        ZarrComposite().read(path)


def test_a_map_in_too_many_chunks_is_refused_unread(tmp_path, monkeypatch):
    monkeypatch.setattr(zarr_arrays, "_MAX_CHUNKS", 3)
    with pytest.raises(
        UserError,
        match="claims 1x2x2 values in 4 chunks; more than 268435456 values or 3 chunks at once",
    ):
        ZarrComposite().read(
            write_zarr(tmp_path / "a.zarr", np.ones((1, 2, 2)), fill=NAN, chunks=(1, 1, 1))
        )


@pytest.mark.parametrize("version", VERSIONS)
def test_a_blosc_chunk_without_its_last_byte_is_refused_although_blosc_unpacks_it(
    tmp_path, version
):
    codec = zarr.codecs.BloscCodec() if version == 3 else __import__("numcodecs").Blosc()
    path = write_zarr(
        tmp_path / "a.zarr",
        np.random.default_rng(1).gamma(1.0, 2.0, (1, 20, 30)),
        version=version,
        fill=NAN,
        compressors=codec,
    )
    chunk = path / "rain" / ("0.0.0" if version == 2 else "c/0/0/0")
    chunk.write_bytes(chunk.read_bytes()[:-1])
    with pytest.raises(
        UserError, match="the chunk rain/.*0 is cut short .blosc unpacks that without a word."
    ):
        ZarrComposite().read(path)


def test_names_for_another_number_of_axes_are_refused(tmp_path):
    path = write_zarr(tmp_path / "a.zarr", np.ones((1, 1, 1)), version=2, fill=NAN)
    (path / "rain/.zattrs").write_text(json.dumps({"_ARRAY_DIMENSIONS": ["y", "x"]}))
    with pytest.raises(
        UserError, match="rain has 3 axes, but names for 2; the store contradicts itself"
    ):
        ZarrComposite().read(path)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_file_cut_short_gives_the_frames_or_one_line(tmp_path, version):
    values = np.random.default_rng(1).gamma(1.0, 2.0, (2, 20, 30))
    path = write_zarr(tmp_path / "a.zarr", values, version=version, fill=NAN, chunks=(1, 20, 30))
    files, refused = [file for file in path.rglob("*") if file.is_file()], 0
    for file in files:
        content = file.read_bytes()
        for length in (0, 1, len(content) // 2, len(content) - 1):
            file.write_bytes(content[:length])
            ZarrComposite().recognises(path)
            try:
                np.testing.assert_array_equal(
                    ZarrComposite().read(path).values, values.astype("f4")
                )
            except UserError as error:
                assert "a.zarr" in str(error) and "\n" not in str(error)
                refused += 1
        file.write_bytes(content)
    assert refused > 2 * len(files)


@pytest.mark.parametrize("version", VERSIONS)
def test_wholly_missing_and_wholly_dry_frames_stay_what_they_are(tmp_path, version):
    path = write_zarr(
        tmp_path / "a.zarr",
        np.stack([np.full((2, 2), NAN), np.zeros((2, 2))]),
        version=version,
        fill=NAN,
        chunks=(1, 2, 2),
    )
    np.testing.assert_array_equal(
        ZarrComposite().read(path).values, [[[NAN, NAN], [NAN, NAN]], [[0, 0], [0, 0]]]
    )


def test_units_and_times_are_as_strict_as_in_netcdf(tmp_path):
    with pytest.raises(UserError, match="a.zarr: rain has the units ''; a rate such as"):
        ZarrComposite().read(
            write_zarr(tmp_path / "a.zarr", np.ones((1, 1, 1)), fill=NAN, field={"units": None})
        )
    with pytest.raises(
        UserError, match="b.zarr contains several frames of 2020-06-01T00:05:00 UTC"
    ):
        ZarrComposite().read(
            write_zarr(tmp_path / "b.zarr", np.ones((2, 1, 1)), fill=NAN, minutes=[5, 5])
        )
    depth = write_zarr(
        tmp_path / "c.zarr",
        np.ones((1, 1, 1)),
        fill=NAN,
        field={"standard_name": "rainfall_amount", "units": "mm"},
    )
    assert ZarrComposite(minutes=5).read(depth).values[0, 0, 0] == 12


def test_the_settings_file_has_the_defaults_and_wrong_settings_are_refused_at_once():
    assert from_settings_file("zarr_composite") == ZarrComposite()
    with pytest.raises(UserError, match="z_r_a is -1; a positive number is needed"):
        ZarrComposite(z_r_a=-1)
