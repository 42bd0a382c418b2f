"""A declaration that is proposed for an existing policy page: what is unsure is marked, what is left is listed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import date
from typing import Final, NamedTuple

from consent_mw.cli.draft_rows import UNSURE, Rows, countries_of, quoted, remarked
from consent_mw.cli.existing_page import Page, Part, Table
from consent_mw.cli.page_facts import Row, agencies, body_of, duration_of, facts, kind_of, rows
from consent_mw.exceptions import PolicyError
from consent_mw.policy.loader import loads
from consent_mw.policy.plausible import implausible
from consent_mw.policy.pointer import declarable
from consent_mw.system.escaping import printable

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
_TITLES: Final = {
    "necessary": {"ko": "필수", "en": "Necessary"},
    "functional": {"ko": "편의 기능", "en": "Functional"},
    "analytics": {"ko": "이용 통계", "en": "Statistics"},
    "marketing": {"ko": "마케팅", "en": "Marketing"},
}


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
        return tuple(line for line in self.text.splitlines() if UNSURE in line)


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
        self.rows = Rows(self.jurisdiction)

    def draft(self) -> Draft:
        head = self.head()
        self.agencies()
        self.tables()
        body = [*self.purpose_tables(), *self.pieces]
        text = head
        for piece in body:
            text += _loading(text, piece, "".join(body[: len(self.rows.purposes)]))
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
            remarked(f"effective = {self.today.isoformat()}", f"the page is of {began.text}" if began else ""),
            remarked(f"time_zone = {quoted('Asia/Seoul' if self.jurisdiction == 'KR' else 'UTC')}", UNSURE + "yours?"),
            remarked(f'languages = ["{self.page.language}"]', self.language_is_another()),
            remarked(f'jurisdiction = "{self.jurisdiction}"', "" if self.lawful else UNSURE + "by the language alone"),
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

    def language_is_another(self) -> str:
        said, read = self.page.said.partition("-")[0].lower(), self.page.language
        return "" if said in ("", read) else f"{UNSURE}the page says that it is in {printable(self.page.said)}"

    def fact(self, key: str, name: str, missing: str) -> str:
        known = self.facts.get(name)
        if known is None:
            return remarked(f"{key} = {quoted(missing)}", UNSURE + "not found in the page")
        return remarked(f"{key} = {quoted(known.text)}", "" if known.sure else UNSURE + "is it this one?")

    def agencies(self) -> None:
        named = agencies(self.page)
        for name, phone, url in named:
            lines = ["", "[[agencies]]", f"name = {quoted(name)}"]
            lines += [f"phone = {quoted(phone)}"] if phone else []
            lines += [f"url = {quoted(url)}"] if url else []
            self.pieces.append("\n".join(lines) + "\n")
        if named:
            self.placed.append(f"agencies: {len(named)}")
            names = [name for name, _, _ in named]
            lines_of_them = (block for part in self.page.parts for block in part.blocks if kind_of(part) == "agencies")
            self.used.update(
                id(block) for block in lines_of_them if isinstance(block, str) and any(name in block for name in names)
            )

    # -- tables -----------------------------------------------------------------------------------------------------

    def tables(self) -> None:
        count: dict[str, int] = dict.fromkeys(("purposes", "recipients", "processors", "cookies"), 0)
        of_kind = [(_kind_of_table(kind_of(part), table), table) for part in self.page.parts for table in _tables(part)]
        self.rows.abroad = {row["name"]: row for kind, table in of_kind if kind == "transfer" for row in rows(table)}
        for kind, table in of_kind:
            if kind in count:
                left = [row.whole for row in rows(table) if not self.declared(kind, row, count)]
                self.left[id(table)] = Table((table.rows[0], *left))
        for row in list(self.rows.abroad.values()):  # nothing but the table about transfers names them
            self.declared("processors", row, count)
        for kind, table in of_kind:
            if kind == "transfer":
                left = [row.whole for row in rows(table) if not row["name"]]
                self.left[id(table)] = Table((table.rows[0], *left))
        self.placed += [f"{kind}: {number}" for kind, number in count.items() if number]

    def declared(self, kind: str, row: Row, count: dict[str, int]) -> bool:
        piece = self.rows.toml(kind, row)
        self.pieces += [piece] if piece else []
        count[kind] += bool(piece)
        return bool(piece)

    def purpose_tables(self) -> Iterator[str]:
        for name in [title for title in _TITLES if title in self.rows.purposes]:
            basis = "necessary" if name == "necessary" else "consent"
            yield "\n".join(
                (
                    "",
                    f"[purposes.{name}]",
                    f'basis = "{basis}"',
                    f"title = {quoted(_TITLES[name][self.page.language])}",
                    f"description = {quoted(_TITLES[name][self.page.language])}",
                    remarked('retention = "90 days"', UNSURE + "how long does this server keep what it logs for it?"),
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
        whole = text + (later if unplaced else "")
        return whole, [*unplaced, *self.lost(whole)]

    def lost(self, text: str) -> Iterator[str]:
        """Yield each cell of a table that stands nowhere in `text`, and is no length of time or country read as one."""
        there = " ".join(re.findall(r"\w+", text))
        for part in self.page.parts:
            for table in _tables(part):
                for cell in dict.fromkeys(cell for row in body_of(table) for cell in row):
                    words = re.findall(r"\w+", printable(cell))
                    if not (duration_of(cell) or countries_of(cell)) and not all(word in there for word in words):
                        yield f'{part.title or "(before the first heading)"}: "{printable(cell)}", of a table'

    def section(self, part: Part, left: Sequence[str | Table]) -> str:
        if not declarable("sections.*.title"):
            return ""
        title = (
            re.sub(
                r"^\s*(제\s*\d+\s*조(\s*의\s*\d+)?|\d+\s*[.)]|[IVX]+\.|[Ⅰ-Ⅻ]\s*\.?|[A-Z]\.)\s*", "", part.title
            ).strip(" ()")
            or part.title
        )
        body = "\n\n".join(_plain(block) for block in left)
        return f"\n[[sections]]\ntitle = {quoted(title)}\ntext = {quoted(body)}\n"


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
        ("transfer", r"이전받는|이전되는 ?국가|이전 ?국가|이전 ?일시|third countr"),
        ("processors", r"수탁|위탁"),
        ("recipients", r"제공받는|recipient"),
        ("cookies", r"쿠키|cookie"),
    ):
        if re.search(words, heading, re.IGNORECASE):
            return name
    return "purposes" if kind in ("retention", "") else kind


def _plain(block: str | Table) -> str:
    if isinstance(block, str):
        return block
    return "\n".join("- " + " · ".join(cell for cell in row if cell) for row in block.rows)


def _lines(count: int) -> str:
    return f"{count} line{'s' * (count != 1)}"
