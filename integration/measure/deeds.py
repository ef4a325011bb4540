"""What is measured of a supervisor: births, a throng's start, silence, crash and stop, gaps in a stream, flatness."""

import os
import pathlib
import random
import sys
import time

from .space import Failed, cpu_seconds, read, switches, wait_for

STREAM = pathlib.Path(__file__).resolve().parent.parent / "stream.py"
# What the stream does not call a gap, in milliseconds.
UNSEEN = 15
# Lives at one time, and how often so many, after those that warm up.
BATCH, WARMING = 50, 4


def births(supervisor, ears, count, number):
    """From the rename that drops a file to the vassal's first instruction, one at a time; milliseconds."""
    chance, took = random.Random(number), []
    for at in range(count):
        # Wherever it is between two looks at its directory.
        every = supervisor.looks_every
        time.sleep(chance.uniform(every / 6, every * 7 / 6))
        dropped = supervisor.define(f"birth{at}", 5000 + at, ears, False)
        took.append((ears.hear(1, 30)[0] - dropped) / 1e6)
        supervisor.remove(f"birth{at}")
        supervisor.gone(f"birth{at}")
    took.sort()
    return {"value": took[(count - 1) // 2], "p99_ms": took[-(-count * 99 // 100) - 1], "worst_ms": took[-1],
            "births": count}


def cold_start(supervisor, ears, count):
    """Definitions that are there before the program starts, until the last vassal runs; seconds."""
    empty = None
    if supervisor.watches:
        supervisor.start()
        supervisor.ready()
        calm()
        empty = supervisor.memory()
        supervisor.stop()
    for at in range(count):
        supervisor.define(f"v{at}", 10 + at, ears, True)
    begun = supervisor.start()
    figures = {"value": (max(ears.hear(count, 300)) - begun) / 1e9, "vassals": count}
    if empty:
        calm()
        after = supervisor.memory()
        figures |= {"empty_mib": empty["rss"] / 2**20, "empty_pss_mib": empty["pss"] / 2**20,
                    "kib_per_vassal": (after["rss"] - empty["rss"]) / count / 1024,
                    "pss_kib_per_vassal": (after["pss"] - empty["pss"]) / count / 1024}
    return figures


def silence(supervisor, seconds):
    """How often the supervisor's threads woke up in so many seconds in which no vassal did anything, for a minute."""
    tasks = sorted(supervisor.tasks())
    end, last = time.monotonic() + 30, None
    # What the births left to do has to be over; who looks at his directory every few seconds is never done.
    while not supervisor.looks_every and (now := switches(tasks)) != last:
        if time.monotonic() > end:
            raise Failed("it does not come to rest")
        last = now
        time.sleep(2)
    before, used = switches(tasks), cpu_seconds(tasks)
    time.sleep(seconds)
    if sorted(supervisor.tasks()) != tasks or not tasks:
        raise Failed("threads came or went while all should have been silent")
    return {"value": (switches(tasks) - before) * 60 / seconds, "seconds": seconds,
            "cpu_ms": (cpu_seconds(tasks) - used) * 60000 / seconds}


def crash(supervisor, ears, count):
    """`kill -9` and another one at once; seconds until that has every vassal."""
    return {**supervisor.crash(ears, count), "vassals": count}


def stop(supervisor, count):
    """From the word to the end of the last process; seconds."""
    begun = time.monotonic()
    supervisor.stop()
    return {"value": time.monotonic() - begun, "vassals": count}


def gaps(world, deed, path, times):
    """The longest pause of a TCP stream between two vassals around a deed; milliseconds, the middle of some times."""
    longest = sorted(_gap(world, deed, path) for _ in range(times))
    return {"value": longest[(times - 1) // 2], "worst_ms": longest[-1], "times": times}


def _gap(world, deed, path):
    path.unlink(missing_ok=True)
    sink = source = None
    said = lambda: read(path, "")
    try:
        sink = world.spaces["b"].spawn(sys.executable, STREAM, "sink", 7001, path)
        wait_for(5, "a sink for the stream", lambda: "listens" in said())
        source = world.spaces["a"].spawn(sys.executable, STREAM, "source", world.addresses["b"], 7001)
        wait_for(5, "a stream", lambda: "open" in said())
        time.sleep(0.3)
        begun = time.monotonic()
        deed()
        # It shows itself only when it is over.
        time.sleep(1)
        if "close" in said() or source.poll() is not None:
            raise Failed("the stream was lost")
    finally:
        for process in (source, sink):
            if process:
                process.kill()
                process.wait()
    lines = (line.split() for line in said().splitlines())
    gaps = [float(words[1]) * 1000 for words in lines if words[0] == "gap" and float(words[2]) > begun]
    return max([*gaps, UNSEEN])


def cycles(supervisor, ears, batches):
    """Lives that begin and end, fifty at a time; KiB by which the supervisor has grown, and what else is left.

    What an allocator keeps goes up and down by megabytes from batch to batch, so the least of the first quarter is
    compared with the least of the last.
    """
    def batch(at):
        for each in range(BATCH):
            supervisor.define(f"cycle{each}", 5000 + each, ears, True)
        ears.hear(BATCH, 60)
        for each in range(BATCH):
            supervisor.remove(f"cycle{each}")
        for each in range(BATCH):
            supervisor.gone(f"cycle{each}")

    for at in range(WARMING):
        batch(at)
    before, begun, sizes = belongings(supervisor), time.monotonic(), []
    for at in range(batches):
        batch(at)
        sizes.append(supervisor.memory()["rss"] // 1024)
    took = time.monotonic() - begun
    # A thread that has done its work takes a moment to end.
    calm()
    after = belongings(supervisor)
    quarter = max(1, batches // 4)
    return {"value": min(sizes[-quarter:]) - min(sizes[:quarter]), "most_mib": max(sizes) / 1024,
            **{key: after[key] - before[key] for key in after}, "lives": batches * BATCH,
            "ms_per_life": took * 1000 / batches / BATCH, "sizes_kib": sizes}


def belongings(supervisor):
    """What could grow with every life, counted."""
    [pid] = supervisor.pids()
    held = [os.path.join(f"/proc/{pid}/fd", name) for name in os.listdir(f"/proc/{pid}/fd")]
    seen = {link(f"/proc/{each}/ns/net") for each in os.listdir("/proc") if each.isdigit()}
    seen |= {name for name in map(link, held) if name.startswith("net:")}
    return {"descriptors": len(held), "threads": len(supervisor.tasks()),
            "namespaces": len(seen - {""}), "vassals": len(supervisor.vassals())}


def link(path):
    try:
        return os.readlink(path)
    except OSError:
        return ""


def calm(seconds=5):
    """Until the processors have nothing to do: the kernel takes namespaces apart long after their end."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        before = _ticks()
        time.sleep(0.3)
        idle, every = (after - earlier for after, earlier in zip(_ticks(), before))
        if idle >= 0.9 * every:
            return


def _ticks():
    """Of all processors since the boot: idle ones, and all."""
    words = [int(word) for word in read("/proc/stat", "cpu 0 0 0 0 0").partition("\n")[0].split()[1:]]
    return words[3] + words[4], sum(words[:8])
