"""What the documentation shows works: its code runs, its policies load, its commands, links and lists are true."""

from __future__ import annotations

import ast
import asyncio
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import click
import msgspec
import pytest
from tests.support.asgi import drive, scope
from tests.support.repository import ROOT
from tests.support.source import FILES, LAYER

from consent_mw._asgi import Message, Scope
from consent_mw.cli import consent_mw, main
from consent_mw.cli.default_group import DefaultGroup
from consent_mw.consent.permissions import Reason
from consent_mw.policy.loader import loads
from consent_mw.policy.model import (
    FIELDS,
    Agency,
    Basis,
    Controller,
    Cookie,
    Event,
    Officer,
    Policy,
    Purpose,
    Recipient,
)
from consent_mw.policy.presets import PRESETS

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
# These have tests of their own: their blocks are files of one project, or parts of the examples.
RUN = [page for page in PAGES if page.name not in ("frameworks.md", "operator.md", "testing.md", "write-a-store.md")]

by_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), flags=re.DOTALL | re.MULTILINE)


def params(pages: list[Path], language: str) -> list[Any]:
    return [
        pytest.param(block, id=f"{page.name}-{number}")
        for page in pages
        for number, block in enumerate(blocks(page, language), 1)
    ]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory as `consent-mw init` leaves it, in which the test stands."""
    monkeypatch.chdir(tmp_path)
    assert main(["init"]) == 0
    return tmp_path


# -- code ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", params(RUN, "python"))
def test_a_block_of_python_runs_beside_the_policy_that_init_writes(block: str, site: Path) -> None:
    exec(compile(block, "block", "exec"), {"__name__": "block"})


@pytest.mark.parametrize("block", params(RUN, "python"))
def test_a_block_of_python_imports_what_it_uses(block: str) -> None:
    tree = ast.parse(block)
    named = {name.id for name in ast.walk(tree) if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Load)}
    bound = {name.id for name in ast.walk(tree) if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store)}
    bound |= {alias.asname or alias.name for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)
              for alias in node.names}  # fmt: skip
    bound |= {arg.arg for arg in ast.walk(tree) if isinstance(arg, ast.arg)}
    bound |= {
        node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    }
    assert named <= bound | set(dir(__builtins__) if not isinstance(__builtins__, dict) else __builtins__)


def test_the_cookies_of_the_readme_fare_as_it_says(site: Path, caplog: pytest.LogCaptureFixture) -> None:
    page = ROOT / "README.md"
    program = next(block for block in blocks(page, "python") if block.startswith("# app.py"))
    names: dict[str, Any] = {}
    exec(compile(program, "app.py", "exec"), names)
    app = names["app"]
    console = "".join(blocks(page, "console"))

    before = lines_of(asyncio.run(drive(app, scope())))
    sent = asyncio.run(drive(app, *choice("accept")))
    cookie = next(line for line in lines_of(sent) if line.startswith("set-cookie: consent=")).split(": ")[1]
    headers = [(b"cookie", cookie.partition(";")[0].encode())]
    after = lines_of(asyncio.run(drive(app, scope(headers=headers))))

    shown = [line for line in console.splitlines() if re.match(r"(consent-cookies|set-cookie): ", line)]
    assert before + after == shown
    assert caplog.text.count('"surprise" is not declared') == 1
    assert caplog.messages[0].partition("\n")[0] == blocks(ROOT / "docs/gate.md", "text")[0].partition("\n")[0]
    warning = caplog.messages[0].partition("[[cookies")
    assert_loads(warning[1] + warning[2])


def choice(word: str) -> tuple[Scope, list[Message]]:
    headers = [(b"content-type", b"application/x-www-form-urlencoded"), (b"sec-fetch-site", b"same-origin")]
    return (
        scope("/consent/choice", headers=headers, method="POST"),
        [{"type": "http.request", "body": f"choice={word}".encode(), "more_body": False}],
    )


def lines_of(sent: list[Any]) -> list[str]:
    return [f"{name.decode()}: {value.decode()}" for name, value in sent[0]["headers"]
            if name in (b"set-cookie", b"consent-cookies")]  # fmt: skip


# -- policies ------------------------------------------------------------------------------------------------------

# What a block of the documentation may leave out, each under the path that it would declare.
FRAME = {
    "schema": "schema = 1",
    "revision": "revision = 1",
    "published": "published = 2026-11-23",
    "effective": "effective = 2026-11-23",
    "languages": 'languages = ["ko", "en"]',
    "controller": '[controller]\nname = "x"\nofficer = { name = "x", email = "x@example.com" }',
    "purposes.necessary": '[purposes.necessary]\nbasis = "necessary"\nretention = "90 days"',
    "purposes.functional": '[purposes.functional]\nbasis = "consent"\nretention = "180 days"',
    "purposes.analytics": '[purposes.analytics]\nbasis = "consent"\nretention = "13 months"',
    "purposes.abuse": '[purposes.abuse]\nbasis = "legitimate_interest"\nretention = "1 year"',
}


def assert_loads(block: str) -> None:
    declared = tomllib.loads(block)

    def missing(path: str) -> bool:
        table, _, name = path.partition(".")
        return name not in declared.get(table, {}) if name else table not in declared

    parts = [text for path, text in FRAME.items() if missing(path)]
    scalars = [text for text in parts if not text.startswith("[")]
    tables = [text for text in parts if text.startswith("[")]
    loads("\n".join([*scalars, block, *tables]))


@pytest.mark.parametrize("block", params(PAGES, "toml"))
def test_a_block_of_toml_is_part_of_a_policy_that_loads(block: str) -> None:
    assert_loads(block)


def test_the_smallest_policy_loads_as_it_stands() -> None:
    policy = loads(blocks(ROOT / "docs/policy.md", "toml")[0])
    assert policy.asked == ()


def test_every_key_of_the_policy_is_told() -> None:
    page = (ROOT / "docs/policy.md").read_text()
    keys = {field.name for kind in (Policy, Purpose, Cookie, Event, Agency, Controller, Officer, Recipient)
            for field in msgspec.structs.fields(kind)}  # fmt: skip
    ours = {"file", "digest", "asked"}  # not in the file
    words = {*keys - ours, *FIELDS, *(how for ways in FIELDS.values() for how in ways), *get_args(Basis)}
    words |= {word for name, cookies in PRESETS.items() for word in (name, *(cookie["name"] for cookie in cookies))}
    assert [word for word in sorted(words) if not re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", page)] == []


def test_every_reason_of_the_gate_is_told() -> None:
    page = (ROOT / "docs/gate.md").read_text()
    assert [reason for reason in Reason if f"`{reason}`" not in page] == []


# -- commands ------------------------------------------------------------------------------------------------------


def commands(page: Path) -> Iterator[list[str]]:
    """Yield the words after `consent-mw` in blocks and in code spans."""
    text = page.read_text()
    for line in re.findall(r"(?:^\$ |`)consent-mw ([^`\n#]+)", text, flags=re.MULTILINE):
        yield shlex.split(line)


@by_page
def test_every_command_and_option_exists(page: Path) -> None:
    for words in commands(page):
        command = consent_mw.get_command(click.Context(consent_mw), words[0])
        if isinstance(command, DefaultGroup):
            command = command.commands.get(words[1] if words[1:] else "") or command.commands[command.default]
        elif isinstance(command, click.Group) and words[1:]:
            command = command.commands.get(words[1])
        assert command is not None, f"consent-mw {' '.join(words[:2])}"
        known = {option for param in command.params if isinstance(param, click.Option) for option in param.opts}
        given = [word for word in words[1:] if word.startswith("-")]
        assert set(given) <= known, f"consent-mw {' '.join(words)}"


@by_page
def test_every_verb_of_make_exists(page: Path) -> None:
    verbs = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert set(re.findall(r"(?:^\$ |`)make ([a-z]+)", page.read_text(), flags=re.MULTILINE)) <= verbs


# -- links and lists -----------------------------------------------------------------------------------------------


def anchors(page: Path) -> set[str]:
    """The headings as GitHub names them."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"], ids=lambda page: page.name)
