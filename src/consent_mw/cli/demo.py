"""`consent-mw demo`: a small site that shows the middleware at work."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Final

import click

from consent_mw.exceptions import ConfigurationError

_SERVER: Final = ("uvicorn", "websockets")


@click.command(epilog="Example: consent-mw demo --port 8080, then open http://127.0.0.1:8080/.")
@click.option("--port", type=click.IntRange(0, 65_535), default=8000, show_default=True, help="0 takes any free one.")
@click.option("--host", default="127.0.0.1", show_default=True, help="An address of this machine.")
@click.option(
    "--directory",
    type=click.Path(path_type=Path),
    default="demo-data",
    show_default=True,
    help="Where its policy, its key and its log are kept.",
)
@click.option("--json", "json_wanted", is_flag=True, help="Say where it is open as one object.")
def demo(port: int, host: str, directory: Path, json_wanted: bool) -> int:
    """Run a demonstration site until Ctrl-C. It needs the extra `demo`, which brings a server."""
    missing = [name for name in _SERVER if find_spec(name) is None]
    if missing:
        raise ConfigurationError(
            f"the demo needs a server, and {' and '.join(missing)} cannot be imported; run: pip install "
            "'consent-mw[demo]'"
        )
    from consent_mw.demo.server import serve  # only this command needs a server

    serve(host, port, directory, json_wanted=json_wanted)
    return 0
