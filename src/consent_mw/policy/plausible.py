"""What is well formed in a declaration and cannot be meant: addresses that are none, countries, placeholders. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Final, NamedTuple, cast
from urllib.parse import urlsplit

import msgspec

from consent_mw.exceptions import Fault
from consent_mw.policy.language_tags import lookup
from consent_mw.policy.model import Cookie, InBrowser, Policy, Text
from consent_mw.policy.own_purposes import OWN_PURPOSES
from consent_mw.policy.pointer import pointed
from consent_mw.policy.presets import PRESET_TEXTS
from consent_mw.policy.recipients import provider_of, same

#: A local part, and a domain of two labels or more, in any script (RFC 5321, section 4.1.2; RFC 6531).
_EMAIL: Final = re.compile(r"[^\s@<>()\[\],;:\"\\]{1,64}@(?:[\w-]{1,63}\.)+[^\W\d_][\w-]{1,62}")
#: CLDR names these codes too, and ISO 3166-1 assigns none of them to a country.
_NO_COUNTRY: Final = frozenset(("AC", "CP", "CQ", "DG", "EA", "EU", "EZ", "IC", "QO", "TA", "UN", "XA", "XB", "ZZ"))
#: What ISO 639 has for no language, several, or one that is not known.
_NO_LANGUAGE: Final = frozenset(("mis", "mul", "und", "zxx"))
#: What the files of `consent-mw init` hold until somebody writes their own, and what nobody can be (RFC 2606).
_PLACEHOLDER: Final = re.compile(
    r"…|\?\?\?|\bTODO\b|\bexample\.(com|org|net)\b|예시 주식회사|\bExample Inc\.|0000-0000"
    r"|^(개인정보 보호책임자|Privacy Officer)$"
)

#: The countries that are not abroad: of the Union the whole Economic Area (agreement of 1992, annex XI, number 5e).
_HOME: Final[Mapping[str, str]] = {
    "KR": "KR",
    "UK": "GB",
    "US": "US",
    "EU": "AT BE BG CY CZ DE DK EE ES FI FR GR HR HU IE IS IT LI LT LU LV MT NL NO PL PT RO SE SI SK",
}
#: What a string is judged by, wherever it stands.
_JUDGED: Final = frozenset(("email", "url", "refuse_url", "phone", "fax", "address", "country", "countries"))


class _Word(NamedTuple):
    """One string of a declaration: where it stands, under which key, and what it is."""

    place: str
    key: str
    text: str


def implausible(policy: Policy) -> list[Fault]:
    """Return malformed e-mail addresses, URLs, countries and languages, and cookies' providers that are not
    declared."""
    misfits = (fault for word in _words(policy) for fault in _misfit(policy.file, word))
    spoken = _languages(policy.file, policy.languages)
    return [*spoken, *misfits, *_providers(policy), *_at_home(policy), *_unread(policy)]


def implausible_tables(raw: Mapping[str, object], file: str) -> list[Fault]:
    """Return the result of `implausible`, as far as it can be found in a declaration with other errors."""
    spoken = raw.get("languages")
    tags = [tag for tag in cast("list[object]", spoken) if isinstance(tag, str)] if isinstance(spoken, list) else []
    misfits = (fault for word in _raw_words(raw) for fault in _misfit(file, word))
    return [*_languages(file, tags), *misfits]


def unspoken(policy: Policy) -> list[Fault]:
    """Return a note for each language of the policy in which some of its own texts are missing."""
    faults: list[Fault] = []
    for language in policy.languages:
        places = [place for place, text in _texts(policy) if text.read(language)[1] not in ("", language)]
        if places:
            more = f" and {len(places) - 3} more" if len(places) > 3 else ""
            problem = f'"{language}" is missing in {", ".join(places[:3])}{more}'
            faults.append(Fault(policy.file, "languages", problem, "its readers find another language there: add it"))
    for name, purpose in policy.purposes.items():
        code = name.replace("_", " ").capitalize()
        if purpose.title.by_language == {"": code} and not all(lookup(tag, ["en"]) for tag in policy.languages):
            fix = "write title and description in the languages of the policy"
            faults.append(Fault(policy.file, f"purposes.{name}.title", f'readers of every language find "{code}"', fix))
    return faults


def mistaken_languages(policy: Policy) -> list[Fault]:
    """
    Return a note for each language whose code is a country's too, as "kr" is Kanuri and Korea, where that country's
    language seems to be meant: nothing is known of the one that is written, or the texts are in the other.
    """
    from babel import localedata

    written = {language for _, text in _texts(policy) for language in text.by_language}
    faults: list[Fault] = []
    for number, tag in enumerate(policy.languages, 1):
        meant, name = _language_of(tag), _known("languages").get(tag.lower())
        if name is None or meant in ("", tag.lower()):
            continue
        instead = lookup(meant, written) and not lookup(meant, policy.languages) and not lookup(tag, written)
        if instead or not localedata.exists(tag):
            fix = f'did you mean "{meant}"?'
            faults.append(Fault(policy.file, f"languages[{number}]", f'"{tag}" is {name}', fix))
    return faults


def placeholders(policy: Policy) -> list[Fault]:
    """Return a note for each text that stands for one that the site has to write itself."""
    fix = "write your own before anybody visits"
    held_by_place = {word.place: held[0] for word in _words(policy) if (held := _PLACEHOLDER.search(word.text))}
    return [
        Fault(policy.file, place, f'"{held}" stands for something of yours', fix)
        for place, held in held_by_place.items()
    ]


def _misfit(file: str, word: _Word) -> Iterator[Fault]:
    place, key, text = word
    if key == "email" and not _EMAIL.fullmatch(text):
        yield Fault(file, place, f'"{text}" is no e-mail address', 'write one such as "privacy@mysite.kr"')
    elif key in ("url", "refuse_url") and not _leads_somewhere(text):
        yield Fault(file, place, f'"{text}" is no address of a page', "write it whole, from https:// on")
    elif key in ("phone", "fax") and not any(map(str.isdigit, text)):
        yield Fault(file, place, f'"{text}" is no telephone number', 'write one such as "+82-2-123-4567"')
    elif key == "address" and (_EMAIL.fullmatch(text) or _leads_somewhere(text) or not any(map(str.isalpha, text))):
        yield Fault(file, place, f'"{text}" is no postal address', "write where letters reach you")
    elif key in ("country", "countries") and text and text not in _countries():
        yield Fault(file, place, f'"{text}" is no country', f"write its two letters of ISO 3166-1{_country_like(text)}")


def _leads_somewhere(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("https", "http") and bool(re.fullmatch(r"\S+\.\S+", parts.hostname or ""))
    except ValueError:  # a port or an IPv6 address that is none
        return False


def _languages(file: str, tags: Iterable[str]) -> list[Fault]:
    faults: list[Fault] = []
    for number, tag in enumerate(tags, 1):
        language, *rest = tag.split("-")
        place = f"languages[{number}]"
        if language.lower() not in _known("languages") or language.lower() in _NO_LANGUAGE:
            meant = _language_of(language)
            like = f'"{meant}"?' if meant else "such as en"
            fix = f"write a code of ISO 639, {like}, with a region or script behind it if it takes one"
            faults.append(Fault(file, place, f'"{tag}" is no language', fix))
        for part in rest:
            if len(part) == 2 and part.upper() not in _countries():
                faults.append(Fault(file, place, f'"{tag}": no country is "{part}"', _region_instead(language, part)))
            elif len(part) == 4 and part.isalpha() and part.title() not in _known("scripts"):
                fix = f'write a code of ISO 15924, such as Latn, or "{language}"'
                faults.append(Fault(file, place, f'"{tag}": no script is "{part}"', fix))
    return faults


def _known(names: str) -> Mapping[str, str]:
    from babel import Locale

    return cast("Mapping[str, str]", getattr(Locale("en"), names))


def _language_of(country: str) -> str:
    """Return "ja" for the code of a country, "jp", or "" for a code of none."""
    from babel import Locale

    return Locale.parse(f"und_{country.upper()}").language if country.upper() in _countries() else ""


def _region_instead(language: str, part: str) -> str:
    code = country_named(part)
    return f'write "{language}-{code}" or "{language}"' if code else f'write "{language}"'


def _unread(policy: Policy) -> list[Fault]:
    """Texts that are in none of the policy's languages: no reader could be meant."""
    fix = f"write it in {' and '.join(policy.languages)}"
    return [
        Fault(policy.file, place, f"is in none of the policy's languages, but in {', '.join(text.by_language)}", fix)
        for place, text in _texts(policy)
        if all(text.read(language)[1] not in ("", language) for language in policy.languages)
    ]


