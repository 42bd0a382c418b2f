"""One HTML page of the demo shop: its texts, the cookies that it tries to set, and the decisions about them."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.templating import Jinja2Templates

from consent_mw.consent.permissions import Verdict
from consent_mw.consent.request_consent import RequestConsent
from consent_mw.demo.texts import LANGUAGES, language_of, texts
from consent_mw.system.days import DAY_SECONDS

THEMES = ("paper", "forest", "night")

# No inline code and nothing from other hosts: the shop also shows that the banner needs neither.
_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'self'; "
    "object-src 'none'",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
_LIFETIMES_SECONDS = {
    "theme": 365 * DAY_SECONDS,
    "reader_name": 180 * DAY_SECONDS,
    "_shop_visits": 395 * DAY_SECONDS,
    "ad_id": 180 * DAY_SECONDS,
    "legacy_tracker": 365 * DAY_SECONDS,
}

_templates = Jinja2Templates(Path(__file__).with_name("templates"))


class Row(NamedTuple):
    """A line of the panel: a cookie of the page, and the middleware's decision about it."""

    name: str
    purpose: str
    verdict: str
    reason: str


def page(request: Request, template: str, *, status: int = 200, cookies: bool = True, **context: object) -> Response:
    """
    Render a page. Like many shops, it tries to set its cookies on each page, and never checks the visitor's choice.

    Args:
        cookies: False for a page in a frame, which does not try to set cookies.
    """
    language = language_of(request)
    consent: RequestConsent = request.state.consent
    wanted = _wanted(request) if cookies else {}
    tried = ["session", *wanted, *request.session.pop("tried", [])] if cookies else []
    if cookies:
        request.session["back"] = request.url.path
    shown = context | _frame(request, language) | {"consent": consent, "rows": _rows(request, tried, language)}
    shown["purposes"] = [
        (purpose.title.read(language)[0], consent.allows(purpose.name)) for purpose in consent.permissions.policy.asked
    ]
    headers = _HEADERS | {"Content-Language": language}
    response = _templates.TemplateResponse(request, template, shown, status_code=status, headers=headers)
    for name, value in wanted.items():
        keep(response, name, value)
    return response


def _wanted(request: Request) -> dict[str, str]:
    """Return the cookies that the shop sets by itself and that the browser does not send yet."""
    wanted = {
        "_shop_visits": datetime.now(UTC).date().isoformat(),
        "ad_id": secrets.token_hex(8),
        "legacy_tracker": "1",
    }
    return {name: value for name, value in wanted.items() if name not in request.cookies}


def keep(response: Response, name: str, value: str) -> None:
    """Set a cookie, as any application does."""
    response.set_cookie(name, value, max_age=_LIFETIMES_SECONDS[name], httponly=True, samesite="lax")


def back(request: Request, *, tried: str = "") -> Response:
    """Answer a form with a redirect to its page. The page reports the cookie `tried` that this answer tries to set."""
    if tried:
        request.session["tried"] = [tried]
    path = str(request.session.get("back", request.url_for("home").path))
    return RedirectResponse(path + _language_query(request), status_code=303)


def link(request: Request, name: str) -> str:
    """Return the path of a page, with the language that the visitor asked for, if any."""
    return request.url_for(name).path + _language_query(request)


def _language_query(request: Request) -> str:
    asked = request.query_params.get("lang")
    return f"?lang={asked}" if asked in LANGUAGES else ""


def _frame(request: Request, language: str) -> dict[str, Any]:
    """Return the template's values that every page needs."""
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
        "since": request.cookies.get("_shop_visits", "")[:10],
    }


def _rows(request: Request, tried: list[str], language: str) -> list[Row]:
    """Return a row for each cookie that this page tries to set, and for each of the shop's that the browser holds."""
    shown = [name for name in ("session", *_LIFETIMES_SECONDS) if name in tried or name in request.cookies]
    return [_row(request, name, language, held=name not in tried) for name in shown]


def _row(request: Request, name: str, language: str, *, held: bool) -> Row:
    consent: RequestConsent = request.state.consent
    decision = consent.explain(name)
    policy, words = consent.permissions.policy, texts(language)
    purpose = policy.purpose(decision.purpose).title.read(language)[0] if decision.purpose else ""
    if held:
        return Row(name, purpose, Verdict.KEPT, words["panel"]["held"])
    return Row(name, purpose, decision.verdict, words["reason"][decision.reason.name])
