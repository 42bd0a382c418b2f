"""The other side of a ring: the process that drains takes what workers append, and has it when one of them dies."""

from __future__ import annotations

import logging
import os
import select
import socket
import threading
import time
from contextlib import suppress
from math import inf
from pathlib import Path
from typing import Final

from consent_mw.exceptions import ConsentError
from consent_mw.spool.frames import pack
from consent_mw.spool.lent import ACCEPTED, SEGMENT, Seal, address, check_peer
from consent_mw.spool.ring import Ring

_log = logging.getLogger("consent_mw")

_SECONDS: Final = 0.02
_IDLE_SECONDS: Final = 0.1
#: How long workers may take to take their rings back.
_GOODBYE_SECONDS: Final = 5.0
_WORDS_BYTES: Final = 256
_BACKLOG: Final = 16


class _Kept:
    """One worker's ring, and the segment into which that worker writes. It has the segment's lock as long as this."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self.socket = connection
        self.ring: Ring | None = None
        self.is_over = False  # the worker has ended, or has taken the ring back
        self._fd = -1
        self._marker = b""
        self._number = 0

    def receive(self, keyring: str) -> None:
        """Receive what the worker sent: its ring first, then each segment. Never raises."""
        try:
            while not self.is_over:
                words, fds, _, _ = socket.recv_fds(self.socket, _WORDS_BYTES, 1)
                if not fds:
                    self.is_over = True
                elif self.ring is None:
                    self._accept(words == keyring.encode(), fds[0])
                else:
                    self._follow(words, fds[0])
        except BlockingIOError:
            return
        except (OSError, ValueError):
            self.is_over = True

    def _accept(self, is_ours: bool, fd: int) -> None:
        if not is_ours:
            os.close(fd)
            self.is_over = True
            return
        self.ring = Ring(fd)
        self.socket.send(ACCEPTED)

    def _follow(self, words: bytes, fd: int) -> None:
        self._leave()
        self._fd = fd
        self._number, self._marker = SEGMENT.unpack(words)

    def write(self, seal: Seal) -> bool:
        """
        Write what waits into the worker's segment, sealed. Return whether anything waited.

        What cannot be written is left to the worker, which looks each second. Only if it has ended is that lost.
        """
        ring = self.ring
        if ring is None or self._fd < 0 or not (self.is_over or ring.segment == self._number):
            return False
        payloads, position = ring.waiting()
        if not payloads:
            return False
        try:
            blob = pack(self._marker, [seal(*payload)[0] for payload in payloads])
            if os.write(self._fd, blob) < len(blob):
                return False
        except (ConsentError, OSError) as error:
            if self.is_over:
                _log.error("%d exchanges of a worker that died are lost: %s", len(payloads), error)
            return False
        # If the worker has left the segment meanwhile, another process may have read and removed it. Then the worker
        # itself has written all that was not taken.
        if self.is_over or ring.segment == self._number:
            ring.take(position, keeper=True)
        return True

    def say_goodbye(self) -> None:
        """Ask the worker to take its ring back. It shows by closing its end that it did."""
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Bring what was written to the disk, and let go of everything."""
        self.socket.close()
        if self._fd >= 0:
            with suppress(OSError):
                os.fdatasync(self._fd)
        self._leave()
        if self.ring is not None:
            self.ring.close()

    def _leave(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class Keeper:
    """
    Keeps the rings of all workers of a machine, in a thread: seals what they append and writes it into their segments.

    If a worker dies, by whatever signal, its ring is written out, and its segment is free for the drain. If this
    process dies, the workers still have their rings, and write them out.
    """

    def __init__(self, directory: Path, keyring: str, seal: Seal) -> None:
        """`directory`: the spool's. `keyring`: the name of the one that `seal` seals under."""
        self._directory = directory
        self._keyring = keyring
        self._seal = seal
        self._listener: socket.socket | None = None
        self._kept: list[_Kept] = []
        self._until = inf
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to listen. If the system does not allow it, workers go on writing by themselves."""
        self._thread = threading.Thread(target=self._keep_on, name="consent-mw keeper", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Give the rings back, and wait until the workers have taken them, five seconds at most."""
        self._until = time.monotonic() + _GOODBYE_SECONDS
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _keep_on(self) -> None:
        pause = _SECONDS
        while self._kept or self._until == inf:
            if self._until != inf:
                self._say_goodbye()
            elif self._listener is None:
                self._listener = _listening(self._directory)
            self._receive(pause)
            worked = [kept.write(self._seal) for kept in self._kept]
            pause = _SECONDS if any(worked) else _IDLE_SECONDS
            self._let_go()
            if time.monotonic() > self._until:
                break
        self._end()

    def _receive(self, seconds: float) -> None:
        """Wait for so long at most; accept a worker, and receive what the others sent."""
        listening = [self._listener] if self._listener else []
        ready = select.select([*listening, *(kept.socket for kept in self._kept)], [], [], seconds)[0]
        if self._listener is not None and self._listener in ready:
            self._accept(self._listener)
        for kept in self._kept:
            kept.receive(self._keyring)

    def _accept(self, listener: socket.socket) -> None:
        connection = listener.accept()[0]
        try:
            check_peer(connection, self._directory)
            self._kept.append(_Kept(connection))
        except OSError as error:
            _log.warning("no ring is kept for it: %s", error)
            connection.close()

    def _let_go(self) -> None:
        for kept in [kept for kept in self._kept if kept.is_over]:
            kept.write(self._seal)
            kept.close()
            self._kept.remove(kept)

    def _say_goodbye(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None
            for kept in self._kept:
                kept.say_goodbye()

    def _end(self) -> None:
        if self._listener is not None:
            self._listener.close()
        for kept in self._kept:
            kept.close()
        self._kept.clear()


def _listening(directory: Path) -> socket.socket | None:
    """Return what workers connect to; None while another process has that address, or if the system has none."""
    try:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    except OSError:
        return None
    try:
        listener.bind(address(directory))
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        return None
    return listener
