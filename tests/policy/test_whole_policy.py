"""A whole policy: what the application holds, who works for the site, what goes abroad, sections of its own."""

from __future__ import annotations

import re

import pytest
from tests.support.smallest_policy import SMALLEST
from tests.support.whole_policy import CLOUD, MEMBERS, SECTION

from consent_mw.exceptions import PolicyError
from consent_mw.policy.loader import loads
from consent_mw.policy.model import Policy
from consent_mw.retention.calendar import Retention
from consent_mw.site.changed_lines import differences
from consent_mw.site.documents import OwnCookies, policy_document
from consent_mw.site.surfaces import Surfaces


def article(policy: Policy, language: str = "en") -> str:
    return Surfaces(policy).render("_article.html", language, "", suffix="", own_cookies=OwnCookies(), has_my_data=True)


def section(html: str, name: str) -> str:
    return html.partition(f'<section id="section-{name}">')[2].partition("</section>")[0]


def test_what_the_application_holds_is_told_as_its_promise_and_kept_by_nobody_here() -> None:
    policy = loads(SMALLEST + MEMBERS)
    assert "members" not in policy.kept
    assert "members" not in Retention([policy]).purposes
    assert [purpose.name for purpose in policy.asked] == ["ads"]
    kept = section(article(policy), "retention")
    ours, _, theirs = kept.partition("is not destroyed by this server")
    assert "Accounts" not in ours
    assert "until you close your account" in theirs
    assert "Contracts: 5 years (Act 6)" in theirs
    assert "회원 탈퇴 시까지" in section(article(policy, "ko"), "retention")
    assert "Telephone" in section(article(policy), "collection")


def test_a_processor_is_no_third_party_and_what_goes_abroad_is_told() -> None:
    html = article(loads(SMALLEST + MEMBERS + CLOUD))
    assert "There is no such recipient at present" in section(html, "recipients")
    assert "Cloud Inc." not in section(html, "recipients")
    assert "Hosting" in section(html, "processors")
    assert "United States" in section(html, "transfers")
    assert "standard contractual clauses" in section(html, "transfers")
    document = policy_document(loads(SMALLEST + MEMBERS + CLOUD), "en", OwnCookies(), [1])
    assert document["recipients"] == []
    assert [processor["task"]["text"] for processor in document["processors"]] == ["Hosting"]  # type: ignore[attr-defined]  # a document is of objects


def test_a_section_of_ones_own_is_numbered_with_ours_and_holds_no_markup() -> None:
    html = article(loads(SMALLEST + SECTION))
    numbers = [int(number) for number in re.findall(r"<h2>(\d+)\. ", html)]
    assert numbers == list(range(1, 13))
    own = section(html, "own-1")
    assert "<h2>7. Security</h2>" in own
    assert "&lt;b&gt;the door&lt;/b&gt;" in own
    assert '<a href="https://example.com/how" rel="noreferrer">trained</a>' in own
    assert 'href="javascript' not in own


def test_a_new_section_changes_no_other_though_it_moves_their_numbers() -> None:
    changes = differences(article(loads(SMALLEST)), article(loads(SMALLEST + SECTION)))
    assert [change.heading for change in changes] == ["7. Security"]


@pytest.mark.parametrize(
    ("added", "places"),
    [
        (MEMBERS.replace("until = {", 'retention = "1 year"\nuntil = {', 1), ["purposes.members.until"]),
        (MEMBERS.replace("until = {", "source = {", 1), ["purposes.members"]),
        (MEMBERS + '[log.members]\n"url.path" = "full"\n', ["log.members"]),
        (MEMBERS + '[events.buy]\npurpose = "members"\n', ["events.buy.purpose"]),
        ('[purposes.a]\nbasis = "consent"\n', ["purposes.a"]),
        ('[purposes.a]\nbasis = "consent"\nretention = "1 day"\nitems = { required = "x" }\n', ["purposes.a.items"]),
        ('[purposes.a]\nbasis = "consent"\nretention = "1 day"\nlaw = "Act"\n', ["purposes.a.law"]),
        ('[[processors]]\nname = "x"\ntask = "x"\npurposes = ["nothing"]\n', ["processors[1].purposes"]),
        ('[[processors]]\nnom = "x"\n', ["processors[1].nom", "processors[1]", "processors[1]", "processors[1]"]),
        (CLOUD.replace('["US"]', "[]").replace('"members", ', "") + MEMBERS, ["processors[1].transfer.countries"]),
        ('[[sections]]\ntitle = "x"\ntext = "x"\nafter = "nowhere"\n', ["sections[1].after"]),
        ('[[sections]]\ntitle = "x"\ntext = "x"\nafter = "transfers"\n', ["sections[1].after"]),
        ('[headings]\nright = "x"\n', ["headings.right"]),
        ('[[contacts]]\nrole = "boss"\nname = "x"\n', ["contacts[1].role"]),
        ('[[contacts]]\nrole = "dpo"\nname = "x"\n', ["contacts[1]"]),
        ('[[earlier]]\nuntil = 2025-01-01\nurl = "old"\n', ["earlier[1].url"]),
    ],
)
def test_each_fault_has_its_place_and_its_mend(added: str, places: list[str]) -> None:
    with pytest.raises(PolicyError) as raised:
        loads(SMALLEST + added)
    assert [fault.place.split(" ")[0] for fault in raised.value.faults] == places
    assert all(fault.fix for fault in raised.value.faults)


@pytest.mark.parametrize(("said", "good"), [("US", True), ("US-CA", True), ("US-ZZ", False), ("KR-11", False)])
def test_a_jurisdiction_may_be_a_state(said: str, good: bool) -> None:
    text = SMALLEST.replace("[controller]", f'jurisdiction = "{said}"\n[controller]')
    if good:
        assert "45 days" in section(article(loads(text)), "rights")
    else:
        with pytest.raises(PolicyError):
            loads(text)
