"""What a revision changes, and how much notice that takes: item by item, in an operator's words and a visitor's."""

from __future__ import annotations

from datetime import date
from functools import lru_cache
from importlib.resources import files
from pathlib import Path

import pytest
from tests.support.policies import POLICY
from tests.support.publishing import dated

from consent_mw.policy.amendments import amendments
from consent_mw.policy.loader import loads as read
from consent_mw.policy.model import (
    Policy,
    Text,
)
from consent_mw.policy.notice_period import Changes, changes, notice
from consent_mw.site.amendment_lines import amendment_lines
from consent_mw.site.templating import Templates

loads = lru_cache(read)
TEMPLATES = Templates()
PACKAGE = Path(str(files("consent_mw")))
RECIPIENT = """
[[recipients]]
name = { ko = "배송사", en = "Delivery" }
purpose = "functional"
items = "Address"
retention = "90 days"
country = "KR"
"""
ARCHIVED = """
[purposes.orders]
basis = "contract"
retention = "90 days"
archive = { retention = "5 years", law = "Act 1" }
"""
AGENCY = '[[agencies]]\nname = "Agency"\nphone = "118"\n'
PROVIDED = '[[cookies.declared]]\nname = "seen"\npurpose = "analytics"\nprovider = "Counter"\nexpires = "1 year"\n'
BROWSER = """
[[browser]]
name = "cart"
kind = "local_storage"
purpose = "analytics"
description = "Holds the cart."
expires = "1 year"
[[browser]]
name = "px"
kind = "pixel"
purpose = "functional"
host = "px.example"
description = "Counts."
refuse_url = "https://px.example/no"
"""
KEPT_APART = '[[browser]]\nname = "db"\nkind = "indexed_db"\npurpose = "analytics"\ndescription = "x"\n'
SURVEYS = '[purposes.surveys]\nbasis = "consent"\nretention = "1 day"\n'
FONT = '[[cookies.declared]]\nname = "font"\npurpose = "{}"\nexpires = "1 day"\n'
TRANSFER = """
[{}.transfer]
countries = ["US"]
basis = "scc"
items = "Mail"
how = "Sealed"
refuse = "Ask us."
"""
MEMBERS = """
[purposes.members]
held_by = "application"
basis = "contract"
until = "you leave"
grounds = "Article 6(1)(b)"
subjects = "members"
source = "the log-in service"
items = { required = "E-mail", optional = "Telephone" }
kept = [{ what = "Contracts", retention = "5 years", law = "Act 6" }]
answered_by = "my_data"
deidentified = "30 days"
[purposes.duty]
basis = "legal_obligation"
law = "Act 7"
retention = "90 days"
"""
PROCESSOR = """
[[processors]]
name = { ko = "Cloud", en = "Cloud" }
task = "Hosting"
purposes = ["functional", "members"]
retention = "1 year"
contact = "118"
sub = ["Sub"]
"""
RECEIVING = """
[[recipients]]
name = "Bank"
purpose = "members"
items = "Name"
until = "paid"
contact = "119"
"""
WORDS = """
[[joint_controllers]]
name = "Twin"
email = "twin@example.com"
[[contacts]]
role = "dpo"
name = "Dee"
phone = "3"
[[earlier]]
until = 2019-12-31
url = "https://example.com/old"
[[sections]]
title = "Security"
text = "We lock the door."
[[sections]]
title = "Children"
text = "None."
important = true
"""
HEADED = 'languages = ["ko", "en"]'
SAID = 'preamble = "Under the Act."\nscope = { applies_to = "example.com" }\nheadings = { rights = "Rights" }\n'
FULL = POLICY.replace(HEADED, SAID + HEADED).replace(
    'phone = "1" }',
    'phone = "1", title = "T", department = "D", fax = "9" }\naddress = "Street 1"\nregistration = "R1"',
)
FULL += RECIPIENT + ARCHIVED + AGENCY + PROVIDED + MEMBERS + PROCESSOR + TRANSFER.format("processors")
FULL += RECEIVING + TRANSFER.format("recipients") + WORDS + BROWSER

