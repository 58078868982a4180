"""The page in a real browser: the system's Chromium, driven by playwright, over our own server."""

import json
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from nowcast import page as pages
from nowcast.forecasting import products
from nowcast.page.server import serve
from nowcast.types.frames import Forecast, Frames, Grid

HOSTILE = '<img src=x onerror="window.hacked = 1">.h5'
SIZE = 80


def quarters(north_east):
    """A field that is dry in the north-west, not observed in the south-west, 37 mm/h in the
    south-east.
    """
    field = np.zeros((SIZE, SIZE), np.float32)
    half = SIZE // 2
    field[:half, half:], field[half:, :half], field[half:, half:] = north_east, np.nan, 37.0
    return field


def publish(folder, *, minutes_old=7, frames=6, **status):
    """Three observed frames of 2 mm/h and forecasts of 3, 4, 5, ... mm/h in the north-east; the
    analysis time, so many whole minutes ago that the age on the page stays in its minute for the
    minute to come.
    """
    cells = np.arange(SIZE) - SIZE / 2
    place = Grid("+proj=aeqd +lat_0=51 +lon_0=1.4 +units=km", cells, -cells)
    start = np.datetime64(
        datetime.now(UTC).replace(tzinfo=None) - timedelta(minutes=minutes_old), "s"
    )
    step = np.timedelta64(300, "s")
    context = Frames(np.stack([quarters(2.0)] * 3), start + np.arange(-2, 1) * step, place)
    forecast = Forecast(
        np.stack([quarters(3.0 + k) for k in range(frames)]),
        start,
        np.arange(1, frames + 1) * step,
        place,
    )
    facts = status_of(start, **status)
    pages.publish(products.derive(forecast, context), folder, status=facts, context=context)
    (folder / "status.json").write_text(json.dumps(facts))
    return start


def status_of(start, **changes):
    now = datetime.now(UTC)
    return {
        "version": 1,
        "state": "running",
        "updated": now.isoformat(),
        "analysis_time": f"{start}Z",
        "outcome": "forecast",
        "method": "nowcast",
        "reason": None,
        "forecast": "a.nc",
        "forecast_analysis_time": f"{start}Z",
        "data_age_minutes": 7.0,
        "next_expected": (now + timedelta(minutes=3)).isoformat(),
        "rejected": [],
        "seconds": {},
    } | changes


@pytest.fixture
def folder(tmp_path):
    pages.install(tmp_path)
    return tmp_path


@pytest.fixture
def running(folder):
    server = serve(folder, port=0)
    yield server
    server.close()


@pytest.fixture
def visit(browser, running):
    """Opens the page; at the end of the test it must have asked its own server alone and complained
    of nothing.
    """
    opened, requests, complaints = [], [], []

    def visiting(*, moving=False, url=None, **options):
        options = {
            "viewport": {"width": 1280, "height": 800},
            "timezone_id": "Asia/Kolkata",
            "reduced_motion": "no-preference" if moving else "reduce",
        } | options
        context = browser.new_context(**options)
        opened.append(context)
        tab = context.new_page()
        tab.set_default_timeout(8000)
        tab.on("request", lambda request: requests.append(request.url))
        tab.on(
            "console",
            lambda message: complaints.append(message.text) if message.type == "error" else None,
        )
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.goto(url or running.url)
        return tab

    visiting.complaints = complaints
    yield visiting
    for context in opened:
        context.close()
    assert [url for url in requests if not url.startswith((running.url, "data:", "file:"))] == []
    assert complaints == []


def settle(tab):
    """The page draws on the next animation frame: after two of them, what was asked for is to be
    seen.
    """
    tab.evaluate(
        "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
    )


def text(tab, name):
    settle(tab)
    return tab.locator(f"#{name}").inner_text()


def wait(tab, name, contains):
    tab.wait_for_function(
        "([name, text]) => document.getElementById(name).innerText.includes(text)",
        arg=[name, contains],
    )


def point(tab, across, down):
    """Mouse to a place relative to the middle of the map, in CSS pixels: the middle of the grid."""
    box = tab.locator("#map").bounding_box()
    tab.mouse.move(box["x"] + box["width"] / 2 + across, box["y"] + box["height"] / 2 + down)


def colour(tab, across, down):
    """RGB on the map there, once it has been drawn."""
    return tab.evaluate(
        """async ([across, down]) => {
            await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
            const map = document.getElementById("map");
            const [x, y] = [map.width / 2 + across, map.height / 2 + down];
            return [...map.getContext("2d").getImageData(x, y, 1, 1).data].slice(0, 3);
        }""",
        [across, down],
    )


