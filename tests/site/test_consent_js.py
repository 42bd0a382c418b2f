"""The banner's script in a real Chromium, under the strictest policy, against a server of a few lines."""

# ruff: noqa: F811 - a test names its fixtures

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Route, expect
from tests.support.browser_site import launch
from tests.support.scripted_pages import (  # noqa: F401 - fixtures among them
    BANNER,
    BUTTONS,
    ITEM,
    STRICT,
    WAITING,
    Server,
    becomes_true,
    context,
    opens,
    page,
    ran,
    served,
    server,
)

from consent_mw.site.assets import Assets


@pytest.mark.parametrize("layouts", [False, True])
def test_script_and_style_stay_small(layouts: bool) -> None:
    assets = Assets(layouts=layouts)
    bodies = [assets.text(file).encode() for file in ("consent.js", "consent.css")]
    assert sum(len(gzip.compress(body, 9)) for body in bodies) <= 7_000
    assert [b"/*" in body or b" // " in body for body in bodies] == [False, False]


def test_a_short_name_is_shared_only_where_neither_variable_is_seen(page: Page, tmp_path: Path) -> None:
    script = """const outer = 1, later = (first) => first + outer, other = (second, third) => {
      const inner = later(second);
      return [inner, outer + third].map((one) => one + inner).join();
    };
    window.answer = other(2, 3) + later(5);"""
    (tmp_path / "some.js").write_text(script, "utf-8")
    short = Assets(tmp_path).text("some.js")
    assert page.evaluate(f"() => {{ {short}; return window.answer }}") == "6,76"
    assert not re.search("outer|later|other|first|second|third|inner|one", short)
    assert len(set(re.findall(r"\b[a-z]\b", short))) < 8, "of eight variables some share a name"


@pytest.mark.parametrize("choice", ["accept", "prompt", "reject"])
def test_a_choice_is_taken_without_a_reload(page: Page, server: Server, choice: str) -> None:
    opens(page, server, BANNER % "" + "<main>text</main>")
    page.evaluate("changed = []; addEventListener('consentchange', (event) => changed.push(event.detail.choice))")
    page.locator(f"button[value={choice}]").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#consent-mw")).to_be_hidden()
    expect(page.get_by_role("status")).to_have_text("Saved.")
    expect(page.locator("main")).to_be_focused()
    assert server.posts == [("application/json", {"next": ["/"], "choice": [choice]})]
    assert page.evaluate("window.changed.filter(Boolean)") == [choice]
    assert page.evaluate("consent.allows('analytics')") is (choice == "accept")
    assert page.url == server.origin + "/"


@pytest.mark.parametrize("trouble", ["refused", "no connection allowed"])
def test_where_the_script_cannot_send_it_the_browser_does(page: Page, server: Server, trouble: str) -> None:
    server.broken = trouble == "refused"
    if not server.broken:
        server.csp = STRICT.replace("connect-src 'self'; ", "")
    opens(page, server, BANNER % "")
    page.locator("button[value=reject]").click()
    page.wait_for_url("**/after")
    assert server.posts[-1][0].startswith("text/html")
    assert server.posts[-1][1] == {"next": ["/"], "choice": ["reject"]}


def test_a_form_of_the_settings_page_is_the_browser_s_own(page: Page, server: Server) -> None:
    form = BANNER.partition("<form")[2].partition("</consent-mw>")[0]
    opens(page, server, f"<form{form}")
    page.locator("button[value=accept]").click()
    page.wait_for_url("**/after")
    assert len(server.posts) == 1


def test_nothing_is_read_or_stored_on_a_page_where_nothing_needs_it(page: Page, server: Server) -> None:
    opens(page, server, BANNER % "")
    page.wait_for_load_state("networkidle")
    assert server.reads == 0
    assert page.evaluate("[localStorage.length, sessionStorage.length, document.cookie]") == [0, 0, ""]


