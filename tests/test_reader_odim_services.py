"""ODIM_H5 as services write it: real files with the values that were decoded independently, and
small files with the same structure, made from published attributes.
"""

import h5py
import numpy as np
import pytest

from nowcast.readers.auto import Auto
from nowcast.readers.odim_hdf5 import OdimHdf5
from nowcast.runtime.errors import UserError
from tests.factories_odim import corners_of, write_map
from tests.factories_readers import case, read_case

NAN = np.nan
CENTRES = "its corners are the centres of the corner pixels"
KILOMETRES = "its scales are in kilometres"


def outer(grid):
    """(left, right, bottom, top) of a map."""
    dy, dx = grid.spacing
    return grid.x[0] - dx / 2, grid.x[-1] + dx / 2, grid.y[-1] - dy / 2, grid.y[0] + dy / 2


# real files


def test_the_hourly_depths_of_meteoswiss_have_scales_in_kilometres_and_rough_corners():
    frames = read_case(
        "C01_meteoswiss_hdf5/CPC2335513304_00060.001.h5",
        time="2023-12-21T13:30",
        missing=105052,
        highest=2.4,
        mean=0.02632959,
        wet=0.07463618,
    )
    assert frames.quantity == "rain depth in 60 min" and frames.grid.shape == (640, 710)
    assert outer(frames.grid) == (2255000, 2965000, 840000, 1480000)


def test_the_rates_of_meteoswiss_have_corners_that_are_centres():
    frames = read_case(
        "C01_meteoswiss_hdf5/RFO_example_h5_grid.h5",
        time="2024-02-27T09:50",
        missing=101335,
        highest=13.43,
        mean=0.15355569,
        wet=0.14949089,
    )
    x, y = frames.grid.x[[0, -1]], frames.grid.y[[-1, 0]]
    np.testing.assert_allclose([*x, *y], [255500, 964500, -159500, 479500], atol=0.01)
    assert frames.remarks == (KILOMETRES, CENTRES)


def test_of_dwds_five_minutes_the_analysis_is_read_and_the_forecast_refused():
    folder = "C03_dwd_rv_forecast/composite_rv_20250923_0855"
    frames = read_case(
        f"{folder}_000-hd5",
        time="2025-09-23T08:55",
        missing=621995,
        highest=22.176,
        mean=0.041904849,
        wet=0.035991146,
    )
    assert frames.quantity == "rain depth in 5 min" and frames.remarks == ()
    with pytest.raises(
        UserError, match="is a forecast, not an observation: .*how/simulated is 'Tr"
    ):
        Auto().read(case(f"{folder}_050-hd5"))


def test_the_composite_of_chmi_is_read_and_its_forecast_refused():
    folder = "C06_chmi/T_PABV23_C_OKPR_20260726203000"
    frames = read_case(
        f"{folder}.hdf", time="2026-07-26T20:30", missing=1200, highest=8.6468, mean=None, wet=None
    )
    assert frames.grid.shape == (378, 598) and frames.grid.spacing == pytest.approx(
        (1555.7, 1555.7)
    )
    assert outer(frames.grid)[0] == pytest.approx(0, abs=0.1)
    with pytest.raises(
        UserError, match="is a forecast, not an observation: how/simulated is 'True"
    ):
        Auto().read(case(f"{folder}_ft20.hdf"))


def test_the_composite_of_dmi_has_corners_that_are_centres_and_one_that_is_wrong():
    frames = read_case(
        "C07_dmi/dk.com.202608131320.500_max.h5",
        time="2026-08-13T13:20",
        missing=518400,
        highest=143.089,
        mean=None,
        wet=None,
    )
    assert frames.grid.shape == (1728, 1984) and frames.grid.spacing == pytest.approx((500, 500))
    first = frames.grid.x[0], frames.grid.y[0]
    np.testing.assert_allclose(first, (-422114.8, 469381.0), atol=0.1)
    assert (
        frames.remarks[0] == CENTRES and "its LR_lon and LR_lat lie 29.9 pix" in frames.remarks[1]
    )


# look-alikes: small maps with the attributes that services publish

