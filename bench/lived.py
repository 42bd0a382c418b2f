"""A site that lives: day after day of visitors, choices, requests and destruction, up to this moment."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

from starlette.types import ASGIApp, Receive, Scope, Send

from bench.site import HEADERS, SECRET
from consent_mw import ConsentMiddleware
from consent_mw.retention.destruction import Outcome
from consent_mw.rights.desk import Desk, kept_by_store
from consent_mw.rights.disclosures import Disclosure, Disclosures
from consent_mw.rights.erasure import ErasureOutcome
from consent_mw.rights.request import Answer
from consent_mw.stores.base import Store
from consent_mw.testing.clock import Clock
from consent_mw.testing.driver import body, drive, http_scope

__all__ = ["DAY", "EXCHANGES", "Browser", "Known", "begin", "handed_over", "known_of", "lived", "served"]

#: Each day as busy as every other, so that only the age of two sites differs.
EXCHANGES: Final = 200
ACCEPTED: Final = 9
PROMPTED: Final = 3
LETTERS: Final = 2
ATTACKS: Final = 2
BROWSERS: Final = 3
#: A restriction is taken back after so many days, so that as many are in force at any age.
RESTRICTED_DAYS: Final = 5
#: Who is asked about afterwards came so many days before the last one.
KNOWN_DAYS: Final = 5
DISCLOSED_DAYS: Final = 5
DAY: Final = timedelta(days=1)

_HEADERS: Final = [
    (b"host", b"testserver"),
    (b"user-agent", HEADERS["User-Agent"].encode()),
    (b"sec-fetch-site", b"same-origin"),
]  # fmt: skip
_JSON: Final = (b"accept", b"application/json")
_FORM: Final = (b"content-type", b"application/x-www-form-urlencoded")


class Browser:
    """One browser, with its cookies, and who is signed in there."""

    def __init__(self, app: ASGIApp, member: str = "", cookies: Mapping[str, str] | None = None) -> None:
        self.cookies: dict[str, str] = dict(cookies or {})
        self.member = member
        self._app = app

    async def get(self, path: str, *, as_json: bool = False) -> bytes:
        """Read a page, and return it."""
        return await self._sent("GET", path, [_JSON] if as_json else [])

    async def post(self, path: str, **fields: str) -> dict[str, Any]:
        """Send a form, and return what is told."""
        answer: dict[str, Any] = json.loads(await self._sent("POST", path, [_JSON, _FORM], urlencode(fields).encode()))
        return answer

    async def _sent(self, method: str, path: str, more: Sequence[tuple[bytes, bytes]], content: bytes = b"") -> bytes:
        headers = [*_HEADERS, *more]
        if self.cookies:
            headers.append((b"cookie", "; ".join(f"{name}={value}" for name, value in self.cookies.items()).encode()))
        if self.member:
            headers.append((b"x-member", self.member.encode()))
        done = await drive(self._app, http_scope(path, method=method, scheme="https", headers=headers), body(content))
        if done.error is not None or not 200 <= (done.status or 0) < 400:
            raise RuntimeError(f"{method} {path}: {done.status}, {done.error!r}, {done.body[:500]!r}")
        for line in done.set_cookies:
            name, _, value = line.decode().partition(";")[0].partition("=")
            self.cookies |= {name: value}
            if not value or "Max-Age=0" in line.decode():
                del self.cookies[name]
        return done.body


class Known(dict[str, list[dict[str, str]]]):
    """The cookies of those who are asked about afterwards: `visitor` has one browser, `member` several."""


def known_of(directory: Path) -> Known:
    """Return whom `lived` left in a directory."""
    return Known(json.loads((directory / "known.json").read_text()))


def served(directory: Path, clock: Callable[[], int] | None = None, store: Store | None = None) -> ConsentMiddleware:
    """Return the site in that directory; with a clock it is one that lives, else it serves now."""
    more: dict[str, Any] = {} if clock is None else {"clock": clock, "drain": False}
    return ConsentMiddleware(
        _page,
        policy=directory / "policy.toml",
        secret_keys=[SECRET],
        subject=_signed_in,
        exclude=("/consent*",),
        store=store,
        **more,
    )


def _signed_in(scope: Scope) -> str | None:
    return next((value.decode() for name, value in scope["headers"] if name == b"x-member"), None)


async def _page(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["path"] == "/attack":
        scope["state"]["consent"].report_abuse("tries passwords")
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"a page"})


async def lived(
    directory: Path,
    days: int,
    exchanges: int = EXCHANGES,
    advance: Callable[[], None] = lambda: None,
    store: Store | None = None,
) -> None:
    """Let a site live in `directory` for so many days, of which today is the last; `advance` is called after each."""
    begin(directory)
    first = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - days * DAY
    clock = Clock(first)
    life = _Life(served(directory, clock, store), clock, exchanges)
    try:
        for number in range(days):
            await life.day(first + number * DAY, days - number)
            advance()
        await life.night(datetime.now(UTC) - timedelta(minutes=1))
    finally:
        await life.end()
    _end(directory, life.known)


def begin(directory: Path) -> None:
    """Put the policy into the directory of a site that is to live."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "policy.toml").write_text(Path(__file__).with_name("age.toml").read_text())


