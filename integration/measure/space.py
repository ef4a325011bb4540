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


def end(process, patience=20):
    """Ends a child of ours by its own pid, gently first."""
    if process is None or process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(patience)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


# A directory of one's own, in place of one that others have too.
_OWN = """
for place; do mkdir -p "$place" && mount -t tmpfs -o mode=0755 bench "$place" || exit 1; done
exec sleep infinity
"""


class Space:
    """A network namespace: a new one, or that of the process `pid`.

    With `places` it is a new one with a mount namespace, in which these directories are empty.
    """

    def __init__(self, pid=None, places=()):
        self.holder, self.places = None, places
        if pid is None:
            own = ["--mount", "--", "sh", "-c", _OWN, "sh", *places] if places else ["--", "sleep", "infinity"]
            self.holder = subprocess.Popen(["unshare", "--net", *own])
            pid = self.holder.pid
            wait_for(5, "a new network namespace", lambda: read(f"/proc/{pid}/comm") == "sleep\n")
        self.pid = pid
        self.path = f"/proc/{pid}/ns/net"
        if self.holder:
            self.run("ip", "link", "set", "lo", "up")

    def _enter(self, command):
        mounts = [f"--mount=/proc/{self.pid}/ns/mnt"] if self.places else []
        return ["nsenter", f"--net={self.path}", *mounts, "--", *map(str, command)]

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


def memory(pids):
    """Bytes of these processes together: resident, and their share of what is resident."""
    sizes = {"Rss:": 0, "Pss:": 0}
    for pid in pids:
        for words in (line.split() for line in read(f"/proc/{pid}/smaps_rollup", "").splitlines()):
            if words[0] in sizes:
                sizes[words[0]] += int(words[1]) * 1024
    return {"rss": sizes["Rss:"], "pss": sizes["Pss:"]}


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
