"""The import order: each layer imports only from those above it."""

import ast
import functools
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "nowcast"
LAYERS = [  # first the ones that import nothing
    ("__init__",),
    ("runtime",),
    ("types",),
    ("readers", "models", "evaluation.statistics"),
    ("data", "training.losses"),
    ("baselines",),
    ("training.checkpoints", "forecasting.products"),
    ("forecasting.forecaster", "forecasting.saving"),
    ("forecasting.export",),
    ("evaluation", "training", "output", "drawing"),
    ("forecasting", "page", "report"),
    ("benchmark", "training.comparison", "demo"),
    ("api",),
    ("cli",),
    ("__main__",),
]
APART = {"readers", "models", "evaluation.statistics"}  # know nothing of each other
# the public door imports what it exports only when somebody asks for it
FILES = [path for path in sorted(PACKAGE.rglob("*.py")) if path != PACKAGE / "__init__.py"]


def part(name: str) -> str:
    """The room of a module, the longest name in LAYERS that it begins with."""
    words = name.split(".")[1:] or ["__init__"]
    beginnings = [".".join(words[:count]) for count in range(len(words), 0, -1)]
    return next(found for found in beginnings if any(found in names for names in LAYERS))


def module(path: Path) -> str:
    words = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(words).removesuffix(".__init__")


@functools.cache
def tree(path: Path) -> ast.AST:
    return ast.parse(path.read_text())


@functools.cache
def imports(path: Path) -> tuple[str, ...]:
    """Names imported anywhere in a file, also inside functions."""
    found = []
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute here"
            for alias in node.names:
                whole = PACKAGE.parent.joinpath(*node.module.split("."), alias.name)
                is_module = whole.is_dir() or whole.with_suffix(".py").exists()
                found.append(f"{node.module}.{alias.name}" if is_module else node.module)
    return tuple(found)


def imported_parts(path: Path) -> set[str]:
    names = {part(name) for name in imports(path) if re.match(r"nowcast(\.|$)", name)}
    return names - {part(module(path))}


def layer(name: str) -> int:
    return next(index for index, names in enumerate(LAYERS) if name in names)


# A constructor that is built on what is built on its class, and loaded when it is called:
# Frames.from_xarray reads as readers of CF files do; a forecast hands itself on to what writes and
# draws it.
UPWARDS = {"types/frames.py": {"readers", "output", "drawing", "forecasting.products"}}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_from_its_own_layer_and_those_above(path):
    mine = part(module(path))
    others = imported_parts(path) - UPWARDS.get(str(path.relative_to(PACKAGE)), set())
    assert [name for name in others if layer(name) > layer(mine)] == []
    assert mine not in APART or others & APART == set()


@pytest.mark.parametrize(
    ("library", "users"),
    [
        ("lightning", {"training"}),
        ("hydra", {"cli"}),
        ("omegaconf", {"cli"}),
        ("matplotlib", {"drawing", "types"}),  # types: the name of what plot returns
        ("pysteps", {"baselines"}),
    ],
)
def test_a_library_is_known_to_one_place_only(library, users):
    found = {
        path.relative_to(PACKAGE).parts[0]
        for path in FILES
        if any(name.split(".")[0] == library for name in imports(path))
    }
    assert found == users


def test_one_file_imports_lightning_and_none_torchvision_as_it_is_loaded():
    users = {"lightning": [], "torchvision": []}
    for path in FILES:
        for library in {name.split(".")[0] for name in imports(path)} & set(users):
            users[library].append(str(path.relative_to(PACKAGE)))
    assert users == {"lightning": ["training/lightning_names.py"], "torchvision": []}


def test_nothing_is_printed_outside_the_command_line():
    calls = [
        path.name
        for path in FILES
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "print"
    ]
    assert calls == []
