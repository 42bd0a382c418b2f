"""The parts that a middleware is made of, put together once and checked at start-up."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from consent_mw.client import Proxies
from consent_mw.consent_cookie import ConsentCookie, checked_keys
from consent_mw.declaration import load
from consent_mw.drain import Drain
from consent_mw.exceptions import ConfigurationError, PolicyError
from consent_mw.exchange import Exchange
from consent_mw.gate import CookieHook
from consent_mw.keyring import FileKeyring, Keyring
from consent_mw.notices import since
from consent_mw.pending import Pending
from consent_mw.permissions import Decision
from consent_mw.places import Places
from consent_mw.policy import Policy
from consent_mw.recorder import Recorder
from consent_mw.request_cookies import RequestCookies
from consent_mw.revisions import Revisions
from consent_mw.sealer import Sealer
from consent_mw.site.pages import Site
from consent_mw.spool import Spool
from consent_mw.stores import store_from
from consent_mw.stores.base import Store
from consent_mw.stores.opened import OpenedStore
from consent_mw.undeclared import Source, Undeclared

__all__ = ["Wiring"]

_log = logging.getLogger("consent_mw")


class Wiring:
    """Everything that requests share. Nothing in it belongs to one of them."""

    def __init__(
        self,
        *,
        policy: Policy | str | Path,
        secret_keys: Sequence[str | bytes],
        store: Store | str | None,
        directory: str | Path | None,
        keyring: Keyring | None,
        proxies: Proxies | None,
        prefix: str,
        cookie_name: str,
        cookie_domain: str,
        cookie_hook: CookieHook | None,
        report_only: bool,
        inserts: bool,
        debug: bool,
        templates: str | Path | None,
        clock: Callable[[], int],
    ) -> None:
        keys = checked_keys(secret_keys)
        self.clock: Callable[[], int] = clock
        self.policy: Policy = policy if isinstance(policy, Policy) else load(policy)
        self.places: Places = Places(_directory(policy, directory))
        self.places.prepare()
        self.revisions: Revisions = Revisions(self.places.revisions)
        if not isinstance(policy, Policy):
            self._keep_revision(Path(policy))
        self.proxies: Proxies = proxies or Proxies()
        self.cookies: RequestCookies = RequestCookies(
            self.policy,
            ConsentCookie(keys, name=cookie_name, domain=cookie_domain),
            report_only=report_only,
            reopened=since(self.revisions.before(self.policy.revision), self.policy),
        )
        self.sealer: Sealer = Sealer(keyring or FileKeyring(self.places.keys))
        self.store: OpenedStore = OpenedStore(store_from(store or f"sqlite:///{self.places.database}"))
        self.spool: Spool = Spool(self.places.spool, clock=clock)
        self.pending: Pending = Pending(self.policy, self.store, self.sealer)
        self.recorder: Recorder = Recorder(self.policy, self.sealer, self.spool, self.proxies)
        self.drain: Drain = Drain(self.policy, self.spool, self.store, self.sealer, self.pending, clock)
        self.prefix: str = _checked_prefix(prefix)
        self.site: Site = Site(
            self.policy,
            prefix=self.prefix,
            secret_keys=keys,
            pending=self.pending,
            templates=Path(templates) if templates else None,
            now_ns=clock,
        )
        self.cookie_hook = cookie_hook
        self.inserts = inserts
        self.debug = debug
        self._undeclared: Undeclared = Undeclared(self.policy, self.sealer, self.spool)

    def _keep_revision(self, file: Path) -> None:
        faults = self.revisions.check(self.policy)
        if faults:
            raise PolicyError(*faults)
        self.revisions.keep(self.policy, file.read_text(encoding="utf-8"))

    def report(self, decisions: Sequence[Decision], exchange: Exchange, source: Source = "response") -> None:
        """Note the cookies that the policy forgot to declare."""
        self._undeclared.look(decisions, exchange, source)

    @property
    def undeclared(self) -> dict[str, str]:
        """Undeclared cookies that were seen since the start, each with the route or path where it was first seen."""
        return self._undeclared.names


def _directory(policy: Policy | str | Path, directory: str | Path | None) -> Path:
    """Return where records are kept: as told, or `consent-data` beside the policy."""
    if directory is not None:
        return Path(directory)
    return Path("consent-data") if isinstance(policy, Policy) else Path(policy).resolve().parent / "consent-data"


def _checked_prefix(prefix: str) -> str:
    if not prefix.startswith("/") or prefix.endswith("/") or "//" in prefix:
        raise ConfigurationError(f'prefix: "{prefix}" must begin with / and not end with it; write prefix="/consent"')
    return prefix
