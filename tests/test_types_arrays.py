"""Masks become NaN wherever an array enters, whatever library it comes from; times are rounded, and
none may be masked.
"""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
import torch
from factories import grid, times

from nowcast.baselines.persistence import Persistence
from nowcast.drawing.colours import rain_classes
from nowcast.evaluation.statistics.events import contingency
from nowcast.evaluation.statistics.moving_mnist import MovingMnistScores
from nowcast.evaluation.statistics.neighbourhood import fraction_sums
from nowcast.evaluation.statistics.protocols import Hko7Scores, SevirScores
from nowcast.evaluation.statistics.rain import RainScores
from nowcast.evaluation.statistics.scores import csi, hss, ratio
from nowcast.evaluation.statistics.structure import sal
from nowcast.forecasting.forecaster import Forecaster
from nowcast.readers.decoding import Coding
from nowcast.runtime.errors import UserError
from nowcast.types.arrays import as_numbers, as_spans, as_times, unmasked
from nowcast.types.frames import Forecast, Frames, Grid
from nowcast.types.task import Task
from nowcast.types.transform import FlooredLogRainRate, Identity, LogRainRate
from nowcast.types.units import rain_rate_from_reflectivity

NAN = np.nan
FILLS = (9.969209968386869e36, -9999.0, 0.0, 32767.0, 1e20, np.inf, np.nan)


def hidden(seed: int, shape=(2, 3, 4), kind=np.float32) -> tuple[np.ma.MaskedArray, np.ndarray]:
    """(a masked array with some fill value under its mask; what it must become)."""
    generator = np.random.default_rng(seed)
    mask = generator.random(shape) < 0.3
    mask.flat[0] = True
    values = generator.integers(0, 100, shape).astype(kind)
    under = FILLS[seed % len(FILLS)] if np.dtype(kind).kind == "f" else np.iinfo(kind).max
    with np.errstate(over="ignore", invalid="ignore"):
        data = np.where(mask, np.asarray(under, kind), values)
    expected = np.where(mask, np.float32(NAN), values.astype(np.float32))
    return np.ma.masked_array(data, mask, fill_value=np.asarray(7, kind)), expected


@pytest.mark.parametrize(
    "kind", ["f2", "f4", "f8", ">f4", "i1", "u1", "i2", ">i2", "u2", "i4", "i8", "u8"]
)
def test_what_is_masked_becomes_nan_whatever_lies_under_the_mask_and_the_rest_stays(kind):
    for seed in range(20):
        masked, expected = hidden(seed, kind=np.dtype(kind))
        before = masked.copy()
        np.testing.assert_array_equal(as_numbers(masked, "rates"), expected)
        np.testing.assert_array_equal(Frames(masked, times(0, 5), grid(3, 4)).values, expected)
        assert (
            masked.mask == before.mask
        ).all() and masked.fill_value == before.fill_value  # the caller's array is as it was


def containers(masked: np.ma.MaskedArray) -> dict:
    """The same masked values (2, H, W) as other libraries and nestings have them."""
    import dask.array
    import xarray

    data, mask = np.ma.getdata(masked), np.ma.getmaskarray(masked)
    return {
        "list of masked fields": list(masked),
        "tuple of masked fields": tuple(masked),
        "lists of masked rows": [list(field) for field in masked],
        "lists of numbers and masked": masked.tolist(),  # None where it is masked
        "lists with the masked constant": [
            [[np.ma.masked if m else float(v) for v, m in zip(*row)] for row in zip(*field)]
            for field in zip(data, mask)
        ],
        "array of objects": np.array(
            [
                [[None if m else v for v, m in zip(*row)] for row in zip(*field)]
                for field in zip(data, mask)
            ],
            dtype=object,
        ),
        "masked array of objects": np.ma.masked_array(data.astype(object), mask),
        "xarray": xarray.DataArray(masked, dims=("time", "y", "x")),
        "variable of xarray": xarray.Variable(("time", "y", "x"), masked),
        "dask": dask.array.from_array(masked, chunks=(1, 2, 2)),
        "dask in xarray": xarray.DataArray(dask.array.from_array(masked), dims=("time", "y", "x")),
        "xarray with its marks": xarray.DataArray(
            np.where(mask, -9999, data).astype(np.float32), attrs={"_FillValue": np.float32(-9999)}
        ),
        "torch": torch.from_numpy(np.where(mask, NAN, data).astype(np.float32)).requires_grad_(),
        "tensors in a list": [
            torch.from_numpy(np.where(m, NAN, d).astype(np.float32)) for d, m in zip(data, mask)
        ],
        "a hard mask": np.ma.masked_array(data, mask, hard_mask=True),
        "columns before rows in memory": np.ma.masked_array(
            np.asfortranarray(data), np.asfortranarray(mask)
        ),
        "a view": np.ma.masked_array(np.repeat(data, 2, axis=2), np.repeat(mask, 2, axis=2))[
            ..., ::2
        ],
    }


