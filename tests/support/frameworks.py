"""The examples of `examples/`, and the one scenario that all of them pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import httpx

from consent_mw.testing.visitor import Visitor

EXAMPLES = Path(__file__).parents[2] / "examples"
FRAMEWORKS = [
    "blacksheep",
    "django",
    "falcon",
    "fastapi",
    "flask",
    "litestar",
    "quart",
    "starlette",
]
#: Django has no WebSockets of its own, and WSGI knows none.
WITHOUT_WEBSOCKET = {"django", "flask"}
#: Opens the WebSocket, says a word, and returns the answer and the `Set-Cookie` lines of the acceptance.
Talks = Callable[[str], tuple[str, list[str]]]


def scenario(visitor: Visitor, talk: Talks | None, on_accept: Sequence[str] = ("last_search=typing",)) -> None:
    """
    Play every choice against an example.

    `talk` is None where there is no WebSocket; `on_accept` is what an accepted one may set once all is allowed.
    """
    _nobody_was_asked(visitor, talk)
    _all_is_refused(visitor, talk)
    _all_is_accepted(visitor, talk, list(on_accept))
    _each_is_asked_about(visitor)
    _what_is_no_page(visitor)


def searches(visitor: Visitor, words: str) -> tuple[str, list[str]]:
    answer = visitor.get("/", params={"q": words})
    assert answer.status_code == 200, answer.text
    return answer.text, own_lines(answer)


def own_lines(answer: httpx.Response) -> list[str]:
    """The cookies of the application that an answer sets, without their attributes."""
    return [line.partition(";")[0] for line in answer.headers.get_list("set-cookie") if line.startswith("last_search")]


def _nobody_was_asked(visitor: Visitor, talk: Talks | None) -> None:
    page, lines = searches(visitor, "ap")
    assert "apple, apricot, grape" in page
    assert "was not counted" in page
    assert 'data-consent="banner"' in page
    assert lines == []
    assert talk is None or talk("pe") == ("grape, pear", [])


def _all_is_refused(visitor: Visitor, talk: Talks | None) -> None:
    visitor.reject()
    page, lines = searches(visitor, "ap")
    assert "was not counted" in page
    assert 'data-consent="banner"' not in page
    assert lines == []
    assert talk is None or talk("pe") == ("grape, pear", [])


def _all_is_accepted(visitor: Visitor, talk: Talks | None, on_accept: list[str]) -> None:
    visitor.accept()
    page, lines = searches(visitor, "ap")
    assert "was counted" in page
    assert lines == ["last_search=ap"]
    assert talk is None or talk("pe") == ("grape, pear", on_accept)


def _each_is_asked_about(visitor: Visitor) -> None:
    visitor.ask()
    _waits(visitor)
    assert "last_search" in searches(visitor, "pear")[0]  # the visitor is asked by name
    assert own_lines(visitor.allow("last_search")) == ["last_search=pear"]
    assert visitor.state()["waiting"] == []
    assert searches(visitor, "plum")[1] == []  # the next one waits again


def _waits(visitor: Visitor) -> None:
    """Search until the cookie waits: on a busy machine a write may take longer than an answer waits for it."""
    for _ in range(20):
        assert searches(visitor, "pear")[1] == []
        if visitor.state()["waiting"]:
            break
    assert [cookie["name"] for cookie in visitor.state()["waiting"]] == ["last_search"]


def _what_is_no_page(visitor: Visitor) -> None:
    table = visitor.get("/harvest.csv")
    assert table.headers["content-type"].startswith("text/csv")
    assert table.text.splitlines()[1] == "apple,5"
    assert len(table.text.splitlines()) == 7
    assert visitor.get("/consent/policy").status_code == 200
    assert visitor.get("/rotten").status_code == 500  # the last, as uvicorn may drop the connection after a crash
