"""One row of a page's table as the TOML that declares it; whatever a rule only guesses is marked as unsure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from consent_mw.cli.page_facts import Row, duration_of, length_of
from consent_mw.cli.well_known import guess
from consent_mw.policy.plausible import country_named
from consent_mw.system.escaping import as_json, printable

UNSURE: Final = "# unsure: "
_CATEGORIES: Final = {
    "necessary": r"필수|necessary|essential|strictly|required|보안|로그인|security|log ?in|notwendig",
    "analytics": r"분석|통계|analy|statist|measure|performance|성능",
    "marketing": r"광고|마케팅|advert|marketing|target|retarget|campaign|werb",
    "functional": r"기능|편의|환경|function|preference|remember|setting",
}
#: What a purpose that the application holds is called in the file, by its words; the first that fits.
_NAMES: Final[Mapping[str, str]] = {
    "members": r"회원|가입|계정|account|member|regist|konto",
    "orders": r"주문|구매|결제|배송|거래|order|purchase|payment|deliver|bestell",
    "inquiries": r"문의|상담|민원|고객|contact|inquir|enquir|support|complain|anfrage",
    "applicants": r"채용|입사|지원자|recruit|applicant|job|bewerb",
    "newsletter": r"뉴스레터|소식지|newsletter|mailing",
    "promotions": r"이벤트|경품|광고|마케팅|홍보|marketing|promotion|advert|event",
}
_BASES: Final[Mapping[str, str]] = {
    "consent": r"동의|consent|einwilligung|6\(1\)\(a\)|제15조\s*제?1항\s*제?1호",
    "contract": r"계약|contract|vertrag|6\(1\)\(b\)|제15조\s*제?1항\s*제?4호",
    "legal_obligation": r"법령|법률상|의무|legal obligation|6\(1\)\(c\)|제15조\s*제?1항\s*제?2호",
    "public_task": r"공공|소관|public (task|interest)|6\(1\)\(e\)|제15조\s*제?1항\s*제?3호",
    "legitimate_interest": r"정당한|legitimate|berechtigt|6\(1\)\(f\)|제15조\s*제?1항\s*제?6호",
}
_REQUIRED: Final = r"[\[(<]?\s*(?:필수|required|mandatory)(?:\s*(?:항목|정보))?\s*[\])>]?\s*[:：)]?\s*"
_OPTIONAL: Final = r"[\[(<]?\s*(?:선택|optional|voluntary)(?:\s*(?:항목|정보))?\s*[\])>]?\s*[:：)]?\s*"
_BOTH: Final = re.compile(rf"{_REQUIRED}(?P<required>.+?)[\s,./;·|-]*{_OPTIONAL}(?P<optional>.+)", re.IGNORECASE)
_ONE: Final = re.compile(rf"{_REQUIRED}(?P<required>.+)", re.IGNORECASE)


class Rows:
    """
    Rows as they become tables of a declaration.

    Attributes:
        purposes: The purposes of this server that the rows need.
        abroad: Where the data go that a party receives, by its name: from tables about transfers.
    """

    def __init__(self, jurisdiction: str) -> None:
        self.purposes: set[str] = {"necessary"}
        self.abroad: dict[str, Row] = {}
        self._jurisdiction = jurisdiction
        self._names: set[str] = set()

    def toml(self, kind: str, row: Row) -> str:
        """Return the table that declares one row, or "" where it cannot be."""
        if len(row.whole) > 1 and len(set(row.whole)) == 1:  # a remark across the whole table
            return ""
        kinds = {
            "cookies": self.cookie,
            "recipients": self.recipient,
            "processors": self.processor,
            "purposes": self.purpose,
        }
        piece = kinds[kind](row)
        other = f"# the page says besides: {printable(row['other'])}\n" if row["other"] else ""
        return piece + other if piece else ""

    def cookie(self, row: Row) -> str:
        name = row["name"]
        if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name) or "*" in name[:-1]:
            return ""
        known = guess(name.removesuffix("*"))
        category = _first(_CATEGORIES, f"{row['purpose']} {row['basis']}")
        purpose = category or (known.purpose if known else "functional")
        self.purposes.add(purpose)
        expires = duration_of(f"{row['expires']} {row['retention']}")
        lines = [
            "",
            "[[cookies.declared]]",
            f"name = {quoted(name)}",
            remarked(f"purpose = {quoted(purpose)}", "" if category else UNSURE + "which purpose?"),
            remarked(
                f"expires = {quoted(expires or '1 year')}",
                "" if expires else UNSURE + _as_the_page_says(row["expires"]),
            ),
        ]
        if row["purpose"]:
            lines.append(f"description = {quoted(row['purpose'])}")
        if row["provider"]:
            lines.append(
                f"#provider = {quoted(row['provider'])} # declare them as a recipient too, unless they are you"
            )
        return "\n".join(lines) + "\n"

    def recipient(self, row: Row) -> str:
        if not row["name"]:
            return ""
        lines = ["", "[[recipients]]", f"name = {quoted(row['name'])}"]
        lines.append(remarked('purpose = "necessary"', UNSURE + _as_the_page_says(row["purpose"])))
        lines += [_or_missing("items", row["items"]), *_ends(row), *_contact(row)]
        codes = countries_of(row["country"])
        if len(codes) == 1:
            lines.append(f"country = {quoted(codes[0])}")
        elif row["country"]:
            lines.append(f"#country = {quoted(row['country'])} # unsure: its two letters of ISO 3166-1?")
        abroad = self.abroad.pop(row["name"], None)
        return "\n".join([*lines, *self._transfer("recipients", abroad), *_besides(row, abroad)]) + "\n"

    def processor(self, row: Row) -> str:
        if not row["name"]:
            return ""
        lines = ["", "[[processors]]", f"name = {quoted(row['name'])}"]
        lines.append(_or_missing("task", row["task"] or row["purpose"]))
        lines.append(remarked('purposes = ["necessary"]', UNSURE + "which of your purposes?"))
        lines += [*_ends(row), *_contact(row)]
        abroad = self.abroad.pop(row["name"], None) or (row if row["country"] else None)
        return "\n".join([*lines, *self._transfer("processors", abroad), *_besides(row, abroad)]) + "\n"

    def _transfer(self, table: str, row: Row | None) -> list[str]:
        """What goes abroad, by which ground nobody but the site knows; a comment where the country is not known."""
        codes = countries_of(row["country"]) if row else []
        if row is None or codes == [self._jurisdiction]:
            return []
        basis = "contract_processing" if self._jurisdiction == "KR" else "scc"
        lines = [f"[{table}.transfer]", f"countries = [{', '.join(map(quoted, codes or ['…']))}]"]
        lines.append(remarked(f"basis = {quoted(basis)}", UNSURE + "what allows it, or guards it?"))
        lines += [f"{key} = {quoted(row[key])}" for key in ("items", "how", "refuse") if row[key]]
        if codes:
            return lines
        unknown = f"{UNSURE}which country of ISO 3166-1? {_as_the_page_says(row['country'])}"
        return [unknown, *(f"#{line}" for line in lines)]

    def purpose(self, row: Row) -> str:
        """Return a purpose that the application holds: the page asks people for something, and this server does not."""
        items, retention = _items(row), row["retention"] or row["expires"]
        title = row["name"] or row["purpose"]
        if not title or not items or not retention:
            return ""
        basis = _first(_BASES, row["basis"])
        lines = ["", f"[purposes.{self._name(title, row['purpose'])}]"]
        lines.append(remarked('held_by = "application"', UNSURE + "or does this server keep it?"))
        mine = 'or "my_data", if your application passes personal_data= ?'
        lines.append(remarked('answered_by = "staff"', UNSURE + mine))
        lines.append(
            remarked(
                f"basis = {quoted(basis or 'consent')}", UNSURE + _as_the_page_says(row["basis"]) if not basis else ""
            )
        )
        lines += [f"title = {quoted(title)}", f"description = {quoted(row['purpose'] or title)}"]
        if row["basis"]:
            lines.append(f"grounds = {quoted(row['basis'])}")
        return "\n".join([*lines, f"items = {{ {items} }}", *_ends(row)]) + "\n"

    def _name(self, *words: str) -> str:
        known = next((name for text in words if (name := _first(_NAMES, text))), "held")
        numbered = (f"{known}_{number}" for number in range(2, 2_002))
        name = known if known not in self._names else next(free for free in numbered if free not in self._names)
        self._names.add(name)
        return name


def _items(row: Row) -> str:
    required, optional = row["required"], row["optional"]
    if row["items"]:
        match = _BOTH.fullmatch(row["items"]) or _ONE.fullmatch(row["items"])
        parts = match.groupdict() if match else {"required": row["items"]}
        required, optional = required or parts["required"] or "", optional or parts.get("optional") or ""
    keys = (("required", required), ("optional", optional))
    return ", ".join(f"{key} = {quoted(text)}" for key, text in keys if re.search(r"\w", text))


def _ends(row: Row) -> list[str]:
    """An event stays an event: "30 days after you leave" is no 30 days."""
    said = row["retention"] or row["expires"]
    length = length_of(said)
    return [f"retention = {quoted(length)}" if length else f"until = {quoted(said)}"] if said else []


def _besides(row: Row, abroad: Row | None) -> list[str]:
    """What a table about transfers says of a party that another table has declared already."""
    if abroad is None or abroad is row:
        return []
    said = [abroad[key] for key in ("purpose", "task", "retention", "expires", "contact") if abroad[key]]
    return [f"# of the transfer the page says besides: {printable(' | '.join(said))}"] if said else []


def _contact(row: Row) -> list[str]:
    return [f"contact = {quoted(row['contact'])}"] if row["contact"] else []


def countries_of(text: str) -> list[str]:
    """Return the codes of the countries that `text` names, or none where one of them is not known."""
    named = [part for part in re.split(r"[,/·、;]|\band\b|및", text) if part.strip()]
    codes = [country_named(part.strip()) for part in named]
    return codes if all(codes) else []


def _first(patterns: Mapping[str, str], text: str) -> str:
    return next((name for name, words in patterns.items() if re.search(words, text, re.IGNORECASE)), "")


def _or_missing(key: str, text: str) -> str:
    return remarked(f"{key} = {quoted(text or '…')}", "" if text else UNSURE + "not found in the page")


def _as_the_page_says(words: str) -> str:
    return f"the page says {as_json(words)}" if words else "not found in the page"


def remarked(line: str, remark: str) -> str:
    """Return `line` with a remark behind it, if there is one."""
    return f"{line} {remark if remark.startswith('#') else '# ' + remark}" if remark else line


def quoted(text: str) -> str:
    """Return `text` as a string of TOML on one line; where it has several, they stay."""
    return as_json(" ".join(text.split()) if "\n" not in text else text)
