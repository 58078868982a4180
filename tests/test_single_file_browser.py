"""The page as one file in a real browser: from the disk, and from our own server."""

import http.client
import json

import numpy as np
import pytest
from factories import grid, times

from nowcast.forecasting.products import derive
from nowcast.page import content, single_file
from nowcast.page.server import serve
from nowcast.types.frames import Forecast, Frames

HOSTILE = '</script><img src=x onerror="window.hacked = 1"><script>window.hacked = 2</script>'
SIZE = 80
DESKTOP = {"viewport": {"width": 1280, "height": 800}}
PHONE = {
    "viewport": {"width": 360, "height": 700},
    "has_touch": True,
    "is_mobile": True,
    "device_scale_factor": 2,
}


def quarters(north_east):
    """Dry in the north-west, not observed in the south-west, 37 mm/h in the south-east."""
    field = np.zeros((SIZE, SIZE), np.float32)
    half = SIZE // 2
    field[:half, half:], field[half:, :half], field[half:, half:] = north_east, np.nan, 37.0
    return field


def made():
    """Two observed frames of 2 mm/h in the north-east, then forecasts of 3, 4 and 5 mm/h."""
    place = grid(SIZE, SIZE)
    context = Frames(np.stack([quarters(2.0)] * 2), times(0, 5), place)
    steps = np.arange(1, 4) * np.timedelta64(300, "s")
    values = np.stack([quarters(3.0 + k) for k in range(3)])
    return derive(Forecast(values, times(5)[0], steps, place), context), context


def write(path, *, title="Rain forecast", about=(), **settings):
    products, context = made()
    came = np.stack([quarters(9.0)] * 3)
    beside = [content.Beside("What came (radar)", came, is_observed=True)]
    page = content.forecast_content(products, context, beside=beside)
    return single_file.write_page(page, path, title=title, about=about, **settings)


@pytest.fixture
def visit(browser):
    """Opens a page; it must have asked for nothing but itself, and complained of nothing."""
    opened, visited, requests, complaints = [], [], [], []

    def visiting(url, **options):
        context = browser.new_context(**{"reduced_motion": "reduce"} | options)
        opened.append(context)
        tab = context.new_page()
        tab.set_default_timeout(8000)
        tab.on("request", lambda request: requests.append(request.url))
        tab.on(
            "console",
            lambda message: complaints.append(message.text) if message.type == "error" else None,
        )
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.goto(url)
        tab.wait_for_function("() => !document.body.classList.contains('empty')")
        visited.append(url)
        return tab

    yield visiting
    for context in opened:
        context.close()
    others = [url for url in requests if url not in visited and not url.startswith("data:")]
    assert others == [] and complaints == []


def text(tab, name):
    tab.evaluate(
        "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
    )
    return tab.locator(f"#{name}").inner_text()


def wait(tab, name, contains):
    tab.wait_for_function(
        "([name, text]) => document.getElementById(name).innerText.includes(text)",
        arg=[name, contains],
    )


def tap(tab, across, down):
    """The map, at shares of its width and height."""
    box = tab.locator("#map").bounding_box()
    tab.mouse.click(box["x"] + box["width"] * across, box["y"] + box["height"] * down)


