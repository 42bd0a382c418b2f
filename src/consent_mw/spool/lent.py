"""A worker's side of a ring: what it lends to the process that drains, if there is one that takes it."""

from __future__ import annotations

import os
import socket
import struct
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

from consent_mw.exceptions import ConsentError
from consent_mw.spool.ring import Ring

#: Returns the frame of a payload and its noise, and an error for each part whose key is gone. Raises ConsentError.
Seal: TypeAlias = Callable[[bytes, bytes], tuple[bytes, Sequence[ConsentError]]]

#: Of a process at the other end: its number, its user and its group (unix(7)).
_CREDENTIALS: Final = struct.Struct("3i")
#: The answer to who lends a ring.
ACCEPTED: Final = b"+"
#: A message beside the descriptor of a segment: its number and its marker.
SEGMENT: Final = struct.Struct("<Q8s")
_PATIENCE_SECONDS: Final = 1.0


class Taken(NamedTuple):
    """
    What was in a ring, sealed.

    Attributes:
        frames: As the other process would have written them.
        lost: How many records could not be sealed.
        position: How far the ring is taken with them.
    """

    frames: list[bytes]
    lost: int
    position: int


class Lent:
    """
    A ring that another process of this machine keeps. If this process dies, the other one writes what is in the ring
    into the segment that this process had open. So it needs the descriptor of each segment.

    Attributes:
        ring: The ring.
    """

    def __init__(self, directory: Path, keyring: str, seal: Seal) -> None:
        """
        Lend a new ring to the process that listens in the spool's `directory`.

        Args:
            keyring: The name of the keyring under which the other process must seal.
            seal: Seals what is in the ring when this process takes it back.

        Raises:
            OSError: None listens, or it does not take it.
            AttributeError: The system has no memory of that kind.
        """
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._seal = seal
        self._numbered = 0
        try:
            self._socket.settimeout(_PATIENCE_SECONDS)
            self._socket.connect(address(directory))
            check_peer(self._socket, directory)
            self.ring: Ring = Ring.create()
        except BaseException:
            self._socket.close()
            raise
        try:
            socket.send_fds(self._socket, [keyring.encode()], [self.ring.fd])
            if self._socket.recv(1) != ACCEPTED:
                raise ConnectionRefusedError("the process that drains seals by another keyring")
        except BaseException:
            self.close()
            raise
        self._socket.settimeout(None)

    def watch(self, ended: Callable[[Lent], None]) -> None:
        """Have `ended` called, in a thread, as soon as the other process has ended or wants to."""
        threading.Thread(target=self._watch, args=(ended,), name="consent-mw ring", daemon=True).start()

    def follow(self, fd: int, marker: bytes) -> None:
        """Have what is taken from now on written into this segment. Raises OSError."""
        self._numbered += 1
        # `socket.send_fds` ignores its flags (CPython 3.11).
        rights = socket.SOL_SOCKET, socket.SCM_RIGHTS, fd.to_bytes(4, sys.byteorder)
        self._socket.sendmsg([SEGMENT.pack(self._numbered, marker)], [rights], socket.MSG_DONTWAIT)
        self.ring.segment = self._numbered  # not before the other has the descriptor

    def sealed(self, payloads: Sequence[tuple[bytes, bytes]], position: int) -> Taken:
        """Seal what `ring.waiting` returned. The ring has it until `took`."""
        frames: list[bytes] = []
        lost = 0
        for payload, noise in payloads:
            try:
                frame, troubles = self._seal(payload, noise)
            except ConsentError:
                lost += 1
            else:
                frames.append(frame)
                lost += len(troubles)
        return Taken(frames, lost, position)

    def took(self, taken: Taken) -> None:
        """Say that this process has written what it took. If the other one did at the same time, it is there twice."""
        self.ring.take(taken.position, keeper=False)

    def close(self) -> None:
        """Take the ring back. What is in it is lost for the other process."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self.ring.close()

    def forget(self) -> None:
        """Close what a forked child inherited. The parent's ring stays lent."""
        self._socket.close()
        self.ring.close()

    def _watch(self, ended: Callable[[Lent], None]) -> None:
        with suppress(OSError):
            self._socket.recv(1)
        ended(self)


def address(directory: Path) -> str:
    """
    Return where the process that drains listens: an abstract address (unix(7)), which ends with that process and leaves
    no file. Any user may listen there, so see `check_peer`. Raises OSError.
    """
    status = directory.stat()
    return f"\0consent-mw ring {status.st_dev:x}:{status.st_ino:x}"


def check_peer(connection: socket.socket, directory: Path) -> None:
    """Refuse a process of a user who may not read the spool anyway. Raises OSError."""
    _, user, _ = _CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    if user not in (0, os.geteuid(), directory.stat().st_uid):
        raise PermissionError(f"a process of user {user} has the address of the process that drains")
