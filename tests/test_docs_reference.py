"""The reference is complete, and says what the code does: every choice, key, score, format and
variable has its entry. No Sphinx is needed here; the built pages are tried in test_docs_site.py.
"""

import ast
import inspect
import re
import sys
from pathlib import Path

import numpy as np
import pytest

import nowcast
from nowcast.cli import _COMMANDS, docstrings
from nowcast.cli import conf_files as configuration
from nowcast.evaluation.statistics.scores import SCORES

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
sys.path.insert(0, str(DOCS / "_extensions"))

from nowcast_docs import classes, score_runs, structure  # noqa: E402
from nowcast_docs.formulas import all_formulas  # noqa: E402

PAGES = {path.name: path.read_text(encoding="utf-8") for path in (DOCS / "reference").glob("*.md")}
REFERENCE = "\n".join(PAGES.values())


def directives(name):
    return re.findall(rf"^```\{{{name}\}} (\S+)$", REFERENCE, re.MULTILINE)


def table(label):
    """The rows of the table below a label of a page: cells as text, without code marks."""
    (text,) = [page for page in PAGES.values() if f"({label})=" in page]
    lines = text.split(f"({label})=\n")[1].split("\n\n")[0].splitlines()
    lines = [line for line in lines if line.startswith("|")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [[cell.strip("`") for cell in row] for row in rows[2:]]


def test_every_public_name_is_documented():
    named = re.findall(r"^\.\. auto\w+:: nowcast\.(\w+)$", REFERENCE, re.MULTILINE)
    assert sorted(named) == sorted(nowcast.__all__)


def test_every_group_and_every_command_is_described_once():
    assert sorted(directives("nowcast-group")) == configuration.groups()
    files = [file.name for file in configuration.commands()]
    assert sorted(directives("nowcast-command")) == sorted(files)
    assert set(_COMMANDS) <= {*files} and {*files} - set(_COMMANDS) == {"evaluate_forecasts"}


def all_keys():
    """(where it is documented, what says its meaning) of every key that can be typed."""
    for group in configuration.groups():
        if group == "experiment":  # its files are shown as they stand
            continue
        files = configuration.choices(group)
        for one in classes.classes_of(group, files):
            for key in classes.keys_of(one):
                yield f"{one.cls.__name__}.{key}", " ".join(docstrings.meaning(one.cls, key))
        for file in files:
            if file.nodes:
                yield from ((f"{file.name}.{key.name}", key.comment) for key in file.keys)
    for file in configuration.commands():
        yield from ((f"{file.name}.{key.name}", key.comment) for key in file.keys)


def test_every_key_that_can_be_typed_has_a_sentence_that_says_what_it_means():
    found = dict(all_keys())
    assert len(found) > 200
    assert [name for name, said in found.items() if not said] == []


def test_a_comment_is_read_with_the_lines_below_it_that_go_on():
    (models,) = [
        key
        for file in configuration.commands()
        for key in file.keys
        if (file.name, key.name) == ("compare", "models")
    ]
    assert models.comment.startswith("name -> its own settings")
    assert models.comment.endswith(
        "(by the validation loss after training.max_epochs=3 with seed 1)"
    )


def test_what_a_docstring_leaves_to_another_class_is_taken_from_there():
    from nowcast.models.encoder_forecaster import EncoderForecaster
    from nowcast.readers.zarr_composite import ZarrComposite

    (peephole,) = docstrings.meaning(EncoderForecaster, "checkpoint")[-1:]
    assert peephole.startswith("0 keeps what the backward pass needs of every step")
    assert docstrings.meaning(ZarrComposite, "minutes")[0].startswith("interval of rain depths")


def test_every_score_has_a_formula_and_nothing_else_has_one():
    assert set(all_formulas()) == set(SCORES)
    families = directives("nowcast-scores")
    from nowcast_docs.formulas import FAMILIES

    assert sorted(families) == sorted(FAMILIES)


def test_every_score_is_given_by_a_choice_of_scores():
    assert set(SCORES) - set(score_runs.givers()) == set()


def scored():
    """(key, values of some forecast, values of a perfect one) of everything that is measured."""
    for statistic in score_runs.statistics().values():
        forecast, truth = score_runs.fields(statistic.quantity)
        perfect = score_runs.scored(statistic, truth, truth)
        for key, values in score_runs.scored(statistic, forecast, truth).items():
            yield key, values, perfect[key]
        ensemble = statistic.ensemble(score_runs.MEMBERS)
        if ensemble is None:
            continue
        draws = range(score_runs.MEMBERS)
        members = np.stack([score_runs.fields("rain_rate", seed=2 + n)[0] for n in draws], axis=1)
        perfect = score_runs.scored(ensemble, np.stack([truth] * len(draws), axis=1), truth)
        for key, values in score_runs.scored(ensemble, members, truth).items():
            yield key, values, perfect[key]
        probabilities = statistic.probabilities()
        limits = np.array(probabilities.thresholds, np.float32)[:, None, None, None]
        chance = (members[:, :, None] >= limits).mean(1, dtype=np.float32)
        right = (truth[:, None] >= limits).astype(np.float32)
        perfect = score_runs.scored(probabilities, right, truth)
        for key, values in score_runs.scored(probabilities, chance, truth).items():
            yield key, values, perfect[key]


def test_scores_keep_within_their_range_and_a_perfect_forecast_has_the_value_that_is_said():
    formulas, seen = all_formulas(), set()
    for key, values, perfect in scored():
        said = formulas[key.score]
        known = values[np.isfinite(values)]
        assert (known >= said.low - 1e-9).all() and (known <= said.high + 1e-9).all(), key
        perfect = perfect[~np.isnan(perfect)]
        if said.perfect is not None and perfect.size:
            np.testing.assert_allclose(perfect, said.perfect, atol=1e-6, err_msg=str(key))
            seen.add(key.score)
    assert seen == {name for name, said in formulas.items() if said.perfect is not None}


def test_a_better_direction_and_the_value_of_a_perfect_forecast_agree():
    for name, said in all_formulas().items():
        better = SCORES[name].better
        best = {"higher": said.high, "lower": 0, "near 1": 1, "near 0": 0}.get(better)
        if better and said.perfect is not None:
            assert said.perfect == best, name


def test_what_stands_on_the_path_of_the_data_is_in_the_code():
    for stage in structure.PATH:
        for name in stage.code:
            assert docstrings.load(name).__module__ == name.rpartition(".")[0]


def test_the_drawing_of_the_import_order_is_that_of_the_test_that_keeps_it():
    from tests.test_layers import APART, LAYERS

    assert structure.import_order() == (LAYERS, APART)


def test_every_folder_of_the_package_says_what_it_is_for():
    rooms = structure.rooms()
    folders = {
        ".".join(path.parent.relative_to(structure.PACKAGE).parts)
        for path in structure.PACKAGE.rglob("*.py")
    } - {""}
    assert set(rooms) == folders and all(rooms.values())


def test_the_files_that_the_architecture_names_exist():
    text = (DOCS / "explanation" / "architecture.md").read_text(encoding="utf-8")
    named = re.findall(r"`((?:nowcast|tests)/[\w/.]*|\w+/\w+\.py)`", text)
    assert len(named) > 20
    assert [n for n in named if not ((ROOT / n).exists() or (ROOT / "nowcast" / n).exists())] == []


NOT_VARIABLES = {"ERROR", "SC_PAGE_SIZE", "SC_PHYS_PAGES", "GDAL_SKIP", "GTIFF_POINT_GEO_IGNORE"}
NOT_VARIABLES |= {"GTIFF_IGNORE_READ_ERRORS", "GDAL_IGNORE_ERRORS"}  # options of calls of GDAL
BEGINNINGS = {"HYDRA", "TORCH", "PYTORCH"}  # of names, by which messages find a culprit


def variables_of(path):
    """Names of environment variables in a file that reads some."""
    text = path.read_text(encoding="utf-8")
    if "environ" not in text.replace("runtime.environment", "").replace("import environment", ""):
        return set()
    constants = {
        node.value
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    by_form = {
        one for one in constants if re.fullmatch(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)+|[A-Z]{4,}", one)
    }
    by_use = set(re.findall(r"environ(?:ment)?(?:\.get\(|\[)\"(\w+)\"", text))
    return by_form | by_use


def test_every_environment_variable_that_the_code_reads_or_sets_is_listed():
    read = set().union(*(variables_of(path) for path in structure.PACKAGE.rglob("*.py")))
    assert read >= NOT_VARIABLES and read >= BEGINNINGS
    rows = [
        row
        for part in ("own", "processes", "libraries")
        for row in table(f"table-environment-{part}")
    ]
    listed = {row[0] for row in rows if "*" not in row[0]}
    assert listed - {"HDF5_PLUGIN_PATH"} == read - NOT_VARIABLES - BEGINNINGS
    from nowcast.runtime import environment

    (families,) = [row[0] for row in rows if "*" in row[0]]
    assert tuple(re.findall(r"(\w+_)\*", families)) == environment._GEOGRAPHIC


def test_every_reader_says_what_it_reads_and_recognises():
    for one in classes.classes_of("reader", configuration.choices("reader")):
        if not one.part:
            assert one.cls.format and len(classes.recognised_by(one.cls)) > 20, one.cls


@pytest.mark.parametrize("module", sorted((DOCS / "_extensions" / "nowcast_docs").glob("*.py")))
def test_what_the_site_is_made_by_is_as_readable_as_the_rest(module):
    text = module.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno < 50, node.name
    assert inspect.cleandoc(ast.get_docstring(ast.parse(text)))
