"""A site that hears the signals of browsers."""

from __future__ import annotations

from tests.support.policies import POLICY

from consent_mw import ConsentMiddleware

LINES = [b"session=1", b"theme=2; Path=/", b"ad=3; Path=/"]


def site(directory, app=None, policy=POLICY, **options):
    async def plain(scope, receive, send):
        headers = [(b"set-cookie", line) for line in LINES]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    (directory / "policy.toml").write_text(policy)
    return ConsentMiddleware(
        app or plain, policy=directory / "policy.toml", secret_keys=["the secret key of the tests"], **options
    )
