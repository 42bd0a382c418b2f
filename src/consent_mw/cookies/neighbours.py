"""Which hosts may set cookies for another, and which requests come without the visitor's cookies. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from ipaddress import ip_address
from typing import Final

from consent_mw._asgi import Scope

#: Methods that a link can have (RFC 9110, section 9.2.1).
_SAFE: Final = frozenset(("GET", "HEAD", "OPTIONS", "TRACE"))
#: A browser sends it in pages of other sites only: from a frame, also for what that frame itself asks of its own site
#: (Storage Access Headers, section 3.1).
STORAGE_ACCESS: Final = b"sec-fetch-storage-access"
#: How many hosts are cached, and the longest one: a name of 253 letters (RFC 1035, section 2.3.4) and its port.
_REMEMBERED_HOSTS: Final = 256
_LONGEST_HOST: Final = 260


def stands_alone(host: bytes | None) -> bool:
    """
    Whether no other host can set cookies for this `Host`. True for an address, and for a name without a dot.

    `www.example.com` has neighbours: `blog.example.com` may set a cookie for `example.com`.
    """
    return host is None or (len(host) <= _LONGEST_HOST and _stands_alone(host))


@lru_cache(maxsize=_REMEMBERED_HOSTS)
def _stands_alone(host: bytes) -> bool:
    name = host.decode("latin-1").strip()
    if name.startswith("["):
        return True  # IPv6
    name = name.partition(":")[0].rstrip(".")
    try:
        ip_address(name)
    except ValueError:
        return "." not in name
    return True


def foreign_request(scope: Scope, fields: Mapping[bytes, bytes], *, embedded: bool = False) -> bool:
    """
    Whether a browser leaves cookies with SameSite=Lax out of such a request (RFC 6265bis, section 5.2).

    It does so for a request from another site, unless this is a top-level navigation with a safe method. Examples: a
    return by POST from a bank or a sign-in, and a frame in a page of another site, with all that this frame asks for
    afterwards. A prefetch counts too.

    Args:
        fields: The request's headers by lower-case name.
        embedded: Whether the consent cookie says SameSite=None. A browser then sends it with all but prefetches.
    """
    site = fields.get(b"sec-fetch-site")
    if b"prefetch" in fields.get(b"sec-purpose", b""):
        return True
    if embedded:
        return False
    if STORAGE_ACCESS in fields:
        return True
    if site is None:
        # On plain http, and from browsers older than these headers, only a POST names its origin.
        origin = fields.get(b"origin")
        return origin is not None and scope.get("method") not in _SAFE and not _same_host(origin, fields.get(b"host"))
    if site != b"cross-site":
        return False
    to_top = fields.get(b"sec-fetch-mode") == b"navigate" and fields.get(b"sec-fetch-dest") == b"document"
    return not to_top or scope.get("method") not in _SAFE


def _same_host(origin: bytes, host: bytes | None) -> bool:
    return host is not None and origin.rpartition(b"//")[2].lower() == host.strip().lower()