def slide(tab, frame):
    tab.locator("#slider").fill(str(frame))


def test_the_value_under_the_pointer_is_the_true_one_in_every_frame(folder, visit):
    publish(folder)
    tab = visit()
    wait(tab, "kind", "forecast")
    point(tab, 90, -90)
    wait(tab, "value-text", "mm/h")
    for frame, rate in enumerate([2, 2, 2, 3, 4, 5, 6, 7, 8]):
        slide(tab, frame)
        tab.wait_for_function(
            "rate => Math.abs(parseFloat(document.getElementById('value-text').innerText) / rate "
            "- 1) < 0.02",
            arg=rate,
        )
    point(tab, 90, 90)
    assert abs(float(text(tab, "value-text").split()[0]) / 37 - 1) < 0.02
    point(tab, -90, -90)
    assert text(tab, "value-text") == "dry (below 0.1 mm/h)"
    point(tab, -90, 90)
    assert text(tab, "value-text") == "not observed, no forecast"
    slide(tab, 0)
    wait(tab, "kind", "observed")
    assert text(tab, "value-text") == "not observed"


def test_colours_are_those_of_the_pictures_and_missing_is_never_white(folder, visit):
    publish(folder)
    tab = visit()
    wait(tab, "kind", "forecast")
    assert colour(tab, 200, -90) == [35, 122, 196]  # 3 mm/h: the class from 2 to 5
    assert colour(tab, 200, 90) == [110, 0, 25]  # 37 mm/h: from 20 to 50
    assert colour(tab, -200, -90) == [255, 255, 255]
    missing = colour(tab, -200, 90)
    assert max(missing) < 205 and max(missing) - min(missing) < 15


def test_the_slider_moves_lead_and_valid_time_in_utc_and_local(folder, visit):
    start = publish(folder)
    tab = visit()
    wait(tab, "kind", "forecast")
    for frame, minutes in ((0, -10), (2, 0), (4, 10), (8, 30)):
        slide(tab, frame)
        wait(tab, "lead", f"{'+' if minutes > 0 else '−' if minutes else ''}{abs(minutes)} min")
        valid = start + np.timedelta64(60 * minutes, "s")
        assert text(tab, "utc").endswith(f"{str(valid)[11:16]} UTC")
        # India: 5 h 30 min ahead
        assert text(tab, "local").endswith(f"{str(valid + np.timedelta64(330, 'm'))[11:16]} local")


def test_the_animation_runs_pauses_and_steps_by_keyboard(folder, visit):
    publish(folder)
    tab = visit(moving=True)
    wait(tab, "kind", "forecast")
    seen = {text(tab, "lead")}
    tab.wait_for_function(
        "first => document.getElementById('lead').innerText !== first", arg=seen.pop()
    )
    tab.keyboard.press("Space")
    assert tab.locator("#play").get_attribute("aria-label") == "Play"
    tab.keyboard.press("Home")
    wait(tab, "lead", "−10 min")
    tab.wait_for_timeout(900)  # two frames' time: it stands
    assert text(tab, "lead") == "−10 min"
    tab.keyboard.press("ArrowRight")
    wait(tab, "lead", "−5 min")
    tab.keyboard.press("End")
    wait(tab, "lead", "+30 min")
    tab.locator("#play").click()
    wait(tab, "lead", "−10 min")  # it loops
    assert tab.locator("#play").get_attribute("aria-label") == "Pause"


def test_nothing_moves_for_those_who_want_no_motion(folder, visit):
    publish(folder)
    tab = visit()
    wait(tab, "kind", "forecast")
    before = text(tab, "lead")
    tab.wait_for_timeout(1000)
    assert text(tab, "lead") == before
    assert tab.locator("#play").get_attribute("aria-label") == "Play"


def test_opacity_fades_the_rain_and_leaves_the_missing(folder, visit):
    publish(folder)
    tab = visit()
    wait(tab, "kind", "forecast")
    missing = colour(tab, -200, 90)
    tab.locator("#opacity").fill("50")
    assert colour(tab, 200, 90) == pytest.approx([(110 + 255) / 2, 255 / 2, (25 + 255) / 2], abs=2)
    tab.locator("#opacity").fill("0")
    assert colour(tab, 200, 90) == [255, 255, 255] and colour(tab, -200, 90) == missing
    assert text(tab, "opacity-text") == "0 %"