#: What is written instead of what, what that is, and why it weighs.
CASES: list[tuple[str, str, str, str | None]] = [
    # -- purposes
    ("", SURVEYS, "purpose.new", "used"),
    (ARCHIVED, "", "purpose.gone", None),
    ('basis = "contract"', 'basis = "legitimate_interest"', "purpose.basis", "used"),
    ('retention = "180 days"', 'retention = "200 days"', "retention.longer", "kept"),
    ('retention = "180 days"', 'retention = "100 days"', "retention.shorter", None),
    ('retention = "180 days"', 'retention = "6 months"', "retention.longer", "kept"),
    ('retention = "13 months"', 'retention = "396 days"', "retention.other", "kept"),
    ("5 years", "1826 days", "archive.other", "kept"),
    ('retention = "90 days"\ncountry', 'retention = "3 months"\ncountry', "recipient.other", "kept"),
    ('"30 days"', '"1 month"', "cookie.other", "stored"),
    ('archive = { retention = "5 years", law = "Act 1" }\n', "", "archive.gone", None),
    ("5 years", "6 years", "archive.longer", "kept"),
    ("5 years", "4 years", "archive.shorter", None),
    ("Act 1", "Act 2", "archive.law", None),
    ('refused_by = ["gpc"]', "", "signal.gone", "rights"),
    ('refused_by = ["gpc"]', 'refused_by = ["gpc", "dnt"]', "signal.new", None),
    ('basis = "contract"', 'basis = "contract"\ntitle = "Sales"', "purpose.title", None),
    ('basis = "contract"', 'basis = "contract"\ndescription = "To sell."', "purpose.description", None),
    # -- the log
    ("[log.analytics]", '[log.analytics]\n"url.query" = "full"', "field.new", "collected"),
    ('"family"', '"full"', "field.more", "collected"),
    ('[log.abuse]\n"client.address" = "full"', '[log.abuse]\n"client.address" = "masked"', "field.less", None),
    ('"family"', '"off"', "field.gone", None),
    ("[log.necessary]", '[log.functional]\n"url.path" = "full"\n[log.necessary]', "field.new", "collected"),
    # -- events
    ("[events.search]", '[events.buy]\npurpose = "functional"\n[events.search]', "event.new", "collected"),
    ('[events.search]\npurpose = "analytics"\nfields = { results = "int" }\n', "", "event.gone", None),
    ('[events.search]\npurpose = "analytics"', '[events.search]\npurpose = "marketing"', "event.purpose", "used"),
    ('results = "int"', 'results = "int", words = "str"', "event.field", "collected"),
    ('results = "int"', "", "event.less", None),
    ('results = "int"', 'results = "str"', "event.kind", "collected"),
    ("[events.search]\n", "[events.search]\ntitle = \"Searches\"\n", "event.title", None),
    # -- recipients
    ("", RECIPIENT.replace("functional", "marketing"), "recipient.new", "received"),
    (RECIPIENT, "", "recipient.gone", None),
    ('items = "Address"', 'items = "Address, name"', "recipient.items", "received"),
    ('retention = "90 days"\ncountry', 'retention = "1 year"\ncountry', "recipient.longer", "kept"),
    ('retention = "90 days"\ncountry', 'retention = "1 day"\ncountry', "recipient.shorter", None),
    ('country = "KR"', 'country = "US"', "recipient.country", "received"),
    ('en = "Delivery" }', 'en = "Delivery", de = "Lieferung" }', "recipient.name", None),
    # -- cookies
    ("", FONT.format("functional"), "cookie.new", "stored"),
    ("", FONT.format("necessary"), "cookie.new", None),
    ('presets = ["starlette", "django"]', 'presets = ["starlette"]', "cookie.gone", None),
    ('name = "ad"\npurpose = "marketing"', 'name = "ad"\npurpose = "necessary"', "cookie.purpose", "used"),
    ('"30 days"', '"60 days"', "cookie.longer", "stored"),
    ('"30 days"', '"session"', "cookie.shorter", None),
    ('provider = "Counter"', 'provider = "Somebody else"', "cookie.provider", "received"),
    ('provider = "Counter"\n', "", "cookie.provider", "received"),
    (".example.com", ".example.org", "cookie.domain", "stored"),
    ('"30 days"', '"30 days"\ndescription = "Shows ads."', "cookie.description", None),
    ('"30 days"', '"30 days"\npath = "/shop"', "cookie.path", None),
    ('"30 days"', '"30 days"\npartitioned = true', "cookie.apart", None),
    # -- people
    ('ko = "예시 주식회사", en = "Example Inc."', 'ko = "다른 회사", en = "Another Inc."', "controller", "received"),
    ('en = "Example Inc."', 'en = "Example Incorporated"', "controller", None),
    ('name = "x"', 'name = "y"', "officer.name", None),
    ("privacy@example.com", "data@example.com", "officer.email", None),
    ('phone = "1"', 'phone = "2"', "officer.phone", None),
    ("", '[[agencies]]\nname = "Other"\n', "agency.new", None),
    (AGENCY, "", "agency.gone", None),
    ('phone = "118"', 'phone = "119"', "agency.changed", None),
    # -- what else is promised
    ("", '[contact]\nways = ["form", "fax"]\n', "contact.ways", None),
    ("", '[destruction]\npaper = "Burnt."\n', "paper", None),
    # -- what the application holds
    ('until = "you leave"', 'until = "one year after you leave"', "retention.event", "kept"),
    ('until = "you leave"', 'retention = "1 year"', "retention.event", "kept"),
    ('required = "E-mail"', 'required = "E-mail, name"', "purpose.required", "collected"),
    ('optional = "Telephone"', 'optional = "Telephone, age"', "purpose.optional", "collected"),
    (', optional = "Telephone"', "", "purpose.optional", None),
    ('subjects = "members"', 'subjects = "members and their guests"', "purpose.subjects", "collected"),
    ("the log-in service", "two log-in services", "purpose.source", "collected"),
    ("Article 6(1)(b)", "Article 6(1)(a)", "purpose.grounds", None),
    ("Act 7", "Act 8", "purpose.law", None),
    ("Act 6", "Act 9", "purpose.law", None),
    ('kept = [{ what = "Contracts", retention = "5 years", law = "Act 6" }]\n', "", "kept.gone", None),
    (
        'basis = "legal_obligation"\nlaw = "Act 7"\n',
        'basis = "legal_obligation"\nheld_by = "application"\nlaw = "Act 7"\n',
        "purpose.held_by_application",
        "protected",
    ),
    ('answered_by = "my_data"', 'answered_by = "staff"', "purpose.answered_by_staff", "rights"),
    ('answered_by = "my_data"\n', "", "purpose.answered_by_nobody", "rights"),
    # -- who works for us, and what goes abroad
    (PROCESSOR + TRANSFER.format("processors"), "", "processor.gone", None),
    ('task = "Hosting"', 'task = "Hosting, mail"', "processor.task", "received"),
    ('["functional", "members"]', '["functional", "members", "analytics"]', "processor.purpose", "received"),
    ('retention = "1 year"\ncontact = "118"', 'retention = "2 years"\ncontact = "118"', "processor.end", "kept"),
    ('retention = "1 year"\ncontact = "118"', 'retention = "1 month"\ncontact = "118"', "processor.end", None),
    ('sub = ["Sub"]', 'sub = ["Sub", "Other"]', "processor.sub", "received"),
    ('contact = "118"', 'contact = "117"', "processor.contact", None),
    ('en = "Cloud" }', 'en = "Cloud Ltd" }', "processor.name", None),
    ('until = "paid"', 'until = "told"', "recipient.end", "kept"),
    ('contact = "119"', 'contact = "120"', "recipient.contact", None),
    *(
        (
            before + TRANSFER.format(f"{who}s"),
            before + (TRANSFER.format(f"{who}s").replace(old, new) if old else ""),
            f"{who}.{what}",
            reason,
        )
        for who, before in (("processor", PROCESSOR), ("recipient", RECEIVING))
        for old, new, what, reason in (
            ("", "", "transfer_gone", None),
            ('["US"]', '["US", "IN"]', "transfer", "received"),
            ('"scc"', '"consent"', "transfer_basis", "received"),
            ('"Mail"', '"Mail, name"', "transfer_items", "received"),
            ('"Ask us."', '"Leave."', "transfer_refuse", "rights"),
            ('"Sealed"', '"Encrypted"', "transfer_how", None),
        )
    ),
    # -- in the browser, besides cookies
    ("", KEPT_APART, "browser.new", "stored"),
    ("", KEPT_APART.replace("analytics", "necessary"), "browser.new", None),
    (BROWSER, BROWSER.replace("local_storage", "indexed_db"), "browser.new", "stored"),
    (BROWSER, BROWSER[: BROWSER.rindex("[[")], "browser.gone", None),
    (BROWSER, BROWSER.replace('"analytics"', '"functional"'), "browser.purpose", "used"),
    (BROWSER, BROWSER.replace("1 year", "2 years"), "browser.expires", "stored"),
    (BROWSER, BROWSER.replace("1 year", "1 month"), "browser.expires", None),
    (BROWSER, BROWSER.replace('expires = "1 year"', ""), "browser.expires", "stored"),
    (BROWSER, BROWSER + 'provider = "Meter"\n', "browser.provider", "received"),
    (BROWSER, BROWSER.replace('host = "px', 'host = "py'), "browser.host", "received"),
    (BROWSER, BROWSER.replace("Counts.", "Counts visits."), "browser.description", None),
    (BROWSER, BROWSER.replace("example/no", "example/never"), "browser.refuse_url", None),
    ('deidentified = "30 days"', 'deidentified = "60 days"', "purpose.deidentified", "kept"),
    ('deidentified = "30 days"', 'deidentified = "10 days"', "purpose.deidentified", None),
    ('deidentified = "30 days"', "", "purpose.deidentified", "kept"),
    # -- whom to reach, and the words of the site
    ("Street 1", "Street 2", "controller.address", None),
    ("R1", "R2", "controller.registration", None),
    ('title = "T"', 'title = "U"', "officer.title", None),
    ('department = "D"', 'department = "E"', "officer.department", None),
    ('fax = "9"', 'fax = "8"', "officer.fax", None),
    ("", '[[joint_controllers]]\nname = "Third"\n', "joint.new", "received"),
    ("twin@", "both@", "joint.changed", None),
    ('phone = "3"', 'phone = "4"', "contact.changed", None),
    ('[[contacts]]\nrole = "dpo"\nname = "Dee"\nphone = "3"\n', "", "contact.gone", None),
    ("2019-12-31", "2019-12-30", "earlier", None),
    ("We lock the door.", "We lock the doors.", "section.changed", None),
    ('text = "None."', 'text = "Some."', "section.changed", "rights"),
    ('[[sections]]\ntitle = "Children"\ntext = "None."\nimportant = true\n', "", "section.gone", "rights"),
    ('text = "None."', 'text = "None."\nafter = "top"', "section.moved", None),
    ("Under the Act.", "Under Act 1.", "preamble", None),
    ('applies_to = "example.com"', 'applies_to = "all of ours"', "scope", "used"),
    ('rights = "Rights"', 'rights = "Your rights"', "headings", None),
    # -- the whole
    ("[cookies]", '[cookies]\nundeclared = "report"', "undeclared.passes", "protected"),
    ("[log.necessary]", "[log]\nseal = false\n[log.necessary]", "seal.off", "protected"),
    ('time_zone = "Asia/Seoul"', 'time_zone = "Asia/Tokyo"', "time_zone", None),
    ('languages = ["ko", "en"]', 'jurisdiction = "KR"\nlanguages = ["ko", "en"]', "jurisdiction", "rights"),
    ('languages = ["ko", "en"]', 'languages = ["ko", "en", "de"]', "language.new", None),
    ('languages = ["ko", "en"]', 'languages = ["ko"]', "language.gone", None),
]  # fmt: skip
IDS = [f"{what}-{number}" for number, (_, _, what, _) in enumerate(CASES)]


