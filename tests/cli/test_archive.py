"""What a law demands to be held is read with `--archive`: on a stated basis, recorded first, or not at all."""

from __future__ import annotations

import json
import shutil
from datetime import timedelta
from pathlib import Path

import pytest
from tests.support.at_a_terminal import at_a_terminal
from tests.support.commands import refused, run
from tests.support.sites_with_records import HELD, HOUR, THEN, UTC_POLICY, SiteWithRecords

from consent_mw.audit import Audit
from consent_mw.policy.loader import loads
from consent_mw.policy.revisions import Revisions

BASIS = ("--basis", "order 2026-114")
LAW = "Act on Something, article 15"
POLICY = UTC_POLICY + HELD.replace("a law", LAW)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site whose abuse reports of three hours have moved into the archive."""
    root = tmp_path_factory.mktemp("held")
    site = SiteWithRecords(root, POLICY)
    Revisions(site.places.revisions).keep(loads(POLICY), POLICY)
    site.keeps(*(site.record(THEN + n * HOUR, kind="abuse", purpose="abuse", data={"n": n}, url__path=f"/{n}")
                 for n in range(3)))  # fmt: skip
    assert site.destroys(THEN + timedelta(days=366)).archived == 3
    return root


@pytest.fixture
def site(original: Path, tmp_path: Path) -> SiteWithRecords:
    shutil.copytree(original, tmp_path, dirs_exist_ok=True)
    return SiteWithRecords(tmp_path, POLICY)


def command(site: SiteWithRecords, *options: object) -> tuple[object, ...]:
    return "log", "--archive", "--directory", site.places.directory, *options


def entries(site: SiteWithRecords) -> list[dict[str, object]]:
    return [dict(entry.facts) for entry in Audit(site.places.audit, site.places.audit_head).entries()]


def test_what_is_held_is_listed_with_its_law_and_nothing_of_any_record(site: SiteWithRecords) -> None:
    result = run(*command(site, "--json"))
    assert (result.returncode, result.stderr) == (0, "")
    assert json.loads(result.stdout) == {
        "purpose": "abuse",
        "held_for": ["5 years"],
        "oldest": "2024-11-23T09:00:00+09:00",
        "newest": "2024-11-23T11:00:00+09:00",
        "laws": [LAW],
    }
    assert LAW in run(*command(site)).stdout
    assert entries(site) == []


def test_a_reading_names_its_basis_and_the_law_in_the_audit_chain(site: SiteWithRecords) -> None:
    result = run(*command(site, "--purpose", "abuse", *BASIS, "--json", "--as", "D. Officer"))
    assert result.returncode == 0
    assert result.stderr == f"consent-mw: note: abuse is held by: {LAW}\n"
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(row["kind"], row["n"], row["url__path"]) for row in rows] == [("abuse", n, f"/{n}") for n in range(3)]
    opening, closing = entries(site)
    expected = {"command": "log --archive", "purposes": ["abuse"], "basis": BASIS[1], "laws": [LAW], "as": "D. Officer"}
    assert opening.items() >= expected.items()
    assert (closing["records"], closing["not_opened"], closing["ended"]) == (3, 0, "whole")
    assert BASIS[1] in run("audit", "--directory", site.places.directory).stdout
    assert run("audit", "verify", "--directory", site.places.directory).returncode == 0


def test_a_table_shows_a_period_with_its_beginning_and_not_its_end(site: SiteWithRecords) -> None:
    period = ("--since", "2024-11-23T01:00Z", "--until", "2024-11-23T02:00Z")
    table = run(*command(site, "--purpose", "abuse", *BASIS, *period)).stdout.splitlines()
    assert len(table) == 2
    assert "url__path=/1" in table[1]
    empty = run(*command(site, "--purpose", "abuse", *BASIS, "--since", "2025-01-01"))
    assert (empty.returncode, empty.stdout) == (0, "")
    assert "the archive holds no record of this purpose and period" in empty.stderr


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--purpose", "abuse"), 2, "the archive is opened on a legal basis only; add --basis"),
        (("--purpose", "abuse", "--basis", " "), 2, "the archive is opened on a legal basis only; add --basis"),
        (BASIS, 2, "the archive is read for one purpose; add --purpose"),
        (("--purpose", "abuze", *BASIS), 1, 'the purpose "abuze" has no archive; did you mean "abuse"?'),
        (("--purpose", "necessary", *BASIS), 1, 'the purpose "necessary" has no archive; known are: abuse'),
        (("--since", "2024-11-24", "--until", "2024-11-23"), 2, "--since is not before --until"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_what_is_not_opened_is_one_clear_line_and_leaves_no_trace(
    site: SiteWithRecords, options: tuple[str, ...], code: int, message: str
) -> None:
    assert message in refused(run(*command(site, *options)), code)
    assert entries(site) == []


def test_where_the_reading_cannot_be_recorded_nothing_is_shown(site: SiteWithRecords) -> None:
    result = run(*command(site, "--purpose", "abuse", *BASIS), file_bytes=0)
    assert (result.returncode, result.stdout) == (1, "")
    assert "the access cannot be recorded (File too large), so nothing is shown" in result.stderr


def test_where_there_is_no_archive_the_command_says_when_it_begins(tmp_path: Path) -> None:
    line = refused(run("log", "--archive", "--directory", tmp_path))
    assert "there is no archive here; it begins when the first record of a purpose" in line


def test_what_cannot_be_opened_keeps_its_clear_fields_and_is_told(site: SiteWithRecords) -> None:
    site.places.archive_keys.unlink()
    result = run(*command(site, "--purpose", "abuse", *BASIS, "--json"))
    assert result.returncode == 1
    assert [json.loads(line)["n"] for line in result.stdout.splitlines()] == [0, 1, 2]
    assert "the personal fields of 3 records are missing: another keyring sealed them" in result.stderr
    assert not site.places.archive_keys.exists()


def test_without_the_declarations_that_were_in_force_it_is_read_and_no_law_is_named(site: SiteWithRecords) -> None:
    shutil.rmtree(site.places.revisions)
    listed = run(*command(site, "--json"))
    assert (listed.returncode, listed.stdout) == (0, "")
    assert "so no law can be named" in listed.stderr
    assert len(run(*command(site, "--purpose", "abuse", *BASIS, "--json")).stdout.splitlines()) == 3
    assert "laws" not in entries(site)[0]


@pytest.mark.parametrize(("answer", "shown"), [(b"order 7\n", True), (b"\n", False)], ids=["basis", "none"])
def test_at_a_terminal_the_basis_is_asked_for(site: SiteWithRecords, answer: bytes, shown: bool) -> None:
    seen = at_a_terminal([str(word) for word in command(site, "--purpose", "abuse", "--json")], answer)
    assert "On what legal basis?" in seen
    assert ('"/2"' in seen) is shown
    assert [entry.get("basis") for entry in entries(site)] == (["order 7", None] if shown else [])


def test_an_export_of_the_archive_takes_a_basis_too_and_goes_into_any_format(site: SiteWithRecords) -> None:
    export = ("export", "--archive", "--directory", site.places.directory, "--purpose", "abuse", "--format", "csv")
    assert "add --basis" in refused(run(*export), 2)
    result = run(*export, *BASIS)
    assert (result.returncode, len(result.stdout.splitlines())) == (0, 4)
    assert entries(site)[0]["command"] == "export --archive --format csv"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--purpose", "abuse", *BASIS, "--reason", "why"), "--reason does not go with --archive"),
        (("--purpose", "abuse", *BASIS, "--store", "sqlite:///x.db"), "--store does not go with --archive"),
        (("--purpose", "abuse", *BASIS, "--follow"), "leave out --archive"),
    ],
    ids=["reason", "store", "follow"],
)
def test_what_belongs_to_the_log_does_not_go_with_the_archive(
    site: SiteWithRecords, options: tuple[str, ...], message: str
) -> None:
    assert message in refused(run(*command(site, *options)), 2)
    assert entries(site) == []


def test_a_basis_without_the_archive_opens_nothing(site: SiteWithRecords) -> None:
    line = refused(run("log", "--directory", site.places.directory, "--purpose", "abuse", *BASIS), 2)
    assert "a legal basis opens the archive; add --archive" in line
