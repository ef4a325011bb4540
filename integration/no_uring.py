"""no_uring.py ERRNO COMMAND…   executes a command for which, and for all that it starts, io_uring_setup(2) fails so.

As a container's seccomp filter does (EPERM) or a kernel without it (ENOSYS). Only root may without no_new_privs(2), which
would weigh on the command.
"""

import ctypes
import errno
import os
import sys

IO_URING_SETUP = 425  # on every architecture
PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 22, 2
RET_ERRNO, RET_ALLOW = 0x00050000, 0x7FFF0000


class Step(ctypes.Structure):
    """struct sock_filter"""
    _fields_ = [("code", ctypes.c_ushort), ("if_so", ctypes.c_ubyte), ("if_not", ctypes.c_ubyte), ("k", ctypes.c_uint)]


class Program(ctypes.Structure):
    """struct sock_fprog"""
    _fields_ = [("length", ctypes.c_ushort), ("steps", ctypes.POINTER(Step))]


def refuse(error):
    steps = (Step * 4)(Step(0x20, 0, 0, 0),               # BPF_LD | BPF_W | BPF_ABS: seccomp_data.nr
                       Step(0x15, 0, 1, IO_URING_SETUP),  # BPF_JMP | BPF_JEQ | BPF_K
                       Step(0x06, 0, 0, RET_ERRNO | error),
                       Step(0x06, 0, 0, RET_ALLOW))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(Program(len(steps), steps)), 0, 0):
        sys.exit(f"no_uring.py: {os.strerror(ctypes.get_errno())}")
    if libc.syscall(IO_URING_SETUP, 1, None) != -1 or ctypes.get_errno() != error:
        sys.exit("no_uring.py: the filter does not hold")


refuse(getattr(errno, sys.argv[1]))
os.execv(sys.argv[2], sys.argv[2:])
