"""Cookies that well-known frameworks set by themselves, so that a site need not look up their names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_SESSION = {
    "ko": "로그인과 양식 입력을 유지합니다.",
    "en": "Keeps you signed in and your forms together.",
}
_CSRF = {
    "ko": "다른 사이트가 사용자를 대신해 양식을 보내지 못하게 합니다.",
    "en": "Stops other sites from sending forms in your name.",
}
_MESSAGES = {
    "ko": "한 번만 보여 드리는 알림을 담습니다.",
    "en": "Holds messages that are shown once.",
}
_LANGUAGE = {
    "ko": "사용자가 고른 언어를 기억합니다.",
    "en": "Remembers the language you picked.",
}


def _necessary(name: str, expires: str, description: Mapping[str, str]) -> dict[str, Any]:
    return {"name": name, "purpose": "necessary", "expires": expires, "description": dict(description)}


#: By framework, entries as they would stand under [[cookies.declared]]. Names and durations are each one's defaults.
PRESETS: Mapping[str, tuple[dict[str, Any], ...]] = {
    "starlette": (_necessary("session", "14 days", _SESSION), _necessary("csrftoken", "session", _CSRF)),
    "django": (
        _necessary("sessionid", "14 days", _SESSION),
        _necessary("csrftoken", "1 year", _CSRF),
        _necessary("messages", "session", _MESSAGES),
        _necessary("django_language", "session", _LANGUAGE),
    ),
    "flask": (_necessary("session", "session", _SESSION), _necessary("remember_token", "1 year", _SESSION)),
    "quart": (_necessary("session", "session", _SESSION),),
    "litestar": (_necessary("session", "14 days", _SESSION), _necessary("csrftoken", "session", _CSRF)),
}