def second(old: str, new: str) -> Policy:
    assert old in FULL
    text = FULL.replace(old, new, 1) if old else FULL + new
    return loads(text.replace("revision = 1", "revision = 2"))


@pytest.mark.parametrize(("old", "new", "what", "reason"), CASES, ids=IDS)
def test_each_change_is_told_once_and_weighs_or_not(old: str, new: str, what: str, reason: str | None) -> None:
    policy = second(old, new)
    amended = amendments(loads(FULL), policy)
    assert (what, reason) in [(change.what, change.reason) for change in amended]
    assert len({(change.what, change.about, change.purpose, change.now) for change in amended}) == len(amended)
    assert notice(loads(FULL), policy).days == (30 if any(change.reason for change in amended) else 7)
    if reason is None:
        assert changes(loads(FULL), policy) == Changes(frozenset(), frozenset())
    for language in ("ko", "en"):
        lines = amendment_lines(amended, loads(FULL), policy, language, TEMPLATES)
        assert len(lines) == len(amended)
        assert all(line.strip(" :.;()") for line in lines)
        assert [("important: " in line or "중요: " in line) for line in lines] == [
            bool(change.reason) for change in amended
        ]


def test_every_text_of_the_list_is_tested_there_and_back() -> None:
    text = (PACKAGE / "site" / "templates" / "_amendments.html").read_text("utf-8")
    known = {part.partition('"')[0] for part in text.split('each.what == "')[1:]} - {"purpose.basis"}
    kinds: set[str] = set()
    for old, new, _, _ in CASES:
        policy = second(old, new)
        back = amendments(policy, loads(FULL))
        assert len(amendment_lines(back, policy, loads(FULL), "en", TEMPLATES)) == len(back) > 0
        kinds |= {amendment.what for amendment in (*back, *amendments(loads(FULL), policy))}
    assert known <= kinds <= known | {"purpose.basis"}


