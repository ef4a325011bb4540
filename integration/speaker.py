"""A vassal that speaks: speaker.py notify|bytes TAG

notify   by sd_notify(3): READY=1, STATUS=TAG and WATCHDOG=1, ten times a second; ends by SIGTERM
bytes    by uWSGI's emperor protocol: ready, accepting, loyal and a heartbeat, ten times a second; ends by the byte 2

All of it each time: what is said while there is no emperor, or read by one that is killed then, nobody has heard.
"""

import os
import select
import signal
import socket
import sys

BEAT = 0.1  # seconds


def notify(tag):
    where = os.environ["NOTIFY_SOCKET"].replace("@", "\0", 1)
    speaks = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    while True:
        try:
            speaks.sendto(f"READY=1\nSTATUS={tag}\nWATCHDOG=1".encode(), where)
        except OSError:
            pass  # Between two emperors nobody listens; the next one is told again.
        if signal.sigtimedwait([signal.SIGTERM], BEAT):
            return


def by_bytes(_tag):
    speaks = int(os.environ["UWSGI_EMPEROR_FD"])
    while True:
        try:
            for byte in (1, 5, 17, 26):
                os.write(speaks, bytes([byte]))
            if select.select([speaks], [], [], BEAT)[0] and os.read(speaks, 1) == b"\2":
                return
        except OSError:
            signal.sigtimedwait([], BEAT)  # Between two emperors nobody listens.


signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
{"notify": notify, "bytes": by_bytes}[sys.argv[1]](sys.argv[2])
