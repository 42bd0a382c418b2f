"""A declaration that is proposed for an existing policy page: what is unsure is marked, what is left is listed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import date
from typing import Final, NamedTuple

from consent_mw.cli.existing_page import Page, Part, Table
from consent_mw.cli.page_facts import Row, agencies, duration_of, facts, kind_of, rows
from consent_mw.cli.well_known import guess
from consent_mw.exceptions import PolicyError
from consent_mw.policy.loader import loads
from consent_mw.policy.plausible import implausible
from consent_mw.policy.pointer import declarable
from consent_mw.system.escaping import as_json, printable

__all__ = ["Draft", "drafted"]

#: What the policy page says by itself, from the declaration.
_BY_ITSELF: Final = (
    "rights",
    "destruction",
    "cookies",
    "changes",
    "purposes",
    "retention",
    "recipients",
    "agencies",
    "officer",
)
_CATEGORIES: Final = {
    "necessary": r"필수|necessary|essential|strictly|required|보안|로그인|security|log ?in|notwendig",
    "analytics": r"분석|통계|analy|statist|measure|performance|성능",
    "marketing": r"광고|마케팅|advert|marketing|target|retarget|campaign|werb",
    "functional": r"기능|편의|환경|function|preference|remember|setting",
}
_TITLES: Final = {
    "necessary": {"ko": "필수", "en": "Necessary"},
    "functional": {"ko": "편의 기능", "en": "Functional"},
    "analytics": {"ko": "이용 통계", "en": "Statistics"},
    "marketing": {"ko": "마케팅", "en": "Marketing"},
}
_UNSURE: Final = "# unsure: "


class Draft(NamedTuple):
    """
    A proposal.

    Attributes:
        text: As TOML that `loads` takes.
        placed: What was declared, in words.
        unplaced: What was not, each with how many lines it has.
    """

    text: str
    placed: tuple[str, ...]
    unplaced: tuple[str, ...]

    @property
    def unsure(self) -> tuple[str, ...]:
        """The lines that are marked."""
        return tuple(line for line in self.text.splitlines() if _UNSURE in line)


def drafted(page: Page, source: str, today: date) -> Draft:
    """Return what may declare `page`, which came from `source`, from `today` on."""
    return _Drafting(page, source, today).draft()


class _Drafting:
    """One proposal while it is made: what was written so far, and which blocks of the page it holds."""

    def __init__(self, page: Page, source: str, today: date) -> None:
        self.page = page
        self.facts = facts(page)
        self.source = source
        self.today = today
        self.jurisdiction, self.lawful = _jurisdiction(page)
        self.pieces: list[str] = []
        self.placed: list[str] = []
        # Blocks by their identity: those that are placed, and what is left of a table.
        self.used: set[int] = set()
        self.left: dict[int, Table] = {}
        self.purposes = {"necessary"}

    def draft(self) -> Draft:
        head = self.head()
        self.agencies()
        self.tables()
        body = [*self.purpose_tables(), *self.pieces]
        text = head
        for piece in body:
            text += _loading(text, piece, "".join(body[: len(self.purposes)]))
        rest, unplaced = self.rest(text)
        return Draft(rest, tuple(self.placed), tuple(unplaced))

    # -- who answers ------------------------------------------------------------------------------------------------

    def head(self) -> str:
        began = self.facts.get("effective")
        lines = [
            f"# Proposed from {printable(self.source)}, by rules. Read every line: what is marked as unsure was",
            "# guessed or is missing, and what stands behind # at the end was not placed. After every change:",
            "# consent-mw check policy.toml",
            "",
            "schema = 1",
            "revision = 1",
            f"published = {self.today.isoformat()}",
            _remarked(f"effective = {self.today.isoformat()}", f"the page is of {began.text}" if began else ""),
            _remarked(
                f"time_zone = {_quoted('Asia/Seoul' if self.jurisdiction == 'KR' else 'UTC')}", _UNSURE + "yours?"
            ),
            f'languages = ["{self.page.language}"]',
            _remarked(
                f'jurisdiction = "{self.jurisdiction}"', "" if self.lawful else _UNSURE + "by the language alone"
            ),
            "",
            "[controller]",
            self.fact("name", "name", "…"),
        ]
        if "address" in self.facts:
            line = self.fact("address", "address", "")
            lines.append(line if declarable("controller.address") else f"#{line} # this version has no key for it")
        lines += [
            "",
            "[controller.officer]",
            self.fact("name", "officer", "…"),
            self.fact("email", "email", "privacy@example.com"),
        ]
        if "phone" in self.facts:
            lines.append(self.fact("phone", "phone", ""))
        self.placed += [key for key in ("name", "officer", "email", "phone", "address") if key in self.facts]
        return "\n".join(lines) + "\n"

    def fact(self, key: str, name: str, missing: str) -> str:
        found = self.facts.get(name)
        if found is None:
            return _remarked(f"{key} = {_quoted(missing)}", _UNSURE + "not found in the page")
        return _remarked(f"{key} = {_quoted(found.text)}", "" if found.sure else _UNSURE + "is it this one?")

    def agencies(self) -> None:
        found = agencies(self.page)
        for name, phone, url in found:
            lines = ["", "[[agencies]]", f"name = {_quoted(name)}"]
            lines += [f"phone = {_quoted(phone)}"] if phone else []
            lines += [f"url = {_quoted(url)}"] if url else []
            self.pieces.append("\n".join(lines) + "\n")
        if found:
            self.placed.append(f"agencies: {len(found)}")
            names = [name for name, _, _ in found]
            lines_of_them = (block for part in self.page.parts for block in part.blocks if kind_of(part) == "agencies")
            self.used.update(
                id(block) for block in lines_of_them if isinstance(block, str) and any(name in block for name in names)
            )

    # -- tables -----------------------------------------------------------------------------------------------------

    def tables(self) -> None:
        count = dict.fromkeys(("cookies", "recipients", "processors"), 0)
        for part in self.page.parts:
            for table in _tables(part):
                kind = _kind_of_table(kind_of(part), table)
                if kind not in count or (kind == "processors" and not declarable("processors.*.task")):
                    continue
                left = [table.rows[0]]
                for row in rows(table):
                    piece = self.row(kind, row)
                    count[kind] += bool(piece)
                    self.pieces += [piece] if piece else []
                    left += [] if piece else [row.whole]
                self.left[id(table)] = Table(tuple(left))
        self.placed += [f"{kind}: {number}" for kind, number in count.items() if number]

    def row(self, kind: str, row: Row) -> str:
        """Return the table that declares one row, or "" where it cannot be."""
        piece = {"cookies": self.cookie, "recipients": self.recipient, "processors": self.processor}[kind](row)
        other = f"# the page says besides: {printable(row['other'])}\n" if row["other"] else ""
        return piece + other if piece else ""

    def cookie(self, row: Row) -> str:
        name = row["name"]
        if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name) or "*" in name[:-1]:
            return ""
        known = guess(name.removesuffix("*"))
        told = _category(f"{row['purpose']} {row['basis']}")
        purpose = told or (known.purpose if known else "functional")
        self.purposes.add(purpose)
        expires = duration_of(f"{row['expires']} {row['retention']}")
        lines = [
            "",
            "[[cookies.declared]]",
            f"name = {_quoted(name)}",
            _remarked(f"purpose = {_quoted(purpose)}", "" if told else _UNSURE + "which purpose?"),
            _remarked(f"expires = {_quoted(expires or '1 year')}", "" if expires else _UNSURE + _found(row["expires"])),
        ]
        if row["purpose"]:
            lines.append(f"description = {_quoted(row['purpose'])}")
        if row["provider"]:
            lines.append(
                f"#provider = {_quoted(row['provider'])} # declare them as a recipient too, unless they are you"
            )
        return "\n".join(lines) + "\n"

    def recipient(self, row: Row) -> str:
        if not row["name"]:
            return ""
        retention = duration_of(row["retention"] or row["expires"])
        retention = "" if retention == "session" else retention
        country = row["country"] if re.fullmatch("[A-Z]{2}", row["country"]) else ""
        lines = [
            "",
            "[[recipients]]",
            f"name = {_quoted(row['name'])}",
            _remarked('purpose = "necessary"', _UNSURE + _found(row["purpose"])),
            _remarked(
                f"items = {_quoted(row['items'] or '…')}", "" if row["items"] else _UNSURE + "not found in the page"
            ),
        ]
        if retention:
            lines.append(f"retention = {_quoted(retention)}")
        elif said := row["retention"] or row["expires"]:
            line = f"until = {_quoted(said)}" if declarable("recipients.*.until") else 'retention = "1 year"'
            lines.append(_remarked(line, _UNSURE + _found(said)))
        elif not declarable("recipients.*.until"):
            lines.append(_remarked('retention = "1 year"', _UNSURE + "not found in the page"))
        if country:
            lines.append(f"country = {_quoted(country)}")
        elif row["country"]:
            lines.append(f"#country = {_quoted(row['country'])} # unsure: its two letters of ISO 3166-1?")
        return "\n".join(lines) + "\n"

    def processor(self, row: Row) -> str:
        task = row["task"] or row["purpose"]
        if not row["name"]:
            return ""
        lines = ["", "[[processors]]", f"name = {_quoted(row['name'])}"]
        lines.append(_remarked(f"task = {_quoted(task or '…')}", "" if task else _UNSURE + "not found in the page"))
        lines.append(_remarked('purposes = ["necessary"]', _UNSURE + "which of your purposes?"))
        said = row["retention"] or row["expires"]
        retention = duration_of(said)
        if retention and retention != "session":
            lines.append(f"retention = {_quoted(retention)}")
        elif said:
            lines.append(f"until = {_quoted(said)}")
        if row["country"]:
            lines.append(f"# the page names a country: {printable(row['country'])}; see [processors.transfer]")
        return "\n".join(lines) + "\n"

    def purpose_tables(self) -> Iterator[str]:
        for name in [each for each in _TITLES if each in self.purposes]:
            basis = "necessary" if name == "necessary" else "consent"
            yield "\n".join(
                (
                    "",
                    f"[purposes.{name}]",
                    f'basis = "{basis}"',
                    f"title = {_quoted(_TITLES[name][self.page.language])}",
                    f"description = {_quoted(_TITLES[name][self.page.language])}",
                    _remarked('retention = "90 days"', _UNSURE + "how long does this server keep what it logs for it?"),
                    "",
                )
            )

    # -- what is left -----------------------------------------------------------------------------------------------

    def rest(self, text: str) -> tuple[str, list[str]]:
        """Return `text` with what was not placed below it: as sections where there are such, else as comments."""
        unplaced: list[str] = []
        later = "\n# -- Not placed: what the page says besides. Declare it, or leave it out knowingly.\n"
        moved = 0
        for part in self.page.parts:
            blocks = [self.left.get(id(block), block) for block in part.blocks if id(block) not in self.used]
            left = [block for block in blocks if isinstance(block, str) or len(block.rows) > 1]
            kind = kind_of(part)
            if not left:
                continue
            section = self.section(part, left) if kind not in _BY_ITSELF and part.title else ""
            taken = _loading(text, section, "") if section else ""
            if taken.startswith("\n[["):
                text, moved = text + taken, moved + 1
                continue
            lines = [line for block in left for line in str(block).splitlines()]
            unplaced.append(f"{part.title or '(before the first heading)'}: {_lines(len(lines))}")
            why = f", which the page says by itself: compare ({kind})" if kind in _BY_ITSELF else ""
            later += f"\n# {printable(part.title)}{why}\n" + "".join(f"#   {printable(line)}\n" for line in lines)
        self.placed += [f"sections: {moved}"] if moved else []
        return text + (later if unplaced else ""), unplaced

    def section(self, part: Part, left: Sequence[str | Table]) -> str:
        if not declarable("sections.*.title"):
            return ""
        title = re.sub(r"^\s*(제\s*\d+\s*조|\d+\s*[.)]|[IVX]+\.)\s*", "", part.title).strip(" ()") or part.title
        body = "\n\n".join(_plain(block) for block in left)
        return f"\n[[sections]]\ntitle = {_quoted(title)}\ntext = {_quoted(body)}\n"


def _loading(text: str, piece: str, purposes: str) -> str:
    """Return `piece` if the declaration still loads with it, else the same as a comment with the reason."""
    whole = text + piece if "[purposes.necessary]" in text + piece else text + purposes + piece
    try:
        faults = [fault for fault in implausible(loads(whole)) if fault.place.split("[")[0] in piece]
    except PolicyError as error:
        faults = list(error.faults)
    if not faults:
        return piece
    commented = "".join(f"#{line}\n" if line else "\n" for line in piece.splitlines())
    return f"{commented}# unsure: {printable(faults[0].place)}: {printable(faults[0].problem)}\n"


def _jurisdiction(page: Page) -> tuple[str, bool]:
    """Return whose law the page speaks of, and whether it says so."""
    text = str(page)
    for name, words in (
        ("KR", r"개인정보\s*보호법"),
        ("UK", r"UK GDPR|Information Commissioner|\bICO\b|United Kingdom"),
        ("US-CA", r"CCPA|CPRA|California"),
        ("EU", r"GDPR|DSGVO|General Data Protection"),
    ):
        if re.search(words, text) and _known(name):
            return name, True
    return ("KR", False) if page.language == "ko" else ("EU", False)


def _known(jurisdiction: str) -> bool:
    try:
        loads(f'{_SMALLEST}jurisdiction = "{jurisdiction}"\n{_TABLES}')
    except PolicyError:
        return False
    return True


_SMALLEST: Final = 'schema = 1\nrevision = 1\npublished = 2026-01-01\neffective = 2026-01-01\nlanguages = ["en"]\n'
_TABLES: Final = (
    '[controller]\nname = "x"\nofficer = { name = "x", email = "x@x.kr" }\n'
    '[purposes.necessary]\nbasis = "necessary"\nretention = "1 day"\n'
)


def _tables(part: Part) -> list[Table]:
    return [block for block in part.blocks if isinstance(block, Table) and len(block.rows) > 1]


def _kind_of_table(kind: str, table: Table) -> str:
    """Return what the rows are: the heading of the table knows better than the one of its part."""
    heading = " ".join((*table.rows[0], *(row[0] for row in table.rows if row)))
    for name, words in (
        ("processors", r"수탁|위탁"),
        ("recipients", r"제공받는|recipient"),
        ("cookies", r"쿠키|cookie"),
    ):
        if re.search(words, heading, re.IGNORECASE):
            return name
    return kind


def _category(text: str) -> str:
    return next((name for name, words in _CATEGORIES.items() if re.search(words, text, re.IGNORECASE)), "")


def _plain(block: str | Table) -> str:
    if isinstance(block, str):
        return block
    return "\n".join("- " + " · ".join(cell for cell in row if cell) for row in block.rows)


def _found(words: str) -> str:
    return f"the page says {as_json(words)}" if words else "not found in the page"


def _lines(count: int) -> str:
    return f"{count} line{'s' * (count != 1)}"


def _remarked(line: str, remark: str) -> str:
    return f"{line} {remark if remark.startswith('#') else '# ' + remark}" if remark else line


def _quoted(text: str) -> str:
    return as_json(" ".join(text.split()) if "\n" not in text else text)
