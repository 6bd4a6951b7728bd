"""A process that cannot make a request: the kernel ends it if it, or a process it starts, tries to (Linux)."""

from __future__ import annotations

import ctypes
import platform
import struct
import sys

# Numbers of the system calls connect, sendto, sendmsg and sendmmsg, and the number of the architecture (AUDIT_ARCH).
_CALLS = {
    "x86_64": ((42, 44, 46, 307), 0xC000003E),
    "aarch64": ((203, 206, 211, 269), 0xC00000B7),
}
_NO_NEW_PRIVILEGES, _SECCOMP, _FILTER = 38, 22, 2
_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06
_NUMBER, _MACHINE = 0, 4
_ALLOW, _KILL = 0x7FFF0000, 0x80000000


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def forbid_requests() -> None:
    """End this process, and those it starts, at their first request from now on. Call it before threads start.

    The kernel kills the process by the signal SIGSYS, so a request is detected even where its error would be caught.
    """
    if sys.platform != "linux":
        return
    numbers, machine = _CALLS[platform.machine()]
    count = len(numbers)
    instructions = [(_LOAD, 0, 0, _MACHINE), (_EQUAL, 0, count + 1, machine), (_LOAD, 0, 0, _NUMBER)]
    instructions += [(_EQUAL, count - index, 0, number) for index, number in enumerate(numbers)]
    instructions += [(_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _KILL)]
    program = _Program(len(instructions), b"".join(struct.pack("HBBI", *step) for step in instructions))
    libc = ctypes.CDLL(None, use_errno=True)
    for call in ((_NO_NEW_PRIVILEGES, 1, 0, 0, 0), (_SECCOMP, _FILTER, ctypes.byref(program), 0, 0)):
        if libc.prctl(*call) != 0:
            raise OSError(ctypes.get_errno(), "the kernel refused a filter of system calls")