MARKS = {"gain": 0.5, "offset": -32.0, "nodata": 255.0, "undetect": 0.0}
DBZ = np.uint8([[255, 0, 110], [0, 64, 152]])  # missing, dry, 23 dBZ; dry, 0 dBZ, 44 dBZ
DBZ_RATES = [[NAN, 0, 0.99851], [0, 0.036460, 20.506]]
NOMINAL = {"object": "COMP", "date": "20240612", "time": "120000", "version": "H5rad 2.2"}
SPAN = {"startdate": "20240612", "starttime": "115500", "enddate": "20240612", "endtime": "120000"}
ODIM = {"Conventions": "ODIM_H5/V2_2"}
MM = np.float64([[NAN, 0.0, 1.5], [0.1, 0.0, 12.0]])
LAMBERT_2008 = (
    "+proj=lcc +lat_1=49.83333333333334 +lat_2=51.16666666666666 +lat_0=50.797815 "
    "+lon_0=4.359215833333333 +x_0=649328 +y_0=665262 +ellps=GRS80 +towgs84=0,0,0,0,0,0,0 "
    "+units=m +no_defs"
)
OPERA = "+proj=laea +lat_0=55.0 +lon_0=10.0 +x_0=1950000.0 +y_0=-2100000.0 +units=m +ellps=WGS84"
DWD = (
    "+proj=stere +lat_ts=60 +lat_0=90 +lon_0=10 +x_0=543196.83521776402 +y_0=3622588.8619310022 "
    "+units=m +a=6378137 +b=6356752.3142451802 +no_defs"
)
LV95 = (
    "+proj=somerc +lat_0=46.95240555555556 +lon_0=7.439583333333333 +k_0=1 +x_0=2600000 "
    "+y_0=1200000 +ellps=bessel +towgs84=674.374,15.056,405.346,0,0,0,0 +units=m +no_defs"
)
DMI = "+proj=stere +ellps=WGS84 +lat_0=56 +lon_0=10.5666 +lat_ts=56"
CHMI = (
    "+proj=merc +lat_ts=0 +lon_0=0 +k=1.0 +x_0=-1254222.15 +y_0=-6702777.85 +a=6378137.0 "
    "+b=6378137.0 +units=m +nadgrids=@null +wktext +no_defs"
)
SHMU = "+proj=merc +lon_0=18.7 +lat_0=0 +lon_ts=0 +lat_ts=48.43 +ellps=sphere"
KNMI = "+proj=stere +lat_0=90 +lon_0=0 +lat_ts=60 +a=6378.14 +b=6356.75 +x_0=0 +y_0=0"
RAVE = "+proj=stere +ellps=bessel +lat_0=90 +lon_0=14 +lat_ts=60 +datum=WGS84"
FMI = "+proj=stere +a=6371288 +lon_0=25 +lat_0=90 +lat_ts=60 +x_0=380886.310 +y_0=3395677.920"


def around(projdef, left, top, side, *, names="LL UL UR LR", inset=0.0, unit=1.0):
    """Corners of 2 x 3 pixels, and their scales in a unit of so many metres."""
    shift = {"left": left + inset, "top": top - inset}
    size = {"width": 3 * side - 2 * inset, "height": 2 * side - 2 * inset}
    corners = corners_of(projdef, **shift, **size, names=names)
    return corners | {"projdef": projdef, "xscale": side / unit, "yscale": side / unit}


SIZES = {"xsize": np.uint64(3), "ysize": np.uint64(2)}


def opera(quantity="RATE"):
    raw = np.where(np.isnan(MM), -9999000.0, np.where(MM == 0, -8888000.0, MM))
    marks = {"gain": 1.0, "offset": 0.0, "nodata": -9999000.0, "undetect": -8888000.0}
    span = SPAN | {"starttime": "115000", "endtime": "120500"}
    return raw, {
        "/": {"Conventions": "ODIM_H5/V2_0"},
        "what": NOMINAL | {"source": "ORG:247", "version": "H5rad 2.0"},
        "where": around(OPERA, 0, 0, 2000.0) | SIZES,
        "how": {"nodes": "NOD:eslid,NOD:chdol"},
        "dataset1/what": marks | span | {"product": "COMP", "quantity": quantity},
        "dataset2/what": marks | span | {"product": "COMP", "quantity": "QIND"},
    }


def rmi():
    place = around(LAMBERT_2008, 300_000, 1_000_000, 1000.0)
    scales = {"xscale": place.pop("xscale"), "yscale": place.pop("yscale")}
    return MM.astype("f4"), {
        "/": ODIM,
        "what": NOMINAL | {"object": "IMAGE"},
        "where": place | {"lat": 50.8, "lon": 4.36},
        "dataset1/what": SPAN | {"quantity": "RATE", "product": "SURF"},
        "dataset1/where": SIZES | scales | {"UL_x": 300_000.0, "UL_y": 1_000_000.0},
    }


