"""The report in a real browser: the system's Chromium, driven by playwright, from a file and
without any network.
"""

from dataclasses import replace
from datetime import datetime

import numpy as np
import pytest

from nowcast import report
from nowcast.evaluation.results import ShownCase
from nowcast.report.runs import Run, TrainingHistory
from tests.factories_results import GRID, results

HOSTILE = (
    '<img src=x onerror="window.hacked = 1"><script>window.hacked = 2</script>\u202e'
    + "javascript:/*--></title></style>"
    + "x" * 120
)
TRAINING = TrainingHistory(
    np.arange(1, 6), np.linspace(5, 1, 5), np.array([5, 4, 3, 3.5, 3.6]), np.full(5, np.nan)
)


def shown(kind, rain):
    """A case of two leads, everywhere so many mm/h, with forecasts of half and of twice as much."""
    field = np.full((2, 12, 12), rain, np.float32)
    field[:, :2, :2] = np.nan
    return ShownCase(
        kind,
        f"{kind} case",
        field[:1],
        field,
        {"nowcast": np.stack([field[0] / 2, field[1] * 20]), "persistence": field * 2},
        GRID,
    )


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    found = results(members=4, blocks=12)
    found = replace(found, shown=[shown("worst", 3.0), shown("best", 12.0)])
    return report.write_runs(
        [Run("our run", found, training=TRAINING)],
        tmp_path_factory.mktemp("report") / "report #1 [é].html",
    )


@pytest.fixture
def visit(browser):
    """Opens a report; at the end of the test it must have asked for nothing and complained of
    nothing.
    """
    opened, requests, complaints = [], [], []

    def visiting(path, **options):
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}} | options)
        opened.append(context)
        tab = context.new_page()
        tab.set_default_timeout(8000)
        tab.on("request", lambda request: requests.append(request.url))
        tab.on("console", lambda message: complaints.append(message.text))
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.goto(path.as_uri())
        return tab

    visiting.complaints = complaints
    yield visiting
    for context in opened:
        context.close()
    assert [url for url in requests if not url.startswith(("data:", "file:"))] == [] and requests
    assert complaints == []


def heading(section, title):
    """Above a chart."""
    return section.locator("figcaption strong").get_by_text(title, exact=True)


def case(tab):
    """The case that is to be seen."""
    return tab.locator(".case:visible")


def colour(tab, panel):
    """RGB of a pixel of the picture that a panel shows."""
    return tab.evaluate(
        """([name]) => {
            const image = [...document.querySelectorAll(`.panel[aria-label="${name}"] .frame.on img`)].find((one) => one.offsetParent);
            const canvas = document.createElement("canvas");
            [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
            canvas.getContext("2d").drawImage(image, 0, 0);
            return [...canvas.getContext("2d").getImageData(6, 6, 1, 1).data].slice(0, 3);
        }""",
        [panel],
    )


def test_tabs_show_one_part_at_a_time_by_mouse_and_by_keyboard(file, visit):
    tab = visit(file)
    leads = tab.locator("#leads")
    assert [one.inner_text() for one in leads.get_by_role("tab").all()] == [
        "Whole field",
        "≥ 0.5 mm/h",
        "≥ 2 mm/h",
    ]
    assert leads.get_by_role("tabpanel").count() == 1 and heading(leads, "MAE [mm/h]").is_visible()
    leads.get_by_role("tab", name="≥ 2 mm/h").click()
    assert heading(leads, "CSI ≥ 2 mm/h").is_visible()
    assert not heading(leads, "MAE [mm/h]").is_visible()
    tab.keyboard.press("ArrowRight")  # round to the first
    assert leads.get_by_role("tab", name="Whole field").get_attribute("aria-selected") == "true"
    assert heading(leads, "MAE [mm/h]").is_visible()
    tab.keyboard.press("End")
    assert leads.get_by_role("tab", selected=True).inner_text() == "≥ 2 mm/h"
    assert leads.locator("[role=tab][tabindex='0']").count() == 1


def test_the_slider_moves_all_pictures_of_a_case_together(file, visit):
    tab = visit(file)
    # 3 mm/h: from 2; 1.5: from 1
    assert colour(tab, "observation") == [35, 122, 196] and colour(tab, "nowcast") == [84, 163, 219]
    slider = case(tab).locator("input")
    slider.focus()
    tab.keyboard.press("ArrowRight")
    assert case(tab).locator("output").inner_text() == "+10 min"
    assert slider.get_attribute("aria-valuetext") == "+10 min"
    # 60 mm/h
    assert colour(tab, "observation") == [35, 122, 196] and colour(tab, "nowcast") == [30, 0, 5]
    tab.keyboard.press("Home")
    assert case(tab).locator("output").inner_text() == "analysis time, observed"
    assert case(tab).locator(".panel.none").count() == 2
    assert case(tab).get_by_text("forecast from +5 min").count() == 2
    tab.locator("#cases").get_by_role("tab", name="Best").click()
    assert case(tab).locator("output").inner_text() == "+5 min"
    assert case(tab).locator(".casetitle").inner_text() == "best case"


def test_play_runs_through_the_frames_and_stops_where_it_is_told(file, visit):
    tab = visit(file)
    tab.clock.install(time=datetime(2026, 1, 1))
    tab.clock.pause_at(datetime(2026, 1, 1, 1))
    button = case(tab).locator(".play")
    button.click()
    assert button.get_attribute("aria-label") == "Pause"
    assert case(tab).locator("output").inner_text() == "+10 min"
    tab.clock.run_for(1500)
    assert case(tab).locator("output").inner_text() == "analysis time, observed"
    tab.clock.run_for(400)
    assert case(tab).locator("output").inner_text() == "+5 min"
    button.click()
    tab.clock.run_for(5000)
    assert case(tab).locator("output").inner_text() == "+5 min"
    assert button.get_attribute("aria-label") == "Play"