def test_other_libraries_and_lists_of_masked_arrays_become_the_same_frames():
    for seed in range(5):
        masked, expected = hidden(seed)
        for name, values in containers(masked).items():
            np.testing.assert_array_equal(
                Frames(values, times(0, 5), grid(3, 4)).values, expected, err_msg=name
            )


def test_a_variable_of_netcdf4_itself_is_taken_with_its_mask(tmp_path):
    netcdf4 = pytest.importorskip("netCDF4")
    with netcdf4.Dataset(tmp_path / "a.nc", "w") as file:
        file.createDimension("y", 2)
        file.createDimension("x", 3)
        rate = file.createVariable("rate", "i2", ("y", "x"), fill_value=-1)
        rate.scale_factor = np.float32(0.5)
        rate[...] = np.ma.masked_array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], [[1, 0, 0], [0, 0, 1]])
        clock = file.createVariable("time", "f8")
        clock.units = "minutes since 2020-06-01"
        clock[...] = 5.0
        moment = netcdf4.num2date(clock[...], clock.units)
        frames = Frames([rate], moment, grid(2, 3))
        np.testing.assert_array_equal(frames.values, [[[NAN, 2, 3], [4, 5, NAN]]])
        assert frames.times[0] == times(5)[0]


def test_plain_arrays_are_not_copied_and_no_mask_is_no_change():
    values = np.ones((2, 3, 4), np.float32)
    assert as_numbers(values, "rates") is values and unmasked(values, "rates") is values
    assert np.shares_memory(
        Frames(np.ma.masked_array(values, np.ma.nomask), times(0, 5), grid(3, 4)).values, values
    )
    assert unmasked(np.arange(3), "counts").dtype == np.arange(3).dtype


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            np.ma.masked_array([(1.0, 2)], [(0, 1)], dtype=[("rate", "f4"), ("flag", "i4")]),
            "rates are records with the fields rate, flag",
        ),
        (
            np.array([(1.0, 2)], dtype=[("rate", "f4"), ("flag", "i4")]),
            "are of type .*; expected real numbers",
        ),
        (["1.5"], "are of type <U3; expected real numbers"),
        (np.array([1 + 2j]), "of type complex128; expected real"),
        (times(0), r"of type datetime64\[s\]; expected real"),
        ([[1, 2], [3]], "cannot be made an array of numbers"),
        (object(), "object is no array"),
        ({"a": 1}, "dict is no array"),
    ],
)
def test_what_is_no_array_of_numbers_is_refused(values, message):
    with pytest.raises(UserError, match=message):
        as_numbers(values, "rates")


def test_packed_values_of_xarray_are_refused_instead_of_read_as_rates():
    import xarray

    with pytest.raises(
        UserError,
        match=r"rain rates are still packed .scale_factor is 0.1.; open the file with "
        r"mask_and_scale=True",
    ):
        Frames(xarray.DataArray(np.ones((1, 2, 3)), attrs={"scale_factor": 0.1}), times(0), grid())


@pytest.mark.parametrize(
    "mark", [9.969209968386869e36, 1e20, 32767, 5000.5, 65535, -9999, -32768, np.inf, -np.inf]
)
def test_marks_that_were_not_masked_are_refused_by_frames_and_forecasts(mark):
    values = np.zeros((1, 2, 3))
    values[0, 1, 2] = mark
    for make in (
        lambda: Frames(values, times(0), grid()),
        lambda: Forecast(values, times(0)[0], [300], grid()),
        lambda: Forecast(np.zeros((1, 2, 3)), times(0)[0], [300], grid(), members=values[None]),
    ):
        with pytest.raises(
            UserError,
            match="1 rain rates are (above 5000 mm/h|negative|infinite).*mark pixels that were "
            "not observed",
        ):
            make()


