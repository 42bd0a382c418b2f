"""The templates, ready to be filled in each language. Imports Jinja2 and Babel: import it at the first rendering."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache, partial
from gettext import NullTranslations
from pathlib import Path
from threading import Lock
from types import CodeType
from typing import Final, Protocol, cast

from jinja2 import BaseLoader, Environment, FileSystemLoader, StrictUndefined, pass_context
from jinja2.bccache import Bucket, BytecodeCache
from jinja2.runtime import Context
from markupsafe import Markup

from consent_mw.policy.model import Text
from consent_mw.site.own_words import own_words
from consent_mw.site.page_text import contents_of
from consent_mw.site.sentences import CATALOGUES, marked
from consent_mw.site.translation import Translation
from consent_mw.system.bounded_cache import remember

TEMPLATES = Path(__file__).parent / "templates"
#: The name of a template that another one extends, includes or imports from.
_NAMED: Final = re.compile(r"""\{%-?\s*(?:extends|include|import|from)\s+["']([^"']+)""")
#: Templates of ours and of sites whose code is kept.
_REMEMBERED: Final = 256


class _Translatable(Protocol):
    """What the extension adds to an environment; the environment's type does not show it."""

    def install_gettext_translations(self, translations: NullTranslations, newstyle: bool | None = None) -> None: ...


class Templates:
    """
    The templates of the site, and ours for all that it does not replace.

    Args:
        own: The site's own folder. A file in it replaces ours of the same name. A catalogue in
            locale/LANGUAGE/LC_MESSAGES/consent_mw.po adds a language, or its own sentences to one of our languages.
    """

    def __init__(self, own: Path | None = None) -> None:
        self._folders = [folder for folder in (own, TEMPLATES) if folder]
        self._catalogues = [folder for folder in (own and own / "locale", CATALOGUES) if folder]
        self._translations: dict[str, Translation] = {}
        self._environments: dict[str, Environment] = {}
        self._loading = Lock()

    def translation(self, language: str) -> Translation:
        """Return the translation that pages use for `language`, one of the policy's."""
        translation = self._translations.get(language)
        if translation is None:
            translation = self._translations[language] = Translation(language, self._catalogues)
        return translation

    def render(self, name: str, language: str, **context: object) -> str:
        """Return the template called `name`, in `language`, filled with `context`."""
        spoken = self.translation(language)
        html = self._of(language).get_template(name).render(context, translation=spoken)
        return marked(html, spoken.language, spoken.direction)

    def words(self, name: str, language: str, **context: object) -> Callable[[str, object], str]:
        """Return a function that renders a macro of the template called `name`, from the macro's name and a value."""
        spoken = self.translation(language)
        module = self._of(language).get_template(name).make_module({**context, "translation": spoken})
        return lambda macro, value: marked(str(getattr(module, macro)(value)), spoken.language, spoken.direction)

    def load(self, language: str, names: Iterable[str]) -> None:
        """Read and compile these templates in `language`, with all that they include: it waits for the disk."""
        with self._loading:
            environment, left, known = self._of(language), list(names), set[str]()
            while left:
                name = left.pop()
                if name not in known:
                    known.add(name)
                    environment.get_template(name)
                    source, _, _ = cast("BaseLoader", environment.loader).get_source(environment, name)
                    left += _NAMED.findall(source)
            self.translation(language).warm()

    def _of(self, language: str) -> Environment:
        environment = self._environments.get(language)
        if environment is None:
            environment = self._environments[language] = _environment(self._folders, self.translation(language))
        return environment


class _Compiled(BytecodeCache):
    """
    The code of templates, for all languages and sites of the process: to compile ours takes half a second, and nothing
    in the code depends on the language (see `_at_rendering`).
    """

    def __init__(self) -> None:
        self._codes: dict[tuple[str, str], CodeType] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        """Give the code of a template, by its file and its text."""
        bucket.code = self._codes.get((bucket.key, bucket.checksum))

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Keep it."""
        if bucket.code is not None:
            remember(self._codes, (bucket.key, bucket.checksum), bucket.code, _REMEMBERED)


_COMPILED: Final = _Compiled()


@lru_cache(maxsize=1)
def our_templates() -> Templates:
    """Return only our own templates, compiled once for the process: to compile them takes longer than any page."""
    return Templates()


def _environment(folders: Sequence[Path], translation: Translation) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(folders),
        auto_reload=False,  # to look for a newer file at each use would wait for the disk
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n"],
        bytecode_cache=_COMPILED,
    )
    environment.policies["ext.i18n.trimmed"] = True
    cast("_Translatable", environment).install_gettext_translations(translation.messages, newstyle=True)
    of_language: dict[str, Callable[..., object]] = {
        "sentence": partial(_sentence, translation=translation),
        "date": translation.date,
        "moment": translation.moment,
        "city": translation.city,
        "country": translation.country,
        "own_words": partial(own_words, translation=translation),
        "duration": translation.duration,
        "text": partial(_read, translation=translation),
    }
    filters = cast("dict[str, object]", environment.filters)
    filters.update({name: _at_rendering(work) for name, work in of_language.items()}, contents=contents_of)
    return environment


def _at_rendering(work: Callable[..., object]) -> Callable[..., object]:
    """Return a filter that is not run when a template is compiled, as Jinja2 runs others on what is constant."""

    @pass_context
    def filtered(_: Context, *values: object, **named: object) -> object:
        return work(*values, **named)

    return filtered


def _sentence(texts: Sequence[Text], translation: Translation) -> Markup:
    """Return a list of names as the end of a sentence. A name like "Inc.", with a full stop, does not get another."""
    stop = "" if texts[-1].read(translation.asked)[0].endswith(".") else "."
    return Markup(", ").join(_read(text, translation) for text in texts) + stop


def _read(text: Text, translation: Translation) -> Markup:
    """
    Return a text of the policy in the requested language, with a `lang` if that is not the language of the page.

    If the policy lacks the text in the requested language, the result also names the language that it is in.
    """
    words, language = text.read(translation.asked)
    if language in ("", translation.language):
        return Markup("{}").format(words)
    if language == translation.asked:
        return Markup("<span {}>{}</span>").format(translation.marks(language), words)
    return Markup('<span {}>{}</span> <small class="consent-mw-foreign">({})</small>').format(
        translation.marks(language), words, translation.name(language)
    )
