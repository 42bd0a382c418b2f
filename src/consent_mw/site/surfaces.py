"""Render what a visitor reads before a choice: the banner, the waiting cookies, the settings; also as plain text."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, get_args

from consent_mw.consent.choice import LIFETIME
from consent_mw.cookies.request_cookies import WAITING_FOR
from consent_mw.policy.durations import Duration
from consent_mw.policy.model import Policy
from consent_mw.site.documents import NOTICE_CLOSED_FOR
from consent_mw.site.language import spoken
from consent_mw.site.look import Look
from consent_mw.site.outline import Outline
from consent_mw.site.page_text import text_of
from consent_mw.system.bounded_cache import remember

if TYPE_CHECKING:
    from consent_mw.consent.request_consent import RequestConsent
    from consent_mw.cookies.pending import Waiting
    from consent_mw.site.templating import Templates

#: "my-data" is a withdrawal on the page of the visitor's own data, which names the purposes as they are declared. "api"
#: is a choice without any page of ours: the application asked in its own words about what the policy declares. The
#: text of such a choice is only that declaration.
Surface: TypeAlias = Literal["banner", "waiting", "settings", "my-data", "api"]
SURFACES: Final[tuple[Surface, ...]] = get_args(Surface)

_USUAL: Final = Look()
#: A placeholder for the path to return to in a kept banner; no path can hold a NUL.
_NEXT = "\0next\0"
#: The most banners that are kept: a few in practice, languages times signals times two. Only the mount point could vary
#: more.
_REMEMBERED = 64
#: Nothing is kept for a longer mount point than this: a visitor may have made it up.
LONGEST_BASE: Final = 256


class Surfaces:
    """Renders the questions to visitors under one policy. The first rendering loads Jinja2 and Babel."""

    def __init__(
        self, policy: Policy, own_templates: Path | None = None, *, enforced: bool = True, look: Look = _USUAL
    ) -> None:
        """`enforced` is False while the server only reports what it would hold back; the texts then claim no more."""
        self.policy = policy
        self.enforced = enforced
        self.look = look
        self.outline: Outline = Outline(policy)
        self._own = own_templates
        self._templates: Templates | None = None
        self._loaded: set[tuple[str, tuple[str, ...]]] = set()
        self._rendered: dict[tuple[object, ...], str] = {}

    def of(self, policy: Policy) -> Surfaces:
        """Return the same templates under another policy."""
        other = Surfaces(policy, self._own, enforced=self.enforced, look=self.look)
        other._templates = self.templates
        return other

    @property
    def templates(self) -> Templates:
        """The templates; they are loaded at the first use."""
        if self._templates is None:
            from consent_mw.site.templating import Templates, our_templates

            self._templates = Templates(self._own) if self._own else our_templates()
        return self._templates

    def has_loaded(self, language: str, names: tuple[str, ...]) -> bool:
        """Whether nothing that these templates need in `language` is still to be read from the disk."""
        return (language, names) in self._loaded

    async def load(self, language: str, names: tuple[str, ...]) -> None:
        """Read and compile these templates in a thread, unless that was done: the first page must not stop the loop."""
        if not self.has_loaded(language, names):
            await asyncio.to_thread(self._load, language, names)

    def _load(self, language: str, names: tuple[str, ...]) -> None:
        self.templates.load(language, names)
        for tag in self.policy.languages:
            self.templates.translation(language).own_name(tag)
        self._loaded.add((language, names))

    def render(self, name: str, language: str, base: str, **context: object) -> str:
        """
        Return a template filled with `context` and with the values that every template may use.

        Nothing surrounds its elements: React, when it hydrates a whole document, passes over elements that it did not
        render, and takes a line break between them for a mistake.
        """
        html = self.templates.render(
            name,
            language,
            policy=self.policy,
            outline=self.outline,
            lifetime=Duration(LIFETIME.days, "day"),
            notice_lifetime=NOTICE_CLOSED_FOR,
            waiting_lifetime=WAITING_FOR,
            base=base,
            requested_language=language,
            enforced=self.enforced,
            look=self.look,
            **({"has_my_data": False, "has_proof": False} | context),
        )
        return html.strip()

    def head(
        self,
        language: str,
        base: str,
        style: str | None,
        script: str | None,
        *,
        notice: str | None = None,
        announced: int | None = None,
    ) -> str:
        """
        Return the tags of the style sheet and the script, with the words that the script needs.

        `notice` is the name of the script that hides an announced revision's notice from visitors who have closed it.
        """
        key = ("head", language, base, announced)
        scripts = {"style": style, "script": script, "notice": notice if announced else None}
        return self._kept(key, "_head.html", announced=announced, **scripts)

    def banner(
        self,
        language: str,
        base: str,
        signals: frozenset[str],
        next_path: str,
        *,
        shared: bool = False,
        refused: frozenset[str] = frozenset(),
        reopened: tuple[frozenset[str], frozenset[str]] = (frozenset(), frozenset()),
    ) -> str:
        """
        Return the banner's HTML; `base` is the prefix with the mount path of the application.

        `refused` names the purposes that one of `signals` refuses for this visitor, without those that the visitor has
        allowed in spite of the signal. `reopened` names the purposes and cookies that a newer revision asks about
        again. All visitors with the same language and signals read the same bytes except `next_path`, so they are kept.
        """
        key = ("banner", language, base, signals, shared, refused, *reopened)
        context = {"reopened_purposes": reopened[0], "reopened_cookies": sorted(reopened[1])}
        banner = self._kept(key, "banner.html", signals=signals, refused=refused, shared=shared, next=_NEXT, **context)
        return banner.replace(_NEXT, escape(next_path))

    def _kept(self, key: tuple[str, str, str, *tuple[object, ...]], template: str, **context: object) -> str:
        html = self._rendered.get(key)
        if html is None:
            html = self.render(template, key[1], key[2], **context)
            if len(key[2]) <= LONGEST_BASE:
                remember(self._rendered, key, html, _REMEMBERED)
        return html

    def waiting(self, language: str, base: str, waiting: Sequence[Waiting], next_path: str) -> str:
        """Return the HTML that asks about the cookies that wait. It replaces the banner."""
        asked = [(str(cookie.id), cookie.name, cookie.declared) for cookie in waiting]
        return self.render("waiting.html", language, base, waiting=asked, next=next_path)

    def spoken(self, language: str) -> str:
        """Return a receipt's name for the language of a page that was requested in `language` (`language.spoken`)."""
        page = self.templates.translation(language).language
        asked = [text for purpose in self.policy.asked for text in (purpose.title, purpose.description)]
        has_own = any(text.read(language)[1] == language for text in asked)
        return spoken(page, language) if has_own else page

    def text(self, language: str, surface: Surface, cookies: Collection[str] = ()) -> str:
        """
        Return the words on `surface`, one text on each line, without anything that depends on the visitor.

        Args:
            cookies: The declared names of the waiting cookies that the surface asks about. If empty, all cookies that
                it may ask about.
        """
        if surface == "banner":
            html = self.banner(language, "", frozenset(), "")
        elif surface == "waiting":
            asked = [
                ("", cookie.name, cookie)
                for cookie in self.outline.asked_about()
                if not cookies or cookie.name in cookies
            ]
            html = self.render("waiting.html", language, "", waiting=asked, next="")
        elif surface == "settings":
            html = self.render("_choices.html", language, "", **choices(None), token="")
        else:
            html = self.render("_declared.html", language, "")
        return text_of(html)


def choices(consent: RequestConsent | None) -> dict[str, object]:
    """Return the answers in force, for the settings form. None: no visitor's, with nothing selected."""
    return {
        "choice": consent.choice if consent else None,
        "answers": {p.name: consent.permissions.answer(p.name) for p in consent.permissions.policy.asked}
        if consent
        else {},
        "cookie_answers": dict(consent.consent.cookies) if consent else {},
    }


def shown_text(
    policy: Policy,
    language: str,
    surface: Surface,
    *,
    own_templates: Path | None = None,
    cookies: Collection[str] = (),
    enforced: bool = True,
) -> str:
    """
    Return what a visitor read on `surface` in `language` under `policy`, one text on each line.

    The words come from the rendered template, so they are what the visitor was shown. A receipt names revision,
    language, surface and the SHA-256 of this text. With the policy of that revision, the text can be made again.
    """
    return Surfaces(policy, own_templates, enforced=enforced).text(language, surface, cookies)
