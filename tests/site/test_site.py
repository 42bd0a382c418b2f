"""The visitor's pages, driven whole: what each state shows, what a submission does, what nobody else can do."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

import pytest
from tests.support.site_pages import (
    DECLARATION,
    NOW_NS,
    POLICY,
    SAME_ORIGIN,
    TODAY,
    banner,
    get,
    post,
    request,
    scope_of,
    site,
    submit,
    visitor,
)

from consent_mw.consent.choice import NO_CONSENT, Choice, Consent
from consent_mw.consent.permissions import Permissions
from consent_mw.consent.request_consent import RequestConsent
from consent_mw.consent.wordings import text_hash
from consent_mw.cookies.cookie_lines import name_of
from consent_mw.cookies.pending import Pending
from consent_mw.crypto.sealer import Sealer
from consent_mw.paths import Places
from consent_mw.policy.loader import loads
from consent_mw.site.assets import Assets
from consent_mw.site.language import negotiate
from consent_mw.site.surfaces import SURFACES, shown_text
from consent_mw.stores.memory import MemoryStore

THEME = b"theme=dark; Path=/; Max-Age=31536000; SameSite=Lax"
GA = b"_ga_1=x; Path=/; Secure"


def chosen(
    choice: Choice, purposes: Mapping[str, bool] | None = None, cookies: Mapping[str, bool] | None = None
) -> Consent:
    return Consent(choice=choice, revision=3, given_on=TODAY, purposes=purposes or {}, cookies=cookies or {})


# -- the pages ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/consent", "/consent/", "/consent/policy", "/consent/cookies", "/consent/nowhere"])
def test_every_page_is_html_under_a_strict_policy_with_nothing_inline(path: str) -> None:
    page = get(path)
    assert page.status == (404 if "nowhere" in path else 200)
    assert page.header("content-type") == "text/html; charset=utf-8"
    assert "default-src 'none'" in page.header("content-security-policy")
    assert "frame-ancestors 'none'" in page.header("content-security-policy")
    assert page.header("x-content-type-options") == "nosniff"
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)|javascript:", page.body)


@pytest.mark.parametrize("path", ["/consent", "/consent/state"])
def test_what_shows_the_visitor_is_stored_by_no_cache(path: str) -> None:
    page = get(path)
    assert page.header("cache-control") == "no-store"
    assert page.header("vary") == "Cookie, Accept-Language"


def test_another_method_is_told_which_there_is() -> None:
    assert get("/consent", method="POST").header("allow") == "GET, HEAD"
    assert get("/consent/choice").header("allow") == "POST"
    assert get("/consent/choice").status == 405


def test_head_answers_as_get() -> None:
    assert get("/consent/policy", method="HEAD").raw_headers == get("/consent/policy").raw_headers


def test_the_style_sheet_has_a_name_that_a_cache_may_keep_for_ever() -> None:
    name = re.search(r'href="(/consent/static/consent\.[0-9a-f]{12}\.css)"', get("/consent").body)
    assert name is not None
    sheet = get(name[1])
    assert (sheet.status, sheet.header("content-type")) == (200, "text/css; charset=utf-8")
    assert "immutable" in sheet.header("cache-control")
    assert get("/consent/static/consent.css").status == 404
    assert get("/consent/static/../pages.py").status == 404


def test_a_style_sheet_that_is_sent_has_each_string_of_its_source() -> None:
    strings = re.compile(r'"[^"\n]*"')
    for source in (files("consent_mw.site") / "static").iterdir():
        if source.name.endswith(".css"):
            sent = Assets().text(source.name)
            assert strings.findall(sent) == strings.findall(
                re.sub(r"/\*.*?\*/", "", source.read_text("utf-8"), flags=re.DOTALL)
            )


def test_links_keep_what_the_application_is_mounted_under() -> None:
    page = get("/consent/policy", root="/shop")
    assert 'href="/shop/consent/cookies"' in page.body
    assert 'aria-current="page"' in page.body
    assert not re.search(r'(href|src|action)="/consent', page.body)
    assert 'action="/shop/consent/choice"' in banner(visitor(), root="/shop")


# -- languages ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("en", "en"),
        ("en-GB, ko;q=0.5", "en"),
        ("fr, ko;q=0.4, en;q=0.6", "en"),
        ("ko;q=0", None),
        ("fr", None),
        ("*", "ko"),
        ("pt", "pt-BR"),
        ("ZH-hant-TW", "zh-Hant"),
        (";;q=,=;q=nan, en;q=inf,\x00", None),
        ("", None),
    ],
)
def test_the_language_that_the_visitor_likes_best_is_spoken(header: str, expected: str | None) -> None:
    assert negotiate(header, ["ko", "en", "pt-BR", "zh-Hant"]) == expected


def test_the_language_can_be_switched_and_stays_so_from_page_to_page() -> None:
    english = get("/consent?lang=en", headers={"accept-language": "ko"})
    assert '<html lang="en" dir="ltr"' in english.body
    assert 'href="/consent/policy?lang=en"' in english.body
    assert '<html lang="ko"' in get("/consent?lang=en%22%3E").body


def test_durations_and_dates_are_written_as_each_language_does() -> None:
    assert "13개월" in get("/consent/cookies?lang=ko").body
    assert "13 months" in get("/consent/cookies?lang=en").body
    assert "2026년 2월 3일" in get("/consent/policy?lang=ko").body
    assert "3 February 2026" in get("/consent/policy?lang=en").body
    assert "duration-" not in get("/consent/policy?lang=ko").body


def test_a_text_that_is_missing_in_a_language_falls_back_and_says_so() -> None:
    assert (
        '<span lang="ko">광고</span> <small class="consent-mw-foreign">(Korean)</small>' in get("/consent?lang=en").body
    )


def test_a_site_can_add_a_language_that_is_written_from_right_to_left(tmp_path: Path) -> None:
    folder = tmp_path / "locale" / "ar" / "LC_MESSAGES"
    folder.mkdir(parents=True)
    header = 'msgid ""\nmsgstr "Content-Type: text/plain; charset=UTF-8\\n"\n\n'
    (folder / "consent_mw.po").write_text(header + 'msgid "Reject all"\nmsgstr "رفض الكل"\n', "utf-8")
    policy = loads(DECLARATION.replace('["ko", "en"]', '["ar", "ko"]'))
    html = banner(visitor(), app=site(policy, templates=tmp_path), headers={"accept-language": "ar"})
    assert 'lang="ar" dir="rtl"' in html
    assert "رفض الكل" in html


def test_a_site_can_override_a_template(tmp_path: Path) -> None:
    (tmp_path / "missing.html").write_text("{{ policy.revision }} is all there is", "utf-8")
    assert get("/consent/nowhere", app=site(templates=tmp_path)).body == "3 is all there is"


def test_neither_templates_nor_locales_are_loaded_before_something_is_rendered() -> None:
    program = "import sys, consent_mw.site.pages; print({'jinja2', 'babel'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


# -- the policy page ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", ["ko", "en"])
def test_the_policy_page_has_eleven_sections(language: str) -> None:
    body = get(f"/consent/policy?lang={language}").body
    assert len(re.findall(r'<section id="section-[a-z]+">', body)) == 11
    assert re.findall(r"<h2>(\d+)\. ", body) == [str(number) for number in range(1, 12)]


def test_the_policy_page_is_written_from_the_declaration() -> None:
    body = get("/consent/policy?lang=en").body
    for words in (
        "Bo-ho Kim",
        "privacy@shop.example",
        "Report centre",
        "118",
        "Counter Ltd",
        "Pages visited",
        "2 months",
    ):
        assert words in body
    assert "IP address" in body
    assert "browser and system" not in body  # the log does not keep it


def test_a_changed_retention_changes_policy_settings_and_banner() -> None:
    changed = site(loads(DECLARATION.replace('"13 months"', '"17 weeks"')))
    for path in ("/consent?lang=en", "/consent/policy?lang=en", "/consent/cookies?lang=en"):
        assert "17 weeks" in get(path, app=changed).body
        assert "13 months" not in get(path, app=changed).body
    assert "17 weeks" in banner(visitor(), app=changed)


def test_texts_of_the_policy_are_escaped() -> None:
    for body in (get("/consent?lang=en").body, get("/consent/policy").body, banner(visitor())):
        assert "&lt;b&gt;&amp;&#34;ads&#34;&lt;/b&gt;" in body
        assert "<b>" not in body


# -- the banner -----------------------------------------------------------------------------------------------------


def test_a_banner_is_wanted_until_a_choice_is_made_or_while_something_may_wait() -> None:
    assert site().wants_banner(visitor())
    assert not site().wants_banner(visitor(chosen(Choice.REJECT)))
    assert not site().wants_banner(visitor(chosen(Choice.ACCEPT)))
    assert site().wants_banner(visitor(chosen(Choice.PROMPT), pending="x" * 22))


def test_a_policy_with_only_necessary_cookies_shows_no_banner() -> None:
    text = re.sub(r'basis = "consent"', 'basis = "necessary"', DECLARATION).replace('refused_by = ["gpc"]', "")
    policy = loads(text)
    nobody = RequestConsent(NO_CONSENT, Permissions(policy, NO_CONSENT), lambda c, s: Permissions(policy, c, s), TODAY)
    assert not site(policy).wants_banner(nobody)
    assert banner(nobody, app=site(policy)) == ""


def test_the_three_answers_are_the_same_element_with_the_same_class() -> None:
    buttons = re.findall(r"<button (.*?)>", banner(visitor()))
    assert [re.sub(r'value="\w+"', "", button) for button in buttons] == [
        'type="submit" name="choice"  class="consent-mw-button"'
    ] * 3
    assert re.findall(r'value="(\w+)" class="consent-mw-button"', banner(visitor())) == ["accept", "prompt", "reject"]


def test_purpose_duration_and_recipients_stand_before_the_answers() -> None:
    before = banner(visitor()).partition("<button")[0]
    for words in ("Functional", "Statistics", "Remembers settings.", "180 days", "13 months", "Counter Ltd", "Google"):
        assert words in before


def test_nothing_but_a_no_is_selected_before_an_answer() -> None:
    selected = re.findall(r'name="(purpose|cookie)[^"]+" value="(\w+)" checked', get("/consent").body)
    assert set(selected) == {("purpose", "no"), ("cookie", "ask")}, "of a single cookie: as its purpose"
    assert "checked" not in banner(visitor())


def test_the_settings_show_the_answers_in_force_and_no_other() -> None:
    answers = chosen(Choice.PROMPT, purposes={"functional": True, "marketing": False}, cookies={"_ga*": False})
    checked = re.findall(r'name="([\w.*]+)" value="(\w+)" checked', get("/consent", visitor(answers)).body)
    assert checked == [
        ("purpose.functional", "yes"),
        ("cookie.theme", "ask"),
        ("purpose.analytics", "ask"),
        ("cookie._ga*", "no"),
        ("purpose.marketing", "no"),
    ]


def test_enter_in_a_single_answer_cannot_accept_everything() -> None:
    # A form is submitted by Enter with its first button (HTML, "implicit submission").
    forms = get("/consent").body.split("<form ")[1:]
    for form in forms:
        if 'type="radio"' in form:
            assert re.findall(r'name="choice" value="(\w+)"', form) == ["save"]


def test_the_signal_and_what_it_refuses_are_shown_on_banner_and_settings() -> None:
    signalled = visitor(signals=["gpc"])
    for html in (banner(signalled), get("/consent?lang=en", signalled).body):
        assert "Global Privacy Control" in html
        assert "광고" in html.partition("Global Privacy Control")[2]
    assert "Global Privacy Control" not in banner(visitor())


def test_a_shared_banner_is_the_same_for_every_visitor_and_hidden_at_first() -> None:
    everyone = [visitor(), visitor(chosen(Choice.REJECT)), visitor(signals=["gpc"]), visitor(pending="x" * 22)]
    bodies = {banner(consent, "/shop?token=7", shared=True) for consent in everyone}
    assert len(bodies) == 1
    assert re.search(r"<consent-mw [^>]*data-shared hidden>", bodies.pop())


def test_a_banner_leads_back_to_where_it_stood_and_carries_neither_token_nor_id() -> None:
    html = banner(visitor(), "/shop/a\"><script>?q='1'&b=2")
    assert 'name="next" value="/shop/a%22%3E%3Cscript%3E?q=&#x27;1&#x27;&amp;b=2"' in html
    assert 'name="token"' not in html
    assert banner(visitor(), "/one").replace("/one", "") == banner(visitor(), "/two").replace("/two", "")


# -- the choice -----------------------------------------------------------------------------------------------------


def test_accepting_two_of_three_purposes_accepts_exactly_those_two() -> None:
    consent = visitor()
    fields = {"choice": "save", "purpose.functional": "yes", "purpose.analytics": "yes", "purpose.marketing": "no"}
    assert post(consent, fields).status == 303
    assert consent.consent.purposes == {"functional": True, "analytics": True, "marketing": False}
    assert [name for name in ("functional", "analytics", "marketing") if consent.allows(name)] == [
        "functional",
        "analytics",
    ]


@pytest.mark.parametrize("choice", list(Choice))
def test_each_answer_of_the_banner_is_taken_and_leads_back(choice: Choice) -> None:
    consent = visitor()
    answer = post(consent, {"choice": choice, "next": "/shop?a=b"})
    assert (answer.status, answer.header("location")) == (303, "/shop?a=b")
    assert answer.header("cache-control") == "no-store"
    assert (consent.choice, consent.changed) == (choice, True)


@pytest.mark.parametrize("target", ["https://evil.example", "/\\evil.example", "//evil.example", "/a\r\nx: y"])
def test_a_foreign_target_leads_to_the_settings(target: str) -> None:
    assert post(visitor(), {"choice": "reject", "next": target}).header("location") == "/consent?saved=1"


def test_the_same_submission_twice_changes_nothing_the_second_time() -> None:
    consent = visitor(chosen(Choice.REJECT))
    assert post(consent, {"choice": "reject"}).status == 303
    assert not consent.changed


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"choice": "save", "purpose.<i>": "yes"}, "purpose.functional"),
        ({"choice": "save", "cookie.spy": "yes"}, "cookie.theme"),
        ({"choice": "all"}, "reject"),
    ],
)
def test_an_unknown_name_is_refused_with_the_valid_ones_and_changes_nothing(fields: dict[str, str], named: str) -> None:
    consent = visitor()
    page = post(consent, fields)
    assert page.status == 422
    assert named in page.body
    assert "<i>" not in page.body
    assert not consent.changed
    answer = post(consent, fields, headers={**SAME_ORIGIN, "accept": "application/json"})
    assert named in json.loads(answer.body)["allowed"]


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site", "origin": "https://evil.example"},
        {"sec-fetch-site": "same-site", "origin": "https://blog.shop.example"},
        {"origin": "https://evil.example"},
    ],
)
def test_another_site_cannot_choose_for_a_visitor_who_reads_why(headers: dict[str, str]) -> None:
    consent = visitor()
    page = post(consent, {"choice": "accept"}, headers={**headers, "accept-language": "en"})
    assert page.status == 403
    assert "Another site sent this" in page.body
    assert 'href="/consent"' in page.body
    assert not consent.changed


def test_without_origin_only_the_settings_page_can_send() -> None:
    consent = visitor()
    turned = post(consent, {"choice": "accept"}, headers={})
    assert (turned.status, turned.header("location")) == (303, "/consent?again=unknown")
    assert not consent.changed
    page = get("/consent")
    token = re.search(r'name="token" value="([^"]+)"', page.body)
    assert token is not None
    cookie = page.header("set-cookie").partition(";")[0]
    assert post(consent, {"choice": "accept", "token": token[1]}, headers={"cookie": cookie}).status == 303
    assert consent.choice is Choice.ACCEPT


def test_an_answer_to_an_older_revision_is_not_taken() -> None:
    consent = visitor()
    answer = post(consent, {"choice": "accept", "revision": "2"})
    assert (answer.status, answer.header("location")) == (303, "/consent?again=revised")
    assert not consent.changed


def test_a_body_larger_than_any_form_is_refused() -> None:
    assert post(visitor(), {"choice": "x" * 17_000}).status == 413


def test_json_is_answered_with_the_state() -> None:
    consent = visitor()
    headers = {**SAME_ORIGIN, "content-type": "application/json", "accept": "application/json"}
    body = json.dumps({"choice": "save", "purpose.functional": "yes", "cookie._ga*": "no"}).encode()
    answer = get("/consent/choice", consent, method="POST", headers=headers, body=body)
    state = json.loads(answer.body)
    assert state == json.loads(get("/consent/state", consent).body)
    assert state["purposes"] == {"functional": True, "analytics": None, "marketing": None}
    assert state["cookies"] == {"_ga*": False}
    assert (state["choice"], state["show"]) == ("prompt", False)
    assert state["allowed"] == sorted(consent.permissions.allowed)


# -- what was shown -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("language", ["ko", "en"])
def test_a_receipt_names_a_text_that_can_be_made_again(surface: str, language: str) -> None:
    consent = visitor(signals=["gpc"])
    post(consent, {"choice": "accept", "surface": surface, "language": language})
    text = shown_text(loads(DECLARATION), language, consent.shown.surface)  # type: ignore[arg-type] # it is one of three
    assert (consent.shown.surface, consent.shown.language) == (surface, language)
    assert consent.shown.text == text_hash(text)


def test_the_text_of_the_banner_is_what_the_visitor_read() -> None:
    lines = shown_text(POLICY, "en", "banner").splitlines()
    assert lines[-4:] == ["Accept all", "Ask me each time", "Reject all", "Settings Privacy policy"]
    assert "Statistics Counts visits. Kept for 13 months. Goes to: Counter Ltd, Google." in lines
    assert shown_text(POLICY, "ko", "banner") != shown_text(POLICY, "en", "banner")


# -- what waits -----------------------------------------------------------------------------------------------------


class Waiting:
    """A visitor who asked to be asked, and whose two cookies wait in a real store."""

    def __init__(self, directory: Path) -> None:
        self.pending = Pending(POLICY, MemoryStore(), Sealer.of_site(Places(directory)))
        self.site = site(pending=self.pending)
        self.consent = visitor(chosen(Choice.PROMPT))

    async def begin(self) -> list[dict[str, str]]:
        lines = [(self.consent.explain(name_of(line) or ""), line) for line in (THEME, GA)]
        session = await self.pending.keep(None, lines, NOW_NS)
        self.consent = visitor(chosen(Choice.PROMPT), pending=session)
        return await self.waiting()

    async def waiting(self) -> list[dict[str, str]]:
        state = json.loads((await request(self.site, "/consent/state?lang=en", self.consent)).body)
        waiting: list[dict[str, str]] = state["waiting"]
        return waiting


def test_what_waits_is_asked_by_name_purpose_provider_and_duration(tmp_path: Path) -> None:
    async def run() -> None:
        visit = Waiting(tmp_path)
        theme, _ga = await visit.begin()
        assert {**theme, "id": ""} == {
            "id": "", "name": "theme", "purpose": "functional", "provider": "The Shop", "expires": "1 year"
        }  # fmt: skip
        scope = scope_of("/shop", visit.consent, "GET", {"accept-language": "en"}, "")
        html = await visit.site.banner(scope, visit.consent, now_ns=NOW_NS)
        for name, details in (("theme", "The Shop · 1 year"), ("_ga_1", "Google · 13 months")):
            assert f"{name}</bdi> · {details}" in html
        assert html.index("<strong>Functional") < html.index("theme</bdi>") < html.index("<strong>Statistics")
        assert html.count("_ga") == 1, "nobody described it, and its name is there once"
        assert "theme=dark" not in html  # the value of what waits is in no page

    asyncio.run(run())


def test_an_allowed_cookie_arrives_once_as_it_was_and_the_other_waits_on(tmp_path: Path) -> None:
    async def run() -> None:
        visit = Waiting(tmp_path)
        theme, ga = await visit.begin()
        fields = {"waiting": theme["id"], "answer": "allow", "next": "/shop"}
        answer = await submit(visit.site, visit.consent, fields)
        assert (answer.cookies, answer.header("location")) == ([THEME], "/shop")
        assert (await submit(visit.site, visit.consent, fields)).cookies == []
        assert await visit.waiting() == [ga]
        assert not visit.consent.changed

    asyncio.run(run())


def test_what_is_refused_is_gone(tmp_path: Path) -> None:
    async def run() -> None:
        visit = Waiting(tmp_path)
        await visit.begin()
        answer = await submit(visit.site, visit.consent, {"waiting": "all", "answer": "refuse"})
        assert (answer.status, answer.cookies, await visit.waiting()) == (303, [], [])

    asyncio.run(run())


def test_always_for_a_purpose_allows_that_purpose_and_delivers_its_cookies(tmp_path: Path) -> None:
    async def run() -> None:
        visit = Waiting(tmp_path)
        theme, ga = await visit.begin()
        answer = await submit(visit.site, visit.consent, {"waiting": ga["id"], "answer": "purpose"})
        assert answer.cookies == [GA]
        assert visit.consent.consent.purposes == {"analytics": True}
        assert await visit.waiting() == [theme]

    asyncio.run(run())


@pytest.mark.parametrize(("choice", "delivered"), [("accept", [THEME, GA]), ("reject", [])])
def test_a_choice_settles_what_waits(choice: str, delivered: list[bytes], tmp_path: Path) -> None:
    async def run() -> None:
        visit = Waiting(tmp_path)
        await visit.begin()
        answer = await submit(visit.site, visit.consent, {"choice": choice})
        assert (answer.cookies, await visit.waiting()) == (delivered, [])

    asyncio.run(run())


def test_a_page_left_open_cannot_release_what_was_refused_since(tmp_path: Path) -> None:
    async def run() -> None:
        visit = Waiting(tmp_path)
        theme, _ = await visit.begin()
        since = visitor(chosen(Choice.REJECT), pending=visit.consent.pending)
        assert (await submit(visit.site, since, {"waiting": theme["id"], "answer": "allow"})).cookies == []
        assert (await submit(visit.site, visit.consent, {"waiting": theme["id"], "answer": "allow"})).cookies == []

    asyncio.run(run())


def test_nobody_releases_what_waits_for_another(tmp_path: Path) -> None:
    async def run() -> None:
        visit = Waiting(tmp_path)
        waiting = await visit.begin()
        for session in (None, "z" * 22):
            stranger = visitor(chosen(Choice.PROMPT), pending=session)
            for named in ("all", waiting[0]["id"]):
                answer = await submit(visit.site, stranger, {"waiting": named, "answer": "allow"})
                assert (answer.status, answer.cookies) == (303, [])
        assert await visit.waiting() == waiting

    asyncio.run(run())
