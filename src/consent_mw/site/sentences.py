"""Our sentences in one language, from its catalogues. A sentence that none of them has stays English, with a mark."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from gettext import GNUTranslations, NullTranslations
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Final, NamedTuple, cast

from babel import Locale, UnknownLocaleError
from babel.messages.catalog import Message
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po

from consent_mw.policy.language_tags import lookup

_log = logging.getLogger("consent_mw")
_Key = tuple[object, ...]

#: Our own catalogues. The sentences of the templates are English, so English needs no translation of its own.
CATALOGUES: Final = Path(__file__).parent / "locale"
SOURCE: Final = "en"

# Noncharacters of Unicode. They mark an English sentence, and the values that are filled into it.
_ENGLISH, _END, _FILLED, _FILLED_END = "\ufdd0\ufdd1\ufdd2\ufdd3"
_FIELD: Final = re.compile(r"%\(\w+\)s")
_BY_MACHINE: Final = b'"X-Machine-Made: yes'
#: Where no element is allowed: in a tag, and in elements that hold only text.
_TEXT_ALONE: Final = re.compile(r"<(title|option|textarea)\b.*?</\1>|<[^>]*>", re.DOTALL)


class Sentences(NamedTuple):
    """
    Attributes:
        language: The tag whose catalogues were found, or English.
        messages: Looks up a sentence.
    """

    language: str
    messages: NullTranslations


class _English(NullTranslations):
    """The English sentences of the templates, with marks since they are foreign to the page."""

    def gettext(self, message: str) -> str:
        filled = _FIELD.sub(lambda field: f"{_FILLED}{field[0]}{_FILLED_END}", message)
        return f"{_ENGLISH}{filled}{_END}"

    def ngettext(self, msgid1: str, msgid2: str, n: int) -> str:
        return self.gettext(msgid1 if n == 1 else msgid2)

    def pgettext(self, context: str, message: str) -> str:
        return self.gettext(message)

    def npgettext(self, context: str, msgid1: str, msgid2: str, n: int) -> str:
        return self.ngettext(msgid1, msgid2, n)


def sentences(language: str, folders: Sequence[Path] = (CATALOGUES,)) -> Sentences:
    """
    Return our sentences for a reader of `language`.

    The catalogues are LANGUAGE/LC_MESSAGES/consent_mw.po in each folder. The folders are searched in turn; within a
    folder the catalogue of the region comes before that of the whole language. Without any catalogue, all is English.
    """
    chain = [_read(file, tag) for folder in folders for tag, file in _serving(language, files_in(folder))]
    if not chain:
        return Sentences(SOURCE, NullTranslations())
    chain.append(NullTranslations() if lookup(language, (SOURCE,)) else _English())
    for upper, lower in pairwise(chain):
        upper.add_fallback(lower)
    return Sentences(language, chain[0])


def files_in(folder: Path) -> dict[str, Path]:
    """Return the catalogues below a folder, by language tag."""
    files = sorted(folder.glob("*/LC_MESSAGES/consent_mw.po"))
    return {file.parts[-3].replace("_", "-"): file for file in files}


def _serving(language: str, files: Mapping[str, Path]) -> list[tuple[str, Path]]:
    """Return the catalogues that serve a reader of `language`, the nearest first."""
    left = dict(files)
    serving: list[tuple[str, Path]] = []
    while tag := lookup(language, left):
        serving.append((tag, left.pop(tag)))
    return serving


def locale_of(tag: str) -> Locale | None:
    """Return the CLDR data of a language, or None."""
    try:
        return Locale.parse(tag.replace("_", "-"), sep="-")
    except (UnknownLocaleError, ValueError):
        return None


def _read(file: Path, tag: str) -> NullTranslations:
    """Compile a catalogue in memory, so that there is no compiled file beside its source that could be out of date."""
    return GNUTranslations(BytesIO(_compiled(file.read_bytes(), file, tag)))


@lru_cache(maxsize=32)  # each revision of a policy has its own, and to parse one takes 15 ms
def _compiled(text: bytes, file: Path, tag: str) -> bytes:
    catalogue = read_po(BytesIO(text), locale=locale_of(tag) and tag.replace("-", "_"))
    for message in catalogue:
        if message.id and not is_whole(message):
            message.string = ""
        elif message.id and not fits(message):
            _log.warning(
                "%s:%s: what is filled in, as in %%(time)s, is not that of the sentence; it stays English",
                file,
                message.lineno or "?",
            )
            message.string = ""
    compiled = BytesIO()
    write_mo(compiled, catalogue)
    return compiled.getvalue()


def _forms(text: object) -> tuple[str, ...]:
    return cast("tuple[str, ...]", text) if isinstance(text, tuple | list) else (str(text),)


def is_whole(message: Message) -> bool:
    """Whether a sentence is translated, in each plural form of the language."""
    return not message.fuzzy and all(_forms(message.string))


def fits(message: Message) -> bool:
    """Whether each form of a translation has the fields of its sentence; a singular and a dual may omit one."""
    asked = _forms(message.id)
    wanted = Counter(_FIELD.findall(asked[-1]))
    several = len(asked) > 1
    for form in _forms(message.string):
        fields = Counter(_FIELD.findall(form))
        rest = _FIELD.sub("", form).replace("%%", "")
        if "%" in rest and "%" not in _FIELD.sub("", asked[-1]).replace("%%", ""):
            return False
        if not (fields <= wanted if several else fields == wanted):
            return False
    return True


def untranslated(language: str, folder: Path = CATALOGUES) -> tuple[int, int, bool]:
    """
    Return how many sentences a reader of `language` gets in English, how many there are, and whether a machine
    translated them.
    """
    files = files_in(folder)
    wanted, _ = _keys(files[SOURCE].read_bytes())
    left, by_machine = wanted, False
    for _, file in _serving(language, files):
        text = file.read_bytes()
        left -= _keys(text)[1]
        by_machine = by_machine or _BY_MACHINE in text  # Babel reads only fields that it knows
    return (0 if lookup(language, (SOURCE,)) else len(left)), len(wanted), by_machine


@lru_cache(maxsize=32)
def _keys(text: bytes) -> tuple[frozenset[_Key], frozenset[_Key]]:
    """Return the sentences of a catalogue, and those of them that are translated."""
    messages = [message for message in read_po(BytesIO(text)) if message.id]
    return frozenset(map(_key, messages)), frozenset(_key(message) for message in messages if is_whole(message))


def _key(message: Message) -> _Key:
    return message.context, *_forms(message.id)


def marked(html: str, language: str, direction: str) -> str:
    """
    Return a rendered template with an element around each English sentence in a page of another language.

    A sentence in an attribute or a title, where no element is allowed, gets none.
    """
    if _ENGLISH not in html:
        return html
    html = _TEXT_ALONE.sub(lambda match: _unmarked(match[0]), html)
    turns = (' dir="ltr"', f' dir="{direction}"') if direction != "ltr" else ("", "")
    html = html.replace(_ENGLISH, f'<span lang="{SOURCE}"{turns[0]}>').replace(_END, "</span>")
    return html.replace(_FILLED, f'<span lang="{language}"{turns[1]}>').replace(_FILLED_END, "</span>")


def _unmarked(text: str) -> str:
    for mark in (_ENGLISH, _END, _FILLED, _FILLED_END):
        text = text.replace(mark, "")
    return text
