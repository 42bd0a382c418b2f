"""The purposes of a site, for a shell that completes `--purpose`."""

from __future__ import annotations

from pathlib import Path

import click
from click.shell_completion import CompletionItem

from consent_mw.exceptions import ConsentError
from consent_mw.paths import DATA_DIRECTORY, Places
from consent_mw.retention.aggregates import PURPOSE as AGGREGATES
from consent_mw.staff.existing_site import policies


def purposes_of_site(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete a purpose that a declaration of the site had, in force or not; nothing, where none can be read."""
    directory = context.params.get("directory") or DATA_DIRECTORY
    try:
        declared = policies(Places(Path(directory)))
    except ConsentError:
        return []
    names = sorted({AGGREGATES, *(name for policy in declared for name in policy.purposes)})
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]
