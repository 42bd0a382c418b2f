"""What `docs/testing.md` shows is a project of its own, and its tests pass as printed there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.support.repository import ROOT

from consent_mw.cli import main
from consent_mw.testing import strategies

PAGE = (ROOT / "docs/testing.md").read_text()
BLOCKS = re.findall(r"^```python\n# (\w+\.py)\n(.*?)^```$", PAGE, flags=re.DOTALL | re.MULTILINE)


def test_the_tests_of_the_page_pass_beside_the_policy_that_init_writes(tmp_path: Path, monkeypatch) -> None:
    assert PAGE.count("```python") == len(BLOCKS) == 7
    monkeypatch.chdir(tmp_path)
    assert main(["init"]) == 0
    for name, block in BLOCKS:
        (tmp_path / name).write_text(block)
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(tmp_path)}
    program = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider"]
    done = subprocess.run(program, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^10 passed", done.stdout, flags=re.MULTILINE)


def test_the_page_names_every_strategy() -> None:
    assert [name for name in strategies.__all__ if f"`{name}(" not in PAGE] == []
