"""
What a visitor waits for: the first paint of the banner and the page's largest, in Chromium with a slowed network,
beside the page alone and with two banners that scripts make: `python -m bench.wait`. Needs chromium and npm.
"""

from __future__ import annotations

import argparse
import json
import shutil
import socket
import struct
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import Random
from statistics import median
from typing import Any, Final, NamedTuple
from urllib.request import urlopen

import uvicorn
from playwright.sync_api import Browser, sync_playwright
from rich.console import Console
from rich.progress import track
from starlette.applications import Starlette
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send
from tests.support.nginx import shared_cache

from bench.contestants import bare, ours_spooling
from bench.tables import Report, middle, show, versions

#: Kilobits a second and milliseconds of delay, as Chromium's own tools call these networks.
NETWORKS: Final = {"4G": (9_000, 60), "slow 4G": (1_600, 150)}
#: Requests for the public page.
ASKED: Final = 2_000
#: What is fetched, and not kept with the code.
PACKAGES: Final = ("vanilla-cookieconsent@3.1.0", "orejime@3.2.1")
_WORDS: Final = "A long page has words, and words fill lines until the eye finds where it wanted to go. "


class Variant(NamedTuple):
    """
    One way of asking.

    Attributes:
        head: What the page's head has for it.
        shown: A selector of the banner; "" for none.
        wrapped: Whether our middleware stands around the page.
    """

    name: str
    head: str = ""
    shown: str = ""
    wrapped: bool = False


_COOKIECONSENT: Final = {
    "hideFromBots": False,  # as it takes a browser that is driven for
    "categories": {"necessary": {"enabled": True, "readOnly": True}, "analytics": {}, "marketing": {}},
    "language": {
        "default": "en",
        "translations": {
            "en": {
                "consentModal": {
                    "title": "Your choice about cookies",
                    "description": _WORDS * 3,
                    "acceptAllBtn": "Accept all",
                    "acceptNecessaryBtn": "Reject all",
                    "showPreferencesBtn": "Settings",
                },
                "preferencesModal": {"title": "Settings", "sections": [{"title": "All", "description": _WORDS}]},
            }
        },
    },
}
_OREJIME: Final = {
    "privacyPolicyUrl": "/privacy",
    "purposes": [{"id": "analytics", "title": "Analytics"}, {"id": "marketing", "title": "Marketing"}],
}
VARIANTS: Final = (
    Variant("the page alone"),
    Variant("consent-mw", shown="#consent-mw", wrapped=True),
    Variant(
        "cookieconsent",
        '<link rel="stylesheet" href="/vanilla-cookieconsent/dist/cookieconsent.css">'
        '<script defer src="/vanilla-cookieconsent/dist/cookieconsent.umd.js"></script>'
        "<script>addEventListener('DOMContentLoaded', () => CookieConsent.run("
        f"{json.dumps(_COOKIECONSENT)}))</script>",
        "#cc-main .cm",
    ),
    Variant(
        "orejime",
        '<link rel="stylesheet" href="/orejime/dist/orejime-standard.css">'
        f"<script>window.orejimeConfig = {json.dumps(_OREJIME)}</script>"
        '<script defer src="/orejime/dist/orejime-standard-en.js"></script>',
        ".orejime-Banner",
    ),
)

#: Notes when the banner is first in a frame, and the last of what Chromium calls the largest paint.
_OBSERVER: Final = """
(() => {
  window.waited = { largest: 0, first: 0, banner: 0 };
  new PerformanceObserver(list => list.getEntries().forEach(entry => { waited.largest = entry.startTime; }))
    .observe({ type: "largest-contentful-paint", buffered: true });
  new PerformanceObserver(list => list.getEntries().forEach(entry => {
    if (entry.name === "first-contentful-paint") waited.first = entry.startTime;
  })).observe({ type: "paint", buffered: true });
  const selector = %s;
  const look = () => {
    const banner = selector && document.querySelector(selector);
    const style = banner && getComputedStyle(banner);
    if (banner && banner.getBoundingClientRect().height && style.visibility === "visible" && style.opacity > 0.05)
      waited.banner = performance.now();
    else if (selector) requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
})();
"""