def _at_home(policy: Policy) -> list[Fault]:
    home = _HOME.get(policy.jurisdiction.partition("-")[0], "").split()
    fix = "leave it out: a transfer is what leaves the country, or the European Economic Area"
    return [
        Fault(policy.file, place, f'"{code}" is not abroad under jurisdiction = "{policy.jurisdiction}"', fix)
        for place, codes in pointed(policy, "*.*.transfer.countries")
        for code in cast("tuple[str, ...]", codes or ())
        if code in home
    ]


def _providers(policy: Policy) -> list[Fault]:
    """The provider of a cookie receives its content. The page must say whether as a third party or for the site."""
    named = {party.name: {party.purpose} for party in policy.recipients}
    for processor in policy.processors:
        named.setdefault(processor.name, set()).update(processor.purposes)
    faults: list[Fault] = []
    placed: list[tuple[str, Cookie | InBrowser]] = [
        (f'cookies.declared[{number}] "{cookie.name}"', cookie) for number, cookie in enumerate(policy.cookies, 1)
    ]
    placed += [(f"browser[{number}]", entry) for number, entry in enumerate(policy.browser, 1)]
    for where, cookie in placed:
        if (provider := provider_of(policy, cookie)) is None:
            continue
        place, called = f"{where}.provider", provider.read(policy.languages[0])[0]
        purposes = [providers for name, providers in named.items() if same(provider, name)]
        if not purposes:
            fix = "declare them under the same name: [[recipients]] or [[processors]]"
            faults.append(Fault(policy.file, place, f'"{called}" is neither a recipient nor a processor', fix))
        elif not any(cookie.purpose in providers for providers in purposes):
            fix = f'add "{cookie.purpose}" to purposes of theirs in [[processors]], or a [[recipients]] table for it'
            faults.append(Fault(policy.file, place, f'"{called}" is not declared for {cookie.purpose}', fix))
    return faults


