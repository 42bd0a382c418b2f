"""A site whose forms are attacked, and the plays against it."""

from __future__ import annotations

import asyncio

from tests.support.policies import POLICY
from tests.support.visitors import Visitor

from consent_mw import ConsentMiddleware

KEY = "the secret key of the tests"


PAGE = b"<html><head></head><body><p>the page</p></body></html>"


def makes(directory):
    """Return a function that makes a site in `directory`."""

    def make(sets=(), policy=POLICY, **options):
        async def app(scope, receive, send):
            headers = [(b"content-type", b"text/html; charset=utf-8"), *((b"set-cookie", line) for line in sets)]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": PAGE})

        (directory / "policy.toml").write_text(policy)
        return ConsentMiddleware(app, policy=directory / "policy.toml", secret_keys=[KEY], **options)

    return make


def play(middleware, story, *, secure=True):
    async def run():
        visitor = Visitor(middleware, secure=secure)
        visitor.signals = [(b"accept-language", b"en")]
        try:
            return await story(visitor)
        finally:
            await middleware.runtime.drain.stop()

    return asyncio.run(run())