def test_each_waiting_cookie_is_answered_by_itself(page: Page, server: Server) -> None:
    server.choice, server.waiting = "prompt", ["a", "b", "c"]
    opens(page, server, WAITING % "".join(ITEM.format(name) for name in ("a", "b", "c", "all")) + "<main>x</main>")
    page.get_by_role("button", name="allow a", exact=True).click()
    expect(page.locator("li")).to_have_count(3)
    expect(page.get_by_role("button", name="allow b", exact=True)).to_be_focused()
    page.get_by_role("button", name="refuse b").click()
    expect(page.locator("li")).to_have_count(1)
    page.get_by_role("button", name="refuse c").click()
    expect(page.locator("consent-mw")).to_be_hidden()
    expect(page.locator("main")).to_be_focused()
    assert [fields["answer"] for _, fields in server.posts] == [["allow"], ["refuse"], ["refuse"]]


BLOCKED = """<script type="text/plain" data-purpose="analytics" src="/one.js"></script>
<script type="text/plain" data-purpose="analytics" nonce="n1">window.ran.push("inline")</script>
<script type="text/plain" data-category="analytics" data-src="/two.js"></script>
<script type="text/plain" data-purpose="analytics functional" src="/both.js"></script>
<script type="text/plain" data-purpose="analytics" nonce="wrong">window.ran.push("not allowed by the policy")</script>
<template data-purpose="analytics"><p id="inside">in<script src="/three.js"></script></p></template>"""


def test_scripts_start_once_and_in_their_order_when_their_purpose_is_allowed(page: Page, server: Server) -> None:
    opens(page, server, BLOCKED + BANNER % "")
    expect(page.locator("#inside")).to_have_count(0)
    assert ran(page) is None
    server.take({"choice": ["save"], "purpose.analytics": ["yes"]})
    page.evaluate("consent.refresh()")
    becomes_true(page, "window.ran && ran.includes('two') && ran.includes('three')")
    assert [name for name in page.evaluate("ran") if name != "three"] == ["one", "inline", "two"]
    expect(page.locator("#inside")).to_be_visible()
    expect(page.locator("#consent-mw")).to_be_hidden()
    page.locator("button[value=accept]").dispatch_event("click")
    becomes_true(page, "ran.includes('both')")
    page.evaluate("consent.refresh()")
    assert sorted(page.evaluate("ran")) == ["both", "inline", "one", "three", "two"]


def test_what_is_added_later_is_picked_up(page: Page, server: Server) -> None:
    server.take({"choice": ["accept"]})
    opens(page, server, "<main></main>")
    page.evaluate(
        "(html) => (document.querySelector('main').innerHTML = html)",
        "<div><script type=text/plain data-purpose=analytics src=/late.js></script></div>",
    )
    becomes_true(page, "window.ran && ran.includes('late')")


FRAME = '<iframe data-purpose="functional" data-src="/map" title="Map"></iframe>'


def test_a_frame_waits_behind_a_placeholder_and_loads_once(page: Page, server: Server) -> None:
    opens(
        page, server, FRAME + FRAME.replace("Map", "Plan") + '<img data-purpose="analytics" data-src="/a.png" alt="A">'
    )
    expect(page.get_by_role("group")).to_have_count(3)
    group = page.get_by_role("group", name="Map")
    expect(group).to_contain_text(f"막힘: {urlsplit(server.origin).netloc}")
    group.get_by_role("button", name="한 번").click()
    expect(page.locator("iframe[title=Map]")).to_have_attribute("src", "/map")
    expect(page.locator("iframe[title=Map]")).to_be_focused()
    expect(page.locator("iframe[title=Map]")).to_be_visible()
    expect(page.get_by_role("group")).to_have_count(2)
    assert server.posts == []
    assert page.locator("img").get_attribute("src") is None


def test_always_allows_the_purpose_and_keeps_the_other_answers(page: Page, server: Server) -> None:
    server.take({"choice": ["save"], "purpose.analytics": ["no"]})
    opens(page, server, FRAME + FRAME.replace("Map", "Plan"))
    page.get_by_role("button", name="항상").first.click()
    expect(page.get_by_role("group")).to_have_count(0)
    expect(page.locator("iframe[src='/map']")).to_have_count(2)
    [(_, fields)] = server.posts
    assert fields == {
        "choice": ["save"], "language": ["ko"], "revision": ["1"], "cookie.theme": ["yes"],
        "purpose.analytics": ["no"], "purpose.functional": ["yes"],
    }  # fmt: skip


