"""Mounts a file system that answers nobody (fuse(4), mount(2)), until it is killed.

mute.py DIRECTORY UID GID [OPTION]    as fusermount(1) does for that user; says `mounted`
"""

import ctypes
import os
import signal
import sys

at, user, group, *options = sys.argv[1:]
device = os.open("/dev/fuse", os.O_RDWR)
data = ",".join([f"fd={device},rootmode=40000,user_id={user},group_id={group}", *options])
libc = ctypes.CDLL(None, use_errno=True)
if libc.mount(b"mute", at.encode(), b"fuse", 6, data.encode()):
    sys.exit(os.strerror(ctypes.get_errno()))
print("mounted", flush=True)
signal.pause()
