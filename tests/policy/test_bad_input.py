"""What nobody can mean: each key of a whole policy with an unknown name, a wrong shape or a contradiction."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest
from tests.support.smallest_policy import SMALLEST
from tests.support.whole_policy import MEMBERS

from consent_mw.cli import main

TOP = 'languages = ["en", "ko"]'
ASKED = '[purposes.p]\nbasis = "consent"\nretention = "1 year"\n'
HELD = '[purposes.h]\nheld_by = "application"\nbasis = "contract"\n'
RECEIVES = '[[recipients]]\nname = "B"\npurpose = "necessary"\nitems = "x"\n'
WORKS = '[[processors]]\nname = "B"\ntask = "x"\npurposes = ["necessary"]\n'
ABROAD = WORKS + "[processors.transfer]\n"
BROWSER = '[[browser]]\nname = "b"\nkind = "local_storage"\npurpose = "necessary"\ndescription = "x"\n'
PIXEL = BROWSER.replace("local_storage", "pixel")
COOKIE = '[[cookies.declared]]\nname = "c"\npurpose = "necessary"\nexpires = "session"\n'


class Bad(NamedTuple):
    """A declaration, where it is at fault, and what fixes each fault."""

    text: str
    faults: tuple[tuple[str, str], ...]


def top(line: str, *faults: tuple[str, str]) -> Bad:
    """A line among the first keys; `after` the smallest policy a table is added."""
    return Bad(SMALLEST.replace(TOP, f"{TOP}\n{line}"), faults)


def after(text: str, *faults: tuple[str, str]) -> Bad:
    return Bad(SMALLEST + text, faults)


CASES: Final[dict[str, Bad]] = {
    # -- in the browser
    "browser without anything": after(
        "[[browser]]\n",
        ("browser[1]", "add name"),
        ("browser[1]", 'add kind = "local_storage"'),
        ("browser[1]", "add purpose"),
        ("browser[1]", "add description"),
    ),
    "browser as one table": after(BROWSER.replace("[[browser]]", "[browser]"), ("browser", "[[browser]]")),
    "browser of no kind": after(
        BROWSER.replace("local_storage", "flash"), ("browser[1].kind", "allowed are: local_storage")
    ),
    "browser with an unknown key": after(BROWSER + 'path = "/"\n', ("browser[1].path", "known are: name")),
    "browser for no purpose": after(
        BROWSER.replace("necessary", "necesary"), ("browser[1].purpose", 'did you mean "necessary"?')
    ),
    "browser twice": after(BROWSER + BROWSER, ("browser[2]", "keep one")),
    "pixel from nowhere": after(PIXEL, ("browser[1]", 'host = "pixel.example"')),
    "pixel from an address": after(PIXEL + 'host = "https://px.example/1"\n', ("browser[1].host", "pixel.example")),
    "pixel that lasts": after(
        PIXEL + 'host = "px.example"\nexpires = "1 year"\n', ("browser[1].expires", "leave it out")
    ),
    "storage from a host": after(BROWSER + 'host = "px.example"\n', ("browser[1].host", "leave it out")),
    "storage that lasts a word": after(BROWSER + 'expires = "long"\n', ("browser[1].expires", "90 days")),
    "session storage that lasts": after(
        BROWSER.replace("local_", "session_") + 'expires = "1 day"\n', ("browser[1].expires", "leave it out")
    ),
    "refusal nowhere": after(BROWSER + 'refuse_url = "there"\n', ("browser[1].refuse_url", "from https:// on")),
    "provider that is nobody": after(
        BROWSER + 'provider = "Who"\n', ("browser[1].provider", "[[recipients]] or [[processors]]")
    ),
    # -- what identifies a person goes first
    "identifiers that go here": after(
        '[purposes.p]\nbasis = "consent"\nretention = "1 year"\ndeidentified = "30 days"\n',
        ("purposes.p.deidentified", 'held_by = "application"'),
    ),
    "identifiers that go last": after(
        HELD + 'retention = "30 days"\ndeidentified = "60 days"\n', ("purposes.h.deidentified", "the shorter one")
    ),
    "identifiers that go in words": after(
        HELD + 'retention = "1 year"\ndeidentified = "soon"\n', ("purposes.h.deidentified", "90 days")
    ),
    # -- words of one's own
    "preamble that is a number": top("preamble = 5", ("preamble", "a table by language")),
    "preamble of nothing": top('preamble = " "', ("preamble", "a table by language")),
    "scope as a text": top('scope = "x"', ("scope", "[scope]")),
    "scope of another name": top(
        'scope = { applies = "x" }', ("scope.applies", "applies_to"), ("scope", "add applies_to")
    ),
    "heading of nothing of ours": top('headings = { top = "x" }', ("headings.top", "known are: collection")),
    "heading that is a number": top("headings = { rights = 5 }", ("headings.rights", "a table by language")),
    "section without anything": after("[[sections]]\n", ("sections[1]", "add title"), ("sections[1]", "add text")),
    "section as one table": after('[sections]\ntitle = "x"\ntext = "y"\n', ("sections", "[[sections]]")),
    "section before one": after(
        '[[sections]]\ntitle = "x"\ntext = "y"\nbefore = "rights"\n', ("sections[1].before", "after")
    ),
    "section behind what is not there": after(
        '[[sections]]\ntitle = "x"\ntext = "y"\nafter = "transfers"\n', ("sections[1].after", 'after = "recipients"')
    ),
    "section behind nothing of ours": after(
        '[[sections]]\ntitle = "x"\ntext = "y"\nafter = "nowhere"\n', ("sections[1].after", "allowed are: top")
    ),
    "important in quotes": after(
        '[[sections]]\ntitle = "x"\ntext = "y"\nimportant = "yes"\n', ("sections[1].important", "without quotes")
    ),
    "two sections of one title": after(
        '[[sections]]\ntitle = "x"\ntext = "y"\n' * 2, ("sections[2].title", "another title")
    ),
    "a text in no language": after(
        '[[sections]]\ntitle = { "of all" = "x" }\ntext = "y"\n', ("sections[1].title", "such as ko, en")
    ),
    "a text in another language": after(
        '[[sections]]\ntitle = { fr = "x" }\ntext = "y"\n', ("sections[1].title", "write it in en and ko")
    ),
    "earlier policy of tomorrow": after(
        '[[earlier]]\nuntil = 2030-01-01\nurl = "https://a.example"\n', ("earlier[1].until", "last day")
    ),
    "earlier day in quotes": after(
        '[[earlier]]\nuntil = "2020-01-01"\nurl = "https://a.example"\n', ("earlier[1].until", "without quotes")
    ),
    "earlier policy that is a script": after(
        '[[earlier]]\nuntil = 2020-01-01\nurl = "javascript:alert(1)"\n', ("earlier[1].url", "from https:// on")
    ),
    # -- people
    "unknown keys of the officer": Bad(
        SMALLEST.replace('{ name = "x"', '{ titel = "x", room = 5, name = "x"'),
        (("controller.officer.titel", '"title"'), ("controller.officer.room", "known are: name, email")),
    ),
    "officer without an address": Bad(
        SMALLEST.replace("privacy@example.com", "no e-mail at all"),
        (("controller.officer.email", "privacy@mysite.kr"),),
    ),
    "contact of no role": after('[[contacts]]\nname = "x"\nemail = "a@b.kr"\n', ("contacts[1]", "add role")),
    "contact of another role": after(
        '[[contacts]]\nrole = "boss"\nname = "x"\nfax = "1"\n', ("contacts[1].role", "allowed are: dpo")
    ),
    "contact that nobody reaches": after('[[contacts]]\nrole = "dpo"\nname = "x"\n', ("contacts[1]", "add email")),
    "contact by nothing": after(
        '[[contacts]]\nrole = "dpo"\nname = "x"\nemail = "x"\nphone = "none"\nfax = "none"\naddress = "5"\n',
        ("contacts[1].email", "privacy@mysite.kr"),
        ("contacts[1].phone", "+82"),
        ("contacts[1].fax", "+82"),
        ("contacts[1].address", "letters"),
    ),
    "ways that lead nowhere": after(
        '[contact]\nways = ["phone", "fax", "post", "person"]\n',
        ("contact.ways", "controller.officer.phone"),
        ("contact.ways", "controller.officer.fax"),
        ("contact.ways", "controller.address"),
        ("contact.ways", "controller.address"),
    ),
    "ways that are none": after(
        '[contact]\nways = ["pigeon", "dove"]\n',
        ("contact.ways[1]", "allowed are: form"),
        ("contact.ways[2]", "allowed are: form"),
    ),
    "a way twice": after('[contact]\nways = ["form", "form"]\n', ("contact.ways[2]", "keep one")),
    "ways as a text": after('[contact]\nways = "form"\n', ("contact.ways", 'ways = ["form"')),
    "contact as a list": after('[[contact]]\nways = ["form"]\n', ("contact", "[contact]")),
    "together with oneself": after(
        '[[joint_controllers]]\nname = "Example Inc."\n', ("joint_controllers[1].name", "somebody else")
    ),
    "agency": after(
        '[[agencies]]\nname = "x"\nurl = "javascript:alert(1)"\nphone = "none"\nmail = "x"\n',
        ("agencies[1].mail", "known are: name"),
        ("agencies[1].url", "from https:// on"),
        ("agencies[1].phone", "+82"),
    ),
    "paper of nothing": after("[destruction]\npaper = false\n", ("destruction.paper", "a table by language")),
    # -- who receives, who works for the site, what goes abroad
    "recipient of an unknown purpose, nowhere": after(
        RECEIVES.replace("necessary", "necesary") + 'country = "Amerika"\n',
        ("recipients[1].purpose", 'did you mean "necessary"?'),
        ("recipients[1].country", "ISO 3166-1"),
    ),
    **{
        f"recipient in {name}": after(RECEIVES + f'country = "{name}"\n', ("recipients[1].country", f'"{code}"?'))
        for name, code in {"UK": "GB", "U.S.": "US", "미국": "US", "Korea": "KR", "de": "DE"}.items()
    },
    "recipient with two ends": after(
        RECEIVES + 'retention = "1 year"\nuntil = "x"\n', ("recipients[1].until", "keep one")
    ),
    "recipient with the key of a processor": after(
        RECEIVES.replace('purpose = "necessary"', 'purposes = ["necessary"]'),
        ("recipients[1].purposes", '"purpose"'),
        ("recipients[1]", "add purpose"),
    ),
    "recipient that is the site": after(
        RECEIVES.replace('"B"', '"Example Inc."'), ("recipients[1].name", "somebody else")
    ),
    "processor that is the site": after(
        WORKS.replace('"B"', '"Example Inc."'), ("processors[1].name", "somebody else")
    ),
    "processor without a purpose": after(
        WORKS.replace('["necessary"]', "[]"), ("processors[1].purposes", 'purposes = ["orders"]')
    ),
    "processor of unknown purposes": after(
        WORKS.replace('["necessary"]', '["a", "b"]'),
        ("processors[1].purposes", "known are: necessary"),
        ("processors[1].purposes", "known are: necessary"),
    ),
    "processor of one purpose as a text": after(
        WORKS.replace('["necessary"]', '"necessary"'), ("processors[1].purposes", 'purposes = ["orders"]')
    ),
    "processor with two ends": after(
        WORKS + 'retention = "1 year"\nuntil = "x"\n', ("processors[1].until", "keep one")
    ),
    "sub-processors that are none": after(
        WORKS + 'sub = [1, ""]\n', ("processors[1].sub[1]", "by language"), ("processors[1].sub[2]", "by language")
    ),
    "transfer as a text": after(WORKS + 'transfer = "US"\n', ("processors[1].transfer", "[processors.transfer]")),
    "transfer nowhere": after(
        ABROAD + 'countries = []\nbasis = "scc"\n', ("processors[1].transfer.countries", '["US"]')
    ),
    "transfer with everything wrong": after(
        ABROAD + 'countries = ["us", "Korea", "XX"]\nbasis = "trust"\nhow = 5\nwhen = "x"\n',
        ("processors[1].transfer.when", "known are: countries"),
        ("processors[1].transfer.basis", "allowed are: consent"),
        ("processors[1].transfer.how", "by language"),
        ("processors[1].transfer.countries", '"US"'),
        ("processors[1].transfer.countries", "ISO 3166-1"),
        ("processors[1].transfer.countries", "ISO 3166-1"),
    ),
    "transfer within the Area": after(
        ABROAD + 'countries = ["DE"]\nbasis = "scc"\n', ("processors[1].transfer.countries", "European Economic Area")
    ),
    "transfer on a ground of another law": after(
        ABROAD + 'countries = ["US"]\nbasis = "contract_processing"\n',
        ("processors[1].transfer.basis", "adequacy, scc, bcr, consent"),
    ),
    "recipient in one country, its transfer to another": after(
        RECEIVES + 'country = "KR"\ntransfer = { countries = ["US"], basis = "scc" }\n',
        ("recipients[1].country", "keep"),
    ),
    # -- purposes
    "held with two ends": after(HELD + 'retention = "1 year"\nuntil = "x"\n', ("purposes.h.until", "keep one")),
    "held without an end": after(HELD, ("purposes.h", "until")),
    "here until an event": after(ASKED + 'until = "x"\n', ("purposes.p.until", 'held_by = "application"')),
    "here with items of the application": after(
        ASKED + 'items = { required = "x" }\nsubjects = "x"\nsource = "x"\n',
        *((f"purposes.p.{key}", 'held_by = "application"') for key in ("items", "subjects", "source")),
    ),
    "held by nobody": after(ASKED + 'held_by = "us"\n', ("purposes.p.held_by", "server, application")),
    "held with what only the server does": after(
        HELD + 'until = "x"\nrefused_by = ["gpc"]\narchive = { retention = "5 years", law = "x" }\n',
        ("purposes.h.archive", "[[kept]]"),
        ("purposes.h.refused_by", "leave it out"),
    ),
    "necessary that the application holds": Bad(
        SMALLEST.replace('retention = "90 days"', 'held_by = "application"\nuntil = "x"'),
        (("purposes.necessary.held_by", "leave it out"),),
    ),
    "items in languages": after(
        HELD + 'until = "x"\nitems = { ko = "x", en = "y" }\n',
        ("purposes.h.items.ko", "required, optional"),
        ("purposes.h.items.en", "required, optional"),
    ),
    "items as a text": after(HELD + 'until = "x"\nitems = "x"\n', ("purposes.h.items", "[purposes.h.items]")),
    "items of nothing": after(HELD + 'until = "x"\nitems = {}\n', ("purposes.h.items", "required = ")),
    "a law without a period": after(
        HELD + 'until = "x"\nkept = [{ what = "x", law = "y" }]\n', ("purposes.h.kept[1]", "add retention")
    ),
    "a period without a law": after(
        HELD + 'until = "x"\nkept = [{ what = "x", retention = "1 year" }]\n', ("purposes.h.kept[1]", "add law")
    ),
    "a law until an event": after(
        HELD + 'until = "x"\nkept = [{ what = "x", law = "y", retention = "for ever" }]\n',
        ("purposes.h.kept[1].retention", '"90 days"'),
    ),
    "an archive without a law": after(
        ASKED + 'archive = { retention = "5 years" }\n', ("purposes.p.archive", "add law")
    ),
    "an obligation without a law": after(ASKED.replace("consent", "legal_obligation"), ("purposes.p", "add law")),
    "a law without an obligation": after(ASKED + 'law = "x"\n', ("purposes.p.law", "legal_obligation")),
    "two bases": after(
        ASKED.replace('"consent"', '["consent", "contract"]'), ("purposes.p.basis", "allowed are: necessary")
    ),
    "a basis that the law does not know": after(
        ASKED.replace("consent", "opt_out"), ("purposes.p.basis", 'basis = "consent"')
    ),
    "unknown signals": after(
        ASKED + 'refused_by = ["dnc", "gcp"]\n',
        ("purposes.p.refused_by[1]", "gpc, dnt"),
        ("purposes.p.refused_by[2]", "gpc, dnt"),
    ),
    "a signal as a text": after(ASKED + 'refused_by = "gpc"\n', ("purposes.p.refused_by", '["gpc", "dnt"]')),
    "a signal that refuses nothing": Bad(
        SMALLEST + 'refused_by = ["gpc"]\n', (("purposes.necessary.refused_by", "leave refused_by out"),)
    ),
    # -- cookies, logs, events
    "for what the application holds": after(
        MEMBERS + COOKIE.replace("necessary", "members") + '[log.members]\n[events.e]\npurpose = "members"\n',
        ('cookies.declared[1] "c".purpose', "a purpose of its own"),
        ("log.members", "a purpose of its own"),
        ("events.e.purpose", "a purpose of its own"),
    ),
    "a provider that is nobody": after(
        COOKIE + 'provider = "B"\n', ('cookies.declared[1] "c".provider', "[[recipients]] or [[processors]]")
    ),
    "a provider for another purpose": after(
        ASKED + WORKS + COOKIE.replace("necessary", "p") + 'provider = "B"\n',
        ('cookies.declared[1] "c".provider', 'add "p" to purposes'),
    ),
    "partitioned in quotes": after(
        COOKIE + 'partitioned = "yes"\n', ('cookies.declared[1] "c".partitioned', "without quotes")
    ),
    "an event of unknown kinds": after(
        '[events.e]\npurpose = "necessary"\ntitle = 5\nfields = { a = "integer", b = "b" }\n',
        ("events.e.title", "by language"),
        ("events.e.fields.a", "str, int, float, bool"),
        ("events.e.fields.b", "str, int, float, bool"),
    ),
    "an event with a list": after(
        '[events.e]\npurpose = "necessary"\nfields = ["a"]\n', ("events.e.fields", "fields = {")
    ),
    # -- the top
    "languages that are none": Bad(
        SMALLEST.replace('["en", "ko"]', '["en", "xx", "en"]'),
        (("languages[3]", "keep one"), ("languages[2]", "ISO 639")),
    ),
    "languages of no region, script or people": Bad(
        SMALLEST.replace('["en", "ko"]', '["en-UK", "ko-KO", "sr-Abcd", "mul", "jp"]'),
        (
            ("languages[1]", 'write "en-GB" or "en"'),
            ("languages[2]", 'write "ko"'),
            ("languages[3]", "such as Latn"),
            ("languages[4]", "ISO 639"),
            ("languages[5]", '"ja"?'),
        ),
    ),
    "several jurisdictions": top('jurisdiction = ["KR", "EU"]', ("jurisdiction", "KR, EU, UK, US")),
    "a jurisdiction that is none": top('jurisdiction = "US-ZZ"', ("jurisdiction", "US-CA")),
    "all at once": Bad(
        SMALLEST.replace(TOP, 'languages = ["en", "xx"]\njurisdiction = "KR"\npreambel = "x"\n')
        + ASKED.replace("consent", "opt_out")
        + RECEIVES.replace("necessary", "nothing")
        + 'country = "Amerika"\n[[contacts]]\nrole = "dpo"\nname = "x"\nemail = "nobody"\n',
        (
            ("preambel", "preamble"),
            ("recipients[1].purpose", "known are"),
            ("languages[2]", "ISO 639"),
            ("recipients[1].country", "ISO 3166-1"),
            ("contacts[1].email", "privacy@mysite.kr"),
            ("purposes.p.basis", "consent"),
        ),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_every_fault_is_told_at_once_with_its_line_its_place_and_its_fix(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text, wanted = CASES[name]
    file = tmp_path / "policy.toml"
    file.write_text(text, "utf-8")
    assert main(["check", str(file), "--json"]) == 1
    faults: list[dict[str, Any]] = json.loads(capsys.readouterr().out)["faults"]
    assert sorted(fault["place"] for fault in faults) == sorted(place for place, _ in wanted)
    lines = text.splitlines()
    for place, fix in wanted:
        at_place = [fault for fault in faults if fault["place"] == place]
        assert any(fix in fault["fix"] for fault in at_place), at_place
        key = re.sub(r"\[\d+\]", "", place).rpartition(".")[2]
        assert all(key in lines[fault["line"] - 1] for fault in at_place), at_place