def test_a_page_that_all_share_shows_its_banner_only_to_those_who_have_not_chosen(page: Page, server: Server) -> None:
    opens(page, server, BANNER % "data-shared hidden")
    expect(page.locator("#consent-mw")).to_be_visible()
    server.take({"choice": ["reject"]})
    page.reload()
    page.wait_for_load_state("networkidle")
    expect(page.locator("#consent-mw")).to_be_hidden()


def test_another_tab_follows(page: Page, context: BrowserContext, server: Server) -> None:
    opens(page, server, BANNER % "" + BLOCKED)
    other = context.new_page()
    opens(other, server, BANNER % "" + BLOCKED)
    other.locator("button[value=accept]").click()
    expect(page.locator("#consent-mw")).to_be_hidden()
    becomes_true(page, "window.ran && ran.includes('both')")


@pytest.mark.parametrize("connected", [True, False])
def test_a_page_that_comes_back_follows(browser: Browser, chromium: str, server: Server, connected: bool) -> None:
    windowed = launch(browser.browser_type, chromium)  # the one without a window keeps no page to go back to
    page = windowed.new_page(base_url=server.origin)
    opens(page, server, BANNER % "")
    page.evaluate("mark = 'the very same page'; null")
    page.goto("/elsewhere")
    server.take({"choice": ["reject"]})
    page.context.set_offline(not connected)  # then nobody is asked: it may have been answered since
    page.evaluate("history.back()")
    page.wait_for_url(server.origin + "/", wait_until="commit")
    assert page.evaluate("window.mark") == "the very same page"
    expect(page.locator("#consent-mw")).to_be_hidden()
    windowed.close()


def test_a_subscriber_hears_the_present_state_and_each_change_until_it_leaves(page: Page, server: Server) -> None:
    opens(page, server, "")
    page.evaluate("heard = []; end = consent.subscribe((state) => heard.push(state.choice)); null")
    becomes_true(page, "heard.length === 1")
    server.take({"choice": ["accept"]})
    page.evaluate("consent.refresh()")
    page.evaluate("consent.refresh()")
    page.evaluate("consent.subscribe((state) => heard.push('late ' + state.choice))()")
    page.evaluate("end()")
    server.take({"choice": ["reject"]})
    assert page.evaluate("consent.refresh().then((state) => state.choice)") == "reject"
    assert page.evaluate("heard") == [None, "accept", "late accept"]


DIALOG = f"""<dialog data-consent="dialog" aria-labelledby="d"><link rel="stylesheet" href="/consent/static/pages.css">
<form method="dialog"><h2 id="d" tabindex="-1" autofocus>Settings</h2><button>Close</button></form>
<form method="post" action="/consent/choice" data-consent="choice">{BUTTONS}</form></dialog>"""


def test_each_way_back_opens_the_settings_that_hold_now_and_focus_returns(page: Page, server: Server) -> None:
    server.take({"choice": ["accept"]})
    server.pages["/consent"] = DIALOG
    opens(page, server, '<a href="#consent-mw">Cookies</a> <button data-consent="settings">B</button>')
    for way in (page.get_by_role("link", name="Cookies"), page.get_by_role("button", name="B", exact=True)):
        way.focus()
        page.keyboard.press("Enter")
        expect(page.locator("#d")).to_be_focused()
        page.locator("button[value=accept]").focus()
        page.keyboard.press("Enter")
        expect(page.locator("dialog")).to_have_count(0)
        expect(way).to_be_focused()
    assert [fields["choice"] for _, fields in server.posts] == [["accept"], ["accept"]]


def test_a_link_that_is_opened_in_another_tab_opens_no_dialog(page: Page, server: Server) -> None:
    opens(page, server, '<a href="/consent" data-consent="settings">Cookies</a>')
    with page.context.expect_page() as other:
        page.get_by_role("link").click(modifiers=["Control"])
    other.value.wait_for_url("**/consent")
    expect(page.locator("dialog")).to_have_count(0)


