import http.client
import json
import os
import re
import socket
import threading
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from nowcast import page
from nowcast.drawing.colours import RAIN_CLASSES, rain_classes
from nowcast.forecasting import products
from nowcast.page import coding, server, writing
from nowcast.runtime.errors import UserError
from nowcast.types.frames import Forecast, Frames, Grid

STATUS = {
    "version": 1,
    "state": "running",
    "outcome": "forecast",
    "method": "nowcast",
    "reason": None,
    "rejected": [],
}
STRAIT = "+proj=aeqd +lat_0=51 +lon_0=1.4 +units=km"


def case(values, analysis_time="2020-06-01T12:00", *, observed=2, crs=STRAIT):
    """Products and context whose fields are ``values`` (T, H, W), the first ``observed`` of them
    seen, every 5 minutes.
    """
    values = np.asarray(values, np.float32)
    _, height, width = values.shape
    place = Grid(crs, np.arange(width) - width / 2, height / 2 - np.arange(height))
    times = np.datetime64(analysis_time, "s") + np.arange(1 - observed, 1) * np.timedelta64(
        300, "s"
    )
    context = Frames(values[:observed], times, place)
    leads = np.arange(1, len(values) - observed + 1) * np.timedelta64(300, "s")
    return products.derive(Forecast(values[observed:], times[-1], leads, place), context), context


def manifest(folder) -> dict:
    return json.loads((Path(folder) / "page" / "latest.json").read_text())


def codes(folder, layer, frame):
    """The bytes of one field as the page gets them, (H, W)."""
    facts = manifest(folder)
    name = next(one for one in facts["layers"] if one["name"] == layer)["files"][frame]
    packed = (Path(folder) / "page" / facts["folder"] / name).read_bytes()
    return np.frombuffer(zlib.decompress(packed), np.uint8).reshape(
        facts["grid"]["height"], facts["grid"]["width"]
    )


def test_missing_dry_and_the_first_and_last_steps_of_an_amount():
    below = np.nextafter(np.float32(0.1), np.float32(0))
    assert coding.amounts([np.nan, 0, below, 0.1, 0.1029, 0.1031, 150, 1e6]).tolist() == [
        0,
        1,
        1,
        2,
        2,
        3,
        252,
        255,
    ]
    edges = coding.amount_bounds()
    assert len(edges) == 254 and edges[0] == np.float32(0.1)
    assert edges[-1] == pytest.approx(50 * 1.03**40, rel=1e-6)  # 163 mm/h
    assert (edges[1:] / edges[:-1]).min() > 1 and (edges[1:] / edges[:-1]).max() <= 1.03 + 1e-6


def test_a_colour_class_begins_where_a_step_begins_so_that_page_and_pictures_agree_on_every_pixel():
    values = np.concatenate(
        [
            np.geomspace(0.01, 400, 20001),
            RAIN_CLASSES,
            np.nextafter(np.float32(RAIN_CLASSES), np.float32(0)),
            [0],
        ]
    ).astype(np.float32)
    of_codes = np.array(coding.amount_scale()["classes"])
    assert np.array_equal(of_codes[coding.amounts(values)], rain_classes(values))


def test_the_value_shown_lies_within_one_and_a_half_per_cent_of_the_true_one():
    values = np.geomspace(0.1, 160, 5000).astype(np.float32)
    shown = np.array(coding.amount_scale()["values"])[coding.amounts(values) - 2]
    assert np.abs(shown / values - 1).max() <= 0.0151


def test_probabilities_are_one_plus_per_cent():
    assert coding.percents(np.array([np.nan, 0, 0.004, 0.006, 0.35, 1])).tolist() == [
        0,
        1,
        1,
        2,
        36,
        101,
    ]
    # 9 and 10 %
    assert coding.percent_scale()["classes"][:3] + coding.percent_scale()["classes"][10:12] == [
        -1,
        0,
        0,
        0,
        1,
    ]


