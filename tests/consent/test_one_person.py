"""Who somebody is outlasts their changes of mind: for a restriction, an erasure, what is taken back, and the counts."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from consent_mw import get_consent
from consent_mw._asgi import Receive, Scope, Send
from consent_mw.testing.client import ConsentClient
from consent_mw.testing.commands import Done
from consent_mw.testing.site import LivingSite

START = datetime(2028, 2, 1, 12, tzinfo=UTC)
OURS = {"accept": "application/json", "sec-fetch-site": "same-origin"}
DATA = "/consent/my-data"


def policy(revision: int = 1, *, published: str = "2028-01-01", more: str = "", **asked: str) -> str:
    purposes = "".join(
        f'[purposes.{name}]\nbasis = "consent"\nretention = "{kept}"\n[log.{name}]\n"url.path" = "full"\n'
        for name, kept in asked.items()
    )
    return f"""
schema = 1
revision = {revision}
published = {published}
effective = {date.fromisoformat(published) + timedelta(days=0 if revision == 1 else 30)}
languages = ["en", "ko"]
[controller]
name = "x"
officer = {{ name = "k", email = "p@example.com" }}
[purposes.necessary]
basis = "necessary"
retention = "10 days"
[purposes.abuse]
basis = "legitimate_interest"
retention = "1 year"
[log.abuse]
"url.path" = "full"
{purposes}{more}"""


TEXT = policy(analytics="90 days", marketing="13 months")


async def page(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await receive()
        return
    if scope["path"] == "/abuse":
        get_consent(scope).report_abuse("scraping")
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"x"})


def member(scope: Scope) -> str | None:
    return next((value.decode() for name, value in scope["headers"] if name == b"x-user"), None)


@pytest.fixture
def new_site(tmp_path: Path) -> Callable[..., LivingSite]:
    def make(text: str | None = TEXT, at: datetime = START, **options: Any) -> LivingSite:
        options = {"exclude": ("/consent*",), "subject": member, **options}
        return LivingSite(page, directory=tmp_path, policy=text, at=at, **options)

    return make


NewSite = Callable[..., LivingSite]


def saves(visitor: ConsentClient, **answers: str) -> None:
    fields = {"choice": "save"} | {f"purpose.{name}": yes for name, yes in answers.items()}
    assert visitor.post("/consent/choice", data=fields, headers=OURS).status_code == 200


def asks(site: LivingSite, visitor: ConsentClient, action: str, **fields: Any) -> dict[str, Any]:
    site.clock.advance(timedelta(seconds=1))
    answer = visitor.post(DATA, data={"action": action, **fields}, headers=OURS)
    assert answer.status_code == 200, answer.text
    done: dict[str, Any] = answer.json()["done"]
    site.clock.advance(timedelta(seconds=1))
    site.settle()
    return done


def data_of(visitor: ConsentClient) -> dict[str, Any]:
    data: dict[str, Any] = visitor.get(f"{DATA}.json").json()
    return data


def held(visitor: ConsentClient) -> dict[str, int]:
    return {row["purpose"]: row["count"] for row in data_of(visitor)["held"]}


def kept(site: LivingSite, purpose: str, *kinds: str) -> list[str]:
    return [
        str(record.data["url.path"]) for record in site.records(*(kinds or ("visit",))) if record.purpose == purpose
    ]


def lines(done: Done) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


def read_by_staff(site: LivingSite, purpose: str = "analytics") -> list[str]:
    site.settle()
    done = site.run("log", "--kind", "visit", "--purpose", purpose, "--reason", "a test", "--json", "-n", "1000")
    assert done.exit_code == 0, done.stderr
    return [str(row["url.path"]) for row in lines(done)]


# -- 1: a restriction is about a person ------------------------------------------------------------------------------


def test_a_restriction_holds_for_what_comes_after_a_change_of_mind_until_it_is_taken_back(new_site: NewSite) -> None:
    with new_site() as site:
        kim, lee = site.visitor(), site.visitor()
        kim.accept()
        kim.get("/before")
        lee.accept()
        lee.get("/of-lee")
        asks(site, kim, "restrict", message="leave me alone")
        saves(kim, analytics="yes", marketing="no")
        kim.get("/after")
        site.pass_time(hours=1)
        saves(kim, analytics="yes", marketing="yes")
        kim.get("/after-again")
        assert read_by_staff(site) == ["/of-lee"]
        exported = site.run("export", "--purpose", "analytics", "--reason", "a test", "--format", "jsonl").stdout
        assert "/of-lee" in exported
        assert "/after" not in exported
        assert "/before" not in exported
        assert data_of(kim)["restricted"]
        assert not data_of(lee)["restricted"]
        asks(site, kim, "lift")
        assert read_by_staff(site) == ["/before", "/of-lee", "/after", "/after-again"]
        assert not data_of(kim)["restricted"]


def test_a_restriction_holds_for_what_was_still_on_its_way_when_it_was_asked_for(new_site: NewSite) -> None:
    with new_site() as site:
        kim = site.visitor()
        kim.accept()
        kim.get("/early")
        saves(kim, analytics="yes", marketing="no")
        kim.get("/late")  # nothing was handed over yet
        kim.post(DATA, data={"action": "restrict"}, headers=OURS)
        site.pass_time(minutes=1)
        assert read_by_staff(site) == []
        assert data_of(kim)["restricted"]


def test_a_restriction_and_its_end_hold_for_staff_while_they_wait_in_the_spool(
    new_site: NewSite,
) -> None:
    def read_now(site: LivingSite) -> list[str]:
        words = ("log", "--kind", "visit", "--purpose", "analytics", "--reason", "a test", "--json")
        return [str(row["url.path"]) for row in lines(site.run(*words))]

    def drains(site: LivingSite) -> None:
        site.settle()  # lets go of what it writes
        assert site.run("drain", "--once").exit_code == 0

    with new_site(drain=False) as site:
        kim = site.visitor()
        kim.accept()
        kim.get("/x")
        drains(site)
        assert read_now(site) == ["/x"]
        kim.post(DATA, data={"action": "restrict"}, headers=OURS)
        assert read_now(site) == []
        drains(site)
        assert read_now(site) == []
        assert kim.post(DATA, data={"action": "lift"}, headers=OURS).status_code == 200
        assert read_now(site) == ["/x"]


def test_a_restriction_follows_a_member_into_every_browser_in_which_they_sign_in(new_site: NewSite) -> None:
    with new_site() as site:
        desk, phone, other = (site.visitor(headers={"x-user": "kim"}) for _ in range(3))
        other.headers["x-user"] = "lee"
        desk.accept()
        desk.get("/desk")
        asks(site, desk, "restrict")
        for browser, path in ((phone, "/phone"), (other, "/of-lee")):
            browser.accept()
            browser.get(path)
        assert read_by_staff(site) == ["/of-lee"]
        assert (data_of(phone)["restricted"], data_of(other)["restricted"]) == (True, False)
        del phone.headers["x-user"]  # signed out, and still theirs
        phone.get("/signed-out")
        assert data_of(phone)["restricted"]
        assert read_by_staff(site) == ["/of-lee"]


def test_who_was_not_signed_in_when_they_asked_is_known_by_their_sign_in_afterwards(new_site: NewSite) -> None:
    with new_site() as site:
        desk, phone = site.visitor(), site.visitor(headers={"x-user": "kim"})
        for browser, path in ((desk, "/desk"), (phone, "/phone")):
            browser.accept()
            browser.get(path)
        asks(site, desk, "restrict")
        assert read_by_staff(site) == ["/phone"]
        desk.headers["x-user"] = "kim"
        assert data_of(desk)["restricted"]
        assert read_by_staff(site) == []
        assert data_of(phone)["restricted"]


def test_who_is_under_restriction_is_in_no_count_and_in_no_disclosure_after_a_change_of_mind(
    new_site: NewSite,
) -> None:
    with new_site() as site:
        crowd = [site.visitor() for _ in range(6)]
        for visitor in crowd:
            visitor.accept()
        asks(site, crowd[0], "restrict")
        saves(crowd[0], analytics="yes", marketing="no")
        for visitor in crowd:
            visitor.get("/x")
        words = ("--to", "x", "--basis", "consent", "--purpose", "analytics", "--json")
        site.settle()
        assert site.run("disclose", "add", *words).json()["records"] == 5
        site.pass_time(days=1)
        assert site.counts(START.date())["analytics"]["kind"] == {"visit": 5}


def test_a_restriction_outlives_the_wish_to_be_asked_each_time(new_site: NewSite) -> None:
    with new_site() as site:
        kim = site.visitor()
        kim.accept()
        asks(site, kim, "restrict")
        kim.ask()
        assert data_of(kim)["restricted"]
        saves(kim, analytics="no")  # about the rest they want to be asked
        site.pass_time(hours=1)
        kim.accept()
        kim.get("/after")
        assert (read_by_staff(site), data_of(kim)["restricted"]) == ([], True)


@pytest.mark.parametrize("granted", [False, True], ids=["open", "in force"])
def test_a_restriction_outlives_the_record_that_asked_for_it(new_site: NewSite, granted: bool) -> None:
    requests = '[purposes.requests]\nbasis = "legitimate_interest"\nretention = "60 days"\n'
    with new_site(policy(analytics="90 days", more=requests)) as site:
        kim = site.visitor()
        kim.accept()
        number = asks(site, kim, "restrict", message="leave me alone")["number"]
        if granted:
            assert site.run("requests", "grant", number).exit_code == 0
        for _ in range(3):
            kim.get("/later")
            site.pass_time(days=50, step=timedelta(days=5))
        assert number not in [request["number"] for request in data_of(kim)["requests"]]
        assert data_of(kim)["restricted"]
        assert read_by_staff(site) == []
        (row,) = lines(site.run("requests", "list", "--json"))
        assert row["received"][:10] == "2028-02-01"
        asks(site, kim, "lift")
        assert read_by_staff(site) == ["/later"]
        assert not data_of(kim)["restricted"]


@pytest.mark.parametrize("away", [False, True], ids=["requests are kept for a shorter time", "the site was away"])
def test_a_restriction_outlives_what_ends_its_record_at_once(new_site: NewSite, away: bool) -> None:
    requests = '[purposes.requests]\nbasis = "legitimate_interest"\nretention = "{}"\n'
    with new_site(policy(analytics="90 days", more=requests.format("30 days" if away else "1 year"))) as site:
        kim = site.visitor()
        kim.accept()
        kim.get("/x")
        asks(site, kim, "restrict")
        if away:
            site.clock.advance(timedelta(days=45))
            site.restart()
        else:
            site.pass_time(days=40, step=timedelta(days=40))
            more = requests.format("20 days")
            site.publish(policy(2, published=site.today.isoformat(), analytics="90 days", more=more))
        site.pass_time(days=35, step=timedelta(days=7))
        kim.get("/later")
        assert read_by_staff(site) == []
        assert data_of(kim)["restricted"]


# -- 2: an erasure reaches everything --------------------------------------------------------------------------------


def test_an_erasure_finds_what_is_older_than_every_receipt_of_its_person(new_site: NewSite) -> None:
    with new_site() as site:
        kim = site.visitor()
        for number, (analytics, days) in enumerate((("yes", 3), ("no", 167), ("yes", 170), ("no", 0))):
            saves(kim, marketing="yes", analytics=analytics)
            kim.get(f"/{number}")
            site.pass_time(days=days, step=timedelta(days=40))
        site.pass_until(datetime(2029, 2, 10, 12, tzinfo=UTC), step=timedelta(days=40))
        assert len(site.records("receipt")) == 2, "of four"
        assert kept(site, "marketing") == ["/0", "/1", "/2", "/3"]
        assert held(kim) == {"marketing": 4}
        done = asks(site, kim, "erase", confirm="yes")
        assert (done["state"], done["erased"]["records"]) == ("done", 4)
        assert kept(site, "marketing") == []


def test_a_member_finds_and_erases_what_a_browser_left_that_they_signed_in_with_long_ago(new_site: NewSite) -> None:
    text = policy(
        marketing="13 months", more='[purposes.requests]\nbasis = "legitimate_interest"\nretention = "30 days"\n'
    )
    with new_site(text) as site:
        old = site.visitor(headers={"x-user": "kim"})
        old.accept()
        del old.headers["x-user"]
        site.pass_time(days=170, step=timedelta(days=40))
        old.get("/old")
        site.pass_time(days=385, step=timedelta(days=40))
        assert site.records("receipt") == []
        new = site.visitor(headers={"x-user": "kim"})
        assert held(new) == {"marketing": 1}
        assert asks(site, new, "erase", confirm="yes")["erased"]["records"] == 1
        assert kept(site, "marketing") == []


def test_a_member_still_finds_the_records_of_abuse_that_staff_refused_to_erase(new_site: NewSite) -> None:
    with new_site() as site:
        kim = site.visitor(headers={"x-user": "kim"})
        kim.accept()
        kim.get("/abuse")
        asks(site, kim, "erase", confirm="yes")
        (number,) = [request["number"] for request in lines(site.run("requests", "list", "--json"))]
        assert site.run("requests", "refuse", number, "--reason", "we need them").exit_code == 0
        assert held(kim) == {"abuse": 1}
        asks(site, kim, "erase-abuse", message="please")
        numbers = [
            request["number"] for request in lines(site.run("requests", "list", "--json")) if request["state"] == "open"
        ]
        assert site.run("requests", "grant", numbers[0]).exit_code == 0
        site.pass_time(minutes=1)
        assert site.records("abuse") == []


def test_records_of_abuse_that_a_law_keeps_are_found_and_asked_about_too(new_site: NewSite) -> None:
    more = '[purposes.abuse.archive]\nretention = "1 year"\nlaw = "a law"\n'
    text = policy(analytics="90 days").replace('retention = "1 year"', 'retention = "30 days"') + more
    with new_site(text) as site:
        kim = site.visitor(headers={"x-user": "kim"})
        kim.accept()
        kim.get("/abuse")
        site.pass_time(days=32, step=timedelta(days=32))
        assert len(site.archived("abuse")) == 1
        assert held(kim)["abuse"] == 1
        asks(site, kim, "erase", confirm="yes")
        assert held(kim) == {"abuse": 1}
        (request,) = lines(site.run("requests", "list", "--json"))
        assert request["purposes"] == ["abuse"]


def test_a_member_finds_a_browser_in_which_they_signed_in_once_for_as_long_as_it_allows_something(
    new_site: NewSite,
) -> None:
    text = policy(analytics="30 days", marketing="30 days").replace('"1 year"', '"30 days"')
    with new_site(text) as site:
        phone, desk = (site.visitor(headers={"x-user": "kim"}) for _ in range(2))
        phone.accept()
        del phone.headers["x-user"]
        for number in range(4):
            site.pass_time(days=150, step=timedelta(days=10))
            saves(phone, analytics="yes", marketing="yes" if number % 2 else "no")
            phone.get(f"/{number}")
        assert held(desk) == {"analytics": 1, "marketing": 1}
        assert asks(site, desk, "erase", confirm="yes")["erased"]["records"] == 2


def test_a_link_that_would_end_is_moved_and_leads_on(new_site: NewSite) -> None:
    text = policy(analytics="30 days", marketing="30 days").replace('"1 year"', '"30 days"')
    with new_site(text) as site:
        phone, desk = (site.visitor(headers={"x-user": "kim"}) for _ in range(2))
        phone.accept()
        (first,) = {link.time.date() for link in site.records("link")}
        del phone.headers["x-user"]
        for _ in range(2):
            site.pass_time(days=95, step=timedelta(days=5))
            saves(phone, analytics="yes", marketing="yes")
            phone.get("/later")
            site.pass_time(days=1, step=timedelta(days=1))
        links = site.records("link")
        assert len(links) == 2
        assert all(link.time.date() > first for link in links)
        site.pass_time(days=25, step=timedelta(days=1))
        assert held(desk) == {"analytics": 1, "marketing": 1}


def test_links_outlive_a_purpose_that_is_declared_no_more(new_site: NewSite) -> None:
    with new_site(policy(analytics="30 days", marketing="13 months")) as site:
        kim = site.visitor(headers={"x-user": "kim"})
        kim.accept()
        kim.get("/old")
        site.settle()
        site.publish(policy(2, published="2028-02-01", analytics="30 days"))
        site.pass_time(days=260, step=timedelta(days=20))
        new = site.visitor(headers={"x-user": "kim"})
        assert held(new) == {"marketing": 1}


@pytest.mark.parametrize(("before", "after"), [(3, 1), (0, 30)], ids=["begun days before", "ends a day after"])
def test_a_long_exchange_is_erased_after_its_end_although_nothing_else_was_found(
    new_site: NewSite, before: int, after: int
) -> None:
    with new_site() as site:
        kim = site.visitor()
        kim.accept()
        with kim.websocket("/ws"):
            site.pass_time(days=before)
            asks(site, kim, "erase", confirm="yes")
            site.pass_time(hours=after)
        for _ in range(3):
            site.pass_time(minutes=1)
        assert [record for record in site.records("visit") if record.purpose != "necessary"] == []


def test_an_erasure_forgets_by_which_sign_in_an_ended_browser_was_used_and_no_other(new_site: NewSite) -> None:
    with new_site() as site:
        desk, phone = (site.visitor(headers={"x-user": "kim"}) for _ in range(2))
        desk.accept()
        phone.accept()
        asks(site, desk, "erase", confirm="yes")
        assert len(site.records("link")) == 2, "of the phone, where their choice holds"
        phone.get("/later")
        assert held(desk) == {"analytics": 1, "marketing": 1}


def test_what_is_still_open_stays_open_after_an_erasure_and_goes_on_to_restrict(new_site: NewSite) -> None:
    with new_site() as site:
        kim = site.visitor(headers={"x-user": "kim"})
        kim.accept()
        asks(site, kim, "restrict")
        asks(site, kim, "dispute", message="not me")
        asks(site, kim, "withdraw", purpose="analytics")
        asks(site, kim, "erase", confirm="yes")
        data = data_of(kim)
        assert [(request["kind"], request["state"]) for request in data["requests"]] == [
            ("restriction", "open"), ("correction", "open")
        ]  # fmt: skip
        assert data["restricted"]
        page_of = kim.get(f"{DATA}?lang=en").text
        assert "until they are answered or withdrawn" in page_of


# -- 3: what is taken back is taken back whole -----------------------------------------------------------------------


def removed_since(site: LivingSite) -> ConsentClient:
    """A visitor who allowed `functional`, which revision 2 declares no more."""
    kim = site.visitor()
    kim.accept()
    kim.get("/first")
    site.settle()
    site.publish(policy(2, published="2028-02-01", analytics="90 days"))
    site.pass_time(days=35, step=timedelta(days=40))
    kim.get("/second")
    site.settle()
    assert sorted(record.purpose for record in site.records("visit")) == ["analytics", "analytics", "functional"]
    return kim


BEFORE = policy(functional="13 months", analytics="90 days")


@pytest.mark.parametrize("way", ["reject", "withdraw all", "erase", "no to each", "by its name"])
def test_what_is_taken_back_reaches_a_purpose_that_is_declared_no_more(new_site: NewSite, way: str) -> None:
    with new_site(BEFORE) as site:
        kim = removed_since(site)
        assert held(kim) == {"analytics": 2, "functional": 1}
        if way == "reject":
            kim.reject()
        elif way == "withdraw all":
            asks(site, kim, "withdraw", purpose="all")
        elif way == "erase":
            asks(site, kim, "erase", confirm="yes")
        elif way == "no to each":
            saves(kim, analytics="no")
        else:
            assert 'name="purpose" value="functional"' in kim.get(DATA).text
            asks(site, kim, "withdraw", purpose="functional")
        site.pass_time(minutes=1)
        left = ["/first", "/second"] if way == "by its name" else []
        assert (kept(site, "functional"), kept(site, "analytics")) == ([], left)
        assert kim.state()["choice"] == ("accept" if way == "by its name" else "reject")


def test_who_wants_to_be_asked_each_time_instead_takes_back_everything_in_all_of_a_members_browsers(
    new_site: NewSite,
) -> None:
    with new_site() as site:
        desk, phone = (site.visitor(headers={"x-user": "kim"}) for _ in range(2))
        for browser in (desk, phone):
            browser.accept()
        saves(desk, analytics="yes", marketing="no")
        for browser in (desk, phone):
            browser.get("/page")
        assert held(phone) == {"analytics": 2, "marketing": 1}
        desk.ask()
        site.pass_time(minutes=1)
        assert held(phone) == {}


def test_a_purpose_that_is_declared_no_more_is_told_as_it_was_declared_last(new_site: NewSite) -> None:
    titled = BEFORE.replace(
        "[purposes.functional]\n", '[purposes.functional]\ntitle = { en = "Comfort", ko = "편의" }\n'
    )
    with new_site(titled) as site:
        kim = removed_since(site)
        page = kim.get(DATA, headers={"accept": "text/html", "accept-language": "ko"}).text
        assert "<h3>편의</h3>" in page
        assert page.count("</strong>, 편의") == 1
        (row,) = [row for row in data_of(kim)["held"] if row["purpose"] == "functional"]
        assert (row["title"], row["basis"], row["retention"]) == ("Comfort", "consent", "13 months")
        assert "receivers" not in row, "who received it then, the policy of today does not say"


def test_a_purpose_that_never_was_cannot_be_withdrawn_and_the_answer_lists_those_that_can(new_site: NewSite) -> None:
    with new_site(BEFORE) as site:
        kim = removed_since(site)
        answer = kim.post(DATA, data={"action": "withdraw", "purpose": "marketing"}, headers=OURS)
        assert (answer.status_code, answer.json()["allowed"]) == (422, ["analytics", "functional", "all"])


def test_who_came_after_a_purpose_was_removed_takes_nothing_of_it_back(new_site: NewSite) -> None:
    with new_site(BEFORE) as site:
        removed_since(site)
        lee = site.visitor(headers={"x-user": "lee"})
        lee.accept()
        asks(site, lee, "withdraw", purpose="all")
        (request,) = data_of(lee)["requests"]
        assert request["purposes"] == []  # everything that they ever allowed


def test_a_no_to_a_purpose_that_was_not_declared_for_a_while_reaches_what_was_allowed_before(new_site: NewSite) -> None:
    with new_site(BEFORE) as site:
        kim = site.visitor()
        saves(kim, functional="yes", analytics="yes")
        kim.get("/first")
        site.settle()
        site.publish(policy(2, published="2028-02-01", analytics="90 days", marketing="90 days"))
        site.pass_time(days=35, step=timedelta(days=40))
        saves(kim, analytics="yes", marketing="no")
        published = site.today.isoformat()
        site.publish(policy(3, published=published, analytics="90 days", functional="13 months"))
        site.pass_time(days=35, step=timedelta(days=40))
        saves(kim, analytics="yes")
        site.pass_time(minutes=1)
        assert kept(site, "functional") == ["/first"], "they were asked again, and have not answered"
        saves(kim, analytics="yes", functional="no")
        site.pass_time(minutes=1)
        assert (kept(site, "functional"), kept(site, "analytics")) == ([], ["/first"])


def test_what_a_member_takes_back_reaches_removed_purposes_of_their_other_browsers(new_site: NewSite) -> None:
    with new_site(BEFORE) as site:
        old = site.visitor(headers={"x-user": "kim"})
        old.accept()
        old.get("/old")
        site.settle()
        site.publish(policy(2, published="2028-02-01", analytics="90 days"))
        site.pass_time(days=35, step=timedelta(days=40))
        new = site.visitor(headers={"x-user": "kim"})
        new.accept()
        assert held(new) == {"analytics": 1, "functional": 1}
        new.reject()
        site.pass_time(minutes=1)
        assert kept(site, "functional") == []


def test_to_ask_to_be_asked_again_takes_nothing_back_where_nothing_was_allowed(new_site: NewSite) -> None:
    with new_site(BEFORE) as site:
        desk, phone = (site.visitor(headers={"x-user": "kim"}) for _ in range(2))
        phone.accept()
        phone.get("/phone")
        desk.accept()
        desk.ask()
        site.pass_time(minutes=1)
        assert kept(site, "analytics") == [], "what was allowed is taken back in both"
        phone.get("/again")
        site.publish(policy(2, published="2028-02-01", analytics="90 days", more="[contact]\n"))
        site.pass_time(days=35, step=timedelta(days=40))
        desk.ask()
        site.pass_time(minutes=1)
        assert kept(site, "analytics") == ["/again"]


def test_a_no_to_what_was_collected_until_somebody_says_no_erases_it(new_site: NewSite) -> None:
    text = TEXT.replace('[purposes.marketing]\nbasis = "consent"', '[purposes.marketing]\nbasis = "opt_out"')
    with new_site(text) as site:
        kim = site.visitor()
        saves(kim, analytics="yes")
        kim.get("/x")
        site.settle()
        assert kept(site, "marketing") == ["/x"]
        saves(kim, analytics="yes", marketing="no")
        site.pass_time(minutes=1)
        assert (kept(site, "marketing"), kept(site, "analytics")) == ([], ["/x"])


# -- allowed again ---------------------------------------------------------------------------------------------------


def test_what_is_allowed_again_is_kept_from_then_on_and_nothing_from_before(new_site: NewSite) -> None:
    with new_site() as site:
        kim = site.visitor()
        kim.accept()
        kim.get("/before")
        for number in range(3):  # in ten seconds, while nothing is carried out
            saves(kim, analytics="yes", marketing="no")
            site.clock.advance(timedelta(seconds=1))
            saves(kim, analytics="yes", marketing="yes")
            site.clock.advance(timedelta(seconds=1))
            kim.get(f"/{number}")
            site.clock.advance(timedelta(seconds=1))
        for _ in range(3):  # the ledger is looked at again each hour
            assert kept(site, "analytics") == ["/before", "/0", "/1", "/2"]
            site.pass_time(hours=1)
            assert kept(site, "marketing") == ["/2"]
        assert read_by_staff(site, "marketing") == ["/2"], "staff do not take it for put back"


def test_each_withdrawal_counts_although_the_same_was_withdrawn_seconds_before(new_site: NewSite) -> None:
    with new_site() as site:
        kim = site.visitor()
        kim.accept()
        for number in range(2):
            kim.get(f"/{number}")
            site.clock.advance(timedelta(seconds=1))
            saves(kim, analytics="yes", marketing="no")
            site.settle()
            assert kept(site, "marketing") == []
            saves(kim, analytics="yes", marketing="yes")
        assert len(site.records("request")) == 2


# -- 7: one person is one in a small cell ----------------------------------------------------------------------------


def test_one_visitor_is_one_however_often_they_change_their_mind_in_a_day(new_site: NewSite) -> None:
    with new_site() as site:
        kim = site.visitor()
        for number in range(6):
            saves(kim, analytics="yes", marketing="no" if number % 2 else "yes")
            kim.get("/clinic")
            site.pass_time(minutes=10)
        site.pass_time(days=1)
        assert len(site.records("receipt")) == 6
        assert {by for of in site.counts(START.date()).values() for by in of} <= {"undeclared"}


def test_one_visitor_is_one_however_often_they_refuse_everything_and_accept_again(new_site: NewSite) -> None:
    with new_site() as site:
        kim = site.visitor()
        for _ in range(6):
            kim.accept()
            kim.get("/clinic")
            site.pass_time(minutes=10)
            kim.reject()
            site.pass_time(minutes=10)
        site.pass_time(days=1)
        assert len(site.records("receipt")) == 12
        assert "receipts" not in site.counts(START.date())


def test_one_visitor_is_one_in_a_period_of_days_on_each_of_which_they_choose(new_site: NewSite) -> None:
    with new_site() as site:
        kim = site.visitor()
        for number in range(35):
            saves(kim, analytics="yes", marketing="no" if number % 2 else "yes")
            site.pass_time(days=1, step=timedelta(hours=12))
        report = site.run("report", "--json", "--days", "40").json()
        assert all(not day.get("choices") for day in report["days"]), report["days"]


def test_five_visitors_are_told_although_one_of_them_chose_before(new_site: NewSite) -> None:
    with new_site() as site:
        crowd = [site.visitor() for _ in range(6)]
        crowd[0].reject()
        for visitor in crowd:
            visitor.accept()
        site.pass_time(days=1)
        counts = site.counts(START.date())["receipts"]
        assert counts["kind"] == {"receipt": 7}
