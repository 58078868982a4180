"""Which of the fields of an ODIM_H5 file are its rain: by times, levels, and the settings."""

import h5py
import numpy as np
import pytest

from nowcast.readers.odim_hdf5 import OdimHdf5
from nowcast.runtime.errors import UserError
from tests.factories_odim import PIXEL, write_map

PLACE = {"projdef": "+proj=laea +lat_0=55 +lon_0=10", "xscale": PIXEL, "yscale": PIXEL} | {
    "UL_x": 0.0,
    "UL_y": 0.0,
}
INTERVAL = "enddate", "endtime", "startdate", "starttime"


def minutes(start, end):
    """The interval within 12 o'clock."""
    day = "20180824"
    stated = (day, f"12{end:02d}00", day, f"12{start:02d}00")
    return dict(zip(INTERVAL, stated))


def write(path, *stated, nominal="121000", kind="COMP"):
    """A file whose fields dataset1, dataset2, ... are 1, 2, ... mm/h with these attributes."""
    groups = {"what": {"object": kind, "date": "20180824", "time": nominal}, "where": PLACE}
    for number, what in enumerate(stated, start=1):
        groups[f"dataset{number}/what"] = {"quantity": "RATE"} | what
    write_map(path, np.full((2, 3), 1.0), groups)
    with h5py.File(path, "a") as file:
        for number in range(2, len(stated) + 1):
            file[f"dataset{number}/data1/data"] = np.full((2, 3), float(number))
    return path


def test_fields_of_two_intervals_are_two_frames_at_their_ends(tmp_path):
    path = write(tmp_path / "a.h5", minutes(5, 10), minutes(0, 5))
    frames = OdimHdf5().read(path)
    assert frames.values[:, 0, 0].tolist() == [2, 1]
    assert [str(time)[11:16] for time in frames.times] == ["12:05", "12:10"]
    assert frames.remarks == ("its 2 fields of RATE are frames of several times",)
    assert OdimHdf5(dataset="dataset2").read(path).values[:, 0, 0].tolist() == [2]


def test_fields_with_their_own_nominal_times_are_frames_at_these(tmp_path):
    times = [{"date": "20180824", "time": time} for time in ("120000", "121500")]
    frames = OdimHdf5().read(write(tmp_path / "a.h5", *times))
    assert frames.values[:, 1, 2].tolist() == [1, 2]
    assert [str(time)[11:16] for time in frames.times] == ["12:00", "12:15"]


def test_depths_of_two_intervals_with_one_end_are_refused_until_one_is_named(tmp_path):
    depth = {"quantity": "ACRR"}
    path = write(tmp_path / "a.h5", depth | minutes(0, 10), depth | minutes(5, 10))
    with pytest.raises(UserError, match="has 2 fields of ACRR .dataset1/data1, dataset2/data1., "):
        OdimHdf5().read(path)
    read = OdimHdf5(dataset="/dataset2/data1").read(path)
    assert read.values[0, 0, 0] == 24 and read.quantity == "rain depth in 5 min"  # 2 mm


def test_depths_of_intervals_of_different_lengths_are_no_frames_of_one_file(tmp_path):
    depth = {"quantity": "ACRR"}
    path = write(tmp_path / "a.h5", depth | minutes(0, 5), depth | minutes(0, 10))
    with pytest.raises(UserError, match="has fields of several grids, or depths of several interv"):
        OdimHdf5().read(path)


def test_levels_are_refused_until_one_is_named(tmp_path):
    heights = [{"product": "CAPPI", "prodpar": height} for height in (1000.0, 2000.0)]
    for kind, message in (("IMAGE", "which differ in level or time; with reader=odim_hdf5 set "
                           "reader.dataset to the one to read, e.g. dataset1/data1"),
                          ("CVOL", "is a volume with 2 levels of RATE; .* set reader.dataset")):  # fmt: skip
        path = write(tmp_path / "a.h5", *heights, kind=kind)
        with pytest.raises(UserError, match=message):
            OdimHdf5().read(path)
        assert OdimHdf5(dataset="dataset2").read(path).values.max() == 2
    with pytest.raises(UserError, match="has no field 'dataset3', as reader.dataset says; it has"):
        OdimHdf5(dataset="dataset3").read(path)


