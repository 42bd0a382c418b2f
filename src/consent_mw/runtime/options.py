"""What the caller of the middleware may say: each option documented, and checked, once."""

from __future__ import annotations

import fnmatch
import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Literal, Required, TypedDict

from consent_mw.cookies.cookie_lines import CookieFloor
from consent_mw.cookies.gate import CookieHook
from consent_mw.crypto.keyring import Keyring
from consent_mw.exceptions import ConfigurationError
from consent_mw.policy.model import Policy
from consent_mw.proxies import Proxies
from consent_mw.rights.personal_data import PersonalData, SignIn
from consent_mw.site.look import Layout, Look, Position
from consent_mw.stores.base import Store

__all__ = ["Given", "Options"]

#: Below this not even one segment fits beside the reserve.
_LEAST_SPOOL_BYTES = 1 << 20


class Given(TypedDict, total=False):
    """The keyword arguments of `ConsentMiddleware`; `Options` documents them."""

    policy: Required[Policy | str | Path]
    secret_keys: Required[Sequence[str | bytes]]
    store: Store | str | None
    log_store: Store | str | None
    directory: str | Path | None
    keyring: Keyring | None
    proxies: Proxies | None
    prefix: str
    cookie_name: str
    cookie_domain: str
    site: str
    embedded: bool
    cookie_hook: CookieHook | None
    cookie_floor: CookieFloor | None
    exclude: Iterable[str]
    report_only: bool
    banner: bool
    banner_layout: Layout
    banner_position: Position | None
    stylesheet: str | None
    logo: str | None
    debug: bool
    console: bool
    templates: str | Path | None
    gpc_url: bool
    health: bool
    drain: bool
    spool_bytes: int
    sync_interval: timedelta
    receipts: Literal["disk", "store"]
    pending_wait: timedelta
    subject: SignIn | None
    personal_data: PersonalData | None
    clock: Callable[[], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """
    The options of `ConsentMiddleware`.

    Attributes:
        policy: The declaration: a path to `policy.toml`, or a `Policy` that was loaded.
        secret_keys: What signs the consent cookie, oldest to newest: the last signs, all are believed.
        store: Where records go: a `Store`, or a URL such as "sqlite:///log.sqlite3". SQLite in `directory` by default.
        log_store: Where visits and events go instead, as many as there are; everything else stays in `store`.
        directory: Keys, spool and the default store; `consent-data` beside the policy unless told.
        keyring: Where the keys of days live, if not in the key file of `directory`.
        proxies: The proxies in front of us; without them only the socket's address and scheme are believed.
        prefix: Where the visitor's pages are.
        cookie_name: What the consent cookie is called, without its prefix `__Host-`.
        cookie_domain: Shares the choice between subdomains, and gives up the `__Host-` prefix: any of them can then set
            a choice, which counts on hosts where the visitor made none. Data open on the host where one was made alone.
        site: What this deployment is called in its signatures, such as "staging": two with one key believe each other's
            choices only if this, `cookie_name` and `cookie_domain` agree.
        embedded: Whether the site lives in frames of other sites: over https its own cookies then are `SameSite=None;
            Partitioned`, so that each of those sites has a choice of its own, and pages in frames ask.
        cookie_hook: May veto a cookie that would pass, or pass one that would not.
        cookie_floor: What every cookie that passes must say of itself at least: Secure on https, HttpOnly, SameSite.
        exclude: Paths, with * for anything, that are left out of the log. Never out of the gate.
        report_only: Block nothing and report everything, for a site that moves in.
        banner: Whether the banner is inserted into pages; a template can place it instead.
        banner_layout: How it stands: "bar" over the whole width, "box" in a corner, "centre" in the middle. None of
            them covers the page; on a phone each is a bar.
        banner_position: Where: "bottom" or "top" for a bar; "bottom-right", "bottom-left", "top-left" or "top-right"
            for a box.
        stylesheet: The path of a style sheet of the site's that our own pages load too, such as "/static/brand.css".
        logo: The path of a picture that stands before the site's name on our own pages.
        debug: Tell in a response header what became of each cookie, and raise on an event that is not declared.
        console: Write an access line for each exchange, masked, in the place of the server's (`--no-access-log`).
        templates: A folder whose templates stand in for ours of the same name.
        gpc_url: Serve `/.well-known/gpc.json`, which says whether the policy honours the signal.
        health: Answer load balancers at `/consent/health`, and leave those requests out of the log.
        drain: False where `consent-mw drain` hands records to the store: this process then only writes them down. Else
            it hands them over, or begins a process that does once it is busy, where all that needs has a name.
        spool_bytes: Most that records may take on this machine's disk while they wait for the store, a sixteenth of
            it kept for receipts, erasures and abuse.
        sync_interval: How often records are forced to the disk: what a power cut may take.
        receipts: Where the receipt of an acceptance has to be before a visitor reads that it is saved: on the "disk" of
            this machine, or in the "store", for a machine whose disk goes with it. A store that is away is a 503 then.
        pending_wait: How long a response may wait until a cookie that waits for an answer is in the store; then the
            cookie is blocked, and the page leaves.
        subject: Tells from a request's scope who is signed in, or None: then they see their data wherever they sign in.
        personal_data: What the application itself holds about who is signed in: read, corrected and erased through it.
        clock: Nanoseconds since 1970; for tests (`consent_mw.testing.clock.Clock`).

    Raises:
        ConfigurationError: One of them is wrong; the message names it.
    """

    policy: Policy | str | Path
    secret_keys: Sequence[str | bytes]
    store: Store | str | None = None
    log_store: Store | str | None = None
    directory: str | Path | None = None
    keyring: Keyring | None = None
    proxies: Proxies | None = None
    prefix: str = "/consent"
    cookie_name: str = "consent"
    cookie_domain: str = ""
    site: str = ""
    embedded: bool = False
    cookie_hook: CookieHook | None = None
    cookie_floor: CookieFloor | None = None
    exclude: Iterable[str] = ()
    report_only: bool = False
    banner: bool = True
    banner_layout: Layout = "bar"
    banner_position: Position | None = None
    stylesheet: str | None = None
    logo: str | None = None
    debug: bool = False
    console: bool = False
    templates: str | Path | None = None
    gpc_url: bool = False
    health: bool = False
    drain: bool = True
    spool_bytes: int = 256 << 20
    sync_interval: timedelta = timedelta(seconds=1)
    receipts: Literal["disk", "store"] = "disk"
    pending_wait: timedelta = timedelta(milliseconds=50)
    subject: SignIn | None = None
    personal_data: PersonalData | None = None
    clock: Callable[[], int] = time.time_ns

    def __post_init__(self) -> None:
        prefix, spool_bytes = self.prefix, self.spool_bytes
        if not prefix.startswith("/") or prefix.endswith("/") or "//" in prefix:
            raise ConfigurationError(
                f'prefix: "{prefix}" must begin with / and not end with it; write prefix="/consent"'
            )
        if spool_bytes < _LEAST_SPOOL_BYTES:
            raise ConfigurationError(f"spool_bytes={spool_bytes}: is less than a mebibyte; write spool_bytes=256 << 20")
        if self.receipts not in ("disk", "store"):
            raise ConfigurationError(f'receipts: "{self.receipts}" is no place; write receipts="disk" or "store"')
        for option in ("sync_interval", "pending_wait"):
            if (duration := getattr(self, option)) <= timedelta():
                raise ConfigurationError(f"{option}={duration}: is no time; write {option}=timedelta(seconds=1)")
        _ = self.look  # a wrong one is told at the start
        if isinstance(self.exclude, str):
            raise ConfigurationError(f'exclude: is one text; write exclude=("{self.exclude}",)')

    @property
    def look(self) -> Look:
        """How the banner stands, and what our own pages wear."""
        return Look(
            banner_layout=self.banner_layout,
            banner_position=self.banner_position,
            stylesheet=self.stylesheet,
            logo=self.logo,
        )

    @property
    def file(self) -> Path | None:
        """Where the declaration was read from; None for a `Policy` that was loaded."""
        return None if isinstance(self.policy, Policy) else Path(self.policy)

    def named_for_a_process(self) -> dict[str, str | None] | None:
        """
        Return what a process of its own needs to drain for this site, by names that it understands; None where some of
        it is an object of this process, nobody wants it, or somebody is developing.
        """
        own = (self.keyring, *(each for each in (self.store, self.log_store) if not isinstance(each, str)))
        if not self.drain or self.debug or self.file is None or self.clock is not time.time_ns or any(own):
            return None
        return {
            "policy": str(self.file.absolute()),
            "directory": str(self.data_directory.absolute()),
            "store": self.store if isinstance(self.store, str) else None,
            "log_store": self.log_store if isinstance(self.log_store, str) else None,
        }

    @property
    def data_directory(self) -> Path:
        """Where records are kept: as told, or `consent-data` beside the policy."""
        if self.directory is not None:
            return Path(self.directory)
        return Path("consent-data") if self.file is None else _beside(self.file)

    @property
    def health_path(self) -> str:
        """Where load balancers ask, if they may."""
        return f"{self.prefix}/health"

    @property
    def excluded(self) -> re.Pattern[str] | None:
        """What a path matches that is left out of the log; None where all are in it."""
        patterns = [*self.exclude, *([self.health_path, f"{self.health_path}/*"] if self.health else [])]
        return re.compile("|".join(map(fnmatch.translate, patterns))) if patterns else None


def _beside(file: Path) -> Path:
    """
    Return `consent-data` beside the declaration.

    Raises:
        ConfigurationError: A link leads to a new release, and one beside it holds data: nobody would destroy those.
    """
    release = file.resolve().parent
    here = release / "consent-data"
    if release != file.absolute().parent and not here.exists():
        left = sorted(release.parent.glob("*/consent-data"))
        if left:
            raise ConfigurationError(
                f"{here}: is reached by a link, as that of a release, and {left[-1]} beside it holds data; keep "
                'them outside of all releases, and name that place: directory="…"'
            )
    return here