def rmi_of_two_corners():
    return MM, {
        "what": NOMINAL,
        "where": around(LAMBERT_2008, 300_000, 1_000_000, 1000.0, names="LL UR") | SIZES,
        "dataset1/what": SPAN | {"quantity": "ACRR"},
    }


def dwd(*, simulated="False", end="120000", start="115500", **what):
    raw = np.where(np.isnan(MM), 2**32 - 1, np.where(MM == 0, 0, MM * 1000 + 1)).astype("u4")
    marks = {"gain": 0.001, "offset": -0.001, "nodata": 4294967295.0, "undetect": 0.0}
    return raw, {
        "/": {"Conventions": "ODIM_H5/V2_3"},
        "what": NOMINAL | {"source": "ORG:78,CTY:616,CMT:Deutscher Wetterdienst"},
        "where": around(DWD, -500, 500, 1000.0) | SIZES,
        "how": {"simulated": simulated, "software": "POLARA"},
        "how/POLARA": {"pattern": "RV"},
        "dataset1/what": SPAN | {"starttime": start, "endtime": end, "product": "MAX"} | what,
        "dataset1/where": {},
        "dataset1/how": {"simulated": simulated, "camethod": "DOMAIN"},
        "dataset1/data1/what": marks | {"quantity": "ACRR"},
    }


def dwd_hourly():
    return dwd(start="110000", prodname="RW_top_view")


def meteoswiss_depths():
    # degrees with four decimals
    where = around(LV95, 2_255_000, 1_480_000, 1000.0, unit=1000.0)
    degrees = {n: round(v, 4) for n, v in where.items() if n.endswith(("lon", "lat"))}
    marks = {"gain": 1.0, "offset": 0.0, "nodata": np.nan, "undetect": np.inf}
    return MM, {
        "/": {"Conventions": "ODIM_H5/V2_3"},
        "what": NOMINAL | {"source": "ORG:215, CTY:644, CMT:MeteoSwiss (Switzerland)"},
        "where": where | degrees | SIZES,
        "how/MeteoSwiss": {"time": "UNLIMITED", "PID": "CPC241641200"},
        "dataset1/what": SPAN | {"starttime": "110000", "prodname": "CHCPC_00060", "product": "RR"},
        "dataset1/data1/what": marks | {"quantity": "ACRR"},
    }


def meteoswiss_rates():
    marks = {"gain": 1.0, "offset": 0.0, "nodata": np.nan, "undetect": np.int64(0)}
    where = around(LV95, 2_255_000, 1_480_000, 1000.0, inset=500.0, unit=1000.0)
    return MM, {
        "/": {"Conventions": "ODIM_H5/V2_3"},
        "what": NOMINAL,
        "where": where | SIZES,
        "dataset1/what": SPAN | marks | {"prodname": "CHRZC", "product": "RR", "quantity": "RATE"},
    }


def dmi():
    where = around(DMI, -422_364.8, 469_631.0, 500.0, inset=250.0)
    where["LR_lat"] += 0.14
    return DBZ, {
        "/": {"Conventions": "ODIM_H5/V2_0"},
        "what": NOMINAL | MARKS | {"source": "DMI-RADARGROUP", "version": "H5rad 2.0"},
        "where": where,
        "how": {"zr-a": 200.0, "zr-b": 1.6},
        "dataset1/data1": {"quantity": "DBZH"},
    }


def chmi(**how):
    return DBZ, {
        "/": ODIM,
        "what": NOMINAL | {"source": "ORG:89"},
        "where": around(CHMI, 0, 0, 1555.7) | SIZES,
        "dataset1/what": SPAN | {"starttime": "120000", "product": "MAX"},
        "dataset1/data1/what": MARKS | {"quantity": "DBZH"},
        "how": how,
    }


def shmu(quantity="DBZH"):
    marks = MARKS if quantity == "DBZH" else {"gain": 0.1, "offset": 0.0, "nodata": -1.0}
    raw = DBZ if quantity == "DBZH" else np.where(np.isnan(MM), 65535, MM * 10).astype("u2")
    return raw, {
        "/": {"Conventions": "ODIM_H5/V2_2"},
        "what": NOMINAL | {"source": "WMO:11812,CMT:skcomp"},
        "where": around(SHMU, -375_000, 4_450_000, 330.0) | SIZES,
        "dataset1/what": SPAN | {"starttime": "110000", "quantity": quantity} | marks,
    }


