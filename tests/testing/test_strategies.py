"""The strategies find the bugs that naive middleware has, and hand out scopes that ASGI allows."""

from http.cookies import CookieError, SimpleCookie
from typing import Any

from hypothesis import Phase, find, given, settings

from consent_mw.testing import strategies

# Found is enough here; to make what was found small takes longer than all the rest.
THOROUGH = settings(max_examples=1000, database=None, phases=[Phase.generate])


def naive_cookies(line: bytes) -> set[str]:
    try:
        return set(SimpleCookie(line.decode("latin-1")))
    except CookieError:
        return set()


def naive_address(scope: dict[str, Any]) -> bytes:
    forwarded: bytes | None = dict(scope.get("headers", ())).get(b"x-forwarded-for")
    client: bytes = scope["client"][0].encode("utf-8", "replace")
    return forwarded.split(b",")[0].strip() if forwarded else client


def naive_name(line: bytes) -> bytes:
    return line.split(b"=")[0]


def browsers_name(line: bytes) -> bytes:
    """RFC 6265bis, section 5.6: what stands before the first `=` of the first part, trimmed; none without a `=`."""
    name, equals, _ = line.split(b";")[0].partition(b"=")
    return name.strip(b" \t") if equals else b""


def test_they_find_that_a_malformed_sibling_erases_a_cookie_for_simple_cookie():
    lines = find(
        strategies.cookie_headers(names=["consent"]),
        lambda lines: any(b"; consent=" in line and "consent" not in naive_cookies(line) for line in lines),
        settings=THOROUGH,
    )
    assert any(b"consent=" in line and "consent" not in naive_cookies(line) for line in lines)


def test_they_find_that_the_first_forwarded_address_is_the_visitors_own_claim():
    scope = find(
        strategies.http_scopes(),
        lambda scope: scope.get("client") and naive_address(scope) != scope["client"][0].encode("utf-8", "replace"),
        settings=THOROUGH,
    )
    assert naive_address(scope) != scope["client"][0].encode("utf-8", "replace")


def test_they_find_that_a_split_at_the_equals_sign_gives_another_name_than_browsers_keep():
    line = find(strategies.set_cookie_lines(), lambda line: naive_name(line) != browsers_name(line), settings=THOROUGH)
    assert naive_name(line) != browsers_name(line)


def test_they_find_code_that_compares_the_header_name_by_case():
    headers = find(
        strategies.set_cookie_headers(),
        lambda headers: any(key == b"Set-Cookie" for key, _ in headers),
        settings=THOROUGH,
    )
    by_case = [key for key, _ in headers if key == b"set-cookie"]
    by_any_case = [key for key, _ in headers if key.lower() == b"set-cookie"]
    assert len(by_case) < len(by_any_case)


def test_they_hold_a_signal_that_is_none():
    headers = find(
        strategies.gpc_headers(), lambda headers: any(b"1" in value and value != b"1" for _, value in headers)
    )
    assert b"1" not in [value for _, value in headers]


@given(strategies.http_scopes())
def test_http_scopes_are_valid_asgi(scope):
    assert scope["type"] == "http"
    assert scope["path"].startswith("/")
    scope["path"].encode("utf-8")
    assert scope["method"].isupper()
    for key, value in scope.get("headers", ()):
        assert isinstance(key, bytes)
        assert key == key.lower()
        assert isinstance(value, bytes)


@given(strategies.websocket_scopes())
def test_websocket_scopes_are_valid_asgi(scope):
    assert scope["type"] == "websocket"
    assert scope.get("scheme", "ws") in ("ws", "wss")
    assert all(isinstance(name, str) for name in scope["subprotocols"])
