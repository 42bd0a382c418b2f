"""The look of the banner and of our own pages: the layout, the site's style sheet and logo."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, get_args

from consent_mw.exceptions import ConfigurationError

Layout: TypeAlias = Literal["bar", "box", "centre"]
Position: TypeAlias = Literal["bottom", "top", "bottom-left", "bottom-right", "top-left", "top-right"]

#: The positions that each layout may have. The first one is the default.
_POSITIONS: Final[dict[Layout, tuple[Position, ...]]] = {
    "bar": ("bottom", "top"),
    "box": ("bottom-right", "bottom-left", "top-left", "top-right"),
    "centre": (),
}
#: A path of this same site: our own pages load nothing from elsewhere.
_PATH: Final = re.compile(r"/(?!/)[^\s\"'<>\\]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """
    The options of `ConsentMiddleware` about looks.

    Attributes:
        banner_layout: A bar over the whole width, a box in a corner, or a card in the middle. None of them covers the
            page.
        banner_position: The position of a bar or a box; None for its default.
        stylesheet: The path of one of the site's style sheets that our own pages load too.
        logo: The path of a picture that our own pages show before the site's name.

    Raises:
        ConfigurationError: A layout or position is unknown, or a path is not one of this site.
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
        """The CSS classes for this look, each after a space; none for the default bar."""
        usual = _POSITIONS[self.banner_layout][:1]
        places = (self.banner_position,) if self.banner_position else usual
        words = [self.banner_layout, *"-".join(places).split("-")] if self.is_special else []
        return "".join(f" consent-mw-{word}" for word in words if word)

    @property
    def is_special(self) -> bool:
        """Whether this look needs more than the usual style sheet."""
        return self.banner_layout != "bar" or self.banner_position == "top"


def _refuse(name: str, given: str, problem: str, known: tuple[str, ...]) -> None:
    fix = f'write {name}="{known[0]}"; known are: {", ".join(known)}' if known else "leave it out"
    raise ConfigurationError(f'{name}: "{given}" {problem}; {fix}')
