"""The reference and the site have what the code has: every public name, command, option and key, and every page."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec
import pytest
from tests.support.repository import ROOT
from tests.support.source import FILES

from consent_mw.cli import consent_mw as command
from consent_mw.cli.exit_codes import leaves
from consent_mw.policy.loader import load
from consent_mw.policy.model import FIELDS, Agency, Controller, Cookie, Event, Officer, Purpose, Recipient
from consent_mw.policy.presets import PRESETS
from consent_mw.site.templating import TEMPLATES

REFERENCE = ROOT / "docs" / "reference"
GUIDES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


#: Modules that list their names: each of them is public. No other module has a list.
WHOLE = [module for module, path in FILES.items() if re.search(r"(?m)^__all__ =", path.read_text())]


def compared(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, str(ROOT / "scripts" / "reference"), *arguments, str(directory)]
    return subprocess.run(line, capture_output=True, text=True, check=False)


def shown() -> list[str]:
    """Return the Python names that have a place in the reference."""
    return [name for page in REFERENCE.glob("*.md") for name in re.findall(r"(?m)^::: (\S+)$", page.read_text())]


def in_the_reference(module: str, name: str) -> bool:
    """Tell whether a name is there: under this module, or under the one that it comes from or goes to."""
    value = getattr(importlib.import_module(module), name)
    return f"{module}.{name}" in shown() or any(
        path.endswith(f".{name}") and pkgutil.resolve_name(path) is value for path in shown()
    )


# -- what the code says --------------------------------------------------------------------------------------------


def test_the_pages_are_what_the_code_says_and_one_that_says_something_else_is_named(tmp_path: Path) -> None:
    pages = shutil.copytree(REFERENCE, tmp_path / "reference")
    page = pages / "commands.md"
    page.write_text(page.read_text().replace("--follow", "--pursue"))
    result = compared(pages, "--check")
    assert (result.returncode, result.stderr) == (1, f"{page}: is not what the code says; run: make reference\n")
    assert compared(pages).returncode == 0
    assert {file.name: file.read_text() for file in pages.iterdir()} == {
        file.name: file.read_text() for file in REFERENCE.iterdir()
    }, "run: make reference"


# -- names ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", WHOLE)
def test_every_name_that_a_public_module_exports_has_a_place(module: str) -> None:
    exported = getattr(importlib.import_module(module), "__all__", ())
    assert [name for name in exported if not in_the_reference(module, name)] == [], "an inner module needs no __all__"


def imported() -> Iterator[tuple[str, str]]:
    """Yield what the guides import from the package in their code, and what they name with its module."""
    for page in GUIDES:
        text = page.read_text()
        for block in re.findall(r"(?ms)^```python\n(.*?)^```$", text):
            for node in ast.walk(ast.parse(block)):
                if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("consent_mw"):
                    yield from ((node.module, alias.name) for alias in node.names)
        for path in re.findall(r"`(consent_mw(?:\.[a-z_]+)+)\.([A-Z]\w+)`", text):
            yield path[0], path[1]


@pytest.mark.parametrize(("module", "name"), sorted(set(imported())))
def test_a_name_that_a_guide_shows_has_a_place(module: str, name: str) -> None:
    assert in_the_reference(module, name)


def test_no_place_is_for_a_name_that_is_gone_and_none_has_two() -> None:
    paths = shown()
    assert len(paths) == len(set(paths))
    for path in paths:
        pkgutil.resolve_name(path)


# -- commands and keys ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("path", "leaf"), [pytest.param(*row, id=row[0]) for row in leaves(command)])
def test_every_command_has_a_section_with_its_options(path: str, leaf: click.Command) -> None:
    text = (REFERENCE / "commands.md").read_text()
    section = text.partition(f"\n## `consent-mw {path}`\n")[2].partition("\n## ")[0]
    names = [name for param in leaf.params if isinstance(param, click.Option) for name in param.opts]
    listed = " ".join(re.findall(r"(?m)^- `([^`]+)`", section))
    assert [name for name in [*names, "--help"] if not re.search(rf"(?<!\S){name}(?![\w-])", listed)] == []


@pytest.mark.parametrize("kind", [Agency, Controller, Cookie, Event, Officer, Purpose, Recipient])
def test_every_key_of_the_policy_has_a_row(kind: type[msgspec.Struct]) -> None:
    rows = re.findall(r"(?m)^\| `([^`]+)` \|", (REFERENCE / "policy-keys.md").read_text())
    named = {"name"} if kind in (Event, Purpose) else set()  # in the table's header
    assert {field.name for field in msgspec.structs.fields(kind)} - named - set(rows) == set()


def test_every_field_of_the_log_has_a_row_with_its_precisions() -> None:
    text = (REFERENCE / "policy-keys.md").read_text()
    for field, precisions in FIELDS.items():
        words = ", ".join(f'`"{precision}"`' for precision in precisions)
        assert f"| `{field}` | {words} |" in text


def test_every_template_has_a_row_and_every_name_that_it_is_given_a_sentence() -> None:
    text, _, templates = (REFERENCE / "templates.md").read_text().partition("## Each template")
    rows = dict(re.findall(r"(?m)^\| `([\w.]+)` \| (.*?) \|", templates))
    assert rows.keys() == {path.name for path in TEMPLATES.glob("*.html")}
    documented = set(re.findall(r"(?m)^\| `(\w+)` \| \S", text))
    assert {name for names in rows.values() for name in re.findall(r"\w+", names)} - documented == set()
    assert "`unsaved`" in text
    assert rows["refused.html"] == "`allowed`, `field`, `page`, `reason`, `suffix`"


def test_every_preset_is_told() -> None:
    row = re.search(r"(?m)^\| `presets` \|.*$", (REFERENCE / "policy-keys.md").read_text())
    assert row
    assert re.findall(r'`"(\w+)"`', row[0]) == list(PRESETS)


# -- the site ------------------------------------------------------------------------------------------------------


def test_every_page_is_in_one_group_of_the_site_and_of_the_readme() -> None:
    config = (ROOT / "mkdocs.yml").read_text().partition("\nnav:\n")[2]
    outside = {"first-steps.md", "changes.md", "contributing.md"}  # files of the root
    for file in (ROOT / "examples" / "policies").glob("*.toml"):  # made by scripts/site_pages.py
        spoken = [language for language in ("ko", "en") if language in load(file).languages]
        outside |= {f"policies/{file.stem}-{language}.md" for language in spoken}
    placed = re.findall(r"([\w/-]+\.md)", config)
    pages = {page.relative_to(ROOT / "docs").as_posix() for page in (ROOT / "docs").rglob("*.md")}
    decisions = {page for page in pages if page.startswith("decisions/")} - {"decisions/index.md"}
    index = (ROOT / "docs/decisions/index.md").read_text()
    assert sorted(re.findall(r"^- \[[^]]*\]\(([^)]+)\)$", index, re.MULTILINE)) == sorted(
        page.split("/")[1] for page in decisions
    )
    pages -= decisions
    assert sorted(placed) == sorted(pages | outside)

    in_the_site = re.split(r"(?m)^  - ([A-Z][a-z ]+):\n", config)[1:]
    whole = (ROOT / "README.md").read_text().partition("\n## Read on\n")[2].partition("\n## ")[0]
    in_the_readme = re.split(r"(?m)^\*\*(.+)\*\*$", whole)[1:]
    groups = ["Start", "Do", "Look up", "Understand"]
    assert in_the_site[::2] == in_the_readme[::2] == groups
    for title, sited, linked in zip(groups, in_the_site[1::2], in_the_readme[1::2], strict=True):
        listed = set(re.findall(r"([\w/-]+\.md)", sited)) - outside - {"index.md"}
        assert set(re.findall(r"\(docs/([\w/-]+\.md)\)", linked)) == listed, title
