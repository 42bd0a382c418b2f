"""The visitor's pages of a site, asked by a visitor whose cookies are kept."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any
from urllib.parse import urlencode

from consent_mw.consent.choice import NO_CONSENT, Consent
from consent_mw.consent.permissions import Permissions
from consent_mw.consent.request_consent import RequestConsent
from consent_mw.crypto.signing import Signing
from consent_mw.policy.loader import loads
from consent_mw.policy.model import Policy
from consent_mw.site.pages import Site

DECLARATION = """
schema = 1
revision = 3
published = 2026-01-01
effective = 2026-02-03
time_zone = "Asia/Seoul"
languages = ["ko", "en"]
jurisdiction = "KR"

[controller]
name = { ko = "가게", en = "The Shop" }
officer = { name = { ko = "김보호", en = "Bo-ho Kim" }, email = "privacy@shop.example", phone = "+82 2 000 0000" }

[[agencies]]
name = { ko = "신고센터", en = "Report centre" }
phone = "118"

[[recipients]]
name = "Counter Ltd"
purpose = "analytics"
items = { ko = "방문한 페이지", en = "Pages visited" }
retention = "2 months"

[purposes.necessary]
basis = "necessary"
title = { ko = "필수", en = "Necessary" }
description = { ko = "사이트에 꼭 필요합니다.", en = "The site needs it." }
retention = "90 days"

[purposes.functional]
basis = "consent"
title = { ko = "편의", en = "Functional" }
description = { ko = "설정을 기억합니다.", en = "Remembers settings." }
retention = "180 days"

[purposes.analytics]
basis = "consent"
title = { ko = "통계", en = "Statistics" }
description = { ko = "방문을 셉니다.", en = "Counts visits." }
retention = "13 months"

[purposes.marketing]
basis = "consent"
title = { ko = "광고" }
description = "<b>&\\"ads\\"</b>"
retention = "6 months"
refused_by = ["gpc"]

[[cookies.declared]]
name = "theme"
purpose = "functional"
expires = "1 year"
description = { ko = "테마", en = "Light or dark" }

[[cookies.declared]]
name = "_ga*"
purpose = "analytics"
provider = "Google"
expires = "13 months"

[log.necessary]
"client.address" = "masked"
"""


POLICY = loads(DECLARATION)


SIGNING = Signing((b"a key of at least 16 bytes",))


NOW_NS = 1_764_000_000_000_000_000


TODAY = date(2025, 11, 24)


SAME_ORIGIN = {"sec-fetch-site": "same-origin"}


@dataclass
class Answer:
    """What came back."""

    status: int
    raw_headers: list[tuple[bytes, bytes]]
    body: str

    def header(self, name: str) -> str:
        return ", ".join(v.decode() for k, v in self.raw_headers if k == name.encode())

    @property
    def cookies(self) -> list[bytes]:
        return [value for key, value in self.raw_headers if key == b"set-cookie"]


def make(consent: Consent, signals: frozenset[str]) -> Permissions:
    return Permissions(POLICY, consent, signals)


def visitor(consent: Consent = NO_CONSENT, signals: Collection[str] = (), pending: str | None = None) -> RequestConsent:
    sent = frozenset(signals)
    return RequestConsent(consent, make(consent, sent), make, TODAY, sent, pending)


def site(policy: Policy = POLICY, **options: Any) -> Site:
    return Site(policy, signing=SIGNING, now_ns=lambda: NOW_NS, **options)


def scope_of(path: str, consent: RequestConsent, method: str, headers: Mapping[str, str], root: str) -> dict[str, Any]:
    plain, _, query = path.partition("?")
    lines = {"host": "shop.example", **headers}
    return {
        "type": "http",
        "method": method,
        "scheme": "https",
        "path": root + plain,
        "root_path": root,
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in lines.items()],
        "state": {"consent": consent},
    }


async def request(
    app: Site,
    path: str,
    consent: RequestConsent | None = None,
    *,
    method: str = "GET",
    headers: Mapping[str, str] = {},
    body: bytes = b"",
    root: str = "",
) -> Answer:
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope_of(path, consent or visitor(), method, headers, root), receive, send)
    return Answer(sent[0]["status"], sent[0]["headers"], b"".join(part.get("body", b"") for part in sent[1:]).decode())


def get(path: str, consent: RequestConsent | None = None, app: Site | None = None, **options: Any) -> Answer:
    return asyncio.run(request(app or site(), path, consent, **options))


async def submit(
    app: Site, consent: RequestConsent, fields: Mapping[str, str] | Iterable[tuple[str, str]], **options: Any
) -> Answer:
    headers = {"content-type": "application/x-www-form-urlencoded", **options.pop("headers", SAME_ORIGIN)}
    body = urlencode(fields if isinstance(fields, Mapping) else list(fields)).encode()
    return await request(app, "/consent/choice", consent, method="POST", headers=headers, body=body, **options)


def post(consent: RequestConsent, fields: Mapping[str, str] | Iterable[tuple[str, str]], **options: Any) -> Answer:
    return asyncio.run(submit(site(), consent, fields, **options))


def banner(consent: RequestConsent, path: str = "/shop", *, app: Site | None = None, **options: Any) -> str:
    shared = options.pop("shared", False)
    scope = scope_of(path, consent, "GET", options.pop("headers", {"accept-language": "en"}), options.pop("root", ""))
    return asyncio.run((app or site()).banner(scope, consent, now_ns=NOW_NS, shared=shared))
