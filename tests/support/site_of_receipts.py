"""A site whose visitors ask for their receipts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.support.policies import POLICY
from tests.support.visitors import Visitor

from consent_mw._asgi import Message, Receive, Scope, Send
from consent_mw.middleware import ConsentMiddleware

KEYS = ["a key of at least 16 bytes"]


JSON = [(b"accept", b"application/json")]


async def page(scope: Scope, receive: Receive, send: Send) -> None:
    headers = [(b"content-type", b"text/html; charset=utf-8")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"<!doctype html><body>shop</body>"})


def site(directory: Path, text: str = POLICY, **options: Any) -> ConsentMiddleware:
    policy = directory / "policy.toml"
    policy.write_text(text, "utf-8")
    return ConsentMiddleware(page, policy=policy, secret_keys=KEYS, **options)


def body(sent: Sequence[Message]) -> str:
    return b"".join(message.get("body", b"") for message in sent).decode()


async def receipts(visitor: Visitor, **more: Any) -> list[dict[str, Any]]:
    sent = await visitor.gets("/consent/receipt", headers=JSON, **more)
    listed: list[dict[str, Any]] = json.loads(body(sent))["receipts"]
    return listed
