"""The page as one file: what lies in it, how large it becomes, and that nothing of its data runs."""

import base64
import json
import re
import zlib

import numpy as np
import pytest
from factories import grid, times

from nowcast.forecasting.products import derive
from nowcast.page import content, single_file
from nowcast.page.coding import amounts
from nowcast.runtime.errors import UserError
from nowcast.types.frames import Forecast, Frames

HOSTILE = '</script><img src=x onerror="window.hacked = 1"><!-- \u2028'


def case(height=20, width=30, leads=3, members=None):
    """Two observed frames of 2 mm/h and a forecast of 1, 2, 3, ... mm/h; the first column is never
    observed.
    """
    place = grid(height, width)
    seen = np.full((2, height, width), 2.0, np.float32)
    seen[:, :, 0] = np.nan
    rates = np.broadcast_to(
        np.arange(1, leads + 1, dtype=np.float32)[:, None, None], (leads, height, width)
    ).copy()
    rates[:, :, 0] = np.nan
    drawn = None if members is None else np.stack([rates * k for k in range(1, members + 1)])
    leads = np.arange(1, leads + 1) * np.timedelta64(300, "s")
    context = Frames(seen, times(0, 5), place)
    return Forecast(rates, times(5)[0], leads, place, members=drawn), context


def data(page: str) -> dict:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    return json.loads(found[1])


def field(facts: dict, layer: int, frame: int) -> np.ndarray:
    name = facts["layers"][layer]["files"][frame]
    packed = base64.b64decode(facts["fields"][name])
    shape = facts["grid"]["height"], facts["grid"]["width"]
    return np.frombuffer(zlib.decompress(packed), np.uint8).reshape(shape)


def test_a_file_has_every_field_of_forecast_and_context_with_their_times(tmp_path):
    forecast, context = case()
    made = derive(forecast, context, thresholds=[1.0])
    path = single_file.write_page(
        content.forecast_content(made, context),
        tmp_path / "a page.html",
        title="Rain",
        about=[("Model", "mine")],
    )
    facts = data(path.read_text())
    assert [layer["title"] for layer in facts["layers"]] == [
        "Rain rate",
        "Rain since the analysis time",
        "Probability ≥ 1 mm/h",
    ]
    assert [frame["lead_seconds"] for frame in facts["frames"]] == [-300, 0, 300, 600, 900]
    for frame, rate in enumerate([2, 2, 1, 2, 3]):
        expected = np.full((20, 30), amounts([rate])[0])
        expected[:, 0] = 0  # not observed, no forecast
        np.testing.assert_array_equal(field(facts, 0, frame), expected)
    # 1, 2 and 3 mm/h for 5 minutes each
    assert field(facts, 1, 4)[0, 1] == amounts([0.5])[0]
    assert facts["about"][0] == ["Model", "mine"]
    assert facts["about"][1:] == [
        ["Grid", "20 x 30 cells of 1000 x 1000 metre"],
        ["Coastlines and borders", "GSHHG (Wessel and Smith 1996)"],
    ]


def test_a_forecast_without_probabilities_has_rates_and_accumulation(tmp_path):
    forecast, _ = case()
    path = single_file.write_page(
        content.forecast_content(forecast), tmp_path / "p.html", title="Rain"
    )
    facts = data(path.read_text())
    assert [layer["name"] for layer in facts["layers"]] == ["rate", "depth"]
    assert facts["observed_frames"] == 0 and facts["probabilities"] == ""


def test_observations_and_the_first_three_members_are_layers_and_frames_in_common_lie_there_once(
    tmp_path,
):
    forecast, context = case(members=5)
    came = np.full_like(forecast.values, 7.0)
    beside = [content.Beside("What came", came, is_observed=True)]
    made = content.forecast_content(forecast, context, beside=beside, title="Nowcast")
    facts = data(single_file.write_page(made, tmp_path / "p.html", title="Rain").read_text())
    assert [layer["title"] for layer in facts["layers"]] == [
        "Nowcast",
        "What came",
        "Member 1 of 5",
        "Member 2 of 5",
        "Member 3 of 5",
        "Rain since the analysis time",
    ]
    assert [layer.get("observed") for layer in facts["layers"]] == [
        None,
        True,
        None,
        None,
        None,
        None,
    ]
    assert field(facts, 1, 2)[0, 0] == amounts([7.0])[0]
    # two observed frames that five layers share, and three of each of the six layers
    assert len(facts["fields"]) == 2 + 3 * 6


