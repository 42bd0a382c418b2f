"""Detect paths on a network file system, where locks, appends and shared memory are not reliable."""

from __future__ import annotations

import os
import re
from pathlib import Path

# Linux only; elsewhere the file is absent, and every path counts as local.
MOUNTINFO = Path("/proc/self/mountinfo")

# File system types as the kernel and mount.fuse name them: `fs/*/super.c` of Linux; mount(8);
# of FUSE the subtype that each program passes; and SQLite, "How To Corrupt An SQLite Database File", section 2.1. What
# is not here is tried anyway: see `lock_probe`. On each of them an append of one machine can overwrite another's (NFS
# has no O_APPEND: open(2)), flock may be emulated or ignored, and a mapping is not coherent.
NETWORK_TYPES = frozenset(
    {
        *("nfs", "nfs4", "cifs", "smb3", "smbfs", "ncpfs", "afs", "coda", "9p", "davfs"),
        *("ceph", "glusterfs", "lustre", "beegfs", "gpfs", "ocfs2", "gfs", "gfs2", "pvfs2", "orangefs", "wekafs"),
        *("fuse.sshfs", "fuse.glusterfs", "fuse.ceph", "fuse.ceph-fuse", "fuse.curlftpfs", "fuse.davfs2"),
        *("fuse.s3fs", "fuse.goofys", "fuse.mount-s3", "fuse.rclone", "fuse.gcsfuse", "fuse.blobfuse"),
        # What a virtual machine or a container on another system mounts of its host: locks do not reach across
        # (virtiofsd takes none to the host by default; the names are those of the drivers of QEMU, WSL, VirtualBox,
        # VMware, Parallels and Docker Desktop).
        *("virtiofs", "drvfs", "vboxsf", "vmhgfs", "fuse.vmhgfs-fuse", "prl_fs", "prl_fs_mpfs"),
        *("osxfs", "fuse.osxfs", "grpcfuse", "fuse.grpcfuse", "fakeowner"),
        *("fuse.blobfuse2", "fuse.juicefs", "fuse.mfs", "fuse.moosefs", "fuse.lizardfs", "fuse.seaweedfs"),
    }
)


def network_file_system(path: Path) -> str | None:
    """Return the type of the network file system that `path` lies on ("nfs4", "cifs", ...), or None for a local one."""
    try:
        table = MOUNTINFO.read_text("utf-8", "surrogateescape")
    except OSError:
        return None
    kind = _type_at(Path(os.path.realpath(path)), table)  # `Path.resolve` raises where links lead in a circle
    return kind if kind in NETWORK_TYPES else None


def _type_at(path: Path, table: str) -> str | None:
    kind, depth = None, -1
    for line in table.splitlines():
        # proc_pid_mountinfo(5): the mount point is the fifth field, the type follows a lone hyphen.
        left, _, right = line.partition(" - ")
        point = Path(_unescaped(left.split(" ")[4]))
        # Of two mounts on one point the later hides the earlier.
        if len(point.parts) >= depth and path.is_relative_to(point):
            kind, depth = right.split(" ")[0], len(point.parts)
    return kind


def _unescaped(field: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)
