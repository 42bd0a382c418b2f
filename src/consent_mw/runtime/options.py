"""The options of the middleware: each is documented, and checked, in one place."""

from __future__ import annotations

import fnmatch
import os
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
from consent_mw.stores import LogStores, each_of
from consent_mw.stores.base import Store

#: In fewer bytes not even one segment fits beside the reserve.
_LEAST_SPOOL_BYTES = 1 << 20


class Given(TypedDict, total=False):
    """The keyword arguments of `ConsentMiddleware`; `Options` documents them."""

    policy: Required[Policy | str | Path]
    secret_keys: Required[Sequence[str | bytes]]
    store: Store | str | None
    log_store: LogStores | None
    directory: str | Path | None
    keyring: Keyring | str | None
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
    policy_link: bool
    proof_page: bool
    health: bool
    drain: bool
    shared_memory: bool
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
        policy: The declaration: a path to `policy.toml`, or a `Policy` that is already loaded.
        secret_keys: The keys of the consent cookie, oldest to newest. The last one signs; all of them verify.
        store: The store for records: a `Store`, or a URL such as "sqlite:///log.sqlite3". By default SQLite in
            `directory`.
        log_store: Another store for visits and events, which are many, or several of them: this host appends to the
            first, and everything is read from all. Everything else stays in `store`.
        directory: The folder for keys, spool and the default store. By default `consent-data` beside the policy.
        keyring: The keyring that holds the keys of days: a `Keyring`, or the URL of a key service, such as
            "openbao://bao.example:8200/transit". By default the key file in `directory`.
        proxies: The proxies in front of us. Without them we trust only the socket's address and scheme.
        prefix: The path of the visitor's pages.
        cookie_name: The name of the consent cookie, without its prefix `__Host-`.
        cookie_domain: The domain whose subdomains share the choice. The cookie then has no `__Host-` prefix, so any
            subdomain can set a choice, which counts on hosts where the visitor made none. *My data* opens only on the
            host where the visitor made the choice.
        site: The name of this deployment in its signatures, such as "staging". Two deployments with the same key accept
            each other's choices only if this, `cookie_name` and `cookie_domain` agree.
        embedded: Whether other sites show this site in frames. Over https its own cookies are then `SameSite=None;
            Partitioned`, so that each of those sites has a choice of its own, and pages in frames ask.
        cookie_hook: A function that may veto a cookie that would pass, or let one pass that would not.
        cookie_floor: The least that every cookie that passes must have: Secure on https, HttpOnly, SameSite.
        exclude: Paths that the log leaves out, with * for anything. The gate still applies to them.
        report_only: Block nothing and report everything, for a site that is being moved to this package.
        banner: Whether to insert the banner into pages. A template can place it instead.
        banner_layout: The form of the banner: "bar" over the whole width, "box" in a corner, "centre" in the middle.
            None of them covers the page; on a phone each is a bar.
        banner_position: The place of the banner: "bottom" or "top" for a bar; "bottom-right", "bottom-left", "top-left"
            or "top-right" for a box.
        stylesheet: The path of one of the site's style sheets that our own pages load too, such as "/static/brand.css".
        logo: The path of a picture that our own pages show before the site's name.
        debug: Name the decision about each cookie in a response header, and raise on an event that is not declared.
        console: Write a masked access line for each exchange, instead of the server's (`--no-access-log`).
        templates: A folder with templates that replace ours of the same name.
        gpc_url: Serve `/.well-known/gpc.json`, which says whether the policy honours the signal.
        policy_link: Name the policy page in a `Link` header on the site's own HTML pages too, for tools and crawlers:
            `</consent/policy>; rel="privacy-policy"`. Our pages always have it.
        proof_page: Serve `/consent/proof`: anybody reads there what was destroyed, when and how many records, and how
            often cookies were held back. The numbers name nobody, but they show how busy a site is.
        health: Answer load balancers at `/consent/health`, and leave those requests out of the log.
        drain: Whether this process moves records to the store. Once it is busy it starts another process for that, if
            everything that the other process needs can be named. False if `consent-mw drain` moves them: this process
            then only writes them to the spool.
        shared_memory: Leave it to the process that drains, while there is one, to seal ordinary records and to write
            them to the spool: it reads them from memory that it shares with this process. A request gets about a third
            cheaper. A SIGKILL of one of the two processes loses nothing. One of both in the same moment, as of a whole
            container, loses the records of the last tenth of a second, at most of one `sync_interval`.
        spool_bytes: The most bytes of this machine's disk that records may take while they wait for the store. A
            sixteenth of it is kept for receipts, erasures and abuse.
        sync_interval: How often records are forced to the disk. A power cut may lose the records of this time.
        receipts: Where the receipt of an acceptance must be before a visitor reads that it is saved: on the "disk" of
            this machine, or in the "store", for a machine that may vanish together with its disk. With "store" the
            answer is a 503 while the store is away.
        pending_wait: How long a response may wait until the store has a cookie that waits for an answer. After that
            the cookie is blocked and the page leaves.
        subject: A function that returns from a request's scope who is signed in, or None. Visitors then see their data
            wherever they sign in.
        personal_data: The data that the application itself holds about a signed-in visitor. Through it we read,
            correct and erase them.
        clock: A function that returns nanoseconds since 1970; for tests (`consent_mw.testing.clock.Clock`).

    Raises:
        ConfigurationError: An option is wrong; the message names it.
    """

    policy: Policy | str | Path
    secret_keys: Sequence[str | bytes]
    store: Store | str | None = None
    log_store: LogStores | None = None
    directory: str | Path | None = None
    keyring: Keyring | str | None = None
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
    policy_link: bool = False
    proof_page: bool = True
    health: bool = False
    drain: bool = True
    shared_memory: bool = False
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
        _ = self.look  # so that a wrong one raises at the start
        if isinstance(self.exclude, str):
            raise ConfigurationError(f'exclude: is one text; write exclude=("{self.exclude}",)')

    @property
    def look(self) -> Look:
        """The banner's layout and place, and the style sheet and logo of our own pages."""
        return Look(
            banner_layout=self.banner_layout,
            banner_position=self.banner_position,
            stylesheet=self.stylesheet,
            logo=self.logo,
        )

    @property
    def file(self) -> Path | None:
        """The file of the declaration; None for a `Policy` that was already loaded."""
        return None if isinstance(self.policy, Policy) else Path(self.policy)

    def named_for_a_process(self) -> dict[str, str | list[str] | None] | None:
        """
        Return everything that a separate process needs to drain for this site, as names that it can resolve.

        None if some of it is an object of this process, if `drain` is False, or if `debug` is on.
        """
        logs = each_of(self.log_store)
        own = (part for part in (self.keyring, self.store, *logs) if not isinstance(part, str))
        if not self.drain or self.debug or self.file is None or self.clock is not time.time_ns or any(own):
            return None
        return {
            "policy": str(self.file.absolute()),
            "directory": str(self.data_directory.absolute()),
            "store": self.store if isinstance(self.store, str) else None,
            "log_store": [url for url in logs if isinstance(url, str)],
            "keyring": self.keyring if isinstance(self.keyring, str) else None,
        }

    @property
    def data_directory(self) -> Path:
        """The folder for records: `directory`, or by default `consent-data` beside the policy."""
        if self.directory is not None:
            return Path(self.directory)
        return Path("consent-data") if self.file is None else _beside(self.file)

    @property
    def health_path(self) -> str:
        """The path that load balancers ask, if `health` is on."""
        return f"{self.prefix}/health"

    @property
    def excluded(self) -> re.Pattern[str] | None:
        """The pattern of the paths that the log leaves out; None if it leaves none out."""
        patterns = [*self.exclude, *([self.health_path, f"{self.health_path}/*"] if self.health else [])]
        return re.compile("|".join(map(fnmatch.translate, patterns))) if patterns else None


def _beside(file: Path) -> Path:
    """
    Return `consent-data` beside the declaration.

    Raises:
        ConfigurationError: A link leads to a new release, and an older release beside it holds data, which nothing
            would ever destroy.
    """
    release = Path(os.path.realpath(file)).parent  # `Path.resolve` raises where links lead in a circle
    here = release / "consent-data"
    if release != file.absolute().parent and not here.exists():
        left = sorted(release.parent.glob("*/consent-data"))
        if left:
            raise ConfigurationError(
                f"{here}: is reached by a link, as that of a release, and {left[-1]} beside it holds data; keep "
                'them outside of all releases, and name that place: directory="…"'
            )
    return here