def test_a_forecast_is_written_field_by_field_with_its_times(tmp_path):
    nan = np.nan
    values = [[[0, nan, 3]], [[1, nan, 6]], [[12, nan, 0.2]], [[24, nan, 0]]]
    made, context = case(values)
    page.publish(made, tmp_path, status=STATUS, context=context)
    facts = manifest(tmp_path)
    assert facts["analysis_time"] == "2020-06-01T12:00:00Z"
    assert facts["folder"].startswith("20200601T120000Z-")
    assert facts["observed_frames"] == 2
    assert facts["frames"] == [
        {"lead_seconds": -300, "valid_time": "2020-06-01T11:55:00Z"},
        {"lead_seconds": 0, "valid_time": "2020-06-01T12:00:00Z"},
        {"lead_seconds": 300, "valid_time": "2020-06-01T12:05:00Z"},
        {"lead_seconds": 600, "valid_time": "2020-06-01T12:10:00Z"},
    ]
    assert [(one["name"], one["unit"]) for one in facts["layers"]] == [
        ("rate", "mm/h"),
        ("depth", "mm"),
        ("probability0", "%"),
        ("probability1", "%"),
        ("probability2", "%"),
    ]
    for frame, field in enumerate(values):
        assert codes(tmp_path, "rate", frame).tolist() == coding.amounts(field).tolist()
    assert codes(tmp_path, "rate", 0).tolist() == [[1, 0, codes(tmp_path, "rate", 0)[0, 2]]]
    assert codes(tmp_path, "rate", 0)[0, 2] > 100
    # mm in 5 minutes each
    assert (
        codes(tmp_path, "depth", 3).tolist()
        == coding.amounts([[12 / 12 + 24 / 12, nan, 0.2 / 12]]).tolist()
    )
    assert (
        codes(tmp_path, "probability1", 2).tolist()
        == coding.percents(made.probability[1, 0]).tolist()
    )
    assert facts["layers"][1]["files"][:2] == [None, None]
    assert facts["layers"][1]["title"] == "Rain since the analysis time"
    assert facts["status"] == STATUS


def test_without_context_the_page_begins_with_the_forecast(tmp_path):
    made, _ = case(np.ones((4, 2, 2)))
    page.publish(made, tmp_path, status={})
    assert [frame["lead_seconds"] for frame in manifest(tmp_path)["frames"]] == [300, 600]
    assert manifest(tmp_path)["observed_frames"] == 0


def test_a_large_grid_becomes_means_over_blocks_and_says_so(tmp_path):
    values = np.zeros((3, 4, 2000), np.float32)
    values[:, :, 1::2] = 8.0
    values[:, :, :4] = np.nan
    made, context = case(values)
    page.publish(made, tmp_path, status={}, context=context)
    facts = manifest(tmp_path)["grid"]
    assert (facts["height"], facts["width"], facts["reduced"]) == (2, 1000, True)
    field = codes(tmp_path, "rate", 2)
    assert (field[:, :2] == 0).all() and (field[:, 2:] == coding.amounts([4.0])[0]).all()
    assert facts["cell_km"] == pytest.approx([2, 2], rel=0.01)
    assert "4 x 2000 cells" in facts["source"]


def test_the_view_is_the_box_around_what_was_observed(tmp_path):
    values = np.full((3, 40, 60), np.nan)
    values[:, 10:30, 5:25] = 1.0
    made, context = case(values)
    page.publish(made, tmp_path, status={}, context=context)
    assert manifest(tmp_path)["view"] == [5, 10, 25, 30]
    made, context = case(np.full((3, 40, 60), np.nan))
    page.publish(made, tmp_path, status={}, context=context)
    assert manifest(tmp_path)["view"] == [0, 0, 60, 40]


