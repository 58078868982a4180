"""The built site: it is made without a warning, its links and anchors lead somewhere, every page
can be reached, nothing is loaded from elsewhere, and it can be read on a phone, light and dark.

Tutorials are not executed here. The build in .ci/run does that, and these tests look at it there.
"""

import functools
import http.server
import os
import re
import subprocess
import sys
import threading
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit
from zlib import decompress

import pytest

import nowcast
from nowcast.evaluation.statistics.scores import SCORES
from tests.test_docs_reference import DOCS, ROOT, all_keys

LOADS = {"img": "src", "script": "src", "link": "href", "iframe": "src", "source": "src"}
LOADS |= {"video": "src", "audio": "src", "object": "data", "embed": "src", "use": "href"}
NOT_LOADED = ("search", "index", "next", "prev", "canonical", "author", "license")  # of link rel
PHONE, DESKTOP = 360, 1280


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built site, in which warnings are errors: made here without executing the tutorials, or
    the one in NOWCAST_SITE, which .ci/run makes with them.
    """
    if os.environ.get("NOWCAST_SITE"):
        return Path(os.environ["NOWCAST_SITE"]).absolute()
    for module in ("sphinx", "myst_nb", "pydata_sphinx_theme"):
        pytest.importorskip(module, reason=f"{module} is not installed (extra docs)")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html"]
    command += ["-d", folder / "doctrees", "-D", "nb_execution_mode=off", DOCS, folder / "html"]
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = os.environ | {"PYTHONPATH": paths}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / "html"


class Page(HTMLParser):
    """What a page has: ids, links, what it loads, pictures without a text."""

    def __init__(self, path):
        super().__init__()
        self.ids, self.links, self.loaded, self.silent = set(), set(), set(), []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.ids |= {given[name] for name in ("id", "name") if given.get(name)}
        if tag == "a" and given.get("href"):
            self.links.add(given["href"])
        only_named = tag == "link" and set(given.get("rel", "").split()) & set(NOT_LOADED)
        if tag in LOADS and given.get(LOADS[tag]) and not only_named:
            self.loaded.add(given[LOADS[tag]])
        if tag == "img" and "alt" not in given:
            self.silent.append(given.get("src"))


@pytest.fixture(scope="module")
def pages(site):
    """Every page of the site, by its path from the root."""
    paths = [path for path in site.rglob("*.html") if "_static" not in path.parts]
    found = {path.relative_to(site).as_posix(): Page(path) for path in paths}
    assert len(found) > 15
    return found


def leads_to(page, link):
    """(page, anchor) that a link of a page leads to; None where it leaves the site."""
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return None
    folder = Path(page).parent
    path = page if not parts.path else os.path.normpath(folder / unquote(parts.path))
    return Path(path).as_posix(), unquote(parts.fragment)


def test_every_link_and_every_anchor_leads_somewhere(site, pages):
    dead = []
    for name, page in pages.items():
        for link in page.links if name != "404.html" else ():
            target = leads_to(name, link)
            if target is None:
                continue
            path, anchor = target
            known = path in pages if path.endswith(".html") else (site / path).exists()
            if not known or (anchor and path in pages and anchor not in pages[path].ids):
                dead.append(f"{name}: {link}")
    assert dead == []


def test_every_page_can_be_reached_from_the_front_page(pages):
    reached, waiting = set(), ["index.html"]
    while waiting:
        name = waiting.pop()
        if name in reached or name not in pages:
            continue
        reached.add(name)
        targets = (leads_to(name, link) for link in pages[name].links)
        waiting += [target[0] for target in targets if target is not None]
    assert set(pages) - reached <= {"search.html", "404.html"}
    sources = {path.relative_to(DOCS).with_suffix(".html") for path in DOCS.rglob("*.md")}
    assert {path.as_posix() for path in sources if path.parts[0] != "_build"} <= set(pages)


@pytest.mark.parametrize("folder", ["tutorials", "how-to", "explanation"])
def test_every_page_of_a_folder_has_a_card_with_its_title_and_its_first_sentence(site, folder):
    text = (site / folder / "index.html").read_text(encoding="utf-8")
    link = r"<a [^>]*href=\"([\w-]+).html\">(.+?)</a>"
    cards = re.findall(rf"<li><p>{link} (.+?)</p>", text, flags=re.DOTALL)
    pages = {path.stem for path in (DOCS / folder).glob("*.md")} - {"index"}
    assert {name for name, _, _ in cards} == pages and len(cards) == len(pages)
    assert all(re.search(r"[.!?:]$", re.sub("<.*?>", "", lead)) for _, _, lead in cards)


def test_nothing_is_loaded_from_elsewhere(site, pages):
    assert {load for page in pages.values() for load in page.loaded if "//" in load} == set()
    for sheet in site.rglob("*.css"):
        text = sheet.read_text(encoding="utf-8", errors="replace")
        assert not re.search(r"(url\(|@import )[\"']?(https?:)?//", text), sheet


def test_every_picture_has_a_text_for_those_who_cannot_see_it(pages):
    assert {name: page.silent for name, page in pages.items() if page.silent} == {}


def inventory(site):
    """(name, type) of everything that the site has an entry for."""
    packed = (site / "objects.inv").read_bytes().split(b"\n", 4)[4]
    for line in decompress(packed).decode().splitlines():
        name, kind = re.match(r"(.+?) (\S+:\S+) -?\d", line).groups()
        yield name, kind


def test_every_public_name_key_and_score_has_an_entry(site):
    entries = set(inventory(site))
    names = {name for name, kind in entries if kind.startswith("py:")}
    assert {f"nowcast.{name}" for name in nowcast.__all__} - names == set()
    settings = {name for name, kind in entries if kind == "std:setting"}
    assert {name for name, _ in all_keys()} - settings == set()
    assert {name for name, kind in entries if kind == "std:score"} == set(SCORES)


def test_formulas_are_drawn_by_the_browser_itself(site):
    text = (site / "reference" / "scores.html").read_text(encoding="utf-8")
    assert text.count("<math ") > len(SCORES) and "mathjax.js" not in text
    assert text.count('class="math"') == len(SCORES)  # one formula of its own for each score


def test_the_page_for_lost_addresses_needs_nothing_beside_it(site, pages):
    assert pages["404.html"].loaded == set()


@pytest.fixture(scope="module")
def served(site):
    """The address of the site on a server, in a folder of it."""
    lost = (site / "404.html").read_bytes()
    handler = functools.partial(Server, directory=site.parent, lost=lost)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/{site.name}"
    server.shutdown()


class Server(http.server.SimpleHTTPRequestHandler):
    """A server like many: it shows one page for all that is not there."""

    def __init__(self, *arguments, lost, **more):
        self.lost = lost
        super().__init__(*arguments, **more)

    def log_message(self, *arguments):
        pass

    def send_error(self, code, *arguments, **more):
        self.send_response(code)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()
        self.wfile.write(self.lost)


def test_a_lost_address_at_any_depth_leads_to_the_front_page_of_a_site_in_a_folder(served, browser):
    page = browser.new_page()
    page.goto(f"{served}/how-to/deep/er/nothing.html")
    page.wait_for_function("document.getElementById('home').getAttribute('href') != '/'")
    page.click("#home")
    assert page.url == f"{served}/index.html" and page.locator("h1").first.inner_text()
    page.close()


def test_the_search_finds_scores_settings_and_names_without_a_network(site, browser):
    page = browser.new_page()
    for words, found in (
        ("critical success index", "reference/scores.html"),
        ("crop_candidates", "reference/settings-data.html"),
        ("open_archive", "reference/api.html"),
    ):
        page.goto(f"{(site / 'search.html').as_uri()}?q={words.replace(' ', '+')}")
        page.wait_for_selector("#search-results ul.search li a")
        links = page.locator("#search-results ul.search li a").evaluate_all(
            "found => found.map(link => link.getAttribute('href'))"
        )
        assert any(link.startswith(found) for link in links), (words, links)
    page.close()


FAINT = """() => {
  // Texts whose contrast with what is behind them is below 4.5 to 1 (large ones: 3 to 1).
  const canvas = Object.assign(document.createElement('canvas'), {width: 1, height: 1});
  const ink_of = canvas.getContext('2d', {willReadFrequently: true}), seen = {};
  const numbers = text => seen[text] ||= (() => {  // however a colour is written
    ink_of.clearRect(0, 0, 1, 1);
    ink_of.fillStyle = text;
    ink_of.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = ink_of.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  })();
  const over = (top, below) => {
    return [0, 1, 2].map(i => top[i] * top[3] + below[i] * (1 - top[3]));
  };
  const light = colour => {
    const linear = colour.map(c => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
  };
  const behind = element => {
    const layers = [];
    for (let at = element; at; at = at.parentElement) {
      const style = getComputedStyle(at);
      const colour = numbers(at.matches('svg *') ? 'transparent' : style.backgroundColor);
      if (colour[3] > 0) layers.push(colour);
      if (colour[3] === 1) break;
    }
    return layers.reverse().reduce((below, top) => over(top, below), [255, 255, 255]);
  };
  const found = new Set();
  const walker = document.createTreeWalker(document.querySelector('.bd-container'), 4);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !element.checkVisibility({visibilityProperty: true})) continue;
    if (element.closest('script, style, title, desc, .headerlink')) continue;
    const style = getComputedStyle(element);
    const below = behind(element);
    const ink = [...numbers(element.matches('svg *') ? style.fill : style.color)];
    for (let at = element; at; at = at.parentElement) ink[3] *= getComputedStyle(at).opacity;
    const [a, b] = [light(over(ink, below)), light(below)].sort((x, y) => y - x);
    const size = parseFloat(style.fontSize), bold = style.fontWeight >= 600;
    const needed = size >= 24 || (bold && size >= 18.66) ? 3 : 4.5;
    if ((a + 0.05) / (b + 0.05) < needed) {
      found.add(`${walker.currentNode.data.trim().slice(0, 30)} (${style.color}, ${below})`);
    }
  }
  return [...found];
}"""
SPOILED = """() => {
  const text = document.createElement('p');
  text.innerHTML = 'faint and wide: <pre style="display: inline-block">' + 'x'.repeat(900) + '</pre>';
  text.style.color = '#777';
  document.querySelector('.bd-article').append(text);
}"""
WIDER = """() => {
  // How many pixels the page, or its column of text, is wider than its place.
  const places = [document.documentElement, ...document.querySelectorAll('.bd-article-container')];
  return Math.max(...places.map(place => place.scrollWidth - place.clientWidth));
}"""


def test_every_page_is_readable_on_a_phone_and_on_a_desktop_light_and_dark(site, pages, browser):
    page = browser.new_page(viewport={"width": PHONE, "height": 800})
    elsewhere, faults, errors = [], [], []
    page.on("request", lambda asked: elsewhere.append(asked.url) if "//" in asked.url[8:] else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    for name in sorted(pages):
        page.set_viewport_size({"width": PHONE, "height": 800})
        page.goto((site / name).as_uri())
        if name == "404.html":
            continue
        if page.evaluate(WIDER) > 0:
            faults.append(f"{name} is wider than {PHONE} pixels")
        page.set_viewport_size({"width": DESKTOP, "height": 800})
        if page.evaluate(WIDER) > 0:
            faults.append(f"{name} is wider than {DESKTOP} pixels")
        for theme in ("light", "dark"):
            page.evaluate(f"document.documentElement.dataset.theme = '{theme}'")
            faults += [f"{name}, {theme}: {text}" for text in page.evaluate(FAINT)]
    assert page.evaluate(WIDER) == 0 and page.evaluate(FAINT) == []
    page.evaluate(SPOILED)  # a page in which there is something to be seen
    assert page.evaluate(WIDER) > 0 and page.evaluate(FAINT) != []
    page.close()
    outside = [url for url in elsewhere if not url.startswith("file:")]
    assert (faults, outside, errors) == ([], [], [])
