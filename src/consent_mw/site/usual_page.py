"""Insert the banner into a usual page: one piece of UTF-8. The inserted words are made once for all readers.

Pure. `insertion` deals with all other pages.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from consent_mw.site.body_start import usual_place
from consent_mw.site.loose_forms import ends, loosened

#: A placeholder for the path to return to; no path can hold a NUL.
TARGET: Final = "\0target\0"
_BASE: Final = b"<base"
#: Of a page that says where its banner goes.
_ASKED: Final = b"data-consent-mw"


class Words(NamedTuple):
    """
    The parts to insert into a page that asks: HTML in UTF-8.

    Attributes:
        head: For the end of the page's head.
        body: For the beginning of its body, in pieces. The path to return to goes between each two pieces.
        loose: The same as `body`, without its forms, for a page that ends properly.
        end: These forms, for the end of the page.
    """

    head: bytes
    body: tuple[bytes, ...]
    loose: tuple[bytes, ...]
    end: bytes

    @classmethod
    def of(cls, head: str, body: str) -> Words:
        """Return the words of two texts. In `body`, `TARGET` is the placeholder for the path to return to."""
        loose, end = loosened(body)
        return cls(head.encode(), _parts(body), _parts(loose), end.encode())

    def texts(self, target: bytes) -> tuple[str, str]:
        """Return head and body as texts, with the path to return to."""
        return self.head.decode(), target.join(self.body).decode()


def _parts(body: str) -> tuple[bytes, ...]:
    return tuple(part.encode() for part in body.split(TARGET))


def with_words(page: bytes, words: Words, target: bytes) -> bytes | None:
    """
    Return a whole page with `words` inserted.

    None if the page needs a closer look, if its `<base>` would lead our addresses elsewhere, or if its `<body>` says
    where the banner goes.

    Args:
        target: The path to return to, escaped.
    """
    place = usual_place(page)
    if place is None or _BASE in page[: place.body].lower():
        return None
    head, body = place
    if _ASKED in page[head:body]:
        return None
    inner, end = (words.loose, words.end) if ends(page) else (words.body, b"")
    return b"".join((page[:head], words.head, page[head:body], target.join(inner), page[body:], end))
