"""Docs and docstrings are in plain words: forms that readers stumbled over stay out, each with a better one."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.repository import ROOT

#: What readers stumbled over, and what to write instead.
BETTER = {
    r"\b(?:is|are|was|were|be|been) told\b(?! apart)": '"the log says", "visitors read", "is published": say who tells',
    r"\b(?:is|are|was|were|be|been) said\b": '"the page says": say who says it',
    r"\bunless told\b": '"by default"',
    r"\b(?:the|its|a|to) mend\b": '"the fix", "to fix"',
    r"\b(?:what|whatever) (?:becomes?|became) of\b": '"the result", "what happens to", or the thing itself',
    r"\bwhoever\b(?! (?:allowed|used) it)": '"anyone who", "the person who", or the role: a visitor, a caller',
    r"\bin trouble\b|\btroubles? of the\b": '"fails", "a failure of"',
    r"(?:^|(?<=[.:;!] ))Who [^.?]*(?:\.|$)": '"Visitors who …", "A caller that …": no headless "Who …"',
    r"(?<!there )\b(?:is|are|was) no (?:token|number|text|file|party|third|address|page|part|member|wall|time|"
    r"duration|body|choice|consent|UTF-8|URL|JSON|list|fault|legal|such file|table)\b": '"is not a …"',
    r"\bin the place of\b": '"instead of", "replaces"',
    r"\ball the same\b": '"anyway", "still"',
    r"\bhand(?:s|ed|ing)? over\b": '"moves … to the store", "passes"',
    r"\bvouch(?:es|ed)?\b": '"proves", "signs"',
}
#: Rooms of the package whose docstrings and comments hold to it. The others follow, room by room.
ROOMS = (
    "cli",
    "consent",
    "cookies",
    "crypto",
    "demo",
    "exports",
    "hosts",
    "log",
    "policy",
    "retention",
    "rights",
    "runtime",
    "site",
    "spool",
    "staff",
    "stores",
    "system",
    "testing",
)

#: Modules beside the rooms that hold to it, too.
MODULES = (
    "__init__.py",
    "__main__.py",
    "_asgi.py",
    "audit.py",
    "exceptions.py",
    "kinds.py",
    "middleware.py",
    "paths.py",
    "proxies.py",
    "records.py",
)

#: Written by scripts/reference from the code.
GENERATED = ROOT / "docs" / "reference"
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *(page for page in sorted((ROOT / "docs").rglob("*.md")) if GENERATED not in page.parents),
]
PACKAGE = ROOT / "src" / "consent_mw"
FILES = [
    *(PACKAGE / module for module in MODULES),
    *(file for room in ROOMS for file in sorted((PACKAGE / room).rglob("*.py"))),
]


def stumbles(text: str) -> list[str]:
    """Return each banned form in `text`, with its surroundings and the better one."""
    flat = " ".join(text.split())
    return [
        f'"…{flat[max(match.start() - 40, 0) : match.end() + 30]}…": write {better}'
        for form, better in BETTER.items()
        for match in re.finditer(form, flat, flags=re.IGNORECASE if form.startswith(r"\bwhoever") else 0)
    ]


def prose(page: Path) -> str:
    """Return the words of a page: no code, no link's target."""
    text = re.sub(r"^[ \t]*```.*?^[ \t]*```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"`[^`]*`|\]\([^)]*\)", " ", text)


def messages(file: Path) -> Iterator[tuple[int, str]]:
    """Yield the sentences of a file that people read where it runs, help texts and errors, each with its line."""
    tree = ast.parse(file.read_text())
    bare = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}  # docstrings are remarks
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and " " in node.value
            and id(node) not in bare
        ):
            yield node.lineno, node.value


def remarks(file: Path) -> Iterator[tuple[int, str]]:
    """Yield the docstrings and the comments of a file, each with its line."""
    source = file.read_text()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text:
                yield node.body[0].lineno, text
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string.lstrip("#: ")


def test_the_lines_of_a_page_are_no_longer_than_those_of_the_code() -> None:
    free = ("|", "!", "<")  # tables, pictures and tags cannot be broken
    for page in PAGES:
        text = re.sub(r"^[ \t]*```.*?^[ \t]*```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
        long = [line for line in text.splitlines() if len(line) > 120 and not line.lstrip().startswith(free)]
        assert long == [], page


def test_a_page_is_in_plain_words() -> None:
    assert {page.name: stumbles(prose(page)) for page in PAGES if stumbles(prose(page))} == {}


def test_docstrings_and_comments_are_in_plain_words() -> None:
    texts = [(f"{file.relative_to(PACKAGE)}:{line}", text) for file in FILES for line, text in remarks(file)]
    assert [f"{place}: {stumble}" for place, text in texts for stumble in stumbles(text)] == []


def test_help_texts_and_messages_of_the_commands_are_in_plain_words() -> None:
    files = sorted((PACKAGE / "cli").rglob("*.py"))
    texts = [(f"{file.name}:{line}", text) for file in files for line, text in messages(file)]
    assert [f"{place}: {stumble}" for place, text in texts for stumble in stumbles(text)] == []


@pytest.mark.parametrize(
    "sentence",
    [
        "The log is told of it.",
        "As is said above.",
        "An hour unless told.",
        "Each with its place and its mend.",
        "Return what becomes of it.",
        "Whoever reads it.",
        "A store in trouble is left alone.",
        "Who refuses everything is known to nobody.",
        "A byte that is no UTF-8.",
        "This stands in the place of that.",
        "It starts all the same.",
        "Records are handed over.",
        "The chain vouches for it.",
    ],
)
def test_the_forms_are_found(sentence: str) -> None:
    assert stumbles(sentence)


@pytest.mark.parametrize(
    "sentence", ["Who is it?", "Visitors who refuse are not counted.", "The cookie is no longer kept."]
)
def test_plain_sentences_pass(sentence: str) -> None:
    assert stumbles(sentence) == []
