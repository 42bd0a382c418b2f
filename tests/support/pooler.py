"""A pgbouncer before a server of the tests: sessions are shared as its mode says."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType

from tests.support.ports import free_port
from tests.support.postgres import PostgresServer

PROGRAM = Path("/usr/sbin/pgbouncer")


class Pooler:
    """
    A pgbouncer that has at most `size` sessions of the server for everybody together.

    Of the databases another mode may hold than it announces. It refuses to run as root: then it runs as nobody.
    """

    def __init__(self, server: PostgresServer, mode: str, *, size: int = 2, of_database: str = "") -> None:
        self.port = free_port()
        self._directory = Path(tempfile.mkdtemp(prefix="consent-mw-pool-"))
        self._file = self._directory / "pgbouncer.ini"
        self._file.write_text(
            f"[databases]\n* = host={server.directory} port={server.port} user=consent"
            f" pool_mode={of_database or mode}\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {self.port}\nauth_type = any\npool_mode = {mode}\n"
            f"default_pool_size = {size}\nunix_socket_dir =\n"
        )
        self._directory.chmod(0o755)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Pooler:
        nobody = "nobody" if os.geteuid() == 0 else None
        with Path(self._directory, "log").open("wb") as log:
            self._process = subprocess.Popen([PROGRAM, self._file], stdout=log, stderr=log, user=nobody)
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return self
            except OSError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"no pgbouncer: {Path(self._directory, 'log').read_text()}") from None
                time.sleep(0.02)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(60)
        shutil.rmtree(self._directory, ignore_errors=True)

    def url(self, database: str = "postgres") -> str:
        """Return the URL of a database through the pooler."""
        return f"postgresql://consent@127.0.0.1:{self.port}/{database}?sslmode=disable"
