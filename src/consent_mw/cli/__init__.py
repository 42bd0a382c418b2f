"""The command line: `consent-mw` and its commands, one a module. Nothing here is imported by the rest."""

from __future__ import annotations

from collections.abc import Sequence

import click

from consent_mw.cli.archive import archive
from consent_mw.cli.audit import audit
from consent_mw.cli.check import check
from consent_mw.cli.cookies import cookies
from consent_mw.cli.demo import demo
from consent_mw.cli.drain import drain
from consent_mw.cli.export import export
from consent_mw.cli.init import init
from consent_mw.cli.log import log
from consent_mw.cli.purge import purge
from consent_mw.cli.receipt import receipt
from consent_mw.cli.report import report
from consent_mw.cli.scan import scan
from consent_mw.cli.store import store
from consent_mw.cli.terminal import FAULT, complain
from consent_mw.exceptions import ConsentError, PolicyError

__all__ = ["main"]


@click.group(
    context_settings={"help_option_names": ["-h", "--help"]},
    no_args_is_help=False,
    invoke_without_command=True,
    epilog="Exit codes: 0 all is well, 1 something is wrong and told, 2 the command was not understood.",
)
@click.version_option(package_name="consent-mw", message="%(prog)s %(version)s")
@click.pass_context
def consent_mw(context: click.Context) -> int:
    """Keep on the server what the privacy policy promises.

    \b
    Start a site:    consent-mw init && consent-mw check policy.toml
    See it at work:  consent-mw demo
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())
    return 0


for _command in (init, check, cookies, scan, demo, log, export, archive, audit, drain, purge, receipt, report, store):
    consent_mw.add_command(_command)


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Run one command and return its exit code; what goes wrong is one line on standard error.

    Args:
        arguments: Without the program's name; those of this process if None.
    """
    try:
        code = consent_mw.main(arguments, prog_name="consent-mw", standalone_mode=False)
    except PolicyError as error:
        complain(*map(str, error.faults))
        return FAULT
    except ConsentError as error:
        complain(str(error))
        return FAULT
    except click.ClickException as error:
        complain(_told(error))
        return error.exit_code
    except click.Abort:  # Ctrl-C, as click passes it on
        return 130
    return code if isinstance(code, int) else 0


def _told(error: click.ClickException) -> str:
    context = error.ctx if isinstance(error, click.UsageError) else None
    path = context.command_path if context else "consent-mw"
    message = error.format_message().rstrip(".")
    return f"{message[:1].lower()}{message[1:]}; see: {path} --help"
