"""A pytest plugin, for those who ask for it: `pytest_plugins = ["consent_mw.testing.plugin"]` in a `conftest.py`."""

from __future__ import annotations

from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from consent_mw._asgi import ASGIApp
from consent_mw.middleware import ConsentMiddleware
from consent_mw.testing.client import ConsentClient
from consent_mw.testing.clock import Clock

__all__ = ["consent_app", "consent_client", "consent_clock", "consent_guard"]


@pytest.fixture
def consent_clock() -> Clock:
    """The clock of what `consent_guard` makes. It stands at the present until the test moves it."""
    return Clock()


@pytest.fixture
def consent_guard(tmp_path: Path, consent_clock: Clock) -> Callable[..., ConsentMiddleware]:
    """
    Wrap an application as `ConsentMiddleware` does, with a key, a clock and a directory of this test alone.

    Records are kept in memory. Whatever is given as a keyword goes to the middleware: `policy` has to.
    """

    def guard(app: ASGIApp, **options: Any) -> ConsentMiddleware:
        ours: dict[str, Any] = {
            "secret_keys": ["only for this test"],
            "store": "memory:",
            "directory": tmp_path / "consent-data",
            "clock": consent_clock,
        }
        return ConsentMiddleware(app, **{**ours, **options})

    return guard


@pytest.fixture
def consent_app() -> ASGIApp:
    """The application that `consent_client` visits. A test suite has a fixture of its own of this name."""
    raise pytest.UsageError(
        "consent_client visits what the fixture consent_app returns; write one in conftest.py, such as\n"
        "@pytest.fixture\n"
        "def consent_app(consent_guard):\n"
        '    return consent_guard(site, policy="policy.toml")'
    )


@pytest.fixture
def consent_client(consent_app: ASGIApp) -> Generator[ConsentClient]:
    """A visitor of `consent_app`, which is started before the test and shut down behind it."""
    with ConsentClient(consent_app) as visitor:
        yield visitor
