"""The consent of a request, from whatever a framework calls its request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, cast

from consent_mw.consent.request_consent import RequestConsent
from consent_mw.exceptions import ConfigurationError


class HasScope(Protocol):
    """A request or WebSocket that lets one at its ASGI scope: Starlette, FastAPI, Litestar, Quart, Django, Falcon."""

    @property
    def scope(self) -> Mapping[str, object]:
        """The ASGI scope."""
        ...


def get_consent(scope_or_request: Mapping[str, object] | HasScope) -> RequestConsent:
    """
    Return the consent of a request, of a WebSocket, or of a bare ASGI scope.

    Raises:
        ConfigurationError: `ConsentMiddleware` does not wrap the application that serves this request.
    """
    scope = scope_or_request if isinstance(scope_or_request, Mapping) else scope_or_request.scope
    state = scope.get("state")
    consent = cast("Mapping[object, object]", state).get("consent") if isinstance(state, Mapping) else None
    if not isinstance(consent, RequestConsent):
        raise ConfigurationError(
            "get_consent: this request did not pass ConsentMiddleware; wrap the whole application in it, "
            "as the outermost layer: app = ConsentMiddleware(app, policy=…, secret_keys=[…])"
        )
    return consent