def test_nothing_in_the_data_can_end_its_element_or_be_markup(tmp_path):
    forecast, context = case()
    path = single_file.write_page(
        content.forecast_content(forecast, context),
        tmp_path / "p.html",
        title=HOSTILE,
        about=[(HOSTILE, HOSTILE)],
    )
    page = path.read_text()
    assert "<img" not in page and page.count("</script>") == 2  # the data and the script
    facts = data(page)
    assert facts["title"] == HOSTILE and facts["about"][0] == [HOSTILE, HOSTILE]


def test_the_policy_lets_this_script_and_this_style_run_and_nothing_be_fetched(tmp_path):
    path = single_file.write_page(
        content.forecast_content(case()[0]), tmp_path / "p.html", title="Rain"
    )
    page = path.read_text()
    policy = re.search(r'"Content-Security-Policy" content="([^"]*)"', page)[1]
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'sha256-")
    assert "unsafe" not in policy and "'self'" not in policy and "connect-src" not in policy
    assert "page.css" not in page and 'src="page.js"' not in page
    assert "nowcast serve" not in re.search(r'id="message-text">(.*?)</p>', page, re.S)[1]


def test_fields_that_would_make_a_large_file_become_means_over_blocks(tmp_path, monkeypatch):
    generator = np.random.default_rng(1)
    values = generator.gamma(1.0, 4.0, (2, 400, 300)).astype(np.float32)
    leads = np.arange(1, 3) * np.timedelta64(300, "s")
    noise = Forecast(values, times(0)[0], leads, grid(400, 300))
    whole = data(
        single_file.write_page(
            content.forecast_content(noise), tmp_path / "a.html", title="Rain"
        ).read_text()
    )
    assert whole["grid"]["height"] == 400 and not whole["grid"]["reduced"]
    monkeypatch.setattr(single_file, "MOST_BYTES", 100_000)
    path = single_file.write_page(
        content.forecast_content(noise), tmp_path / "b.html", title="Rain"
    )
    facts = data(path.read_text())
    assert 100 <= facts["grid"]["height"] < 250 and facts["grid"]["reduced"]
    fields = sum(len(base64.b64decode(one)) for one in facts["fields"].values())
    assert 60_000 < fields <= 100_000


def test_frames_alone_make_a_page_of_observations(tmp_path):
    _, context = case()
    path = single_file.write_page(
        content.frames_content(context), tmp_path / "p.html", title="Radar", archived=True
    )
    facts = data(path.read_text())
    assert facts["observed_frames"] == len(facts["frames"]) == 2
    assert [frame["lead_seconds"] for frame in facts["frames"]] == [-300, 0]
    assert facts["archived"] is True


@pytest.mark.parametrize("name", ["page.png", "page", "page.nc"])
def test_a_page_is_an_html_file(tmp_path, name):
    with pytest.raises(UserError, match="is not the name of an HTML page; expected one that ends"):
        single_file.write_page(content.forecast_content(case()[0]), tmp_path / name, title="Rain")
    assert list(tmp_path.iterdir()) == []


def test_a_context_of_another_grid_is_refused():
    forecast, _ = case()
    _, other = case(height=21)
    with pytest.raises(UserError, match="the context lies on another grid than the forecast"):
        content.forecast_content(forecast, other)


def test_a_page_that_cannot_be_written_leaves_nothing(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        single_file.write_page(
            content.forecast_content(case()[0]), tmp_path / "file" / "p.html", title="Rain"
        )
