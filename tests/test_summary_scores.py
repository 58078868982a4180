"""The scores of an evaluation as a reader meets them: titles, main ones, what differences say."""

import numpy as np
import pytest

from nowcast.evaluation.intervals import Estimate
from nowcast.evaluation.statistics.sums import ScoreKey
from nowcast.evaluation.summary_scores import SummaryScores
from nowcast.report.groups import Group
from nowcast.report.runs import Run
from nowcast.report.scoring import difference_cell
from nowcast.report.summary import summary
from tests.factories_results import CSI, MAE, results


@pytest.mark.parametrize(
    ("pixels", "baseline", "smooth"),
    [(9, 5, True), (7, 5, False), (3, 1, False), (9, np.nan, False), (np.nan, 5, False)],
)
def test_a_model_is_called_smooth_that_resolves_less_than_every_baseline(pixels, baseline, smooth):
    scores = SummaryScores(results(), ["nowcast"])
    nothing = np.full(3, np.nan)
    scores.estimates = {
        model: {ScoreKey("effective_resolution"): Estimate(np.full(3, value), nothing, nothing)}
        for model, value in (("nowcast", pixels), ("persistence", baseline))
    }
    assert scores.smooth_models() == ({"nowcast": pixels} if smooth else {})
    section = summary(Group([Run("r", scores.results)], scores))
    cautions = [item.sentences for item in section.items if getattr(item, "style", "") == "warning"]
    assert bool(cautions) == smooth
    if smooth:
        ((sentence,),) = cautions
        assert sentence.startswith(
            "At +10 min, forecasts of nowcast have less than half of the observed power at "
            "wavelengths below 9 pixels"
        )


def test_a_difference_is_marked_better_or_worse_where_its_interval_leaves_out_0():
    value, low, high = np.array([0.2, 0.2, 0.2, np.nan]), [0.1, -0.1, np.nan, np.nan], [0.3] * 4
    difference = Estimate(value, np.array(low), np.array(high))
    marks = [difference_cell(CSI, difference, lead, reach=1.0).mark for lead in range(4)]
    assert marks == ["better", "open", "", ""]
    assert difference_cell(MAE, difference, 0, reach=1.0).mark == "worse"
    assert difference_cell(CSI, difference, 3, reach=1.0).text == "undefined"


def test_the_main_scores_come_first_and_all_are_titled_with_their_unit():
    scores = SummaryScores(results(), ["nowcast"])
    titles = [scores.title(key) for key in scores.main]
    assert titles[:3] == ["CSI ≥ 0.5 mm/h", "CSI ≥ 2 mm/h", "FSS ≥ 0.5 mm/h, 3 px"]
    assert "MAE [mm/h]" in titles and "MSE [mm²/h²]" in titles
    assert scores.scopes == [("over all leads", 2), ("at +10 min", 1)]
