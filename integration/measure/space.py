"""Network namespaces, and processes inside them.

Everything here happens below a PID namespace of the benchmark's own: whatever is forgotten ends with it.
"""

import json
import os
import subprocess
import time


class Failed(Exception):
    """Something that a measurement needs did not happen."""


def wait_for(seconds, what, condition):
    """Until `condition()` is true, which is returned; `what` names it if it never is."""
    end = time.monotonic() + seconds
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > end:
            raise Failed(f"not within {seconds} s: {what}")
        time.sleep(0.005)


def read(path, default=None):
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return default


def end(process):
    """Ends a child of ours by its own pid, gently first."""
    if process is None or process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class Space:
    """A network namespace: a new one, or that of the process `pid`."""

    def __init__(self, pid=None):
        self.holder = None
        if pid is None:
            self.holder = subprocess.Popen(["unshare", "--net", "--", "sleep", "infinity"])
            pid = self.holder.pid
            own = os.readlink("/proc/self/ns/net")
            wait_for(5, "a new network namespace", lambda: os.readlink(f"/proc/{pid}/ns/net") != own)
        self.pid = pid
        self.path = f"/proc/{pid}/ns/net"
        if self.holder:
            self.run("ip", "link", "set", "lo", "up")

    def _enter(self, command):
        return ["nsenter", f"--net={self.path}", "--", *map(str, command)]

    def spawn(self, *command, **options):
        """Starts a program inside; the caller ends it."""
        options.setdefault("stdin", subprocess.DEVNULL)
        return subprocess.Popen(self._enter(command), text=True, **options)

    def run(self, *command, timeout=60):
        """What the program prints; raises if it fails."""
        try:
            done = subprocess.run(self._enter(command), stdin=subprocess.DEVNULL, capture_output=True, text=True,
                                  timeout=timeout)
        except subprocess.TimeoutExpired:
            raise Failed(f"{command[0]} did not end within {timeout} s") from None
        if done.returncode != 0:
            said = (done.stderr or done.stdout).strip()
            raise Failed(f"{' '.join(map(str, command))}: {said[-400:] or done.returncode}")
        return done.stdout

    def succeeds(self, *command):
        try:
            self.run(*command)
        except Failed:
            return False
        return True

    def ip(self, text):
        """One `ip` command, as it is typed."""
        self.run("ip", *text.split())

    def listens(self, port):
        """Whether anybody listens on TCP `port` inside."""
        tables = (read(f"/proc/{self.pid}/net/{table}", "") for table in ("tcp", "tcp6"))
        wanted = f":{port:04X}"
        return any(line.split()[1].endswith(wanted) and line.split()[3] == "0A"
                   for table in tables for line in table.splitlines()[1:])

    def close(self):
        end(self.holder)


def state_of(path):
    """A JSON file that may not be there yet, or None."""
    try:
        return json.loads(read(path, ""))
    except ValueError:
        return None


def threads(pid, prefix=""):
    """The threads of a process whose names begin with `prefix` (or one of several), as directories below /proc."""
    try:
        tasks = [f"/proc/{pid}/task/{tid}" for tid in os.listdir(f"/proc/{pid}/task")]
    except OSError:
        return []
    return [task for task in tasks if read(f"{task}/comm", "").startswith(prefix)]


def cpu_seconds(tasks):
    """What these threads have used so far, in seconds."""
    total = 0
    for task in tasks:
        # In nanoseconds where the kernel counts them; `stat` counts whole ticks.
        fine = read(f"{task}/schedstat")
        if fine:
            total += int(fine.split()[0]) / 1e9
        else:
            fields = read(f"{task}/stat", ") " + "0 " * 20).rpartition(") ")[2].split()
            total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


def switches(tasks):
    """How often these threads were given or taken the processor so far."""
    total = 0
    for task in tasks:
        for line in read(f"{task}/status", "").splitlines():
            if "ctxt_switches" in line:
                total += int(line.split()[1])
    return total
