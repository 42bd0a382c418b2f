"""What a process keeps of headers that somebody sends to fill it: `python -m bench.hostile`."""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import os
import random
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from consent_mw import Choice, ConsentMiddleware, Proxies
from consent_mw._asgi import ASGIApp, Message, Receive, Scope, Send
from consent_mw.consent.choice import Consent
from consent_mw.cookies.consent_cookie import ConsentCookie
from consent_mw.cookies.cookie_lines import CookieFloor
from consent_mw.log.user_agents import is_crawler, parse_agent

SECRET = "a secret key of the benchmark, long enough"
#: Letters that a cookie's name can have for a browser, two of which make a name.
LETTERS = [bytes((i,)) for i in (*range(33, 127), *range(0xA1, 0x100)) if chr(i) not in ';=,"\\ ']
PROXY = "10.0.0.1"

#: One request: what is put over a scope, and its headers.
Asked = tuple[dict[str, Any], list[tuple[bytes, bytes]]]
rnd = random.Random(1)


def names() -> Asked:
    """Short names of cookies that nobody declared, as many as two kilobytes hold."""
    pairs = (rnd.choice(LETTERS) + rnd.choice(LETTERS) + b"=" for _ in range(511))
    return {}, [(b"cookie", b";".join(pairs)[:2_046])]


def long_names() -> Asked:
    """One name of seven kilobytes."""
    return {}, [(b"cookie", rnd.randbytes(3_500).hex().encode() + b"=1")]


def choices() -> Asked:
    """Signed answers of a set of their own, with a signal and without."""
    purposes = {name: rnd.random() < 0.5 for name in ("functional", "analytics", "marketing") if rnd.random() < 0.8}
    single = {"theme": rnd.random() < 0.5} if rnd.random() < 0.5 else {}
    receipt = rnd.randbytes(16).hex()[:22]
    day = datetime.now(UTC).date()
    consent = Consent(
        choice=Choice.PROMPT, revision=1, given_on=day, purposes=purposes, cookies=single, receipt=receipt
    )
    signal = [(rnd.choice((b"sec-gpc", b"dnt")), rnd.choice((b"1", b"0")))]
    return {}, [(b"cookie", f"consent={ConsentCookie([SECRET]).sign(consent)}".encode()), *signal]


def lines() -> Asked:
    """What the application writes into a Set-Cookie line, of half a kilobyte and of four, under many answers."""
    _, headers = choices()
    return {"path": "/echo"}, [*headers, (b"x-echo", rnd.randbytes(rnd.choice((220, 2_000))).hex().encode())]


def agents() -> Asked:
    """User agents of half a kilobyte."""
    return {}, [(b"user-agent", b"Mozilla/5.0 " + rnd.randbytes(240).hex().encode())]


def referers() -> Asked:
    """Referrers of many sites."""
    address = f"https://{rnd.randbytes(100).hex()}.example/{rnd.randbytes(90).hex()}"
    return {}, [(b"referer", address.encode())]


def addresses() -> Asked:
    """Addresses of peers, and what a trusted proxy forwards."""
    own = str(IPv4Address(rnd.getrandbits(32)))
    forwarded = f"{rnd.getrandbits(64):x}, " * 20 + f"[2001:db8::{rnd.getrandbits(16):x}%{rnd.randbytes(40).hex()}]"
    return {"client": (rnd.choice((own, PROXY)), 1)}, [(b"x-forwarded-for", forwarded.encode())]


def languages() -> Asked:
    """Pages with a banner, in languages that there are not."""
    tags = ",".join(f"{rnd.getrandbits(20):x}-{rnd.getrandbits(20):x};q=0.{rnd.getrandbits(6)}" for _ in range(100))
    return {"path": "/page"}, [(b"accept-language", tags.encode())]


def paths() -> Asked:
    """Paths that set a cookie of a name of their own, which nobody declared."""
    return {"path": "/" + rnd.randbytes(1_000).hex()}, [(b"x-echo", rnd.randbytes(200).hex().encode())]


def mounts() -> Asked:
    """Pages below a mount of a name of its own."""
    return {"path": "/page", "root_path": "/" + rnd.randbytes(500).hex()}, [(b"x-fine", b"1" * 1_000)]


SHAPES: tuple[Callable[[], Asked], ...] = (
    names, long_names, choices, lines, agents, referers, addresses, languages, paths, mounts,
)  # fmt: skip


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with a page, or with a line that holds what was asked."""
    fields = dict(scope["headers"])
    kind = b"text/html; charset=utf-8" if scope["path"] == "/page" else b"text/plain"
    headers = [(b"content-type", kind)]
    if b"x-echo" in fields:
        name = b"theme" if scope["path"] == "/echo" else fields[b"x-echo"][:300]
        headers.append((b"set-cookie", name + b"=" + fields[b"x-echo"]))
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"<html><head></head><body>x</body></html>"})


async def _receive() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


async def _discard(message: Message) -> None:
    pass


def _scope(asked: Asked) -> Scope:
    more, headers = asked
    scope: dict[str, Any] = {"type": "http", "http_version": "1.1", "method": "GET", "scheme": "http", "path": "/",
                             "root_path": "", "query_string": b"", "client": ("192.0.2.1", 1)}  # fmt: skip
    return {**scope, **more, "headers": [(b"host", b"x"), *headers]}


async def growths(mebibytes: float, directory: Path) -> list[tuple[str, float]]:
    """Send so much of each shape, one after the other, and return what the process has grown by after each, in MiB."""
    site = ConsentMiddleware(
        application,
        policy=Path(__file__).with_name("policy.toml"),
        secret_keys=[SECRET],
        directory=directory,
        proxies=Proxies([PROXY]),
        cookie_floor=CookieFloor(same_site="lax"),
    )
    for shape in SHAPES:  # modules, templates and the first of everything are loaded
        await _sent(site, shape, 1)
    parse_agent("Mozilla/5.0")
    await site.runtime.drain.begin()
    await site.runtime.drain.once()
    first = _resident()
    grown: list[tuple[str, float]] = []
    for shape in SHAPES:
        await _sent(site, shape, int(mebibytes * (1 << 20)))
        await site.runtime.drain.once()
        grown.append((shape.__name__.replace("_", " "), _resident() - first))
    await site.runtime.drain.stop()
    return grown


async def _sent(site: ASGIApp, shape: Callable[[], Asked], most_bytes: int) -> None:
    sent = 0
    while sent < most_bytes:
        asked = shape()
        scope = _scope(asked)
        sent += len(scope["path"]) + len(scope["root_path"]) + sum(len(name) + len(value) for name, value in asked[1])
        await site(scope, _receive, _discard)
        if shape is agents:  # as the drain and a choice do
            agent = asked[1][0][1].decode("latin-1")
            is_crawler(agent)
            parse_agent(agent)
        await asyncio.sleep(0)  # here the drain gets its turn


def _resident() -> float:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def main() -> None:
    """Print what the process has grown by after each shape."""
    parser = argparse.ArgumentParser(prog="python -m bench.hostile", description=__doc__)
    parser.add_argument("--mebibytes", type=float, default=8, help="of headers, of each shape")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory(prefix="consent-mw-bench-", dir=os.environ.get("BENCH_DIR")) as directory:
        for name, grown in asyncio.run(growths(options.mebibytes, Path(directory))):
            sys.stdout.write(f"{options.mebibytes:g} MiB of {name}: {grown:+.1f} MiB in all\n")


if __name__ == "__main__":
    main()
