"""RADOLAN's 12 bits, and the 8 bits of its reflectivities, become mm/h at the end of the interval,
north up, on DWD's polar stereographic grid.
"""

import bz2
import gzip

import numpy as np
import pyproj
import pytest

from nowcast.readers.radolan import Radolan
from nowcast.runtime.errors import UserError
from tests.factories_readers import (
    case,
    cut_everywhere,
    first_real_file,
    from_settings_file,
    read_and_compare,
    read_case,
)

NAN = np.nan
RADARS = "MS 69<boo,ros,emd,hnr,umd,pro,ess,fld,drs,neu,nhb,oft,eis,tur,isn,fbg,mem>"


def write_radolan(
    path,
    first_row=(),
    *,
    fill=0,
    shape=(900, 900),
    pack=bytes,
    product="RY",
    time="011500",
    date="0120",
    version=3,
    scale="PR E-02INT   5",
    size=None,
    rest=RADARS,
    bits=16,
    station="10000",
):
    """A composite of 2020-01-01 15:00 whose southernmost row begins with the numbers given;
    elsewhere it is ``fill``.
    """
    numbers = np.full(shape, fill, f"<u{bits // 8}")
    numbers[0, : len(first_row)] = first_row
    head = (
        f"{product}{time}{station}{date}BY{{}}VS{version:2d}SW   "
        f"2.21.0{scale}GP{shape[0]:4d}x{shape[1]:4d}{rest}"
    )
    length = size or len(head.format("1234567")) + 1 + numbers.nbytes
    path.write_bytes(pack(head.format(f"{length:7d}").encode() + b"\x03" + numbers.tobytes()))
    return path


@pytest.mark.parametrize(
    "name, quantity",
    [
        ("dwd_yw", "rain depth in 5 min"),
        ("dwd_ry", "rain depth in 5 min"),
        ("dwd_rw", "rain depth in 60 min"),
    ],
)
def test_a_real_file_has_the_pixels_that_were_decoded_independently(name, quantity):
    assert read_and_compare(Radolan(), name).quantity == quantity


@pytest.mark.parametrize("name", ["dwd_yw", "dwd_ry", "dwd_rw"])
def test_a_real_file_is_pixel_for_pixel_what_wradlib_reads(name):
    composite = pytest.importorskip("wradlib.io").read_radolan_composite
    path, _ = first_real_file(name)
    depth, about = composite(str(path), missing=-1)
    expected = np.where(depth == -1, NAN, depth * 3600 / about["intervalseconds"])[::-1]
    frames = Radolan().read(path)
    np.testing.assert_allclose(frames.values[0], expected, rtol=1e-6)
    assert frames.times[0] == np.datetime64(about["datetime"], "s")


@pytest.mark.parametrize("shape", [(900, 900), (1100, 900), (1200, 1100), (1500, 1400)])
@pytest.mark.parametrize("version, earth", [(3, "dwd-radolan-sphere"), (5, "dwd-radolan-wgs84")])
def test_cell_centres_are_those_of_wradlib(tmp_path, shape, version, earth):
    georef = pytest.importorskip("wradlib.georef")
    crs = georef.create_crs(earth)
    expected = georef.get_radolan_grid(*shape, mode="center", crs=crs)
    grid = Radolan().read(write_radolan(tmp_path / "a", shape=shape, version=version)).grid
    to_ours = pyproj.Transformer.from_crs(crs, grid.crs, always_xy=True)
    for row, column in ((0, 0), (0, shape[1] - 1), (shape[0] - 1, 0), (shape[0] - 1, shape[1] - 1)):
        theirs = to_ours.transform(*expected[row, column])
        np.testing.assert_allclose([grid.x[column], grid.y[shape[0] - 1 - row]], theirs, atol=0.5)


def test_the_outer_corners_of_the_national_grid_are_those_dwd_states(tmp_path):
    grid = Radolan().read(write_radolan(tmp_path / "a")).grid
    to_degrees = pyproj.Proj(grid.crs)
    corners = [
        to_degrees(x, y, inverse=True)
        for y in (grid.y[-1] - 500, grid.y[0] + 500)
        for x in (grid.x[0] - 500, grid.x[-1] + 500)
    ]
    np.testing.assert_allclose(
        corners,
        [(3.5889, 46.9526), (14.6209, 47.0705), (2.0715, 54.5877), (15.7208, 54.7405)],
        atol=1e-4,
    )


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress])
def test_hundredths_of_mm_in_5_minutes_become_mm_per_hour_and_only_no_data_and_negative_are_missing(
    tmp_path, pack
):
    row = [0, 1, 80 | 0x1000, 80 | 0x8000, 0x8000, 2500 | 0x2000, 7 | 0x4000, 4095]
    frames = Radolan().read(write_radolan(tmp_path / "a", row, pack=pack))
    np.testing.assert_allclose(
        frames.values[0, -1, :8], [0, 0.12, 9.6, 9.6, 0, NAN, NAN, 491.4], rtol=1e-6
    )
    assert (
        frames.times[0] == np.datetime64("2020-01-01T15:00")
        and frames.quantity == "rain depth in 5 min"
    )
    assert (frames.values[0, 0] == 0).all()


