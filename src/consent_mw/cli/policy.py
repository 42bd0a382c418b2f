"""`consent-mw policy`: the declaration as visitors, programs and authorities read it, without a site that runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

import click

from consent_mw.cli.clock import utc_now
from consent_mw.cli.terminal import complain
from consent_mw.cli.words import Words
from consent_mw.exports.dpv import policy_graph
from consent_mw.policy.loader import load
from consent_mw.policy.model import Policy
from consent_mw.site.documents import OwnCookies, policy_document
from consent_mw.site.markdown import markdown_of
from consent_mw.site.policy_file import policy_file
from consent_mw.site.processing_record import processing_record, record_gaps, record_sheet
from consent_mw.system.escaping import as_json


class _Wanted(NamedTuple):
    """What is written, for whom."""

    policy: Policy
    language: str
    base: str


_Form: TypeAlias = Callable[[_Wanted], str]


def _html(wanted: _Wanted) -> str:
    return policy_file(wanted.policy, wanted.language, wanted.base, utc_now())


def _json(wanted: _Wanted) -> str:
    return as_json(policy_document(wanted.policy, wanted.language, OwnCookies(), [wanted.policy.revision]))


_FORMS: Final[Mapping[str, _Form]] = {
    "html": _html,
    "markdown": lambda wanted: markdown_of(_html(wanted)),
    "json": _json,
    "json-ld": lambda wanted: as_json(policy_graph(wanted.policy)),
    "record-csv": lambda wanted: record_sheet(wanted.policy, wanted.language),
    "record-json": lambda wanted: as_json(processing_record(wanted.policy, wanted.language)),
}


@click.command(epilog="Example: consent-mw policy policy.toml --format markdown --language ko > privacy.md")
@click.argument("policy_file", metavar="POLICY", type=click.Path(path_type=Path))
@click.option("--format", "form", type=click.Choice(list(_FORMS)), default="markdown", show_default=True)
@click.option("--json", "json_wanted", is_flag=True, help="The same as --format json.")
@click.option("--language", help="One of the policy's. [default: its first]")
@click.option(
    "--base", type=Words(), default="/consent", show_default=True, help="Where the site's pages are, for links."
)
def policy(policy_file: Path, form: str, json_wanted: bool, language: str | None, base: str) -> int:
    """Write POLICY as one document, in UTF-8: what visitors read, or what programs do.

    The page is that of a running site. json-ld has it in the terms of the Data Privacy Vocabulary, in all languages.
    record-csv and record-json are the record of processing activities of article 30 of the GDPR; what it asks for and
    nobody declared is noted.
    """
    declared = load(policy_file)
    spoken = language or declared.languages[0]
    if spoken not in declared.languages:
        raise click.BadParameter(
            f'"{spoken}": the policy speaks {", ".join(declared.languages)}', param_hint="--language"
        )
    form = "json" if json_wanted else form
    text = _FORMS[form](_Wanted(declared, spoken, base.rstrip("/")))
    click.echo(text.rstrip("\r\n").encode())  # UTF-8 whatever the terminal speaks: it is a file
    gaps = record_gaps(declared) if form.startswith("record") else []
    complain(*(f"note: {policy_file}: {place}: article 30(1) asks for {what}" for place, what in gaps))
    return 0
