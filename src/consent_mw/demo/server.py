"""Serve the demo shop on this machine: prepare its directory, listen, and run a server in this process."""

from __future__ import annotations

import asyncio
import errno
import os
import secrets
import shutil
import socket
from collections.abc import Callable
from contextlib import ExitStack, suppress
from datetime import timedelta
from pathlib import Path

import uvicorn

from consent_mw.demo.shop import shop
from consent_mw.exceptions import ConfigurationError
from consent_mw.middleware import ConsentMiddleware
from consent_mw.paths import Places
from consent_mw.policy.loader import load
from consent_mw.policy.revisions import Revisions
from consent_mw.system.escaping import as_json
from consent_mw.system.ownership import check_file, make_directory


def serve(
    host: str = "127.0.0.1", port: int = 8000, directory: Path | str = "demo-data", *, json_wanted: bool = False
) -> None:
    """
    Serve the demo until Ctrl-C.

    First writes the missing files to `directory`: the shop's `policy.toml` and a secret key, and later the log. Prints
    two lines to standard output: the address, and the directory of the log.

    Args:
        port: 0 takes any free port.
        json_wanted: Print one JSON object instead of the two lines.

    Raises:
        ConfigurationError: The port is in use or not permitted, or the directory cannot be written. Nothing was
            printed or written.
        PolicyError: The `policy.toml` in the directory cannot be enforced.
    """
    place = Path(directory)
    listener = _listen(host, port)
    with listener:
        key = _prepare(place)
        _take_effect(place)
        app = ConsentMiddleware(
            shop(key),
            policy=place / "policy.toml",
            secret_keys=[key],
            directory=place,
            pending_wait=timedelta(seconds=2),  # what the demo shows must not depend on how busy the machine is
        )
        with suppress(KeyboardInterrupt):  # uvicorn raises it again after an orderly shutdown
            config = uvicorn.Config(app, access_log=False, log_level="warning", timeout_graceful_shutdown=2)
            _run(_Server(config, lambda: _announce(listener, place, json_wanted=json_wanted)), listener)


class _Server(uvicorn.Server):
    """Announces the demo when it answers. Only then does it also end for certain on Ctrl-C."""

    def __init__(self, config: uvicorn.Config, announce: Callable[[], None]) -> None:
        super().__init__(config)
        self._announce = announce
        self.unheard: OSError | None = None

    async def main_loop(self) -> None:
        """As the server's own, and announce it before. If nobody can read that, end in order."""
        try:
            self._announce()
        except OSError as error:
            self.unheard = error
        else:
            await super().main_loop()


def _run(server: _Server, listener: socket.socket) -> None:
    """Run like `uvicorn.Server.run`, but without a warning from Python if Ctrl-C comes before the server has begun."""
    serving = server.serve(sockets=[listener])
    try:
        with asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner:
            runner.run(serving)
    finally:
        serving.close()
    if server.unheard:
        raise server.unheard


def _listen(host: str, port: int) -> socket.socket:
    """Bind the address before anything is written or printed, so that a busy port leaves no trace."""
    try:
        family, kind, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with ExitStack() as unless_it_listens:
            listener = unless_it_listens.enter_context(socket.socket(family, kind))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(128)
            unless_it_listens.pop_all()
            return listener
    except (OSError, OverflowError, UnicodeError) as error:  # UnicodeError: not a possible host name
        raise ConfigurationError(f"{host}:{port}: {_refusal(error)}") from error


def _refusal(error: Exception) -> str:
    number = error.errno if isinstance(error, OSError) else None
    if number == errno.EADDRINUSE:
        return "another program uses this port; choose one with --port, or stop that program"
    if number in (errno.EACCES, errno.EPERM):
        return "this user may not use this port; choose one from 1024 with --port"
    if isinstance(error, socket.gaierror | UnicodeError) or number == errno.EADDRNOTAVAIL:
        return "this machine has no such address; leave --host out, or give one of its own"
    return f"cannot listen there ({error}); choose another with --port"


def _prepare(place: Path) -> str:
    """Create the directory and its missing files, and return the secret key."""
    try:
        make_directory(place)
        policy = place / "policy.toml"
        if not policy.exists():
            shutil.copyfile(Path(__file__).with_name("policy.toml"), policy)
        return _secret_key(place / "secret.key")
    except OSError as error:
        problem = f"cannot be written ({error.strerror}); give a directory of your own with --directory"
        raise ConfigurationError(f"{place}: {problem}") from error


def _take_effect(place: Path) -> None:
    """
    Publish the policy as it is, without notice: the demo promised nothing to anybody, and its users change the file.

    A site with visitors does not start if a published revision's number has other content.
    """
    file = place / "policy.toml"
    policy = load(file)
    Revisions(Places(place).revisions).keep(policy, file.read_text(encoding="utf-8"))


def _secret_key(path: Path) -> str:
    """Return the key in `path`, which only its owner may read. Create it the first time."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        check_file(path)
        return path.read_text(encoding="ascii").strip()
    with os.fdopen(fd, "w", encoding="ascii") as file:
        key = secrets.token_urlsafe(32)
        file.write(key + "\n")
    return key


def _announce(listener: socket.socket, place: Path, *, json_wanted: bool) -> None:
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if listener.family is socket.AF_INET6 else host
    if json_wanted:
        print(as_json({"url": f"http://{shown}:{port}/", "directory": str(place)}), flush=True)
        return
    print(f"The demo shop is open at http://{shown}:{port}/ (Ctrl-C closes it)", flush=True)
    print(f"Its log is in {place}: read it with consent-mw log --directory {place}", flush=True)