def test_coastlines_are_written_once_per_grid(tmp_path):
    made, context = case(np.ones((3, 200, 240)))
    page.publish(made, tmp_path, status={}, context=context)
    path = tmp_path / "page" / manifest(tmp_path)["lines"]
    coast = json.loads(path.read_text())["coast"]
    points = np.array([place for line in coast for place in zip(line[::2], line[1::2])]) / 10
    # Cap Gris-Nez, 12.9 km east and 14.2 km south
    assert np.hypot(*(points - [120 + 12.9, 100 + 14.2]).T).min() < 4
    before = path.stat().st_mtime_ns
    page.publish(made, tmp_path, status={}, context=context)
    assert path.stat().st_mtime_ns == before
    made, context = case(np.ones((3, 100, 240)))
    page.publish(made, tmp_path, status={}, context=context)
    assert (
        [other.name for other in (tmp_path / "page").glob("lines-*")]
        == [manifest(tmp_path)["lines"]]
        != [path.name]
    )


def test_the_three_newest_forecasts_stay_and_what_a_stopped_process_left_goes(tmp_path):
    (tmp_path / "page" / ".new-abc").mkdir(parents=True)
    (tmp_path / "page" / "mine.txt").write_text("not ours")
    for hour in (10, 11, 12, 13, 9):  # the last one is an old archive replayed
        made, context = case(np.ones((3, 2, 2)), f"2020-06-01T{hour:02}:00")
        page.publish(made, tmp_path, status={}, context=context)
    left = sorted(
        path.name.partition("-")[0] for path in (tmp_path / "page").iterdir() if path.is_dir()
    )
    assert left == ["20200601T090000Z", "20200601T120000Z", "20200601T130000Z"]
    assert (tmp_path / "page" / "mine.txt").is_file()


def test_what_a_browser_reads_by_an_older_manifest_is_the_older_publication(tmp_path):
    made, context = case(np.full((3, 2, 2), 1.0))
    page.publish(made, tmp_path, status={}, context=context)
    before = manifest(tmp_path)
    later, context = case(np.full((4, 2, 2), 30.0), observed=1)
    page.publish(later, tmp_path, status={}, context=context)
    (name,) = {layer["files"][2] for layer in before["layers"] if layer["name"] == "rate"}
    content = (tmp_path / "page" / before["folder"] / name).read_bytes()
    assert set(zlib.decompress(content)) == set(coding.amounts([1.0]))


def test_the_same_analysis_time_again_replaces_the_fields(tmp_path):
    for rate in (1.0, 30.0):
        made, context = case(np.full((3, 2, 2), rate))
        page.publish(made, tmp_path, status={}, context=context)
        assert (codes(tmp_path, "rate", 2) == coding.amounts([rate])[0]).all()
    assert len(list((tmp_path / "page").glob(".*"))) == 0


def test_the_manifest_is_written_last_so_a_failure_leaves_the_old_forecast(tmp_path, monkeypatch):
    made, context = case(np.ones((3, 2, 2)))
    page.publish(made, tmp_path, status={}, context=context)
    before = (tmp_path / "page" / "latest.json").read_bytes()
    later, context = case(np.ones((3, 2, 2)), "2020-06-01T13:00")

    def fails(*_):
        raise UserError("no room")

    monkeypatch.setattr(writing, "_write_lines", fails)
    with pytest.raises(UserError, match="no room"):
        page.publish(later, tmp_path, status={}, context=context)
    assert (tmp_path / "page" / "latest.json").read_bytes() == before
    assert (codes(tmp_path, "rate", 0) == coding.amounts([1.0])[0]).all()


def test_a_folder_that_is_a_file_and_a_foreign_context_are_refused(tmp_path):
    made, context = case(np.ones((3, 2, 2)))
    (tmp_path / "page").write_text("")
    with pytest.raises(UserError, match="the page data in .* could not be written"):
        page.publish(made, tmp_path, status={}, context=context)
    _, other = case(np.ones((3, 2, 3)))
    with pytest.raises(
        UserError, match="the context lies on another grid than the forecast: 2x3 cells against 2x2"
    ):
        page.publish(made, tmp_path / "b", status={}, context=other)


