"""FMI's PGM composites: half decibels become mm/h, the comments give time and place."""

import gzip

import numpy as np
import pyproj
import pytest

from nowcast.readers.fmi_pgm import FmiPgm
from nowcast.runtime.errors import UserError
from tests.factories_readers import (
    cut_everywhere,
    first_real_file,
    from_settings_file,
    read_and_compare,
)

PROJECTION = (
    "+proj=stere +lat_0=90 +lon_0=25 +lat_ts=60 +R=6371288 +x_0=380886.310 +y_0=3395677.920"
)
NAN = np.nan


def write_pgm(path, index, *, pack=bytes, **changes):
    """An FMI composite of 2016-09-28 14:45 with 1 km pixels whose lower left corner is at 0, 0;
    changes are comments by name, None leaves one out.
    """
    index = np.asarray(index, np.uint8)
    rows, columns = index.shape
    corners = [
        pyproj.Proj(PROJECTION)(*point, inverse=True)
        for point in ((0, 0), (1000 * columns, 1000 * rows))
    ]
    comments = {
        "composite_area": "FIN", "obstime": "201609281445", "param": "CorrectedReflectivity", "metersperpixel_x": "1000", "metersperpixel_y": "1000",
        "projection": "radar {", "type": "stereographic", "centrallongitude": "25", "centrallatitude": "90", "truelatitude": "60",
        "bottomleft": "{:.9f} {:.9f}".format(*corners[0]), "topright": "{:.9f} {:.9f}".format(*corners[1]), "}": "",
    }  # fmt: skip
    head = changes.pop("head", f"{columns} {rows}\n255\n")
    lines = [
        f"# {name} {value}".strip()
        for name, value in (comments | changes).items()
        if value is not None
    ]
    path.write_bytes(pack("\n".join(["P5", *lines, head]).encode() + index.tobytes()))
    return path


def test_a_real_file_has_the_pixels_that_were_decoded_independently():
    frames = read_and_compare(FmiPgm(), "fmi_pgm")
    assert frames.quantity == "reflectivity, Z = 223 R^1.53"


def test_a_real_file_is_row_for_row_and_corner_for_corner_what_pysteps_reads():
    importers = pytest.importorskip("pysteps.io.importers")
    path, _ = first_real_file("fmi_pgm")
    reflectivity, _, place = importers.import_fmi_pgm(str(path), gzipped=True)
    frames = FmiPgm().read(path)
    rain = (10 ** (np.asarray(reflectivity, float) / 10) / 223) ** (1 / 1.53)
    detected = reflectivity > -32
    np.testing.assert_allclose(frames.values[0][detected], rain[detected], rtol=1e-6)
    assert (frames.values[0][reflectivity == -32] == 0).all() and (
        np.isnan(frames.values[0]) == np.isnan(reflectivity)
    ).all()
    grid, (dy, dx) = frames.grid, frames.grid.spacing
    corners = [grid.x[0] - dx / 2, grid.x[-1] + dx / 2, grid.y[-1] - dy / 2, grid.y[0] + dy / 2]
    np.testing.assert_allclose(corners, [place[key] for key in ("x1", "x2", "y1", "y2")], atol=1e-3)
    np.testing.assert_allclose([dx, dy], [999.674053, 999.62859], atol=1e-5)  # as the file states
    assert "+R=6371288 " in grid.crs and "+a=6371288 " in place["projection"]


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_23_48_dbz_are_1_mm_per_hour_and_undetected_is_dry_not_minus_32_dbz(tmp_path, pack):
    path = write_pgm(tmp_path / "a.pgm", [[0, 111, 110], [255, 162, 111]], pack=pack)
    frames = FmiPgm().read(path)
    assert FmiPgm().recognises(path)
    # (10^2.35 / 223)^(1 / 1.53) = 1.0026, (10^2.3 / 223)^(1 / 1.53) = 0.9299, (10^4.9 / 223)^(1 /
    # 1.53) = 46.53
    np.testing.assert_allclose(frames.values[0, :, :2], [[0, 1.0026], [NAN, 46.534]], rtol=1e-4)
    assert frames.values[0, 0, 2] == pytest.approx(0.9299, rel=1e-4)
    assert frames.times[0] == np.datetime64("2016-09-28T14:45")
    np.testing.assert_allclose(
        [*frames.grid.x, *frames.grid.y], [500, 1500, 2500, 1500, 500], atol=0.1
    )


def test_the_z_r_relation_is_the_one_set(tmp_path):
    frames = FmiPgm(z_r_a=10.0, z_r_b=2.0).read(write_pgm(tmp_path / "a.pgm", [[124, 0]]))
    assert frames.values[0, 0, 0] == pytest.approx(10.0)  # 30 dBZ: (1000 / 10)^(1 / 2)
    assert frames.quantity == "reflectivity, Z = 10 R^2"
    with pytest.raises(UserError, match="z_r_b is 0; a positive number is needed"):
        FmiPgm(z_r_b=0)