@pytest.mark.parametrize(
    "new",
    [
        FULL + "# a comment\n",
        FULL.replace(PROVIDED, "") + PROVIDED,
        FULL.replace('"1 year"', '"12 months"'),
        FULL.replace('"url.path" = "full"', '"url.path" = "full"\n"url.query" = "off"'),
        dated(FULL, "2026-12-01", "2026-12-02"),
    ],
    ids=["comment", "order", "12 months are a year", "off is nothing", "dates"],
)
def test_what_no_visitor_reads_takes_no_notice(new: str) -> None:
    policy = loads(new.replace("revision = 1", "revision = 2"))
    assert notice(loads(FULL), policy) == ([], 0)
    assert notice(None, policy) == ([], 0)


def test_a_duration_in_another_unit_is_no_change_wherever_it_stands() -> None:
    weeks = FULL.replace('deidentified = "30 days"', 'deidentified = "4 weeks"')
    days = FULL.replace('deidentified = "30 days"', 'deidentified = "28 days"')
    assert amendments(loads(weeks), loads(days)) == []


def test_who_stands_in_two_rows_is_compared_row_by_row() -> None:
    two = (
        FULL
        + RECEIVING.replace('"Name"', '"Address"')
        + PROCESSOR.replace("Hosting", "Mail").replace('"members"', '"duty"')
    )
    policy = loads(two)
    assert amendments(policy, policy) == []
    (change,) = amendments(policy, loads(two.replace('items = "Address"\nuntil', 'items = "Street"\nuntil')))
    assert (change.what, change.before, change.now) == ("recipient.items", Text({"": "Address"}), Text({"": "Street"}))


