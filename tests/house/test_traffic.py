"""The traffic of `make bench`: a seed gives it again, each kind is what it is called, and no share is off."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest
from bench.site import SECRET
from bench.traffic import ALONE, SHARES, Arrival, Traffic, new_site

from consent_mw import ConsentMiddleware
from consent_mw._asgi import Message

POLICY = Path(__file__).resolve().parents[2] / "bench" / "policy.toml"


def test_a_seed_gives_the_same_traffic_again_and_another_one_other_traffic() -> None:
    first, again, other = (b"".join(arrival.wire for arrival in Traffic(seed).mix(200)) for seed in (7, 7, 8))
    assert first == again
    assert first != other


def test_the_mix_has_the_shares_that_it_says() -> None:
    counted = Counter(arrival.kind for arrival in Traffic(3).mix(10_000))
    assert sum(SHARES.values()) == 100
    for kind, share in SHARES.items():
        assert abs(counted[kind] / 100 - share) < 1.5, kind


def test_no_visitor_sends_the_same_cookies_after_a_page_renewed_their_session() -> None:
    pages = [dict(arrival.headers)[b"cookie"] for arrival in Traffic(1).mix(3_000) if arrival.kind == "visitor"]
    assert len(pages) == len(set(pages)) > 300


@pytest.mark.parametrize(
    ("kind", "status", "banner"),
    [
        ("warm", 200, False),
        ("stranger renewed", 200, False),
        ("first visit", 200, True),
        ("JSON", 200, False),
        ("static file", 200, False),
        ("304", 304, False),
        ("redirect", 307, False),
        ("WebSocket", 101, False),
    ],
)
def test_each_kind_is_answered_as_it_is_called(tmp_path: Path, kind: str, status: int, banner: bool) -> None:
    app = ConsentMiddleware(new_site(), policy=POLICY, secret_keys=[SECRET], directory=tmp_path, drain=False)
    for arrival in Traffic(5).alone(kind, 3):
        start, *rest = asyncio.run(_answer(app, arrival))
        assert start.get("status", 101) == status
        assert (b'data-consent="banner"' in b"".join(message.get("body", b"") for message in rest)) is banner


def test_every_kind_alone_can_be_had() -> None:
    assert {kind: len(Traffic(1).alone(kind, 2)) for kind in ALONE} == dict.fromkeys(ALONE, 2)


async def _answer(app: ConsentMiddleware, arrival: Arrival) -> list[Message]:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    await app(arrival.scope(), arrival.receive(), send)
    return sent
