"""Our tags carry the nonce of the page that they are put into."""

from __future__ import annotations

import pytest

from consent_mw.site.page_nonce import NO_NONCE, Nonce, nonce_of, with_nonce

TAGS = '<link rel="stylesheet" href="/c.css"><script defer src="/c.js"></script>'


@pytest.mark.parametrize(
    ("policies", "expected"),
    [
        (["script-src 'nonce-abc' 'strict-dynamic'; object-src 'none'"], Nonce("abc", "", strict=True)),
        (["SCRIPT-SRC 'nonce-a' ; style-src 'nonce-b+/='"], Nonce("a", "b+/=")),
        (["script-src\t'Nonce-Abc' 'STRICT-dynamic'"], Nonce("Abc", "", strict=True)),
        (["default-src 'nonce-abc'"], Nonce("abc", "abc")),
        (["style-src 'nonce-one'", "script-src 'nonce-two'"], Nonce("two", "one")),
        (["script-src-elem 'nonce-one'; script-src 'nonce-two'"], Nonce("one")),
        (["default-src 'self'", "script-src 'nonce-abc'"], Nonce("abc")),
        (["default-src 'self', script-src 'nonce-abc'"], Nonce("abc")),
        (["script-src 'self'"], NO_NONCE),
        (["script-src 'nonce-a\"><script>'"], NO_NONCE),
        ([], NO_NONCE),
    ],
)
def test_the_nonce_is_read_from_the_pages_own_header(policies: list[str], expected: Nonce) -> None:
    headers = [(b"Content-Security-Policy", policy.encode()) for policy in policies]
    assert nonce_of({"type": "http.response.start", "headers": headers}) == expected


def test_each_tag_carries_it() -> None:
    assert with_nonce(TAGS, Nonce("a", "b", strict=True)) == (
        '<link nonce="b" rel="stylesheet" href="/c.css"><script nonce="a" data-strict defer src="/c.js"></script>'
    )
    assert with_nonce(TAGS, NO_NONCE) == TAGS
