import math

import numpy as np
import pytest
from rich.console import Console

from nowcast.evaluation.intervals import Estimate
from nowcast.evaluation.score_files import read_csv, write_csv, write_differences
from nowcast.evaluation.statistics.scores import ScoreRow
from nowcast.evaluation.statistics.sums import ScoreKey, row_of
from nowcast.evaluation.tables import difference_table, lead_table, text_tables
from nowcast.evaluation.titles import (
    evenly,
    lead_label,
    score_title,
    thresholds_shown,
    unit_of,
    verdict,
)
from nowcast.runtime.errors import UserError
from tests.factories import rows_of

ROWS = {
    "ConvLSTM": [
        ScoreRow("csi", 0.5, 1, 1, 0.1 + 0.2, 0.25, 0.5),
        ScoreRow("csi", 0.5, 1, None, math.nan),
        ScoreRow("mse", None, None, 2, 1e-17),
        row_of(
            ScoreKey("economic_value", 5.0, box=16.0, accumulation=10.0, cost_loss=0.4),
            *(2, 0.25),
            functional="distribution",
        ),
    ],
    "flow, fast": [ScoreRow("psnr", None, None, 1, math.inf)],
}


def printed(tables, width=100):
    """What a terminal of that width shows."""
    console = Console(width=width, force_terminal=False)
    with console.capture() as capture:
        for table in tables:
            console.print(table)
    return capture.get()


def two_models(leads=12):
    return {
        name: rows_of("csi", [first - 0.01 * i for i in range(leads)], threshold=1.0, window=1)
        + rows_of("frequency_bias", [bias] * leads, threshold=1.0, window=1)
        for name, first, bias in (("ConvLSTM", 0.9, 0.5), ("persistence", 0.7, 1.6))
    }


def test_the_csv_file_has_one_line_per_score_with_all_digits_and_minutes(tmp_path):
    write_csv(ROWS, tmp_path / "scores.csv", lead_minutes=5)
    assert (tmp_path / "scores.csv").read_text().splitlines() == [
        "model,score,threshold,window,lead,value,low,high,functional,box,accumulation,cost_loss",
        "ConvLSTM,csi,0.5,1,5,0.30000000000000004,0.25,0.5,,,,",
        "ConvLSTM,csi,0.5,1,,nan,,,,,,",
        "ConvLSTM,mse,,,10,1e-17,,,,,,",
        "ConvLSTM,economic_value,5,,10,0.25,,,distribution,16,10,0.4",
        '"flow, fast",psnr,,,5,inf,,,,,,',
    ]


@pytest.mark.parametrize("lead_minutes", [None, 5, 2.5])
def test_a_csv_file_reads_back_as_the_same_rows(tmp_path, lead_minutes):
    write_csv(ROWS, tmp_path / "scores.csv", lead_minutes=lead_minutes)
    assert repr(read_csv(tmp_path / "scores.csv", lead_minutes=lead_minutes)) == repr(ROWS)


def test_the_value_over_all_leads_is_the_mean_but_for_cross_entropy_the_sum():
    assert rows_of("mse", [1.0, 3.0])[-1][:5] == ("mse", None, None, None, 2.0)
    assert rows_of("cross_entropy", [1.0, 3.0])[-1][:5] == ("cross_entropy", None, None, None, 4.0)


def test_a_dash_is_explained_under_the_tables_that_have_one():
    undefined = "– undefined: no event at some lead"
    rows = {
        "ConvLSTM": rows_of("csi", [0.9, math.nan, math.nan], threshold=1.0, window=1),
        "persistence": rows_of("csi", [0.7, 0.6, math.nan], threshold=1.0, window=1),
    }
    assert undefined in printed(text_tables(rows, lead_minutes=5, pooled=False, width=100))
    first = {name: [row for row in of if row.lead == 1] for name, of in rows.items()}
    assert undefined not in printed([lead_table(first, lead_minutes=5)])
    unprinted = {name: [*of, rows_of("pod", [math.nan])[0]] for name, of in first.items()}
    assert undefined not in printed([lead_table(unprinted, lead_minutes=5)])


def test_the_tables_mark_the_better_model_with_a_star_and_say_how_leads_are_pooled():
    text = printed(text_tables(two_models(), lead_minutes=5))
    assert "Over all leads: mean of the leads" in text and "cross-entropy" not in text
    digits = printed(text_tables({"net": rows_of("cross_entropy", [1.0, 3.0])}, lead_minutes=None))
    digits = " ".join(digits.split())
    assert "Over all leads: mean of the leads (cross-entropy: sum)" in digits
    assert "Over all leads: from the counts of all leads together" in printed(
        text_tables(two_models(), lead_minutes=5, pooled=True)
    )
    lines = [line.split() for line in text.splitlines()]
    assert ["CSI", "≥", "1", "mm/h", "higher", "0.845*", "0.645"] in lines
    assert [
        "frequency",
        "bias",
        "≥",
        "1",
        "mm/h",
        "near",
        "1",
        "0.500",
        "1.600*",
    ] in lines  # log 2 is further from 0 than log 1.6


