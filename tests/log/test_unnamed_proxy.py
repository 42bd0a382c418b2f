"""A proxy that nobody named is told once: behind it all visitors are one."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from tests.support.asgi import drive, scope
from tests.support.my_data_site import run, site

from consent_mw.proxies import Proxies

FORWARDED = (b"x-forwarded-for", b"203.0.113.7")


async def visited(
    directory: Path, peer: object, *headers: tuple[bytes, bytes], proxies: Proxies | None = None, times: int = 3
) -> None:
    app = site(directory, proxies=proxies)
    for _ in range(times):
        await drive(app, scope("/", "http", list(headers), client=peer))


@pytest.mark.parametrize(
    ("peer", "header", "fix"),
    [
        (("127.0.0.1", 1), FORWARDED, 'proxies=Proxies(["127.0.0.1"])'),
        (("10.0.0.5", 1), FORWARDED, 'proxies=Proxies(["10.0.0.5"])'),
        (("::1", 1), (b"forwarded", b"for=203.0.113.7"), 'proxies=Proxies(["::1"], header="forwarded")'),
        (("100.64.0.9", 1), FORWARDED, 'proxies=Proxies(["100.64.0.9"])'),
        (None, FORWARDED, 'proxies=Proxies(["unix"])'),
        (("127.0.0.1", 1), (b"x-forwarded-prefix", b"/shop"), 'proxies=Proxies(["127.0.0.1"])'),
        (("10.0.0.5", 1), (b"x-forwarded-host", b"shop.example"), 'proxies=Proxies(["10.0.0.5"])'),
    ],
)
def test_a_proxy_that_nobody_named_is_told_once_and_how_to_name_it(
    peer: object, header: tuple[bytes, bytes], fix: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "consent_mw"):
        run(lambda: visited(tmp_path, peer, header))
    (line,) = [record.getMessage() for record in caplog.records if "proxies" in record.getMessage()]
    assert fix in line


@pytest.mark.parametrize(
    ("peer", "headers", "proxies"),
    [
        (("127.0.0.1", 1), (), None),
        (("8.8.8.8", 1), (FORWARDED,), None),  # a visitor who invents the header
        (("10.0.0.5", 1), (FORWARDED,), Proxies(["10.0.0.0/8"])),
        (None, (FORWARDED,), Proxies(["unix"])),
        (("10.0.0.5", 1), (FORWARDED,), Proxies(hops=1)),
        (("10.1.2.3", 1), ((b"x-forwarded-for", b"10.1.2.3"),), None),  # a server of an intranet believed its proxy
        (("10.0.0.5", 1), ((b"X-Forwarded-For\xff", b"\xff"),), None),
    ],
)
def test_who_is_named_or_forwards_nothing_is_not_told(
    peer: object, headers: tuple[tuple[bytes, bytes], ...], proxies: Proxies | None, tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    with caplog.at_level(logging.WARNING, "consent_mw"):
        run(lambda: visited(tmp_path, peer, *headers, proxies=proxies))
    assert not [record for record in caplog.records if "proxies" in record.getMessage()]