def test_installing_writes_three_files_and_only_what_changed(tmp_path):
    page.install(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index.html", "page.css", "page.js"]
    (tmp_path / "page.js").write_text("old")
    times = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    page.install(tmp_path)
    changed = [
        path.name for path in tmp_path.iterdir() if path.stat().st_mtime_ns != times[path.name]
    ]
    assert changed == ["page.js"] and (tmp_path / "page.js").read_text() != "old"


def test_the_page_has_no_inline_script_or_style_and_asks_for_nothing_from_elsewhere(tmp_path):
    page.install(tmp_path)
    html, script, style = (
        (tmp_path / name).read_text() for name in ("index.html", "page.js", "page.css")
    )
    assert re.findall(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=", html) == []
    assert re.findall(r"https?://(?!www\.w3\.org/2000/svg)", html + script + style) == []
    assert (
        re.findall(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function", script
        )
        == []
    )
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', html)[1]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
    assert "unsafe" not in policy


@pytest.fixture
def site(tmp_path):
    folder = tmp_path / "out"
    (folder / "sub").mkdir(parents=True)
    (folder / "index.html").write_text("<p>hello")
    (folder / "status.json").write_text("{}")
    (folder / "field.bin").write_bytes(b"abc")
    (folder / "sub" / "a b.txt").write_text("text")
    (folder / ".secret").write_text("no")
    (tmp_path / "outside.txt").write_text("no")
    (folder / "link.txt").symlink_to(tmp_path / "outside.txt")
    (folder / "hidden.txt").symlink_to(folder / ".secret")
    (folder / "inside.txt").symlink_to(folder / "sub" / "a b.txt")
    (folder / "loop").symlink_to(folder / "loop")
    os.mkfifo(folder / "pipe")
    running = server.serve(folder, port=0)
    yield running
    running.close()


def ask(running, path, method="GET", **headers):
    connection = http.client.HTTPConnection(*running.server_address[:2], timeout=5)
    connection.putrequest(method, path, skip_host=False)
    for name, value in headers.items():
        connection.putheader(name.replace("_", "-"), value)
    connection.endheaders()
    answer = connection.getresponse()
    return answer.status, dict(answer.getheaders()), answer.read()


@pytest.mark.parametrize(
    ("path", "kind", "body"),
    [
        ("/", "text/html; charset=utf-8", b"<p>hello"),
        ("/?x=1#y", "text/html; charset=utf-8", b"<p>hello"),
        ("/status.json", "application/json", b"{}"),
        ("/field.bin?made", "application/octet-stream", b"abc"),
        ("/sub/a%20b.txt", "text/plain; charset=utf-8", b"text"),
        ("/inside.txt", "text/plain; charset=utf-8", b"text"),
    ],
)
def test_files_of_the_folder_are_given_out_with_their_type_and_safe_headers(site, path, kind, body):
    status, headers, content = ask(site, path)
    assert (status, headers["Content-Type"], content) == (200, kind, body)
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert headers["Server"] == "nowcast" and headers["Content-Length"] == str(len(body))
    assert headers["Cache-Control"] == ("max-age=3600" if ".bin" in path else "no-cache")
    assert ask(site, path, "HEAD")[::2] == (200, b"")


@pytest.mark.parametrize(
    "path",
    [
        "/../outside.txt",
        "/%2e%2e/outside.txt",
        "/sub/../../outside.txt",
        "/..%2foutside.txt",
        "/..\\outside.txt",
        "/.secret",
        "/%2esecret",
        "/sub",
        "/sub/",
        "//etc/passwd",
        "/etc/passwd",
        "/link.txt",
        "/hidden.txt",
        "/loop",
        "/pipe",
        "/nothing",
        "/a%00b",
        "/%ff",
        "/" + "a" * 5000,
        "/field.bin/",
        "/" + "a/" * 3000,
        "*",
        "http://x/../outside.txt",
    ],
)
def test_nothing_else_is_given_out(site, path):
    status, headers, content = ask(site, path)
    assert status == 404
    assert content == b"404 Not Found\n"
    assert headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "BREW"])
def test_only_reading_is_allowed(site, method):
    status, headers, _ = ask(site, "/index.html", method)
    assert status == 405 and headers["Allow"] == "GET, HEAD"