def test_the_table_over_all_leads_tells_windows_apart():
    rows = {
        name: rows_of("fss", [near], threshold=10.0, window=5)
        + rows_of("fss", [0.9], threshold=10.0, window=20)
        for name, near in (("a", 0.5), ("b", 0.6))
    }
    lines = [line.split() for line in printed(text_tables(rows, lead_minutes=5)[:1]).splitlines()]
    assert ["FSS", "≥", "10", "mm/h,", "5", "px", "higher", "0.500", "0.600*"] in lines
    assert ["FSS", "≥", "10", "mm/h,", "20", "px", "higher", "0.900", "0.900"] in lines


def test_the_lead_table_shows_evenly_spaced_minutes_with_the_last():
    lines = [
        line.split() for line in printed(text_tables(two_models(), lead_minutes=5)[1:]).splitlines()
    ]
    assert ["score", "model", "+15", "+30", "+45", "+60"] in lines
    assert ["CSI", "≥", "1", "mm/h", "ConvLSTM", "0.880*", "0.850*", "0.820*", "0.790*"] in lines
    assert ["persistence", "0.680", "0.650", "0.620", "0.590"] in lines


def test_frames_are_counted_where_there_are_no_minutes():
    lines = [
        line.split()
        for line in printed(text_tables(two_models(3), lead_minutes=None)[1:]).splitlines()
    ]
    assert ["score", "model", "1", "2", "3"] in lines
    assert (lead_label(3, None), lead_label(3, 2.5)) == ("frame 3", "+7.5 min")


def test_both_tables_fit_80_columns():
    assert (
        max(
            len(line.rstrip())
            for line in printed(text_tables(two_models(), lead_minutes=5), width=80).splitlines()
        )
        <= 78
    )
    assert "persistence" in printed(text_tables(two_models(), lead_minutes=5)[1:], width=80)


@pytest.mark.parametrize("width", [80, 140])
def test_of_more_models_than_fit_each_has_a_line_with_the_main_scores(width):
    rows = {
        f"model number {k:02}": [
            row
            for t in (0.1, 1.0, 5.0)
            for row in rows_of("csi", [0.5 + k / 100], threshold=t, window=1)
        ]
        + rows_of("fss", [0.7], threshold=1.0, window=4)
        + rows_of("fss", [0.8 + k / 100], threshold=1.0, window=16)
        + rows_of("mae", [2.0])
        for k in range(12)
    }
    text = printed(text_tables(rows, lead_minutes=5, width=width)[:-1], width=width)
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert max(map(len, text.splitlines())) <= width and lines[-1].endswith("scores.csv")
    # CSI at three thresholds, FSS of the wider window, and MAE, in which all are alike
    whole = "0.610* 0.610* 0.610* 0.910* 2.000"
    first, rest = (whole, None) if width == 140 else (whole.removesuffix(" 2.000"), "2.000")
    assert f"model number 11 {first}" in lines and (
        rest is None or f"model number 11 {rest}" in lines
    )
    assert text.count("Over all leads") == 1 and "0.700" not in text


def test_undefined_values_are_dashes_and_equal_ones_have_no_star():
    rows = {
        "a": rows_of("csi", [math.nan], threshold=1.0, window=1) + rows_of("mse", [2.0]),
        "b": rows_of("csi", [0.5], threshold=1.0, window=1) + rows_of("mse", [2.0]),
    }
    lines = [line.split() for line in printed(text_tables(rows, lead_minutes=5)[:1]).splitlines()]
    assert ["CSI", "≥", "1", "mm/h", "higher", "–", "0.500"] in lines
    assert ["MSE", "lower", "2.000", "2.000"] in lines


def test_model_names_in_brackets_are_shown_as_they_are():
    assert "net[red]" in printed(text_tables({"net[red]": rows_of("mse", [1.0])}, lead_minutes=5))


def test_of_many_leads_the_equally_spaced_ones_that_end_with_the_last_are_chosen():
    assert evenly(12, 10) == [1, 3, 5, 7, 9, 11]
    assert evenly(10, 10) == list(range(10))
    assert evenly(1, 5) == [0]


