"""Full disks and systems with few open files: limits on processes, and small disks, which need no privileges."""

from __future__ import annotations

import ctypes
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Of <linux/mount.h> and <linux/sched.h>.
_NOSUID, _NODEV, _REMOUNT, _RECURSIVE, _PRIVATE = 2, 4, 32, 1 << 14, 1 << 18
_NEW_MOUNTS, _NEW_USERS = 0x20000, 0x10000000
_DETACH = 2


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """No file may grow beyond `size` bytes, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def few_open_files(count: int) -> Iterator[None]:
    """No more than `count` files can be opened beside those that are open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.open(os.devnull, os.O_RDONLY)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + count, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextmanager
def small_disk(mount_point: Path, size: int) -> Iterator[Path]:
    """A disk of `size` bytes, mounted at `mount_point` by a separate process that alone sees it there.

    Yields
    ------
    Path
        The disk, as all processes see it.
    """
    mount_point.mkdir()
    holder = subprocess.Popen(
        [sys.executable, __file__, str(mount_point), str(size)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline() == "mounted\n", "this system does not permit users to mount a disk"
        yield Path(f"/proc/{holder.pid}/root{mount_point}")
    finally:
        holder.stdin.close()
        holder.wait(10)
        holder.stdout.close()


def private_mounts() -> bool:
    """Give this process, of a single thread, mounts that no other sees; False where that is not permitted."""
    user, group = os.getuid(), os.getgid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_NEW_MOUNTS | (_NEW_USERS if user else 0)):
        return False
    if user:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    return not libc.mount(None, b"/", None, _PRIVATE | _RECURSIVE, None)


def mount_disk(mount_point: Path, size: int, again: bool = False) -> None:
    """Mount a disk of `size` bytes, or change the size of a mounted one."""
    libc = ctypes.CDLL(None, use_errno=True)
    flags = _NOSUID | _NODEV | (_REMOUNT if again else 0)
    if libc.mount(b"tmpfs", os.fsencode(mount_point), b"tmpfs", flags, f"size={size}".encode()):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(mount_point))


def unmount_disk(mount_point: Path) -> None:
    """Unmount a disk, even one that is in use."""
    ctypes.CDLL(None).umount2(os.fsencode(mount_point), _DETACH)


if __name__ == "__main__":
    if private_mounts():
        mount_disk(Path(sys.argv[1]), int(sys.argv[2]))
        print("mounted", flush=True)
        sys.stdin.read()
