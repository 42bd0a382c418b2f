"""A running site: the parts that its options describe, built and checked at start-up, and the revision in force."""

from __future__ import annotations

import logging
from functools import partial

from consent_mw.cookies.consent_cookie import ConsentCookie
from consent_mw.cookies.illegible import Illegible
from consent_mw.cookies.pending import Pending
from consent_mw.crypto.sealer import Sealer
from consent_mw.exceptions import ConfigurationError
from consent_mw.hosts.hosts import Hosts
from consent_mw.log.access_line import Console
from consent_mw.log.drain import Drain
from consent_mw.log.drain_process import DrainProcess
from consent_mw.paths import Places
from consent_mw.policy.loader import load
from consent_mw.policy.model import Policy
from consent_mw.policy.rollout import Publications
from consent_mw.proxies import Proxies
from consent_mw.retention.destruction import Destruction
from consent_mw.rights.erasure import Erasure
from consent_mw.rights.ledger_shelf import LedgerShelf
from consent_mw.rights.restriction import SiteRestrictions
from consent_mw.runtime.files_check import FilesCheck
from consent_mw.runtime.options import Options
from consent_mw.runtime.revision import Revision
from consent_mw.runtime.shared import Shared, floors_of
from consent_mw.runtime.storage import Storage
from consent_mw.spool.spool import Spool
from consent_mw.stores.base import Store

_log = logging.getLogger("consent_mw")


