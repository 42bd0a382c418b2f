"""The sentences of the demo shop, in the visitor's language."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from starlette.requests import HTTPConnection

from consent_mw.site.language import negotiate

LANGUAGES = ("ko", "en")


@cache
def texts(language: str) -> Mapping[str, Any]:
    """Return every text in one language, nested as in `texts.toml`."""
    written = tomllib.loads(Path(__file__).with_name("texts.toml").read_text(encoding="utf-8"))
    chosen: Mapping[str, Any] = _chosen(written, language)
    return chosen


def _chosen(entry: Any, language: str) -> Any:
    if isinstance(entry, str):
        return entry
    if set(entry) == set(LANGUAGES):
        return entry[language]
    return {key: _chosen(value, language) for key, value in entry.items()}


def language_of(connection: HTTPConnection) -> str:
    """Return the language of the `?lang=` link, else the first of the browser's languages that the shop offers."""
    asked = connection.query_params.get("lang", "")
    if asked in LANGUAGES:
        return asked
    return negotiate(connection.headers.get("accept-language", ""), LANGUAGES) or LANGUAGES[0]
