"""Render one of the site's own sections as HTML: paragraphs, lists and links of Markdown. All else stays plain text."""

from __future__ import annotations

import re
from typing import Final

from markupsafe import Markup

from consent_mw.policy.model import Text
from consent_mw.site.translation import Translation

_LINK: Final = re.compile(r"\[([^\[\]]+)\]\(((?:https?://|mailto:|/)[^\s()]+)\)")
_ITEM: Final = re.compile(r"\s*[-*] +")


def own_words(text: Text, translation: Translation) -> Markup:
    """Return `text` in the reader's language, with a `lang` if that is not the language of the page."""
    words, language = text.read(translation.asked)
    blocks = Markup().join(_block(block.splitlines()) for block in re.split(r"\n\s*\n", words.strip()))
    if language in ("", translation.language):
        return blocks
    return Markup("<div {}>{}</div>").format(translation.marks(language), blocks)


def _block(lines: list[str]) -> Markup:
    """Return a paragraph, or a list after the words that introduce it."""
    first = next((number for number, line in enumerate(lines) if _ITEM.match(line)), len(lines))
    items: list[str] = []
    for line in lines[first:]:
        if _ITEM.match(line):
            items.append(_ITEM.sub("", line, count=1))
        else:
            items[-1] += f" {line.strip()}"
    before = Markup("<p>{}</p>\n").format(_inline(" ".join(lines[:first]))) if first else Markup()
    rows = Markup().join(Markup("<li>{}</li>\n").format(_inline(item)) for item in items)
    return before + (Markup("<ul>\n{}</ul>\n").format(rows) if items else Markup())


def _inline(words: str) -> Markup:
    markup = Markup()
    end = 0
    for link in _LINK.finditer(words):
        markup += Markup('{}<a href="{}" rel="noreferrer">{}</a>').format(words[end : link.start()], link[2], link[1])
        end = link.end()
    return markup + words[end:]
