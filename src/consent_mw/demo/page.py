"""One HTML page of the demo shop: its texts, the cookies that it tries to set, and what became of them."""

from __future__ import annotations

import secrets
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.templating import Jinja2Templates

from consent_mw.demo.texts import LANGUAGES, language_of, texts
from consent_mw.request_consent import RequestConsent

__all__ = ["THEMES", "Row", "back", "keep", "link", "page"]

THEMES = ("paper", "forest", "night")

# Nothing inline and nothing from elsewhere: the shop also shows that the banner needs neither.
_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'self'; "
    "object-src 'none'",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
_DAY_SECONDS = 86_400
_LIFETIMES_SECONDS = {
    "theme": 365 * _DAY_SECONDS,
    "reader_name": 180 * _DAY_SECONDS,
    "_shop_visits": 395 * _DAY_SECONDS,
    "ad_id": 180 * _DAY_SECONDS,
    "legacy_tracker": 365 * _DAY_SECONDS,
}

_templates = Jinja2Templates(Path(__file__).with_name("templates"))


class Row(NamedTuple):
    """A line of the panel: a cookie that the page tried to set, and what the middleware makes of it."""

    name: str
    purpose: str
    verdict: str
    reason: str


def page(request: Request, template: str, *, status: int = 200, cookies: bool = True, **context: object) -> Response:
    """
    Render a page. Like many a shop it tries to set its cookies every time; it never asks what the visitor chose.

    Args:
        cookies: False for what stands in a frame, and tries to set none.
    """
    language = language_of(request)
    tried: list[str] = []
    if cookies:
        request.session["back"] = request.url.path
        tried = ["session", "_shop_visits", "ad_id", "legacy_tracker", *request.session.pop("tried", [])]
    consent: RequestConsent = request.state.consent
    visits = _visits(request) + 1
    shown = context | _frame(request, language) | {"consent": consent, "visits": visits if visits > 1 else 0}
    shown["rows"] = [_row(consent, name, language) for name in tried]
    shown["purposes"] = [
        (purpose.title.read(language)[0], consent.allows(purpose.name)) for purpose in consent.permissions.policy.asked
    ]
    headers = _HEADERS | {"Content-Language": language}
    response = _templates.TemplateResponse(request, template, shown, status_code=status, headers=headers)
    if cookies:
        keep(response, "_shop_visits", str(visits))
        keep(response, "ad_id", request.cookies.get("ad_id", secrets.token_hex(8)))
        keep(response, "legacy_tracker", "1")
    return response


def keep(response: Response, name: str, value: str) -> None:
    """Set a cookie, as any application does."""
    response.set_cookie(name, value, max_age=_LIFETIMES_SECONDS[name], httponly=True, samesite="lax")


def back(request: Request, *, tried: str = "") -> Response:
    """Answer a form: lead back to the page that it stood on, which reports the cookie that this answer tries to set."""
    if tried:
        request.session["tried"] = [tried]
    path = str(request.session.get("back", request.url_for("home").path))
    return RedirectResponse(path + _language_query(request), status_code=303)


def link(request: Request, name: str) -> str:
    """Return the path of a page, in the language that the visitor asked for, if they did."""
    return request.url_for(name).path + _language_query(request)


def _language_query(request: Request) -> str:
    asked = request.query_params.get("lang")
    return f"?lang={asked}" if asked in LANGUAGES else ""


def _frame(request: Request, language: str) -> dict[str, Any]:
    """What every page needs, whatever it shows."""
    theme = request.cookies.get("theme", "")
    return {
        "t": texts(language),
        "language": language,
        "other": next(other for other in LANGUAGES if other != language),
        "link": partial(link, request),
        "theme": theme if theme in THEMES else THEMES[0],
        "themes": THEMES,
        "basket": len(request.session.get("basket", [])),
        "done": request.session.pop("done", ""),
        "root": request.scope.get("root_path", ""),
    }


def _visits(request: Request) -> int:
    counted = request.cookies.get("_shop_visits", "")
    return int(counted) if counted.isascii() and counted.isdigit() and len(counted) < 9 else 0


def _row(consent: RequestConsent, name: str, language: str) -> Row:
    decision = consent.explain(name)
    policy = consent.permissions.policy
    purpose = policy.purpose(decision.purpose).title.read(language)[0] if decision.purpose else ""
    return Row(name, purpose, decision.verdict, texts(language)["reason"][decision.reason.name])
