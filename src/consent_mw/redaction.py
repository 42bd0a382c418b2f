"""What never stands in a log, even where a field is kept whole: secrets in query strings, and unprintable text."""

from __future__ import annotations

import re

__all__ = ["clean", "origin", "redact_query", "redact_url"]

#: Characters of one text that a record keeps.
_LIMIT = 2_048
_MARK = "[redacted]"

#: Parameters whose values are secrets or name a person, wherever the word stands in the parameter's name.
_SECRET_NAME = re.compile(
    r"pass|pwd|secret|token|auth|key|sig|session|sid\b|code|otp|pin\b|csrf|jwt|credential|mail|phone|mobile|ssn|card|cvv",
    re.IGNORECASE,
)
#: Values that are secrets whatever they are called: addresses of people, JSON web tokens, long random words.
_SECRET_VALUE = re.compile(
    r"[^\s@&=]{1,64}(?:@|%40)[^\s@&=]{1,255}|eyJ[\w-]+\.[\w-]+|[A-Za-z0-9+/_-]{32,}=*", re.IGNORECASE
)
_ORIGIN = re.compile(r"(https?)://(?:[^/?#@]*@)?([A-Za-z0-9.\-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(:\d{1,5})?(?=[/?#]|$)")


def clean(text: str) -> str:
    """Return `text` capped, and with what UTF-8 cannot carry (lone surrogates) replaced."""
    text = text[:_LIMIT]
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def redact_query(query: str) -> str:
    """Return the query string with the values of secrets replaced; names, order and the rest stay."""
    return "&".join(map(_redact_pair, clean(query).split("&")))


def _redact_pair(pair: str) -> str:
    name, equals, value = pair.partition("=")
    if not equals:
        return _MARK if _SECRET_VALUE.fullmatch(name) else name
    return f"{name}={_MARK if _SECRET_NAME.search(name) or _SECRET_VALUE.search(value) else value}"


def redact_url(url: str) -> str:
    """Return the URL without user, password and fragment, its query redacted; empty if it is no http URL."""
    found = _ORIGIN.match(clean(url))
    if found is None:
        return ""
    path, mark, query = clean(url)[found.end() :].partition("#")[0].partition("?")
    return f"{_site(found)}{path}{mark}{redact_query(query) if mark else ''}"


def origin(url: str) -> str:
    """Return scheme, host and port of an http URL, or "" for anything else."""
    found = _ORIGIN.match(clean(url))
    return _site(found) if found else ""


def _site(found: re.Match[str]) -> str:
    return f"{found[1]}://{found[2].lower()}{found[3] or ''}"