def test_an_unchanged_file_is_not_sent_again(site):
    _, headers, _ = ask(site, "/status.json")
    assert ask(site, "/status.json", If_None_Match=headers["ETag"])[::2] == (304, b"")
    (site.root / "status.json").write_text('{"new": 1}')
    assert ask(site, "/status.json", If_None_Match=headers["ETag"])[::2] == (200, b'{"new": 1}')


def test_the_body_of_a_request_is_not_taken_for_the_next_one(site):
    body = b"GET /status.json HTTP/1.1\r\nHost: x\r\nX: "
    with socket.create_connection(site.server_address[:2], timeout=5) as client:
        client.sendall(
            b"GET /sub/a%20b.txt HTTP/1.1\r\nHost: x\r\nContent-Length: "
            + str(len(body)).encode()
            + b"\r\n\r\n"
            + body
            + b"\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n"
        )
        answer = b""
        while block := client.recv(65536):
            answer += block
    assert answer.count(b"HTTP/1.1 200") == 1 and answer.endswith(b"text")


def test_broken_and_silent_clients_do_no_harm(site, capfd):
    (site.root / "large.bin").write_bytes(bytes(30_000_000))
    sockets = [socket.create_connection(site.server_address[:2]) for _ in range(12)]
    for i, sent in enumerate(
        [
            b"",
            b"\x16\x03\x01\x00\xff" * 9,
            b"GET",
            b"GET / HTTP/9.9\r\n\r\n",
            b"G" * 200_000,
            b"GET /large.bin HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 500 + b"\r\n",
        ]
    ):
        with suppress(OSError):
            sockets[i].sendall(sent)
    for one in sockets[3:]:
        one.close()
    assert ask(site, "/status.json")[0] == 200
    for one in sockets[:3]:
        one.close()
    assert capfd.readouterr() == ("", "")


def test_more_clients_than_there_are_places_are_sent_away_and_later_ones_served(site):
    held = [socket.create_connection(site.server_address[:2]) for _ in range(80)]
    with pytest.raises((OSError, http.client.HTTPException)):
        for _ in range(3):
            ask(site, "/status.json")
    for one in held:
        one.close()
    for _ in range(50):
        try:
            assert ask(site, "/status.json")[0] == 200
            break
        except (OSError, http.client.HTTPException):
            threading.Event().wait(0.05)
    else:
        pytest.fail("no place became free")


def test_closing_ends_connections_that_are_kept_open(site):
    connection = http.client.HTTPConnection(*site.server_address[:2], timeout=5)
    connection.request("GET", "/status.json")
    assert connection.getresponse().read() == b"{}"
    site.close()
    with pytest.raises((OSError, http.client.HTTPException)):
        connection.request("GET", "/status.json")
        connection.getresponse().read()


def test_an_event_stops_the_server_and_frees_its_port(tmp_path):
    stop = threading.Event()
    running = server.serve(tmp_path, port=0, stop=stop)
    port = running.server_address[1]
    assert running.url == f"http://127.0.0.1:{port}/" and ask(running, "/")[0] == 404
    with pytest.raises(
        UserError,
        match=f"port {port} of 127.0.0.1 cannot be served: another program listens there; give "
        "another port",
    ):
        server.serve(tmp_path, port=port)
    stop.set()
    for _ in range(100):
        try:
            server.serve(tmp_path, port=port).close()
            return
        except UserError:
            threading.Event().wait(0.05)
    pytest.fail("the port stayed taken")


def test_addresses_that_cannot_be_are_refused(tmp_path):
    file = tmp_path / "notes.txt"
    file.write_text("no page")
    with pytest.raises(UserError, match="port 70000 does not exist; give one from 1 to 65535"):
        server.serve(tmp_path, port=70000)
    with pytest.raises(UserError, match="port 0 of 203.0.113.7 cannot be served"):
        server.serve(tmp_path, "203.0.113.7", 0)
    with pytest.raises(
        UserError, match="is no folder; give the folder that nowcast watch writes to"
    ):
        server.serve(file)
    with pytest.raises(UserError, match="nothing does not exist; give the folder that nowcast"):
        server.serve(tmp_path / "nothing")