@lru_cache(maxsize=1)
def _countries() -> Mapping[str, str]:
    from babel import Locale

    named = cast("Mapping[str, str]", Locale("en").territories)
    return {code: name for code, name in named.items() if re.fullmatch("[A-Z]{2}", code) and code not in _NO_COUNTRY}


def country_named(text: str) -> str:
    """Return the code of ISO 3166-1 of what is one, or a country's whole name in English, Korean or German; else ""."""
    from babel import Locale

    if text in _countries():
        return text
    names = {"usa": "US", "u.s.": "US", "u.s.a.": "US", "united states of america": "US", "uk": "GB", "한국": "KR"}
    names |= {"great britain": "GB", "england": "GB", "korea": "KR", "republic of korea": "KR"}
    for language in ("en", "ko", "de"):
        territories = cast("Mapping[str, str]", Locale(language).territories)
        names |= {name.casefold(): code for code, name in territories.items() if code in _countries()}
    return names.get(text.casefold(), "")


def _country_like(text: str) -> str:
    """Return `, "US"?` for a country's name or common short form, or a code in small letters."""
    code = country_named(text.strip().upper()) or country_named(text.strip())
    return f', "{code}"?' if code else ', such as "US"'


def _words(value: object, place: str = "", key: str = "") -> Iterator[_Word]:
    """Yield every string below `value`; of a text each language."""
    if isinstance(value, str):
        if value:  # what is not declared
            yield _Word(place, key, value)
    elif isinstance(value, Text):
        yield from (_Word(place, key, text) for text in value.by_language.values())
    elif isinstance(value, msgspec.Struct):
        for field in msgspec.structs.fields(value):
            if field.name not in ("file", "digest", "name") or not isinstance(getattr(value, field.name), str):
                name = "cookies.declared" if field.type == tuple[Cookie, ...] else field.name
                yield from _words(getattr(value, field.name), f"{place}.{name}".lstrip("."), field.name)
    elif isinstance(value, Mapping):
        for name, inner in cast("Mapping[str, object]", value).items():
            yield from _words(inner, f"{place}.{name}".lstrip("."), key)
    elif isinstance(value, tuple | list):
        # A list of plain words has no places of its own, tables have.
        for number, inner in enumerate(cast("tuple[object, ...]", value), 1):
            yield from _words(inner, place if isinstance(inner, str) else f"{place}[{number}]", key)


def _texts(value: object, place: str = "") -> Iterator[tuple[str, Text]]:
    """Yield every text below `value` but our own, which are in many languages whatever the policy speaks."""
    if isinstance(value, Text):
        if value.by_language not in PRESET_TEXTS:
            yield place, value
    elif isinstance(value, msgspec.Struct) and value not in OWN_PURPOSES.values():
        for field in msgspec.structs.fields(value):
            name = "cookies.declared" if field.type == tuple[Cookie, ...] else field.name
            yield from _texts(getattr(value, field.name), f"{place}.{name}".lstrip("."))
    elif isinstance(value, Mapping):
        for name, inner in cast("Mapping[str, object]", value).items():
            yield from _texts(inner, f"{place}.{name}".lstrip("."))
    elif isinstance(value, tuple):
        for number, inner in enumerate(cast("tuple[object, ...]", value), 1):
            yield from _texts(inner, f"{place}[{number}]")


def _raw_words(value: object, place: str = "", key: str = "") -> Iterator[_Word]:
    """As `_words`, for tables as the file has them: a key is checked if its value is a string, a list or a text."""
    if isinstance(value, str):
        if value and key:
            yield _Word(place, key, value)
    elif isinstance(value, Mapping):
        for name, inner in cast("Mapping[str, object]", value).items():
            field = name if name in _JUDGED else key if isinstance(inner, str) and len(name) == 2 else ""
            yield from _raw_words(inner, place if field == key != "" else f"{place}.{name}".lstrip("."), field)
    elif isinstance(value, list):
        for number, inner in enumerate(cast("list[object]", value), 1):
            yield from _raw_words(inner, place if isinstance(inner, str) else f"{place}[{number}]", key)
