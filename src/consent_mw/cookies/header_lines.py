"""Header lines in the one form that all else reads: pairs of bytes, in lists that nobody else holds. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from consent_mw._asgi import Header, HeaderList, Scope

__all__ = ["LINE_ENDS", "fields_of", "is_token", "legible", "legible_scope", "own_lines", "shown"]

#: What a name is made of (RFC 9110, section 5.6.2).
_LOWER: Final = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
_TOKEN: Final = _LOWER + b"ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_BLANK: Final = b" \t"
#: What browsers and proxies send. A name that is none of these is read letter by letter, which takes thrice as long.
_USUAL: Final = frozenset(
    b"accept accept-encoding accept-language authorization cache-control cdn-loop cf-connecting-ip cf-ray cf-visitor "
    b"connection content-length content-type cookie dnt forwarded host if-modified-since if-none-match origin pragma "
    b"priority range referer save-data sec-ch-ua sec-ch-ua-mobile sec-ch-ua-platform sec-fetch-dest sec-fetch-mode "
    b"sec-fetch-site sec-fetch-user sec-gpc te traceparent upgrade-insecure-requests user-agent via x-forwarded-for "
    b"x-forwarded-host x-forwarded-port x-forwarded-proto x-real-ip x-request-id x-requested-with".split()
)
#: What ends a line for some reader, and begins another one (RFC 9110, section 5.5).
LINE_ENDS: Final = b"\r\n\0"
_SHOWN: Final = 80


def is_token(text: bytes) -> bool:
    """Whether `text` can be a header's name."""
    return bool(text) and not text.translate(None, _TOKEN)


def legible(line: object) -> Header | None:
    """
    Return a header line as a pair of bytes, its name without blanks; None where a server could read it otherwise.

    ASGI asks for bytes. Some servers take texts, buffers and blanks around a name all the same, so that they mean
    what stands here. Nobody agrees about a name that is no token, or a value that ends its line.
    """
    try:
        name, value = map(_exact, line)  # type: ignore[call-overload]  # what is no pair raises
    except (TypeError, ValueError, BufferError):
        return None
    name = name.strip(_BLANK)
    ends = len(value.translate(None, LINE_ENDS)) != len(value)
    if not is_token(name) or (ends and name.lower() != b"set-cookie"):
        return None  # of a Set-Cookie line the gate says itself that it has no name
    return name, value


def own_lines(lines: Iterable[object] | None) -> tuple[HeaderList, list[object]]:
    """Return the legible ones of `lines`, which are read once, in a list of their own; and the others."""
    own: HeaderList = []
    others: list[object] = []
    for each in lines or ():
        line = legible(each)
        if line is None:
            others.append(each)
        else:
            own.append(line)
    return own, others


def _exact(part: Any) -> bytes:
    """Return bytes that are nothing more: a subclass may read otherwise than it is sent, and a buffer may change."""
    if isinstance(part, str):
        return str.encode(part, "latin-1")  # an error of it is a ValueError
    return b"".join((part,))  # it takes buffers and nothing else, and returns the very one that is bytes


def fields_of(headers: Any) -> dict[bytes, bytes] | None:
    """
    Return a request's headers by name, of several with one name the last; None where they are not as servers give
    them, a list of pairs with names in lower case. In every request: a few calls, whatever their number. Of values
    that alone is looked at which decides.
    """
    if headers.__class__ is not list:
        return None
    try:
        fields: dict[bytes, bytes] = dict(headers)
        if not _USUAL.issuperset(fields) and b"".join(fields).translate(None, _LOWER):
            return None
        return fields if fields.get(b"cookie", b"").__class__ is bytes else None
    except (TypeError, ValueError):
        return None


def legible_scope(scope: Scope) -> Scope:
    """
    Return `scope` with headers and client as all else reads them: the headers' names in lower case, and both in
    sequences. ASGI has iterables, which can be read once. Header lines that nobody can read are left out.
    """
    lines, _ = own_lines(scope.get("headers"))
    headers = [(name.lower(), value) for name, value in lines]
    client: Iterable[Any] | None = scope.get("client")
    return {**scope, "headers": headers, "client": None if client is None else tuple(client)}


def shown(line: Any) -> str:
    """Return what of an illegible line may be told: its name, shortened, and nothing of its value."""
    parts: list[Any] = [*line] if isinstance(line, tuple | list) else []
    name = parts[0] if parts else None
    if not isinstance(name, bytes | bytearray | str):
        return f"of a {type(name).__name__}" if parts else "without a name"
    return (name if isinstance(name, str) else bytes(name[:_SHOWN]).decode("latin-1"))[:_SHOWN]
