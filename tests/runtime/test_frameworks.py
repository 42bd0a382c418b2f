"""One scenario inside every framework, through the very examples: with lifespan, without it, and below a mount."""

from __future__ import annotations

import importlib
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.frameworks import EXAMPLES, FRAMEWORKS, WITHOUT_WEBSOCKET, Talks, scenario, searches

from consent_mw import ConsentMiddleware
from consent_mw._asgi import Receive, Scope, Send
from consent_mw.testing.client import ConsentClient

by_framework = pytest.mark.parametrize("framework", FRAMEWORKS)


@pytest.fixture(scope="module", autouse=True)
def examples(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy of the examples to import: each keeps its records beside its policy."""
    root = tmp_path_factory.mktemp("frameworks")
    shutil.copytree(EXAMPLES, root / "examples", ignore=shutil.ignore_patterns("consent-data", "__pycache__"))
    sys.path.insert(0, str(root))
    yield root
    sys.path.remove(str(root))


def application(framework: str) -> ConsentMiddleware:
    app = importlib.import_module(f"examples.{framework}_app").app
    assert isinstance(app, ConsentMiddleware)
    return app


def talks(visitor: ConsentClient, framework: str) -> Talks | None:
    def talk(words: str) -> tuple[str, list[str]]:
        with visitor.websocket("/suggest") as socket:
            socket.send(words)
            said = socket.receive()
        assert isinstance(said, str)
        return said, [line.partition(";")[0] for line in socket.headers.get_list("set-cookie")]

    return None if framework in WITHOUT_WEBSOCKET else talk


def events(visitor: ConsentClient) -> list[tuple[object, object]]:
    return [(kept.data["event.name"], kept.data["event.results"]) for kept in visitor.records("event")]


@by_framework
def test_the_scenario_passes_in_an_application_that_was_started(framework: str) -> None:
    with ConsentClient(application(framework), raise_errors=False) as visitor:
        before = len(events(visitor))
        scenario(visitor, talks(visitor, framework))
        kept = events(visitor)[before:]
    over_websocket = [] if framework in WITHOUT_WEBSOCKET else [("search", 2)]
    assert kept == [("search", 3), *over_websocket]


@by_framework
def test_the_scenario_passes_without_lifespan(framework: str) -> None:
    visitor = ConsentClient(application(framework), raise_errors=False)
    try:
        scenario(visitor, talks(visitor, framework))
    finally:
        visitor.close()


@by_framework
def test_the_scenario_passes_below_a_mount(framework: str) -> None:
    with ConsentClient(application(framework), root_path="/shop", raise_errors=False) as visitor:
        page, _ = searches(visitor, "ap")
        assert page.count('"/shop/consent/') == page.count("/consent/")
        scenario(visitor, talks(visitor, framework))


@by_framework
def test_a_crash_is_recorded_as_such(framework: str) -> None:
    with ConsentClient(application(framework), raise_errors=False) as visitor:
        before = len(visitor.records("visit"))
        assert visitor.get("/rotten").status_code == 500
        visits = visitor.records("visit")[before:]
    assert [(kept.data["url.path"], kept.data["http.response.status_code"]) for kept in visits] == [("/rotten", 500)]


def test_a_form_leads_back_below_the_mount_where_a_proxy_has_taken_it_off_the_path() -> None:
    app = application("starlette")

    async def behind_the_proxy(scope: Scope, receive: Receive, send: Send) -> None:
        await app(scope if scope["type"] == "lifespan" else {**scope, "root_path": "/shop"}, receive, send)

    with ConsentClient(behind_the_proxy) as visitor:
        assert 'name="next" value="/shop/?q=ap"' in searches(visitor, "ap")[0]
