import math
import os
from dataclasses import replace

import numpy as np
import pytest
from factories_fields import forecast, frames
from PIL import Image

from nowcast.drawing import animation, cells, colours, comparison, curves, maps
from nowcast.drawing.colours import GREY_MISSING_COLOUR, MISSING_COLOUR, RAIN_CLASSES, RAIN_COLOURS
from nowcast.runtime.errors import UserError
from nowcast.types.frames import Forecast, Frames, Grid
from tests.factories import rows_of


def pixels(path, frame=0):
    """RGB of a picture, (height, width, 3)."""
    with Image.open(path) as image:
        image.seek(frame)
        return np.asarray(image.convert("RGB")).copy()


def share(image, colour):
    """Fraction of the pixels that have this colour."""
    return (image == np.asarray(colour)).all(-1).mean()


def drawn(path, fields, kind="rain"):
    """RGB of the picture of one row of fields (T, H, W)."""
    labels = {"row": [str(index) for index in range(len(fields))]}
    maps.sequence_picture({"row": fields}, path, column_labels=labels, kind=kind, title="t")
    return pixels(path)


def test_a_rain_rate_on_a_class_edge_has_the_colour_of_the_class_above():
    for i, edge in enumerate(RAIN_CLASSES):
        below = np.nextafter(np.float32(edge), np.float32(0))
        assert (
            colours.rain_colours(np.array([edge, below])).tolist()
            == RAIN_COLOURS[[i + 1, i]].tolist()
        )


def test_dry_is_white_missing_is_grey_and_the_strongest_rain_has_the_last_colour():
    assert colours.rain_classes(np.array([0, 0.05, np.nan, 49, 500])).tolist() == [0, 0, 9, 7, 8]
    assert colours.rain_colours(np.array([0, np.nan])).tolist() == [
        [255, 255, 255],
        [190, 190, 190],
    ]


