import errno
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from nowcast.evaluation.cache import ForecastCache
from nowcast.evaluation.results import Block, Results, conclusion
from nowcast.runtime.errors import UserError
from tests.factories_results import CSI, MAE, results


def test_scores_and_paired_differences_come_with_intervals_by_lead_and_over_all():
    found = results()
    assert found.values("nowcast")[MAE] == pytest.approx([0.1] * 3, rel=1e-5)
    difference = found.differences("nowcast", "persistence")[MAE]
    assert difference.value == pytest.approx([-0.3] * 3, rel=1e-5) and difference.differs.all()
    assert (difference.low <= difference.value + 1e-9).all() and (
        difference.high >= difference.value - 1e-9
    ).all()
    estimate = found.estimates("nowcast")[CSI]
    assert (estimate.low < estimate.value).all() and (estimate.value < estimate.high).all()


def test_the_rows_of_a_model_are_its_scores_with_their_intervals():
    rows = {row[:4]: row for row in results().rows("persistence")}
    row = rows["mae", None, None, None]
    assert (
        row.value == pytest.approx(0.4, rel=1e-5)
        and row.low == pytest.approx(0.4, rel=1e-5)
        and row.high == pytest.approx(0.4, rel=1e-5)
    )
    assert ("fss", 2.0, 3, 2) in rows


def test_of_one_event_are_its_blocks_alone():
    found = results()
    first = found.of_event("first")
    assert (found.events, first.events, first.cases, found.cases) == (
        ["first", "second"],
        ["first"],
        6,
        18,
    )
    np.testing.assert_array_equal(
        first.totals["nowcast"]["pixels.hits"], found.totals["nowcast"]["pixels.hits"][:2]
    )
    with pytest.raises(UserError, match="there is no event 'third'; there are first, second"):
        found.of_event("third")


def test_one_block_has_scores_without_intervals():
    found = results(blocks=1)
    assert not found.has_intervals and np.isnan(found.estimates("nowcast")[MAE].low).all()
    assert np.isnan(found.differences("nowcast", "persistence")[MAE].high).all()
    assert found.differences("nowcast", "persistence")[MAE].value == pytest.approx(
        [-0.3] * 3, rel=1e-5
    )


def test_results_read_back_as_they_were_kept(tmp_path):
    found = results()
    found.save(tmp_path / "run" / "evaluation")
    for folder in (tmp_path / "run" / "evaluation", tmp_path / "run"):
        again = Results.load(folder)
        assert (again.settings, again.blocks, again.facts, again.resampling, again.models) == (
            found.settings,
            found.blocks,
            found.facts,
            found.resampling,
            found.models,
        )
        for model in found.models:
            for name, array in found.totals[model].items():
                np.testing.assert_array_equal(again.totals[model][name], array)
    (case,) = again.shown
    assert (case.kind, case.title) == ("best", "case <b>1</b>") and case.grid.difference(
        found.shown[0].grid
    ) is None
    np.testing.assert_allclose(
        case.observation, found.shown[0].observation, rtol=1e-3
    )  # pictures: half the digits
    assert repr(again.rows("nowcast")) == repr(found.rows("nowcast"))


def test_a_folder_without_an_evaluation_is_told_how_to_make_one(tmp_path):
    with pytest.raises(
        UserError, match="contains no evaluation.h5; make it with: nowcast evaluate run="
    ):
        Results.load(tmp_path)


@pytest.mark.parametrize(
    "damage", ["cut", "bytes", "about", "array", "external", "huge", "settings"]
)
def test_a_damaged_or_hostile_file_is_one_sentence(tmp_path, damage):
    results().save(tmp_path)
    path = tmp_path / "evaluation.h5"
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-2000])
    elif damage == "bytes":
        path.write_bytes(b"no HDF5")
    else:
        with h5py.File(path, "r+") as file:
            if damage == "about":
                del file["about"]
                file["about"] = np.frombuffer(b"{", np.uint8)
            elif damage == "settings":
                del file["about"]
                file["about"] = np.frombuffer(
                    b'{"format": 2, "settings": {}, "blocks": [{"label": 1}]}', np.uint8
                )
            else:
                del file["totals/0/pixels.hits"]
                if damage == "external":
                    file["totals/0/pixels.hits"] = h5py.ExternalLink("/etc/passwd", "x")
                elif damage == "huge":
                    file.create_dataset(
                        "totals/0/pixels.hits", (2**20, 2**20), np.float64, chunks=(1, 1024)
                    )
                else:
                    file.create_group("totals/0/pixels.hits")
    reason = {
        "array": "is no array of this file",
        "external": "is no array of this file|unable to",
        "huge": "claims 1099511627776 values",
    }.get(damage, "")
    with pytest.raises(UserError, match=f"evaluation.h5 is damaged .*({reason}).*; evaluate again"):
        Results.load(tmp_path)


