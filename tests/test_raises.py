"""Every error message of the package is looked for by a test."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LENGTH = 12  # so many characters in a row of a message must stand in a test


def constants(node: ast.AST) -> list[str]:
    return [
        part.value
        for part in ast.walk(node)
        if isinstance(part, ast.Constant) and isinstance(part.value, str)
    ]


def raises():
    for path in sorted((ROOT / "nowcast").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
                yield pytest.param(
                    constants(node.exc), id=f"{path.relative_to(ROOT)}:{node.lineno}"
                )


def runs(text: str) -> set[str]:
    return {text[start : start + LENGTH] for start in range(len(text) - LENGTH + 1)}


def looked_for() -> set[str]:
    """Runs of characters in the strings of the tests: messages stand in match=, in parametrize and
    in comparisons.
    """
    found = set()
    for path in (ROOT / "tests").glob("test_*.py"):
        for text in constants(ast.parse(path.read_text())):
            found |= runs(text.replace("\\", ""))
    return found


LOOKED_FOR = looked_for()


@pytest.mark.parametrize("message", list(raises()))
def test_a_message_is_looked_for_by_a_test(message):
    parts = [run for part in message for run in (runs(part) if len(part) > LENGTH else set())]
    assert not parts or LOOKED_FOR.intersection(parts), message