def test_another_layer_has_its_values_legend_and_frames(folder, visit):
    publish(folder)
    tab = visit()
    wait(tab, "kind", "forecast")
    slide(tab, 8)
    point(tab, 90, 90)
    tab.mouse.down()
    tab.mouse.up()  # a click pins the cross: the mouse may leave
    tab.get_by_label("Rain since the analysis time").check()
    wait(tab, "value-text", "mm")
    wait(tab, "legend-title", "Rain since the analysis time [mm]")
    # 37 mm/h for 30 min
    tab.wait_for_function(
        "() => Math.abs(parseFloat(document.getElementById('value-text').innerText) / 18.5 - 1) "
        "< 0.02"
    )
    tab.get_by_label("Probability ≥ 5 mm/h").check()
    wait(tab, "value-text", "%")
    assert 50 < int(text(tab, "value-text").split()[0]) <= 100
    slide(tab, 0)
    wait(tab, "message", "This layer begins with the forecast.")
    slide(tab, 4)
    tab.locator("#message").wait_for(state="hidden")
    tab.keyboard.press("Escape")
    tab.locator("#value").wait_for(state="hidden")


def test_the_age_of_the_data_counts_and_warns_when_they_are_late_or_the_forecast_has_ended(
    folder, visit
):
    publish(folder)
    tab = visit()
    wait(tab, "age-text", "data 7 min")
    first = text(tab, "age-text")
    tab.wait_for_function(
        "first => document.getElementById('age-text').innerText !== first", arg=first
    )
    assert "warn" not in tab.locator("#age").get_attribute("class")
    for minutes, word, kind in ((25, "25 min", "warn"), (45, "the forecast has ended", "bad")):
        publish(folder, minutes_old=minutes)
        tab.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        wait(tab, "age-text", word)
        assert kind in tab.locator("#age").get_attribute("class")


def test_a_fallback_is_told_with_its_reason_and_a_stopped_watch_too(folder, visit):
    start = publish(
        folder,
        outcome="fallback",
        method="extrapolation",
        reason="2 of 4 context frames are missing",
    )
    tab = visit()
    wait(tab, "state-text", "fallback: extrapolation of the motion")
    assert text(tab, "outcome") == "Fallback: forecast by extrapolation of the motion."
    assert text(tab, "reason") == "2 of 4 context frames are missing"
    assert "Next forecast expected in 2 min" in text(tab, "life")
    for changes, said in (
        ({"state": "stopped"}, "nowcast watch has stopped"),
        (
            {"outcome": "none", "method": None, "reason": "no frame"},
            "no forecast from the newest data",
        ),
        (
            {"updated": "2020-01-01T00:00:00+00:00", "next_expected": "2020-01-01T00:05:00+00:00"},
            "nowcast watch is silent",
        ),
        (
            {"updated": "2020-01-01T00:00:00+00:00"},
            "running",
        ),  # a cycle of years, and its end is ahead
        ({"outcome": "fallback"}, "fallback: the network from older data"),
        ({"outcome": "none", "analysis_time": None}, "started"),
        ({}, "running"),
    ):
        (folder / "status.json").write_text(json.dumps(status_of(start, **changes)))
        tab.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        wait(tab, "state-text", said)


def test_a_hostile_file_name_stays_text(folder, visit):
    publish(
        folder,
        rejected=[{"file": HOSTILE, "reason": "</li><script>window.hacked = 2</script>"}],
        reason="<b>bold</b>",
        outcome="fallback",
        method="<i>x</i>",
    )
    tab = visit()
    wait(tab, "rejected-summary", "1 file not used")
    tab.locator("#rejected-summary").click()
    assert text(tab, "rejected-list") == f"{HOSTILE}: </li><script>window.hacked = 2</script>"
    assert text(tab, "reason") == "<b>bold</b>" and "<i>x</i>" in text(tab, "outcome")
    assert tab.evaluate(
        "[document.images.length, document.querySelectorAll('#status b, #status i, #status "
        "script').length, typeof window.hacked]"
    ) == [0, 0, "undefined"]


def test_the_first_and_every_newer_forecast_appear_without_a_reload(folder, visit):
    (folder / "status.json").write_text(
        json.dumps(status_of("2020-01-01T00:00:00", outcome="none", method=None))
    )
    tab = visit()
    wait(tab, "message", "No forecast yet.")
    tab.evaluate("window.mark = 1")
    for minutes in (7, 2):
        start = publish(folder, minutes_old=minutes)
        tab.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        wait(tab, "analysis", f"{str(start)[11:16]} UTC")
        tab.locator("#message").wait_for(state="hidden")
    assert tab.evaluate("window.mark") == 1
    # the look for latest.json before there was one
    assert ["404" in complaint for complaint in visit.complaints] == [True]
    visit.complaints.clear()


