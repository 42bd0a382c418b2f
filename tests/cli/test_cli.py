"""The command line, as a process of its own: what it prints, its exit codes, and that nothing is a traceback."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import shutil
import signal
import socket
import sqlite3
import stat
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Generator
from contextlib import closing, suppress
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec
import pytest
from tests.support.commands import refused, run
from tests.support.sites_of_commands import NOON, READS, VISIT, Site

from consent_mw.cli import main
from consent_mw.cookies.consent_cookie import checked_keys
from consent_mw.paths import Places
from consent_mw.policy.loader import load
from consent_mw.policy.revisions import Revisions
from consent_mw.system.escaping import as_json, printable

HOSTILE = "/\x1b[2J\x1b]0;owned\x07\u202egpj.exe\x9b31m\n[red]x[/red]"


# -- init ----------------------------------------------------------------------------------------------------------


def test_init_writes_a_policy_that_holds_today_and_a_key_of_its_own(tmp_path: Path) -> None:
    day = datetime.now(ZoneInfo("Asia/Seoul")).date()
    result = run("init", "site", cwd=tmp_path)
    assert result.returncode == 0, result
    assert "ConsentMiddleware(app, policy=" in result.stdout
    policy = load(tmp_path / "site" / "policy.toml")
    assert policy.published == policy.effective
    assert policy.effective >= day
    key = tmp_path / "site" / "secret.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert len(checked_keys([key.read_text().strip()])) == 1
    assert run("init", "other", cwd=tmp_path).returncode == 0
    assert key.read_text() != (tmp_path / "other" / "secret.key").read_text()


def test_the_lines_of_python_that_init_prints_run(tmp_path: Path) -> None:
    lines = re.findall(r"(?m)^    (.+)$", run("init", cwd=tmp_path).stdout)
    program = "async def app(scope, receive, send): ...\n" + "\n".join(lines)
    assert subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True, capture_output=True).stderr == b""


@pytest.mark.parametrize("there", ["policy.toml", "secret.key"])
@pytest.mark.parametrize("dangling", [False, True], ids=["file", "dangling link"])
def test_init_overwrites_nothing(tmp_path: Path, there: str, dangling: bool) -> None:
    place = tmp_path / there
    if dangling:
        place.symlink_to(tmp_path / "nowhere")
    else:
        place.write_text("mine")
    assert refused(run("init", cwd=tmp_path)) == (
        f"consent-mw: {there}: is already there; move it away, or give another directory"
    )
    assert os.listdir(tmp_path) == [there]
    assert dangling or place.read_text() == "mine"


def test_init_leaves_nothing_behind_when_the_disk_refuses(tmp_path: Path) -> None:
    # Enough for the key, not for the policy.
    assert "policy.toml: cannot be written (File too large); give" in refused(run("init", tmp_path, file_bytes=1_000))
    assert os.listdir(tmp_path) == []


def test_init_below_a_file_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "cannot be written (Not a directory); give a directory" in refused(run("init", tmp_path / "file" / "site"))


@pytest.fixture
def unwritable() -> Generator[Path]:
    """A directory that this process may enter but not write, also if root runs the tests."""
    directory = Path(tempfile.mkdtemp(prefix="consent-mw-"))
    directory.chmod(0o555)
    privileged = os.geteuid() == 0
    if privileged:
        os.seteuid(65534)
    try:
        yield directory
    finally:
        if privileged:
            os.seteuid(0)
        directory.chmod(0o755)
        shutil.rmtree(directory)


def test_init_into_an_unwritable_directory_is_one_clear_line(
    unwritable: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["init", str(unwritable)]) == 1
    out, err = capfd.readouterr()
    assert (out, err) == (
        "",
        f"consent-mw: {unwritable}/secret.key: cannot be written (Permission denied); "
        "give a directory that this user may write\n",
    )
    assert os.listdir(unwritable) == []


# -- check ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    assert main(["init", str(tmp_path)]) == 0
    return tmp_path / "policy.toml"


def edit(policy: Path, old: str, new: str) -> None:
    text = policy.read_text(encoding="utf-8")
    assert old in text
    policy.write_text(text.replace(old, new), encoding="utf-8")


def test_check_says_what_a_policy_promises(policy: Path) -> None:
    result = run("check", policy)
    assert result.returncode == 0
    assert {line.partition(": ")[2].partition(": ")[0] for line in result.stderr.splitlines()} == {"note", "law of KR"}
    assert "revision 1, in force since" in result.stdout
    assert re.search(r"analytics +asked +13 months +- +user_agent\.original \(family\)", result.stdout)
    assert re.search(r"necessary +not asked +90 days +session, csrftoken", result.stdout)
    assert "\x1b" not in result.stdout


def test_check_tells_every_fault_on_a_line(policy: Path) -> None:
    edit(policy, '"13 months"', '"13"')
    edit(policy, "revision = 1\n", "revision = 0\n")
    result = run("check", "policy.toml", cwd=policy.parent)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.splitlines() == [
        'consent-mw: policy.toml:107: purposes.analytics.retention: "13" is no duration; '
        'write a whole number and a unit, such as "90 days" or "1 year"',
        "consent-mw: policy.toml:16: revision: 0 is no revision; write a whole number from 1, raised with each change",
    ]


def test_check_of_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    line = refused(run("check", "policy.toml", cwd=tmp_path))
    assert line == "consent-mw: policy.toml: there is no such file; write one with: consent-mw init"


def test_check_refuses_a_revision_that_goes_backwards(policy: Path) -> None:
    edit(policy, "revision = 1\n", "revision = 3\n")
    revisions = Revisions(Places.beside(policy).revisions)
    revisions.keep(load(policy), policy.read_text(encoding="utf-8"))
    edit(policy, "revision = 3\n", "revision = 1\n")
    assert refused(run("check", "policy.toml", cwd=policy.parent)) == (
        "consent-mw: policy.toml:16: revision: revision 1 is lower than 3, which is in force; write revision = 4"
    )
    assert run("check", policy, "--directory", policy.parent / "elsewhere").returncode == 0


def test_check_refuses_a_change_without_a_new_revision(policy: Path) -> None:
    Revisions(Places.beside(policy).revisions).keep(load(policy), policy.read_text(encoding="utf-8"))
    assert run("check", policy).returncode == 0
    edit(policy, '"13 months"', '"14 months"')
    result = run("check", policy)
    assert result.returncode == 1
    assert "revision 1 was published with other content (retention.longer of analytics)" in result.stderr
    assert "write revision = 2" in result.stderr


def test_check_in_json(policy: Path) -> None:
    answer = json.loads(run("check", policy, "--json").stdout)
    assert answer["ok"] is True
    assert answer["purposes"]["analytics"] == {"basis": "consent", "asked": True, "retention": "13 months"}
    edit(policy, '"13 months"', '"13"')
    result = run("check", policy, "--json")
    assert (result.returncode, result.stderr) == (1, "")
    answer = json.loads(result.stdout)
    assert answer["ok"] is False
    assert answer["faults"][0]["place"] == "purposes.analytics.retention"


def test_what_a_policy_contains_cannot_steer_the_terminal(policy: Path) -> None:
    edit(policy, "[log.abuse]", '[log."\\u001b[2J\\u202e"]')
    line = refused(run("check", policy))
    assert "\\x1b[2J\\u202e" in line


# -- log -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def site(tmp_path: Path) -> Generator[Site]:
    site = Site(tmp_path / "consent-data")
    yield site
    site.keyring.close()


def test_log_shows_the_latest_records_the_newest_last(site: Site) -> None:
    site.append(*(site.record(NOON + n * 1_000_000_000, clear=VISIT, url__path=f"/page/{n}") for n in range(30)))
    result = site.log("-n", 2)
    assert (result.returncode, result.stderr) == (0, "")
    heading, first, second = result.stdout.splitlines()
    assert heading.split() == ["time", "kind", "purpose", "method", "path", "status", "ms", "address", "more"]
    assert first.split() == ["2026-11-23", "21:00:28+09:00", "visit", "necessary", "GET", "/page/28", "200", "12.3"]
    assert second.split()[5] == "/page/29"
    assert "\x1b" not in result.stdout


@pytest.mark.parametrize(("columns", "last"), [(80, "status"), (120, "address"), (200, "more")])
def test_in_a_terminal_each_record_has_one_line_of_its_width(site: Site, columns: int, last: str) -> None:
    site.append(site.record(NOON, clear=VISIT, client__address="192.0.2.0", url__path="/" + "long/" * 100))
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    command = [sys.executable, "-m", "consent_mw", "log", "--directory", str(site.places.directory), *READS]
    with open(master, "rb", buffering=0) as terminal:
        process = subprocess.Popen(command, stdout=slave, env=os.environ | {"TERM": "xterm", "COLUMNS": ""})
        os.close(slave)
        seen = b""
        with suppress(OSError):  # EIO: the other side was closed (pty(7))
            while chunk := terminal.read(4096):
                seen += chunk
        assert process.wait() == 0
    heading, row = re.sub(r"\x1b\[[0-9;]*m", "", seen.decode()).splitlines()
    assert heading.split()[0] == "time"
    assert heading.split()[-1] == last
    assert len(heading.rstrip()) <= columns
    assert len(row.rstrip()) <= columns
    assert "/long/" in row


def test_log_in_json_is_one_object_a_line_with_clear_and_sealed_fields(site: Site) -> None:
    record = site.record(NOON, clear=VISIT, url__path="/책", client__address="192.0.2.0")
    site.append(record)
    (line,) = site.log("--json").stdout.splitlines()
    assert json.loads(line) == {
        "time": "2026-11-23T21:00:00.123+09:00",
        "kind": "visit",
        "purpose": "necessary",
        "id": str(record.id),
        **VISIT,
        "url.path": "/책",
        "client.address": "192.0.2.0",
    }


@pytest.mark.parametrize("options", [(), ("--json",)], ids=["table", "json"])
def test_a_hostile_path_cannot_steer_the_terminal(site: Site, options: tuple[str, ...]) -> None:
    site.append(site.record(NOON, clear=VISIT, url__path=HOSTILE))
    shown = site.log(*options).stdout
    assert all(char.isprintable() or char == "\n" for char in shown)
    assert "[red]x[/red]" in shown  # and no markup of the table's library
    assert len(shown.splitlines()) == (1 if options else 2)
    if options:
        assert json.loads(shown)["url.path"] == HOSTILE


def test_what_was_destroyed_shows_as_destroyed(site: Site) -> None:
    site.append(site.record(NOON, clear=VISIT | {"http.route": None}, url__path="/secret"))
    assert site.keyring.destroy(20_780, "necessary")
    assert json.loads(site.log("--json").stdout)["sealed"] == "destroyed"
    table = site.log().stdout
    assert "destroyed" in table
    assert "/secret" not in table


def test_what_another_keyring_sealed_is_said_and_what_was_changed_is_left_out(site: Site, tmp_path: Path) -> None:
    other = Site(tmp_path / "other")
    spoilt = site.record(NOON + 1_000_000, url__path="/a")
    site.append(other.record(NOON, url__path="/b"), msgspec.structs.replace(spoilt, sealed=bytes(60)))
    other.keyring.close()
    result = site.log("--json")
    assert [json.loads(line)["sealed"] for line in result.stdout.splitlines()] == ["of another keyring"]
    assert "1 records are left out: somebody else wrote them, or changed them since" in result.stderr
    assert result.returncode == 1


def test_without_a_key_file_clear_fields_are_shown_and_none_is_made(site: Site) -> None:
    site.append(site.record(NOON, clear=VISIT, url__path="/a"))
    site.places.keys.unlink()
    row = json.loads(site.log("--json").stdout)
    assert row["sealed"] == "of another keyring"
    assert row["http.route"] == "/books/{id}"
    assert not site.places.keys.exists()


def test_log_of_some_kinds_and_purposes(site: Site) -> None:
    site.append(
        site.record(NOON),
        site.record(NOON + 1_000_000, "event", "analytics", {"event.name": "search"}, event__results=12),
        site.record(NOON + 2_000_000, "abuse", "abuse"),
    )
    shown = run("log", "--directory", site.places.directory, "--json", "--kind", "event", "--kind", "abuse").stdout
    assert [json.loads(line)["kind"] for line in shown.splitlines()] == ["event", "abuse"]
    (line,) = site.log("--json", "--purpose", "analytics", "--kind", "event").stdout.splitlines()
    assert json.loads(line)["event.results"] == 12


def test_log_since_a_time_shows_nothing_older(site: Site) -> None:
    site.append(*(site.record(NOON + n * 1_000_000_000, url__path=f"/{n}") for n in range(5)))
    shown = site.log("--json", "--since", "2026-11-23T12:00:03Z").stdout
    assert [json.loads(line)["url.path"] for line in shown.splitlines()] == ["/3", "/4"]
    assert "yesterday" in refused(site.log("--since", "yesterday"), 2)


def test_another_store_can_be_named(site: Site, tmp_path: Path) -> None:
    site.append(site.record(NOON, url__path="/a"))
    moved = tmp_path / "elsewhere.sqlite3"
    site.places.database.rename(moved)
    assert json.loads(site.log("--store", f"sqlite:///{moved}", "--json").stdout)["url.path"] == "/a"
    assert "the scheme 'mongo' is not known" in refused(site.log("--store", "mongo://x"))


def test_log_where_nothing_is_says_so_and_makes_nothing(tmp_path: Path) -> None:
    line = refused(run("log", cwd=tmp_path))
    assert line.startswith("consent-mw: consent-data/consent.sqlite3: there is no log here; run the site first")
    assert os.listdir(tmp_path) == []


def test_log_of_a_newer_database_is_one_clear_line(site: Site) -> None:
    site.append(site.record(NOON))
    with closing(sqlite3.connect(site.places.database)) as connection:
        connection.execute("PRAGMA user_version = 99")
    assert "consent.sqlite3" in refused(site.log())


def test_log_tells_of_records_that_wait(site: Site) -> None:
    site.append(site.record(NOON))
    site.places.spool.mkdir()
    (site.places.spool / "segment").write_bytes(bytes(123))
    result = site.log("--json")
    assert result.returncode == 0
    assert "spool: 123 bytes wait for the store" in result.stderr


@pytest.mark.parametrize("options", [(), ("--json",)], ids=["table", "json"])
def test_log_follows_new_records_until_ctrl_c(site: Site, options: tuple[str, ...]) -> None:
    now = time.time_ns()
    site.append(site.record(now - 2_000_000_000, url__path="/before"))
    command = [sys.executable, "-m", "consent_mw", "log", "--follow", "--directory", str(site.places.directory), *READS]
    with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        shown = process.stdout.readline() + ("" if options else process.stdout.readline())
        assert "/before" in shown
        # The first has an earlier id than one that was shown: its exchange began before and ended after.
        site.append(site.record(now - 5_000_000_000, url__path="/long"))
        assert "/long" in process.stdout.readline()
        site.append(site.record(now, url__path="/after"))
        assert "/after" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=60)
    assert (rest, errors.strip()) == ("", "")
    assert process.returncode == 130


MOVED = """
import sys, time
from pathlib import Path
from consent_mw.__main__ import main
from consent_mw.cli.clock import by_clock
moved = Path(sys.argv.pop(1))
with by_clock(lambda: time.time_ns() + int(moved.read_text()) * 10**9):
    main()
