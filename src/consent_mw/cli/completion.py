"""`consent-mw completion`: what a shell needs to complete commands, options, purposes and files."""

from __future__ import annotations

from pathlib import Path

import click
from click.shell_completion import CompletionItem, get_completion_class

from consent_mw.cli.terminal import as_json
from consent_mw.exceptions import ConsentError
from consent_mw.paths import DATA_DIRECTORY, Places
from consent_mw.retention.aggregates import PURPOSE as AGGREGATES
from consent_mw.staff.existing_site import policies

__all__ = ["COMPLETING", "completion", "purposes_of_site"]

#: The variable through which a shell asks for completions.
COMPLETING = "_CONSENT_MW_COMPLETE"


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
    made = kind(command, {}, "consent-mw", COMPLETING)
    return made.source_template % made.source_vars()


def purposes_of_site(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete a purpose that a declaration of the site had, in force or not; nothing, where none can be read."""
    directory = context.params.get("directory") or DATA_DIRECTORY
    try:
        declared = policies(Places(Path(directory)))
    except ConsentError:
        return []
    names = sorted({AGGREGATES, *(name for policy in declared for name in policy.purposes)})
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]
