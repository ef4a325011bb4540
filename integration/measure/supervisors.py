"""What keeps vassals, and what each can be asked; scripts.py and original.py hold the others."""

import os
import pathlib
import select
import signal
import time

from .emperor import Emperor
from .space import Failed, end, memory, read, threads, wait_for


class Ears:
    """A FIFO into which newborn vassals write when their first instruction ran."""

    def __init__(self, directory):
        self.path = pathlib.Path(directory) / "ears"
        self.path.unlink(missing_ok=True)
        os.mkfifo(self.path)
        self.path.chmod(0o666)
        # Open for writing too: it has no end while nobody else writes.
        self.file = os.open(self.path, os.O_RDWR | os.O_NONBLOCK)

    def hear(self, count, seconds):
        """When each of the next `count` was born, in nanoseconds since the epoch."""
        text, deadline = b"", time.monotonic() + seconds
        ready = select.poll()
        ready.register(self.file, select.POLLIN)
        while text.count(b"\n") < count:
            left = deadline - time.monotonic()
            if left <= 0:
                raise Failed(f"{text.count(10)} of {count} vassals were born within {seconds} s")
            if ready.poll(left * 1000):
                text += os.read(self.file, 1 << 16)
        return [int(line) for line in text.split()]

    def silent(self):
        """Raises if somebody else was born."""
        try:
            heard = os.read(self.file, 1 << 16)
        except BlockingIOError:
            return
        raise Failed(f"{heard.count(10)} vassals were born that nobody asked for")

    def close(self):
        os.close(self.file)
        self.path.unlink()


class Supervisor:
    """Base of all. A vassal says to `ears` that it was born, and then does nothing, or ends if it does not stay."""

    name = ""
    # How many births, one at a time, are a sample, and within how many seconds it looks for a new file.
    births, looks_every = 200, 0
    # Whether it can be asked for more than to begin and to end vassals.
    watches = True

    def __init__(self, directory, tools):
        self.directory, self.tools = directory / self.name, tools
        self.directory.mkdir(parents=True, exist_ok=True)

    def furnish(self):
        """A host, and no vassal."""
        raise NotImplementedError

    def start(self):
        """Begins what is defined; when, is returned. Its vassals may be born later."""
        raise NotImplementedError

    def define(self, name, number, ears, stays):
        """A vassal with the address of this number; when it could be known of, is returned."""
        raise NotImplementedError

    def remove(self, name):
        raise NotImplementedError

    def gone(self, name):
        """Waits until nothing of a vassal is left that was removed."""

    def ready(self):
        """Waits until it looks after vassals."""

    def stop(self):
        """Until no process of it and of any vassal is left."""
        raise NotImplementedError

    def pids(self):
        """The processes that are not a vassal's."""
        return []

    def tasks(self):
        return [task for pid in self.pids() for task in threads(pid)]

    def memory(self):
        return memory(self.pids())

    def vassals(self):
        """Every process that a vassal is."""
        return running(self.tools.loads)

    def demolish(self):
        """Whatever happened, nothing is left."""
        for pid in [*self.pids(), *self.vassals()]:
            kill(pid)


class Ours(Supervisor):
    """mini-emperor."""

    def __init__(self, directory, tools, program=None, name="emperor", talkers=""):
        self.name = name
        super().__init__(directory, tools)
        self.world = Emperor(directory, program or tools.emperor, name, idle=0, talkers=talkers)

    def furnish(self):
        self.world.furnish()

    def start(self):
        begun = time.time_ns()
        self.world.start()
        return begun

    def define(self, name, number, ears, stays):
        return self.world.define(name, f"[{self.tools.loads}, {'live' if stays else 'born'}, {ears.path}]", number)

    def remove(self, name):
        self.world.remove(name)

    def gone(self, name):
        self.world.gone(name)

    def stop(self):
        end(self.world.process)
        wait_for(5, "no vassal is left", lambda: not self.vassals())

    def pids(self):
        return [self.world.process.pid] if self.world.process and self.world.process.poll() is None else []

    def crash(self, ears, count):
        """`kill -9`, and another one at once; seconds until that has all vassals, which have noticed nothing."""
        before = sorted(self.vassals())
        begun = time.monotonic()
        self.world.kill()
        self.world.start()
        took = time.monotonic() - begun
        ears.silent()
        if sorted(self.vassals()) != before or len(before) != count:
            raise Failed("not the same vassals as before")
        return {"value": took}

    def demolish(self):
        end(self.world.process)
        super().demolish()
        if "host" in self.world.spaces:
            self.world.spaces["host"].close()


def running(program, words=()):
    """The processes of this PID namespace that were begun as `program` with these words among others."""
    begins = f"{program}\0"
    return [int(pid) for pid in os.listdir("/proc") if pid.isdigit()
            and (line := read(f"/proc/{pid}/cmdline", "")).startswith(begins)
            and all(f"\0{word}\0" in line for word in words)]


def kill(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