class Wait(NamedTuple):
    """
    Milliseconds from the navigation on, and what came over the network in kilobytes, heads included.

    Attributes:
        thread: Milliseconds of the page's main thread, which other programs on the machine change little.
    """

    first: float
    largest: float
    banner: float
    kilobytes: float
    thread: float


def main() -> None:
    """Load the page of each variant in turns on each network, ask nginx for a public one, and print both tables."""
    parser = argparse.ArgumentParser(prog="python -m bench.wait", description=" ".join((__doc__ or "").split()))
    parser.add_argument("--rounds", type=int, default=15, help="of each variant on each network, in turns")
    parser.add_argument("--markdown", action="store_true", help="print the tables as Markdown")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="consent-mw-bench-") as place, ExitStack() as stack:
        packages = _fetched(Path(place))
        variants = [variant for variant in VARIANTS if variant.head == "" or packages]
        addresses = {variant: stack.enter_context(_served(variant, Path(place), packages)) for variant in variants}
        for network in NETWORKS:
            show(_waits(addresses, network, options.rounds), markdown=options.markdown)
        show(_from_nginx(Path(place)), markdown=options.markdown)


def _fetched(place: Path) -> dict[str, Path]:
    """Return where the packages of npm were unpacked, by their name; empty where npm cannot bring them."""
    places: dict[str, Path] = {}
    for package in PACKAGES:
        try:
            words = ["npm", "pack", "--silent", "--pack-destination", str(place), package]
            file = subprocess.run(words, capture_output=True, text=True, check=True, timeout=120).stdout.strip()
        except (OSError, subprocess.SubprocessError) as error:
            sys.stderr.write(f"not compared with the banners of npm: {error}\n")
            return {}
        name = package.partition("@")[0]
        with tarfile.open(place / file) as archive:
            archive.extractall(place / name, filter="data")
        places[name] = place / name / "package"
    return places


def _site(variant: Variant, packages: Mapping[str, Path], *, public: bool = False) -> Starlette:
    """Return a page of 12 kB with a style sheet and a picture of 120 kB, which is the largest thing on it."""
    page = (
        f"<!doctype html><html lang=en><head><meta charset=utf-8><title>A page</title>"
        f'<meta name=viewport content="width=device-width"><link rel=stylesheet href=/site.css>{variant.head}</head>'
        f"<body><h1>A page</h1><img src=/picture.png width=800 height=450 alt=A>{f'<p>{_WORDS * 2}</p>' * 60}</body>"
    )
    kept = {"cache-control": "public, max-age=600"} if public else {}
    style, picture = "body { font: 1rem/1.5 sans-serif; margin: 1rem auto; max-width: 50rem }\n" * 60, _picture()

    async def home(request: Request) -> Response:
        return HTMLResponse(page, headers=kept)

    async def sheet(request: Request) -> Response:
        return Response(style, media_type="text/css")

    async def image(request: Request) -> Response:
        return Response(picture, media_type="image/png")

    libraries = [Mount(f"/{name}", StaticFiles(directory=where)) for name, where in packages.items()]
    return Starlette(routes=[Route("/", home), Route("/site.css", sheet), Route("/picture.png", image), *libraries])