def test_of_many_thresholds_the_lowest_middle_and_highest_with_events_are_shown():
    rows = [
        row for t in (0.1, 0.5, 1, 2, 5) for row in rows_of("csi", [0.5], threshold=t, window=1)
    ]
    rows += rows_of("csi", [math.nan], threshold=10.0, window=1)
    rows += rows_of("hits", [0.0], threshold=10.0, window=1)  # a count is defined where no event is
    assert thresholds_shown(rows) == [0.1, 1, 5]
    assert thresholds_shown(rows[-4:]) == [10]


def test_scores_are_titled_in_words():
    assert score_title("csi", 0.5) == "CSI ≥ 0.5 mm/h"
    assert (
        score_title("fss", 10.0, 20) == "FSS ≥ 10 mm/h, 20 px"
        and score_title("csi", 10.0, 1) == "CSI ≥ 10 mm/h"
    )
    assert score_title("csi", 1.0, 4) == "CSI ≥ 1 mm/h, largest of 4 px"
    assert (
        score_title("csi", 16.0, 1, unit=unit_of(None)) == "CSI ≥ 16 of 255"
        and score_title("csi_mean", None, 4) == "CSI, mean of the thresholds, largest of 4 px"
    )
    assert score_title("ssim_range2", None) == "SSIM (data range 2)"


def test_a_missing_score_file_is_a_users_error(tmp_path):
    with pytest.raises(UserError, match="none.csv cannot be read as a table of scores"):
        read_csv(tmp_path / "none.csv", lead_minutes=None)


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n"])
def test_a_csv_file_of_something_else_is_refused(tmp_path, text):
    (tmp_path / "other.csv").write_text(text)
    with pytest.raises(UserError, match="other.csv is no table of scores: its columns are"):
        read_csv(tmp_path / "other.csv", lead_minutes=None)


@pytest.mark.parametrize(
    "line, why",
    [
        ("a,csi,1,1,5", "not enough values"),
        ("a,csi,1,1,5,x,,", "could not convert"),
        ("a,csi,1,1,7,0.5,,", "lead 7 is no multiple of 5"),
    ],
)
def test_a_line_that_is_no_score_is_named(tmp_path, line, why):
    (tmp_path / "scores.csv").write_text(
        f"model,score,threshold,window,lead,value,low,high\na,csi,1,1,5,0.5,0.4,0.6\n{line}\n"
    )
    with pytest.raises(UserError, match=f"scores.csv, line 3 is no score: .*{why}"):
        read_csv(tmp_path / "scores.csv", lead_minutes=5)


def test_the_table_of_differences_says_what_is_sure_in_the_direction_of_each_score():
    three = np.full(3, 0.5)
    found = {
        "persistence": {
            ScoreKey("csi", 1.0, 1): Estimate(three, three - 0.25, three + 0.25),
            ScoreKey("mse"): Estimate(three, three - 0.25, three + 0.25),
            ScoreKey("correlation"): Estimate(three, three - 1, three + 1),
            ScoreKey("csi", 1.0, 4): Estimate(three, three, three),
        }
    }
    lines = [
        " ".join(line.split())
        for line in printed([difference_table("ConvLSTM", found, lead_minutes=5)]).splitlines()
    ]
    assert (
        "CSI ≥ 1 mm/h persistence +0.500 +0.250 to +0.750 better" in lines
        and "MSE persistence +0.500 +0.250 to +0.750 worse" in lines
    )
    assert "correlation persistence +0.500 −0.500 to +1.500 open" in lines and not any(
        "px" in line for line in lines
    )


def test_differences_are_written_with_their_intervals_by_lead_and_over_all(tmp_path):
    values = np.array([0.25, 0.5, 0.375])
    found = {
        "flow": {ScoreKey("csi", 1.0, 1): Estimate(values, values - 0.125, np.full(3, np.nan))}
    }
    of_sums = ScoreKey("crps", box=32.0, accumulation=10.0)
    found["flow"][of_sums] = found["flow"][ScoreKey("csi", 1.0, 1)]
    write_differences(found, tmp_path / "d.csv", lead_minutes=5)
    assert (tmp_path / "d.csv").read_text().splitlines() == [
        "baseline,score,threshold,window,lead,difference,low,high,box,accumulation,cost_loss",
        "flow,csi,1,1,5,0.25,0.125,,,,",
        "flow,csi,1,1,10,0.5,0.375,,,,",
        "flow,csi,1,1,,0.375,0.25,,,,",
        "flow,crps,,,10,0.5,0.375,,32,10,",
    ]


def test_a_verdict_needs_an_interval_and_a_direction():
    half, nothing = np.full(1, 0.5), np.full(1, np.nan)
    assert (
        verdict(ScoreKey("csi"), Estimate(half, nothing, nothing))
        == ""
        == verdict(ScoreKey("frequency_bias"), Estimate(half, half, half))
    )
    assert verdict(ScoreKey("far"), Estimate(-half, -half, -half)) == "better"
