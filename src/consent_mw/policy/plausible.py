"""What is well formed in a declaration and cannot be meant: addresses that are none, countries, placeholders. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Final, NamedTuple, cast
from urllib.parse import urlsplit

import msgspec

from consent_mw.exceptions import Fault
from consent_mw.policy.model import Cookie, Policy, Text
from consent_mw.policy.pointer import declarable, pointed
from consent_mw.policy.recipients import provider_of, same

__all__ = ["country_named", "implausible", "placeholders"]

#: A local part, and a domain of two labels or more, in any script (RFC 5321, section 4.1.2; RFC 6531).
_EMAIL: Final = re.compile(r"[^\s@<>()\[\],;:\"\\]{1,64}@(?:[\w-]{1,63}\.)+[^\W\d_][\w-]{1,62}")
#: CLDR names these codes too, and ISO 3166-1 assigns none of them to a country.
_NO_COUNTRY: Final = frozenset(("AC", "CP", "CQ", "DG", "EA", "EU", "EZ", "IC", "QO", "TA", "UN", "XA", "XB", "ZZ"))
#: What the files of `consent-mw init` hold until somebody writes their own, and what nobody can be (RFC 2606).
_PLACEHOLDER: Final = re.compile(
    r"…|\?\?\?|\bTODO\b|\bexample\.(com|org|net)\b|예시 주식회사|\bExample Inc\.|0000-0000"
    r"|^(개인정보 보호책임자|Privacy Officer)$"
)

#: Who may receive what a cookie tells.
_PARTIES: Final = tuple(path for path in ("recipients.*.name", "processors.*.name") if declarable(path))
_HEADERS: Final = tuple(f"[[{path.partition('.')[0]}]]" for path in _PARTIES)


class _Word(NamedTuple):
    """One string of a declaration: where it stands, under which key, and what it is."""

    place: str
    key: str
    text: str


def implausible(policy: Policy) -> list[Fault]:
    """Return what is no e-mail address, URL, country or language, and cookies' providers that are declared nowhere."""
    misfits = (fault for word in _words(policy) for fault in _misfit(policy.file, word))
    return [*_languages(policy), *misfits, *_providers(policy)]


def placeholders(policy: Policy) -> list[Fault]:
    """Return a note for each text that stands for one that the site has to write itself."""
    mend = "write your own before anybody visits"
    found = {word.place: held[0] for word in _words(policy) if (held := _PLACEHOLDER.search(word.text))}
    return [Fault(policy.file, place, f'"{held}" stands for something of yours', mend) for place, held in found.items()]


def _misfit(file: str, word: _Word) -> Iterator[Fault]:
    place, key, text = word
    if key == "email" and not _EMAIL.fullmatch(text):
        yield Fault(file, place, f'"{text}" is no e-mail address', 'write one such as "privacy@mysite.kr"')
    elif key in ("url", "refuse_url") and not _leads_somewhere(text):
        yield Fault(file, place, f'"{text}" is no address of a page', "write it whole, from https:// on")
    elif key == "phone" and not any(map(str.isdigit, text)):
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


def _languages(policy: Policy) -> list[Fault]:
    from babel import Locale

    known = cast("Mapping[str, str]", Locale("en").languages)
    mend = "write a code of ISO 639, such as en, with a region or script behind it if it takes one"
    return [
        Fault(policy.file, f"languages[{number}]", f'"{tag}" is no language', mend)
        for number, tag in enumerate(policy.languages, 1)
        if tag.partition("-")[0].lower() not in known
    ]


def _providers(policy: Policy) -> list[Fault]:
    """Whoever sets a cookie receives what it tells them; as a third party or for the site, the page has to say."""
    names = [cast("Text | None", name) for path in _PARTIES for _, name in pointed(policy, path)]
    return [
        Fault(
            policy.file,
            f'cookies.declared[{number}] "{cookie.name}".provider',
            f'"{provider.read(policy.languages[0])[0]}" is neither a recipient nor a processor',
            f"declare them under the same name: {' or '.join(_HEADERS)}",
        )
        for number, cookie in enumerate(policy.cookies, 1)
        if (provider := provider_of(policy, cookie)) and not any(same(provider, name) for name in names)
    ]


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
    for language in ("en", "ko", "de"):
        territories = cast("Mapping[str, str]", Locale(language).territories)
        names |= {name.casefold(): code for code, name in territories.items() if code in _countries()}
    return names.get(text.casefold(), "")


def _country_like(text: str) -> str:
    """Return ` ("US")` for what begins like a country's name in English or Korean, or in small letters."""
    from babel import Locale

    if text.upper() in _countries():
        return f', "{text.upper()}"'
    for language in ("en", "ko"):
        for code, name in cast("Mapping[str, str]", Locale(language).territories).items():
            if code in _countries() and name.casefold().startswith(text.casefold()[:6]):
                return f', "{code}"?'
    return ', such as "US"'


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
        for name, each in cast("Mapping[str, object]", value).items():
            yield from _words(each, f"{place}.{name}".lstrip("."), key)
    elif isinstance(value, tuple | list):
        # A list of plain words has no places of its own, tables have.
        for number, each in enumerate(cast("tuple[object, ...]", value), 1):
            yield from _words(each, place if isinstance(each, str) else f"{place}[{number}]", key)