def test_rates_of_5000_are_still_rain_and_probabilities_must_be_shares():
    assert Frames(np.full((1, 2, 3), 5000.0), times(0), grid()).values.max() == 5000
    values = np.zeros((1, 2, 3))
    probability = np.ma.masked_array(
        np.full((1, 1, 2, 3), 0.5), np.arange(6).reshape(1, 1, 2, 3) == 1, fill_value=9
    )
    forecast = Forecast(
        values,
        times(0)[0],
        [300],
        grid(),
        probability,
        (1.0,),
        np.ma.masked_array(values[None] + 1, probability.mask),
    )
    np.testing.assert_array_equal(forecast.probability, [[[[0.5, NAN, 0.5], [0.5, 0.5, 0.5]]]])
    np.testing.assert_array_equal(forecast.members, [[[[1, NAN, 1], [1, 1, 1]]]])
    with pytest.raises(UserError, match="probabilities run from 0 to 50; expected 0 to 1"):
        Forecast(values, times(0)[0], [300], grid(), np.full((1, 1, 2, 3), 50.0), (1.0,))


def test_a_masked_coordinate_or_time_is_refused():
    with pytest.raises(
        UserError, match="grid coordinate x has shape .3,. with 1 that are missing or infinite"
    ):
        Grid("EPSG:3035", np.ma.masked_array([0, 1000, 2000], [0, 1, 0]), [1000, 0])
    with pytest.raises(UserError, match="1 of 2 frame times are masked; every time must be known"):
        Frames(np.zeros((2, 2, 3)), np.ma.masked_array(times(0, 5), [0, 1]), grid())
    with pytest.raises(UserError, match="frame times contain a time that is masked"):
        Frames(np.zeros((2, 2, 3)), [times(0)[0], np.ma.masked], grid())
    with pytest.raises(
        UserError, match="1 of 1 lead times are masked; every span of time must be known"
    ):
        Forecast(np.zeros((1, 2, 3)), times(0)[0], np.ma.masked_array([300], [1]), grid())
    with pytest.raises(
        UserError, match="the analysis time is 2 times; expected a single one, that of the last"
    ):
        Forecast(np.zeros((1, 2, 3)), times(0, 5), [300], grid())
    assert list(
        Grid("EPSG:3035", np.ma.masked_array([0, 1000]), np.ma.masked_array([1000, 0], [0, 0])).x
    ) == [0, 1000]


def test_times_of_every_library_are_the_same_utc_seconds():
    import pandas
    import xarray

    expected = times(0, 5)
    index = pandas.DatetimeIndex(expected)
    rome = index.tz_localize("UTC").tz_convert("Europe/Rome")
    for given in (
        expected,
        expected.astype("datetime64[ns]"),
        expected.astype("datetime64[m]"),
        expected.astype(datetime),
        list(expected),
        index,
        rome,
        list(rome),
        pandas.Series(expected),
        pandas.Series(rome),
        xarray.DataArray(expected.astype("datetime64[ns]")),
        [str(one) for one in expected],
        [f"{one}Z" for one in expected],
        ["2020-06-01T02:00+02:00", "2020-06-01 00:05"],
        expected.astype(np.int64),
        np.ma.masked_array(expected),
        [datetime(2020, 6, 1, tzinfo=UTC), datetime(2020, 6, 1, 0, 5)],
        expected.astype("datetime64[ns]") - np.timedelta64(100, "ns"),
        expected.astype("datetime64[ms]") + np.timedelta64(499, "ms"),
    ):
        assert list(as_times(given, "times")) == list(expected), repr(given)
    for given in (
        [300, 600],
        [timedelta(minutes=5), timedelta(minutes=10)],
        pandas.TimedeltaIndex(["5min", "10min"]),
        np.array([5, 10], "timedelta64[m]"),
        [np.timedelta64(5, "m"), 600 * np.timedelta64(1, "s")],
    ):
        assert list(as_spans(given, "lead times").astype(int)) == [300, 600], repr(given)


@pytest.mark.parametrize("given", [["yesterday"], [1.5], [True], [[object()]], np.array([1.0])])
def test_what_is_no_time_is_refused(given):
    with pytest.raises(UserError, match="times are no times that are understood"):
        as_times(given, "times")


def test_times_in_another_calendar_are_refused():
    cftime = pytest.importorskip("cftime")
    with pytest.raises(UserError, match="the calendar 360_day is not that of radar times"):
        as_times([cftime.Datetime360Day(2020, 2, 30)], "times")