def knmi():
    # the earth is in kilometres, and so are the scales
    return DBZ, {
        "/": {"Conventions": "ODIM_H5/V2_2"},
        "what": NOMINAL | {"source": "ORG:99,CTY:620"},
        "where": around(KNMI.replace("6378.14", "6378140").replace("6356.75", "6356750"), 0, -3_650_000, 1000.0, unit=1000.0) | SIZES | {"projdef": KNMI},
        "dataset1/what": SPAN | {"product": "PCAPPI", "prodpar": 1500.0},
        "dataset1/data1/what": MARKS | {"quantity": "TH"},
    }  # fmt: skip


def rave():
    marks = {"gain": 0.4, "offset": -30.0, "nodata": 255.0, "undetect": 0.0}
    raw = np.uint8([[255, 0, 132], [0, 75, 185]])  # 132 * 0.4 - 30 = 22.8 dBZ
    return raw, {
        "/": ODIM,
        "what": NOMINAL | {"source": "ORG:82,CMT:swegmaps_2000"},
        "where": around(RAVE, -740_000, -2_200_000, 2000.0)
        | {"xsize": np.int64(3), "ysize": np.int64(2)},
        "dataset1/what": SPAN | {"product": "PCAPPI", "prodpar": 1000.0},
        "dataset1/data1/what": marks | {"quantity": "DBZH"},
        "dataset1/data1/quality1/what": {"gain": 1.0, "offset": 0.0, "quantity": "RATE"},
        "dataset1/data1/quality1/how": {"task": "pl.imgw.radvolqc.spike"},
    }


def fmi():
    marks = {"gain": 0.01, "offset": 0.0, "nodata": 65535.0, "undetect": 0.0}
    raw = np.where(np.isnan(MM), 65535, np.rint(MM * 100)).astype("u2")
    return raw, {
        "/": {"Conventions": "ODIM_H5/V2_1"},
        "what": NOMINAL | {"source": "ORG:86,CTY:613,CMT:suomi1"},
        "where": around(FMI, 0, 0, 999.674053) | SIZES,
        "dataset1/what": SPAN | {"product": "SURF"},
        "dataset1/data1/what": marks | {"quantity": "RATE"},
    }


RR = MM.tolist()
RAVE_RATES = [[NAN, 0, 0.97017], [0, 0.036460, 20.5048]]
# what is made: (rates, left, top, side of a pixel, remarks)
SERVICES = {
    "OPERA": (opera, RR, 0, 0, 2000, ()),
    "RMI": (rmi, RR, 300_000, 1_000_000, 1000, ()),
    "RMI, two corners": (rmi_of_two_corners, (12 * MM).tolist(), 300_000, 1_000_000, 1000, ()),
    "DWD RV": (dwd, (12 * MM).tolist(), -500, 500, 1000, ()),
    "DWD RW": (dwd_hourly, RR, -500, 500, 1000, ()),
    "MeteoSwiss CPC": (meteoswiss_depths, RR, 2_255_000, 1_480_000, 1000, (KILOMETRES,)),
    "MeteoSwiss RZC": (meteoswiss_rates, RR, 2_255_000, 1_480_000, 1000, (KILOMETRES, CENTRES)),
    "CHMI": (chmi, DBZ_RATES, 0, 0, 1555.7, ()),
    "SHMU": (shmu, DBZ_RATES, -375_000, 4_450_000, 330, ()),
    "SHMU, hour": (lambda: shmu("ACRR"), RR, -375_000, 4_450_000, 330, ()),
    "KNMI": (knmi, DBZ_RATES, 0, -3_650_000, 1000, (KILOMETRES,)),
    "RAVE": (rave, RAVE_RATES, -740_000, -2_200_000, 2000, ()),
    "FMI": (fmi, RR, 0, 0, 999.674053, ()),
}