def test_all_dry_and_all_missing_and_a_single_pixel(tmp_path):
    assert (FmiPgm().read(write_pgm(tmp_path / "a.pgm", np.zeros((3, 4)))).values == 0).all()
    assert np.isnan(FmiPgm().read(write_pgm(tmp_path / "a.pgm", np.full((3, 4), 255))).values).all()
    assert FmiPgm().read(write_pgm(tmp_path / "a.pgm", [[124]])).values.shape == (1, 1, 1)


@pytest.mark.parametrize(
    "changes, message",
    [
        (
            {"obstime": None},
            "its comment obstime is missing; a time such as 201609281445 is needed",
        ),
        ({"obstime": "201613281445"}, "its comment obstime is '201613281445'; a time such as"),
        ({"param": "VRAD"}, "its comment param is 'VRAD'; expected 'CorrectedReflectivity'"),
        ({"param": None}, "its comment param is missing; expected 'CorrectedReflectivity'"),
        ({"type": "lambert"}, "its comment type is 'lambert'; expected 'stereographic'"),
        ({"truelatitude": None}, "its comment truelatitude is missing; 1 number\\(s\\) are needed"),
        ({"truelatitude": "nan"}, "its comment truelatitude is 'nan'; 1 number"),
        ({"bottomleft": "18.6"}, "its comment bottomleft is '18.6'; 2 number"),
        (
            {"metersperpixel_x": "2000"},
            "bottomleft and topright are 2000 apart in x, expected 4000 for columns 2 and its "
            "comment metersperpixel_x 2000",
        ),
        ({"centrallatitude": "900"}, "cannot be projected with"),
        ({"head": "2 1\n65535\n"}, "has values up to 65535; 255 is needed"),
        ({"head": "2\n255\n1\n9 9\n"}, "has values up to 1; 255 is needed"),
        ({"head": "two 1\n255\n"}, "has the header 'two 1 255'; columns, rows and 255 are needed"),
        ({"head": "2 1 255 0\n"}, "has the header '2 1 255 0'"),
        ({"head": "0 1\n255\n"}, "claims 1x0 pixels; expected 1 to 268435456 in a frame"),
        ({"head": "999999999 999999999\n255\n"}, "claims 999999999x999999999 pixels"),
        ({"head": "2 2\n255\n"}, "bottomleft and topright are 1000 apart in y, expected 2000"),
        ({"head": "#\n" * 300}, "has the header ''; columns, rows and 255 are needed"),
        ({"head": "# " + "x" * 2000}, "has a header that ends within a line"),
    ],
)
def test_a_file_that_says_too_little_or_something_else_is_refused_by_name(
    tmp_path, changes, message
):
    with pytest.raises(UserError, match=f"a.pgm.*{message}"):
        FmiPgm().read(write_pgm(tmp_path / "a.pgm", [[1, 2]], **changes))


def test_too_few_and_too_many_pixels_are_refused(tmp_path):
    whole = write_pgm(tmp_path / "a.pgm", [[1, 2]]).read_bytes()
    for content, message in (
        (whole[:-1], "is cut short: it contains 1 of 2 bytes"),
        (whole + b"\0", "contains more than the 2 bytes"),
    ):
        (tmp_path / "a.pgm").write_bytes(content)
        with pytest.raises(UserError, match=message):
            FmiPgm().read(tmp_path / "a.pgm")


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_file_cut_anywhere_is_refused(tmp_path, pack):
    path = write_pgm(
        tmp_path / "a.pgm", np.random.default_rng(0).integers(0, 200, (20, 30)), pack=pack
    )
    assert cut_everywhere(FmiPgm(), path) >= 60


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "is empty; a PGM file is needed"),
        (b"P6\n1 1\n255\n...", "starts with 'P6'; a PGM file of FMI"),
        (b"P5", "has a header that ends within a line"),
    ],
)
def test_a_foreign_file_is_not_recognised_and_refused(tmp_path, content, message):
    (tmp_path / "a.pgm").write_bytes(content)
    assert not FmiPgm().recognises(tmp_path / "a.pgm")
    with pytest.raises(UserError, match=message):
        FmiPgm().read(tmp_path / "a.pgm")


def test_a_pgm_of_another_origin_is_not_recognised(tmp_path):
    (tmp_path / "a.pgm").write_bytes(b"P5\n# a photograph\n1 1\n255\n\0")
    assert [
        FmiPgm().recognises(path) for path in (tmp_path / "a.pgm", tmp_path, tmp_path / "none")
    ] == [False] * 3


def test_the_settings_file_builds_the_reader():
    assert from_settings_file("fmi_pgm") == FmiPgm()