def test_a_frame_is_taken_away_at_once_when_its_purpose_is_refused(page: Page, server: Server) -> None:
    server.take({"choice": ["save"], "purpose.analytics": ["no"], "purpose.functional": ["yes"]})
    opens(page, server, FRAME + FRAME.replace("functional", "analytics").replace("Map", "Plan"))
    page.get_by_role("group", name="Plan").get_by_role("button", name="한 번").click()
    expect(page.locator("iframe[src='/map']")).to_have_count(2)
    becomes_true(page, "frames.length === 2 && Array.from(frames).every(each => each.document.body?.innerText)")
    server.take({"choice": ["reject"]})
    page.evaluate("consent.refresh()")
    expect(page.get_by_role("group", name="Map")).to_be_visible()
    expect(page.locator("iframe[title=Map]")).not_to_have_attribute("src", "/map")
    # Once was an answer of its own, for as long as the page is open.
    expect(page.locator("iframe[title=Plan]")).to_have_attribute("src", "/map")
    assert page.evaluate("Array.from(frames).filter(each => each.location.pathname === '/map').length") == 1
    server.take({"choice": ["accept"]})
    page.evaluate("consent.refresh()")
    expect(page.locator("iframe[title=Map]")).to_have_attribute("src", "/map")
    expect(page.get_by_role("group")).to_have_count(0)


def test_without_a_banner_the_way_back_leads_to_the_settings(page: Page, server: Server) -> None:
    opens(page, server, '<button data-consent="settings">B</button>')
    page.locator("button").click()
    page.wait_for_url("**/consent")
    opens(page, server, "", "/plain#consent-mw")
    page.wait_for_url("**/consent")


def test_a_dialog_of_the_page_opens_in_its_place(page: Page, server: Server) -> None:
    form = f"<form method=post action=/consent/choice data-consent=choice>{BUTTONS}</form>"
    dialog = f'<dialog data-consent="dialog">{form}</dialog>'
    opens(page, server, dialog + '<a href="/consent" data-consent="settings">Cookies</a>')
    page.get_by_role("link").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    assert server.posts == []
    page.get_by_role("link").click()
    page.locator("button[value=reject]").click()
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(page.get_by_role("link")).to_be_focused()


def test_what_names_no_purpose_of_the_policy_is_the_sites_own(page: Page, server: Server) -> None:
    own = (
        '<img id=lazy data-src="/shoe.gif" data-category="shoes"><iframe id=shown src="/inner" data-category="shoes">'
        '</iframe><template id=row data-category="shoes"><p>row</p></template>'
    )
    opens(page, server, BANNER % "" + own)
    page.locator("button[value=accept]").click()
    expect(page.locator("#consent-mw")).to_be_hidden()
    assert page.locator("#shown").get_attribute("src") == "/inner"
    expect(page.locator("#row")).to_have_count(1)
    expect(page.locator(".consent-mw-placeholder")).to_have_count(0)


def test_a_banner_from_before_the_answer_is_hidden_and_a_second_one_taken_away(page: Page, server: Server) -> None:
    opens(page, server, BANNER % "" + "<main>text</main>")
    page.evaluate("kept = document.body.innerHTML")
    page.locator("button[value=accept]").click()
    expect(page.locator("#consent-mw")).to_be_hidden()
    page.evaluate("document.body.innerHTML = kept + kept")
    expect(page.locator("#consent-mw")).to_have_count(1)
    expect(page.locator("#consent-mw")).to_be_hidden()
    expect(page.get_by_role("status")).to_have_count(1)  # what answers are announced in is there again


def test_a_banner_that_is_thrown_out_is_put_back_and_not_for_ever(page: Page, server: Server) -> None:
    opens(page, server, BANNER % "" + "<main>text</main>")
    for _ in range(3):  # as frameworks do that hydrate a document or morph a body into another
        page.evaluate("document.querySelector('#consent-mw').remove()")
        expect(page.locator("#consent-mw")).to_be_visible()
    page.evaluate(
        """new MutationObserver(() => document.querySelector('#consent-mw')?.remove())
        .observe(document.body, { childList: true }), document.querySelector('#consent-mw').remove()"""
    )
    expect(page.locator("#consent-mw")).to_have_count(0)


