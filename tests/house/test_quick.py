"""The quick tests, which other Pythons and the built wheel run, are there and need nothing but the package's own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
_ABSENT = ("psycopg", "sqlalchemy", "django", "playwright", "fastapi", "pyarrow")
_COLLECT = "import sys, pytest; sys.modules |= dict.fromkeys({}); sys.exit(pytest.main({}))"


def test_each_is_there_and_is_read_without_what_else_is_installed() -> None:
    arguments = ["--collect-only", "-q", "-p", "no:cacheprovider", "-n", "0", "@tests/quick.txt"]
    code = _COLLECT.format(_ABSENT, arguments)
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2_000:]
