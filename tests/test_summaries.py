"""What a notebook shows of frames, grids, forecasts and pictures: a few lines, or the picture."""

from dataclasses import replace

import numpy as np
import pytest
from factories import grid, times

from nowcast import Forecast, Frames, UserError

PLACE = "4 x 5 cells of 1000 x 1000 metre, +proj=laea"


def frames(*minutes: int) -> Frames:
    return Frames(np.ones((len(minutes), 4, 5)), times(*minutes), grid(4, 5), "radar.nc")


def forecast(*minutes: int) -> Forecast:
    leads = np.array(minutes, dtype="timedelta64[m]")
    return Forecast(np.ones((len(minutes), 4, 5)), times(0)[0], leads, grid(4, 5))


def test_frames_are_shown_as_their_number_times_grid_and_source_and_not_as_their_values():
    lines = repr(frames(0, 5, 10)).splitlines()
    assert lines[0] == "<Frames: 3 fields of rain rate [mm/h]>"
    assert lines[1].split(maxsplit=1) == [
        "times",
        "2020-06-01T00:00:00 to 2020-06-01T00:10:00 UTC, every 5 min",
    ]
    assert lines[2].split(maxsplit=1)[1].startswith(PLACE)
    assert [line.split()[0] for line in lines[1:]] == ["times", "grid", "quantity", "source"]


@pytest.mark.parametrize(
    ("minutes", "text"),
    [
        ((), "none"),
        ((5,), "2020-06-01T00:05:00 UTC"),
        ((0, 5, 10, 30), "every 5 min, with gaps or odd times"),
    ],
)
def test_times_of_no_frame_of_one_and_with_a_gap_are_said(minutes, text):
    assert repr(frames(*minutes)).splitlines()[1].endswith(text)


def test_a_forecast_is_shown_with_what_comes_along():
    plain = forecast(5, 10, 15)
    lines = repr(plain).splitlines()
    assert lines[:3] == [
        "<Forecast: 3 fields of rain rate [mm/h]>",
        "  analysis time 2020-06-01T00:00:00 UTC",
        "  lead times    5 to 15 min",
    ]
    assert len(lines) == 4 and "members" not in repr(plain)
    full = replace(
        plain,
        members=np.ones((2, 3, 4, 5)),
        probability=np.ones((2, 3, 4, 5)),
        thresholds=(0.5, 1.0),
    )
    assert repr(full).splitlines()[4:] == [
        "  members       2",
        "  probability   of 0.5, 1 mm/h or more",
    ]
    assert repr(forecast(7)).splitlines()[2] == "  lead times    7 min"
    assert "lead times    none" in repr(forecast())


def test_a_grid_is_shown_in_one_line():
    assert repr(grid(4, 5)).startswith(f"<Grid: {PLACE}") and "\n" not in repr(grid(4, 5))


def test_frames_are_drawn_with_their_clock_times_at_most_ten_of_them(tmp_path):
    figure = frames(*range(0, 60, 5)).plot(tmp_path / "frames.png")
    labels = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert len(labels) == 6 and labels[-1] == "00:55 UTC"
    assert (tmp_path / "frames.png").read_bytes().startswith(b"\x89PNG")
    two_days = frames(0, 1435, 1440).plot()
    labels = [axes.get_title() for axes in two_days.axes if axes.get_title()]
    assert labels == ["06-01\n00:00 UTC", "06-01\n23:55 UTC", "06-02\n00:00 UTC"]
    with pytest.raises(UserError, match="there is no frame to draw"):
        frames().plot()


def test_a_picture_shows_itself_in_a_notebook_that_never_loaded_pyplot():
    figure = forecast(5, 10).plot()
    assert figure._repr_png_().startswith(b"\x89PNG")