def test_a_page_kept_by_a_service_worker_asks_only_while_the_state_can_be_had(page: Page, server: Server) -> None:
    html = BANNER % "" + '<iframe data-src="/map" data-purpose="analytics" title="Map"></iframe>'
    page.route("**/consent/state?*", lambda route: route.abort())
    opens(page, server, html)  # from the server just now: it knows what is asked
    expect(page.get_by_role("group", name="Map")).to_be_visible()
    expect(page.locator("#consent-mw")).to_be_visible()
    page.unroute_all()
    page.evaluate(
        "navigator.serviceWorker.register('/worker.js').then(() => navigator.serviceWorker.ready).then(String)"
    )
    becomes_true(page, "navigator.serviceWorker.controller")
    page.reload()
    expect(page.get_by_role("group", name="Map")).to_be_visible()
    expect(page.locator("#consent-mw")).to_be_hidden()


def test_a_service_worker_that_keeps_everything_keeps_no_answer(page: Page, server: Server) -> None:
    server.take({"choice": ["accept"]})
    opens(page, server, BLOCKED)
    becomes_true(page, "window.ran && ran.includes('both')")
    page.evaluate(
        "navigator.serviceWorker.register('/keeper.js').then(() => navigator.serviceWorker.ready).then(String)"
    )
    becomes_true(page, "navigator.serviceWorker.controller")
    page.evaluate("consent.refresh()")
    server.take({"choice": ["reject"]})  # in another browser's tab, or on a page of ours
    page.reload()
    becomes_true(page, "consent.refresh().then(() => true)")
    assert page.evaluate("[consent.allows('analytics'), window.ran]") == [False, None]


def test_what_an_answer_left_waiting_before_our_script_came_is_asked_about_too(page: Page, server: Server) -> None:
    server.choice, server.waiting, server.pages["/consent"] = "prompt", ["theme"], WAITING % ITEM.format("theme")
    says = {"Server-Timing": "consent-waiting"}
    page.route("**/early", lambda route: route.fulfill(body="", headers=says))

    def comes_late(route: Route) -> None:
        page.wait_for_timeout(300)
        route.continue_()

    page.route("**/static/consent.*", comes_late)
    opens(page, server, "<script nonce=n1>fetch('/early')</script><main>text</main>")
    expect(page.get_by_role("button", name="allow theme")).to_be_visible()


SWAPS = """(text) => {
  const next = document.createElement("body");
  next.innerHTML = `<main>${text}</main>`;
  document.body.replaceWith(next);
}"""


def test_a_body_that_brings_no_question_leaves_the_open_one(page: Page, server: Server) -> None:
    opens(page, server, BANNER % "" + "<main>zero</main>")
    for text in ("one", "two"):
        page.evaluate(SWAPS, text)
        expect(page.locator("#consent-mw")).to_be_visible()
        expect(page.locator("main")).to_have_text(text)
    page.locator("button[value=accept]").click()
    expect(page.locator("#consent-mw")).to_be_hidden()
    page.evaluate(SWAPS, "three")
    expect(page.locator("main")).to_have_text("three")
    assert page.locator("#consent-mw:visible").count() == 0
    server.choice, server.waiting = "prompt", ["theme"]
    server.pages["/consent"] = WAITING % ITEM.format("theme")
    page.evaluate("consent.refresh()")
    expect(page.locator("button[value=allow]")).to_be_visible()
    page.evaluate(SWAPS, "four")
    expect(page.locator("main")).to_have_text("four")
    expect(page.locator("button[value=allow]")).to_be_visible()


def test_what_begins_to_wait_is_asked_about_without_navigation(page: Page, server: Server) -> None:
    server.choice, server.pages["/consent"] = "prompt", WAITING % ITEM.format("theme")
    opens(page, server, "<main>text</main>")
    page.evaluate("consent.refresh()")
    server.waiting = ["theme"]
    page.evaluate("consent.refresh()")
    page.get_by_role("button", name="allow theme").click()
    expect(page.locator("#consent-mw")).to_be_hidden()
    assert server.waiting == []


def test_an_answer_that_the_browser_did_not_keep_is_not_called_saved(page: Page, server: Server) -> None:
    opens(page, server, BANNER % "" + "<main>text</main>")
    state = json.dumps(server.state())
    page.route("**/consent/state?*", lambda route: route.fulfill(body=state, content_type="application/json"))
    page.locator("button[value=accept]").click()
    expect(page.locator("#consent-mw")).to_be_hidden()
    expect(page.get_by_role("status")).to_have_text("Not kept.")