def test_an_evaluation_of_another_format_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("nowcast.evaluation.results.FORMAT", 1)
    results().save(tmp_path)
    monkeypatch.setattr("nowcast.evaluation.results.FORMAT", 2)
    with pytest.raises(
        UserError, match="is an evaluation of format 1; this nowcast reads 2: evaluate again"
    ):
        Results.load(tmp_path)


@pytest.mark.parametrize(
    ("events", "blocks", "said"),
    [
        (1, 6, ["describe this event alone", "6 blocks are too narrow"]),
        (3, 12, ["are an indication"]),
        (8, 40, ["likely to hold on similar events"]),
        (30, 30, ["can be expected on other events"]),
        (1, 1, ["this event alone", "One block of cases has no interval"]),
    ],
)
def test_what_may_be_concluded_depends_on_the_number_of_independent_events(events, blocks, said):
    text = " ".join(conclusion(events, blocks, by_time=True))
    assert all(part in text for part in said) and ("too narrow" in text) == (2 <= blocks < 10)
    assert "independent of each other" not in text


def test_cases_without_a_time_are_independent_sequences_and_not_one_event():
    found = replace(results(), blocks=[Block(f"b{k}", "all cases", 3) for k in range(6)])
    assert "hold for other sequences of the same kind" in found.conclusion()[0]


def test_on_a_full_disk_nothing_is_kept_and_that_is_one_line(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(
        UserError, match="evaluation.h5 could not be written: No space left on device"
    ):
        results().save(tmp_path)
    cache = ForecastCache(tmp_path, 1e9)
    cache.put("abcd", np.ones((2, 3, 3)))
    assert cache.get("abcd") is None and not [
        path for path in tmp_path.rglob("*") if path.is_file()
    ]


def test_independent_sequences_need_no_events():
    assert "hold for other sequences of the same kind" in conclusion(1, 100, by_time=False)[0]


def test_an_evaluation_is_shown_in_one_line_and_printed_as_its_tables():
    found = results(blocks=6)
    assert repr(found) == (
        "<Results: nowcast, persistence in 18 cases of 2 events; print shows the scores>"
    )
    lines = str(found).splitlines()
    assert "Over all leads: mean of the leads" in lines[0]
    assert any(line.split()[:4] == ["MAE", "lower", "0.100*", "0.400"] for line in lines)
    assert any("nowcast minus the baseline" in line for line in lines)
    assert max(len(line) for line in lines[: lines.index("By lead time, in minutes")]) <= 80
    assert any(line.startswith("18 test cases; every score") for line in lines)
    assert lines[-2].startswith("Intervals from 6 blocks are too narrow")
    assert "minus the baseline" not in str(results(blocks=1))


def test_what_failed_stands_below_the_printed_tables():
    failed = {"persistence": {"cases": 2, "reason": "no memory"}}
    text = str(results(facts={"failures": failed, "no_pixels": 1, "block_rule": "blocks of days"}))
    assert "persistence failed in 2 cases, and persistence stood in for it" in text
    assert "1 of them had no such pixel" in text and "1000 draws of blocks of days" in text


def test_the_reliability_of_an_ensemble_is_that_of_all_leads_together():
    found = results(members=4).reliability("nowcast", 0.5)
    assert found.probability.tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert found.share.sum() == pytest.approx(1) and (found.share >= 0).all()
    # members around the truth with little noise: what all of them say comes, what none says does not
    assert found.frequency[-1] > 0.9 and found.frequency[0] < 0.1
    totals = results(members=4).ensembles["nowcast"]
    forecasts = totals["forecasts"].sum((0, -1))[0]
    np.testing.assert_allclose(found.share, forecasts / forecasts.sum())


def test_the_reliability_of_what_was_not_judged_is_refused():
    with pytest.raises(UserError, match="'persistence' was not evaluated as an ensemble"):
        results(members=4).reliability("persistence", 0.5)
    with pytest.raises(UserError, match="3 mm/h was not scored; the thresholds are 0.5, 2 mm/h"):
        results(members=4).reliability("nowcast", 3)
