"""A site behind proxies that shorten its paths and rename its host: our addresses are those of the browser."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.support.asgi import drive, scope
from tests.support.policies import POLICY

from consent_mw import ConsentMiddleware, Proxies
from consent_mw.exceptions import ConfigurationError
from consent_mw.runtime.outside import mounted_at

PAGE = b"<!doctype html><html><head></head><body><p>hello</p></body></html>"
OURS = Proxies(["203.0.113.0/24"])
ACCEPT = (b"accept", b"text/html")


def sent_by(
    tmp_path: Path, headers: Iterable[tuple[bytes, bytes]], *, proxies: Proxies = OURS, root: str = "", **more: Any
) -> tuple[int, dict[bytes, bytes], str, list[Any]]:
    """Return status, headers and text of one answer, and the paths that the application was asked for."""
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append((scope["root_path"], scope["path"], dict(scope["headers"]).get(b"host")))
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/html")]})
        await send({"type": "http.response.body", "body": PAGE})

    if root:
        app.root_path = root  # type: ignore[attr-defined]  # as FastAPI has it
    (tmp_path / "policy.toml").write_text(POLICY)
    site = ConsentMiddleware(
        app, policy=tmp_path / "policy.toml", secret_keys=["the secret key of the tests"], proxies=proxies
    )

    async def story() -> list[Any]:
        body = more.pop("body", b"")
        try:
            asked = scope(headers=[ACCEPT, *headers], **more)
            return await drive(site, asked, [{"type": "http.request", "body": body, "more_body": False}])
        finally:
            await site.runtime.drain.stop()

    sent = asyncio.run(story())
    return sent[0]["status"], dict(sent[0]["headers"]), b"".join(m.get("body", b"") for m in sent).decode(), seen


def base_of(tmp_path: Path, headers: Iterable[tuple[bytes, bytes]], **more: Any) -> str:
    text = sent_by(tmp_path, headers, **more)[2]
    return text.partition('data-prefix="')[2].partition('"')[0]


@pytest.mark.parametrize(
    ("said", "base"),
    [
        (b"/shop", "/shop/consent"),
        (b"/shop/", "/shop/consent"),
        (b"/outer, /inner", "/outer/inner/consent"),
        (b"/caf%C3%A9", "/caf%C3%A9/consent"),
        ("/책방".encode(), "/%EC%B1%85%EB%B0%A9/consent"),
        (b"/caf%E9", "/consent"),
        (b"/a/%2e%2e/b", "/consent"),
        (b"/%2Fevil.example", "/consent"),
        (b"/%252e%252e/b", "/consent"),
        (b"/a%22%3E%3Cscript%3E", "/consent"),
        (b"/a%0d%0aset-cookie:x", "/consent"),
        (b"//evil.example", "/consent"),
        (b"https://evil.example", "/consent"),
        (b"/a/../b", "/consent"),
        (b'/a"><script>', "/consent"),
        (b"shop", "/consent"),
        (b"", "/consent"),
    ],
)
def test_our_addresses_begin_with_what_a_proxy_took_off(tmp_path: Path, said: bytes, base: str) -> None:
    assert base_of(tmp_path, [(b"x-forwarded-prefix", said)]) == base


def test_nobody_else_says_what_our_addresses_begin_with(tmp_path: Path) -> None:
    headers = [(b"x-forwarded-prefix", b"/shop")]
    assert base_of(tmp_path, headers, proxies=Proxies()) == "/consent"
    assert base_of(tmp_path, headers, proxies=Proxies(["10.0.0.0/8"])) == "/consent"
    assert base_of(tmp_path, headers, proxies=Proxies(["203.0.113.0/24"], prefix_header=None)) == "/consent"


def test_a_prefix_that_the_server_was_told_too_counts_once(tmp_path: Path) -> None:
    more = {"root_path": "/shop", "path": "/shop/"}
    assert base_of(tmp_path, [(b"x-forwarded-prefix", b"/shop")], **more) == "/shop/consent"
    assert base_of(tmp_path, [(b"x-forwarded-prefix", b"/all")], **more) == "/all/shop/consent"


def test_an_application_that_names_its_own_mount_is_believed(tmp_path: Path) -> None:
    assert base_of(tmp_path, [], root="/shop") == "/shop/consent"
    assert base_of(tmp_path, [(b"x-forwarded-prefix", b"/all")], root="/shop") == "/all/consent"
    assert base_of(tmp_path, [], root="/shop", path="/shop/") == "/shop/consent"
    assert mounted_at(SimpleNamespace(app=SimpleNamespace(root_path="/in/"))) == "/in"
    assert mounted_at(SimpleNamespace(root_path="//evil")) == ""


def test_the_application_sees_the_path_and_the_host_of_its_server(tmp_path: Path) -> None:
    headers = [(b"host", b"app:8000"), (b"x-forwarded-prefix", b"/shop"), (b"x-forwarded-host", b"shop.example")]
    assert sent_by(tmp_path, headers)[3] == [("", "/", b"app:8000")]


def test_our_own_pages_are_found_below_a_prefix_of_any_script(tmp_path: Path) -> None:
    text = sent_by(tmp_path, [(b"x-forwarded-prefix", b"/caf%C3%A9")], path="/consent/policy")[2]
    assert 'href="/caf%C3%A9/consent/cookies"' in text


@pytest.mark.parametrize("path", ["/consent/policy", "/shop/consent/policy"])
def test_our_own_pages_link_each_other_below_the_prefix(tmp_path: Path, path: str) -> None:
    text = sent_by(tmp_path, [], root="/shop", path=path)[2]
    assert 'href="/shop/consent/cookies"' in text
    assert 'href="/consent' not in text


@pytest.mark.parametrize(
    ("host", "forwarded", "origin", "status"),
    [
        (b"app:8000", b"shop.example", b"http://shop.example", 303),
        (b"app:8000", b"SHOP.example:80", b"http://shop.example", 303),
        (b"app:8000", b"proxy.example, shop.example", b"http://shop.example", 303),
        (b"app:8000", b"[2001:DB8::1]:8080", b"http://[2001:db8::1]:8080", 303),
        (b"app:8000", b"shop.example:8080", b"http://shop.example", 403),
        (b"app:8000", b"shop.example/x", b"http://shop.example/x", 303),  # asked to come back with a token
        (b"app:8000", b"shop.example", b"http://evil.example", 403),
    ],
)
def test_a_form_is_of_the_host_that_a_proxy_names(
    tmp_path: Path, host: bytes, forwarded: bytes, origin: bytes, status: int
) -> None:
    headers = [(b"host", host), (b"x-forwarded-host", forwarded), (b"origin", origin)]
    form = (b"content-type", b"application/x-www-form-urlencoded")
    code, said, _, _ = sent_by(tmp_path, [*headers, form], method="POST", path="/consent/choice", body=b"choice=reject")
    taken = b"set-cookie" in said
    assert (code, taken) == (status, status == 303 and b"/x" not in forwarded)


def test_of_forwarded_the_host_counts_that_our_proxy_wrote(tmp_path: Path) -> None:
    proxies = Proxies(["203.0.113.0/24"], header="forwarded")
    forwarded = scope(headers=[(b"forwarded", b'for=6.6.6.6;host=evil, for=198.51.100.1;host="shop.example:8080"')])
    assert proxies.host(forwarded) == "shop.example:8080"
    assert proxies.host({**forwarded, "client": ("198.51.100.9", 1)}) is None


def test_a_header_name_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="host_header"):
        Proxies(["10.0.0.0/8"], host_header="x forwarded")
    with pytest.raises(ConfigurationError, match="did you mean"):
        Proxies(["10.0.0.0/8"], prefix_header="x-forward-prefix")
