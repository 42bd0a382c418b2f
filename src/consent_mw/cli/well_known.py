"""Cookies that many sites meet, with what each is usually for: a guess to begin with, never a decision."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NamedTuple


class WellKnown(NamedTuple):
    """
    One well-known cookie, or a family of them.

    Attributes:
        name: As a policy declares it: a * at the end stands for any ending.
        purpose: One of the founding policy's purposes.
        because: What sets it, in a few words.
        provider: The other party that reads it, or "" for the site's own.
        expires: Its usual duration, as a policy writes it.
        description: By language.
    """

    name: str
    purpose: str
    because: str
    provider: str
    expires: str
    description: Mapping[str, str]

    def covers(self, name: str) -> bool:
        """Tell whether this is about the cookie called `name`."""
        return name.startswith(self.name[:-1]) if self.name.endswith("*") else name == self.name


_VISITS: Final = {"ko": "방문 횟수와 이용한 페이지를 셉니다.", "en": "Counts visits and the pages that are used."}
_ADVERTS: Final = {
    "ko": "광고의 효과를 재고 맞춤 광고를 보여 줍니다.",
    "en": "Measures advertising and fits it to you.",
}
_SESSION: Final = {"ko": "로그인과 양식 입력을 유지합니다.", "en": "Keeps you signed in and your forms together."}
_CSRF: Final = {
    "ko": "다른 사이트가 사용자를 대신해 양식을 보내지 못하게 합니다.",
    "en": "Stops other sites from sending forms in your name.",
}
_SAFETY: Final = {"ko": "자동화된 접속과 공격을 막습니다.", "en": "Keeps out robots and attacks."}
_BALANCE: Final = {"ko": "방문을 같은 서버로 보냅니다.", "en": "Leads a visit to the same server."}
_LANGUAGE: Final = {"ko": "고른 언어를 기억합니다.", "en": "Remembers the language that you picked."}
_SETTINGS: Final = {"ko": "고른 설정을 기억합니다.", "en": "Remembers the settings that you picked."}
_TALK: Final = {"ko": "상담 대화를 이어 갑니다.", "en": "Keeps a conversation with support together."}

_KNOWN: Final = tuple(
    WellKnown(*entry)
    for entry in (
        ("sessionid", "necessary", "Django's session", "", "14 days", _SESSION),
        ("csrftoken", "necessary", "Django's protection of forms", "", "1 year", _CSRF),
        ("messages", "necessary", "Django's messages", "", "session", _SESSION),
        ("django_language", "necessary", "Django's language", "", "session", _LANGUAGE),
        ("session", "necessary", "the session of Starlette, Flask and others", "", "session", _SESSION),
        ("remember_token", "necessary", "Flask-Login's sign-in", "", "1 year", _SESSION),
        ("fastapiusersauth", "necessary", "the sign-in of FastAPI Users", "", "1 hour", _SESSION),
        ("PHPSESSID", "necessary", "PHP's session", "", "session", _SESSION),
        ("JSESSIONID", "necessary", "the session of a Java server", "", "session", _SESSION),
        ("ASP.NET_SessionId", "necessary", "ASP.NET's session", "", "session", _SESSION),
        (".AspNetCore.Antiforgery.*", "necessary", "ASP.NET's protection of forms", "", "session", _CSRF),
        ("connect.sid", "necessary", "the session of Express", "", "session", _SESSION),
        ("laravel_session", "necessary", "Laravel's session", "", "2 hours", _SESSION),
        ("XSRF-TOKEN", "necessary", "the protection of forms of Laravel and Angular", "", "2 hours", _CSRF),
        ("wordpress_*", "necessary", "WordPress' sign-in", "", "14 days", _SESSION),
        ("wp-settings-*", "functional", "WordPress' settings", "", "1 year", _SETTINGS),
        ("__cf_bm", "necessary", "Cloudflare's check for robots", "Cloudflare", "30 minutes", _SAFETY),
        ("cf_clearance", "necessary", "Cloudflare's check for robots", "Cloudflare", "1 year", _SAFETY),
        ("__cflb", "necessary", "Cloudflare's load balancer", "Cloudflare", "1 day", _BALANCE),
        ("AWSALB*", "necessary", "the load balancer of AWS", "Amazon Web Services", "7 days", _BALANCE),
        ("SERVERID", "necessary", "a load balancer such as HAProxy", "", "session", _BALANCE),
        ("__stripe_mid", "necessary", "Stripe's protection against fraud", "Stripe", "1 year", _SAFETY),
        ("__stripe_sid", "necessary", "Stripe's protection against fraud", "Stripe", "30 minutes", _SAFETY),
        ("lang", "functional", "a language, by its name", "", "1 year", _LANGUAGE),
        ("locale", "functional", "a language, by its name", "", "1 year", _LANGUAGE),
        ("theme", "functional", "a theme, by its name", "", "1 year", _SETTINGS),
        ("intercom-*", "functional", "Intercom's conversations", "Intercom", "9 months", _TALK),
        ("_ga*", "analytics", "Google Analytics", "Google", "13 months", _VISITS),
        ("_gid", "analytics", "Google Analytics", "Google", "1 day", _VISITS),
        ("_gat*", "analytics", "Google Analytics", "Google", "1 minute", _VISITS),
        ("__utm*", "analytics", "Google Analytics, as it was until 2023", "Google", "2 years", _VISITS),
        ("_pk_*", "analytics", "Matomo", "", "13 months", _VISITS),
        ("mtm_*", "analytics", "Matomo", "", "13 months", _VISITS),
        ("_hj*", "analytics", "Hotjar", "Hotjar", "1 year", _VISITS),
        ("_clck", "analytics", "Microsoft Clarity", "Microsoft", "1 year", _VISITS),
        ("_clsk", "analytics", "Microsoft Clarity", "Microsoft", "1 day", _VISITS),
        ("mp_*", "analytics", "Mixpanel", "Mixpanel", "1 year", _VISITS),
        ("AMP_*", "analytics", "Amplitude", "Amplitude", "1 year", _VISITS),
        ("ajs_*", "analytics", "Segment", "Twilio", "1 year", _VISITS),
        ("ph_*", "analytics", "PostHog", "PostHog", "1 year", _VISITS),
        ("NACT", "analytics", "Naver", "Naver", "1 day", _VISITS),
        ("NNB", "analytics", "Naver", "Naver", "400 days", _VISITS),
        ("_wcs_bt", "analytics", "Naver Analytics", "Naver", "400 days", _VISITS),
        ("_fbp", "marketing", "Meta's pixel", "Meta", "90 days", _ADVERTS),
        ("_fbc", "marketing", "Meta's pixel", "Meta", "90 days", _ADVERTS),
        ("_gcl_*", "marketing", "Google Ads", "Google", "90 days", _ADVERTS),
        ("__gads", "marketing", "Google's advertising", "Google", "13 months", _ADVERTS),
        ("IDE", "marketing", "Google's advertising", "Google", "13 months", _ADVERTS),
        ("_uet*", "marketing", "Microsoft Advertising", "Microsoft", "13 months", _ADVERTS),
        ("MUID", "marketing", "Microsoft Advertising", "Microsoft", "13 months", _ADVERTS),
        ("_ttp", "marketing", "TikTok's pixel", "TikTok", "13 months", _ADVERTS),
        ("_kawlt*", "marketing", "Kakao's pixel", "Kakao", "400 days", _ADVERTS),
        ("_pin_unauth", "marketing", "Pinterest's tag", "Pinterest", "1 year", _ADVERTS),
        ("li_fat_id", "marketing", "LinkedIn's tag", "LinkedIn", "30 days", _ADVERTS),
        ("_scid", "marketing", "Snapchat's pixel", "Snap", "13 months", _ADVERTS),
        ("__hstc", "marketing", "HubSpot", "HubSpot", "6 months", _ADVERTS),
        ("hubspotutk", "marketing", "HubSpot", "HubSpot", "6 months", _ADVERTS),
    )
)
_PREFIXES: Final = ("__Host-", "__Secure-")
# What a name ends with where it carries an id: eight hexadecimal digits or more with a digit among them, or a number.
_ID: Final = re.compile(r"(?=[0-9a-fA-F-]*\d)[0-9a-fA-F]{8}[0-9a-fA-F-]*|\d+")


def guess(name: str) -> WellKnown | None:
    """Return what a cookie called `name` usually is, or None for one that is not well known."""
    for prefix in _PREFIXES:
        if name.startswith(prefix):
            known = guess(name.removeprefix(prefix))
            return known._replace(name=prefix + known.name) if known else None
    return next((known for known in _KNOWN if known.covers(name)), None)


def family_of(name: str) -> str | None:
    """Return `name` with a * instead of the id that it seems to end with, or None."""
    match = re.search(rf"(?:{_ID.pattern})\Z", name)
    stem = name[: match.start()] if match else ""
    return f"{stem}*" if len(stem) > 1 else None
