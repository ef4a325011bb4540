"""What is measured of mini-emperor alone: births, a cold start, memory, silence."""

import os
import time

from .emperor import Emperor
from .space import Failed, switches, wait_for

BIRTHS = 50
THRONG = 1000


def births(tools, world):
    """From the rename that drops a file to the first thing its command does, one at a time; milliseconds."""
    took = []
    for at in range(BIRTHS):
        name, path = f"birth{at}", str(world.directory / f"birth{at}")
        os.mkfifo(path)
        os.chmod(path, 0o666)
        reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            dropped = world.define(name, f"[{tools.loads}, born, {path}]", 5000 + at)
            text = wait_for(20, f"{name} runs", lambda: _heard(reader))
        finally:
            os.close(reader)
            os.unlink(path)
        took.append((int(text) - dropped) / 1e6)
        world.remove(name)
    took.sort()
    return {"value": took[BIRTHS // 2 - 1], "p99_ms": took[BIRTHS * 99 // 100 - 1], "worst_ms": took[-1]}


def _heard(reader):
    try:
        return os.read(reader, 64)
    except BlockingIOError:
        return b""


def cold_start(tools, directory):
    """A thousand vassals whose files are there before the program starts; seconds, and bytes for each of them."""
    empty = Emperor(directory, tools.emperor, "empty", idle=0, talkers="")
    throng = Emperor(directory, tools.emperor, "throng", idle=THRONG, talkers="")
    try:
        empty.set_up()
        before = empty.memory()
        throng.set_up()
        after = throng.memory()
    finally:
        for world in (empty, throng):
            if world.process:
                world.demolish()
    return {"value": throng.took, "empty_mib": before["rss"] / 2**20, "empty_pss_mib": before["pss"] / 2**20,
            "kib_per_vassal": (after["rss"] - before["rss"]) / THRONG / 1024,
            "pss_kib_per_vassal": (after["pss"] - before["pss"]) / THRONG / 1024}


def silence(tools, directory, seconds):
    """How often the supervisor's threads woke up while ten vassals had nothing to do."""
    world = Emperor(directory, tools.emperor, "silent", idle=10, talkers="")
    try:
        world.set_up()
        # What the births left to do has to be over.
        end = time.monotonic() + 30
        tasks = world.all_tasks()
        if not tasks:
            raise Failed("the supervisor has no threads to look at")
        last = None
        while (now := switches(tasks)) != last:
            if time.monotonic() > end:
                raise Failed("the supervisor does not come to rest")
            last = now
            time.sleep(2)
        time.sleep(seconds)
        if sorted(world.all_tasks()) != sorted(tasks):
            raise Failed("threads came or went while all should have been silent")
        return {"value": switches(tasks) - now, "seconds": seconds}
    finally:
        if world.process:
            world.demolish()
