"""`consent-mw completion`: what a shell needs to complete commands, options, purposes and files."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from consent_mw.cli.commands import COMPLETING
from consent_mw.system.escaping import as_json


@click.command(
    epilog="Example: consent-mw completion bash >> ~/.bashrc; for zsh >> ~/.zshrc (below compinit); "
    "for fish > ~/.config/fish/completions/consent-mw.fish"
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.option("--json", "json_wanted", is_flag=True, help="The script as one object.")
@click.pass_context
def completion(context: click.Context, shell: str, json_wanted: bool) -> int:
    """
    Write the script that lets SHELL complete commands, options, purposes and files.

    Bash must be 4.4 or newer.
    """
    script = _script(context.find_root().command, shell)
    click.echo(as_json({"shell": shell, "script": script}) if json_wanted else script)
    return 0


def _script(command: click.Command, shell: str) -> str:
    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"{shell} is not known")
    # Not `source()`: for bash it starts a bash to ask its version, and warns where there is none.
    complete = kind(command, {}, "consent-mw", COMPLETING)
    return complete.source_template % complete.source_vars()