def test_transforms_take_masks_for_what_was_not_observed():
    for seed in range(5):
        masked, expected = hidden(seed)
        for transform in (Identity(), LogRainRate(), FlooredLogRainRate()):
            values, observed = transform.normalise(masked)
            plain = transform.normalise(expected)
            assert (
                torch.equal(values, plain[0])
                and torch.equal(observed, plain[1])
                and torch.equal(observed, torch.from_numpy(~masked.mask))
            )


def test_a_forecaster_takes_masks_and_forecasts_nothing_where_nothing_was_seen():
    context = np.ma.masked_array(
        np.ones((1, 2, 2, 3)), np.zeros((1, 2, 2, 3), bool), fill_value=1e20
    )
    context[0, :, 0, 0] = np.ma.masked
    forecaster = Forecaster(Persistence(), Identity(), Task(2, 1, 5))
    np.testing.assert_array_equal(forecaster.forecast_values(context), [[[[NAN, 1, 1], [1, 1, 1]]]])


@pytest.mark.parametrize(
    "scores",
    [RainScores(windows=(3,), pools=(2,), sal=True, spectra=True), Hko7Scores(), SevirScores()],
)
def test_every_sum_of_scores_leaves_masked_pixels_out_as_it_leaves_out_nan(scores):
    generator = np.random.default_rng(0)
    shape = (2, 2, 8, 9)
    fields = [
        (generator.random(shape) * (1 if isinstance(scores, SevirScores) else 20)).astype(
            np.float32
        )
        for _ in range(2)
    ]
    masks = [generator.random(shape) < 0.2 for _ in range(2)]
    masked = [
        np.ma.masked_array(np.where(mask, 1e20, field), mask) for field, mask in zip(fields, masks)
    ]
    with_nan = [np.where(mask, np.float32(NAN), field) for field, mask in zip(fields, masks)]
    found, expected = scores.sums(2), scores.sums(2)
    found.add(*masked)
    expected.add(*with_nan)
    for name, total in expected.totals().items():
        np.testing.assert_array_equal(found.totals()[name], total, err_msg=name)


def test_ensembles_and_functions_of_scores_take_masks():
    generator = np.random.default_rng(1)
    members, truth = (
        generator.random((1, 3, 2, 4, 5)).astype(np.float32),
        generator.random((1, 2, 4, 5)).astype(np.float32),
    )
    mask = generator.random(truth.shape) < 0.3
    sums, expected = (RainScores().ensemble(3).sums(2) for _ in range(2))
    sums.add(members, np.ma.masked_array(np.where(mask, 9e36, truth), mask))
    expected.add(members, np.where(mask, np.float32(NAN), truth))
    assert all(
        np.array_equal(sums.totals()[name], total) for name, total in expected.totals().items()
    )
    f, o, hide = members[0, 0, 0], truth[0, 0], mask[0, 0]
    hidden_o, nan_o = (
        np.ma.masked_array(np.where(hide, 9e36, o), hide),
        np.where(hide, np.float32(NAN), o),
    )
    np.testing.assert_array_equal(
        fraction_sums(f, hidden_o, (0.5,), (3,)), fraction_sums(f, nan_o, (0.5,), (3,))
    )
    assert sal(f, hidden_o) == sal(f, nan_o)
    np.testing.assert_array_equal(
        contingency(f.ravel(), hidden_o.ravel(), (0.5,)), contingency(f[~hide], o[~hide], (0.5,))
    )
    counts = np.ma.masked_array([4, 9], [0, 1])
    assert (
        np.isnan(ratio(counts, 8)).tolist() == [False, True]
        and np.isnan(csi(counts, 1, 1))[1]
        and np.isnan(hss(counts, 1, 1, 1))[1]
    )
    assert np.isnan(
        rain_rate_from_reflectivity(np.ma.masked_array([20.0, 30.0], [0, 1]), 200, 1.6)
    ).tolist() == [False, True]


def test_grey_levels_that_are_masked_are_no_observation():
    with pytest.raises(UserError, match="observed grey values run from nan to nan"):
        MovingMnistScores().sums(1).add(
            np.zeros((1, 1, 8, 8)),
            np.ma.masked_array(np.zeros((1, 1, 8, 8)), np.eye(8, dtype=bool)[None, None]),
        )


def test_decoding_and_pictures_take_masks():
    raw = np.ma.masked_array(np.uint8([[10, 255, 20]]), [[0, 1, 0]])
    np.testing.assert_array_equal(
        Coding("rain_rate", missing=()).rain_rate(raw, "a"), [[10, NAN, 20]]
    )
    assert rain_classes(np.ma.masked_array([0.0, 1e20], [0, 1])).tolist() == [0, 9]
