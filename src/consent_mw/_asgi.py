"""ASGI type aliases, and the few header helpers that work on raw bytes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, TypeAlias

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
ASGIApp: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

#: One header line. In requests the server has made the name lower case; in responses it may have any case.
Header: TypeAlias = tuple[bytes, bytes]
HeaderList: TypeAlias = list[Header]


def header_values(headers: Iterable[Header], name: bytes) -> list[bytes]:
    """Return the values of every line called `name` (lower case), in order."""
    return [value for key, value in headers if key.lower() == name]


def header_value(headers: Iterable[Header], name: bytes) -> bytes | None:
    """Return the value of the first line called `name` (lower case), or None."""
    for key, value in headers:
        if key.lower() == name:
            return value
    return None