def test_missing_and_damaged_frames_are_told_and_the_others_still_shown(folder, visit):
    publish(folder)
    files = next((folder / "page").glob("2*Z-*"))
    (files / "rate-5.bin").unlink()
    (files / "rate-6.bin").write_bytes(b"no zlib")
    tab = visit()
    wait(tab, "kind", "forecast")
    for frame in (5, 6):
        slide(tab, frame)
        wait(tab, "message", "The file of this frame is missing or damaged.")
    slide(tab, 7)
    tab.locator("#message").wait_for(state="hidden")
    assert all("404" in complaint for complaint in visit.complaints) and visit.complaints
    visit.complaints.clear()


def test_without_its_server_the_page_keeps_what_it_has_and_says_so(folder, visit, running):
    publish(folder)
    tab = visit()
    wait(tab, "kind", "forecast")
    tab.wait_for_timeout(500)
    running.close()
    tab.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    wait(tab, "life", "No connection to the server; trying again.")
    assert colour(tab, 200, 90) == [110, 0, 25]
    visit.complaints.clear()


def test_zooming_keeps_the_place_under_the_pointer_and_home_shows_all_again(folder, visit):
    publish(folder)
    tab = visit()
    wait(tab, "kind", "forecast")
    before = text(tab, "scalebar-text")
    point(tab, 90, -90)
    wait(tab, "value-text", "mm/h")
    place = tab.evaluate("[cross.column, cross.row]")
    tab.mouse.wheel(0, -600)
    tab.wait_for_function("() => view.zoom > 3")
    point(tab, 91, -91)
    assert tab.evaluate("[cross.column, cross.row]") == pytest.approx(place, abs=1)
    assert text(tab, "scalebar-text") != before
    tab.mouse.down()
    point(tab, -300, 200)
    tab.mouse.up()
    # the map came along
    assert tab.evaluate(
        "[cellAt(...centre()).column, 0]".replace(
            "centre()",
            "(b => [b.x + b.width / 2 - 300, b.y + b.height / 2 + "
            "200])(canvas.getBoundingClientRect())",
        )
    )[0] == pytest.approx(place[0], abs=1)
    tab.locator("#zoom-home").click()
    assert text(tab, "scalebar-text") == before


def test_the_map_can_be_read_by_keyboard(folder, visit):
    publish(folder)
    tab = visit()
    wait(tab, "kind", "forecast")
    tab.locator("#map").focus()
    tab.keyboard.press("Shift+ArrowRight")
    tab.keyboard.press("Shift+ArrowDown")
    wait(tab, "value-text", "3")
    assert abs(float(text(tab, "value-text").split()[0]) / 37 - 1) < 0.02
    assert tab.locator("#value").get_attribute("aria-live") == "polite"


@pytest.mark.parametrize("width", [320, 360, 414])
def test_on_a_phone_nothing_sticks_out_and_everything_can_be_touched(folder, visit, width):
    publish(
        folder,
        outcome="fallback",
        method="extrapolation",
        reason="x" * 200,
        rejected=[{"file": "y" * 300, "reason": "z" * 300}],
    )
    tab = visit(
        viewport={"width": width, "height": 700},
        has_touch=True,
        is_mobile=True,
        device_scale_factor=2,
    )
    wait(tab, "kind", "forecast")
    tab.locator("#rejected-summary").click()
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    sizes = tab.evaluate(
        "[...document.querySelectorAll('button, #layer-list label, "
        "input[type=range]')].map((one) => one.getBoundingClientRect()).map((box) => [box.width, "
        "box.height])"
    )
    assert min(min(size) for size in sizes) >= 40
    tab.evaluate("scrollTo(0, 0)")
    box = tab.locator("#map").bounding_box()
    tab.touchscreen.tap(box["x"] + box["width"] * 0.6, box["y"] + box["height"] * 0.6)
    wait(tab, "value-text", "mm/h")
    assert abs(float(text(tab, "value-text").split()[0]) / 37 - 1) < 0.02


def test_dark_surroundings_have_a_dark_page_and_the_same_map_colours(folder, visit):
    publish(folder)
    tab = visit(color_scheme="dark")
    wait(tab, "kind", "forecast")
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(17, 22, 28)"
    assert colour(tab, 200, 90) == [110, 0, 25] and max(colour(tab, -200, 90)) < 125


def test_opened_as_a_file_the_page_says_what_to_do(folder, visit):
    tab = visit(url=(folder / "index.html").as_uri())
    wait(tab, "message", "nowcast serve")
    visit.complaints.clear()
