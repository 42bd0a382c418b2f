"""Who is compared: the bare site, and each way of wrapping it."""

from __future__ import annotations

import logging
import logging.config
import os
import secrets
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from asgi_correlation_id import CorrelationIdMiddleware
from asgi_logger import AccessLoggerMiddleware
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from starlette.middleware.sessions import SessionMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.config import LOGGING_CONFIG
from uvicorn.protocols.utils import get_client_addr, get_path_with_query_string

from bench.site import HEADERS, SECRET
from consent_mw import Choice, ConsentMiddleware
from consent_mw.consent.choice import Consent
from consent_mw.cookies.consent_cookie import ConsentCookie

__all__ = [
    "ACCESS_LINE",
    "BARE",
    "CONTESTANTS",
    "FLOOR",
    "OURS",
    "OURS_INSIDE",
    "OURS_SHARED",
    "OURS_SPOOLING",
    "PASS_THROUGH",
    "Contestant",
    "log_config",
    "request_headers",
]


class Contestant(NamedTuple):
    """
    One way of serving the site.

    Attributes:
        wrap: Makes the application; what it writes goes below the directory.
        by_server: Under uvicorn the server does this itself: the application stays bare and its access log is on.
    """

    name: str
    wrap: Callable[[ASGIApp, Path], ASGIApp]
    by_server: bool = False


def bare(app: ASGIApp, directory: Path) -> ASGIApp:
    """Nothing around it."""
    return app


def pass_through(app: ASGIApp, directory: Path) -> ASGIApp:
    """The least that a middleware which sees the response can do."""

    async def wrapper(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_wrapper(message: Message) -> None:
            await send(message)

        await app(scope, receive, send_wrapper)

    return wrapper


def ours(app: ASGIApp, directory: Path) -> ASGIApp:
    """Everything on: one cookie kept and one blocked, the exchange sealed, spooled and recorded in SQLite."""
    return _ours(app, directory)


def ours_spooling(app: ASGIApp, directory: Path) -> ASGIApp:
    """The same, but that the drain is somebody else's: `consent-mw drain`."""
    return _ours(app, directory, drain=False)


def ours_shared(app: ASGIApp, directory: Path) -> ASGIApp:
    """The same, but that the process that drains also seals and writes, out of memory that both share."""
    return _ours(app, directory, shared_memory=True)


def ours_inside(app: ASGIApp, directory: Path) -> ASGIApp:
    """The same, but that the worker drains by itself: a clock of one's own cannot be given to another process."""
    return _ours(app, directory, clock=lambda: time.time_ns())


def _ours(app: ASGIApp, directory: Path, **more: Any) -> ASGIApp:
    policy = Path(__file__).with_name("policy.toml")
    return ConsentMiddleware(app, policy=policy, secret_keys=[SECRET], directory=directory, **more)


def consent_cookie() -> str:
    """Return the `name=value` of a visitor who allowed all purposes but marketing, signed with SECRET."""
    consent = Consent(
        choice=Choice.PROMPT,
        revision=1,
        given_on=datetime.now(UTC).date(),
        purposes={"functional": True, "analytics": True, "marketing": False},
        receipt=secrets.token_urlsafe(16),
    )
    return f"consent={ConsentCookie([SECRET]).sign(consent)}"


def request_headers() -> dict[str, str]:
    """Return the headers of the request, the same for every contestant."""
    return HEADERS | {"Cookie": f"theme=dark; session=0c1b2a39; {consent_cookie()}"}


def access_line(app: ASGIApp, directory: Path) -> ASGIApp:
    """Uvicorn's access line: the call of its RequestResponseCycle.send, its own formatter, and a file."""
    logging.config.dictConfig(log_config(directory))
    logger = logging.getLogger("uvicorn.access")

    async def wrapper(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_wrapper(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.accept"):
                logger.info(
                    '%s - "%s %s HTTP/%s" %d',
                    get_client_addr(scope),  # type: ignore[arg-type]  # uvicorn's TypedDict of the same scope
                    scope.get("method", "GET"),
                    get_path_with_query_string(scope),  # type: ignore[arg-type]  # the same
                    scope["http_version"],
                    message.get("status", 101),
                )
            await send(message)

        await app(scope, receive, send_wrapper)

    return wrapper


def floor(app: ASGIApp, directory: Path) -> ASGIApp:
    """The least that keeps a sealed record through `kill -9`: one nonce, one encoding, one seal and one write."""
    file = os.open(directory / "records", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    encode, seal = msgspec.msgpack.Encoder().encode, AESGCM(AESGCM.generate_key(256)).encrypt

    async def wrapper(scope: Scope, receive: Receive, send: Send) -> None:
        await app(scope, receive, send)
        if scope["type"] == "lifespan":
            return
        nonce = os.urandom(12)
        plain = encode((scope["type"], scope["path"], scope["client"], scope["headers"][:2]))
        os.write(file, nonce + seal(nonce, plain, None))

    return wrapper


def session(app: ASGIApp, directory: Path) -> ASGIApp:
    """Starlette's SessionMiddleware around an application that writes its session."""

    async def writing(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope["session"]["seen"] = "today"
        await app(scope, receive, send)

    return SessionMiddleware(writing, secret_key=SECRET)


def correlation_id(app: ASGIApp, directory: Path) -> ASGIApp:
    """asgi-correlation-id as it comes."""
    wrapped: ASGIApp = CorrelationIdMiddleware(app)
    return wrapped


def logger(app: ASGIApp, directory: Path) -> ASGIApp:
    """asgi-logger in its own format, into a file."""
    logging.config.dictConfig(log_config(directory))
    wrapped: ASGIApp = AccessLoggerMiddleware(app, logger=logging.getLogger("bench.lines"))
    return wrapped


def log_config(directory: Path) -> dict[str, Any]:
    """Return uvicorn's own logging configuration, with files for the terminal; both flush every line."""
    lines = {"class": "logging.FileHandler", "filename": str(directory / "lines.log")}
    access = {"class": "logging.FileHandler", "filename": str(directory / "access.log"), "formatter": "access"}
    return LOGGING_CONFIG | {
        "handlers": LOGGING_CONFIG["handlers"] | {"access": access, "lines": lines},
        "loggers": {
            "uvicorn": {"handlers": ["default"], "level": "WARNING", "propagate": False},
            "uvicorn.access": {"handlers": ["access"], "level": "INFO", "propagate": False},
            "bench.lines": {"handlers": ["lines"], "level": "INFO", "propagate": False},
        },
    }


BARE = Contestant("bare Starlette", bare)
PASS_THROUGH = Contestant("pass-through wrapper", pass_through)
OURS = Contestant("consent-mw, everything on", ours)
OURS_SPOOLING = Contestant("consent-mw, everything on, spooling only", ours_spooling)
OURS_INSIDE = Contestant("consent-mw, everything on, the worker drains", ours_inside)
OURS_SHARED = Contestant("consent-mw, everything on, `shared_memory=True`", ours_shared)
FLOOR = Contestant("one seal and one write", floor)
ACCESS_LINE = Contestant("uvicorn's access line", access_line, by_server=True)

CONTESTANTS = [
    BARE,
    PASS_THROUGH,
    OURS,
    OURS_SPOOLING,
    OURS_INSIDE,
    ACCESS_LINE,
    Contestant("SessionMiddleware, written", session),
    Contestant("asgi-correlation-id", correlation_id),
    Contestant("asgi-logger", logger),
]
