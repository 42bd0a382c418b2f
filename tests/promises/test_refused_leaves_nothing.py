"""Who refuses leaves nothing on the disk: no byte of any file holds their address, agent or query, however written."""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote

from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from tests.support.asgi import drive, scope
from tests.support.policies import POLICY

from consent_mw import ConsentMiddleware, get_consent
from consent_mw._asgi import ASGIApp, Receive, Scope, Send
from consent_mw.consent.choice import Choice, Consent
from consent_mw.cookies.consent_cookie import ConsentCookie
from consent_mw.policy.model import FIELDS
from consent_mw.testing.driver import lifespan

KEY = "k" * 32
#: Everything is declared, whole, and nothing is encrypted: what is not found was not written, rather than hidden.
OPEN = POLICY.replace(
    '[log.analytics]\n"user_agent.original" = "family"\n"http.request.header.referer" = "origin"',
    "[log]\nseal = false\n[log.analytics]\n" + "\n".join(f'"{name}" = "full"' for name in FIELDS),
)

# Nothing in them looks like a secret, which would be redacted: the control has to find all of it.
TEXTS = st.text("abcdefghjkmnpqrstuvwxyz -._~é책", min_size=6, max_size=14).map("x{}x".format)
# None is the beginning of another, and none is its own mask.
ADDRESSES = st.builds("198.18.{}.{}".format, st.integers(0, 255), st.integers(100, 254)) | st.builds(
    "2001:db8::{:x}:{:x}".format, st.integers(0x1000, 0xFFFF), st.integers(0x1000, 0xFFFF)
)


class Visit:
    """What one visitor sends that tells them apart; each has a word of its own, so that nothing is found by chance."""

    def __init__(self, address: str, agent: str, query: str, referer: str) -> None:
        word = secrets.token_hex(4)
        self.address = address
        self.agent = f"{agent} {word}a"
        self.query = f"{query} {word}b"
        self.referer = f"{referer} {word}c"

    def request(self, choice: Choice | None, path: str) -> Scope:
        headers = [
            (b"host", b"www.example.com"),
            (b"user-agent", self.agent.encode()),
            (b"referer", b"https://from.example/?q=" + quote(self.referer).encode()),
        ]
        if choice is not None:
            receipt = secrets.token_urlsafe(16) if choice is Choice.ACCEPT else None
            consent = Consent(choice=choice, revision=1, given_on=datetime.now(UTC).date(), receipt=receipt)
            headers.append((b"cookie", f"consent={ConsentCookie([KEY]).sign(consent)}".encode()))
        query = f"q={quote(self.query)}".encode()
        return scope(path, headers=headers, query_string=query, client=(self.address, 4711))


def written(text: str) -> set[bytes]:
    """Every way in which a text may stand in a file."""
    raw = text.encode()
    forms = {raw, raw.decode("latin-1").encode(), text.encode("utf-16-le"), text.encode("utf-16-be")}
    forms |= {raw.hex().encode(), raw.hex().upper().encode(), repr(raw)[2:-1].encode(), json.dumps(text)[1:-1].encode()}
    forms |= {quote(text).encode(), quote(text, safe="").encode()}
    for offset in range(3):  # base64 of a longer text that contains it: without the characters that depend on the rest
        whole = base64.b64encode(b"\0" * offset + raw)
        inner = whole[(0, 2, 3)[offset] : len(whole) // 4 * 4 - 4]
        forms |= {inner, inner.replace(b"+", b"-").replace(b"/", b"_")}
    return {form for form in forms if len(form) >= 6}


def traces(visit: Visit) -> dict[str, set[bytes]]:
    parts = {name: written(getattr(visit, name)) for name in ("agent", "query", "referer")}
    return parts | {"address": written(visit.address)}


def files(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def seen(visit: Visit, content: dict[str, bytes]) -> set[str]:
    """Return what of a visitor stands in some file."""
    everything = b"\0\0\0".join(content.values())
    return {name for name, forms in traces(visit).items() if any(form in everything for form in forms)}


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    consent = get_consent(scope)
    consent.record_event("search", results=1)
    if scope["path"] == "/abuse":
        consent.report_abuse("guessing passwords")
    cookie = (b"set-cookie", b"_ga=1; Max-Age=3600; Domain=.example.com")
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/html"), cookie]})
    await send({"type": "http.response.body", "body": b"<html><body>x</body></html>"})


async def visited(directory: Path, policy: str, requests: list[Scope]) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """Return every file, while the records are in the spool, and when they have reached the store."""
    (directory / "policy.toml").write_text(policy)
    site: ASGIApp = ConsentMiddleware(app, policy=directory / "policy.toml", secret_keys=[KEY])
    async with lifespan(site):
        for request in requests:
            await drive(site, request)
        spooled = files(directory)
    return spooled, files(directory)


def all_of(policy: str, requests: list[Scope]) -> tuple[dict[str, bytes], dict[str, bytes]]:
    with TemporaryDirectory() as directory:
        return asyncio.run(visited(Path(directory), policy, requests))


#: Four visitors, each at an address of their own.
VISITORS: Any = st.lists(ADDRESSES, min_size=4, max_size=4, unique=True).flatmap(
    lambda addresses: st.tuples(*(st.builds(Visit, st.just(address), TEXTS, TEXTS, TEXTS) for address in addresses))
)


# Shrinking would take minutes: each try is a whole site.
@settings(max_examples=25, deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(visitors=VISITORS)
def test_of_who_refuses_no_byte_is_stored_and_of_who_accepts_all(visitors: tuple[Visit, Visit, Visit, Visit]) -> None:
    refusing, silent, accepting, abusing = visitors
    requests = [
        refusing.request(Choice.REJECT, "/a"),
        silent.request(None, "/b"),
        accepting.request(Choice.ACCEPT, "/c"),
        abusing.request(Choice.REJECT, "/abuse"),
    ]
    for content in all_of(OPEN, requests):
        # The control: the same scan finds each of them where there was a consent, in the same files.
        assert seen(accepting, content) == {"address", "agent", "query", "referer"}
        assert seen(refusing, content) == set()
        assert seen(silent, content) == set()
        # A reported abuse keeps the address, which is what it is for, and nothing else.
        assert seen(abusing, content) == {"address"}


def test_sealed_not_even_who_accepts_is_readable() -> None:
    visit = Visit("198.18.7.9", "An Agent", "a question", "a place")
    for content in all_of(OPEN.replace("seal = false", "seal = true"), [visit.request(Choice.ACCEPT, "/c")]):
        assert any("consent-data" in name for name in content)
        assert seen(visit, content) == set()


@given(text=TEXTS, before=st.binary(max_size=5), after=st.binary(min_size=3, max_size=5))
def test_the_scan_finds_a_text_in_every_encoding(text: str, before: bytes, after: bytes) -> None:
    raw = text.encode()
    plain = (raw, text.encode("utf-16-le"), raw.hex().encode(), json.dumps(text).encode(), quote(text).encode())
    for content in (*plain, base64.b64encode(before + raw + after), base64.urlsafe_b64encode(before + raw + after)):
        assert any(form in content for form in written(text)), content
