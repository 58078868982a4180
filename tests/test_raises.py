"""Every error message of the package is looked for by a test."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SHORTEST = 8  # characters of a message that a test must name


def constants(node: ast.AST) -> list[str]:
    return [part.value for part in ast.walk(node) if isinstance(part, ast.Constant) and isinstance(part.value, str)]


def raises():
    for path in sorted((ROOT / "nowcast").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
                yield pytest.param(constants(node.exc), id=f"{path.relative_to(ROOT)}:{node.lineno}")


def patterns() -> set[str]:
    """All strings in the tests (messages stand in match=, in parametrize and in comparisons), without regex signs."""
    found = set()
    for path in (ROOT / "tests").glob("test_*.py"):
        if path.name != Path(__file__).name:
            for text in constants(ast.parse(path.read_text())):
                found.update(piece.strip() for piece in re.split(r"[.*+?\\()\[\]{}|^$]+", text))
    return {piece for piece in found if len(piece) >= SHORTEST}


PATTERNS = patterns()


@pytest.mark.parametrize("message", list(raises()))
def test_a_message_is_looked_for_by_a_test(message):
    """Some piece of a test's pattern is a part of the message, or ends or begins with a constant part of it."""
    parts = [part.strip() for part in message if len(part.strip()) >= SHORTEST]
    assert not message or any(piece in part or part in piece for part in parts for piece in PATTERNS), message