"""


def test_log_that_follows_shows_nothing_again_when_the_clock_is_put_back(site: Site, tmp_path: Path) -> None:
    moved, now = tmp_path / "moved", time.time_ns()
    moved.write_text("0")
    site.append(*(site.record(now - minutes * 60 * 10**9, url__path=f"/{minutes}") for minutes in range(1, 60)))
    words = ("log", "--follow", "--json", "-n", "1", "--directory", str(site.places.directory), *READS)
    command = [sys.executable, "-c", MOVED, str(moved), *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert '"/1"' in process.stdout.readline()
        time.sleep(1.5)  # it looks each half second
        moved.write_text("-3600")
        time.sleep(1.5)
        site.append(site.record(time.time_ns() - 3600 * 10**9, url__path="/new"))
        assert '"/new"' in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=60)
    assert rest == ""


def test_a_reader_that_has_had_enough_is_no_error(site: Site) -> None:
    site.append(*(site.record(NOON + n, clear=VISIT, url__path="/" + "x" * 500) for n in range(1_000)))
    command = f"'{sys.executable}' -m consent_mw log -n 1000 --json --directory '{site.places.directory}' | head -n 1"
    result = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)
    assert len(result.stdout.splitlines()) == 1
    assert result.stderr == ""


# -- all of them -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["init", "check", "demo", "log", "export", "audit"])
def test_help_has_an_example(command: str) -> None:
    result = run(command, "--help")
    assert result.returncode == 0
    assert f"Example: consent-mw {command}" in result.stdout


def test_without_a_command_the_help_is_shown() -> None:
    result = run()
    assert result.returncode == 0
    assert "consent-mw init && consent-mw check policy.toml" in result.stdout
    assert run("--version").stdout.startswith("consent-mw 0.")


@pytest.mark.parametrize(
    "arguments",
    [
        ("chekc",),
        ("check",),
        ("check", "a", "b"),
        ("log", "-n", "many"),
        ("log", "-n", "-1"),
        ("log", "--kind", "secret"),
        ("demo", "--port", "99999"),
        ("demo", "--port", ""),
        ("--unknown",),
    ],
    ids=" ".join,
)
def test_what_is_not_understood_is_one_line_that_names_the_help(arguments: tuple[str, ...]) -> None:
    assert re.search(r"; see: consent-mw( [a-z]+)? --help$", refused(run(*arguments), 2))


def test_a_busy_port_is_one_clear_line_and_nothing_is_written(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = refused(run("demo", "--port", port, "--directory", tmp_path / "demo"))
    assert line.startswith(f"consent-mw: 127.0.0.1:{port}: ")
    assert "--port" in line
    assert os.listdir(tmp_path) == []


def test_what_a_terminal_obeys_is_escaped_and_the_rest_is_left() -> None:
    assert printable("책 é /a?b=1") == "책 é /a?b=1"
    assert printable("a\x1b[31m\r\n\x9b\u2028\u202e\U000e0041\x7f") == r"a\x1b[31m\r\n\x9b\u2028\u202e\U000e0041\x7f"
    value = {"책\u202e": "\x1b\x7f\x9b\U000e0041\u2028\ud83d".encode("utf-8", "replace").decode(), "n": [1, 0.5, None]}
    assert json.loads(as_json(value)) == value
    assert as_json(value).isprintable()