@pytest.mark.parametrize("service", SERVICES)
def test_a_map_of_a_service_has_its_rates_time_and_place(tmp_path, service):
    make, rates, left, top, side, remarks = SERVICES[service]
    path = write_map(tmp_path / "a.h5", *make())
    frames = Auto().read(path)
    np.testing.assert_allclose(frames.values, [rates], rtol=1e-4)
    assert frames.times[0] == np.datetime64("2024-06-12T12:00")
    x, y = left + side * (np.arange(3) + 0.5), top - side * (np.arange(2) + 0.5)
    rounded = 10.0 if "CPC" in service else 0.01  # metres
    np.testing.assert_allclose(frames.grid.x, x, atol=rounded)
    np.testing.assert_allclose(frames.grid.y, y, atol=rounded)
    assert frames.remarks[: len(remarks)] == remarks
    assert type(Auto().choose(path)) is OdimHdf5


def test_a_map_like_dmis_has_its_first_pixel_where_its_corner_is(tmp_path):
    raw, groups = dmi()
    frames = Auto().read(write_map(tmp_path / "a.h5", raw, groups))
    np.testing.assert_allclose(frames.values, [DBZ_RATES], rtol=1e-4)
    np.testing.assert_allclose(frames.grid.x, [-422_114.8, -421_614.8, -421_114.8], atol=0.01)
    np.testing.assert_allclose(frames.grid.y, [469_381.0, 468_881.0], atol=0.01)
    assert frames.remarks[0] == CENTRES and frames.remarks[1].startswith(
        "its LR_lon and LR_lat lie"
    )


@pytest.mark.parametrize(
    "groups",
    [
        dwd(simulated="True", start="124000", end="124500")[1],
        dwd(start="124000", end="124500")[1],
        chmi(simulated="True")[1],
        chmi(comment="Extrapolation forecast based on COTREC method")[1],
        opera()[1] | {"dataset1": {"simulated": "True"}},
        opera()[1] | {"dataset1/data1": {"simulated": np.int64(1)}},
        opera()[1] | {"dataset1/data1/data": {"simulated": "true"}},
        opera()[1] | {"/": {"Conventions": "ODIM_H5/V2_0", "simulated": True}},
        opera()[1] | {"dataset1/data1/how": {"simulated": "True"}},
        opera()[1] | {"dataset1/how/POLARA": {"lead_time": 20.0}},
    ],
)
def test_a_forecast_is_refused_wherever_and_however_it_is_said(tmp_path, groups):
    path = write_map(tmp_path / "a.h5", np.uint8([[1, 2, 3], [4, 5, 6]]), groups)
    with pytest.raises(UserError, match="is a forecast, not an observation"):
        Auto().read(path)


def test_heights_of_echoes_are_no_rain(tmp_path):
    raw, groups = shmu()
    groups["dataset1/what"] |= {"quantity": "HGHT"}
    with pytest.raises(UserError, match="is 'HGHT'; expected RATE, ACRR, DBZH, TH, DBZ"):
        Auto().read(write_map(tmp_path / "a.h5", raw, groups))


@pytest.mark.parametrize("make", [opera, rave, fmi])
def test_pysteps_reads_the_same_of_maps_in_the_standards_own_words(tmp_path, make):
    importers = pytest.importorskip("pysteps.io.importers")
    path = write_map(tmp_path / "a.h5", *make())
    quantity = "DBZH" if make is rave else "RATE"
    values, _, metadata = importers.import_odim_hdf5(str(path), qty=quantity)
    frames = Auto().read(path)
    expected = np.asarray(values, np.float64)
    if quantity == "DBZH":
        expected = np.where(expected <= -30, 0, (10 ** (expected / 10) / 200) ** (1 / 1.6))
    np.testing.assert_allclose(frames.values[0], expected, rtol=1e-4)
    corners = [metadata[name] for name in ("x1", "x2", "y1", "y2")]
    np.testing.assert_allclose(outer(frames.grid), corners, atol=0.01)


def test_a_file_without_conventions_is_known_by_its_version_or_its_projection(tmp_path):
    path = write_map(tmp_path / "a.h5", *opera())
    with h5py.File(path, "a") as file:
        del file.attrs["Conventions"], file["what"].attrs["object"]
    assert OdimHdf5().recognises(path)
    np.testing.assert_allclose(Auto().read(path).values, [RR])
    with h5py.File(path, "a") as file:
        del file["what"].attrs["version"]
    np.testing.assert_allclose(Auto().read(path).values, [RR])
    with h5py.File(path, "a") as file:
        del file["where"].attrs["projdef"]
    assert not OdimHdf5().recognises(path)
