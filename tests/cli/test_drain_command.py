"""`consent-mw drain`: one process that moves records, shows how far it is, and ends on a signal."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from tests.support.spooled import ids_in, keep_spooling, make_site, spool_records

from consent_mw.cli import main
from consent_mw.spool.spool import Spool


@pytest.fixture
def site(tmp_path):
    return make_site(tmp_path)


def start(site, *options: str, program: tuple[str, str] = ("-m", "consent_mw"), **more) -> subprocess.Popen[str]:
    command = [sys.executable, *program, "drain", "--policy", str(site / "policy.toml"), *options]
    return subprocess.Popen(command, text=True, **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | more)


def expects_to_be_ended(process: subprocess.Popen[str]) -> bool:
    """Whether it has come so far that SIGTERM is handled: the slower of two may still be starting."""
    assert process.poll() is None
    caught = re.search(r"^SigCgt:\s*(\w+)$", Path(f"/proc/{process.pid}/status").read_text(), re.MULTILINE)
    return caught is not None and bool(int(caught[1], 16) & 1 << (signal.SIGTERM - 1))


def ended_amid_the_work(site, *options: str) -> tuple[int, str]:
    """Send SIGTERM once the first records were moved; return the exit code, and what was said on standard error."""
    process = start(site, *options)
    while not ids_in(site):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=90)
    return process.returncode, errors


def test_once_hands_over_what_waits_and_says_how_much(site, capsys):
    written = spool_records(site, 1_200)
    assert main(["drain", "--once", "--policy", str(site / "policy.toml"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"records": 1_200, "waiting_bytes": 0, "behind_seconds": 0}
    assert ids_in(site) == written
    assert main(["drain", "--once", "--policy", str(site / "policy.toml")]) == 0
    assert capsys.readouterr().out == "0 records moved; nothing waits\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_goes_on_until_a_signal_and_ends_in_peace(site, number):
    written = spool_records(site, 10)
    process = start(site)
    while ids_in(site) != written:
        assert process.poll() is None
        time.sleep(0.02)
    written |= spool_records(site, 10)
    while ids_in(site) != written:
        assert process.poll() is None
        time.sleep(0.02)
    while list((site / "consent-data/spool").glob("*.spool1")):
        time.sleep(0.02)  # the store has them, and the command does not know yet
    process.send_signal(number)
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
    assert output == "20 records moved; nothing waits; ended\n"


def test_a_signal_amid_the_work_loses_nothing_and_doubles_nothing_and_what_is_left_is_told(site):
    written = spool_records(site, 60_000)
    code, errors = ended_amid_the_work(site, "--grace", "0")
    assert code == 1
    assert re.fullmatch(
        r"consent-mw: .+/spool: .+ MB wait, the oldest for \d+ s; after the signal .+ disk goes\n", errors
    )
    some = ids_in(site)
    assert some < written
    assert main(["drain", "--once", "--policy", str(site / "policy.toml")]) == 0
    assert ids_in(site) == written


def test_after_a_signal_it_hands_over_what_waits(site):
    written = spool_records(site, 20_000)
    assert ended_amid_the_work(site, "--grace", "60") == (0, "")
    assert ids_in(site) == written


def test_killed_amid_the_work_it_loses_nothing_and_doubles_nothing(site):
    written = spool_records(site, 40_000)
    for _ in range(3):
        before = len(ids_in(site))
        process = start(site)
        while len(ids := ids_in(site)) <= before and ids != written and process.poll() is None:
            time.sleep(0.01)
        process.kill()
        process.communicate()
    assert main(["drain", "--once", "--policy", str(site / "policy.toml")]) == 0
    assert ids_in(site) == written


def test_two_of_them_and_a_writer_hand_over_each_record_once(site):
    with keep_spooling(site) as written:
        both = [start(site), start(site)]
        while len(ids_in(site)) < 2_000 or not all(map(expects_to_be_ended, both)):
            time.sleep(0.02)
    for process in both:
        process.terminate()
        assert process.communicate(timeout=60)[1] == ""
        assert process.returncode == 0
    assert main(["drain", "--once", "--policy", str(site / "policy.toml")]) == 0
    assert ids_in(site) == set(written)


def test_a_terminal_is_shown_how_far_it_is(site):
    spool_records(site, 20_000)
    leader, follower = pty.openpty()
    process = start(site, "--once", stderr=follower)
    os.close(follower)
    shown = b""
    try:
        while part := os.read(leader, 4096):
            shown += part
    except OSError:  # Linux answers with EIO once the other side is closed
        pass
    os.close(leader)
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert b"records moved; " in shown
    assert b" MB wait, the oldest for " in shown


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda site: (site / "policy.toml").unlink(), "policy.toml"),
        (lambda site: (site / "consent-data/spool/drain.lock").unlink() or (site / "consent-data/spool").rmdir(),
         "spool: is not there; run the site first, or give its data directory with --directory"),
        (lambda site: (site / "consent-data/consent.sqlite3").write_bytes(b"no database, " * 100), "consent.sqlite3"),
        (lambda site: (site / "consent-data/consent.sqlite3").mkdir(), "consent.sqlite3"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("options", [[], ["--once"]])
def test_trouble_is_one_line_and_an_exit_code(site, spoil, said, options, capsys):
    spoil(site)
    assert main(["drain", "--policy", str(site / "policy.toml"), *options]) == 1
    errors = capsys.readouterr().err
    assert errors.startswith("consent-mw: ")
    assert said in errors
    assert errors.count("\n") == 1


def test_a_segment_of_another_keyring_is_left_and_told(site, capsys, caplog):
    spool_records(site, 5, ring="elsewhere")
    good = spool_records(site, 5)
    assert main(["drain", "--once", "--policy", str(site / "policy.toml")]) == 1
    assert "1 segments cannot be moved; the lines above say why" in capsys.readouterr().err
    assert "sealed by keyring elsewhere" in caplog.text
    assert ids_in(site) == good
    assert Spool(site / "consent-data/spool").waiting_bytes > 0


def told_until(process, text):
    """Return what a process says until a line has `text`."""
    output = ""
    while text not in output:
        line = process.stderr.readline()
        assert line, f"it ended without {text!r}: {output}"
        output += line
    return output


#: `consent-mw`, which waits for half a second where it waits for half a minute: for another writer of the database.
_IMPATIENT = """
from consent_mw.__main__ import main
from consent_mw.stores import sqlite_file
sqlite_file._PATIENCE_MS = 500
main()
"""


def test_a_store_that_takes_nothing_for_a_while_is_told_and_waited_for(site):
    process = start(site, program=("-c", _IMPATIENT))
    first = spool_records(site, 5)
    while ids_in(site) != first:
        time.sleep(0.02)
    with closing(sqlite3.connect(site / "consent-data/consent.sqlite3", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")  # somebody else writes, and does not end
        then = spool_records(site, 5)
        output = told_until(process, "records stay in the spool and are tried again")
        other.execute("ROLLBACK")
    output += told_until(process, "consent-mw: records go to the store again\n")
    assert "not open" not in output  # the erasure beside it uses the same store
    while ids_in(site) != first | then:
        time.sleep(0.02)
    process.terminate()
    process.communicate(timeout=60)
    assert process.returncode == 0
