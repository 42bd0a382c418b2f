"""`consent-mw scan`: visit a running site, and propose the declarations of the cookies that it sets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Final, NamedTuple

import click

from consent_mw.cli.clock import utc_now
from consent_mw.cli.crawl import Crawl, Line
from consent_mw.cli.proposal import Proposal, names_of_families, proposed, providers, purposes_of
from consent_mw.cli.terminal import FAULT, complain, progress_of
from consent_mw.cookies.cookie_lines import anchored, is_deletion, name_of
from consent_mw.policy.durations import rounded
from consent_mw.policy.loader import load
from consent_mw.policy.model import Policy
from consent_mw.system.days import DAY_SECONDS
from consent_mw.system.escaping import as_json, printable

_LANGUAGES: Final = ("ko", "en")  # of the founding policy
_UNSEEN: Final = (
    "what scripts set in the browser is not visible this way: look at the hosts below, and at a browser's own list"
)
_SHOWN_PAGES: Final = 3


class _Cookie(NamedTuple):
    """One cookie as one answer set it; `seconds` is None until the browser closes."""

    name: str
    seconds: float | None
    domain: str
    path: str
    url: str


@click.command(epilog="Example: consent-mw scan http://127.0.0.1:8000/ --policy policy.toml >> policy.toml")
@click.argument("url")
@click.option("--max-pages", type=click.IntRange(1, 10_000), default=50, show_default=True, help="Visit no more.")
@click.option(
    "--max-seconds",
    type=click.IntRange(1, DAY_SECONDS),
    default=300,
    show_default=True,
    help="End then, with what was seen; a page has 10 of them.",
)
@click.option(
    "--policy", "policy_file", type=click.Path(path_type=Path), help="Leave out what it declares; name its purposes."
)
@click.option("--ignore-robots", is_flag=True, help="Visit what robots.txt forbids too, on a site of your own.")
@click.option("--json", "json_wanted", is_flag=True, help="One JSON object instead of TOML.")
def scan(
    url: str, max_pages: int, max_seconds: int, policy_file: Path | None, ignore_robots: bool, json_wanted: bool
) -> int:
    """Visit the running site at URL and write TOML for the cookies that it sets, with a guess at each purpose.

    Pages of one origin, one after the other, with GET. No cookie is sent back and no script is run. A site behind
    the middleware shows no more than its policy allows: scan it with report_only=True, or before. Exit code 1 if the
    time was over before all was visited that should be.
    """
    policy = load(policy_file) if policy_file else None
    try:
        crawl = Crawl(url, most_pages=max_pages, most_seconds=max_seconds, obey_robots=not ignore_robots)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="URL") from error
    with progress_of("visiting") as show:
        crawl.run(show)
    seen = _seen(crawl.lines)
    undeclared = [cookie for cookie in seen if policy is None or policy.cookie(cookie.name) is None]
    proposals = _proposals(undeclared, policy)
    notes = _notes(crawl, len({cookie.name for cookie in seen}) - len({cookie.name for cookie in undeclared}))
    if json_wanted:
        click.echo(as_json(_as_dict(crawl, proposals, notes)))
    else:
        _write(crawl, proposals, policy)
        complain(*(f"note: {note}" for note in notes))
    if crawl.late:
        complain(f"{url}: not all was visited in {max_seconds} seconds; raise --max-seconds")
    return FAULT if crawl.late else 0


# -- what was set ----------------------------------------------------------------------------------------------------


def _seen(lines: Iterable[Line]) -> list[_Cookie]:
    """Return what browsers would have stored."""
    cookies: list[_Cookie] = []
    for line in lines:
        name, now = name_of(line.line), _date(line.date) or utc_now()
        if name is not None and not is_deletion(line.line, now):
            path = "/" + line.url.split("/", 3)[3].partition("?")[0]
            cookies.append(_cookie(name, anchored(line.line, path).decode("latin-1"), now, line.url))
    return cookies


def _cookie(name: str, line: str, now: datetime, url: str) -> _Cookie:
    split = (attribute.partition("=") for attribute in line.split(";")[1:])
    given = {key.strip().lower(): value.strip() for key, _, value in split}  # of several, the last one holds
    return _Cookie(name, _seconds(given, now), given.get("domain", ""), given.get("path", "/"), url)


def _seconds(given: dict[str, str], now: datetime) -> float | None:
    """How long a browser keeps it: Max-Age wins over Expires (RFC 6265, section 5.3)."""
    age = given.get("max-age", "")
    if age.isascii() and age.isdigit():
        return float(age[:12])
    expires = _date(given.get("expires", ""))
    return (expires - now).total_seconds() if expires else None


def _date(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


class _Family(NamedTuple):
    proposal: Proposal
    names: tuple[str, ...]
    pages: tuple[str, ...]


def _proposals(seen: Sequence[_Cookie], policy: Policy | None) -> list[_Family]:
    """Return one for each name or family; of several lines the longest duration, since that is the promise."""
    names = names_of_families(dict.fromkeys(cookie.name for cookie in seen))
    families: dict[str, list[_Cookie]] = {}
    for cookie in seen:
        families.setdefault(names[cookie.name], []).append(cookie)
    return [_family(name, cookies, policy) for name, cookies in sorted(families.items())]


def _family(name: str, cookies: Sequence[_Cookie], policy: Policy | None) -> _Family:
    lasting = [cookie.seconds for cookie in cookies if cookie.seconds is not None]
    expires = rounded(max(lasting)) if lasting else "session"
    domain = next((cookie.domain for cookie in cookies if cookie.domain), "")
    proposal = proposed(name, purposes_of(policy), expires=expires)
    return _Family(
        proposal._replace(domain=domain, path=cookies[-1].path),
        tuple(dict.fromkeys(cookie.name for cookie in cookies)),
        tuple(dict.fromkeys(cookie.url for cookie in cookies)),
    )


# -- the output --------------------------------------------------------------------------------------------------------


def _third_parties(crawl: Crawl) -> list[dict[str, object]]:
    """Return each other host with how it is called and on how many pages, the most frequent first."""
    pages: dict[tuple[str, str], set[str]] = {}
    for embed in crawl.embeds:
        pages.setdefault((embed.host, embed.kind), set()).add(embed.url)
    order = sorted(pages.items(), key=lambda item: (-len(item[1]), item[0]))
    return [{"host": host, "kind": kind, "pages": len(urls)} for (host, kind), urls in order]


def _notes(crawl: Crawl, declared: int) -> list[str]:
    notes = [f"pages visited: {len(crawl.pages)}; {_UNSEEN}"]
    notes += [f"declared already, and left out: {declared}"] if declared else []
    limit = "--max-seconds" if crawl.late else "--max-pages"
    notes += [f"known and not visited: {crawl.left}; raise {limit} to visit them"] if crawl.left else []
    notes += [f"kept out of by robots.txt: {crawl.forbidden}; --ignore-robots visits them"] * bool(crawl.forbidden)
    return notes + [f"not read: {error}" for error in crawl.failed.values()]


def _as_dict(crawl: Crawl, proposals: Sequence[_Family], notes: Sequence[str]) -> dict[str, object]:
    cookies = [family.proposal._asdict() | {"names": family.names, "pages": family.pages} for family in proposals]
    return {"pages": crawl.pages, "cookies": cookies, "third_parties": _third_parties(crawl), "notes": list(notes)}


def _write(crawl: Crawl, proposals: Sequence[_Family], policy: Policy | None) -> None:
    """Write TOML and nothing else, so that all of it can be pasted."""
    languages = policy.languages if policy else _LANGUAGES
    for family in proposals:
        names = "" if family.names == (family.proposal.name,) else f"{', '.join(family.names[:_SHOWN_PAGES])}: "
        more = len(family.pages) - _SHOWN_PAGES
        where = ", ".join(family.pages[:_SHOWN_PAGES]) + (f" and {more} more pages" if more > 0 else "")
        click.echo(f"# {printable(names)}set by {printable(where)}\n{family.proposal.toml(languages)}")
    for table in providers((family.proposal for family in proposals), policy, languages):
        click.echo(table)
    for party in _third_parties(crawl):
        click.echo(
            f"# a {party['kind']} from {printable(str(party['host']))}, pages: {party['pages']}; what does it set?"
        )
    if not proposals:
        click.echo("# no cookie was set that is not declared")
