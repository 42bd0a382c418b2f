"""The templates, ready to be filled in each language. Imports Jinja2 and Babel: load it at the first rendering."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from gettext import NullTranslations
from pathlib import Path
from typing import Protocol, cast

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from consent_mw.policy.model import Text
from consent_mw.site.own_words import own_words
from consent_mw.site.page_text import contents_of
from consent_mw.site.sentences import CATALOGUES, marked
from consent_mw.site.translation import Translation

__all__ = ["TEMPLATES", "Templates", "our_templates"]

TEMPLATES = Path(__file__).parent / "templates"


class _Translatable(Protocol):
    """What the extension adds to an environment, and its type does not say."""

    def install_gettext_translations(self, translations: NullTranslations, newstyle: bool | None = None) -> None: ...


class Templates:
    """
    Our templates, behind those of the site.

    Args:
        own: A folder of the site's own. A file in it replaces ours of the same name, and a catalogue in
            locale/LANGUAGE/LC_MESSAGES/consent_mw.po adds a language, or sentences of its own to one of ours.
    """

    def __init__(self, own: Path | None = None) -> None:
        self._folders = [folder for folder in (own, TEMPLATES) if folder]
        self._catalogues = [folder for folder in (own and own / "locale", CATALOGUES) if folder]
        self._translations: dict[str, Translation] = {}
        self._environments: dict[str, Environment] = {}

    def translation(self, language: str) -> Translation:
        """Return `language`, one of the policy's, as pages speak it."""
        found = self._translations.get(language)
        if found is None:
            found = self._translations[language] = Translation(language, self._catalogues)
        return found

    def render(self, name: str, language: str, **context: object) -> str:
        """Return the template called `name`, in `language`, filled with `context`."""
        spoken = self.translation(language)
        html = self._of(language).get_template(name).render(context, translation=spoken)
        return marked(html, spoken.language, spoken.direction)

    def words(self, name: str, language: str, **context: object) -> Callable[[str, object], str]:
        """Return what the macros of the template called `name` say: by a macro's name, and what it is about."""
        spoken = self.translation(language)
        module = self._of(language).get_template(name).make_module({**context, "translation": spoken})
        return lambda macro, value: marked(str(getattr(module, macro)(value)), spoken.language, spoken.direction)

    def _of(self, language: str) -> Environment:
        found = self._environments.get(language)
        if found is None:
            found = self._environments[language] = _environment(self._folders, self.translation(language))
        return found


@lru_cache(maxsize=1)
def our_templates() -> Templates:
    """Return ours alone, compiled once for the whole process: that takes longer than any page."""
    return Templates()


def _environment(folders: Sequence[Path], translation: Translation) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(folders),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n"],
    )
    environment.policies["ext.i18n.trimmed"] = True
    cast("_Translatable", environment).install_gettext_translations(translation.messages, newstyle=True)
    environment.filters["sentence"] = partial(_sentence, translation=translation)
    environment.filters["date"] = translation.date
    environment.filters["moment"] = translation.moment
    cast("dict[str, object]", environment.filters)["contents"] = contents_of
    environment.filters["city"] = translation.city
    environment.filters["country"] = translation.country
    environment.filters["own_words"] = partial(own_words, translation=translation)
    environment.filters["duration"] = translation.duration
    environment.filters["text"] = partial(_read, translation=translation)
    return environment


def _sentence(texts: Sequence[Text], translation: Translation) -> Markup:
    """Return a list of names as the end of a sentence: what ends in a full stop, such as "Inc.", gets no second one."""
    stop = "" if texts[-1].read(translation.asked)[0].endswith(".") else "."
    return Markup(", ").join(_read(text, translation) for text in texts) + stop


def _read(text: Text, translation: Translation) -> Markup:
    """
    Return a text of the policy in the language that was asked for; one in another than the page carries its `lang`.

    It says which one that is if nobody asked for it.
    """
    words, language = text.read(translation.asked)
    if language in ("", translation.language):
        return Markup("{}").format(words)
    if language == translation.asked:
        return Markup('<span lang="{}">{}</span>').format(language, words)
    return Markup('<span lang="{}">{}</span> <small class="consent-mw-foreign">({})</small>').format(
        language, words, translation.name(language)
    )
