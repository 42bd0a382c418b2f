"""`consent-mw init`: the founding policy and a secret key, to start a site from."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import date
from pathlib import Path

import click

from consent_mw.cli.clock import utc_now
from consent_mw.cli.draft import Draft, drafted
from consent_mw.cli.existing_page import read_page
from consent_mw.cli.template import (
    KINDS,
    WRITTEN,
    founding_policy,
    from_template,
    is_written,
    language_tag,
    spoken_languages,
)
from consent_mw.cli.terminal import complain
from consent_mw.exceptions import ConfigurationError
from consent_mw.policy.loader import JURISDICTIONS, STATES, loads
from consent_mw.system.escaping import as_json
from consent_mw.system.ownership import check_directory, give_to_owner, make_directory

_KEY_BYTES = 32

_NEXT = """Wrote {policy}: put your own names into it, then run: consent-mw check {policy}
Wrote {key}: readable by this user alone. Keep it out of version control; anyone who has it can forge choices.

In your application:

    from pathlib import Path
    from consent_mw import ConsentMiddleware

    key = Path("{key}").read_text().strip()
    app = ConsentMiddleware(app, policy="{policy}", secret_keys=[key])
"""


def _law(_context: click.Context, _option: click.Parameter, said: str | None) -> str | None:
    """Return the jurisdiction as policies write it. No file is written yet whose line could be blamed."""
    law = said and said.upper()
    if law and law not in JURISDICTIONS and not STATES.fullmatch(law):
        raise click.BadParameter(f"{said!r} is none of {', '.join(JURISDICTIONS)}, or of their states, such as US-CA")
    return law


def _languages(_context: click.Context, _option: click.Parameter, said: tuple[str, ...]) -> tuple[str, ...]:
    """Return the languages as policies write them."""
    tags = [(one, language_tag(one)) for one in said]
    for one, tag in tags:
        if tag is None:
            raise click.BadParameter(f"our pages do not speak {one!r}, but {', '.join(spoken_languages())}")
    return tuple(dict.fromkeys(tag for _, tag in tags if tag))


def _begun(_context: click.Context, _option: click.Parameter, begun: str) -> list[str]:
    """Return the languages that a shell may complete to."""
    return [tag for tag in spoken_languages() if tag.startswith(begun)]


@click.command(
    epilog="Example: consent-mw init mysite, which writes mysite/policy.toml and mysite/secret.key.",
)
@click.argument("directory", type=click.Path(path_type=Path), default=".")
@click.option(
    "--from",
    "page",
    metavar="PAGE",
    type=click.Path(path_type=Path),
    help="A policy page that you have, in Markdown or HTML: propose a declaration of it.",
)
@click.option("--template", "kind", type=click.Choice(KINDS), help="A policy to start from for such a site.")
@click.option(
    "--language",
    "languages",
    multiple=True,
    metavar="TAG",
    callback=_languages,
    shell_complete=_begun,
    help="A language of the site, the first of several first. [default: ko and en]",
)
@click.option("--jurisdiction", callback=_law, help="Whose law, such as EU. [default: KR, or EU without Korean]")
@click.option("--json", "json_wanted", is_flag=True, help="Where they are, as one object.")
def init(
    directory: Path,
    page: Path | None,
    kind: str | None,
    languages: tuple[str, ...],
    jurisdiction: str | None,
    json_wanted: bool,
) -> int:
    """Write policy.toml, the founding policy with an explanation of each line, and secret.key into DIRECTORY.

    Nothing is overwritten. The policy takes effect today: nothing was promised before the first revision, so there
    is nobody to give notice to.

    With --template it is one for such a site. --language and --jurisdiction say for which languages and law.

    With --from the policy is proposed from a page, by rules and without the network. What is unsure is marked in the
    file, and what was not placed stands at its end and is listed.
    """
    if page and (kind or languages or jurisdiction):
        raise click.UsageError("--from reads language and law from the page, and is no --template; take one way")
    policy, key = directory / "policy.toml", directory / "secret.key"
    # lexists, so that a dangling link counts as something too.
    for place in (policy, key):
        if os.path.lexists(place):
            raise ConfigurationError(f"{place}: is already there; move it away, or give another directory")
    draft = drafted(read_page(page), page.name, utc_now().date()) if page else None
    content = draft.text if draft else _proposed(kind, languages, jurisdiction)
    _write({key: f"{secrets.token_urlsafe(_KEY_BYTES)}\n".encode(), policy: content.encode()})
    if json_wanted:
        from_page = {"placed": draft.placed, "unsure": draft.unsure, "unplaced": draft.unplaced} if draft else {}
        click.echo(as_json({"policy": str(policy), "key": str(key), **from_page}))
    else:
        click.echo(_NEXT.format(policy=policy, key=key), nl=False)
        complain(*(_remarks(draft, policy) if draft else _unwritten(languages, policy)))
    return 0


def _remarks(draft: Draft, policy: Path) -> Iterator[str]:
    """Yield what was placed, what has to be decided, and what was not placed."""
    yield f"placed: {', '.join(draft.placed) or 'nothing'}"
    yield f"unsure: {len(draft.unsure)} lines, marked in {policy}"
    yield from (f"not placed: {text}" for text in draft.unplaced)


def _unwritten(languages: tuple[str, ...], policy: Path) -> Iterator[str]:
    """Yield which languages of the site the texts are not in yet."""
    if missing := [tag for tag in languages if not is_written(tag)]:
        yield f"{policy}: write its texts in {', '.join(missing)}; they are in another language still"


def _proposed(kind: str | None, languages: tuple[str, ...], jurisdiction: str | None) -> str:
    spoken = languages or WRITTEN
    law = jurisdiction or ("KR" if any(tag.startswith("ko") for tag in spoken) else "EU")

    def of(today: date) -> str:
        return from_template(kind, spoken, law, today) if kind else founding_policy(spoken, law, today)

    return of(utc_now().astimezone(loads(of(utc_now().date())).time_zone).date())


def _write(contents: dict[Path, bytes]) -> None:
    """Write all files, or none."""
    place = next(iter(contents))
    with ExitStack() as undo:
        try:
            make_directory(place.parent, mode=0o755)
            check_directory(place.parent)
            for place, content in contents.items():
                fd = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if place.suffix == ".key" else 0o644)
                undo.callback(place.unlink)
                give_to_owner(fd, place.parent)
                with os.fdopen(fd, "wb") as file:
                    file.write(content)
        except OSError as error:
            raise ConfigurationError(
                f"{place}: cannot be written ({error.strerror}); give a directory that this user may write"
            ) from error
        undo.pop_all()
