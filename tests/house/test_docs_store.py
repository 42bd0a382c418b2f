"""The store that `docs/write-a-store.md` builds from nothing works, and passes the suite, as printed there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.repository import ROOT

PAGE = ROOT / "docs" / "write-a-store.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), flags=re.DOTALL | re.MULTILINE)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Each block, in the file that its first line names."""
    for block in BLOCKS:
        name = re.match(r"# (\w+\.py)\n", block)
        assert name, f"a block does not name its file: {block[:80]!r}"
        (tmp_path / name[1]).write_text(block)
    return tmp_path


def run(folder: Path, *arguments: str) -> str:
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # the page promises that none is needed
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_block_is_run(folder: Path) -> None:
    names = {file.name for file in folder.iterdir()}
    assert names == {"my_file.py", "my_store.py", "test_my_store.py", "test_my_refusals.py", "try_it.py"}
    assert len(BLOCKS) == len(names)


def test_the_store_passes_the_suite_in_a_project_of_its_own(folder: Path) -> None:
    report = run(folder, "-m", "pytest", "-q", "-W", "error")
    assert re.search(r"^\d+ passed in", report, flags=re.MULTILINE)


def test_the_store_is_used_as_shown(folder: Path) -> None:
    assert run(folder, "try_it.py").splitlines() == ["1 kept", "1 deleted"]
