"""A browser's cookies by the clock of a test: what has expired there is gone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from http.cookiejar import Cookie, CookieJar

__all__ = ["ClockedJar"]


class ClockedJar(CookieJar):
    """
    A cookie jar that takes the present from `clock` (nanoseconds since 1970) and not from the machine.

    `clear_session_cookies()` is what the end of the browser does.
    """

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        super().__init__()

    # The standard library keeps the machine's time here for the length of a call, and judges Max-Age and Expires by it.
    @property
    def _now(self) -> int:
        return self._clock() // 1_000_000_000

    @_now.setter
    def _now(self, machine: int) -> None:
        """What the machine says is of no account."""

    def set_cookie(self, cookie: Cookie) -> None:
        """Keep a cookie, which from now on expires by the clock wherever it is copied to."""
        super().set_cookie(_Clocked.of(cookie, self._clock))

    def __iter__(self) -> Iterator[Cookie]:
        """Yield the cookies that have not expired. The others are gone from then on, whatever the clock does next."""
        for cookie in list(super().__iter__()):
            if cookie.is_expired():
                self.clear(cookie.domain, cookie.path, cookie.name)
            else:
                yield cookie


class _Clocked(Cookie):
    """A cookie of which every jar learns that it has expired by the clock: `httpx` copies them into jars of its own."""

    _clock: Callable[[], int]

    @classmethod
    def of(cls, cookie: Cookie, clock: Callable[[], int]) -> _Clocked:
        clocked = cls.__new__(cls)
        vars(clocked).update(vars(cookie), _clock=clock)
        return clocked

    def is_expired(self, now: float | None = None) -> bool:
        return self.expires is not None and self.expires <= self._clock() / 1e9
