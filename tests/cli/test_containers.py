"""A command as containers and daemons start it: as process 1, and with standard streams that are closed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.ports import free_port

CLOSED = "import os\nfor fd in {0}: os.close(fd)\nos.execv({1!r}, [{1!r}, '-m', 'consent_mw', *{2}])"


@pytest.mark.parametrize("closed", [[1], [0, 1], [0, 1, 2]])
@pytest.mark.parametrize("words", [["--version"], ["completion", "bash"]])
def test_a_closed_stream_is_no_fault(closed: list[int], words: list[str], tmp_path: Path) -> None:
    program = CLOSED.format(closed, sys.executable, words)
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, stderr=subprocess.PIPE, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("unshare"), reason="only root can be process 1 elsewhere")
def test_sigterm_ends_process_1(tmp_path: Path) -> None:
    command = f"{sys.executable} -m consent_mw demo --port {free_port()} --directory {tmp_path / 'demo'}"
    # The shell outside knows the process by its number there; inside it is number 1.
    program = f"unshare --pid --fork --kill-child {command} & read -r _; kill -TERM $(pgrep -P $!); wait $!"
    with subprocess.Popen(["/bin/bash", "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        assert b"open at" in process.stdout.readline()
        process.stdin.write(b"\n")
        process.stdin.flush()
        assert process.wait(timeout=60) == 143
