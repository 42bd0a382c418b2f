"""Applications that write access lines, and an exchange with each."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from tests.support.asgi import scope
from tests.support.policies import POLICY

from consent_mw.log.access_line import Console
from consent_mw.log.exchange import Exchange
from consent_mw.policy.loader import loads
from consent_mw.proxies import Proxies

NOTHING: Any = SimpleNamespace(route=None)  # a line looks at nothing else of the consent


def exchange(path: str = "/books/1", kind: str = "http", status: int = 200, outcome: str = "", **more: Any) -> Exchange:
    asked = scope(path, kind, **more)
    finished = Exchange(asked, asked, {}, NOTHING, 0)
    finished.status, finished.outcome = status, outcome
    return finished


def console(policy: str = POLICY, fd: int | None = None) -> Console:
    return Console(loads(policy), Proxies(), fd)
