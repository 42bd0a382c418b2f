"""How our parts of a page stand and what our own pages wear: the layout, the site's style sheet and logo."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, get_args

from consent_mw.exceptions import ConfigurationError

__all__ = ["Layout", "Look", "Position"]

Layout: TypeAlias = Literal["bar", "box", "centre"]
Position: TypeAlias = Literal["bottom", "top", "bottom-left", "bottom-right", "top-left", "top-right"]

#: Where each layout may stand; the first of them unless told.
_POSITIONS: Final[dict[Layout, tuple[Position, ...]]] = {
    "bar": ("bottom", "top"),
    "box": ("bottom-right", "bottom-left", "top-left", "top-right"),
    "centre": (),
}
#: A path of this very site: our own pages load nothing from elsewhere.
_PATH: Final = re.compile(r"/(?!/)[^\s\"'<>\\]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """
    What `ConsentMiddleware` is told about looks.

    Attributes:
        banner_layout: A bar over the whole width, a box in a corner, or a card in the middle. None covers the page.
        banner_position: Where a bar or a box stands; None for its usual place.
        stylesheet: The path of a style sheet of the site that our own pages load too.
        logo: The path of a picture that stands before the site's name on our own pages.

    Raises:
        ConfigurationError: One of them is unknown, or no path of this site.
    """

    banner_layout: Layout = "bar"
    banner_position: Position | None = None
    stylesheet: str | None = None
    logo: str | None = None

    def __post_init__(self) -> None:
        if self.banner_layout not in _POSITIONS:
            _refuse("banner_layout", self.banner_layout, "is no layout", get_args(Layout))
        places = _POSITIONS[self.banner_layout]
        if self.banner_position is not None and self.banner_position not in places:
            _refuse("banner_position", self.banner_position, f"is no place of a {self.banner_layout}", places)
        for name in ("stylesheet", "logo"):
            path = getattr(self, name)
            if path is not None and not _PATH.fullmatch(path):
                raise ConfigurationError(
                    f'{name}: "{path}" is no path of this site, and our own pages load nothing from elsewhere; '
                    f'write {name}="/static/…"'
                )

    @property
    def classes(self) -> str:
        """The classes that say it, each after a space; none for the usual bar."""
        usual = _POSITIONS[self.banner_layout][:1]
        places = (self.banner_position,) if self.banner_position else usual
        words = [self.banner_layout, *"-".join(places).split("-")] if self.is_special else []
        return "".join(f" consent-mw-{word}" for word in words if word)

    @property
    def is_special(self) -> bool:
        """Whether it takes more than the usual style sheet."""
        return self.banner_layout != "bar" or self.banner_position == "top"


def _refuse(name: str, given: str, problem: str, known: tuple[str, ...]) -> None:
    fix = f'write {name}="{known[0]}"; known are: {", ".join(known)}' if known else "leave it out"
    raise ConfigurationError(f'{name}: "{given}" {problem}; {fix}')
