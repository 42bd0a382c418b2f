"""The command line: `consent-mw` and its commands, one per module. Nothing else imports them."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Sequence
from contextlib import suppress

import click

from consent_mw.cli.commands import COMPLETING, CommandsByModule
from consent_mw.cli.exit_codes import ALL_EXIT_CODES, HAD_ENOUGH, INTERRUPTED, TERMINATED
from consent_mw.cli.terminal import FAULT, complain, speak_any_encoding
from consent_mw.exceptions import ConsentError, PolicyError


@click.group(
    cls=CommandsByModule,
    epilog=ALL_EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"]},
    no_args_is_help=False,
    invoke_without_command=True,
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


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Run one command and return its exit code (`cli.exit_codes`); what goes wrong is one line on standard error.

    Args:
        arguments: Without the program's name; those of this process if None.
    """
    speak_any_encoding()
    try:
        code = consent_mw.main(arguments, prog_name="consent-mw", standalone_mode=False)
        sys.stdout.flush()  # a disk that is full says so here, and not when nobody listens any more
    except PolicyError as error:
        return _failed(*map(str, error.faults))
    except ConsentError as error:
        return _failed(str(error))
    except click.ClickException as error:
        _failed(_sentence(error))
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):  # Ctrl-C, as click passes it on
        return _interrupted()
    except RuntimeError as error:
        # Ctrl-C in the very moment when a command's loop has ended: closing it finds its last "stop" still due.
        if not isinstance(error.__context__, KeyboardInterrupt):
            raise
        return _interrupted()
    except OSError as error:
        return _unusable(error)
    except SystemExit as end:  # click's own end where a pipe was closed, or after it has completed a word for a shell
        if COMPLETING in os.environ or end.code == TERMINATED:
            raise
        return HAD_ENOUGH
    return code if isinstance(code, int) else 0


def _interrupted() -> int:
    """Let what Ctrl-C left half made, such as a loop or a coroutine, be cleared away without a word."""
    warnings.simplefilter("ignore")
    sys.unraisablehook = lambda ignored: None
    logging.getLogger("asyncio").disabled = True
    return INTERRUPTED


def _failed(*lines: str) -> int:
    with suppress(OSError):  # the reader of standard error is gone too
        complain(*lines)
    return FAULT


def _unusable(error: OSError) -> int:
    # What is still in the buffer would be tried once more when the interpreter ends, and complained of.
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if isinstance(error, BrokenPipeError):
        return HAD_ENOUGH
    where = "the output" if error.filename is None else str(error.filename)
    return _failed(f"{where}: cannot be used ({error.strerror}); see that there is room, and that this user may use it")


def _sentence(error: click.ClickException) -> str:
    context = error.ctx if isinstance(error, click.UsageError) else None
    path = context.command_path if context else "consent-mw"
    message = error.format_message().rstrip(".")
    return f"{message[:1].lower()}{message[1:]}; see: {path} --help"
