"""Normalise header lines: pairs of bytes, in lists that no other code holds. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from consent_mw._asgi import Header, HeaderList, Scope

#: The characters of a header's name (RFC 9110, section 5.6.2).
_LOWER: Final = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
_TOKEN: Final = _LOWER + b"ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_BLANK: Final = b" \t"
#: Names that browsers and proxies send. Any other name is read letter by letter, which takes three times as long.
_USUAL: Final = frozenset(
    b"accept accept-encoding accept-language authorization cache-control cdn-loop cf-connecting-ip cf-ray cf-visitor "
    b"connection content-length content-type cookie dnt forwarded host if-modified-since if-none-match origin pragma "
    b"priority range referer save-data sec-ch-ua sec-ch-ua-mobile sec-ch-ua-platform sec-fetch-dest sec-fetch-mode "
    b"sec-fetch-site sec-fetch-storage-access sec-fetch-user sec-gpc te traceparent upgrade-insecure-requests "
    b"user-agent via x-forwarded-for x-forwarded-host x-forwarded-port x-forwarded-proto x-real-ip x-request-id "
    b"x-requested-with".split()
)
#: Characters at which some reader ends the line and begins another one (RFC 9110, section 5.5).
LINE_ENDS: Final = b"\r\n\0"
_SHOWN: Final = 80


def is_token(text: bytes) -> bool:
    """Whether `text` can be a header's name."""
    return bool(text) and not text.translate(None, _TOKEN)


def legible(line: object) -> Header | None:
    """
    Return a header line as a pair of bytes, its name without blanks; None if a server could read it differently.

    ASGI asks for bytes. Some servers also accept texts, buffers and blanks around a name, and read them as this
    function does. Servers do not agree about a name that is not a token, or about a value that ends its line.
    """
    try:
        name, value = map(_exact, line)  # type: ignore[call-overload]  # anything but a pair raises
    except (TypeError, ValueError, BufferError):
        return None
    name = name.strip(_BLANK)
    ends = len(value.translate(None, LINE_ENDS)) != len(value)
    if not is_token(name) or (ends and name.lower() != b"set-cookie"):
        return None  # a Set-Cookie line passes here: the gate itself reports that it has no name
    return name, value


def own_lines(lines: Iterable[object] | None) -> tuple[HeaderList, list[object]]:
    """Return the legible lines in a new list, and the illegible ones. `lines` is read only once."""
    own: HeaderList = []
    others: list[object] = []
    for raw in lines or ():
        line = legible(raw)
        if line is None:
            others.append(raw)
        else:
            own.append(line)
    return own, others


def _exact(part: Any) -> bytes:
    """Return exact bytes. A subclass may read differently from what is sent, and a buffer may change later."""
    if isinstance(part, str):
        return str.encode(part, "latin-1")  # its error is a ValueError
    return b"".join((part,))  # accepts only buffers, and returns exact bytes unchanged


def fields_of(headers: Any) -> dict[bytes, bytes] | None:
    """
    Return a request's headers by name; None if they are not a list of pairs with names in lower case.

    If several headers have the same name, the last one counts. This runs for every request, so it makes a few calls,
    however many headers there are. Of the values it checks only the cookie's, which decides.
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
    Return `scope` with normalised headers and client: both are sequences, and the headers' names are in lower case.

    ASGI allows iterables, which can be read only once. Illegible header lines are left out.
    """
    lines, _ = own_lines(scope.get("headers"))
    headers = [(name.lower(), value) for name, value in lines]
    client: Iterable[Any] | None = scope.get("client")
    return {**scope, "headers": headers, "client": None if client is None else tuple(client)}


def shown(line: Any) -> str:
    """Return what a log may show of an illegible line: its name, shortened, and nothing of its value."""
    parts: list[Any] = [*line] if isinstance(line, tuple | list) else []
    name = parts[0] if parts else None
    if not isinstance(name, bytes | bytearray | str):
        return f"of a {type(name).__name__}" if parts else "without a name"
    return (name if isinstance(name, str) else bytes(name[:_SHOWN]).decode("latin-1"))[:_SHOWN]
