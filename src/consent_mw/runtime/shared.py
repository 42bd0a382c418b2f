"""Everything that requests share under every revision of the policy."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from consent_mw._asgi import Scope
from consent_mw.cookies.consent_cookie import ConsentCookie
from consent_mw.cookies.cookie_lines import CookieFloor
from consent_mw.cookies.illegible import Illegible
from consent_mw.log.drain import Drain
from consent_mw.proxies import Proxies
from consent_mw.rights.erasure import Erasure
from consent_mw.runtime.options import Options
from consent_mw.runtime.storage import Storage
from consent_mw.site.throttle import network_of
from consent_mw.system.bounded_cache import remembering

_log = logging.getLogger("consent_mw")

_REMEMBERED_LINES_BYTES = 1 << 20

#: The function that raises the attributes of a Set-Cookie line, by whether the connection is secure; None: no floor.
Floors = dict[bool, Callable[[bytes], bytes] | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """Everything that stays the same when the policy changes."""

    options: Options
    storage: Storage
    cookie: ConsentCookie
    proxies: Proxies
    erasure: Erasure
    drain: Drain
    illegible: Illegible
    floors: Floors
    _warned: set[str] = field(default_factory=set[str])

    def network(self, scope: Scope) -> str:
        """Return the network that a request comes from, for counting; "" if it is not known."""
        return network_of(self.proxies.address(scope))

    def warn_once(self, what: str, message: str, *values: object) -> None:
        """Log a warning once in the life of this process, however many requests cause it."""
        if what not in self._warned:
            self._warned.add(what)
            _log.warning(message, *values)


def floors_of(floor: CookieFloor | None) -> Floors:
    """Return the functions that apply `cookie_floor=` to a line."""
    if floor is None:
        return {False: None, True: None}
    raised = {https: partial(floor.raised, https=https) for https in (False, True)}
    return {https: remembering(function, _REMEMBERED_LINES_BYTES) for https, function in raised.items()}
