"""By what tools find the policy: the Link header of our pages, and of the site's own where it is wished for."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.policies import POLICY

from consent_mw._asgi import Receive, Scope, Send
from consent_mw.testing.site import LivingSite

OURS = '</consent/policy>; rel="privacy-policy"'
OWN = '</privacy>; rel="privacy-policy"'


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    assert scope["type"] == "http"
    kind = b"text/html; charset=utf-8" if scope["path"] != "/data" else b"application/json"
    named = [(b"Link", OWN.encode())] if scope["path"] == "/named" else []
    await send({"type": "http.response.start", "status": 200, "headers": [(b"Content-Type", kind), *named]})
    await send({"type": "http.response.body", "body": b"<html><body></body></html>"})


@pytest.mark.parametrize(("path", "wished", "link"), [
    ("/consent/policy", False, OURS), ("/consent/policy.json", False, OURS), ("/consent/nowhere", False, OURS),
    ("/", False, None), ("/", True, OURS), ("/consent-forms", True, OURS), ("/data", True, None), ("/named", True, OWN),
])  # fmt: skip
def test_the_policy_is_named_where_it_should_be(path: str, wished: bool, link: str | None, tmp_path: Path) -> None:
    with LivingSite(app, directory=tmp_path, policy=POLICY, policy_link=wished) as site:
        assert site.visitor().get(path).headers.get("link") == link
