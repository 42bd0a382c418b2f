"""Every command, found by going through the tree of them: help, JSON, exit codes, and one line in answer to garbage."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Generator
from contextlib import chdir
from datetime import UTC, datetime, timedelta
from itertools import cycle, islice
from pathlib import Path

import click
import pytest
from tests.support.commands import Commands, Result
from tests.support.repository import ROOT
from tests.support.sites_with_records import UTC_POLICY, SiteWithRecords

from consent_mw.audit import Audit
from consent_mw.cli import consent_mw
from consent_mw.cli.exit_codes import CODES, MEANT_BY_ONE, leaves
from consent_mw.policy.revisions import Revisions
from consent_mw.records import encode_record
from consent_mw.spool.spool import Spool
from consent_mw.stores.used import UsedStores

LEAVES = dict(leaves(consent_mw))
by_command = pytest.mark.parametrize("path", LEAVES)

GARBAGE = bytes(range(256)) * 20
#: What a required argument gets where anything may stand; by default "x".
ARGUMENTS = {"url": "http://127.0.0.1:9/", "shell": "bash", "receipt": "019ae000-0000-7000-8000-000000000000",
             "target": "backups"}  # fmt: skip
#: What lets a command do its work and end, beside its required arguments.
WORKS = {
    "demo": ["--port", "0"],
    "disclose add": ["--to", "x", "--basis", "lawful_demand", "--reference", "1", "--purpose", "necessary"],
    "drain": ["--once"],
    "export": ["--format", "jsonl", "--purpose", "necessary", "--reason", "a test"],
    "hosts retire": ["--reason", "a test"],
    "log": ["--purpose", "necessary", "--reason", "a test"],
    "receipt verify": ["--reason", "a test"],
    "requests add": ["--kind", "access", "--channel", "phone", "--received", "2026-11-23"],
    "requests refuse": ["--reason", "a test"],
    "requests show": ["--reason", "a test"],
}
#: How they end there: no receipt and no request has that number, nothing listens there, and no backup is there.
WITH_JSON = {
    "hosts list": 1, "hosts retire": 1,
    "receipt verify": 1, "requests answer": 1, "requests grant": 1, "requests refuse": 1,
    "requests show": 1, "restore": 1, "scan": 1, "store move": 1,
}  # fmt: skip
#: Those that change what a site keeps.
CHANGING = {
    "disclose add", "drain", "hosts retire", "publish", "purge", "requests add", "requests answer", "requests grant",
    "requests refuse",
}  # fmt: skip
#: Those that go on until Ctrl-C.
ENDLESS = {"demo"}


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Generator[Commands]:
    scratch = tmp_path_factory.mktemp("streams")
    with Commands(scratch) as started:
        yield started


@pytest.fixture(scope="module")
def kept_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site with a policy, records, keys, a spool in which something waits, and an audit chain."""
    root = tmp_path_factory.mktemp("site")
    site = SiteWithRecords(root)
    now = datetime.now(UTC)
    site.keeps(*(site.record(now - timedelta(days=2, minutes=n), url__path=f"/책/{n}") for n in range(30)))
    Revisions(site.places.revisions).keep(site.policy, UTC_POLICY)
    spool = Spool(site.places.spool)
    spool.write([encode_record(site.record(now, url__path="/waits"))])
    spool.close()
    site.places.wordings.mkdir()
    Audit(site.places.audit, site.places.audit_head).append({"reason": "a test"}, now=now)
    return root


@pytest.fixture
def site(kept_site: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(kept_site, tmp_path / "site"))


def arguments(path: str, place: str | None = None) -> list[str]:
    """Return the required arguments of a command; those that are files are `place`."""
    words: list[str] = []
    for param in LEAVES[path].params:
        if not isinstance(param, click.Argument) or not param.required:
            continue
        is_file = isinstance(param.type, click.Path)
        choices = param.type.choices if isinstance(param.type, click.Choice) else ()
        usual = ARGUMENTS.get(str(param.name), "policy.toml" if is_file else "x")
        words.append(place or usual if is_file else str(choices[0]) if choices else usual)
    return words


def options(path: str) -> dict[str, click.Option]:
    return {param.opts[0]: param for param in LEAVES[path].params if isinstance(param, click.Option)}


def contents(directory: Path) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in directory.rglob("*") if file.is_file()}


def working(path: str) -> list[str]:
    return [*path.split(), *arguments(path), *WORKS.get(path, [])]


def is_answered(result: Result, *, codes: tuple[int, ...] = tuple(CODES)) -> None:
    """Hold a command to one line for each thing that is wrong, and to an exit code that says it."""
    assert result.code in codes, result
    assert "Traceback" not in result.stderr, result.stderr
    said = result.stderr.splitlines()
    assert all(line.startswith("consent-mw: ") for line in said if line), result.stderr
    assert result.code not in (1, 2) or said, result


# -- what each has -----------------------------------------------------------------------------------------------------