def test_every_relative_link_resolves(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if target.startswith(("http:", "https:", "mailto:")):
            continue
        path, _, anchor = target.partition("#")
        place = (page.parent / path).resolve() if path else page
        assert place.exists(), target
        assert not anchor or anchor in anchors(place), target


def test_the_index_and_the_site_lead_to_every_page() -> None:
    pages = {page.name for page in (ROOT / "docs").glob("*.md")} - {"index.md"}
    assert {name for name in pages if f"]({name})" not in (ROOT / "docs/index.md").read_text()} == set()
    assert {name for name in pages if f": {name}" not in (ROOT / "mkdocs.yml").read_text()} == set()


def test_the_architecture_page_has_each_room_in_its_layer() -> None:
    page = (ROOT / "docs/architecture.md").read_text()
    rows = re.findall(r"^\| (\d+) \| (.+?) \|", page, flags=re.MULTILINE)
    drawn = {(name, int(number)) for number, names in rows for name in re.findall(r"`(\w+)`", names)}
    modules = {module.split(".")[1] for module in FILES if "." in module}
    assert drawn == {(name, LAYER[name]) for name in modules}


def test_the_architecture_page_has_a_reason_for_each_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {re.split(r"[>=\[]", wanted)[0] for wanted in project["dependencies"]} | set(
        project["optional-dependencies"]
    )
    page = (ROOT / "docs/architecture.md").read_text()
    assert {
        name for name in names if not re.search(rf"^\| `{name}` \| .+ \| .+ \|$", page, flags=re.MULTILINE)
    } == set()


def test_the_changelog_page_names_no_command_that_is_missing() -> None:
    page = (ROOT / "CHANGELOG.md").read_text()
    named = re.search(r"commands `consent-mw (\w+)`, ((?:`\w+`(?:,\s+|\s+and\s+)?)+)", page)
    assert named
    assert {named[1], *re.findall(r"`(\w+)`", named[2])} == set(consent_mw.list_commands(click.Context(consent_mw)))


def test_the_page_about_looks_tells_every_property_to_theme() -> None:
    static = ROOT / "src/consent_mw/site/static"
    style = "".join(file.read_text() for file in sorted(static.glob("*.css")))
    page = (ROOT / "docs/theming.md").read_text()
    documented = set(re.findall(r"^\| `(--consent-[\w-]+)`", page, flags=re.MULTILINE))
    assert set(re.findall(r"var\((--consent-(?!mw-)[\w-]+)", style)) == documented
