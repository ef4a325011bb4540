"""Counts what there is of vassals, and compares it with what the directory of definitions says there should be.

Each definition begins with a line `# KIND TAG`; each process of its command has the TAG as an argument of its own, once
it is what it is to be.
"""

import glob
import json
import os
import re
import subprocess
from typing import NamedTuple


class Kind(NamedTuple):
    processes: int
    cgroups: int = 0
    sleeps: bool = False  # until somebody connects to its socket, which is named NAME.TAG


# The limits of memory and of processes are one cgroup in version 2, and one a controller in version 1.
LIMITS = 2 if os.path.isdir("/sys/fs/cgroup/memory") else 1
KINDS = {
    "plain": Kind(1),
    "tree": Kind(2, cgroups=1),
    "stubborn": Kind(2),
    "crasher": Kind(1),
    "notify": Kind(1),
    "bytes": Kind(1),
    "demand": Kind(1, sleeps=True),
    "hooks": Kind(1),
    "limits": Kind(1, cgroups=LIMITS),
}
TAG = re.compile(rb"\0(74[0-9]{6})\0")
HOOK = b"\0kills-hook\0"


def listing(directory):
    try:
        return os.listdir(directory)
    except OSError:
        return []


def links(pattern):
    for path in glob.glob(pattern):
        try:
            yield path, os.readlink(path)
        except OSError:
            pass


def text_of(path):
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""


def network_namespaces():
    return {where for _, where in links("/proc/[0-9]*/ns/net")}


def processes():
    """Every process with its arguments."""
    for path in glob.glob("/proc/[0-9]*"):
        try:
            with open(path + "/cmdline", "rb") as file:
                yield int(path[6:]), file.read()
        except OSError:
            pass


def program_says(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()


class Census:
    """What is counted: of the definitions in `vassals`, whose names all begin with `stem`, of the emperor that has
    `run`, and of the sockets in `sockets`. What else there is when it is made is not theirs."""

    def __init__(self, vassals, run, sockets, stem):
        self.vassals, self.run, self.sockets, self.stem = vassals, run, sockets, stem
        self.namespaces_before = network_namespaces()

    def definitions(self):
        """Name -> (kind, tag), as the files say it."""
        found = {}
        for file in listing(self.vassals):
            if file.endswith(".yaml"):
                _, kind, tag = text_of(f"{self.vassals}/{file}").splitlines()[0].split()
                found[file[:-5]] = (kind, tag)
        return found

    def record(self, name):
        try:
            return json.loads(text_of(f"{self.run}/state/{name}.json"))
        except ValueError:
            return None

    def cgroups(self):
        return glob.glob(f"/sys/fs/cgroup/**/mini-emperor.{self.stem}*", recursive=True)

    def faults(self, emperor):
        """Everything that is not as it must be; `emperor` is the pid of the one that should run."""
        definitions, running = self.definitions(), list(processes())
        tags = {}
        for pid, line in running:
            for tag in TAG.findall(line):
                tags.setdefault(tag.decode(), []).append(pid)
        faults, alive = [], {}
        for name, (kind, tag) in definitions.items():
            record, pids = self.record(name), sorted(tags.pop(tag, []))
            if fault := fault_of(name, kind, tag, record, pids):
                faults.append(fault)
            if record and record["state"] == "running":
                alive[name] = (kind, record)
        faults += [f"nobody wants {tag}: {pids}" for tag, pids in tags.items()]
        faults += [f"pid {pid} waits at a gate" for pid, line in running if b"\0__init\0" in line]
        faults += [f"a hook still runs as pid {pid}" for pid, line in running if HOOK in line]
        faults += self.of_sockets({f"{name}.{tag}" for name, (kind, tag) in definitions.items() if KINDS[kind].sleeps})
        faults += of_descriptors(emperor, alive)
        faults += self.of_counts(definitions, alive, running)
        return faults

    def of_counts(self, definitions, alive, running):
        command = b"\0run\0" + self.vassals.encode()
        for what, found, right in [
            ("records", listing(f"{self.run}/state"), len(definitions)),
            ("FIFOs", listing(f"{self.run}/logs"), len(alive)),
            ("notes of hooks", listing(f"{self.run}/hooks"), 0),
            ("hooks that are owed", listing(f"{self.run}/owed"), 0),
            ("network namespaces", network_namespaces() - self.namespaces_before, len(alive)),
            ("cgroups", self.cgroups(), sum(KINDS[kind].cgroups for kind, _ in alive.values())),
            ("emperors", [pid for pid, line in running if command in line], 1),
            ("tuns of the host", program_says("ip", "-o", "link", "show", "type", "tun"), 1),
            ("tables", program_says("nft", "list", "tables"), 1),
            ("addresses", {address for _, record in alive.values() for address in record["addresses"]},
             sum(len(record["addresses"]) for _, record in alive.values())),
        ]:
            if len(found) != right:
                yield f"{len(found)} {what}, not {right}: {sorted(found)}"

    def of_sockets(self, wanted):
        """Each socket on which somebody is to listen, and no other."""
        found = set(listing(self.sockets))
        if found != wanted:
            yield f"sockets {sorted(found)}, not {sorted(wanted)}"
        # The fourth field says that it listens (__SO_ACCEPTCON of linux/net.h).
        listening = [fields[7] for line in text_of("/proc/net/unix").splitlines()
                     if len(fields := line.split()) == 8 and fields[3] == "00010000"]
        for name in wanted:
            if (count := listening.count(f"{self.sockets}/{name}")) != 1:
                yield f"{count} sockets listen at {name}"


def fault_of(name, kind, tag, record, pids):
    """What is wrong with one vassal."""
    if not record:
        return f"{name} has no record"
    if record["state"] == "idle" and KINDS[kind].sleeps:
        return pids and f"{name} ({tag}) sleeps, and has processes {pids}"
    if record["state"] != "running" or "alive" not in record["kept"] or not record["ready"]:
        return f"{name} is {record['state']}, ready: {record['ready']}"
    if len(pids) != KINDS[kind].processes or record["pid"] not in pids:
        return f"{name} ({kind}, {tag}): record {record['pid']}, processes {pids}"
    if kind == "notify" and record["status"] != tag:
        return f"{name} said {tag}, and its record has {record['status']}"
    return None


def of_descriptors(emperor, alive):
    """The emperor's pidfds and tuns: of each process that is a vassal's first at least one pidfd, and one of nobody else;
    one tun of each vassal."""
    firsts = {record["kept"]["alive"]["process"]["pid"]: name for name, (_, record) in alive.items()
              if "alive" in record["kept"]}
    held, tuns = set(), 0
    for path, where in links(f"/proc/{emperor}/fd/*"):
        about = text_of(path.replace("/fd/", "/fdinfo/"))
        if where == "anon_inode:[pidfd]":
            # By now the number may be that of another file.
            pid = re.search(r"^Pid:\s*(-?[0-9]+)", about, re.M)
            held.add(int(pid[1]) if pid else 0)
        elif where == "/dev/net/tun" and "iff:\temperor0" not in about:
            tuns += 1
    if held != set(firsts):
        yield f"pidfds of {sorted(held)}, not of {firsts}"
    if tuns != len(alive):
        yield f"{tuns} tuns of vassals, not {len(alive)}"
