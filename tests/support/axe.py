"""What axe-core finds on a page in Chromium, and the browser's own measures of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from playwright.sync_api import Page

AXE = """() => axe.run(document, {rules: {"target-size": {enabled: true}}, resultTypes: ["violations"]})
    .then(report => report.violations
        .map(rule => [rule.id, rule.help, ...rule.nodes.map(node => node.html)].join("  ")))"""


SHIFT = """() => new Promise(done => {
    let sum = 0;
    new PerformanceObserver(list => { for (const entry of list.getEntries()) sum += entry.value; })
        .observe({type: "layout-shift", buffered: true});
    requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(() => done(sum), 50)));
})"""


STORED = """async () => [localStorage.length, sessionStorage.length, (await indexedDB.databases()).length,
    (await caches.keys()).length, (await navigator.serviceWorker.getRegistrations()).length]"""


WATCH = """violations = [];
    addEventListener("securitypolicyviolation", event => violations.push(event.violatedDirective));"""


WIDTHS = (320, 1280)


SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")


def faults(page: Page, source: str, schemes: Sequence[Literal["light", "dark"]] = SCHEMES) -> list[str]:
    """
    What axe-core finds at each width, and what is wider than its window.

    Each width is looked at in one of the `schemes`: colours do not depend on the width, nor sizes on the scheme.
    """
    problems: list[str] = []
    page.evaluate(source)
    for width, scheme in zip(WIDTHS, schemes, strict=True):
        page.set_viewport_size({"width": width, "height": 640})
        wide = page.evaluate(
            "[...document.querySelectorAll('html, .consent-mw, dialog')].some(e => e.scrollWidth > innerWidth)"
        )
        problems += [f"wider than {width}"] if wide else []
        page.emulate_media(color_scheme=scheme)
        problems += [f"{page.url} {width} {scheme}: {fault}" for fault in page.evaluate(AXE)]
    return problems