def test_the_later_of_two_intervals_after_the_nominal_time_is_a_forecast(tmp_path):
    path = write(tmp_path / "a.h5", minutes(0, 5), minutes(5, 10), nominal="120000")
    with pytest.raises(UserError, match="is a forecast, not an observation"):
        OdimHdf5().read(path)
    assert OdimHdf5(dataset="dataset1").read(path).values.max() == 1


def test_of_fields_that_nothing_tells_apart_the_first_is_read_with_a_remark(tmp_path):
    frames = OdimHdf5().read(write(tmp_path / "a.h5", {}, {}))
    assert frames.values.max() == 1
    assert frames.remarks == (
        "dataset1/data1 was read, although dataset1/data1, dataset2/data1 are all RATE",
    )


@pytest.mark.parametrize("spelled", ["RR", "RAIN", "rainrate"])
def test_a_quantity_that_a_service_spells_otherwise_is_what_the_setting_says(tmp_path, spelled):
    path = write(tmp_path / "a.h5", {"quantity": spelled}, {"quantity": "QIND"})
    with pytest.raises(UserError, match="; with reader=odim_hdf5 set reader.quantity to what it i"):
        OdimHdf5().read(path)
    frames = OdimHdf5(quantity="RATE").read(path)
    assert frames.values.max() == 1 and frames.remarks == (
        f"its quantity {spelled.upper()!r} was read as RATE, as reader.quantity says",
    )


def test_reflectivity_by_another_name_is_what_the_setting_says(tmp_path):
    for spelled in ("ZH", "DBZV"):
        path = write(tmp_path / "a.h5", {"quantity": spelled, "offset": 29.0})
        read = OdimHdf5(quantity="DBZH").read(path)
        assert read.values.max() == pytest.approx(2.73, abs=0.01)  # 30 dBZ


def test_two_unknown_quantities_need_a_dataset_and_what_odim_names_is_never_rain(tmp_path):
    path = write(tmp_path / "a.h5", {"quantity": "RR"}, {"quantity": "RR24"})
    with pytest.raises(UserError, match="to what it is, and reader.dataset to the one to read"):
        OdimHdf5(quantity="RATE").read(path)
    assert OdimHdf5(quantity="RATE", dataset="dataset2").read(path).values.max() == 2
    path = write(tmp_path / "b.h5", {"quantity": "VRADH"})
    with pytest.raises(UserError, match="of dataset1/data1 is 'VRADH'; expected RATE.$"):
        OdimHdf5(quantity="RATE").read(path)


def test_a_depth_that_begins_at_its_nominal_time_is_a_forecast_unless_the_setting_says_otherwise(
    tmp_path,
):
    depth = {"quantity": "ACRR"} | minutes(0, 5)
    path = write(tmp_path / "a.h5", depth, nominal="120000")
    with pytest.raises(UserError, match="start of what was observed, .*set reader.nominal=start"):
        OdimHdf5().read(path)
    frames = OdimHdf5(nominal="start").read(path)
    assert frames.values.max() == 12 and str(frames.times[0]) == "2018-08-24T12:05:00"
    # a later interval, or one that says that it was predicted, is a forecast whatever is set
    later = write(tmp_path / "b.h5", {"quantity": "ACRR"} | minutes(5, 10), nominal="120000")
    with h5py.File(path, "a") as file:
        file.require_group("how").attrs["simulated"] = "True"
    for one in (later, path):
        with pytest.raises(UserError, match="is a forecast, not an observation"):
            OdimHdf5(nominal="start").read(one)
    with pytest.raises(UserError, match="reader.nominal is 'end'; accepted are start, where acc"):
        OdimHdf5(nominal="end")
