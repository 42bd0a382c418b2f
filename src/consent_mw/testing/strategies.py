"""Hypothesis strategies for what browsers, applications and attackers send: headers, addresses and whole scopes."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from hypothesis import strategies as st

__all__ = [
    "addresses",
    "cookie_headers",
    "forwarded_headers",
    "gpc_headers",
    "header_lists",
    "http_scopes",
    "set_cookie_headers",
    "set_cookie_lines",
    "user_agents",
    "websocket_scopes",
]

_NAMES = ("sessionid", "csrftoken", "theme", "_ga", "_ga_ABC", "__Host-consent")
_BLANKS = st.sampled_from([b"", b"", b" ", b"\t", b"  "])
_SPOILERS = (b"\x00", b"\x01", b"\x1b[2J", b"\x7f", b"\r\n", b"\xff\xfe", b'"', b",", b"\\", b" ", b"\xe2\x80\xae")
_DELETIONS = (
    b"Max-Age=0",
    b"max-age=-1",
    b"MAX-AGE = 0",
    b"expires=Thu, 01 Jan 1970 00:00:00 GMT",
    b"Expires=Thu, 01-Jan-1970 00:00:00 GMT",
    b"expires=Wed, 31 Dec 1969 23:59:59 GMT",
)
_ATTRIBUTES = (
    *_DELETIONS,
    b"Max-Age=3600",
    b"Max-Age=34560001",
    b"Max-Age=9" + b"9" * 40,
    b"Max-Age=soon",
    b"Expires=Fri, 01 Jan 2100 00:00:00 GMT",
    b"Path=/",
    b"path=/app",
    b"Path",
    b"Domain=example.com",
    b"domain=.EXAMPLE.com",
    b"Secure",
    b"secure=no",
    b"HttpOnly",
    b"SameSite=Lax",
    b"samesite=none",
    b"Partitioned",
    b"=",
    b"",
    b"Comment=" + b"c" * 1025,
)


def addresses() -> st.SearchStrategy[IPv4Address | IPv6Address]:
    """Addresses of both versions, among them mapped, link-local, 6to4 and loopback ones."""
    special = ["127.0.0.1", "10.0.0.1", "192.0.2.1", "203.0.113.9", "255.255.255.255"]
    special6 = ["::", "::1", "fe80::1", "::ffff:10.0.0.1", "::ffff:203.0.113.9", "2002:cb00:7109::1", "2001:db8::1"]
    return st.one_of(
        st.sampled_from([IPv4Address(text) for text in special]),
        st.sampled_from([IPv6Address(text) for text in special6]),
        st.ip_addresses(v=4),
        st.ip_addresses(v=6),
    )


def cookie_headers(names: Sequence[str] = _NAMES) -> st.SearchStrategy[list[bytes]]:
    """The values of zero to three `Cookie` lines (HTTP/2 may split them), valid and hostile; `names` come often."""
    pair = _concatenated(_BLANKS, _cookie_names(names), st.just(b"="), _cookie_values(), _BLANKS)
    malformed = st.sampled_from(
        [b"", b"=", b"=value", b"lonely", b'a="open', b"a=b=c", b"sp ace=1", b"x[0]=1", b"$Version=1"]
    )
    separator = st.sampled_from([b"; ", b"; ", b";", b" ; ", b";;"])
    line = st.builds(bytes.join, separator, st.lists(pair | pair | malformed, max_size=8))
    crowd = st.just(b"; ".join(b"n%d=v" % i for i in range(1000)))
    huge = st.just(b"big=" + b"v" * 8192)
    return st.lists(st.one_of(line, line, line, line, crowd, huge), max_size=3)


def set_cookie_lines(names: Sequence[str] = _NAMES) -> st.SearchStrategy[bytes]:
    """
    One raw `Set-Cookie` value for one of `names` or another one, valid or hostile.

    Among them: blanks before the name, no `=`, quotes, commas, control and non-ASCII bytes, an attribute given twice,
    prefixes in another case, more than 4,096 bytes, and deletions in several spellings.
    """
    pair = _concatenated(
        _BLANKS,
        _cookie_names(names),
        st.sampled_from([b"=", b"=", b"=", b" = ", b"\t=", b"==", b""]),
        _cookie_values(),
    )
    attributes = st.lists(st.sampled_from(_ATTRIBUTES), max_size=6)
    glue = st.sampled_from([b"; ", b"; ", b";", b" ;\t"])
    parts = st.tuples(pair.map(lambda first: [first]), attributes).map(lambda two: two[0] + two[1])
    return st.builds(bytes.join, glue, parts)


def set_cookie_headers(names: Sequence[str] = _NAMES) -> st.SearchStrategy[list[tuple[bytes, bytes]]]:
    """Response headers with `Set-Cookie` lines, their name in any case, and other headers between them."""
    key = st.sampled_from([b"set-cookie", b"Set-Cookie", b"SET-COOKIE", b"sEt-CoOkIe"])
    other = st.sampled_from(
        [(b"content-type", b"text/html"), (b"Vary", b"Cookie"), (b"x-set-cookie", b"a=b"), (b"set-cookie2", b"a=b")]
    )
    return st.lists(st.tuples(key, set_cookie_lines(names)) | other, max_size=10)


def forwarded_headers() -> st.SearchStrategy[list[tuple[bytes, bytes]]]:
    """Lines of `X-Forwarded-For`, `Forwarded`, `X-Real-IP` and `X-Forwarded-Proto`, honest, malformed and forged."""
    node = st.one_of(addresses().map(_written), addresses().flatmap(_dressed), st.sampled_from(_BAD_NODES))
    listed = st.lists(node, max_size=5).map(b", ".join)
    lines = st.one_of(
        st.tuples(st.just(b"x-forwarded-for"), listed | st.just(b"10.0.0.1," * 1000)),
        st.tuples(st.just(b"forwarded"), st.lists(_forwarded_elements(node), max_size=4).map(b", ".join)),
        st.tuples(st.sampled_from([b"x-real-ip", b"cf-connecting-ip"]), node),
        st.tuples(
            st.just(b"x-forwarded-proto"), st.sampled_from([b"https", b"http", b"HTTPS", b"https, http", b"ftp", b""])
        ),
    )
    return st.lists(lines, max_size=4)


def gpc_headers() -> st.SearchStrategy[list[tuple[bytes, bytes]]]:
    """Zero to two `Sec-GPC` lines; only the exact value `1` is a signal."""
    value = st.sampled_from([b"1", b"1", b"0", b"", b" 1", b"1 ", b"1,1", b"true", b"01", b"\xc2\xb9"])
    return st.lists(st.tuples(st.just(b"sec-gpc"), value), max_size=2)


def user_agents() -> st.SearchStrategy[str]:
    """Values of `User-Agent` as text: browsers, bots, health checks, and strings that break parsers and logs."""
    return st.sampled_from(_AGENTS) | st.text(max_size=40) | st.text(st.characters(codec=None), max_size=10)


def header_lists(names: Sequence[str] = _NAMES) -> st.SearchStrategy[list[tuple[bytes, bytes]]]:
    """Request headers as a server hands them over (names lower-cased), hostile values included; `names` as cookies."""
    agent = user_agents().map(lambda text: [(b"user-agent", text.encode("utf-8", "surrogatepass"))])
    cookies = cookie_headers(names).map(lambda lines: [(b"cookie", line) for line in lines])
    noise = st.lists(st.tuples(st.sampled_from([b"accept", b"referer", b"x-odd"]), st.binary(max_size=30)), max_size=3)
    parts = st.tuples(st.just([(b"host", b"example.com")]), cookies, forwarded_headers(), gpc_headers(), agent, noise)
    return parts.map(lambda lists: [header for part in lists for header in part]).flatmap(st.permutations)


def http_scopes(names: Sequence[str] = _NAMES) -> st.SearchStrategy[dict[str, Any]]:
    """Valid ASGI scopes of type "http": hostile paths, queries, peers and headers; empty or absent headers too."""
    methods = st.sampled_from(["GET", "GET", "POST", "HEAD", "OPTIONS", "PURGE"])
    return _scopes("http", ("http", "https"), names, {"method": methods})


def websocket_scopes(names: Sequence[str] = _NAMES) -> st.SearchStrategy[dict[str, Any]]:
    """The same for type "websocket", with subprotocols."""
    offered = st.lists(st.sampled_from(["chat", "graphql-ws", ""]), max_size=2)
    return _scopes("websocket", ("ws", "wss"), names, {"subprotocols": offered})


_BAD_NODES = (
    b"unknown",
    b"_hidden",
    b"",
    b"1.2.3",
    b"01.02.03.04",
    b"999.1.1.1",
    b"fe80::1%\x1b[2J",
    b"[2001:db8::1",
    b'"10.0.0.1',
    b"unix:",
    b"\xff",
    b"1" * 10_000,
    b"fe80::1%" + b"z" * 10_000,
)

_AGENTS = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 "
    "Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0",
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    "kube-probe/1.33",
    "curl/8.14.1",
    "",
    "Mozilla/5.0 " + "(" * 8000,
    "Mozilla/5.0 \x00\r\nX-Injected: 1",
    "\x1b[31m\u202e\ud800",
)


def _concatenated(*parts: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    return st.tuples(*parts).map(b"".join)


def _cookie_names(names: Sequence[str]) -> st.SearchStrategy[bytes]:
    known = st.sampled_from([name.encode() for name in names] or [b"a"])
    odd = st.sampled_from([b"other", b"__host-consent", b"__SECURE-id", b"a b", b"a,b", b"\xe9", b"", b"n" * 300])
    return st.one_of(known, known, known.map(bytes.swapcase), odd)


def _cookie_values() -> st.SearchStrategy[bytes]:
    plain = st.text("abcXYZ019-_.~%", max_size=12).map(str.encode)
    spoiled = _concatenated(plain, st.sampled_from(_SPOILERS), plain)
    special = st.sampled_from([b'"quoted"', b'"a\\073b"', b"a=b", b"v" * 4097, b'"' + b"\\" * 500, b"{}"])
    return st.one_of(plain, plain, spoiled, special)


def _written(address: IPv4Address | IPv6Address) -> bytes:
    return str(address).encode()


def _dressed(address: IPv4Address | IPv6Address) -> st.SearchStrategy[bytes]:
    bare = _written(address)
    if address.version == 4:
        return st.sampled_from([bare + b":443", b"::ffff:" + bare, b" " + bare + b"\t"])
    return st.sampled_from([b"[" + bare + b"]", b"[" + bare + b"]:8080", bare + b"%eth0", b"[" + bare + b"%25eth0]"])


def _forwarded_elements(node: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    forms = [
        b"for=%s",
        b'for="%s"',
        b'For="%s";proto=https',
        b"proto=http;for=%s;by=_us",
        b'for=%s;x="',
        b'for="%s\\',
        b"by=%s",
    ]
    return st.tuples(st.sampled_from(forms), node).map(lambda two: two[0].replace(b"%s", two[1]))


def _scopes(
    kind: str, schemes: tuple[str, str], names: Sequence[str], extra: dict[str, st.SearchStrategy[Any]]
) -> st.SearchStrategy[dict[str, Any]]:
    # The path is text that came out of percent-encoded UTF-8, so any character but a lone surrogate.
    path = st.text(max_size=12).map(lambda text: "/" + text)
    host = st.one_of(addresses().map(str), st.sampled_from(["testclient", "fe80::1%eth0", "", "\ud800"]))
    optional: dict[str, st.SearchStrategy[Any]] = {
        "headers": st.one_of(header_lists(names), header_lists(names), st.just([])),
        "client": st.none() | st.tuples(host, st.integers(0, 65535)),
        "server": st.none() | st.just(("example.com", 443)) | st.just(("/run/app.sock", None)),
        "scheme": st.sampled_from(schemes),
        "root_path": st.sampled_from(["", "/mounted", "/ü"]),
        "state": st.builds(dict[str, Any]),
    }
    required: dict[str, st.SearchStrategy[Any]] = {
        "type": st.just(kind),
        "asgi": st.just({"version": "3.0", "spec_version": "2.5"}),
        "http_version": st.sampled_from(["1.0", "1.1", "2", "3"] if kind == "http" else ["1.1", "2"]),
        "path": path,
        "query_string": st.one_of(st.just(b""), st.just(b"q=%00&token=s3cret"), st.binary(max_size=20)),
        **extra,
    }
    return st.fixed_dictionaries(required, optional=optional)