@pytest.mark.parametrize("device", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_from_the_disk_every_frame_and_layer_shows_its_values(tmp_path, visit, device):
    page = write(tmp_path / "a page, [1] é.html", about=[("Made from", "radar.h5")])
    tab = visit(page.as_uri(), **device)
    assert tab.title() == text(tab, "title") == "Rain forecast"
    assert text(tab, "analysis") == "from 1 Jun 2020, 00:05 UTC"
    tap(tab, 0.6, 0.4)
    for frame, rate in enumerate([2, 2, 3, 4, 5]):
        tab.locator("#slider").fill(str(frame))
        tab.wait_for_function(
            "rate => Math.abs(parseFloat(document.getElementById('value-text').innerText) / rate "
            "- 1) < 0.02",
            arg=rate,
        )
    assert text(tab, "kind") == "forecast" and text(tab, "lead") == "+15 min"
    tab.get_by_label("What came (radar)").check()
    wait(tab, "kind", "observed")
    assert abs(float(text(tab, "value-text").split()[0]) / 9 - 1) < 0.02
    tab.get_by_label("Probability ≥ 5 mm/h").check()
    wait(tab, "value-text", "%")
    assert text(tab, "status-title") == "About" and "radar.h5" in text(tab, "about")
    assert tab.evaluate("document.documentElement.scrollWidth") <= device["viewport"]["width"]


def test_coastlines_are_drawn_and_opacity_fades_the_rain(tmp_path, visit):
    tab = visit(write(tmp_path / "p.html").as_uri(), **DESKTOP)
    tab.locator("#opacity").fill("0")
    rain = tab.evaluate(
        """async () => {
            await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
            const map = document.getElementById("map"), pen = map.getContext("2d");
            return [...pen.getImageData(map.width / 2 + 200, map.height / 2 + 90, 1, 1).data];
        }"""
    )
    assert rain[:3] == [255, 255, 255]
    assert tab.evaluate("lines.coast instanceof Path2D && lines.border instanceof Path2D")


def test_nothing_that_a_name_or_a_file_says_can_run(tmp_path, visit):
    page = write(tmp_path / "p.html", title=HOSTILE, about=[(HOSTILE, HOSTILE)])
    tab = visit(page.as_uri(), **DESKTOP)
    assert text(tab, "title") == HOSTILE and text(tab, "about").startswith(HOSTILE)
    assert tab.evaluate(
        "[document.images.length, document.scripts.length, typeof window.hacked]"
    ) == [0, 2, "undefined"]


def test_a_script_that_is_put_into_the_file_afterwards_does_not_run(tmp_path, browser):
    page = write(tmp_path / "p.html")
    changed = page.read_text().replace("</body>", "<script>window.hacked = 1</script></body>")
    page.write_text(changed)
    tab = browser.new_context().new_page()
    tab.goto(page.as_uri())
    tab.wait_for_function("() => !document.body.classList.contains('empty')")
    assert tab.evaluate("typeof window.hacked") == "undefined"


def test_served_by_nowcast_the_page_works_and_nothing_beside_it_is_given_out(tmp_path, visit):
    page = write(tmp_path / "p.html")
    (tmp_path / "secret.txt").write_text("not for others")
    server = serve(page, port=0)
    try:
        tab = visit(server.url, **DESKTOP)
        assert text(tab, "analysis") == "from 1 Jun 2020, 00:05 UTC"
        for name, code in (("", 200), ("p.html", 200), ("secret.txt", 404), ("index.html", 404)):
            connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1])
            connection.request("GET", f"/{name}")
            answer = connection.getresponse()
            assert answer.status == code
            policy = answer.headers["Content-Security-Policy"]
            assert "frame-ancestors 'none'" in policy and "unsafe" not in policy
            assert ("script-src 'sha256-" in policy) == (code == 200)
            connection.close()
    finally:
        server.close()


def test_a_page_that_allows_itself_more_is_served_with_the_policy_of_the_server(tmp_path):
    page = tmp_path / "p.html"
    for directive in ("script-src 'unsafe-inline'", "script-src https://x.org", "sandbox"):
        page.write_text(
            f'<meta http-equiv="Content-Security-Policy" content="{directive}"><script></script>'
        )
        server = serve(page, port=0)
        try:
            connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1])
            connection.request("HEAD", "/")
            policy = connection.getresponse().headers["Content-Security-Policy"]
            assert policy.startswith("default-src 'none'; script-src 'self'")
            connection.close()
        finally:
            server.close()


def test_the_age_of_an_old_forecast_is_told_and_that_of_an_archived_one_is_not(tmp_path, visit):
    tab = visit(write(tmp_path / "p.html").as_uri(), **DESKTOP)
    wait(tab, "age-text", "years old: the forecast has ended")
    tab = visit(write(tmp_path / "q.html", archived=True).as_uri(), **DESKTOP)
    assert not tab.locator("#age").is_visible()


def test_observations_alone_show_the_newest_frame_and_no_lead_times(tmp_path, visit):
    _, context = made()
    page = single_file.write_page(
        content.frames_content(context), tmp_path / "p.html", title="Radar"
    )
    tab = visit(page.as_uri(), **DESKTOP)
    assert text(tab, "lead") == "00:05 UTC" and text(tab, "kind") == "observed"
    assert text(tab, "analysis") == "until 1 Jun 2020, 00:05 UTC"


def test_a_file_that_was_cut_short_says_so(tmp_path, browser):
    page = write(tmp_path / "p.html")
    content_ = page.read_text()
    begun = content_.index('"rate-2.bin":"') + len('"rate-2.bin":"')
    page.write_text(content_[:begun] + "AAAA" + content_[begun + 4 :])
    tab = browser.new_context(reduced_motion="reduce").new_page()
    tab.goto(page.as_uri())
    wait(tab, "message", "This page is damaged or cut short")


def test_the_facts_in_the_page_are_valid_json(tmp_path, visit):
    tab = visit(write(tmp_path / "p.html").as_uri(), **DESKTOP)
    facts = json.loads(tab.locator("#data").text_content())
    assert facts["version"] == 1 and len(facts["frames"]) == 5
