"""`consent-mw requests`: what visitors asked for about their data, by when it is due, and the operator's answers."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeVar
from zoneinfo import ZoneInfo

import click

from consent_mw.cli.access import accessing, asked, from_whom, sealer_of
from consent_mw.cli.case_view import clear, lines, personal, print_cases
from consent_mw.cli.clock import now_ns, utc_now
from consent_mw.cli.default_group import DefaultGroup
from consent_mw.cli.keys import keyring_at, ring_option
from consent_mw.cli.session import with_store
from consent_mw.cli.site_options import where
from consent_mw.cli.terminal import FAULT, complain
from consent_mw.cli.words import Words
from consent_mw.consent.data_subject import NOBODY
from consent_mw.crypto.sealer import Sealer
from consent_mw.exceptions import ConfigurationError
from consent_mw.hosts.keyring import SharedKeyring
from consent_mw.hosts.register import Register
from consent_mw.paths import Places
from consent_mw.policy.model import REQUESTS
from consent_mw.rights.answering import check_answer, give
from consent_mw.rights.desk import Desk, kept_by_store
from consent_mw.rights.queue import in_order
from consent_mw.rights.request import REQUEST_KINDS, Answer, Case, Channel, Outcome, Request, RequestKind
from consent_mw.staff.errand import Errand, staff
from consent_mw.staff.existing_site import check_in_use, check_purposes, existing_store, policy_in_force, site_keys_at
from consent_mw.staff.receipt_holder import receipt_holder
from consent_mw.stores.base import Store
from consent_mw.system.escaping import as_json, printable

#: How a request comes to staff. What comes through the site registers itself.
_BY_STAFF: Final = ("phone", "fax", "post", "email", "person")
#: Before it nobody had such a site: a slip in the year, which would make a request overdue at once.
_EARLIEST: Final = datetime(2000, 1, 1, tzinfo=UTC)
_NUMBER: Final = re.compile(r"[0-9a-f]{1,32}")

_Result = TypeVar("_Result")
_Command = TypeVar("_Command", bound=Callable[..., Any])


@click.group(cls=DefaultGroup, epilog="Example: consent-mw requests --all")
def requests() -> None:
    """
    See what visitors asked for about their data, and answer them. Without a command: list.
    """


_json = click.option("--json", "json_wanted", is_flag=True, help="One object a request.")
_as = click.option("--as", "name", type=Words(), default="", help="Your name, if the account does not say it.")


@requests.command(
    "list",
    epilog="Example: consent-mw requests list --json, for a monitor: exit code 1 if any is overdue.",
)
@where
@click.option("--all", "everything", is_flag=True, help="Those that have ended too.")
@_json
def list_(directory: Path, url: str | None, everything: bool, json_wanted: bool) -> int:
    """
    List the open requests, the one that is due first on top.

    The sender, their address and their message are personal: see consent-mw requests show. Exit code 1 if any is
    overdue.
    """
    places, now = Places(directory), utc_now()
    policy, every = policy_in_force(places, now), _read(places, url)
    shown = [case for case in in_order(every, policy) if everything or case.ended is None]
    if json_wanted:
        for case in shown:
            click.echo(as_json(clear(case, policy, now)))
    elif shown:
        print_cases(shown, every, policy, now)
    else:
        click.echo("no request is open")
    late = [case.due(policy) for case in every if case.is_overdue(policy, now)]
    if late:
        complain(f"overdue: {len(late)}, the oldest was due on {min(late)}; see consent-mw requests show NUMBER")
    return FAULT if late else 0


@requests.command(
    epilog="Example: consent-mw requests add --kind access --channel phone --received 2026-11-23 --phone 02-120. "
    "A message of - is read from standard input, which keeps it out of the shell's history.",
)
@where
@ring_option
@click.option("--kind", type=click.Choice(REQUEST_KINDS), required=True, help="What is asked for.")
@click.option("--channel", type=click.Choice(_BY_STAFF), required=True, help="How it came.")
@click.option(
    "--received",
    required=True,
    metavar="DATE",
    help="When it came, such as 2026-11-23 or 2026-11-23T09:30, in the policy's time zone. The clock runs from then.",
)
@click.option("--purpose", "purposes", multiple=True, help="What it is about, if not everything; may be repeated.")
@click.option("--email", type=Words(), default="", help="Where the answer goes.")
@click.option("--phone", type=Words(), default="", help="Where the answer goes.")
@click.option("--message", type=Words(letter=True), default="", help="The sender's words; - reads standard input.")
@click.option("--receipt", type=Words(), default="", metavar="NAME", help="The name on the sender's receipt.")
@_as
@_json
def add(
    directory: Path,
    url: str | None,
    ring: str | None,
    kind: RequestKind,
    channel: Channel,
    received: str,
    purposes: tuple[str, ...],
    email: str,
    phone: str,
    message: str,
    receipt: str,
    name: str,
    json_wanted: bool,
) -> int:
    """
    Register a request that came by phone, fax, post, e-mail or in person.

    With --receipt it comes from the holder of that receipt, and the site itself carries out a withdrawal or an erasure.
    A request without a receipt can be answered by hand only.
    """
    places, now = Places(directory), utc_now()
    check_in_use(places, url)
    policy = policy_in_force(places, now)
    moment = _received(received, policy.time_zone, now)
    check_purposes(places, purposes)
    if email and not re.fullmatch(r"[^@\s]+@[^@\s]+", email):
        raise click.BadParameter(f'"{email}" is no e-mail address; write name@example.com', param_hint="--email")
    sealer = sealer_of(places, ring)

    async def register(desk: Desk, store: Store) -> Request:
        request = Request.new(
            kind, channel, now_ns(), person=await receipt_holder(receipt, store, sealer) if receipt else NOBODY,
            received=moment, purposes=purposes, email=email, phone=phone, message=message, by=staff(name),
        )  # fmt: skip
        await desk.register(request)
        return request

    case = Case(_at_the_desk(places, url, sealer, register))
    _tell({}, lines(case, policy, now), clear(case, policy, now) if json_wanted else None)
    if not (email or phone or receipt):
        complain("note: nothing says where the answer goes; if you can, register it with --email or --phone")
    return 0


@requests.command(
    epilog="Example: consent-mw requests show 0198f3a2 --reason 'to answer it'. A number may be shortened.",
)
@click.argument("number")
@where
@ring_option
@_json
@from_whom
def show(
    number: str, directory: Path, url: str | None, ring: str | None, json_wanted: bool, reason: str | None, name: str
) -> int:
    """
    Show one request, and what was answered.

    The sender, their address, their message and the grounds of a refusal need a --reason, and the access is recorded
    (consent-mw audit).
    """
    places, now = Places(directory), utc_now()
    policy = policy_in_force(places, now)
    case = _meant(number, _read(places, url))
    errand = asked(Errand(f"requests show {case.request.id}", [REQUESTS], reason, name))
    opened: dict[str, str | list[str]] = {}
    if errand.reason is not None:
        sealer = sealer_of(places, ring)
        with accessing(places, errand, sealer.keyring) as access:
            every = _read(places, url, sealer)
            read = _meant(str(case.request.id), every)
            opened = personal(read, every)
            if read.request.readable:
                access.opened += bool(opened)
            else:
                access.closed["unreadable"] += 1
    waits = _waits_for(case, places, url)
    as_object = {**clear(case, policy, now), "waits_for": waits, **opened} if json_wanted else None
    _tell(opened, [*lines(case, policy, now), *(f"  waits for {host}" for host in waits)], as_object)
    if errand.reason is None:
        complain("note: who sent it and what they wrote stays sealed; to read it, add --reason 'why'")
    return 0


def _answering(explained: str) -> Callable[[_Command], _Command]:
    """Give a command what each answer takes."""

    def given(command: _Command) -> _Command:
        reason = click.option("--reason", type=Words(letter=True), default="", help=explained)
        return click.argument("number")(where(ring_option(reason(_as(_json(command))))))

    return given


@requests.command(
    epilog="Example: consent-mw requests answer 0198f3a2 --reason 'sent by e-mail on 24 November'.",
)
@_answering("What was done, as the sender may read it; - reads standard input.")
def answer(
    number: str, directory: Path, url: str | None, ring: str | None, reason: str, name: str, json_wanted: bool
) -> int:
    """
    Say that a request is done. It ends, and a restriction with it.

    The site itself answers what it carries out itself: a withdrawal or an erasure for the holder of a receipt.
    """
    return _answered(number, "done", Places(directory), url, ring, reason, name, json_wanted)


@requests.command(
    epilog="Example: consent-mw requests refuse 0198f3a2 --reason 'nobody proved whose data is meant'.",
)
@_answering("Why, as the sender will read it; - reads standard input. There is no refusal without.")
def refuse(
    number: str, directory: Path, url: str | None, ring: str | None, reason: str, name: str, json_wanted: bool
) -> int:
    """Refuse a request, with the reason that its sender will read."""
    if not reason:
        raise click.UsageError("a refusal has a reason, which its sender will read; say why with --reason")
    return _answered(number, "refused", Places(directory), url, ring, reason, name, json_wanted)


@requests.command(
    epilog="Example: consent-mw requests grant 0198f3a2. The running site, or consent-mw drain, carries it out.",
)
@_answering("Why, as the sender may read it; - reads standard input.")
def grant(
    number: str, directory: Path, url: str | None, ring: str | None, reason: str, name: str, json_wanted: bool
) -> int:
    """
    Decide that records of abuse are erased, although the site keeps them for its own protection; or that a restriction
    goes on, which then is no longer overdue.
    """
    return _answered(number, "granted", Places(directory), url, ring, reason, name, json_wanted)


def _answered(
    number: str,
    outcome: Outcome,
    places: Places,
    url: str | None,
    ring: str | None,
    reason: str,
    name: str,
    json_wanted: bool,
) -> int:
    now = utc_now()
    check_in_use(places, url)
    policy, sealer = policy_in_force(places, now), sealer_of(places, ring)

    async def answered(desk: Desk, store: Store) -> Case:
        case = _meant(number, await desk.all())
        check_answer(case, outcome)
        given = Answer.new(case.request.id, outcome, now_ns(), reason=reason, by=staff(name))
        before = await give(given, desk, store, places.requests_lock)
        return before._replace(answers=(*before.answers, given))

    case = _at_the_desk(places, url, sealer, answered)
    if case.ended and case._replace(answers=()).restricts and case.request.person.is_known:
        complain("note: the restriction ends with it: the data of who asked may be used again")
    _tell({}, lines(case, policy, now), clear(case, policy, now) if json_wanted else None)
    return 0


# -- the desk ------------------------------------------------------------------------------------------------------


def _at_the_desk(
    places: Places, url: str | None, sealer: Sealer, work: Callable[[Desk, Store], Awaitable[_Result]]
) -> _Result:
    store = existing_store(places, url)
    return with_store(store, lambda store: work(Desk(store, sealer, kept_by_store(store)), store))


def _read(places: Places, url: str | None, sealer: Sealer | None = None) -> list[Case]:
    """Return every request; without a sealer only what is clear, for which no key is needed."""
    none_at_hand = Sealer.without_keys(site_keys_at(places))
    return _at_the_desk(places, url, sealer or none_at_hand, lambda desk, store: desk.all(opened=sealer is not None))


def _waits_for(case: Case, places: Places, url: str | None) -> list[str]:
    """Return the hosts whose spools may still hold what an erasure has to find; none where the site has one host."""
    keyring = keyring_at(places, None)
    if case.ended or case.request.kind not in ("withdrawal", "erasure") or not isinstance(keyring, SharedKeyring):
        return []
    signing = Sealer.without_keys(site_keys_at(places))

    async def work(desk: Desk, store: Store) -> list[str]:
        spools = await Register(store, keyring, signing).spools(case.request.registered, utc_now())
        return [f"{host.called}, whose spool may hold what was written before" for host in spools.waiting]

    return _at_the_desk(places, url, signing, work)


def _meant(number: str, cases: Sequence[Case]) -> Case:
    """
    Return the one request whose number begins like this.

    Raises:
        ConfigurationError: There is none, or more than one.
    """
    beginning = number.strip().lower().replace("-", "")
    matching = [case for case in cases if case.request.id.hex.startswith(beginning)]
    if not _NUMBER.fullmatch(beginning):
        raise ConfigurationError(f'"{number}" is not the number of a request; see `consent-mw requests --all`')
    if not matching:
        raise ConfigurationError(
            f"there is no request {number} here; see `consent-mw requests --all`. An erasure that is done leaves "
            "only its certificate: `consent-mw log --kind erased`"
        )
    if len(matching) > 1:
        some = ", ".join(str(case.request.id) for case in matching[:3])
        raise ConfigurationError(f"{len(matching)} requests begin with {number}: {some}; write more of the number")
    return matching[0]


def _received(text: str, zone: ZoneInfo, now: datetime) -> datetime:
    """
    Return when a request came (aware, UTC): a day, which is its first moment, or an instant, in `zone` by default.

    Raises:
        click.BadParameter: It is none, or in the future.
    """
    hint = "--received"
    try:
        read = datetime.fromisoformat(text.strip())
        moment = (read if read.tzinfo else read.replace(tzinfo=zone)).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise click.BadParameter(
            f'"{text}" is no day; write 2026-11-23 or 2026-11-23T09:30', param_hint=hint
        ) from error
    if moment > now:
        raise click.BadParameter(
            f"{text} is in the future in {zone.key}; write the day on which it came", param_hint=hint
        )
    if moment < _EARLIEST:
        raise click.BadParameter(f"{text} is too long ago; write the day on which it came", param_hint=hint)
    return moment


def _tell(opened: dict[str, str | list[str]], rows: Sequence[str], as_object: dict[str, object] | None) -> None:
    if as_object is not None:
        click.echo(as_json(as_object))
        return
    click.echo("\n".join(map(printable, rows)))
    for name, value in opened.items():
        for paragraph in [value] if isinstance(value, str) else value:
            for line in paragraph.splitlines():
                click.echo(f"  {name:<8}  {printable(line)}")
