"""A visitor's browser: a jar that ends its cookies when they say so. It outlives the site's process."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta


class Browser:
    """
    Attributes:
        member: Who is signed in.
        gpc: Whether it sends Global Privacy Control.
        receipt: The name on the receipt that was downloaded last.
        habit: What was chosen last.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.member: str | None = None
        self.gpc = False
        self.receipt = ""
        self.habit = ""
        self._jar: dict[str, tuple[str, datetime | None]] = {}

    def headers(self, now: datetime) -> list[tuple[str, str]]:
        """Return what it sends along."""
        cookies = {name: value for name, (value, ends) in self._jar.items() if ends is None or now < ends}
        if self.member:
            cookies["session"] = self.member
        sent = [("host", "testserver"), ("sec-fetch-site", "same-origin"), ("accept-language", "en")]
        sent += [("sec-gpc", "1")] if self.gpc else []
        return sent + ([("cookie", "; ".join(f"{name}={value}" for name, value in cookies.items()))] if cookies else [])

    def take(self, lines: Iterable[str], now: datetime) -> tuple[list[str], list[str]]:
        """Keep what an answer sets. Return the names of the cookies that it set, and of those that it deleted."""
        kept: list[str] = []
        deleted: list[str] = []
        for line in lines:
            pair, *attributes = line.split(";")
            name, _, value = pair.strip().partition("=")
            ends = _ends(attributes, now)
            if ends is not None and ends <= now:
                self._jar.pop(name, None)
                deleted.append(name)
            else:
                self._jar[name] = value, ends
                kept.append(name)
        return kept, deleted

    def clear(self) -> None:
        self._jar.clear()


def _ends(attributes: Iterable[str], now: datetime) -> datetime | None:
    for attribute in attributes:
        name, _, value = attribute.strip().partition("=")
        if name.lower() == "max-age":
            return now + timedelta(seconds=int(value))
    return None
