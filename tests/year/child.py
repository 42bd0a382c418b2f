"""The site in a process of its own, which is told what to do line by line, answers what it did, and can be killed."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.year.shop import shop, signed_in
from tests.year.sight import Sight, opens

from consent_mw.testing.site import LivingSite

_KEYS = ("only for this simulated year",)
_FORM = ("content-type", "application/x-www-form-urlencoded")


class Child:
    """One life of the site's process. Every `do_` is an order of the world's, and answers with one JSON object."""

    def __init__(self, directory: str, now: str, store: str | None, drains: bool) -> None:
        options: dict[str, Any] = {"store": store} if store else {}
        self._site = LivingSite(
            shop, directory=directory, at=datetime.fromisoformat(now), secret_keys=_KEYS, subject=signed_in,
            drain=drains, **options,
        )  # fmt: skip
        self._site.__enter__()
        self._visitor = self._site.visitor()
        self._sight = Sight(self._site.app.runtime.places, store)

    def do(self, order: dict[str, Any]) -> dict[str, Any]:
        verb: Callable[..., dict[str, Any]] = getattr(self, f"do_{order.pop('do')}")
        return verb(**order)

    def do_request(
        self, at: str, path: str, headers: list[list[str]], form: str = "", query: str = ""
    ) -> dict[str, Any]:
        """Serve one exchange, at an instant. The jar is the world's: a browser outlives this process."""
        self._site.clock.set(datetime.fromisoformat(at))
        self._visitor.cookies.clear()
        lines = [(name, value) for name, value in [*headers, *([_FORM] if form else [])]]
        answer = self._visitor.request(
            "POST" if form else "GET", path, params=query or None, headers=lines, content=form.encode()
        )
        return {
            "status": answer.status_code,
            "cookies": answer.headers.get_list("set-cookie"),
            "banner": 'data-consent="banner"' in answer.text,
            "notice": 'class="consent-mw consent-mw-notice"' in answer.text,
            "body": answer.text if "application/json" in answer.headers.get("content-type", "") else "",
        }

    def do_settle(self, at: str) -> dict[str, Any]:
        """Let everything that runs in the background happen at an instant, until nothing is left to be done."""
        self._site.clock.set(datetime.fromisoformat(at))
        self._site.settle()
        return {}

    def do_run(self, arguments: list[str], at: str) -> dict[str, Any]:
        """Run a command of staff, by the same clock."""
        self._site.clock.set(datetime.fromisoformat(at))
        done = self._site.run(*arguments)
        return {"code": done.exit_code, "out": done.stdout, "err": done.stderr}

    # -- what there is ------------------------------------------------------------------------------------------

    def do_look(self, since: str = "") -> dict[str, Any]:
        """Tell which records are in the store: their ids, and what is new of them, opened."""
        return self._sight.look(self._site.app.runtime.sealer, datetime.fromisoformat(since) if since else None)

    def do_archived(self) -> dict[str, Any]:
        """Tell what is held in the archive."""
        return {"rows": self._sight.archived()}

    def do_copy(self, since: str, share: float) -> dict[str, Any]:
        """Copy rows as they are, as a backup does."""
        return {"copies": self._sight.copies(datetime.fromisoformat(since), share)}

    def do_open(self, copies: list[str]) -> dict[str, Any]:
        """Try to open copies of rows."""
        return {"opened": [opens(copy, self._site.app.runtime.sealer) for copy in copies]}

    def do_stop(self) -> dict[str, Any]:
        """Shut down in order."""
        self._sight.close()
        self._site.__exit__(None, None, None)
        return {}


def main() -> None:
    """Read orders, one JSON object a line, and answer each with one."""
    options = json.loads(sys.argv[1])
    logging.basicConfig(filename=Path(options["directory"]) / "site.log", level=logging.WARNING)
    child = Child(**options)
    with os.fdopen(os.dup(1), "w") as answers:
        print("{}", file=answers, flush=True)
        for line in sys.stdin:
            order = json.loads(line)
            last = order["do"] == "stop"
            try:
                answer = child.do(order)
            except Exception as error:  # whatever it was, the world is told and ends
                logging.exception("an order failed")
                answer = {"error": f"{type(error).__name__}: {error}"}
            print(json.dumps(answer), file=answers, flush=True)
            if last:
                return


if __name__ == "__main__":
    main()
