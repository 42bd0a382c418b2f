"""One language of the pages: its catalogue, and its dates, durations and names from Babel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from gettext import NullTranslations
from pathlib import Path
from typing import cast
from zoneinfo import ZoneInfo

from babel import Locale
from babel.dates import format_date, get_timezone_location
from babel.units import format_unit
from markupsafe import Markup

from consent_mw.policy.durations import Duration
from consent_mw.site.sentences import CATALOGUES, SOURCE, locale_of, sentences


class Translation:
    """
    A language that pages are written in.

    Args:
        language: The requested tag. If no catalogue serves its readers, the language is English.
        folders: The folders with LANGUAGE/LC_MESSAGES/consent_mw.po. For each sentence the first one that has it wins.

    Attributes:
        language: The tag of the language that is really used.
        asked: The requested tag. The site's own texts are read in it.
        direction: "ltr" or "rtl".
    """

    def __init__(self, language: str, folders: Sequence[Path] = (CATALOGUES,)) -> None:
        catalogue = sentences(language, folders)
        self.language: str = catalogue.language
        self.asked: str = language
        self.messages: NullTranslations = catalogue.messages
        self._locale = locale_of(self.language) or Locale(SOURCE)
        self.direction: str = self._locale.text_direction
        # Our own sentences are British English, while "en-US" would give American dates.
        self._dates = Locale("en", "GB") if self.language == SOURCE else self._locale

    def warm(self) -> None:
        """Read what Babel reads at the first use: it waits for the disk."""
        self.date(date(2026, 1, 1))
        self.duration(Duration(1, "day"))
        self.city(ZoneInfo("Asia/Seoul"))
        self.name(SOURCE)

    def date(self, day: date) -> str:
        """Return a date as this language writes it, such as "23 November 2026"."""
        return format_date(day, "long", locale=self._dates)

    def moment(self, instant: datetime) -> str:
        """Return an aware instant as day, time and zone, as this language writes them."""
        offset = f"{instant:%z}"  # CLDR's own long form ends in "+0900", and says AM inside a Korean sentence
        return f"{self.date(instant.date())} {instant:%H:%M:%S} (UTC{offset[:3]}:{offset[3:]})"

    def city(self, zone: ZoneInfo) -> str:
        """Return this language's name for the city of a time zone, such as "Seoul" for Asia/Seoul."""
        return get_timezone_location(zone, locale=self._locale, return_city=True)

    def duration(self, duration: Duration) -> str:
        """Return a duration as this language writes it, such as "13 months"."""
        unit = f"duration-{duration.unit}"
        words = format_unit(duration.count, unit, "long", locale=self._locale)
        # If CLDR's long form is the short one (ko, ja, zh), Babel 2.18 finds neither and writes the unit's id.
        return format_unit(duration.count, unit, "short", locale=self._locale) if unit in words else words

    def name(self, tag: str) -> str:
        """Return this language's name for the language `tag`, or the tag itself."""
        named = locale_of(tag)
        return (named.get_display_name(self._locale) if named else None) or tag

    def country(self, code: str) -> str:
        """Return this language's name for the country with an ISO 3166-1 code, or the code itself."""
        names = cast("Mapping[str, str]", self._locale.territories)
        return names.get(code, code)

    def marks(self, language: str) -> Markup:
        """Return the attributes of an element in another language: its `lang`, and its `dir` if that differs too."""
        locale = locale_of(language)
        direction = locale.text_direction if locale else "ltr"
        turned = Markup(' dir="{}"').format(direction) if direction != self.direction else Markup()
        return Markup('lang="{}"{}').format(language, turned)

    def own_name(self, tag: str) -> str:
        """Return the name of the language `tag` in that language, or the tag itself."""
        named = locale_of(tag)
        return (named.get_display_name(named) if named else None) or tag
