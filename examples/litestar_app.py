"""A Litestar application behind its privacy policy. In the repository's root: uvicorn examples.litestar_app:app"""

import os
import secrets
from pathlib import Path

from litestar import Litestar, MediaType, Request, Response, WebSocket, get, websocket
from litestar.config.app import AppConfig
from litestar.di import NamedDependency, Provide
from litestar.exceptions import WebSocketDisconnect
from litestar.params import FromQuery
from litestar.plugins import InitPluginProtocol
from litestar.response import Stream
from litestar.types import Scope

from consent_mw import ConsentMiddleware, RequestConsent, get_consent
from examples.fruit import harvest, matching, page


class ConsentPlugin(InitPluginProtocol):
    """Gives every handler that names an argument `consent` the consent of its request or WebSocket."""

    def on_app_init(self, app_config: AppConfig) -> AppConfig:
        async def consent(scope: Scope) -> RequestConsent:
            return get_consent(scope)

        app_config.dependencies["consent"] = Provide(consent)
        return app_config


@get("/", media_type=MediaType.HTML)
async def search(request: Request, consent: NamedDependency[RequestConsent], q: FromQuery[str] = "") -> Response[str]:
    results = matching(q)
    counted = consent.record_event("search", results=len(results))  # False, and nothing kept, if analytics is refused
    response = Response(page(q, results, counted=counted, root=request.scope["root_path"]))
    response.set_cookie("last_search", q, max_age=30 * 86_400)  # reaches the browser of those who allow it
    return response


@websocket("/suggest")
async def suggest(socket: WebSocket, consent: NamedDependency[RequestConsent]) -> None:
    await socket.accept(headers={"set-cookie": "last_search=typing"})  # gated like any other
    try:
        while True:
            results = matching(await socket.receive_text())
            consent.record_event("search", results=len(results))
            await socket.send_text(", ".join(results))
    except WebSocketDisconnect:
        return


@get("/harvest.csv")
async def table() -> Stream:
    return Stream(harvest(), media_type="text/csv")


@get("/rotten")
async def rotten() -> None:
    raise RuntimeError("a page with a defect: its visit is recorded with the status 500")


# Without SECRET_KEY every start makes a new key, and visitors are asked again.
key = os.environ.get("SECRET_KEY") or secrets.token_urlsafe(32)

site = Litestar([search, suggest, table, rotten], plugins=[ConsentPlugin()], logging_config=None)
app = ConsentMiddleware(site, policy=Path(__file__).with_name("policy.toml"), secret_keys=[key])
