"""The handle of the site's process: start it, tell it what to do, stop it, kill it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any


class SiteFailed(Exception):
    """The site did not do what it was told: a fault of the product or of the simulation, never of a visitor."""


class SiteProcess:
    """
    Args:
        directory: Where the policy and `consent-data` are.
        store: The URL of a PostgreSQL database; None for SQLite.
    """

    def __init__(self, directory: Path, store: str | None) -> None:
        self.directory, self.store = directory, store
        self.drains = True
        self._process: subprocess.Popen[str] | None = None

    @property
    def runs(self) -> bool:
        return self._process is not None

    def start(self, now: datetime, *, drains: bool = True) -> None:
        self.drains = drains
        options = {"directory": str(self.directory), "now": now.isoformat(), "store": self.store, "drains": drains}
        with (self.directory / "errors.log").open("a") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.year.child", json.dumps(options)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, bufsize=1,
                env={**os.environ, "TZ": "UTC", "COLUMNS": "200", "NO_COLOR": "1"},
            )  # fmt: skip
        self._answer()

    def ask(self, verb: str, **arguments: Any) -> dict[str, Any]:
        """Have something done, and return what came of it."""
        self.tell(verb, **arguments)
        return self._answer()

    def tell(self, verb: str, **arguments: Any) -> None:
        """Have something done, and do not wait for it."""
        process = self._running()
        assert process.stdin is not None
        process.stdin.write(json.dumps({"do": verb, **arguments}) + "\n")
        process.stdin.flush()

    def stop(self) -> None:
        """Shut it down in order."""
        self.ask("stop")
        self._running().wait(60)
        self._close()

    def kill(self) -> None:
        """SIGKILL: nothing is put away."""
        process = self._running()
        process.kill()
        process.wait(60)
        self._close()

    def _close(self) -> None:
        process, self._process = self._running(), None
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except BrokenPipeError:
                    continue

    def _running(self) -> subprocess.Popen[str]:
        if self._process is None:
            raise SiteFailed("the site does not run")
        return self._process

    def _answer(self) -> dict[str, Any]:
        process = self._running()
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise SiteFailed(f"the site's process ended: {(self.directory / 'errors.log').read_text()[-2000:]}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise SiteFailed(answer["error"])
        return answer