class Runtime:
    """
    The parts of a middleware.

    Attributes:
        revision: The revision that serves now.
    """

    def __init__(self, options: Options) -> None:
        """Raise the same errors as `ConsentMiddleware`."""
        declared = options.policy if isinstance(options.policy, Policy) else load(options.policy)
        places = Places(options.data_directory)
        places.prepare()
        cookie = ConsentCookie(
            options.secret_keys,
            name=options.cookie_name,
            domain=options.cookie_domain,
            site=options.site,
            embedded=options.embedded,
        )
        begun = places.rings.exists()
        self.options: Options = options
        self.storage: Storage = Storage.of(options, places, cookie.signing.keys)
        hosts = self.storage.hosts(lambda: self.policy.revision)
        self._publications = self._published(declared, hosts, begun)
        policy = self._publications.in_force
        _refuse_unanswered(policy, options)
        sealer = self.storage.sealer(policy)
        pending = Pending(policy, self.storage.store, sealer)
        proxies = options.proxies or Proxies()
        self.console: Console | None = Console(policy, proxies) if options.console else None
        self.destruction: Destruction = self._destruction(policy, sealer, hosts)
        self.erasure: Erasure = self._erasure(policy, sealer, hosts)
        self.drain: Drain = self._drain(policy, sealer, pending, hosts)
        self.storage.know_keyrings(self.erasure.archive, given=options.keyring is not None)
        shared = Shared(
            options=options,
            storage=self.storage,
            cookie=cookie,
            proxies=proxies,
            erasure=self.erasure,
            drain=self.drain,
            illegible=Illegible(strict=options.debug),
            floors=floors_of(options.cookie_floor),
        )
        self.revision: Revision = Revision(policy, sealer, pending, shared)
        self.poll_published()

    def _destruction(self, policy: Policy, sealer: Sealer, hosts: Hosts | None) -> Destruction:
        storage = self.storage
        return Destruction.of_site(
            policy,
            storage.places,
            storage.store,
            sealer,
            SiteRestrictions(storage.store, sealer),
            spool=storage.spool,
            clock=storage.clock,
            hosts=hosts,
        )

    def _published(self, declared: Policy, hosts: Hosts | None, begun: bool) -> Publications:
        storage, options = self.storage, self.options
        unknown = storage.catch_up(hosts) if hosts else ""
        return Publications(
            storage.revisions, declared, options.file, options.clock, trial=options.debug, begun=begun, unknown=unknown
        )

    def _erasure(self, policy: Policy, sealer: Sealer, hosts: Hosts | None) -> Erasure:
        storage = self.storage
        return Erasure.of_site(
            storage.revisions.course(policy).published,
            storage.places,
            storage.store,
            sealer,
            spool=storage.spool,
            hand_over=self._hand_over,
            personal_data=self.options.personal_data,
            spools=hosts.spools if hosts else None,
            publish=partial(hosts.publish, LedgerShelf.label) if hosts else None,
            restored=lambda: hosts.restored if hosts else 0,
        )

    def _drain(self, policy: Policy, sealer: Sealer, pending: Pending, hosts: Hosts | None) -> Drain:
        storage, options = self.storage, self.options
        return Drain(
            policy,
            storage.spool,
            storage.store,
            sealer,
            pending,
            clock=options.clock,
            hands_over=options.drain,
            process=self._drain_process(policy),
            lends=options.shared_memory,
            # First the check: an erasure may forget a torn line.
            chores=(FilesCheck(storage.places), *([hosts] if hosts else []), self.erasure),
            drain_chores=(self.destruction,) if options.drain else (),
            poll_published=self.poll_published,
            agree=hosts.agree if hosts and hosts.keyring is storage.keyring else None,
            first=self.destruction.destroy_keys,
        )

    def _drain_process(self, policy: Policy) -> DrainProcess | None:
        """Return the drain for a process of its own; None if that process could not be given all that it needs."""
        options, places = self.options, self.storage.places
        named = options.named_for_a_process()
        return DrainProcess(places.drain_lock, named) if named and policy.seal else None

    async def _hand_over(self) -> None:
        await self.drain.once()

    # Parts that other code asks for by name, so that it need not know where they are kept.

    @property
    def policy(self) -> Policy:
        """The policy in force."""
        return self.revision.policy

    @property
    def sealer(self) -> Sealer:
        """The sealer of records under this policy."""
        return self.revision.sealer

    @property
    def store(self) -> Store:
        """The store of records."""
        return self.storage.store

    @property
    def spool(self) -> Spool:
        """The spool, where records wait for the store."""
        return self.storage.spool

    @property
    def places(self) -> Places:
        """The paths of everything on the disk."""
        return self.storage.places

    # The policy in force, and the next one.

    def poll_published(self) -> None:
        """
        Look for newly published revisions: announce the next one, and prepare it so that it can serve when it begins.

        This reads the disk, so the drain calls it in a thread. A request only compares its instant with `until_ns`.

        Raises:
            ConfigurationError: The kept revisions cannot be read.
        """
        revision = self.revision  # meanwhile a request may switch to the next one
        plan = self._publications.plan(revision.policy)
        if plan == revision.plan:
            return
        if plan.following is None:
            revision.following = None
        elif revision.following is None or revision.following.policy != plan.following:
            revision.following = revision.under(plan.following)
        revision.sealer.follow(plan.published)
        revision.site.announce(plan.announced, plan.published)
        self.erasure.follow(plan.published, self.places)
        revision.until_ns = plan.from_ns
        revision.plan = plan

    def succeed(self) -> Revision:
        """Switch to the next revision and return it: the instant `until_ns` has come."""
        following = self.revision.following
        if following is None:
            return self.revision
        self.drain.follow(following.policy, following.sealer, following.pending)
        if self.console is not None:
            self.console.follow(following.policy)
        self.revision = following
        _log.info("revision %d of the policy holds from now on", following.policy.revision)
        return following


def _refuse_unanswered(policy: Policy, options: Options) -> None:
    """Check that *My data* can answer for what the policy says it answers for. Raises ConfigurationError."""
    if policy.answered and (options.personal_data is None or options.subject is None):
        raise ConfigurationError(
            f'{policy.file}: purposes.{policy.answered[0].name}.answered_by: "my_data" asks personal_data= about who '
            'signed in by subject=; pass both, or write answered_by = "staff"'
        )