@pytest.mark.parametrize(
    "scale, expected, quantity",
    [
        ("PR E-01INT  60", 1.0, "rain depth in 60 min"),
        ("PR E-02INT   5U0", 1.2, "rain depth in 5 min"),
        ("PR E-01INT1440", 1 / 24, "rain depth in 1440 min"),
        ("PR E-01INT   2U1", 1 / 48, "rain depth in 2880 min"),
        ("PR E+00INT  60", 10.0, "rain depth in 60 min"),
    ],
)
def test_precision_and_interval_are_those_of_the_header(tmp_path, scale, expected, quantity):
    frames = Radolan().read(write_radolan(tmp_path / "a", [10], scale=scale, product="RW"))
    assert frames.values[0, -1, 0] == pytest.approx(expected) and frames.quantity == quantity


@pytest.mark.parametrize(
    "rest", ["MF 00000000VR2017.002MS 69<boo>", "", RADARS, "VV 000MF 00000002QN 001" + RADARS]
)
def test_headers_of_other_years_are_read(tmp_path, rest):
    assert Radolan().read(write_radolan(tmp_path / "a", [10], rest=rest)).values[
        0, -1, 0
    ] == pytest.approx(1.2)


REFLECTIVITY = {"scale": "PR E+00INT   5", "bits": 8}


@pytest.mark.parametrize(
    "name, shape, missing, highest, mean, wet",
    [
        ("rx", (900, 900), 176545, 123.910, 0.69753889, 0.21966201),
        ("wx", (1100, 900), 318980, 123.910, 0.70284928, 0.21188042),
    ],
)
def test_real_reflectivities_have_the_pixels_that_were_decoded_independently(
    name, shape, missing, highest, mean, wet
):
    frames = read_case(
        f"C09_radolan_reflectivity/raa01-{name}_10000-1408102050-dwd---bin.gz",
        time="2014-08-10T20:50",
        missing=missing,
        highest=highest,
        mean=mean,
        wet=wet,
    )
    assert frames.grid.shape == shape and frames.quantity == "reflectivity, Z = 200 R^1.6"


@pytest.mark.parametrize("product, shape", [("RX", (900, 900)), ("EX", (1500, 1400))])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_half_dbz_of_8_bits_become_mm_per_hour_with_0_dry_and_clutter_and_no_data_missing(
    tmp_path, product, shape, pack
):
    row = [0, 111, 151, 249, 250, 255]  # 111: 23 dBZ, 151: 43 dBZ
    path = write_radolan(
        tmp_path / "a", row, product=product, shape=shape, pack=pack, **REFLECTIVITY
    )
    frames = Radolan().read(path)
    rates = [(10**2.3 / 200) ** (1 / 1.6), (10**4.3 / 200) ** (1 / 1.6)]
    np.testing.assert_allclose(frames.values[0, -1, :6], [0, *rates, NAN, NAN, NAN], rtol=1e-6)
    assert frames.times[0] == np.datetime64("2020-01-01T15:00")
    other = Radolan(z_r_a=300, z_r_b=1.4).read(path)
    assert other.values[0, -1, 1] == pytest.approx((10**2.3 / 300) ** (1 / 1.4))


@pytest.mark.parametrize("name", ["rx", "wx"])
def test_real_reflectivities_are_pixel_for_pixel_what_wradlib_reads(name):
    composite = pytest.importorskip("wradlib.io").read_radolan_composite
    path = case(f"C09_radolan_reflectivity/raa01-{name}_10000-1408102050-dwd---bin.gz")
    numbers, _ = composite(str(path), missing=255)
    dbz = np.where(numbers >= 249, NAN, numbers / 2 - 32.5)
    rates = np.where(numbers == 0, 0, (10 ** (dbz / 10) / 200) ** (1 / 1.6))
    np.testing.assert_allclose(Radolan().read(path).values[0], rates[::-1], rtol=1e-6)


def test_the_analysis_of_the_product_of_reflectivities_and_their_forecasts_is_read(tmp_path):
    row = [0, 1110, 1110 | 0x1000, 2490 | 0x8000, 2500 | 0x2000, 2490, 7 | 0x4000]  # 1110: 23 dBZ
    changes = {"product": "WN", "shape": (1200, 1100), "scale": "PR E-01INT   5", "version": 5}
    frames = Radolan().read(
        write_radolan(tmp_path / "a", row, rest="VV 000MF 00000001MS 5<boo>", **changes)
    )
    rate = (10**2.3 / 200) ** (1 / 1.6)
    expected = [0, rate, rate, NAN, NAN, NAN, NAN]
    np.testing.assert_allclose(frames.values[0, -1, :7], expected, rtol=1e-6)
    with pytest.raises(UserError, match="VV in its header is 005 minutes, expected 000"):
        Radolan().read(
            write_radolan(tmp_path / "b", row, rest="VV 005MF 00000001MS 5<boo>", **changes)
        )


