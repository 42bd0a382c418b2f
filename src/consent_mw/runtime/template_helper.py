"""Place the banner from one of the application's own templates, instead of inserting it into the finished page."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, cast

from consent_mw.consent.get_consent import HasScope, get_consent
from consent_mw.exceptions import ConfigurationError
from consent_mw.site.page_nonce import Nonce, with_nonce

if TYPE_CHECKING:
    from markupsafe import Markup

    from consent_mw._asgi import Scope
    from consent_mw.cookies.pending import Waiting
    from consent_mw.site.pages import Site

#: Under these names the middleware puts into the scope's state what the two functions need. First the site, with the
#: scope as the server made it: below a mount its `root_path` differs. Second the cookies that wait: they are read
#: beforehand, because a template cannot wait for a store.
SITE: Final = "consent_site"
WAITING: Final = "consent_waiting"


def consent_banner(
    scope_or_request: Mapping[str, object] | HasScope, *, language: str | None = None, shared: bool = False
) -> Markup:
    """
    Return the banner's HTML for the beginning of `<body>`; empty if there is nothing to ask.

    With this banner in a page, the middleware inserts none of its own. The page is then for one visitor, and leaves
    with `Cache-Control: private` and `Vary: Cookie`. The function works in every template language, below every mount.
    The same page needs `consent_head`.

    With `ConsentMiddleware(banner=False)` this banner also asks about cookies that wait. Otherwise the middleware
    inserts that question, because only with `banner=False` are the waiting cookies known before the page is written.

    Args:
        language: The page's language; by default the visitor's.
        shared: Return one hidden banner for everyone, for a page that a shared cache may keep. Our script shows it.

    Raises:
        ConfigurationError: `ConsentMiddleware` does not wrap the application that serves this request.
    """
    from markupsafe import Markup

    site, scope, state = _placed(scope_or_request)
    consent = get_consent(scope_or_request)
    waiting = cast("Sequence[Waiting] | None", state.get(WAITING))
    asked_elsewhere = waiting is None and consent.pending is not None
    consent.personal = consent.personal or not shared
    shared = shared or consent.withheld  # only our script knows whether the visitor has chosen
    if asked_elsewhere and not shared and not site.asks(consent):
        return Markup()  # only the insertion knows what waits; it also brings the notice of a revision
    html = site.banner_of(scope, consent, waiting or (), shared=shared, page_language=language)
    consent.banner_placed = True
    return Markup(html)  # noqa: S704 - our own template, which escapes


def consent_head(
    scope_or_request: Mapping[str, object] | HasScope, *, language: str | None = None, nonce: str = ""
) -> Markup:
    """
    Return the tags of our style sheet and script, for `<head>`. Raises the same error as `consent_banner`.

    Args:
        nonce: The nonce of the page's Content-Security-Policy, for both tags. Scripts that wait for a purpose need it
            too.

    On a page that asks nothing, the script opens the settings and starts the scripts that wait for a purpose.
    """
    from markupsafe import Markup

    site, scope, _ = _placed(scope_or_request)
    if not re.fullmatch(r"[A-Za-z0-9+/_-]*={0,2}", nonce):
        raise ConfigurationError(f"consent_head: nonce={nonce!r} is none; give it in base64, without 'nonce-'")
    return Markup(with_nonce(site.head(scope, language), Nonce(nonce, nonce, bool(nonce))))  # noqa: S704 - our own template, which escapes


def _placed(scope_or_request: Mapping[str, object] | HasScope) -> tuple[Site, Scope, Mapping[str, object]]:
    scope = scope_or_request if isinstance(scope_or_request, Mapping) else scope_or_request.scope
    state = scope.get("state")
    known: Mapping[str, object] = cast("Mapping[str, object]", state) if isinstance(state, Mapping) else {}
    placed = cast("tuple[Site, Scope] | None", known.get(SITE))
    if placed is None:
        raise ConfigurationError(
            "consent_banner: this request did not pass ConsentMiddleware; wrap the whole application in it, "
            "as the outermost layer: app = ConsentMiddleware(app, policy=…, secret_keys=[…])"
        )
    return (*placed, known)
