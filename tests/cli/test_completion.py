"""Completion in the shells themselves: a line is begun, Tab is pressed, and the shell runs what it became."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.support.sites_with_records import UTC_POLICY, SiteWithRecords

from consent_mw.policy.revisions import Revisions

#: What is typed, and what the line is after Tab.
LINES = {
    "consent-mw receipt ver": ["consent-mw", "receipt", "verify"],
    "consent-mw log --kind und": ["consent-mw", "log", "--kind", "undeclared"],
    "consent-mw log --purpose ana": ["consent-mw", "log", "--purpose", "analytics"],
    "consent-mw check pol": ["consent-mw", "check", "policy.toml"],
}
START = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], ". <(consent-mw completion bash)"),
    "zsh": (["zsh", "-f", "-i"], "bindkey -e; autoload -U compinit; compinit -u -D; . <(consent-mw completion zsh)"),
}
TO_THE_BEGINNING = "\x01"  # Ctrl-A


@pytest.fixture
def site(tmp_path: Path) -> Path:
    site = SiteWithRecords(tmp_path)
    Revisions(site.places.revisions).keep(site.policy, UTC_POLICY)
    return tmp_path


@pytest.fixture
def environment() -> dict[str, str]:
    """Where `consent-mw` is the one that is tested."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return os.environ | {"PATH": path, "TERM": "dumb", "HOME": "/nonexistent", "LC_ALL": "C.UTF-8"}


def installed(shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell}: sudo apt-get install {shell}")


class Terminal:
    """A shell at a terminal."""

    def __init__(self, file: int) -> None:
        self._file = file
        self._seen = ""

    def type(self, text: str) -> None:
        os.write(self._file, text.encode())

    def wait_for(self, pattern: str) -> str:
        """Return what matched, as soon as the shell has written it."""
        ends = time.monotonic() + 60
        while not (match := re.search(pattern, self._seen)):
            ready, _, _ = select.select([self._file], [], [], max(0, ends - time.monotonic()))
            assert ready, self._seen
            self._seen += os.read(self._file, 65_536).decode(errors="replace")
        self._seen = self._seen[match.end() :]
        return match[1]


@contextmanager
def at_a_terminal(command: list[str], cwd: Path, environment: dict[str, str]) -> Generator[Terminal]:
    ours, theirs = pty.openpty()
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=cwd, env=environment,
                          start_new_session=True) as process:  # fmt: skip
        os.close(theirs)
        yield Terminal(ours)
        process.kill()
    os.close(ours)


@pytest.mark.parametrize("shell", START)
def test_tab_completes_in(shell: str, site: Path, environment: dict[str, str]) -> None:
    installed(shell)
    command, begin = START[shell]
    with at_a_terminal(command, site, environment) as terminal:
        terminal.type(f"{begin}; echo rea''dy\n")
        terminal.wait_for("(ready)")
        for line, words in LINES.items():
            terminal.type(f"{line}\t{TO_THE_BEGINNING}printf '<%s>' \n")
            shown = terminal.wait_for(r"((?:<[^<>%]+>)+)")
            assert re.findall("<([^<>]+)>", shown) == words


def test_tab_completes_in_fish(site: Path, environment: dict[str, str]) -> None:
    installed("fish")
    for line, words in LINES.items():
        asked = f"consent-mw completion fish | source; complete --do-complete '{line}'"
        shown = subprocess.run(
            ["fish", "--no-config", "-c", asked], cwd=site, env=environment, capture_output=True, text=True, check=True
        )
        assert [candidate.split("\t")[0] for candidate in shown.stdout.splitlines()] == words[-1:]
