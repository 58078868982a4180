import numpy as np
import pytest

from nowcast.types.frames import Forecast, Frames, Grid
from nowcast.types.task import Task
from nowcast.types.units import (
    rain_rate_from_depth,
    rain_rate_from_reflectivity,
    reflectivity_from_rain_rate,
)

STEREO = "+proj=stere +lat_0=90 +lon_0=0 +lat_ts=60 +a=6378137 +b=6356752 +units=m"


def grid(height=2, width=3, spacing=1000.0):
    return Grid(STEREO, np.arange(width) * spacing, -np.arange(height) * spacing)


def times(*minutes):
    return np.datetime64("2020-01-01T00:00", "s") + np.array(minutes) * np.timedelta64(60, "s")


def test_lead_times_start_one_timestep_ahead():
    assert Task(4, 3, 5).lead_times().tolist() == [
        np.timedelta64(m * 60, "s").item() for m in (5, 10, 15)
    ]
    assert Task(4, 3, 2.5).lead_times(2)[1] == np.timedelta64(300, "s")
    assert Task(4, 3).window_length == 7


def test_lead_minutes_are_known_for_rain_only():
    assert Task(4, 3, 10).lead_minutes == 10
    assert Task(4, 3, 1, "grey_level").lead_minutes is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 3), "task.context_length is 0"),
        ((4, 2.5), "task.forecast_length is 2.5"),
        ((True, 3), "task.context_length is True"),
        ((4, 3, 0), "task.timestep is 0"),
        ((4, 3, "5"), "task.timestep is '5'"),
        ((4, 3, 5, "snow"), "task.quantity is 'snow'"),
    ],
)
def test_an_impossible_task_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Task(*arguments)


def test_half_a_millimetre_in_five_minutes_is_six_millimetres_an_hour():
    assert rain_rate_from_depth(0.5, 5) == 6.0


def test_marshall_palmer_gives_200_for_one_millimetre_an_hour():
    assert rain_rate_from_reflectivity(10 * np.log10(200), 200, 1.6) == pytest.approx(1.0)
    assert rain_rate_from_reflectivity(40.0, 200, 1.6) == pytest.approx(11.53, abs=0.005)


def test_reflectivity_and_rain_rate_are_inverse_and_dry_is_minus_infinity():
    rates = np.array([0.1, 1, 50])
    np.testing.assert_allclose(
        rain_rate_from_reflectivity(reflectivity_from_rain_rate(rates, 223, 1.53), 223, 1.53), rates
    )
    assert reflectivity_from_rain_rate(0.0, 200, 1.6) == -np.inf
    assert np.isnan(rain_rate_from_reflectivity(np.nan, 200, 1.6))


def test_valid_times_are_the_analysis_time_plus_the_lead_times():
    forecast = Forecast(
        np.zeros((2, 2, 3)), np.datetime64("2020-01-01T12:00"), Task(4, 2, 5).lead_times(), grid()
    )
    assert [str(t) for t in forecast.valid_times] == ["2020-01-01T12:05:00", "2020-01-01T12:10:00"]


def test_a_slice_of_frames_keeps_values_times_and_grid_together():
    frames = Frames(np.arange(18).reshape(3, 2, 3), times(0, 5, 10), grid(), "a file")
    part = frames[1:]
    assert (
        len(part) == 2
        and part.values[0, 0, 0] == 6
        and part.times[0] == times(5)[0]
        and part.source == "a file"
    )


def test_grid_knows_its_spacing_and_what_differs():
    assert grid(4, 5, 500.0).spacing == (500, 500)
    assert grid().difference(grid()) is None
    assert grid().difference(grid(width=4)) == "2x3 cells against 2x4"
    assert (
        grid().difference(grid(spacing=1100.0))
        == "x from 0 to 2000 against 0 to 2200, 0.2 pixels apart where 0.1 are accepted "
        "(tolerance.pixels)"
    )
    assert "projection" in grid().difference(Grid("EPSG:3067", grid().x, grid().y))
    assert Grid(STEREO, [10.1], [1, 0]).difference(
        Grid(STEREO, np.float32([10.1]), [1, 0])
    ) is None and Grid(STEREO, [10.1], [1, 0]).difference(Grid(STEREO, [10.2], [1, 0]))
    assert grid().describe().startswith("2 x 3 cells of 1000 x 1000 metre")


@pytest.mark.parametrize(
    ("crs", "x", "y", "message"),
    [
        ("+proj=nonsense", [0, 1], [1, 0], "is not one PROJ knows"),
        (
            "EPSG:4978",
            [0, 1],
            [1, 0],
            "is no map .Geocentric CRS.; expected a projection, or longitudes and latitudes",
        ),
        ('LOCAL_CS["here",UNIT["metre",1]]', [0, 1], [1, 0], "is no map .Engineering CRS."),
        (STEREO, [1, 0], [1, 0], "evenly spaced and ascending"),
        (STEREO, [0, 1], [0, 1], "descending .row 0 is north."),
        (STEREO, [0, 1, 3], [1, 0], "evenly spaced"),
        (STEREO, [0, np.nan], [1, 0], "one finite row of cell centres"),
    ],
)
def test_an_impossible_grid_is_refused(crs, x, y, message):
    with pytest.raises(ValueError, match=message):
        Grid(crs, np.array(x, float), np.array(y, float))


@pytest.mark.parametrize(
    ("values", "frame_times", "message"),
    [
        (
            np.zeros((2, 3)),
            times(0),
            "expected rain rates with the axes T H W, got the shape .2, 3.",
        ),
        (
            np.full((1, 2, 3), -1.0),
            times(0),
            "6 rain rates are negative .e.g. -1 mm.h.; .*mark pixels",
        ),
        (np.full((1, 2, 3), np.inf), times(0), "mark pixels that were not observed with NaN"),
        (np.zeros((1, 3, 3)), times(0), "but the grid has"),
        (np.zeros((2, 2, 3)), times(0), "expected a time for each of 2 frames, got 1"),
        (np.zeros((2, 2, 3)), times(5, 0), "strictly ascending, each one once"),
    ],
)
def test_impossible_frames_are_refused(values, frame_times, message):
    with pytest.raises(ValueError, match=message):
        Frames(values, frame_times, grid())


@pytest.mark.parametrize(
    ("lead_minutes", "message"),
    [
        ([5], "do not match 1 lead times"),
        ([5, 5], "positive and strictly ascending"),
        ([0, 5], "positive and strictly"),
    ],
)
def test_impossible_forecasts_are_refused(lead_minutes, message):
    with pytest.raises(ValueError, match=message):
        Forecast(
            np.zeros((2, 2, 3)),
            times(0)[0],
            np.array(lead_minutes) * np.timedelta64(60, "s"),
            grid(),
        )