def test_pointing_at_a_chart_tells_its_numbers(file, visit):
    tab = visit(file)
    chart = tab.locator("#leads .chart:visible").first
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    tab.mouse.move(box["x"] + 0.9 * box["width"], box["y"] + box["height"] / 2)
    value = results(members=4, blocks=12).estimates("persistence")
    (mae,) = (estimate for key, estimate in value.items() if key.score == "mae")
    said = tab.locator("#tip").inner_text()
    assert said.startswith("+10 min")
    assert f"persistence: {mae.value[1]:.3f} ({mae.low[1]:.3f} to {mae.high[1]:.3f})" in said
    tab.mouse.move(2, 2)
    assert not tab.locator("#tip").is_visible()


@pytest.mark.parametrize("width", [320, 390, 768])
def test_nothing_is_cut_off_on_a_phone(file, visit, width):
    tab = visit(file, viewport={"width": width, "height": 700}, has_touch=True, is_mobile=True)
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    wide = tab.evaluate(
        """() => [...document.querySelectorAll("main *")].filter((e) => e.offsetParent && !e.closest(".scroll, pre, nav") && e.getBoundingClientRect().right > innerWidth + 1).map((e) => e.outerHTML.slice(0, 80))"""
    )
    assert wide == []
    assert all(
        box["height"] >= 38
        for box in (
            one.bounding_box()
            for one in tab.locator(".tablist button:visible, .player input:visible").all()
        )
    )


def test_every_tab_is_printed_and_a_few_frames_of_each_case(file, visit):
    tab = visit(file)
    tab.emulate_media(media="print")
    assert tab.locator(".tab:visible").count() == tab.locator(".tab").count() > 8
    assert not tab.locator("nav").is_visible() and tab.locator(".player:visible").count() == 0
    assert tab.locator(".frame:visible").count() == 2 * 3 * 2  # cases, panels, leads
    assert tab.pdf(prefer_css_page_size=True)[:5] == b"%PDF-"


def test_without_scripts_everything_is_on_the_page(file, visit):
    tab = visit(file, java_script_enabled=False)
    assert tab.locator(".tab:visible").count() == tab.locator(".tab").count()
    assert tab.locator(".tabname:visible").count() > 8
    assert tab.locator(".frame:visible").count() == 2 * (3 + 2 + 2)
    assert tab.locator(".player:visible").count() == 0


def test_names_from_outside_do_nothing_and_scripts_of_others_do_not_run(visit, tmp_path):
    found = results(
        errors=((HOSTILE, 0.1), ("persistence", 0.4)),
        facts={"data": HOSTILE, "command": HOSTILE, HOSTILE: HOSTILE},
    )
    found = replace(
        found,
        shown=[
            replace(found.shown[0], kind=HOSTILE, title=HOSTILE),
            replace(found.shown[0], title=HOSTILE + "2"),
        ],
    )
    tab = visit(
        report.write_runs(
            [Run(HOSTILE, found, folder=HOSTILE, config=HOSTILE)], tmp_path / "r.html"
        )
    )
    assert tab.locator("html[data-ready]").count() == 1 and tab.evaluate("window.hacked") is None
    assert tab.title().startswith("<img src=x onerror") and "\u202e" not in tab.content()
    assert tab.evaluate("document.documentElement.scrollWidth") <= 1280
    tab.evaluate(
        """() => { const script = document.createElement("script"); script.textContent = "window.hacked = 3"; document.body.append(script); }"""
    )
    assert tab.evaluate("window.hacked") is None
    assert visit.complaints and all("Content Security Policy" in text for text in visit.complaints)
    visit.complaints.clear()


def test_two_runs_stand_on_one_page(visit, tmp_path):
    runs = [
        Run(name, results(errors=(("nowcast", error), ("persistence", 0.4))))
        for name, error in (("first", 0.1), ("second", 0.2))
    ]
    tab = visit(report.write_runs(runs, tmp_path / "r.html"))
    assert [one.inner_text() for one in tab.locator("#leads .legend li").all()] == [
        "first",
        "second",
        "persistence",
    ]
    assert tab.locator("#summary").get_by_text("second against the others").is_visible()
    assert [one.inner_text() for one in tab.locator("nav a").all()][0] == "Summary"


def test_words_are_dark_on_light_and_light_on_dark(file, visit):
    def contrast(tab, selector):
        return tab.evaluate(
            """(selector) => {
            const light = (text) => { const [r, g, b] = text.match(/[\\d.]+/g).map((v) => { v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; }); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
            const element = document.querySelector(selector);
            let behind = element;
            while (getComputedStyle(behind).backgroundColor === "rgba(0, 0, 0, 0)") behind = behind.parentElement;
            const [one, other] = [light(getComputedStyle(element).color), light(getComputedStyle(behind).backgroundColor)].sort((a, b) => b - a);
            return (one + 0.05) / (other + 0.05);
        }""",
            selector,
        )

    for scheme in ("light", "dark"):
        tab = visit(file, color_scheme=scheme)
        for selector in (
            "h1",
            ".part p.soft",
            ".facts dt",
            ".verdict .better dt",
            "td.better em",
            "td small",
            ".tablist button[aria-selected=true]",
            "td.h0",
            "td.h5",
            "td.h9",
            "figcaption span",
        ):
            if tab.locator(selector).count():
                assert contrast(tab, selector) >= 4.5, (scheme, selector)