async def handed_over(app: ConsentMiddleware) -> None:
    """Wait until a site's store has all that its spool had."""
    await app.runtime.drain.once()
    while app.runtime.spool.waiting_bytes:
        await asyncio.sleep(0.01)
        await app.runtime.drain.once()


def _end(directory: Path, known: Known) -> None:
    (directory / "known.json").write_text(json.dumps(known))


class _Life:
    def __init__(self, app: ConsentMiddleware, clock: Clock, exchanges: int) -> None:
        self.known = Known()
        self._app = app
        self._clock = clock
        self._exchanges = exchanges
        self._parts = parts = app.runtime
        parts.drain.by_itself = False  # no task runs beside: `night` does all work, at the clock's time
        self._destruction = parts.destruction
        self._desk = Desk(parts.store, parts.sealer, kept_by_store(parts.store))
        self._restricted: list[tuple[datetime, Browser]] = []
        self._waiting: list[Browser] = []

    async def end(self) -> None:
        await self._destruction.close()
        await self._app.runtime.drain.stop()

    async def day(self, morning: datetime, left: int) -> None:
        """Live through one day; `left` is how many there are with it."""
        visitors = await self._choices(morning + timedelta(hours=1), left)
        await self._visits(morning + timedelta(hours=2), visitors)
        await self._asked(morning + timedelta(hours=20), visitors)
        await self._staff(morning + timedelta(hours=22), left)
        await self.night(morning + DAY + timedelta(minutes=45))

    async def night(self, now: datetime) -> None:
        """Hand over, erase, count and destroy what is due by then."""
        if now > self._clock.now:
            self._clock.set(now)
        await handed_over(self._app)
        await self._app.runtime.drain.run_once()
        await self._done(lambda: self._app.runtime.erasure.once(self._clock.now))
        await self._done(lambda: self._destruction.once(self._clock.now))

    async def _choices(self, begin: datetime, left: int) -> list[Browser]:
        """Return who has a receipt now: those who are asked about afterwards first."""
        visitors = [Browser(self._app) for _ in range(ACCEPTED)]
        visitors[-4].member = f"member {left}"  # of each day somebody is signed in, and asks for a restriction
        if left == KNOWN_DAYS:
            members = [Browser(self._app, "ada") for _ in range(BROWSERS)]
            self.known |= {"visitor": [visitors[0].cookies], "member": [browser.cookies for browser in members]}
            visitors = [*members, *visitors]
        prompted = [Browser(self._app) for _ in range(PROMPTED)]
        for number, browser in enumerate([*visitors, *prompted]):
            self._clock.set(begin + number * timedelta(minutes=1))
            await browser.post("/consent/choice", choice="accept" if browser in visitors else "prompt")
            if browser.member:
                await browser.get("/consent/my-data", as_json=True)
        return visitors

    async def _visits(self, begin: datetime, visitors: Sequence[Browser]) -> None:
        stranger = Browser(self._app)
        for number in range(self._exchanges):
            self._clock.set(begin + number * (timedelta(hours=17) / self._exchanges))
            who = visitors[number // 2 % len(visitors)] if number % 2 else stranger
            await who.get(f"/items/{number % 40}")
        for _ in range(ATTACKS):
            await visitors[-5].get("/attack")

    async def _asked(self, begin: datetime, visitors: Sequence[Browser]) -> None:
        self._clock.set(begin)
        await handed_over(self._app)
        for browser in visitors[-2:]:
            self._clock.advance(timedelta(minutes=11))
            await browser.post("/consent/my-data", action="withdraw", purpose="marketing")
        for browser in visitors[-3:-2]:
            self._clock.advance(timedelta(minutes=11))
            await browser.post("/consent/my-data", action="erase", confirm="yes")
        self._clock.advance(timedelta(minutes=11))
        await visitors[-4].post("/consent/my-data", action="restrict")
        self._restricted.append((begin, visitors[-4]))
        while begin - self._restricted[0][0] >= RESTRICTED_DAYS * DAY:
            self._clock.advance(timedelta(minutes=11))
            await self._restricted.pop(0)[1].post("/consent/my-data", action="lift")
        for number in range(LETTERS):
            self._clock.advance(timedelta(minutes=11))
            stranger = Browser(self._app)
            await stranger.post("/consent/my-data", action="ask", kind="access", email=f"a{number}@example.com")

    async def _staff(self, now: datetime, left: int) -> None:
        """Answer the letters, decide what an erasure left open, and disclose now and then."""
        if now > self._clock.now:
            self._clock.set(now)
        await handed_over(self._app)
        for case in await self._desk.all(opened=False):
            if case.ended is None and (case.request.kind == "access" or "abuse" in case.request.purposes):
                answer = Answer.new(case.request.id, "refused", self._clock(), reason="It is told by letter.")
                await self._desk.register(answers=[answer])
        if left % DISCLOSED_DAYS == 0:
            given = Disclosure.new(self._clock(), to="a court", basis="lawful_demand", purposes=("necessary",))
            await Disclosures(self._parts.store, self._parts.sealer).append(given)

    async def _done(self, work: Callable[[], Awaitable[Outcome | ErasureOutcome]]) -> None:
        """Work until nobody else is at it: the site's own tasks run beside."""
        while (done := await work()).busy:  # noqa: ASYNC110 - a lock of processes has no event
            await asyncio.sleep(0.01)
        if done.troubles:
            raise RuntimeError(f"{done}")
