"""No lower bound has a published advisory, by the list that is kept here and by what is asked where it can be."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from tests.support.repository import ROOT

NOWHERE = "http://127.0.0.1:9/"


def compared(file: Path, url: str = NOWHERE) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "scripts" / "advisories"), str(file), url]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


class Osv(BaseHTTPRequestHandler):
    """Knows one advisory, of one version."""

    def do_POST(self) -> None:
        queries = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["queries"]
        bad = {"package": {"ecosystem": "PyPI", "name": "rich"}, "version": "13.7"}
        body = json.dumps({"results": [{"vulns": [{"id": "PYSEC-1-1"}]} if query == bad else {} for query in queries]})
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the base class's
        """Say nothing."""


@pytest.fixture
def osv() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Osv) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()


def test_our_bounds_have_no_advisory_and_one_line_says_what_was_asked() -> None:
    done = compared(ROOT / "pyproject.toml")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("\n") == 1
    assert "osv.dev could not be asked" in done.stdout


@pytest.mark.parametrize(
    ("now", "then"),
    [("starlette>=1.3.1", "starlette>=0.49.1"), ("cryptography>=50", "cryptography>=43"), ("flask>=3.1.3", "flask")],
)
def test_a_bound_below_what_is_fixed_is_named_with_the_mend(tmp_path: Path, now: str, then: str) -> None:
    text = (ROOT / "pyproject.toml").read_text()
    assert now in text
    (tmp_path / "pyproject.toml").write_text(text.replace(now, then))
    done = compared(tmp_path / "pyproject.toml")
    assert done.returncode == 1
    assert f"{now.partition('>')[0]} " in done.stderr
    assert "require >=" in done.stderr


def test_what_is_published_counts_where_it_can_be_asked(osv: str) -> None:
    done = compared(ROOT / "pyproject.toml", osv)
    assert done.returncode == 1
    assert "rich 13.7 has PYSEC-1-1" in done.stderr
    assert "osv.dev was asked as well" in done.stdout
