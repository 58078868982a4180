"""What a forecast's file says about its origin."""

from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest
from factories_fields import forecast

import nowcast
from nowcast.output.origin import file_attributes, origin_attributes
from nowcast.runtime.errors import UserError
from nowcast.runtime.files import sha256_of

ANALYSIS = np.datetime64("2020-06-01T12:00")
FORECAST = forecast([[[1.0]]])
NOW = datetime(2020, 6, 1, 12, 7, 30, tzinfo=UTC)


def test_a_forecast_says_what_made_it_from_which_files_and_how_old_they_are():
    inputs = [("a.h5", np.datetime64("2020-06-01T11:55")), ("b.h5", ANALYSIS)]
    assert origin_attributes(
        model="run 7",
        analysis_time=ANALYSIS,
        inputs=inputs,
        model_sha256="ab12",
        institution="us",
        now=NOW,
    ) == {
        "source": f"nowcast {nowcast.__version__}, run run 7",
        "model": "run 7",
        "nowcast_version": nowcast.__version__,
        "method": "nowcast",
        "data_age_minutes": "7.5",
        "input_files": "a.h5 2020-06-01T11:55:00Z (12.5 min old); b.h5 2020-06-01T12:00:00Z (7.5 "
        "min old)",
        "model_sha256": "ab12",
        "institution": "us",
    }


@pytest.mark.parametrize(
    ("minutes", "words"),
    [(119.96, "120.0 min"), (120, "2.0 h"), (47.9 * 60, "47.9 h"), (4348338, "3020 days")],
)
def test_an_age_is_in_the_unit_in_which_its_number_is_small(minutes, words):
    written = NOW - timedelta(minutes=minutes)
    time = np.datetime64(written.astimezone(UTC).replace(tzinfo=None), "s")
    attributes = origin_attributes(
        model="", analysis_time=ANALYSIS, inputs=[("a.h5", time)], now=NOW
    )
    assert attributes["input_files"].endswith(f"({words} old)")


def test_a_fallback_says_why_and_what_is_not_known_is_left_out():
    attributes = origin_attributes(
        model="none",
        analysis_time=ANALYSIS,
        method="persistence",
        fallback_reason="the newest frame is late",
        now=NOW,
    )
    assert (attributes["method"], attributes["fallback_reason"]) == (
        "persistence",
        "the newest frame is late",
    )
    assert not {"model_sha256", "institution", "input_files"} & set(attributes)


def test_the_moment_of_writing_may_be_given_in_any_time_zone_and_is_now_by_default():
    elsewhere = NOW.astimezone(timezone(timedelta(hours=-7)))
    assert (
        origin_attributes(model="", analysis_time=ANALYSIS, now=elsewhere)["data_age_minutes"]
        == "7.5"
    )
    recent = np.datetime64(datetime.now(UTC).replace(tzinfo=None), "s")
    assert float(origin_attributes(model="", analysis_time=recent)["data_age_minutes"]) < 1


def test_an_unknown_method_is_refused():
    with pytest.raises(
        UserError,
        match="the method 'guess' is unknown; a forecast is made by nowcast, extrapolation, "
        "persistence",
    ):
        origin_attributes(model="", analysis_time=ANALYSIS, method="guess")


def test_the_checksum_is_that_of_the_file(tmp_path):
    (tmp_path / "weights").write_bytes(b"abc")  # FIPS 180-2, appendix B.1
    assert (
        sha256_of(tmp_path / "weights")
        == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )
    with pytest.raises(UserError, match="none cannot be read to take its checksum: No such file"):
        sha256_of(tmp_path / "none")


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("plain", "plain"),
        ("Zürich €", "Zürich €"),
        ("two\nlines\tand\x0bmore", "two lines and more"),
        ("nul\x00 escape\x1b[31m", "nul\ufffd escape\ufffd[31m"),
        ("\ud800 half", "\ufffd half"),
        ("left\u202eright", "left\ufffdright"),
        ("a" * 16_000, "a" * 16_000),
        ("a" * 16_001, "a" * 15_997 + "..."),
        ("é" * 8_001, "é" * 7_998 + "..."),
        (5.5, "5.5"),
    ],
)
def test_texts_are_one_printable_line_of_at_most_16_kb(given, kept):
    assert file_attributes(FORECAST, {"name": given}) == {"name": kept}


@pytest.mark.parametrize("name", ["", "1st", "a b", "a/b", "a\x00", "é", "_x", "a" * 101, 5])
def test_names_that_some_format_cannot_hold_are_refused(name):
    with pytest.raises(
        UserError,
        match="is no name of an attribute; up to 100 letters, digits and underscores that start "
        "with a letter are accepted",
    ) as error:
        file_attributes(FORECAST, {name: "text"})
    assert len(str(error.value)) < 250 and "\n" not in str(error.value)
