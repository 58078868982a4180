"""The import order of nowcast/__init__ and ARCHITECTURE: each layer imports only from those above it."""

import ast
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "nowcast"
LAYERS = [  # first the ones that import nothing
    ("errors", "__init__"),
    ("files", "memory", "runtime", "task", "types"),
    ("units",),
    ("frames",),
    ("build", "precision", "transform", "data", "models", "losses", "verification", "products", "coastlines"),
    ("forecaster", "checkpoints"),
    ("export",),
    ("resuming",),
    ("evaluation", "results", "training", "training_processes", "plotting", "io"),
    ("prediction", "page", "report"),
    ("operations",),
    ("benchmark", "comparison"),
    ("config", "export"),
    ("cli",),
    ("battery",),
    ("__main__",),
]
FORBIDDEN = {  # inside a layer, too
    "models": {"build", "transform", "data", "losses", "verification", "task", "units", "frames", "files"},
    "losses": {"build", "precision", "transform", "data", "models", "verification", "task", "units", "frames", "files"},
    "verification": {"build", "precision", "transform", "data", "models", "losses", "task", "units", "frames"},
    "data": {"build", "transform", "models", "losses", "verification"},
}
FILES = sorted(PACKAGE.rglob("*.py"))


def part(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path):
    """Names imported anywhere in a file, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute here"
            if node.module == "nowcast":
                yield from (f"nowcast.{alias.name}" if alias.name != "__version__" else "nowcast" for alias in node.names)
            else:
                yield node.module


def own(path: Path) -> set[str]:
    names = {name.split(".")[1] if "." in name else "__init__" for name in imports(path) if re.match(r"nowcast(\.|$)", name)}
    return names - {part(path)}


def layer(name: str) -> int:
    return next(index for index, names in enumerate(LAYERS) if name in names)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_from_its_own_layer_and_those_above(path):
    assert [name for name in own(path) if layer(name) > layer(part(path))] == []
    assert own(path) & FORBIDDEN.get(part(path), set()) == set()


@pytest.mark.parametrize(
    ("library", "users"),
    [
        ("lightning", {"training", "training_processes"}),
        ("hydra", {"config", "runtime"}),
        ("omegaconf", {"config", "runtime", "cli", "battery"}),
        ("matplotlib", {"plotting"}),
        ("pysteps", {"models", "benchmark"}),
    ],
)
def test_a_library_is_known_to_one_place_only(library, users):
    found = {part(path) for path in FILES if any(name.split(".")[0] == library for name in imports(path))}
    assert found == users


def test_nothing_is_printed_outside_the_command_line():
    calls = [
        path.name
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert calls == []
