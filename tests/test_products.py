"""Accumulated rain, probabilities and quality of forecasts, worked by hand and against scipy."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import uniform_filter

from nowcast.forecasting.products import box_sum, derive
from nowcast.runtime.errors import UserError
from nowcast.types.frames import Forecast, Frames, Grid

NAN = np.nan
LAEA = "+proj=laea +lat_0=55.0 +lon_0=10.0 +x_0=1950000.0 +y_0=-2100000.0 +units=m +ellps=WGS84"
ANALYSIS = np.datetime64("2020-06-01T00:00", "s")


def made(
    values, minutes, *, crs: str = LAEA, spacing: float = 1000.0, top: float = -500.0
) -> Forecast:
    """A forecast from 2020-06-01T00:00 of values (T, H, W) at so many minutes, on square cells."""
    values = np.asarray(values, np.float32)
    place = Grid(
        crs, spacing * np.arange(values.shape[2]), top - spacing * np.arange(values.shape[1])
    )
    return Forecast(values, ANALYSIS, np.array(minutes) * np.timedelta64(60, "s"), place)


def context(values, *minutes) -> Frames:
    """Frames at so many minutes from the analysis time on the grid of ``made``."""
    values = np.asarray(values, np.float32)
    return Frames(
        values,
        ANALYSIS + np.array(minutes) * np.timedelta64(60, "s"),
        Grid(
            LAEA, 1000.0 * np.arange(values.shape[2]), -500.0 - 1000.0 * np.arange(values.shape[1])
        ),
    )


def test_depth_adds_rate_times_the_length_of_each_unequal_step():
    # 12 mm/h for 5 min = 1 mm; 6 mm/h for 10 min = 1 mm; 4 mm/h for 45 min = 3 mm
    depth = derive(made([[[12]], [[6]], [[4]]], [5, 15, 60]), None).depth
    assert depth.dtype == np.float32 and depth.ravel().tolist() == [1, 2, 5]


def test_a_pixel_missing_at_one_lead_time_has_no_depth_from_there_on_and_its_neighbour_keeps_its_own():
    depth = derive(made([[[6, 6]], [[NAN, 0]], [[6, 6]]], [10, 20, 30]), None).depth
    np.testing.assert_array_equal(depth[:, 0], [[1, 1], [NAN, 1], [NAN, 2]])


def test_probability_is_the_share_of_the_neighbours_and_the_neighbourhood_grows_with_lead_time():
    field = [[5, 0, 0, 0, 0]]
    products = derive(
        made([field, field, field], [5, 10, 15]), None, thresholds=[5], radius_km_per_hour=12
    )  # 1, 2, 3 km on each side
    assert products.thresholds == (5.0,) and products.probability.dtype == np.float32
    np.testing.assert_allclose(
        products.probability[0, :, 0],
        [[1 / 2, 1 / 3, 0, 0, 0], [1 / 3, 1 / 4, 1 / 5, 0, 0], [1 / 4, 1 / 5, 1 / 5, 1 / 5, 0]],
        rtol=1e-6,
    )


def test_an_event_reaches_the_threshold_and_pixels_without_a_forecast_neither_count_nor_get_a_probability():
    products = derive(
        made([[[1, 0.99, NAN], [NAN, 5, 0]]], [5]), None, thresholds=[1, 5], radius_km_per_hour=12
    )
    np.testing.assert_allclose(
        products.probability[0, 0], [[2 / 3, 2 / 4, NAN], [NAN, 2 / 4, 1 / 3]], rtol=1e-6
    )
    np.testing.assert_allclose(
        products.probability[1, 0], [[1 / 3, 1 / 4, NAN], [NAN, 1 / 4, 1 / 3]], rtol=1e-6
    )


def test_the_pixel_alone_is_looked_at_where_the_radius_holds_no_other():
    products = derive(made([[[1, 0], [0, 1]]], [5]), None, thresholds=[1], radius_km_per_hour=11.9)
    assert products.probability[0, 0].tolist() == [[1, 0], [0, 1]]


def test_rain_everywhere_is_certain_to_the_last_bit():
    assert (
        derive(made(np.ones((2, 31, 37)), [30, 60]), None, thresholds=[1]).probability == 1
    ).all()


@pytest.mark.parametrize(
    ("crs", "spacing", "top", "reach"),
    [
        (LAEA, 2000.0, 0, (2, 2)),  # 5 km: two pixels of 2 km on each side
        (
            "+proj=stere +lat_0=90 +lon_0=0 +lat_ts=60 +a=6378137 +b=6356752 +units=km",
            1.0,
            -3650,
            (5, 5),
        ),
        ("EPSG:2263", 1000.0, 0, (16, 16)),  # US feet: 304.8 m
        (
            "EPSG:4326",
            0.01,
            60.2,
            (4, 8),
        ),  # pixels of 1.112 km north-south and, at 60 degrees north, of 0.556 km east-west
        ("+proj=ob_tran +o_proj=longlat +o_lat_p=39.25 +lon_0=18", 0.01, 0.2, (4, 4)),
    ],
)
def test_probabilities_are_those_of_scipy_on_every_kind_of_grid(crs, spacing, top, reach):
    rng = np.random.default_rng(0)
    values = np.where(rng.random((1, 41, 53)) < 0.4, rng.gamma(0.5, 4, (1, 41, 53)), 0)
    values[rng.random(values.shape) < 0.2] = NAN
    values[0, :9, :9] = NAN
    probability = derive(
        made(values, [10], crs=crs, spacing=spacing, top=top), None, thresholds=[0.1, 3]
    ).probability
    size = tuple(2 * n + 1 for n in reach)
    known = uniform_filter((~np.isnan(values[0])).astype(float), size, mode="constant")
    for share, threshold in zip(probability[:, 0], (0.1, 3)):
        events = uniform_filter((values[0] >= threshold).astype(float), size, mode="constant")
        expected = np.where(np.isnan(values[0]), NAN, events / np.maximum(known, 1e-9))
        np.testing.assert_allclose(share, expected, atol=1e-6)


@pytest.mark.parametrize("reach", [(0, 0), (1, 0), (0, 3), (6, 7), (7, 8), (50, 60)])
def test_box_sums_are_counts_within_the_array_however_far_they_reach(reach):
    values = np.random.default_rng(1).random((7, 8)) < 0.5
    rows, columns = reach
    expected = [
        [
            values[max(i - rows, 0) : i + rows + 1, max(j - columns, 0) : j + columns + 1].sum()
            for j in range(8)
        ]
        for i in range(7)
    ]
    assert box_sum(values, rows, columns).tolist() == expected


def test_the_probability_of_an_ensemble_is_the_share_of_its_members_that_have_a_value():
    members = np.array(
        [[[[0, 2, NAN, 2]]], [[[1, 2, NAN, 2]]], [[[3, NAN, NAN, 2]]], [[[0.5, 0, NAN, 2]]]]
    )  # four members, one lead time
    products = derive(
        replace(made([[[1, 1, 1, NAN]]], [5]), members=members), None, thresholds=[1, 2]
    )
    assert products.probability_source == "ensemble"
    np.testing.assert_array_equal(
        products.probability[:, 0, 0],
        np.float32([[2 / 4, 2 / 3, NAN, NAN], [1 / 4, 2 / 3, NAN, NAN]]),
    )


def test_probabilities_that_the_model_told_are_taken_as_they_are_where_there_is_a_forecast():
    told = np.float32([[[[0.25, 0.5]]], [[[0.125, 0.375]]]])
    given = replace(made([[[1, NAN]]], [5]), probability=told, thresholds=(1.0, 2.0))
    products = derive(given, None, thresholds=[1, 2])
    np.testing.assert_array_equal(
        products.probability[:, 0, 0], np.float32([[0.25, NAN], [0.125, NAN]])
    )
    assert (
        products.probability_source == "model"
        and derive(made([[[1]]], [5]), None).probability_source == "neighbourhood"
    )
    for other in ([1, 2, 3], [1, 3]):
        with pytest.raises(
            UserError,
            match=r"the forecast has probabilities of the rain rates \(1.0, 2.0\), but the "
            r"thresholds",
        ):
            derive(given, None, thresholds=other)
    for wrong in ({"probability": told[0]}, {"thresholds": (1.0,)}):
        with pytest.raises(UserError, match="do not match a forecast of shape"):
            replace(given, **wrong)


def test_quality_says_in_how_many_context_frames_a_pixel_was_observed():
    products = derive(made([[[1, 1, NAN]]], [5]), context([[[0, NAN, NAN]], [[2, 0, NAN]]], -5, 0))
    assert products.quality.dtype == np.uint8 and products.quality.tolist() == [[0, 1, 2]]
    assert derive(made([[[1, 1, NAN]]], [5]), None).quality is None


def test_where_nothing_was_ever_observed_all_products_are_missing_and_no_neighbour_counts_it():
    given = made([[[1, 1, 0, 0]]], [60])
    products = derive(given, context([[[0, 0, NAN, 0]]], 0), thresholds=[1], radius_km_per_hour=2)
    np.testing.assert_array_equal(products.forecast.values[0, 0], [1, 1, NAN, 0])
    np.testing.assert_array_equal(products.depth[0, 0], [1, 1, NAN, 0])
    np.testing.assert_allclose(products.probability[0, 0, 0], [1, 2 / 3, NAN, 1 / 2], rtol=1e-6)
    assert given.values[0, 0, 2] == 0  # what was given is left alone


def test_a_forecast_that_is_missing_there_already_is_kept_as_it_is():
    given = made([[[1, NAN]]], [5])
    assert derive(given, context([[[0, NAN]]], 0)).forecast is given


@pytest.mark.parametrize(
    "thresholds", [(), (1, 1), (5, 1), (0, 1), (NAN,), (1, np.inf), (-1,), ("heavy",), None]
)
def test_thresholds_that_are_no_ascending_rain_rates_are_refused(thresholds):
    with pytest.raises(
        UserError, match=r"expected one or more positive thresholds \[mm/h\] in ascending order"
    ):
        derive(made([[[1]]], [5]), None, thresholds=thresholds)


@pytest.mark.parametrize("radius", [-1, NAN, np.inf])
def test_a_neighbourhood_that_cannot_grow_is_refused(radius):
    with pytest.raises(
        UserError, match="the neighbourhood must grow by 0 or more kilometres an hour"
    ):
        derive(made([[[1]]], [5]), None, radius_km_per_hour=radius)


@pytest.mark.parametrize("shape", [(2, 1, 1), (0, 1, 1, 1), (3, 2, 1, 1), (3, 1, 1, 2)])
def test_members_of_another_shape_are_refused(shape):
    message = (
        r"expected rain rates with the axes M T H W"
        if len(shape) == 3
        else r"expected members of shape \(members, 1, 1, 1\), as the forecast"
    )
    with pytest.raises(UserError, match=message):
        replace(made([[[1]]], [5]), members=np.zeros(shape))


def test_a_context_of_another_grid_or_time_is_refused():
    forecast = made([[[1, 1, 1], [1, 1, 1]]], [5])
    with pytest.raises(
        UserError,
        match="the forecast and its context lie on different grids: 2x3 cells against 1x3",
    ):
        derive(forecast, context([[[0, 0, 0]]], 0))
    with pytest.raises(
        UserError,
        match="the context ends at 2020-05-31T23:55:00 UTC, but the forecast starts at "
        "2020-06-01T00:00:00 UTC",
    ):
        derive(forecast, context(np.zeros((1, 2, 3)), -5))
    with pytest.raises(UserError, match="the context is empty, but the forecast"):
        derive(forecast, context(np.zeros((0, 2, 3))))