@by_command
@pytest.mark.parametrize("columns", ["20", "80"])
def test_its_help_has_an_example(path: str, columns: str, commands: Commands, tmp_path: Path) -> None:
    result = commands.run(*path.split(), "--help", cwd=tmp_path, env={"COLUMNS": columns})
    assert (result.code, result.stderr) == (0, "")
    help_text = " ".join(result.stdout.decode().split())
    assert f"Example: consent-mw {path}" in help_text
    assert "Exit code 1: " in help_text


@by_command
def test_it_has_json(path: str, commands: Commands, site: Path, tmp_path: Path) -> None:
    assert "--json" in options(path)
    where = tmp_path if path == "init" else site
    result = commands.run(*working(path), "--json", cwd=where, until_output=path in ENDLESS)
    assert result.code == WITH_JSON.get(path, 0), result
    lines = result.stdout.decode().splitlines()
    assert lines or result.code or path.endswith("list")
    assert all(isinstance(json.loads(line), dict) for line in lines)


def test_the_page_of_commands_has_each_with_its_exit_code() -> None:
    page = (ROOT / "docs/commands.md").read_text()
    rows = dict(re.findall(r"^\| `consent-mw ([a-z -]+)` \| .+ \| (.+) \|$", page, flags=re.MULTILINE))
    assert rows == {path: MEANT_BY_ONE.get(path, "(not told)") for path in LEAVES}
    codes = dict(re.findall(r"^\| (\d+) \| (.+) \|$", page, flags=re.MULTILINE))
    assert codes == {str(code): meaning for code, meaning in CODES.items()}
    assert all(meaning in (consent_mw.epilog or "") for meaning in CODES.values())


@pytest.mark.parametrize("path", [path for path in LEAVES if "--store" in options(path)])
def test_a_store_of_the_site_that_is_not_named_is_not_passed_by(path: str, commands: Commands, site: Path) -> None:
    """Else a reader is shown a part as the whole, and what is written is not found by the site."""
    used, other = UsedStores(site / "consent-data" / "stores.json"), f"sqlite:///{site}/other.sqlite3"
    file = f"sqlite:///{site}/consent-data/consent.sqlite3"
    cases = [(other, [], [], "--store"), (other, [], ["--store", file], "--store"), (file, [other], [], "--log-store")]
    for store, logs, named, option in cases:
        if (option == "--log-store" and option not in options(path)) or (named and path not in CHANGING):
            continue
        used.use(store, logs)
        before = contents(site / "consent-data")
        words = ["verify"] if path == "audit" else []  # the chain itself is in no store
        result = commands.run(*working(path), *words, *named, cwd=site)
        if named or path != "publish":  # which goes to the directory alone where no store is named
            assert result.code == 1, result
            assert any(f"add {option} {other}" in line for line in result.stderr.splitlines()), (result, store, logs)
        is_answered(result)
        assert path not in CHANGING or contents(site / "consent-data") == before


# -- garbage -----------------------------------------------------------------------------------------------------------


def places(tmp_path: Path) -> dict[str, str]:
    """Return what may stand where a file or a directory is expected."""
    (tmp_path / "directory").mkdir()
    (tmp_path / "garbage").write_bytes(GARBAGE)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    os.mkfifo(tmp_path / "pipe")
    return {
        "directory": str(tmp_path / "directory"),
        "garbage": str(tmp_path / "garbage"),
        "loop": str(tmp_path / "loop"),
        "pipe": str(tmp_path / "pipe"),
        "device": "/dev/zero",
        "missing": str(tmp_path / "missing" / "place"),
        "long": str(tmp_path / ("x" * 300)),
        "no text": str(tmp_path / "\udcff\x1b[31m"),
    }


@by_command
def test_whatever_stands_where_a_file_is_expected_is_answered(
    path: str, commands: Commands, site: Path, tmp_path: Path
) -> None:
    takes_files = [name for name, option in options(path).items() if isinstance(option.type, click.Path)]
    for place in places(tmp_path).values():
        lines = [[*working(path), name, place] for name in takes_files]
        lines.append([*path.split(), *arguments(path, place), *WORKS.get(path, [])])
        for words in lines:
            if place in words:  # few commands have an argument that is a file
                is_answered(commands.run(*words, cwd=site, seconds=0.2 if path in ENDLESS else 10))


@by_command
def test_every_value_that_is_none_is_answered(path: str, commands: Commands, site: Path) -> None:
    (site / "loop").symlink_to("loop")
    values = cycle(
        ("2026-99-99", "99999999999999999999", "책\udcff\x1b[31m", "sqlite:///policy.toml", "sqlite:///loop")
    )
    for name, option in options(path).items():
        if option.is_flag or isinstance(option.type, click.Path):
            continue
        for value in islice(values, 3):  # the next option gets the others
            result = commands.run(*working(path), name, value, cwd=site, seconds=0.2 if path in ENDLESS else 10)
            is_answered(result)
    is_answered(commands.run(*path.split(), "--no-such", cwd=site), codes=(2,))
    is_answered(commands.run(*path.split(), *arguments(path), *["x"] * 9, cwd=site), codes=(1, 2))


