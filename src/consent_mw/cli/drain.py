"""`consent-mw drain`: move the log to the store in a process of its own, for busy sites."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

import click

from consent_mw.cli.clock import clock_of_commands, now_ns, utc_now
from consent_mw.cli.keys import keyring_at, ring_option
from consent_mw.cli.site_options import by_policy, log_store, other_store, places_of
from consent_mw.cli.terminal import FAULT, complain, progress_of
from consent_mw.cookies.pending import Pending
from consent_mw.crypto.keyring import Keyring
from consent_mw.crypto.sealer import Sealer
from consent_mw.exceptions import ConfigurationError, ConsentError, SpoolError, StoreUnavailable
from consent_mw.hosts.hosts import Hosts
from consent_mw.log.drain import Drain
from consent_mw.log.sealing import Sealing
from consent_mw.paths import Places
from consent_mw.policy.loader import load
from consent_mw.policy.revisions import Revisions
from consent_mw.retention.destruction import Destruction
from consent_mw.rights.erasure import Erasure
from consent_mw.rights.ledger_shelf import LedgerShelf
from consent_mw.rights.restriction import SiteRestrictions
from consent_mw.spool.keeper import Keeper
from consent_mw.spool.spool import Spool
from consent_mw.staff.existing_site import check_in_use, working_policy
from consent_mw.stores import site_store
from consent_mw.stores.base import Store
from consent_mw.stores.self_opening import OpenedStore
from consent_mw.system.escaping import as_json

_TICK_SECONDS: Final = 0.5
_LONGEST_PAUSE_SECONDS: Final = 30.0
#: A worker that drains by itself keeps the lease for some seconds.
_LEASE_SECONDS: Final = 15.0
_SHOWN_SECONDS: Final = 0.25
#: Told on standard error when the oldest record has waited longer.
_LATE_SECONDS: Final = 300.0


class Work(NamedTuple):
    """What one run of the command works with."""

    spool: Spool
    store: Store
    drain: Drain
    destruction: Destruction
    erasure: Erasure
    keeper: Keeper

    @property
    def behind(self) -> tuple[int, int]:
        """Return the bytes that wait, and for how many seconds the oldest of them does."""
        waiting, oldest = self.drain.backlog
        return waiting, max(0, int((utc_now() - oldest).total_seconds())) if oldest else 0


@click.command(
    epilog="Example: consent-mw drain --policy policy.toml, beside a site whose middleware has drain=False. "
    "SIGTERM and Ctrl-C end it once it has moved what waits; records that are left after --grace stay in the spool, "
    "and the exit code is 1.",
)
@by_policy
@other_store
@log_store
@ring_option
@click.option("--once", is_flag=True, help="Move what waits now, and end.")
@click.option(
    "--grace",
    type=click.FloatRange(0),
    default=5.0,
    show_default=True,
    metavar="SECONDS",
    help="How long it moves records after a signal.",
)
@click.option("--json", "json_wanted", is_flag=True, help="At the end, print what was done as one object.")
def drain(
    file: Path,
    directory: Path | None,
    url: str | None,
    log_urls: Sequence[str],
    ring: str | None,
    once: bool,
    grace: float,
    json_wanted: bool,
) -> int:
    """Move records from the spool to the store, until ended.

    One process of a machine works at a time: where the workers drain too, they take turns.
    """
    places = places_of(file, directory)
    check_in_use(places, url, log_urls)
    work = work_of(file, places, url, log_urls, ring)
    ended, is_left = asyncio.run(_run(work, once, grace))
    waiting, seconds = work.behind
    count = work.drain.handed_over
    if json_wanted:
        click.echo(as_json({"records": count, "waiting_bytes": waiting, "behind_seconds": seconds}))
    else:
        click.echo(f"{count:,} records moved; {_said(waiting, seconds)}{'' if once or not ended else '; ended'}")
    if is_left:
        complain(
            f"{work.spool.directory}: {_said(waiting, seconds)}; after the signal the store did not take all of it, so "
            "run this again before the disk goes"
        )
    return FAULT if is_left else 0


def work_of(file: Path, places: Places, url: str | None, log_urls: Sequence[str], ring: str | None) -> Work:
    """
    Return what drains for the site of a policy at `places`.

    Args:
        url, log_urls: Its store and that of its log, where they are not the one in its directory.
        ring: Its keyring, where that is no key file there.

    Raises:
        ConfigurationError, SpoolError: Something cannot be used, or is not there.
    """
    declared = load(file)
    places.check()
    policy = working_policy(declared, places, utc_now())
    keyring, spool = _keys_and_spool(places, ring)
    store = OpenedStore(site_store(places.database, url, log_urls))  # what erases and destroys beside may come first
    sealer = Sealer.of_site(places, keyring, policy)
    clock = clock_of_commands()
    hosts = Hosts.of_site(
        places,
        store,
        keyring,
        sealer.site_keys,
        revision=lambda: working_policy(declared, places, utc_now()).revision,
        oldest=lambda: spool.backlog.oldest,
        clock=clock,
        shelves=[LedgerShelf.of_site(places, clock)],
    )
    return Work(
        spool,
        store,
        Drain(policy, spool, store, sealer, Pending(policy, store, sealer), clock=clock),
        Destruction.of_site(
            policy, places, store, sealer, SiteRestrictions(store, sealer), spool=spool, clock=clock, hosts=hosts
        ),
        Erasure.of_site(
            Revisions(places.revisions).course(policy).published,
            places,
            store,
            sealer,
            spool=spool,
            spools=hosts.spools if hosts else None,
            publish=partial(hosts.publish, LedgerShelf.label) if hosts else None,
        ),
        Keeper(places.spool, sealer.keyring.name, Sealing(sealer).of_ring),
    )


def _keys_and_spool(places: Places, ring: str | None) -> tuple[Keyring, Spool]:
    """Return those of a site that ran before: opening what is not there would make it. Raises ConfigurationError."""
    keyring = keyring_at(places, ring)
    if keyring is None or not places.spool.exists():
        missing = places.spool if keyring else places.keys
        raise ConfigurationError(
            f"{missing}: is not there; run the site first, or give its data directory with --directory"
        )
    spool = Spool(places.spool, clock=now_ns)
    spool.stay(places.site_lock)
    return keyring, spool


async def _run(work: Work, once: bool, grace: float) -> tuple[bool, bool]:
    """Work until done or ended. Return whether a signal ended it, and whether it then left something in the spool."""
    task = asyncio.ensure_future(_all(work) if once else _on(work))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    beside = [asyncio.ensure_future(_show(work, once))]
    if not once:  # the middleware only spools, so what has ended is destroyed here
        work.keeper.start()
        beside += [asyncio.ensure_future(chore.keep_on(now_ns)) for chore in (work.destruction, work.erasure)]
    try:
        await task
    except asyncio.CancelledError:
        await asyncio.to_thread(work.keeper.close)
        # A batch is in the store as a whole or not at all, and a segment that was not finished is read again.
        return True, not await _finished(work, grace)
    finally:
        for beside_task in beside:
            beside_task.cancel()
        await asyncio.gather(*beside, return_exceptions=True)
        await asyncio.to_thread(work.keeper.close)
        for chore in (work.destruction, work.erasure):
            await chore.close()
        await work.store.close()
        work.spool.close()
    return False, False


async def _finished(work: Work, grace: float) -> bool:
    """Hand over for `grace` seconds at most; return whether nothing waits any more. Say which error ended it."""
    try:
        async with asyncio.timeout(grace):
            while (count := await _turn(work)) != 0:
                if count is None:  # another process moves them
                    await asyncio.sleep(_TICK_SECONDS)
            return not work.spool.closed()
    except TimeoutError:
        return False
    except ConsentError as error:
        complain(str(error))
        return False


async def _all(work: Work) -> None:
    for _ in range(int(_LEASE_SECONDS / _TICK_SECONDS)):
        with work.spool.lease() as mine:
            if mine:
                await work.store.open()
                while await work.drain.turn():
                    pass
                if left := len(work.spool.closed()):
                    raise SpoolError(
                        f"{work.spool.directory}: {left} segments cannot be moved; the lines above say why"
                    )
                return
        await asyncio.sleep(_TICK_SECONDS)
    raise SpoolError(
        f"{work.spool.directory}: another process of this machine moves the records; wait, or end it and try again"
    )


async def _on(work: Work) -> None:
    await work.store.open()  # if it cannot be reached at first, the command says so
    await hand_over_on(work)


async def hand_over_on(work: Work) -> None:
    """Move records to the store until cancelled. Log a store failure once, and retry. Raises ConsentError."""
    pause = _TICK_SECONDS
    logged = ""
    while True:
        try:
            count = await _turn(work)
        except StoreUnavailable as error:
            await work.store.close()
            if logged != str(error):
                logged = str(error)
                complain(f"{error}; records stay in the spool and are tried again")
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)
        else:
            if logged and count is not None:
                complain("records go to the store again")
                logged = ""
            pause = 0.0 if count else _TICK_SECONDS
        await asyncio.sleep(pause or 0.0)
        pause = pause or _TICK_SECONDS


async def _turn(work: Work) -> int | None:
    """Move some records and return how many; None while another process of this machine does it."""
    with work.spool.lease() as mine:
        return await work.drain.turn() if mine else None


async def _show(work: Work, once: bool) -> None:
    """Show how far it is, on a terminal only; elsewhere say it when it is late."""
    total = max(1, work.behind[0]) if once else None
    with progress_of("") as show, suppress(SpoolError):
        late = False
        while True:
            waiting, seconds = work.behind
            text = f"{work.drain.handed_over:,} records moved; {_said(waiting, seconds)}"
            show(max(0, (total or 0) - waiting), total, text)
            if (seconds > _LATE_SECONDS) != late:
                late = not late
                complain(f"behind: {_said(waiting, seconds)}" if late else "no longer behind")
            await asyncio.sleep(_SHOWN_SECONDS)


def _said(waiting: int, seconds: int) -> str:
    if not waiting:
        return "nothing waits"
    return f"{waiting / 1e6:,.1f} MB wait, the oldest for {seconds:,} s"
