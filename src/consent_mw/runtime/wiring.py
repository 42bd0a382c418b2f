"""The parts that a middleware is made of, put together once and checked at start-up."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from copy import copy
from datetime import timedelta
from functools import partial
from pathlib import Path

from consent_mw._asgi import Header, Scope
from consent_mw.consent.permissions import Decision, Verdict
from consent_mw.consent.receipts import Receipts
from consent_mw.consent.wordings import Wordings
from consent_mw.cookies.consent_cookie import ConsentCookie
from consent_mw.cookies.gate import CookieHook
from consent_mw.cookies.illegible import Illegible
from consent_mw.cookies.lines import CookieFloor, Placed, placed
from consent_mw.cookies.pending import Pending
from consent_mw.cookies.request_cookies import RequestCookies
from consent_mw.crypto.keyring import FileKeyring, ForeignKeyring, Keyring
from consent_mw.crypto.known_keyrings import KnownRings, Where
from consent_mw.crypto.sealer import PlainSealer, Sealer
from consent_mw.crypto.site_keys import SiteKeys
from consent_mw.exceptions import ConfigurationError
from consent_mw.log.access_line import Console
from consent_mw.log.drain import Drain
from consent_mw.log.exchange import Exchange
from consent_mw.log.recorder import Recorder
from consent_mw.log.undeclared import Source, Undeclared
from consent_mw.paths import Places
from consent_mw.policy.loader import load
from consent_mw.policy.model import Policy
from consent_mw.policy.notice_period import since
from consent_mw.policy.revisions import Revisions
from consent_mw.policy.rollout import NEVER, Plan, Publications
from consent_mw.proxies import Proxies
from consent_mw.retention.archive import Archive
from consent_mw.rights.erasure import Erasure
from consent_mw.rights.personal_data import PersonalData, SignIn
from consent_mw.rights.withdrawal import removed
from consent_mw.site.documents import OwnCookies
from consent_mw.site.my_data_pages import MyData
from consent_mw.site.pages import Site
from consent_mw.site.throttle import network_of
from consent_mw.spool.spool import Spool
from consent_mw.stores import site_store
from consent_mw.stores.base import Store
from consent_mw.stores.joined import JoinedStore
from consent_mw.system.bounded_cache import remembering

__all__ = ["Wiring"]

_log = logging.getLogger("consent_mw")


class Wiring:
    """
    Everything that requests share under one revision of the policy. Nothing in it belongs to one of them.

    Attributes:
        until_ns: The instant, in nanoseconds since 1970, from which `successor` serves. A request that has begun under
            one revision ends under it.
    """

    def __init__(
        self,
        *,
        policy: Policy | str | Path,
        secret_keys: Sequence[str | bytes],
        store: Store | str | None,
        log_store: Store | str | None,
        directory: str | Path | None,
        keyring: Keyring | None,
        proxies: Proxies | None,
        prefix: str,
        cookie_name: str,
        cookie_domain: str,
        site: str,
        cookie_hook: CookieHook | None,
        cookie_floor: CookieFloor | None,
        report_only: bool,
        inserts: bool,
        debug: bool,
        console: bool,
        templates: str | Path | None,
        drain: bool,
        spool_bytes: int,
        sync_interval: timedelta,
        clock: Callable[[], int],
        subject: SignIn | None,
        personal_data: PersonalData | None,
    ) -> None:
        self.clock: Callable[[], int] = clock
        declared = policy if isinstance(policy, Policy) else load(policy)
        self.places: Places = Places(_directory(policy, directory))
        self.places.prepare()
        self.revisions: Revisions = Revisions(self.places.revisions)
        self._publications: Publications = Publications(
            self.revisions,
            declared,
            None if isinstance(policy, Policy) else Path(policy),
            clock,
            trial=debug,
            begun=self.places.rings.exists(),
        )
        self.policy: Policy = self._publications.in_force
        self.proxies: Proxies = proxies or Proxies()
        self._keyring: Keyring = FileKeyring(self.places.keys) if keyring is None else ForeignKeyring(keyring)
        self._cookie: ConsentCookie = ConsentCookie(secret_keys, name=cookie_name, domain=cookie_domain, site=site)
        self._report_only = report_only
        self.store: Store = site_store(self.places.database, store, log_store)
        if isinstance(self.store, JoinedStore):
            _log.warning(_JOINED, self.places.database)
        self.spool: Spool = _spool(self.places.spool, spool_bytes, sync_interval, clock)
        self.prefix: str = _checked_prefix(prefix)
        self._templates: Path | None = Path(templates) if templates else None
        self.cookie_hook = cookie_hook
        #: What raises the attributes of a line that passes, by whether the connection is secure; None for nothing.
        self.floors: dict[bool, Callable[[bytes], bytes] | None] = _floors(cookie_floor)
        self.inserts = inserts
        self.debug = debug
        self.illegible: Illegible = Illegible(strict=debug)
        self._site_keys: SiteKeys = SiteKeys.kept(self.places.site_keys, self._cookie.signing.keys)
        self.sealer: Sealer = _sealer(self.policy, self._keyring, self._site_keys)
        self.pending: Pending = Pending(self.policy, self.store, self.sealer)
        # Only here, and for types in `drain`: an eighth of the time that `import consent_mw` took.
        from consent_mw.retention.destruction import Destruction
        from consent_mw.rights.restriction import SiteRestrictions

        restrictions = SiteRestrictions(self.store, self.sealer)
        self.destruction: Destruction = Destruction.of_site(
            self.policy, self.places, self.store, self.sealer, restrictions, spool=self.spool
        )
        self.erasure: Erasure = Erasure.of_site(
            self.revisions.course(self.policy).published,
            self.places,
            self.store,
            self.sealer,
            spool=self.spool,
            hand_over=self._hand_over,
            personal_data=personal_data,
        )
        self.drain: Drain = Drain(
            self.policy,
            self.spool,
            self.store,
            self.sealer,
            self.pending,
            clock=clock,
            hands_over=drain,
            chores=(self.destruction, self.erasure) if drain else (self.erasure,),
        )
        self.console: Console | None = Console(self.policy, self.proxies) if console else None
        self._subject = subject
        self._personal_data = personal_data
        self._warned: set[str] = set()
        _know_rings(self.places, self._keyring, keyring, self.erasure.archive)
        self._enforce()
        self.drain.look = self.look
        self.look()

    # -- one policy, and the next -------------------------------------------------------------------------------

    def _enforce(self) -> None:
        """Make what works by `self.policy`. What all revisions share is there already."""
        self.until_ns: int = NEVER
        #: The signals that are listened to: those that the policy promises to honour, and no other.
        self.signals: frozenset[str] = self.policy.signals
        self._next: Wiring | None = None
        self._plan: Plan | None = None  # what `look` saw last
        self.cookies: RequestCookies = RequestCookies(
            self.policy,
            self._cookie,
            report_only=self._report_only,
            strict=self.debug,
            reopened=since(self.revisions.before(self.policy.revision), self.policy),
        )
        policies = [*self.revisions.before(self.policy.revision).values(), self.policy]
        gone = removed(policies, self.policy)
        self.recorder: Recorder = Recorder(self.policy, self.sealer, self.spool, self.proxies, removed=gone)
        self._my_data: MyData = MyData.of_site(
            policies,
            self.store,
            self.sealer,
            self.spool,
            self.erasure,
            self.drain.once,
            client=self.network,
            subject=self._subject,
            personal_data=self._personal_data,
            removed=gone,
        )
        self.site: Site = Site(
            self.policy,
            prefix=self.prefix,
            signing=self._cookie.signing,
            pending=self.pending,
            receipts=Receipts(self.store, self.sealer),
            hand_over=self.drain.once,
            revisions=self.revisions,
            wordings=Wordings(self.places.wordings),
            my_data=self._my_data,
            own_cookies=self._own_cookies,
            templates=self._templates,
            enforced=not self._report_only,
            now_ns=self.clock,
        )
        self._misplaced: set[str] = set()
        self._undeclared: Undeclared = Undeclared(self.policy, self.sealer, self.spool)

    async def _hand_over(self) -> None:
        await self.drain.once()

    def network(self, scope: Scope) -> str:
        """Return the network that a request comes from, for counting; "" where that is not known."""
        return network_of(self.proxies.address(scope))

    def look(self) -> None:
        """
        Learn what was published meanwhile: announce it, and have ready what is to serve when it holds.

        Reads the disk, so the drain does it in a thread; a request only compares its instant with `until_ns`.

        Raises:
            ConfigurationError: The kept revisions cannot be read.
        """
        plan = self._publications.plan(self.policy)
        if plan == self._plan:
            return
        if plan.following is None:
            self._next = None
        elif self._next is None or self._next.policy != plan.following:
            self._next = self._under(plan.following)
        self.sealer.follow(plan.published)
        self.site.announce(plan.announced, plan.published)
        self.erasure.follow(plan.published, self.places)
        self.until_ns = plan.from_ns
        self._plan = plan

    def _under(self, policy: Policy) -> Wiring:
        """Return the same parts under another revision. Store, spool, keys and drain are shared."""
        other = copy(self)
        other.policy = policy
        other.sealer = _sealer(policy, self._keyring, self._site_keys)
        other.pending = self.pending.under(policy, other.sealer)
        other._enforce()
        return other

    def successor(self) -> Wiring:
        """Return what serves from now on: the instant `until_ns` has come. What it needs was made ready before."""
        following = self._next
        if following is None:
            return self
        self.drain.follow(following.policy, following.sealer, following.pending)
        self.drain.look = following.look
        if self.console is not None:
            self.console.follow(following.policy)
        _log.info("revision %d of the policy holds from now on", following.policy.revision)
        return following

    def _own_cookies(self, secure: bool) -> OwnCookies:
        return OwnCookies(
            self.cookies.cookie.name(secure=secure),
            self._cookie.companion("pending", secure=secure),
            self._cookie.companion("notice", secure=secure),
            self._cookie.companion("form", secure=secure),
            self._cookie.companion("host", secure=secure) if self._cookie.domain else "",
        )

    def warn_once(self, what: str, message: str, *values: object) -> None:
        """Log a warning that many requests give cause for, once in the life of this process."""
        if what not in self._warned:
            self._warned.add(what)
            _log.warning(message, *values)

    def report(self, decisions: Sequence[Decision], exchange: Exchange, source: Source = "response") -> None:
        """Note the cookies that the policy forgot to declare."""
        self._undeclared.look(decisions, exchange, source)

    def compare_places(self, headers: Iterable[Header], decisions: Sequence[Decision]) -> None:
        """
        Say once for each cookie that it is set elsewhere than declared: there it could not be taken back.

        For development: `decisions` are those of the Set-Cookie lines in `headers`, in order.
        """
        lines = [value for name, value in headers if name.lower() == b"set-cookie"]
        for line, decision in zip(lines, decisions, strict=True):
            declared = decision.declared
            if declared is None or decision.verdict is Verdict.BLOCKED or declared.name in self._misplaced:
                continue
            said = placed(line)
            if said != Placed(declared.domain.lower().lstrip("."), declared.path, declared.partitioned):
                self._misplaced.add(declared.name)
                _log.warning(_MISPLACED, decision.name, said.domain, said.path, said.partitioned, self.policy.file)

    @property
    def undeclared(self) -> dict[str, str]:
        """Undeclared cookies that were seen since the start, each with the route or path where it was first seen."""
        return self._undeclared.names


_JOINED = """%s: what this site kept here before it had another store is still read, erased and destroyed here; leave it
where it is until nothing but certificates and daily counts is left in it (consent-mw store check says when)"""
_MISPLACED = """the cookie %r is set with Domain=%r, Path=%r, partitioned: %s, and not as it is declared in %s: it could
not be taken back from the browser. Declare the domain, path and partitioned that it is set with."""
_REMEMBERED_LINES_BYTES = 1 << 20


def _floors(floor: CookieFloor | None) -> dict[bool, Callable[[bytes], bytes] | None]:
    if floor is None:
        return {False: None, True: None}
    raised = {https: partial(floor.raised, https=https) for https in (False, True)}
    return {https: remembering(function, _REMEMBERED_LINES_BYTES) for https, function in raised.items()}


def _know_rings(places: Places, live: Keyring, given: Keyring | None, archive: Archive | None) -> None:
    """Remember the keyrings, and say which of those that were used here are not there any more."""
    known, rings = KnownRings(places.rings), {places.keys: live}
    if archive is not None:
        rings[places.archive_keys] = archive.sealer.keyring
    for file, keyring in rings.items():
        where: Where = "live" if file == places.keys else "archive"
        for name in known.missing(where, keyring.name):
            _log.error(_MISSING_RING, file, name, keyring.name, name)
        known.remember(where, keyring, given=where == "live" and given is not None)


_MISSING_RING = """%s: the keyring %s was used here before, and now it is %s: what the first one sealed cannot be read,
requests among it, and those visitors cannot be erased. Put its key file back and start again; if it is gone for good,
say so: consent-mw purge --lost %s"""


def _sealer(policy: Policy, keyring: Keyring, site_keys: SiteKeys) -> Sealer:
    if policy.seal:
        return Sealer(keyring, site_keys)
    _log.warning(
        "%s: log.seal = false: personal fields are written as they are, and nothing can be destroyed for good; "
        "remove it, unless this is a test",
        policy.file,
    )
    return PlainSealer(keyring, site_keys)


def _directory(policy: Policy | str | Path, directory: str | Path | None) -> Path:
    """Return where records are kept: as told, or `consent-data` beside the policy."""
    if directory is not None:
        return Path(directory)
    return Path("consent-data") if isinstance(policy, Policy) else Path(policy).resolve().parent / "consent-data"


#: Below this not even one segment fits beside the reserve.
_LEAST_SPOOL_BYTES = 1 << 20


def _spool(directory: Path, budget_bytes: int, sync_interval: timedelta, clock: Callable[[], int]) -> Spool:
    if budget_bytes < _LEAST_SPOOL_BYTES:
        raise ConfigurationError(f"spool_bytes={budget_bytes}: is less than a mebibyte; write spool_bytes=256 << 20")
    if sync_interval <= timedelta():
        raise ConfigurationError(f"sync_interval={sync_interval}: is no time; write sync_interval=timedelta(seconds=1)")
    return Spool(
        directory,
        budget_bytes=budget_bytes,
        reserve_bytes=budget_bytes // 16,
        segment_bytes=min(8 << 20, budget_bytes // 8),
        sync_interval=sync_interval,
        clock=clock,
    )


def _checked_prefix(prefix: str) -> str:
    if not prefix.startswith("/") or prefix.endswith("/") or "//" in prefix:
        raise ConfigurationError(f'prefix: "{prefix}" must begin with / and not end with it; write prefix="/consent"')
    return prefix