def test_neighbouring_rain_colours_stay_apart_for_colour_blind_eyes():
    matrices = {  # Machado et al. 2009, severity 1, on linear RGB
        "none": np.eye(3),
        "protanopia": [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ],
        "deuteranopia": [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ],
        "tritanopia": [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ],
    }
    colours = np.vstack([RAIN_COLOURS, MISSING_COLOUR]) / 255
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array(
        [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    )
    for matrix in matrices.values():
        xyz = (linear @ np.transpose(matrix)).clip(0, 1) @ to_xyz.T / [0.9505, 1, 1.089]
        f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
        lab = np.stack(
            [116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], 1
        )
        distance = np.linalg.norm(lab[:, None] - lab, axis=-1)
        assert distance[np.triu_indices(10, 1)].min() >= 12


def test_grey_values_are_clipped_and_missing_ones_stand_out():
    assert colours.grey_colours(np.array([-1, 0.2, 2])).tolist() == [[0] * 3, [51] * 3, [255] * 3]
    assert colours.grey_colours(np.array([np.nan])).tolist() == [GREY_MISSING_COLOUR.tolist()]


def test_shrinking_takes_the_mean_of_what_was_observed_in_a_block():
    nan = np.nan
    values = np.array(
        [[1, 3, 0, 8], [5, 7, nan, nan], [nan, nan, 2, 2], [nan, 4, 2, 2]], np.float32
    )
    assert np.array_equal(cells.shrink(values, 2, 2), [[4, 4], [nan, 2]], equal_nan=True)
    # blocks of 2 and 3
    assert cells.shrink(np.arange(5, dtype=np.float32)[None], 9, 2).tolist() == [[0.5, 3.0]]
    assert np.array_equal(cells.shrink(values, 10, 10), values, equal_nan=True)


def test_a_picture_shows_missing_pixels_grey_dry_ones_white_and_rain_in_its_class(tmp_path):
    field = np.array([[[0.0, 0.0], [np.nan, 3.0]]])
    image = drawn(tmp_path / "p.png", field)
    grey = (image == MISSING_COLOUR).all(-1)
    # lower left of 180 x 180
    left, top = (np.flatnonzero(grey.sum(0) > 80).min(), np.flatnonzero(grey.sum(1) > 80).min())
    assert image[top + 45, left + 45].tolist() == MISSING_COLOUR.tolist()
    assert image[top - 45, left + 45].tolist() == [255, 255, 255]
    assert image[top + 45, left + 135].tolist() == RAIN_COLOURS[4].tolist()


def test_a_picture_is_cropped_to_what_was_observed(tmp_path):
    field = np.full((1, 40, 40), np.nan)
    field[0, 10:20, 5:15] = 3.0
    image = drawn(tmp_path / "p.png", field)
    assert (image == RAIN_COLOURS[4]).all(-1).sum() > 170**2  # a panel of 180 x 180 pixels
    assert (image == MISSING_COLOUR).all(-1).sum() < 60 * 25  # the legend alone


def test_a_field_without_any_observation_is_all_grey(tmp_path):
    image = drawn(tmp_path / "p.png", np.full((1, 4, 4), np.nan))
    assert (image == MISSING_COLOUR).all(-1).sum() > 170**2


def test_cells_right_of_a_shorter_row_stay_empty(tmp_path):
    rows = {"context": np.full((1, 4, 4), 3.0), "forecast": np.full((3, 4, 4), 12.0)}
    labels = {"context": ["0 min"], "forecast": ["+5 min", "+10 min", "+15 min"]}
    maps.sequence_picture(rows, tmp_path / "p.png", column_labels=labels, kind="rain", title="t")
    image = pixels(tmp_path / "p.png")
    panels = [(image == RAIN_COLOURS[i]).all(-1).sum() / 180**2 for i in (4, 6)]
    assert panels[0] == pytest.approx(1, abs=0.07) and panels[1] == pytest.approx(3, abs=0.1)


def test_of_twelve_frames_six_are_drawn_the_last_among_them(tmp_path):
    field = np.zeros((12, 4, 4))
    field[0], field[11] = 60.0, 12.0
    image = drawn(tmp_path / "p.png", field)
    assert (image == RAIN_COLOURS[6]).all(-1).sum() > 170**2
    assert (image == RAIN_COLOURS[8]).all(-1).sum() < 60 * 25
    assert 6 * 180 < image.shape[1] < 7 * 186


def test_moving_mnist_is_drawn_white_on_black(tmp_path):
    field = np.zeros((1, 8, 8))
    field[0, :4] = 1.0
    image = drawn(tmp_path / "p.png", field, "grey")
    assert (image == 0).all(-1).sum() == pytest.approx(180 * 90, rel=0.1)


@pytest.mark.parametrize("shape", [(1, 1), (3, 200), (200, 3)])
def test_fields_of_any_shape_can_be_drawn_and_animated(tmp_path, shape):
    values = np.full((2, *shape), 3.0)
    maps.forecast_strip(frames(values), forecast(values), tmp_path / "p.png")
    animation.forecast_animation(frames(values), forecast(values), tmp_path / "p.gif")
    assert share(pixels(tmp_path / "p.png"), RAIN_COLOURS[4]) > 0.02
    assert share(pixels(tmp_path / "p.gif", 3), RAIN_COLOURS[4]) > 0.005
    assert max(pixels(tmp_path / "p.gif").shape[:2]) < 700


def test_the_first_members_of_an_ensemble_are_drawn_below_its_forecast(tmp_path):
    values = np.zeros((2, 40, 40), np.float32)
    one = forecast(values)
    for count in (1, 5):
        members = np.full((count, *values.shape), 3.0)
        maps.forecast_strip(
            frames(values), replace(one, members=members), tmp_path / f"{count}.png"
        )
    few, many = (pixels(tmp_path / f"{count}.png") for count in (1, 5))
    rows = [(image == RAIN_COLOURS[4]).all(-1).sum() for image in (few, many)]
    # three of the five, and the legend
    assert rows[0] > 1000 and 2.5 < rows[1] / rows[0] < 3.1 and many.shape[0] > few.shape[0]


def test_the_animation_has_all_frames_loops_and_pauses_at_the_end(tmp_path):
    animation.forecast_animation(
        frames(np.zeros((2, 4, 4))), forecast(np.zeros((3, 4, 4))), tmp_path / "a.gif"
    )
    with Image.open(tmp_path / "a.gif") as image:
        durations = []
        for i in range(image.n_frames):
            image.seek(i)
            durations.append(image.info["duration"])
        assert durations == [350, 350, 450, 450, 2000]
        assert image.info["loop"] == 0


def test_animated_pixels_have_exactly_the_class_colours_and_a_border_in_the_colour_of_their_phase(
    tmp_path,
):
    values = np.array([[[0.0, 0.1], [np.nan, 60.0]]])
    animation.forecast_animation(
        frames(values, start="2010-08-26T23:55"), forecast(values), tmp_path / "a.gif"
    )
    observed, predicted = pixels(tmp_path / "a.gif", 0), pixels(tmp_path / "a.gif", 1)
    border = (predicted == [213, 94, 0]).all(-1)
    rows, columns = np.flatnonzero(border.sum(1) > 400), np.flatnonzero(border.sum(0) > 400)
    # the map, 480 x 480, lies inside a border of three pixels
    top, left = (rows.min() + 3, columns.min() + 3)
    for image in (observed, predicted):
        quarters = [image[top + y, left + x].tolist() for y in (120, 360) for x in (120, 360)]
        assert quarters == [
            c.tolist() for c in (RAIN_COLOURS[0], RAIN_COLOURS[1], MISSING_COLOUR, RAIN_COLOURS[8])
        ]
    assert observed[top - 2, left + 9].tolist() == [70, 70, 70]
    assert predicted[top - 2, left + 9].tolist() == [213, 94, 0]


def test_an_animation_of_a_large_grid_stays_small(tmp_path):
    y, x = np.mgrid[0:1100, 0:950]
    values = np.stack(
        [np.maximum(0, 20 * np.sin((x + 9 * t) / 40) * np.sin(y / 55)) for t in range(12)]
    )
    animation.forecast_animation(
        frames(values[:4], start="2010-08-26T23:40"), forecast(values[4:]), tmp_path / "a.gif"
    )
    assert max(pixels(tmp_path / "a.gif").shape) < 800
    assert os.path.getsize(tmp_path / "a.gif") < 3_000_000


def strait(degrees=False, rain=0.0):
    """Two observed and one forecast frame of constant rain on 240 km around the Strait of Dover."""
    cells = np.arange(-119.5, 120)
    place = (
        Grid("EPSG:4326", 1.4 + cells * 0.01, 51.0 - cells * 0.01)
        if degrees
        else Grid("+proj=aeqd +lat_0=51 +lon_0=1.4 +units=km", cells, -cells)
    )
    times = np.datetime64("2020-01-01", "s") + np.arange(2) * np.timedelta64(300, "s")
    values = np.full((2, 240, 240), rain, np.float32)
    return Frames(values, times, place), Forecast(values[:1], times[-1], np.array([300]), place)


@pytest.mark.parametrize(
    ("rain", "colour", "lighter"),
    [(0.0, [255, 255, 255], False), (7.0, [80, 50, 160], True), (60.0, [30, 0, 5], True)],
)
def test_the_coast_is_drawn_dark_on_light_colours_and_light_on_dark_ones(
    tmp_path, rain, colour, lighter
):
    animation.forecast_animation(*strait(rain=rain), tmp_path / "a.gif")
    image = pixels(tmp_path / "a.gif", 2).astype(int)
    border = (image == [213, 94, 0]).all(-1)
    top, left = (
        np.flatnonzero(border.sum(1) > 400).min() + 3,
        np.flatnonzero(border.sum(0) > 400).min() + 3,
    )
    # two pixels a kilometre, 51 north and 1.4 east in the middle
    field = image[top : top + 480, left : left + 480]
    line = (field != colour).any(-1)
    assert 0.005 < line.mean() < 0.05
    assert (field[line].sum(-1) > sum(colour)).mean() == lighter
    assert np.abs(field[line].sum(-1) - sum(colour)).max() > 320  # of 765
    beach = 480 // 2 + 24, 480 // 2 + 36  # Wissant: 12 km south and 18 km east
    assert line[beach[0] - 3 : beach[0] + 4, beach[1] - 3 : beach[1] + 4].any()
    assert not line[205:250, 246:264].any()  # the strait itself


def test_a_picture_with_a_grid_has_coasts_and_a_scale_bar_and_one_without_has_none(tmp_path):
    context, _ = strait()
    for name, place in (("with", context.grid), ("without", None)):
        maps.sequence_picture(
            {"a": context.values[:1]},
            tmp_path / f"{name}.png",
            column_labels={"a": ["1"]},
            kind="rain",
            title="t",
            grid=place,
        )
    with_lines, without = (
        pixels(tmp_path / f"{name}.png").astype(int) for name in ("with", "without")
    )
    different = (with_lines != without).any(-1)
    assert 0.005 < different.mean() < 0.1
    # 50 km of 240 in a panel of 180 pixels: 37.5 pixels
    bar = np.flatnonzero((with_lines[:, :, 0] == 0).sum(1) >= 36)
    assert len(bar)
    assert ((with_lines[bar[-1]] == 0).all(-1) & different[bar[-1]]).sum() == pytest.approx(
        37.5, abs=2
    )


def test_the_scale_bar_is_the_longest_round_length_that_fits():
    lengths = {
        99.9: (50, "50 km"),
        100: (100, "100 km"),
        260: (200, "200 km"),
        0.7: (0.5, "0.5 km"),
        4000: (2000, "2000 km"),
    }
    assert {kilometres: cells.scale_bar(kilometres) for kilometres in lengths} == lengths


def test_a_cell_of_degrees_is_drawn_as_narrow_as_it_is_on_the_earth(tmp_path):
    degrees = strait(degrees=True)
    assert cells.cell_aspect(degrees[0].grid) == pytest.approx(
        math.cos(math.radians(51)), abs=0.005
    )
    assert cells.cell_aspect(strait()[0].grid) == 1 and cells.cell_aspect(None) == 1
    height, width = animation._size(degrees[0].grid, 600)
    assert (height, width) == (480, round(480 * cells.cell_aspect(degrees[0].grid)))


def test_fields_of_another_size_than_the_grid_are_refused(tmp_path):
    context, _ = strait()
    with pytest.raises(
        UserError,
        match=r"the rows have \(3, 4\) pixels, but the grid has \(240, 240\); give the grid of "
        r"the fields",
    ):
        maps.sequence_picture(
            {"a": np.zeros((1, 3, 4))},
            tmp_path / "p.png",
            column_labels={"a": ["1"]},
            kind="rain",
            title="t",
            grid=context.grid,
        )


def test_times_are_written_with_sign_and_utc():
    assert [maps.minutes_text(np.timedelta64(s, "s")) for s in (-1200, 0, 90, 900)] == [
        "−20 min",
        "0 min",
        "+1.5 min",
        "+15 min",
    ]
    assert maps.clock_text(np.datetime64("2010-08-26T08:05:30")) == "08:05 UTC"


def rain_rows(csi, bias):
    return {
        "net": [
            row
            for t in (0.1, 1.0, 5.0)
            for row in (
                rows_of("csi", csi, threshold=t, window=1)
                + rows_of("far", csi, threshold=t, window=1)
                + rows_of("frequency_bias", bias, threshold=t, window=1)
            )
        ]
        + rows_of("mae", csi)
        + rows_of("mse", csi)
        + rows_of("correlation", [-v for v in csi])
    }


def test_score_curves_draw_every_model_in_its_colour(tmp_path):
    rows = rain_rows([0.8, 0.5, 0.4], [1.2, 0.9, math.nan])
    curves.score_curves(
        rows | {"persistence": rain_rows([0.6, 0.3, 0.1], [1, 1, 1])["net"]},
        tmp_path / "s.png",
        lead_minutes=5,
    )
    image = pixels(tmp_path / "s.png")
    assert image.shape[0] > 900 and image.shape[1] == 1224
    assert share(image, [0, 0x72, 0xB2]) > 0.002 and share(image, [0xD5, 0x5E, 0]) > 0.002


def test_the_main_scores_are_drawn_by_threshold_then_the_others():
    panels = curves._panels(rain_rows([0.5], [1.0])["net"])
    assert panels[:4] == [("csi", 0.1), ("far", 0.1), ("frequency_bias", 0.1), ("csi", 1.0)]
    assert panels[9:] == [("mae", None), ("mse", None), ("correlation", None)]


def test_curves_of_moving_mnist_show_the_floor_of_cross_entropy(tmp_path):
    rows = (
        rows_of("cross_entropy", [300.0, 400.0])
        + rows_of("cross_entropy_floor", [88.0, 88.0])
        + rows_of("psnr", [math.inf, 20.0])
    )
    curves.score_curves({"net": rows}, tmp_path / "with.png", lead_minutes=None)
    curves.score_curves(
        {"net": [row for row in rows if row.score != "cross_entropy_floor"]},
        tmp_path / "without.png",
        lead_minutes=None,
    )
    dotted = [
        share(pixels(tmp_path / name), [0x99, 0x99, 0x99]) for name in ("with.png", "without.png")
    ]
    assert dotted[0] > 0.0002 > dotted[1]


def test_undefined_scores_leave_an_empty_panel(tmp_path):
    curves.score_curves(
        {"net": rows_of("csi", [math.nan, math.nan], threshold=1.0, window=1)},
        tmp_path / "s.png",
        lead_minutes=5,
    )
    assert share(pixels(tmp_path / "s.png"), [0, 0x72, 0xB2]) < 0.005


def test_the_training_curve_marks_the_best_csi_where_that_chose_the_weights(tmp_path, monkeypatch):
    titles = []
    monkeypatch.setattr(
        curves, "save", lambda figure, path: titles.append(figure.axes[0].get_title(loc="left"))
    )
    for csi in ([0.1, 0.3, 0.2], [math.nan, 0.0, 0.0], []):
        curves.training_curve(
            [1, 2, 3], [3.0, 2.0, 1.0], [3.0, 2.5, 2.0], tmp_path / "t.png", validation_csi=csi
        )
    assert titles == [
        "Loss and CSI by epoch: best CSI 0.3 at epoch 2",
        *["Loss by epoch: best validation 2 at epoch 3"] * 2,
    ]


def test_the_training_curve_is_drawn_with_gaps_and_without_any_finite_loss(tmp_path):
    curves.training_curve([1, 2, 3], [9.0, math.nan, 0.1], [8.0, 2.0, 3.0], tmp_path / "t.png")
    curves.training_curve([1], [math.nan], [math.nan], tmp_path / "n.png")
    assert share(pixels(tmp_path / "t.png"), [0xD5, 0x5E, 0]) > 0.001
    assert pixels(tmp_path / "n.png").shape == (432, 768, 3)


def test_pictures_leave_no_other_file(tmp_path):
    curves.training_curve([1], [1.0], [1.0], tmp_path / "t.png")
    assert [file.name for file in tmp_path.iterdir()] == ["t.png"]


def test_an_unknown_kind_of_picture_is_refused(tmp_path):
    with pytest.raises(UserError, match="kind 'snow' are unknown; 'rain' and 'grey'"):
        drawn(tmp_path / "p.png", np.zeros((1, 2, 2)), "snow")


@pytest.mark.parametrize(
    "rows",
    [
        {},
        {"a": np.zeros((2, 2))},
        {"a": np.zeros((0, 2, 2))},
        {"a": np.zeros((1, 2, 2)), "b": np.zeros((1, 2, 3))},
    ],
)
def test_rows_that_are_no_sequences_of_one_size_are_refused(tmp_path, rows):
    with pytest.raises(
        UserError,
        match=r"cannot be drawn; each must be \(frames, height, width\) with one height and width",
    ):
        maps.sequence_picture(
            rows,
            tmp_path / "p.png",
            column_labels={name: ["1"] for name in rows},
            kind="rain",
            title="t",
        )


def test_labels_that_do_not_match_the_frames_are_refused(tmp_path):
    with pytest.raises(
        UserError, match="row 'a' has 2 frames and 1 column labels; give one per frame"
    ):
        maps.sequence_picture(
            {"a": np.zeros((2, 2, 2))},
            tmp_path / "p.png",
            column_labels={"a": ["1"]},
            kind="rain",
            title="t",
        )


def test_curves_of_no_score_are_refused(tmp_path):
    with pytest.raises(UserError, match="no score by lead time to draw"):
        curves.score_curves({"net": []}, tmp_path / "s.png", lead_minutes=5)


def test_losses_of_another_length_are_refused(tmp_path):
    with pytest.raises(
        UserError, match="as many losses, got 2 epochs, 2 training losses and 1 validation losses"
    ):
        curves.training_curve([1, 2], [1.0, 2.0], [1.0], tmp_path / "t.png")
    with pytest.raises(UserError, match="0 epochs"):
        curves.training_curve([], [], [], tmp_path / "t.png")


# ---------------------------------------------------------------- comparison


def compared(**changes):
    """Two lead times: 3 mm/h came, one forecast says 3, another 15 and has none in the west."""
    grid = Grid("+proj=laea +lat_0=51 +lon_0=5 +units=km", np.arange(60.0), -np.arange(50.0))
    came = np.full((2, 50, 60), 3.0)
    wrong = np.full((2, 50, 60), 15.0)
    wrong[:, :, :30] = np.nan
    given = {
        "seen": np.zeros((50, 60)),
        "came": came,
        "forecasts": {"good": came, "wrong\n(very)": wrong},
        "grid": grid,
        "labels": ["seen", "+5 min", "+10 min"],
        "captions": {"good": ["1", "1"], "wrong\n(very)": ["0", "0"]},
        "best": [{"good"}, {"good"}],
    }
    return comparison.Comparison(**given | changes)


def test_a_comparison_shows_what_was_seen_what_came_and_each_forecast(tmp_path):
    path = tmp_path / "p.png"
    words = {"title": "t", "subtitle": "s", "note": "data: somebody"}
    comparison.comparison_picture(compared(), path, **words)
    image = pixels(path)
    panel = 1.72 * 120 * (1.72 * 120 * 50 / 60)
    size = image.shape[0] * image.shape[1]
    came, wrong = RAIN_COLOURS[4], RAIN_COLOURS[6]
    # two panels that came and two of the good forecast; half of two of the other
    assert share(image, came) * size == pytest.approx(4 * panel, rel=0.05)
    assert share(image, wrong) * size == pytest.approx(panel, rel=0.1)
    assert share(image, MISSING_COLOUR) * size == pytest.approx(panel, rel=0.1)


@pytest.mark.parametrize(
    "name", ["advection\n(without pysteps)", "a model with a long name of its own"]
)
def test_names_of_rows_have_as_much_room_as_they_need(tmp_path, name):
    fields = {name: np.zeros((2, 50, 60))}
    captions, below = {name: ["", ""]}, {name: "MAE 1.234 mm/h in the mean of many"}
    words = {"title": "", "subtitle": "", "note": ""}
    path = tmp_path / "p.png"
    comparison.comparison_picture(
        compared(forecasts=fields, captions=captions, below=below), path, **words
    )
    image = pixels(path)
    inked = (image[:, :, :3].min(axis=2) < 250).any(axis=0)
    assert not inked[: int(0.1 * 120)].any() and inked.any()


@pytest.mark.parametrize(
    "changes",
    [
        {"came": np.zeros((3, 50, 60))},
        {"seen": np.zeros((50, 61))},
        {"forecasts": {"good": np.zeros((2, 49, 60))}},
        {"labels": ["seen"]},
    ],
)
def test_a_comparison_of_fields_that_do_not_fit_is_refused(changes):
    with pytest.raises(
        UserError, match="expected fields of shape .* .lead times that are labelled"
    ):
        compared(**changes)