def _picture() -> bytes:
    """Return a grey PNG of 400 by 300 points that nothing compresses."""
    noise, wide, high = Random(1), 400, 300
    rows = b"".join(b"\0" + noise.randbytes(wide) for _ in range(high))
    head = struct.pack(">IIBBBBB", wide, high, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    written = (struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
               for kind, data in chunks)  # fmt: skip
    return b"\x89PNG\r\n\x1a\n" + b"".join(written)


@contextmanager
def _served(
    variant: Variant,
    place: Path,
    packages: Mapping[str, Path],
    *,
    public: bool = False,
    reached: list[str] | None = None,
) -> Iterator[str]:
    """
    Serve a variant in a thread, compressed as a proxy in front would, and give its address.

    Args:
        reached: Gets the path of each request that comes.
    """
    directory = place / f"{VARIANTS.index(variant)}-{public}"
    directory.mkdir()
    site = _site(variant, packages, public=public)
    wrapped = ours_spooling(site, directory) if variant.wrapped else bare(site, directory)
    app = _counted(GZipMiddleware(wrapped, minimum_size=500), [] if reached is None else reached)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(30)


def _counted(app: ASGIApp, reached: list[str]) -> ASGIApp:
    async def counted(scope: Scope, receive: Receive, send: Send) -> None:
        reached.append(scope.get("path", ""))
        await app(scope, receive, send)

    return counted


def _waits(addresses: Mapping[Variant, str], network: str, rounds: int) -> Report:
    console = Console(stderr=True)
    waits: dict[Variant, list[Wait]] = {variant: [] for variant in addresses}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for number in track(range(rounds + 1), console=console, disable=not console.is_terminal):
            for variant, address in addresses.items():
                wait = _wait(browser, variant, address, network)
                if number:  # the first of each warms the server
                    waits[variant].append(wait)
        version = browser.version
        browser.close()
    kilobits, delay_ms = NETWORKS[network]
    alone = waits[VARIANTS[0]]
    rows = [
        [
            variant.name,
            *(f"{median(column):.0f}" for column in zip(*own, strict=True)),
            f"{median(mine.largest - theirs.largest for mine, theirs in zip(own, alone, strict=True)):+.0f}",
            middle([mine.largest - theirs.largest for mine, theirs in zip(own, alone, strict=True)], "+.0f"),
        ]
        for variant, own in waits.items()
    ]
    for row in rows:
        row[3] = row[3] if row[3] != "0" else ""
    return Report(
        f"The visitor's wait: {network}",
        ["", "first paint", "largest", "banner", "kB", "main thread", "largest, beside the page", "middle half"],
        rows,
        f"Milliseconds, medians of {rounds} loads in turns, each in a browser without a cache, texts compressed; "
        f"{kilobits:,} kbit/s and {delay_ms} ms, as Chromium slows its network; Chromium {version}; "
        f"{', '.join(PACKAGES)}; {versions('uvicorn')}.",
    )


def _wait(browser: Browser, variant: Variant, address: str, network: str) -> Wait:
    kilobits, delay_ms = NETWORKS[network]
    context = browser.new_context(viewport={"width": 1000, "height": 800}, locale="en-US")
    try:
        page = context.new_page()
        page.add_init_script(_OBSERVER % json.dumps(variant.shown))
        bytes_a_second = kilobits * 1000 / 8
        session = context.new_cdp_session(page)
        session.send("Performance.enable", {"timeDomain": "threadTicks"})
        session.send(
            "Network.emulateNetworkConditions",
            {
                "offline": False,
                "latency": delay_ms,
                "downloadThroughput": bytes_a_second,
                "uploadThroughput": bytes_a_second,
            },
        )
        page.goto(address, wait_until="load")
        if variant.shown:
            page.wait_for_function("waited.banner > 0", timeout=10_000)
        page.wait_for_timeout(150)
        said: dict[str, Any] = page.evaluate("waited")
        sizes: list[int] = page.evaluate(
            "['navigation', 'resource'].flatMap(of => performance.getEntriesByType(of)).map(part => part.transferSize)"
        )
        metrics = {metric["name"]: metric["value"] for metric in session.send("Performance.getMetrics")["metrics"]}
        return Wait(said["first"], said["largest"], said["banner"], sum(sizes) / 1000, 1000 * metrics["TaskDuration"])
    finally:
        context.close()


def _from_nginx(place: Path) -> Report:
    """Ask nginx for a public page again and again, and return how many of these requests reached the site behind it."""
    rows = []
    for variant in VARIANTS[:2]:
        cache = place / f"cache-{VARIANTS.index(variant)}"
        cache.mkdir()
        reached: list[str] = []
        with (
            _served(variant, place, {}, public=True, reached=reached) as address,
            shared_cache(int(address.rpartition(":")[2]), cache) as front,
        ):
            sizes = [len(urlopen(front).read()) for _ in range(ASKED)]
            rows.append([variant.name, f"{len(sizes):,}", str(reached.count("/")), f"{max(sizes):,}"])
    return Report(
        "A public page from nginx's cache",
        ["", "requests", "that reached the site", "bytes of the page"],
        rows,
        "The page says `Cache-Control: public`; with us it holds the one hidden banner that is the same for everyone.",
    )


if __name__ == "__main__":
    main()