# -- the days of notice ---------------------------------------------------------------------------------------------

LONGER = FULL.replace("180 days", "200 days").replace("revision = 1", "revision = 2")
REWORDED = FULL.replace("privacy@", "data@").replace("revision = 1", "revision = 2")


@pytest.mark.parametrize(
    ("text", "published", "earliest"),
    [
        (REWORDED, "2026-12-01", "2026-12-08"),  # the first day is not counted
        (REWORDED, "2024-02-25", "2024-03-03"),
        (REWORDED, "2026-03-05", "2026-03-12"),
        (LONGER, "2026-12-01", "2026-12-31"),
        (LONGER, "2027-01-31", "2027-03-02"),
    ],
)
def test_days_are_counted_on_the_calendar_and_the_first_is_not(text: str, published: str, earliest: str) -> None:
    period = notice(loads(FULL), loads(text))
    today = date.fromisoformat(published)
    assert period.earliest(today) == date.fromisoformat(earliest)
    assert period.faults(loads(dated(text, published, earliest)), today) == []
    before = date.fromordinal(date.fromisoformat(earliest).toordinal() - 1)
    (fault,) = period.faults(loads(dated(text, published, str(before))), today)
    assert fault.place == "effective"
    assert fault.fix == f"write effective = {earliest}, or later"


def test_the_day_of_publication_must_be_today() -> None:
    period = notice(loads(FULL), loads(REWORDED))
    (fault,) = period.faults(loads(dated(REWORDED, "2026-11-30", "2026-12-20")), date(2026, 12, 1))
    assert str(fault) == (
        "policy.toml: published: 2026-11-30 is not today, which is 2026-12-01 in Asia/Seoul; "
        "a revision is published once, now; write published = 2026-12-01"
    )


def test_the_words_are_those_of_a_visitors_language() -> None:
    text = LONGER.replace('country = "KR"', 'country = "US"')
    amended = amendments(loads(FULL), loads(text))
    assert amendment_lines(amended, loads(FULL), loads(text), "en", TEMPLATES) == [
        "Functional is kept longer (180 days → 200 days) (important: it is kept longer)",
        "The country of Delivery (South Korea → United States) (important: others receive it, or more of it)",
    ]
    assert amendment_lines(amended, loads(FULL), loads(text), "ko", TEMPLATES) == [
        "Functional 보유 기간 연장 (180일 → 200일) (중요: 보유 기간이 길어집니다)",
        "제공받는 자의 국가: 배송사 (대한민국 → 미국) (중요: 제공받는 자나 제공하는 항목이 늘어납니다)",
    ]


def test_another_controller_is_asked_about_everything() -> None:
    policy = second('ko = "예시 주식회사", en = "Example Inc."', 'ko = "다른 회사", en = "Another Inc."')
    assert changes(loads(FULL), policy).purposes == {"functional", "analytics", "marketing"}


def test_more_to_a_recipient_is_asked_about_its_purpose() -> None:
    assert changes(loads(FULL), second('items = "Address"', 'items = "All"')) == Changes(
        frozenset(("functional",)), frozenset()
    )
