"""A site that lives through time in a test: its visitors, its background work, its commands, and what it keeps."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from consent_mw._asgi import ASGIApp
from consent_mw.kinds import AGGREGATE, CERTIFICATE, ERASED
from consent_mw.middleware import ConsentMiddleware
from consent_mw.records import Query
from consent_mw.retention.aggregates import PURPOSE as AGGREGATES
from consent_mw.retention.aggregates import cells_of, days_of
from consent_mw.runtime.runtime import Runtime
from consent_mw.stores import each_of
from consent_mw.stores.pages import every
from consent_mw.system.days import EPOCH, day_of
from consent_mw.testing.client import ADDRESS, ConsentClient
from consent_mw.testing.clock import Clock
from consent_mw.testing.commands import Done, run_command
from consent_mw.testing.kept import Kept, hand_over, kept
from consent_mw.testing.running import RunningApp

__all__ = ["LivingSite"]

_HOUR: Final = timedelta(hours=1)
_POLICY: Final = "policy.toml"
_DATA: Final = "consent-data"
_KEYS: Final = ("only for this test",)
#: Options of the middleware that a command needs too, to find the records.
_STORES: Final = {"store": "--store", "log_store": "--log-store"}


class LivingSite:
    """
    A site in a directory, on a clock that the test moves.

        with LivingSite(app, policy="policy.toml", directory=tmp_path, at=datetime(2028, 2, 1, tzinfo=UTC)) as site:
            kim = site.visitor()
            kim.accept()
            site.pass_time(days=400)
            assert site.records("receipt") == []

    Nothing happens in the background by itself. `settle` and `pass_time` move records to the store, carry out visitors'
    requests, destroy what has ended and load published revisions, by the same code as a running site. So two runs of a
    test do the same.

    The directory is laid out as an operator has it: policy.toml, and consent-data beside it. It may be one that another
    process has left, killed or not, or a backup that was put back. Requests and commands come one after the other, from
    one thread; not inside a running event loop.

    Args:
        app: The application, which is wrapped in a `ConsentMiddleware`. `restart` starts it again.
        directory: Where policy.toml and consent-data are, or will be.
        policy: The declaration, as a text or a file: it is put into the directory. What is there already if None.
        at: The instant at which the site starts (aware); the present if None.
        raise_errors: Raise what the application raises. False answers 500 as a server does.
        options: All other options of `ConsentMiddleware`.

    Attributes:
        clock: The clock of all: visitors' cookies, requests, background work and commands.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        directory: str | Path,
        policy: str | Path | None = None,
        at: datetime | None = None,
        raise_errors: bool = True,
        **options: Any,
    ) -> None:
        self.directory: Path = Path(directory)
        self.clock: Clock = Clock(at)
        self._inner = app
        self._raise_errors = raise_errors
        self._options = options
        self._visitors: list[ConsentClient] = []
        self.directory.mkdir(parents=True, exist_ok=True)
        if policy is not None:
            (self.directory / _POLICY).write_text(_text(policy), encoding="utf-8")
        self._running = RunningApp(self._middleware(), raise_errors=raise_errors)

    # -- its life -----------------------------------------------------------------------------------------------

    def _middleware(self) -> ConsentMiddleware:
        options: dict[str, Any] = {"secret_keys": _KEYS, **self._options}
        app = ConsentMiddleware(
            self._inner,
            policy=self.directory / _POLICY,
            directory=self.directory / _DATA,
            clock=self.clock,
            **options,
        )
        app.runtime.drain.by_itself = False
        return app

    def __enter__(self) -> LivingSite:
        """Start the site."""
        self._running.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Shut the site down."""
        for visitor in self._visitors:
            visitor.close()
        self._running.stop()

    def restart(self, **options: Any) -> None:
        """
        Shut the site down and start it again over the same directory, at the same instant and with the same visitors.

        Args:
            options: Options of `ConsentMiddleware`, which replace the site's from now on.
        """
        self._options = {**self._options, **options}
        self._running.stop()
        self._running.begin(self._middleware())

    @property
    def app(self) -> ConsentMiddleware:
        """The application as it is served: since the last `restart` another one."""
        app = self._running.app
        assert isinstance(app, ConsentMiddleware)  # noqa: S101 - made here
        return app

    @property
    def _runtime(self) -> Runtime:
        return self.app.runtime

    # -- visitors -----------------------------------------------------------------------------------------------

    def visitor(self, *, address: str | None = ADDRESS, **options: Any) -> ConsentClient:
        """
        Return a visitor in a browser of their own: they share nothing with another.

        Args:
            address: Where they come from, as the server sees it; None is a Unix socket.
            options: As of `ConsentClient`: `headers={"accept-language": "ko"}`, `base_url`, `follow_redirects`, ...
        """
        visitor = ConsentClient(self._running, address=address, **options)
        self._visitors.append(visitor)
        return visitor

    # -- time ---------------------------------------------------------------------------------------------------

    @property
    def now(self) -> datetime:
        """The instant at which the site stands (aware, UTC)."""
        return self.clock.now

    @property
    def today(self) -> date:
        """The day that it is, in the time zone of the policy in force: `published` of a revision must be it."""
        return self.now.astimezone(self._runtime.policy.time_zone).date()

    def settle(self) -> None:
        """
        Do all background work at this instant, once and in this order: sync the spool, load published revisions, move
            records to the store, expire waiting cookies, count, destroy and certify what has ended, and carry out
            visitors' requests.
        """
        self._running.run(self._runtime.drain.run_once())

    def pass_time(self, *, step: timedelta = _HOUR, **duration: float) -> None:
        """
        Let time pass, as `timedelta` counts it: `pass_time(days=3)`. See `pass_until`. A negative duration sets the
        clock back.
        """
        self.pass_until(self.now + timedelta(**duration), step=step)

    def pass_until(self, instant: datetime, *, step: timedelta = _HOUR) -> None:
        """
        Let time pass until `instant` (aware), with the background work that happens meanwhile.

        It happens (as in `settle`) before the clock moves, at each full step on the way (by default each hour, on the
        hour by UTC), and at `instant`. So a record that ends on an hour is destroyed at that very hour, and nothing
        waits longer than a step. A larger step is faster, and makes more work due at once, as after a site was down. An
        instant before the present sets the clock back in one step.

        Raises:
            ValueError: `step` is not positive, or `instant` has no time zone.
        """
        if instant.tzinfo is None:
            raise ValueError(f"{instant!r} has no time zone; write datetime(..., tzinfo=UTC)")
        if step <= timedelta():
            raise ValueError(f"step={step}: is no time; write step=timedelta(hours=1)")
        self.settle()
        for moment in _moments(self.now, instant, step):
            self.clock.set(moment)
            self.settle()

    # -- commands -----------------------------------------------------------------------------------------------

    def run(self, *arguments: str, typed: str = "") -> Done:
        """
        Run a command of `consent-mw` in this process, at this instant, in the directory of the site, and return what it
        ended with: `run("purge", "--dry-run", "--json").json()`.

        Where the site has `store=` or `log_store=` as a URL, the command gets it too unless it is given another.
        `demo`, `log --follow` and `drain` without `--once` never end; do not run them here.

        Args:
            typed: What stands on its standard input.
        """
        given = {name: each_of(self._options.get(key)) for key, name in _STORES.items()}
        stores = {name: [url for url in passed if isinstance(url, str)] for name, passed in given.items()}
        return run_command(arguments, clock=self.clock, directory=self.directory, options=stores, typed=typed)

    def publish(self, policy: str | Path, *, wording: bool = False) -> Done:
        """
        Put a revision into the place of policy.toml, publish it at this instant with `consent-mw publish`, and let the
        site learn of it. It takes effect by itself when its day comes.

        Args:
            policy: The declaration, as a text or a file.
            wording: It corrects the words of a published revision. The site shows them from its next `restart`.

        Raises:
            ValueError: It was refused; the message says why. Nothing has changed. To test a refusal use `run`.
        """
        file = self.directory / _POLICY
        before = file.read_bytes()
        file.write_text(_text(policy), encoding="utf-8")
        done = self.run("publish", _POLICY, *(["--wording"] if wording else []))
        if done.exit_code:
            file.write_bytes(before)
            raise ValueError(f"publish: {done.stderr.strip()}")
        self._runtime.poll_published()
        return done

    # -- what it keeps ------------------------------------------------------------------------------------------

    def records(self, *kinds: str) -> list[Kept]:
        """
        Return the records of these kinds ("visit", "event", "receipt", "request", ...) in the live store, or of all
        that `consent-mw log` shows; opened, oldest first. Records in the spool are moved to the store before.
        """
        return self._running.run(_live(self._runtime, kinds))

    def archived(self, *kinds: str) -> list[Kept]:
        """Return the records that a law keeps in the archive, as `records` does."""
        return self._running.run(_archived(self._runtime, kinds))

    def certificates(self) -> list[Kept]:
        """Return the certificates of destruction, as docs/retention.md lists their fields; oldest first."""
        return self.records(CERTIFICATE)

    def erasures(self) -> list[Kept]:
        """Return the certificates of erasures and withdrawals, with their fields ("erased.records"); oldest first."""
        return self.records(ERASED)

    def counts(self, day: date) -> dict[str, dict[str, dict[str, int]]]:
        """
        Return what was counted of a day (UTC), by purpose, then by what is counted, then by cell:
        `counts(day)["necessary"]["route"] == {"/": 12}`. Empty until it is counted, half an hour after the day is over.
        """
        return self._running.run(_counts(self._runtime, day))


def _text(policy: str | Path) -> str:
    """Return a declaration that is given as a text, or as the name of a file."""
    is_text = isinstance(policy, str) and "\n" in policy
    return str(policy) if is_text else Path(policy).read_text(encoding="utf-8")


def _moments(now: datetime, until: datetime, step: timedelta) -> Iterator[datetime]:
    """Yield the full steps between the two, and `until`."""
    moment = EPOCH + ((now - EPOCH) // step + 1) * step
    while moment < until:
        yield moment
        moment += step
    yield until


async def _live(runtime: Runtime, kinds: tuple[str, ...]) -> list[Kept]:
    await hand_over(runtime)
    return await kept(runtime.store, runtime.sealer, kinds)


async def _archived(runtime: Runtime, kinds: tuple[str, ...]) -> list[Kept]:
    archive = runtime.erasure.archive
    return await kept(archive.store, archive.sealer, kinds) if archive else []


async def _counts(runtime: Runtime, day: date) -> dict[str, dict[str, dict[str, int]]]:
    query = Query(kinds=frozenset((AGGREGATE,)), purposes=frozenset((AGGREGATES,)))
    number = day_of(datetime(day.year, day.month, day.day, tzinfo=UTC))
    counts: dict[str, dict[str, dict[str, int]]] = {}
    for record in runtime.sealer.whole(await every(runtime.store, query)):
        if days_of(record) == frozenset((number,)):
            of, by = str(record.data["aggregate.of"]), str(record.data["aggregate.by"])
            counts.setdefault(of, {})[by] = cells_of(record)
    return counts
