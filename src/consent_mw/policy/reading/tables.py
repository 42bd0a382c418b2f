"""From a table of TOML to a frozen value: each unknown, missing and ill-typed key is a fault with its place and fix."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime
from functools import cache
from typing import Any, TypeVar, cast, get_args, get_origin

import msgspec

from consent_mw.exceptions import Fault
from consent_mw.policy.durations import Duration
from consent_mw.policy.model import Text, did_you_mean

#: The fix for a missing key: an example that can be pasted.
EXAMPLES: Mapping[str, str] = {
    "schema": "schema = 1",
    "revision": "revision = 1",
    "published": "published = 2026-01-01",
    "effective": "effective = 2026-01-08",
    "languages": 'languages = ["ko", "en"]',
    "controller": "a [controller] table with name and officer",
    "retention": 'retention = "90 days"',
    "archive": 'archive = { retention = "5 years", law = { ko = "…", en = "…" } }',
    "law": 'law = { ko = "…", en = "…" }',
    "basis": 'basis = "consent"',
    "title": 'title = { ko = "…", en = "…" }',
    "description": 'description = { ko = "…", en = "…" }',
    "purpose": 'purpose = "functional"',
    "expires": 'expires = "1 year", or expires = "session"',
    "ways": 'ways = ["form", "email", "phone", "fax", "post", "person"]',
    "paper": 'paper = { ko = "…", en = "…" }',
    "officer": 'officer = { name = "…", email = "…" }',
    "name": "name = …",
    "email": 'email = "privacy@example.com"',
    "task": 'task = { ko = "…", en = "…" }',
    "purposes": 'purposes = ["orders"]',
    "text": 'text = { ko = "…", en = "…" }',
    "role": 'role = "dpo"',
    "until": 'until = { ko = "…", en = "…" }',
    "url": 'url = "https://…"',
    "applies_to": 'applies_to = { ko = "…", en = "…" }',
    "what": 'what = { ko = "…", en = "…" }',
    "countries": 'countries = ["US"]',
    "items": 'items = { ko = "…", en = "…" }',
    "sub": 'sub = ["Storage Ltd."]',
    "kind": 'kind = "local_storage"',
    "deidentified": 'deidentified = "30 days"',
    "host": 'host = "pixel.example"',
    "fields": 'fields = { results = "int" }',
}

#: What msgspec calls the types of TOML, in words.
_TYPES: Mapping[str, str] = {
    "array": "a list",
    "object": "a table",
    "str": "a text",
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
}

_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
# RFC 5646, section 2.1, as far as its form goes.
_TAG = re.compile(r"[A-Za-z]{2,8}([-_][A-Za-z0-9]{1,8})*")

# Longer ones leave the calendar: dates end with the year 9999.
_LONGEST = Duration(100, "year")

S = TypeVar("S", bound=msgspec.Struct)

#: The annotations of a kind are evaluated once, not for each table.
_fields_of = cache(msgspec.structs.fields)

_BAD = object()


class Reading:
    """One reading of a declaration: what was found wrong so far, and how each kind of value is read."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.faults: list[Fault] = []

    def fault(self, place: str, problem: str, fix: str) -> None:
        """Note what is wrong at `place`, and how to fix it."""
        self.faults.append(Fault(self.file, place, problem, fix))

    def value(self, kind: type[S], raw: object, place: str, **given: object) -> S | None:
        """Read one table as `kind`, noting each unknown, missing and ill-typed key; `given` is not in the table."""
        if not isinstance(raw, dict):
            # agencies[1] is written as [[agencies]], and what stands below it as [agencies.transfer]
            plain = re.sub(r"\[\d+\]", "", place)
            header = f"[[{plain}]]" if place.endswith("]") else f"[{plain}]"
            self.fault(place, "is no table", f"write it as {header}")
            return None
        table = cast("dict[str, object]", raw)
        fields = {field.name: field for field in _fields_of(kind) if field.name not in given}
        self.unknown(table, fields, place)
        values = dict(given)
        whole = True
        for name, field in fields.items():
            if name in table:
                read = self.field(table[name], field.type, f"{place}.{name}")
                whole = whole and read is not _BAD
                values[name] = read
            elif field.required:
                whole = False
                self.fault(place, f"has no {name}", f"add {EXAMPLES.get(name, name + ' = …')}")
        return kind(**values) if whole else None

    def field(self, raw: object, kind: Any, place: str) -> object:
        """Read the value of one key: a table of ours key by key, so that each of its errors is reported."""
        parts = [part for part in getattr(kind, "__args__", (kind,)) if _is_table(part)]
        if not parts:
            return self.scalar(raw, kind, place)
        before = len(self.faults)
        read = self.values(parts[0], raw, place) if get_origin(kind) is tuple else self.value(parts[0], raw, place)
        return _BAD if len(self.faults) > before else read

    def scalar(self, raw: object, kind: Any, place: str) -> object:
        """Read a value that is not a table of ours; each value of a list or a table, so that each of its errors is
        reported."""
        if get_origin(kind) is tuple and isinstance(raw, list):
            return self.words(cast("list[object]", raw), get_args(kind)[0], place)
        if get_origin(kind) is dict and isinstance(raw, dict):
            table = cast("dict[str, object]", raw)
            named = {name: self.scalar(value, get_args(kind)[1], f"{place}.{name}") for name, value in table.items()}
            return _BAD if _BAD in named.values() else named
        if kind is date:
            return self.day(raw, place) or _BAD
        try:
            return msgspec.convert(raw, kind, dec_hook=_decode)
        except msgspec.ValidationError as error:
            problem = re.sub(r"`(\w+)( \| null)?`", lambda match: _TYPES.get(match[1], match[1]), str(error))
            problem = problem[0].lower() + problem[1:]
            self.fault(place, *(problem.split("; ", 1) if "; " in problem else (problem, self.fix(kind, place))))
            return _BAD

    def words(self, raw: list[object], kind: Any, place: str) -> object:
        """Read a list of scalars, each of them once."""
        read = [self.scalar(item, kind, f"{place}[{number}]") for number, item in enumerate(raw, 1)]
        if _BAD in read:
            return _BAD
        for number, word in enumerate(read, 1):
            if word in read[: number - 1]:
                self.fault(f"{place}[{number}]", "stands there twice", "keep one of them")
        return tuple(read)

    def fix(self, kind: Any, place: str) -> str:
        """Return the fix for a value that is not of its kind."""
        allowed = getattr(kind, "__args__", ())
        if allowed and all(isinstance(word, str) for word in allowed):
            return f"allowed are: {', '.join(allowed)}"
        if kind is bool:
            return "write true or false, without quotes"
        key = place.rpartition(".")[2].partition("[")[0]
        if key == "refused_by":
            return 'write it like refused_by = ["gpc", "dnt"]'
        return f"write it like {EXAMPLES[key]}" if key in EXAMPLES else "see the commented file of: consent-mw init"

    def unknown(self, table: Mapping[str, object], known: Iterable[str], place: str) -> None:
        """Note the keys of a table that are not `known`."""
        for key in table:
            if key not in known:
                self.fault(f"{place}.{key}" if place else key, "is no known key", did_you_mean(key, list(known)))

    def table(self, raw: Mapping[str, object], key: str) -> dict[str, object]:
        """Return the table [key], empty where there is none."""
        value = raw.get(key, {})
        if isinstance(value, dict):
            return cast("dict[str, object]", value)
        self.fault(key, "is no table", f"write it as [{key}]")
        return {}

    def rows(self, raw: object, key: str) -> list[object]:
        """Return `raw` if it is a list, as [[key]] is."""
        if isinstance(raw, list):
            return cast("list[object]", raw)
        self.fault(key, "is no list of tables", f"write each as [[{key}]]")
        return []

    def optional(self, kind: type[S], raw: Mapping[str, object], key: str) -> S | None:
        """Read the table [key] if it is there."""
        return self.value(kind, raw[key], key) if key in raw else None

    def values(self, kind: type[S], raw: object, key: str) -> tuple[S, ...]:
        """Read the tables [[key]], without those that are at fault."""
        read = [self.value(kind, row, f"{key}[{number}]") for number, row in enumerate(self.rows(raw, key), 1)]
        return tuple(value for value in read if value is not None)

    def day(self, raw: object, key: str) -> date | None:
        """Read a date; None where there is none."""
        if isinstance(raw, date) and not isinstance(raw, datetime):
            return raw
        if raw is not None:
            example = EXAMPLES.get(key, f"{key.rpartition('.')[2]} = 2026-01-01")
            self.fault(
                key,
                f"{raw if isinstance(raw, datetime) else repr(raw)} is no date",
                f"write a date without quotes: {example}",
            )
        return None

    def one_of(self, raw: object, allowed: tuple[str, ...], place: str) -> str:
        """Read one of the words `allowed`; the first of them stands for another."""
        if raw in allowed:
            return str(raw)
        self.fault(place, f"{raw!r} is not known", f"allowed are: {', '.join(allowed)}")
        return allowed[0]

    def named(
        self, kind: type[S], raw: Mapping[str, object], key: str, adjust: Callable[[str, object], object] | None = None
    ) -> dict[str, S]:
        """Read the tables [key.NAME], each under its name."""
        read: dict[str, S] = {}
        for name, table in raw.items():
            place = f"{key}.{name}"
            if not _NAME.fullmatch(name):
                self.fault(place, "is no usable name", "use small letters, digits and _, at most 32, a letter first")
                continue
            value = self.value(kind, adjust(name, table) if adjust else table, place, name=name)
            if value is not None:
                read[name] = value
        return read

    def known_purpose(self, name: str, purposes: Mapping[str, object], place: str) -> bool:
        """Whether a purpose is declared; note one that is not."""
        if name in purposes:
            return True
        self.fault(place, f'purpose "{name}" is not declared', did_you_mean(name, purposes))
        return False

    def kept_here(self, name: str, purposes: Mapping[str, object], place: str) -> bool:
        """Whether a purpose is declared; note what this server would keep for one whose data the application holds."""
        table = purposes.get(name)
        if isinstance(table, dict) and cast("dict[str, object]", table).get("held_by") == "application":
            fix = 'declare a purpose of its own for it, or leave out held_by = "application"'
            self.fault(place, f"is for {name}, which the application holds", fix)
        return self.known_purpose(name, purposes, place)


def _decode(kind: type, value: object) -> object:
    """Build what msgspec does not know, from the TOML value; a ValueError becomes its validation error."""
    if kind is Duration:
        if not isinstance(value, str):
            raise ValueError('a duration is a text such as "90 days"')
        duration = Duration.parse(value)
        if duration.count == 0:
            raise ValueError('a duration of nothing keeps nothing; write at least "1 day"')
        if duration.seconds > _LONGEST.seconds:
            raise ValueError(f'"{value}" has no end that anybody lives to see; write at most "{_LONGEST}"')
        return duration
    if kind is Text:
        return _text(value)
    raise NotImplementedError(kind)  # msgspec's own sign for "not mine"


def _text(value: object) -> Text:
    if isinstance(value, str) and value.strip():
        return Text({"": value})
    if isinstance(value, dict) and value:
        table = cast("dict[str, object]", value)
        for tag in table:
            if not _TAG.fullmatch(tag):
                raise ValueError(f'"{tag}" is no language tag; write one such as ko, en or zh-Hant')
        if all(isinstance(text, str) and text.strip() for text in table.values()):
            return Text(cast("dict[str, str]", table))
    raise ValueError('expected a text; write "…", or a table by language such as { ko = "…", en = "…" }')


def _is_table(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)
