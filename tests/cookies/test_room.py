"""Cookies that wait take bounded room: of one network, and of all."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.asgi import set_cookies
from tests.support.policies import POLICY
from tests.support.visitors import Visitor

from consent_mw import ConsentMiddleware
from consent_mw._asgi import Message, Receive, Scope, Send
from consent_mw.cookies.quota import Room

MINUTE = 60_000_000_000
TAKEN = st.tuples(st.sampled_from("abc"), st.integers(0, 9), st.integers(0, 900), st.integers(0, 3 * MINUTE))


@given(st.lists(TAKEN, max_size=60))
def test_no_more_is_taken_in_ten_minutes_than_there_is_of_one_and_of_all(
    asked: list[tuple[str, int, int, int]],
) -> None:
    room = Room(things=40, size=4_000, share=2, within=timedelta(minutes=10))
    now, taken = 0, list[tuple[str, int, int, int]]()
    for network, things, size, later in asked:
        now += later
        if room.take(network, things, size, now):
            taken.append((network, things, size, now))
        held = [taking for taking in taken if taking[3] > now - 10 * MINUTE]
        for number, most in ((1, 40), (2, 4_000)):
            assert sum(int(taking[number]) for taking in held) <= most
            assert sum(int(taking[number]) for taking in held if taking[0] == network) <= most // 2


def test_room_comes_back_with_time_and_what_takes_none_always_fits() -> None:
    room = Room(things=4, size=1_000, share=2, within=timedelta(minutes=10))
    assert room.take("a", 2, 10, 0)
    assert not room.take("a", 1, 10, MINUTE)
    assert room.take("a", 0, 0, MINUTE)
    assert room.take("b", 2, 10, MINUTE)
    assert not room.take("c", 1, 10, 2 * MINUTE), "of all"
    assert room.take("a", 2, 10, 12 * MINUTE)


@pytest.fixture
def app(tmp_path: Path) -> ConsentMiddleware:
    """A site that sets a cookie of four thousand bytes, which waits."""

    async def sets(scope: Scope, receive: Receive, send: Send) -> None:
        name = scope["path"].strip("/") or "theme"
        headers = [(b"set-cookie", name.encode() + b"=" + b"v" * 4_000), (b"content-type", b"text/plain")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"the page"})

    (tmp_path / "policy.toml").write_text(POLICY)
    return ConsentMiddleware(sets, policy=tmp_path / "policy.toml", secret_keys=["k" * 16], store="memory:", debug=True)


def consent_cookies(sent: list[Message]) -> bytes:
    header: bytes = dict(sent[0]["headers"])[b"consent-cookies"]
    return header


def test_who_leaves_the_session_out_fills_the_room_of_their_own_network_alone(
    app: ConsentMiddleware, caplog: pytest.LogCaptureFixture
) -> None:
    async def run() -> None:
        stranger, other = Visitor(app), Visitor(app)
        consent = set_cookies(await stranger.picks("prompt"))[0].partition(b";")[0]
        answers = [await stranger.gets("/", cookie=consent) for _ in range(200)]
        assert all(sent[1]["body"] == b"the page" for sent in answers)
        waits = [b"pending" in consent_cookies(sent) for sent in answers]
        assert 100 < sum(waits) < 130
        assert waits == sorted(waits, reverse=True)
        assert b'theme; blocked; "the visitor wants to be asked, and too many cookies wait already"' in consent_cookies(
            answers[-1]
        )
        assert set_cookies(answers[-1]) == []
        await other.picks("prompt")
        sent = await other.gets("/", client=("198.51.100.9", 1))
        assert b"theme; pending" in consent_cookies(sent), "somebody else still has room"
        await app.runtime.drain.stop()

    with caplog.at_level(logging.WARNING, "consent_mw"):
        asyncio.run(run())
    assert sum("too many wait already" in record.getMessage() for record in caplog.records) == 1


def test_a_cookie_that_is_set_again_and_again_in_one_session_takes_its_room_once(app: ConsentMiddleware) -> None:
    async def run() -> None:
        visitor = Visitor(app)
        await visitor.picks("prompt")
        for _ in range(200):
            assert b"theme; pending" in consent_cookies(await visitor.gets("/"))
        await app.runtime.drain.stop()

    asyncio.run(run())
