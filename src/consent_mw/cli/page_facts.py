"""What an existing policy page says, found by rules: who answers, who receives what, which cookies. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from consent_mw.cli.existing_page import Page, Part, Table

#: What a part is about, by the words of its heading; the first that fits. Of two kinds in one heading the more special
#: stands above: "위탁 및 국외 이전" is about processors.
_KINDS: Final[Mapping[str, str]] = {
    "processors": r"위탁|수탁|processors?\b|service providers?|sub-?processor|auftragsverarbeit",
    "transfer": r"국외|해외|international|transfers?\b|outside (the|of)|drittland",
    "recipients": r"제3자|제삼자|제공|third part|recipients?|who (else )?(we share|we give|receives)"
    r"|shar(e|ing)|disclos|empfänger|weitergabe",
    "cookies": r"쿠키|cookie|자동 ?수집|자동으로 ?수집|similar technolog|tracking",
    "agencies": r"권익침해|침해|구제|신고|상담|complain|supervisory|regulator|beschwerde|aufsicht",
    "officer": r"보호책임자|관리책임자|담당자|담당부서|열람청구|contact|data protection officer|\bDPO\b"
    r"|who (we are|is responsible)|controller"
    r"|verantwortlich|datenschutzbeauftragt",
    "destruction": r"파기|destr|delet(e|ion) of|löschung",
    "security": r"안전성|보호 ?조치|보안|secur|safeguard|protect your|sicherheit",
    "rights": r"권리|rights?\b|rechte",
    "children": r"아동|14세|child|minor|kinder",
    "automated": r"자동화|automated|profil",
    "changes": r"변경|고지|changes|updates?\b|amend|änderung",
    "retention": r"보유|보존|retention|retain|how long|keep|speicherdauer",
    "purposes": r"목적|수집|항목|collect|purposes?\b|what (data|information)|how we use|use of|why we"
    r"|zweck|legal bas",
}
#: Columns of tables, by their heading.
_COLUMNS: Final[Mapping[str, str]] = {
    "expires": r"만료|유효 ?기간|보존 ?기간|저장 ?기간|expir|duration|lifetime|lasts|laufzeit|speicherdauer",
    "how": r"일시|방법|시기|^when|^how$|method",
    "contact": r"연락처|contact|e-?mail",
    "refuse": r"거부|refus|object|opt.?out",
    "required": r"필수( ?(항목|정보|수집).*)?$|^required|^mandatory",
    "optional": r"선택( ?(항목|정보|수집).*)?$|^optional|^voluntary",
    "retention": r"기간|retention|how long|period|kept|storage",
    "items": r"항목|^what$|what they (get|receive)|개인정보$|items?|data|information|what (we|is)|categor",
    "country": r"국가|country|countries|location|where",
    "task": r"위탁 ?업무|업무|위탁하는|tasks?|services?|what they do|for us|activit",
    "provider": r"제공자|제공 ?업체|provider|set by|party|host|domain|anbieter",
    "purpose": r"목적|용도|이용|purpose|why|use|description|설명|zweck|function",
    "basis": r"근거|basis|lawful|legal",
    "name": r"제공받는|이전받는|수탁|위탁받는|업체|회사|기관|쿠키|구분|이름|명칭|name|recipient"
    r"|processor|compan|who|cookie|partner|vendor|organi[sz]",
}  # fmt: skip
_SPECIAL: Final = (
    r"제공받는|이전받는|수탁(자|업체|사)|위탁받는|쿠키 ?(이름|명)|cookie( name)?$|^name"
    r"|recipient|processor|^compan|^who"
)
_UNITS: Final[Mapping[str, str]] = {
    "분": "minute", "시간": "hour", "일": "day", "주": "week", "주일": "week",
    "개월": "month", "달": "month", "년": "year",
    "minute": "minute", "min": "minute", "hour": "hour", "day": "day", "week": "week", "month": "month", "year": "year",
    "stunde": "hour", "tag": "day", "woche": "week", "monat": "month", "jahr": "year",
}  # fmt: skip
_DURATION: Final = re.compile(
    r"(?<![\d.,-])(\d{1,4})\s*-?\s*(" + "|".join(sorted(_UNITS, key=len, reverse=True)) + r")", re.IGNORECASE
)
#: "1 to 2 years", "6~12개월": two lengths, of which one has no unit.
_RANGE: Final = re.compile(r"\d\s*(?:to|or|bis|~|∼|–|—)\s*\d", re.IGNORECASE)
_SESSION: Final = re.compile(r"session|세션|브라우저(를)? ?(종료|닫)|sitzung", re.IGNORECASE)
_DATE: Final = re.compile(
    r"(\d{4})\s*[.년/-]\s*(\d{1,2})\s*[.월/-]\s*(\d{1,2})"
    r"|(\d{1,2})\s+(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]*\.?,?\s+(\d{4})"
    r"|(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]*\.?\s+(\d{1,2}),?\s+(\d{4})"
)
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_BEGINS: Final = re.compile(r"시행|적용|effective|last (updated|modified|revised)|in force|stand:", re.IGNORECASE)
_EMAIL: Final = re.compile(r"[\w.+-]{1,64}@(?:[\w-]{1,63}\.)+[A-Za-z]{2,24}")
#: Seven digits or more, and no day; or a short number of Korea.
_PHONE: Final = re.compile(
    r"(?<![\w.@/-])(?:((?=(?:[ .()+-]{0,3}\d){7})(?!(?:19|20)\d\d ?[.-])"
    r"\+?\(?\d{1,5}\)?(?:[ .()-]{1,3}\d{1,8}){1,5}|\d{3,4}(?=\s*\(?국번|$)))(?![\w-])"
)
_URL: Final = re.compile(r"(?:https?://)?(?:[a-z0-9-]+\.)+[a-z]{2,12}(?:/[^\s)\]>,|]*)?", re.IGNORECASE)
_NAMES: Final = (
    r"(?:^|[.\n]\s*)([^\s.,|][^.,|\n]{0,40}?)\s*(?:\(이하[^)]*\)|\(['‘“\"][^)]*\))\s*(?:은|는|이|가)\b",
    r"(?:^|[.\n]\s*)([^\s.,|][^.,|\n]{0,40}?)(?:은|는)\s*[「『\"“]?\s*개인정보\s*보호법",
    r"\b([A-Z][\w&.'’-]*(?:,? (?:[A-Z&][\w&.'’-]*|of|the|for|and"
    r"|de)){0,7})\s*\((?:[^)]{0,60}\b)?[\"“']?(?:we|us|our)\b",
    r"(?:operated|run|provided|published) by ((?:the )?[A-Z][\w&.'’-]*(?:,? (?:[A-Z&][\w&.'’-]*|of|the"
    r"|for|and)){0,7})",
    r"(?:controller|Verantwortlich\w*)\b[^.\n:]{0,40}?(?:is|:"
    r"|ist)\s*((?:the )?[A-Z][\w&.'’-]*(?: (?:[A-Z&][\w&.'’-]*|of|the|for|and)){0,7})",
)
_TITLED: Final = re.compile(
    r"(.{2,60}?)(?:의)?\s*(?:[|:–—-]\s*)?(?:개인정보\s*(?:처리|취급)\s*방침|privacy (?:policy"
    r"|notice)).*",
    re.IGNORECASE,
)
_OFFICER: Final = re.compile(
    r"(?:성명|성\s+명|이름|책임자\s*[:：]|담당자\s*[:：]|\bName|officer is)\s*[:：|]?\s*([^\s:"
    r"|,(/]+(?: [A-Z][\w'’-]+)*)"
)
_ADDRESS: Final = re.compile(
    r"(?m)(?:^\s*(?:주\s*소|소재지|[Aa]ddress)\s*\||(?:주\s*소|소재지|\b[Aa]ddress"
    r"|Adresse)\s*[:：])\s*([^|\n]{8,150})"
)
#: The public bodies of Korea, the United Kingdom and others: what stands behind the name varies, the name does not.
_AGENCY: Final = re.compile(
    r"(개인정보\s*침해\s*신고\s*센터|개인정보\s*분쟁\s*조정\s*위원회|대검찰청[^:：(|\d]{0,12}|(?:경찰청"
    r"|사이버)[^:：(|\d]{0,16}"
    r"|Information Commissioner[’']?s?(?: Office)?|Federal Trade Commission"
    r"|[A-Z][\w.’' -]{0,60}Data Protection (?:Authority|Commission\w*)"
    r"|(?:Der |Die )?Landesbeauftragte\w*[^:(|\d]{0,60})"
)  # fmt: skip


class Fact(NamedTuple):
    """Something that was found. `sure`: it stood where it is looked for first."""

    text: str
    sure: bool


class Row:
    """
    One row of a table: its cells by what their column is, "" for a column that is not there.

    Attributes:
        whole: All cells as they stand.
    """

    def __init__(self, cells: Mapping[str, str], whole: tuple[str, ...]) -> None:
        self._cells = cells
        self.whole = whole

    def __getitem__(self, column: str) -> str:
        return self._cells.get(column, "")


def kind_of(part: Part) -> str:
    """Return what a part is about, or "" where its heading does not tell."""
    title = re.sub(r"^[\s\d.)제조IVXⅠ-Ⅻ①-⑳(]+", "", part.title)
    return next((kind for kind, words in _KINDS.items() if re.search(words, title, re.IGNORECASE)), "")


def facts(page: Page) -> dict[str, Fact]:
    """Return who answers: `name`, `officer`, `email`, `phone`, `address` and `effective`, those that were found."""
    text = str(page)
    answering = "\n".join(str(part) for part in page.parts if kind_of(part) == "officer")
    known: dict[str, Fact] = {}
    names = [match[1] for pattern in _NAMES if (match := re.search(pattern, text))]
    titled = _TITLED.fullmatch(page.title)
    if names:
        known["name"] = Fact(names[0].strip(" ,"), True)
    elif titled:
        known["name"] = Fact(titled[1].strip(" -|"), False)
    for key, pattern in (("email", _EMAIL), ("phone", _PHONE), ("officer", _OFFICER), ("address", _ADDRESS)):
        near, far = pattern.search(answering), pattern.search(text)
        match = near or (far if key in ("email", "address") else None)
        if match:
            known[key] = Fact((match[1] if match.re.groups else match[0]).strip(" ,.|"), bool(near))
    if began := _began(text):
        known["effective"] = Fact(began, True)
    return known


def _began(text: str) -> str:
    """Return the latest of the days that stand beside a word for taking effect, or ""."""
    lines = [line for line in text.splitlines() if _BEGINS.search(line)]
    return max((day for line in lines if (day := date_of(line))), default="")


def date_of(text: str) -> str:
    """Return the first date in `text` as 2026-12-31, or ""."""
    for match in _DATE.finditer(text):
        if match[1]:
            year, month, day = int(match[1]), int(match[2]), int(match[3])
        elif match[4]:
            year, month, day = int(match[6]), _MONTHS.index(match[5]) + 1, int(match[4])
        else:
            year, month, day = int(match[9]), _MONTHS.index(match[7]) + 1, int(match[8])
        if 1990 < year < 2100 and 1 <= month <= 12 and 1 <= day <= 31:
            return f"{year}-{month:02}-{day:02}"
    return ""


def duration_of(text: str) -> str:
    """Return the only length of time in `text` as a policy writes it, "session", or "" for none or several."""
    if _RANGE.search(text):
        return ""
    durations = {(int(count), _UNITS[unit.lower()]) for count, unit in _DURATION.findall(text)}
    if len(durations) == 1 and next(iter(durations))[0]:
        ((count, unit),) = durations
        return f"{count} {unit}{'s' * (count != 1)}"
    return "session" if not durations and _SESSION.search(text) else ""


def length_of(text: str) -> str:
    """Return `text` as a policy writes a length of time, if it is one and says nothing else; else ""."""
    bare = re.sub(r"^(for|up to|max(imum|\.)?|최대)\s+|\s*(간|동안)?[.\s]*$", "", text.strip(), flags=re.IGNORECASE)
    match = _DURATION.match(bare)
    return duration_of(bare) if match and re.fullmatch(r"(s|en|e|n)?", bare[match.end() :]) else ""


def agencies(page: Page) -> list[tuple[str, str, str]]:
    """Return name, telephone number and address of each public body that is named where one may complain."""
    by_name: dict[str, tuple[str, str, str]] = {}
    for part in page.parts:
        for line in str(part).splitlines() if kind_of(part) in ("agencies", "rights", "officer") else []:
            matches = list(_AGENCY.finditer(line))
            for match, following in zip(matches, [*matches, None][1:], strict=True):
                name = " ".join(match[1].split()).strip(" -")
                rest = line[match.end() : following.start() if following else None]
                phone, url = _PHONE.search(rest), _URL.search(rest)
                number = (
                    phone[1].strip(" ()")
                    if phone
                    else (bare[0] if (bare := re.search(r"\b(118|182|1301|1833-6972)\b", rest)) else "")
                )
                where = (url[0] if url[0].startswith("http") else f"https://{url[0]}") if url else ""
                by_name.setdefault(name, (name, number, where.rstrip(".")))
    return list(by_name.values())


def rows(table: Table) -> Iterator[Row]:
    """Yield the rows below the heading of a table, by column. A table whose first column is its heading is turned."""
    heading, body = _headed(table)
    for row in body:
        cells = {column: cell for column, cell in zip(heading, row, strict=False) if column}
        called = cells.get("name") or cells.get("purpose")
        # A cell that spans columns says what it is called, and not its basis or items too.
        cells = {column: cell for column, cell in cells.items() if cell != called or column in ("name", "purpose")}
        other = [cell for number, cell in enumerate(row) if cell and not (heading[number:] and heading[number])]
        yield Row({**cells, "other": " | ".join(other)}, row)


def body_of(table: Table) -> Sequence[tuple[str, ...]]:
    """Return the rows of a table below its heading, as `rows` takes them."""
    return _headed(table)[1]


def _headed(table: Table) -> tuple[list[str], Sequence[tuple[str, ...]]]:
    top, *below = table.rows
    while below and below[0][0] == top[0]:  # a heading of several rows: what stands below is more exact
        top = below.pop(0)
    heading = _columns(top)
    turned = list(zip(*table.rows, strict=False)) if len({len(row) for row in table.rows}) == 1 else []
    if turned and _known(_columns(turned[0])) > _known(heading):
        return _columns(turned[0]), turned[1:]
    return heading, below


def _known(columns: Iterable[str]) -> int:
    return len({column for column in columns if column})


def _columns(heading: tuple[str, ...]) -> list[str]:
    """Return what each column is, each once: a heading that names its owner wins over one that may."""
    headings: list[str] = []
    for words in heading:
        special = re.search(_SPECIAL, words, re.IGNORECASE) and "name" not in headings
        fits = (
            column
            for column, pattern in _COLUMNS.items()
            if re.search(pattern, words, re.IGNORECASE) and column not in headings
        )
        headings.append("name" if special else next(fits, ""))
    return headings
