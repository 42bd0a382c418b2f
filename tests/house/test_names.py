"""A name is the thing's name: no variable, argument, field or function is called `told`, `each`, `made` or `found`."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.source import trees

#: They say that something was done, not what the thing is: a row, a cookie, a cipher, a match.
WORDS = frozenset({"told", "each", "made", "found"})

ROOT = Path(__file__).parents[2]


def beside() -> dict[str, ast.Module]:
    """Return what stands beside the package: benchmarks, examples, scripts and tests, parsed."""
    files = [path for name in ("bench", "examples", "scripts", "tests") for path in (ROOT / name).rglob("*")]
    python = [path for path in files if path.suffix == ".py" or (path.parent.name == "scripts" and is_python(path))]
    return {str(path): ast.parse(path.read_bytes()) for path in sorted(python)}


def is_python(path: Path) -> bool:
    return path.is_file() and path.read_bytes().startswith(b"#!/usr/bin/env python")


def named(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield what a module gives names to, each with its line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id if isinstance(node, ast.Name) else node.attr
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.lineno, node.name


def test_a_name_says_what_the_thing_is() -> None:
    names = [(module, line, name) for module, tree in (trees() | beside()).items() for line, name in named(tree)]
    assert [name for name in names if name[2].strip("_").lower() in WORDS] == []


@pytest.mark.parametrize(
    "source", ["found = 1", "for each in (): pass", "def told(): pass", "def f(made): pass", "self._told = 1"]
)
def test_each_way_to_give_a_name_is_seen(source: str) -> None:
    assert WORDS & {name.strip("_") for _, name in named(ast.parse(source))}