def test_classes_in_the_older_header_are_recognised_and_refused(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(
        b"PG262115100000814BY22205LV 6  1.0 19.0 28.0 37.0 46.0 55.0CS0\x03" + bytes(9)
    )
    assert Radolan().recognises(path)
    with pytest.raises(UserError, match="contains the product 'PG', reflectivities in a few clas"):
        Radolan().read(path)


def test_all_dry_and_all_missing_are_told_apart(tmp_path):
    assert (Radolan().read(write_radolan(tmp_path / "a")).values == 0).all()
    assert np.isnan(Radolan().read(write_radolan(tmp_path / "a", fill=2500 | 0x2000)).values).all()


@pytest.mark.parametrize(
    "changes, message",
    [
        (
            {"product": "RK"},
            "contains the product 'RK'; rain depths .RY, RZ.* and reflectivities .RX, EX, WX, WN.",
        ),
        ({"product": "RE"}, "contains the product 'RE', the share of solid precipitation; rain"),
        ({"product": "HG"}, "contains the product 'HG', kinds of precipitation; rain depths"),
        (
            {"product": "DX", "station": "10908"},
            "is of the single radar 10908 .product 'DX', such as DX in polar coordinates., expected "
            "a composite; make a grid of it with wradlib",
        ),
        (
            {"product": "RX", "scale": "PR E-01INT   5", "bits": 8},
            "has the precision E-01; reflectivities of 8 bits have E.00",
        ),
        (
            {"product": "RX", "scale": "PR E+00INT   5"},
            "BY in its header is 1620141 bytes, expected 810141 for 900x ?900 8-bit numbers",
        ),
        ({"product": "WN", "rest": RADARS}, "is a forecast, not an observation: its product is"),
        (
            {"rest": "VV 015" + RADARS},
            "is a forecast, not an observation: VV in its header is 015 minutes, expected 000",
        ),
        (
            {"size": 810133},
            "BY in its header is 810133 bytes, expected 1620141 for 900x ?900 16-bit numbers",
        ),
        (
            {"shape": (1, 1)},
            "has 1x1 pixels, a grid whose place is not known here; accepted are 900x900, 1100x900",
        ),
        ({"shape": (900, 1100)}, "has 900x1100 pixels, a grid whose place is not known here"),
        ({"time": "321500"}, "has the time 32.01.20 15:00 in its header, which does not exist"),
        ({"time": "012500"}, "has the time 01.01.20 25:00 in its header"),
        ({"scale": "PR E+05INT   5"}, "has the precision E.05; E-03 to E.00 mm are accepted"),
        (
            {"scale": "PR E-02INT   0"},
            "INT in its header is 0 of unit 0, expected 1 minute to 366 days",
        ),
        (
            {"scale": "PR E-02INT   5U7"},
            "the unit of INT in its header is U7, expected U0 .minutes. or U1",
        ),
        ({"scale": "INT   5"}, "has the header 'RY011500100000120BY"),
        ({"rest": "\xff" * 5000}, "has no end of a RADOLAN header"),
        (
            {"first_row": [4095] * 900, "scale": "PR E+00INT   5"},
            "rates that are negative or above 5000 mm/h",
        ),
    ],
)
def test_a_file_that_says_something_else_is_refused_by_name(tmp_path, changes, message):
    with pytest.raises(UserError, match=f"a.bin.*{message}"):
        Radolan().read(write_radolan(tmp_path / "a.bin", **changes))


def test_a_declared_size_beyond_measure_is_refused_unread(tmp_path):
    (tmp_path / "a.bin").write_bytes(
        b"RY011500100000120BY2000000VS 3SW   2.21.0PR E-02INT   5GP999999999x999999999\x03"
    )
    with pytest.raises(
        UserError,
        match="BY in its header is 2000000 bytes, expected 1999999996000000079 for "
        "999999999x999999999",
    ):
        Radolan().read(tmp_path / "a.bin")


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_file_cut_anywhere_is_refused(tmp_path, pack):
    path = write_radolan(tmp_path / "a", np.random.default_rng(0).integers(0, 4096, 900), pack=pack)
    assert cut_everywhere(Radolan(), path, cuts=30) >= 30


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "is empty; a RADOLAN file is needed"),
        (b"no radar data", "is not a RADOLAN file but a text that begins"),
        (b"RY\x03", "has the header 'RY'"),
    ],
)
def test_a_foreign_file_is_not_recognised_and_refused(tmp_path, content, message):
    (tmp_path / "a").write_bytes(content)
    assert not Radolan().recognises(tmp_path / "a")
    with pytest.raises(UserError, match=message):
        Radolan().read(tmp_path / "a")


def test_only_composites_are_recognised(tmp_path):
    assert Radolan().recognises(write_radolan(tmp_path / "a"))
    assert not Radolan().recognises(write_radolan(tmp_path / "a", product="ry"))
    assert [Radolan().recognises(path) for path in (tmp_path, tmp_path / "none")] == [False] * 2


def test_the_settings_file_builds_the_reader():
    assert from_settings_file("radolan") == Radolan()