#: Each in turn is garbage; what is opened first is also a directory, empty, or away.
PARTS = ["policy.toml", *(f"consent-data/{name}" for name in (
    "consent.sqlite3", "keys", "spool", "revisions", "wordings", "audit.jsonl", "audit.head", "archive.sqlite3",
    "archive-keys", "destruction.lock"))]  # fmt: skip


OPENED = {"policy.toml", "consent-data/consent.sqlite3", "consent-data/keys"}


@pytest.mark.parametrize(("path", "half"), list(zip(sorted(LEAVES.keys() - ENDLESS), cycle((0, 1)))))
def test_a_site_of_which_a_part_is_spoilt_is_answered(
    path: str, half: int, commands: Commands, kept_site: Path, tmp_path: Path
) -> None:
    """Half of the commands meet one half of what may be, and the others meet the other half."""
    for part, spoil in SPOILT[half::2]:
        root = Path(shutil.copytree(kept_site, tmp_path / spoil.__name__ / part))
        spoil(root / part)
        is_answered(commands.run(*working(path), cwd=root))


#: What a data directory may hold, with an example of each kind of name.
KEPT = [*PARTS[1:3], "consent-data/keys", *PARTS[6:], "policy.toml", *(f"consent-data/{name}" for name in (
    "site-keys", "rings.jsonl", "stores.json", "erasures.jsonl", "requests.lock", "consent.sqlite3-wal",
    "revisions/*", "spool/*.spool1", "wordings/x"))]  # fmt: skip


@pytest.mark.parametrize("spoil", ["pipe", "loop", "socket"])
@pytest.mark.parametrize("part", dict.fromkeys(KEPT))
def test_what_is_no_file_in_the_place_of_one_holds_no_command_up(
    part: str, spoil: str, commands: Commands, site: Path
) -> None:
    place = next(site.glob(part), site / part)
    make_nothing(place)
    if spoil == "pipe":
        os.mkfifo(place)
    elif spoil == "loop":
        place.symlink_to(place.name)
    else:
        with socket.socket(socket.AF_UNIX) as one, chdir(place.parent):
            one.bind(place.name)
    for path in ("backup", "store check", "drain", "purge", "publish"):
        result = commands.run(*working(path), cwd=site)
        is_answered(result, codes=(0, 1))


def make_garbage(place: Path) -> None:
    make_nothing(place)
    place.write_bytes(GARBAGE)


def make_empty(place: Path) -> None:
    make_nothing(place)
    place.touch()


def make_directory(place: Path) -> None:
    make_nothing(place)
    place.mkdir()


def make_nothing(place: Path) -> None:
    if place.is_dir():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)


SPOILT = [
    (part, spoil)
    for part in PARTS
    for spoil in (make_garbage, *((make_directory, make_empty, make_nothing) if part in OPENED else ()))
]


# -- the surroundings --------------------------------------------------------------------------------------------------


SURROUNDINGS = {
    "no home, in ASCII, in twenty columns": {
        "env": {
            "HOME": None,
            "USER": None,
            "LOGNAME": None,
            "LC_ALL": "C",
            "PYTHONIOENCODING": "ascii",
            "COLUMNS": "20",
        }
    },
    "a full disk": {"file_bytes": 0},
    "a disk that fills up": {"file_bytes": 30_000},
    "a full disk behind the output": {"stdout": "/dev/full"},
    "a reader that had enough": {"stdout": "closed"},
    "another user": {"nobody": True},
    "Ctrl-C": {"seconds": 0.02},
}


@by_command
@pytest.mark.parametrize("how", SURROUNDINGS.values(), ids=SURROUNDINGS)
def test_its_surroundings_are_answered(path: str, how: dict[str, object], commands: Commands, site: Path) -> None:
    how = {"seconds": 0.2} | how if path in ENDLESS else how
    is_answered(commands.run(*working(path), cwd=site, **how))


ENDING = """
import asyncio, os, signal, sys
from consent_mw.cli import consent_mw, main

@consent_mw.command()
def ending():
    async def run():
        await asyncio.to_thread(int)
        asyncio.get_running_loop().call_soon(os.kill, os.getpid(), signal.SIGINT)
    asyncio.run(run())

sys.exit(main(["ending"]))
"""


def test_ctrl_c_in_the_moment_when_a_commands_work_has_just_ended_is_no_error() -> None:
    result = subprocess.run([sys.executable, "-c", ENDING], capture_output=True, text=True, check=False)
    assert (result.stdout, result.stderr.strip(), result.returncode) == ("", "", 130)


def test_what_takes_longer_than_a_second_shows_a_bar_at_a_terminal_and_nowhere_else() -> None:
    program = "import time; from consent_mw.cli.terminal import busy\nwith busy('counting'): time.sleep(1.5)"
    ours, theirs = pty.openpty()
    subprocess.run([sys.executable, "-c", program], stderr=theirs, env=os.environ | {"TERM": "xterm"}, check=True)
    os.close(theirs)
    assert b"counting" in os.read(ours, 65_536)
    os.close(ours)
    shown = subprocess.run([sys.executable, "-c", program], stderr=subprocess.PIPE, check=True)
    assert shown.stderr == b""
