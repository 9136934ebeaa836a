"""`without_inotify.py instances|watches PROGRAM ARGUMENT...`: runs a program for which the system has none of them left.

A filter of system calls does it (seccomp(2)), which any user may set up for themselves, also where user namespaces are
forbidden.
"""

import ctypes
import os
import platform
import struct
import sys

# The number of the call, and the error that it has when a user has used up what the kernel allows (inotify(7)).
CALLS = {
    "x86_64": {"instances": (294, 24), "watches": (254, 28)},
    "aarch64": {"instances": (26, 24), "watches": (27, 28)},
}
PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, SECCOMP_MODE_FILTER = 22, 38, 2
LOAD_NUMBER, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, FAIL = 0x7FFF0000, 0x00050000


class Filter(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p)]


def forbid(number, error):
    steps = [(LOAD_NUMBER, 0, 0, 0), (JUMP_IF_EQUAL, 0, 1, number), (RETURN, 0, 0, FAIL | error), (RETURN, 0, 0, ALLOW)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
    program = Filter(len(steps), ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    for arguments in ((PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0)):
        if libc.prctl(*arguments) != 0:
            sys.exit(f"this system allows no filter of system calls: {os.strerror(ctypes.get_errno())}")


forbid(*CALLS[platform.machine()][sys.argv[1]])
os.execv(sys.argv[2], sys.argv[2:])
