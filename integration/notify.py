"""A service manager that only listens.

notify.py listen SOCKET FILE       FILE gets a line for each message: the time (CLOCK_MONOTONIC, seconds) and its fields.
                                   Beside "READY=1" stands whether emperor0 existed when it arrived.
notify.py freeze PID NAME SECONDS  stops the thread of that name, and no other, for so long
notify.py wakeups PID              how often all threads of a process have been woken
"""

import ctypes
import glob
import os
import socket
import sys
import time


def listen(path, out):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener, open(out, "a", buffering=1) as file:
        listener.bind(path)
        while True:
            fields = listener.recv(4096).decode().split("\n")
            line = f"{time.monotonic():.3f} " + " ".join(field for field in fields if field)
            if "READY=1" in fields:
                line += f" uplink={'emperor0' in dict(socket.if_nameindex()).values()}"
            print(line, file=file)


def freeze(pid, name, seconds):
    libc = ctypes.CDLL(None, use_errno=True)
    thread = next(int(path.split("/")[4]) for path in glob.glob(f"/proc/{pid}/task/*/comm")
                  if open(path).read().strip() == name)
    for request in (0x4206, 0x4207):  # PTRACE_SEIZE, PTRACE_INTERRUPT (ptrace(2))
        if libc.ptrace(request, thread, None, None):
            sys.exit(os.strerror(ctypes.get_errno()))
    os.waitpid(thread, 0x40000000)  # __WALL
    time.sleep(float(seconds))


def wakeups(pid):
    print(sum(int(line.split()[1]) for path in glob.glob(f"/proc/{pid}/task/*/status")
              for line in open(path) if line.startswith("voluntary")))


{"listen": listen, "freeze": freeze, "wakeups": wakeups}[sys.argv[1]](*sys.argv[2:])
