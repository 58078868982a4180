"""Get started and the tutorials as files: what the site's build needs to execute them, and what a
reader needs to follow them. That they run is the build's to show (sphinx-build -W, docs/conf.py).
"""

import ast
import importlib.util
import re
import sys

import pytest
import yaml

from tests.documentation import DOCS, read

PAGES = [DOCS / "get-started.md", *sorted((DOCS / "tutorials").glob("*.md"))]
PAGES = [page for page in PAGES if page.name != "index.md"]
WIDEST = 68  # columns of a cell that a page 1280 pixels wide shows without scrolling
_CELL = re.compile(r"^```\{code-cell\}[^\n]*\n(.*?)^```$", flags=re.DOTALL | re.MULTILINE)
_TAGS = re.compile(r"\A(?:---\n.*?^---\n|(?::[^\n]*\n)+)", flags=re.DOTALL | re.MULTILINE)


def cells(page) -> list[str]:
    """What the cells of a page say, without their tags."""
    return [_TAGS.sub("", cell) for cell in _CELL.findall(read(page))]


def options(page) -> list[dict]:
    """The options above each cell, {} where there are none."""
    found = []
    for cell in _CELL.findall(read(page)):
        above = _TAGS.match(cell)
        text = above.group().strip("-\n") if above and cell.startswith("---") else ""
        found.append(yaml.safe_load(text) or {} if text else {})
    return found


def of_python(page) -> list[str]:
    return [cell for cell in cells(page) if not cell.startswith("%%")]


@pytest.fixture(params=PAGES, ids=lambda page: page.stem)
def page(request):
    return request.param


def test_there_are_get_started_and_five_tutorials():
    names = [page.stem for page in PAGES]
    assert names == [
        "get-started", "convlstm", "moving_mnist", "own_radar", "plugin", "verify_forecasts",
    ]  # fmt: skip


def test_a_page_is_a_notebook_with_cells_in_it_and_each_is_code(page):
    head = yaml.safe_load(read(page).split("---")[1])
    assert head["file_format"] == "mystnb" and head["kernelspec"]["name"] == "python3"
    assert len(cells(page)) >= 7
    assert not re.findall(r"^```\{code-cell\} (?!ipython3)", read(page), flags=re.MULTILINE)
    for cell in of_python(page):
        ast.parse(cell)


def test_what_a_page_makes_lies_in_the_temporary_folder_that_it_is_executed_in(page):
    """Paths are relative and lead nowhere else; conf.py says that each page has its own folder."""
    conf = (DOCS / "conf.py").read_text(encoding="utf-8")
    assert "nb_execution_in_temp = True" in conf and '"executed_pages"' in conf
    for cell in cells(page):
        assert not re.search(r"""(?:^|[\s"'=(])(?:/|~|\.\./)\w""", cell), cell


def test_a_page_needs_no_network_and_no_data_from_outside(page):
    for cell in cells(page):
        assert not re.search(r"https?://|\bwget\b|\bcurl\b|\bgit clone\b|torchvision|shared", cell)
        for line in re.findall(r"pip install[^|;]*", cell.replace("\\\n", " ")):
            assert "--no-deps" in line and "--no-build-isolation" in line, line


def test_code_can_be_read_on_a_small_screen(page):
    lines = [line for cell in cells(page) for line in cell.splitlines()]
    assert [line for line in lines if len(line) > WIDEST and "%%writefile" not in line] == []


def test_every_picture_says_what_it_shows_to_those_who_do_not_see_it(page):
    drawn = 0
    for cell, above in zip(cells(page), options(page), strict=True):
        if re.search(r"^Image\(|\.plot\(.*\)\W*$|tight_layout|axes\.legend|aspect=", cell, re.M):
            drawn += 1
            assert len(above["mystnb"]["image"]["alt"]) > 30, cell
    assert drawn >= 1


def test_commands_are_typed_as_commands_and_not_through_the_terminal_of_a_notebook(page):
    """!nowcast would draw bars, and go on where a command fails."""
    for cell in cells(page):
        assert not re.search(r"^\s*!", cell, flags=re.MULTILINE)
        if "nowcast " in cell and not cell.startswith("%%"):
            assert not re.search(r"^nowcast \w+", cell, flags=re.MULTILINE)


def test_a_page_begins_with_what_it_is_for_and_ends_with_where_to_go(page):
    text = read(page).split("---\n", 2)[2].strip()
    assert text.startswith("# ")
    first = text.split("\n\n")[1]
    assert first[0] not in "#:{|" and len(first.split()) > 15
    headings = re.findall(r"^## (.*)", text, flags=re.MULTILINE)
    assert headings[-1] in ("Where to go from here", "When something goes wrong")
    assert len(set(re.findall(r"\]\((?:tutorials/)?(\w+\.md)\)", text))) >= 1


def test_what_a_command_prints_in_pieces_comes_out_whole(tmp_path):
    """IPython hands on a hundred bytes at a time, between which a line must not be broken."""
    for module in ("nbclient", "ipykernel", "nbformat", "sphinx"):
        pytest.importorskip(module, reason=f"{module} is not installed (extra docs)")
    import nbformat

    path = DOCS / "_extensions" / "executed_pages.py"
    spec = importlib.util.spec_from_file_location("executed_pages", path)
    executed_pages = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(executed_pages)
    words = "this line has more than a hundred characters, which come in more than one piece, " * 3
    cell = f'%%bash\n{sys.executable} -c \'print("{words}"); print("end")\''
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell)])
    client = executed_pages.WholeStreams(notebook, resources={"metadata": {"path": tmp_path}})
    (output,) = client.execute().cells[0].outputs
    assert output["text"].splitlines() == [words, "end"]
