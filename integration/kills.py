"""Kills an emperor at random moments of births, edits and stops, starts another, and looks at everything.

kills.py EMPEROR SETTINGS VASSALS RUN LOG    KILLS=N: how often (200); SEED=N: plays the same again

What must hold after each: one process for each definition, under its newest text; as many network namespaces, ports
of the router, FIFOs and cgroups as there are vassals; one uplink, one table; no init stage that waits; nothing of what
is removed.
"""

import glob
import json
import os
import random
import re
import signal
import subprocess
import sys
import time

EMPEROR, SETTINGS, VASSALS, RUN, LOG = sys.argv[1:]
KILLS = int(os.environ.get("KILLS", "200"))
SEED = int(os.environ.get("SEED") or random.SystemRandom().randrange(1 << 32))
NAMES = [f"v{n}" for n in range(7)]
KINDS = ["plain", "plain", "tree", "tree", "stubborn", "crasher", "plain"]
TAG = re.compile(rb"\0(74[0-9]{6})\0")
PORTS = re.compile(r" status uplink=.* vassals=([0-9]+) ")
generation = 0
wanted = {}  # name -> (tag, kind)


def definition(kind, tag):
    if kind == "stubborn":
        command = f"trap '' TERM; sleep {tag} & while :; do wait; done"
        rest = "stop: {signal: TERM, timeout: 200ms}\n"
    elif kind == "tree":
        command = f"sleep {tag} & exec sleep {tag}"
        rest = "namespaces: [mount]\n"
    elif kind == "crasher":
        command = f"sleep 0.03; [ -e /run/scenario/pub/calm ] && exec sleep {tag}; exit 1"
        rest = "restart: {delay: 100ms, max_delay: 100ms}\n"
    else:
        command, rest = f"exec sleep {tag}", ""
    return f'command: [/bin/sh, -c, "{command}", sh, "{tag}"]\n{rest}'


def edit(name, live=False):
    global generation
    if not (live and name in wanted):
        generation += 1
        wanted[name] = (f"74{generation:06}", KINDS[NAMES.index(name)])
    tag, kind = wanted[name]
    text = definition(kind, tag)
    if live:
        text += f"log: {{to: file, keep: {random_.randrange(9)}}}\n"
    path = f"{VASSALS}/{name}.yaml"
    with open(path + ".tmp", "w") as file:
        file.write(text)
    os.rename(path + ".tmp", path)


def remove(name):
    if wanted.pop(name, None):
        os.unlink(f"{VASSALS}/{name}.yaml")


def start():
    with open(LOG, "ab") as log:
        begin = log.tell()
        started = subprocess.Popen([EMPEROR, "run", VASSALS, "--config", SETTINGS], stdin=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL, stderr=log)
        started.log_begin = begin
    return started


def listing(directory):
    try:
        return os.listdir(directory)
    except OSError:
        return []


def processes():
    for path in glob.glob("/proc/[0-9]*"):
        try:
            with open(path + "/cmdline", "rb") as file:
                yield int(path[6:]), file.read()
        except OSError:
            pass


def namespaces():
    found = set()
    for path in glob.glob("/proc/[0-9]*/ns/net"):
        try:
            found.add(os.readlink(path))
        except OSError:
            pass
    return found


def cgroups():
    return set(glob.glob("/sys/fs/cgroup/**/mini-emperor.v*", recursive=True))


def wrong():
    """Everything that is not as it must be."""
    faults = []
    running = list(processes())
    tags = {}
    for pid, line in running:
        for tag in TAG.findall(line):
            tags.setdefault(tag.decode(), []).append(pid)
        if b"\0__init\0" in line:
            faults.append(f"pid {pid} waits at a gate")
    for name, (tag, kind) in wanted.items():
        pids = sorted(tags.pop(tag, []))
        # plain: one process; tree: two sleeps; stubborn: a shell and its sleep.
        count = 2 if kind in ("tree", "stubborn") else 1
        try:
            with open(f"{RUN}/state/{name}.json") as file:
                record = json.load(file)
        except OSError:
            faults.append(f"{name} has no record")
            continue
        if record["state"] != "running" or "alive" not in record["kept"]:
            faults.append(f"{name} is {record['state']}")
        elif len(pids) != count or record["pid"] not in pids:
            faults.append(f"{name} ({kind}, {tag}): record {record['pid']}, processes {pids}")
    faults += [f"nobody wants {tag}: {pids}" for tag, pids in tags.items()]
    for what, found, right in [
        ("records", listing(f"{RUN}/state"), len(wanted)),
        ("FIFOs", listing(f"{RUN}/logs"), len(wanted)),
        ("network namespaces", namespaces() - BEFORE, len(wanted)),
        ("cgroups", cgroups() - CGROUPS,
         sum(kind == "tree" for _, kind in wanted.values())),
        ("emperors", [pid for pid, line in running if b"\0run\0" + VASSALS.encode() in line], 1),
        ("tuns", [line for line in subprocess.run(["ip", "-o", "link", "show", "type", "tun"], check=True,
                  capture_output=True, text=True).stdout.splitlines()], 1),
        ("tables", subprocess.run(["nft", "list", "tables"], check=True, capture_output=True,
                                  text=True).stdout.splitlines(), 1),
    ]:
        if len(found) != right:
            faults.append(f"{len(found)} {what}, not {right}: {sorted(found)}")
    return faults


def log_since(begin):
    with open(LOG, "rb") as log:
        log.seek(begin)
        return log.read().decode(errors="replace")


def wrong_ports(emperor):
    """The router's ports, which only the emperor can count."""
    # Before, the signal would end it.
    if "emperor ready" not in log_since(emperor.log_begin):
        return ["the emperor is not ready"]
    begin = os.path.getsize(LOG)
    emperor.send_signal(signal.SIGUSR1)
    end = time.monotonic() + 5
    while not (found := PORTS.search(log_since(begin))):
        if emperor.poll() is not None or time.monotonic() > end:
            return ["the emperor does not tell its ports"]
        time.sleep(0.005)
    return [] if int(found[1]) == len(wanted) else [f"{found[1]} ports, not {len(wanted)}"]


def said(since):
    """What the log holds of trouble from there on; the whole of its end if nothing is."""
    lines = log_since(since).splitlines()
    trouble = [line for line in lines if " ERROR " in line or "panicked" in line]
    return (trouble or lines)[-5:]


def settle(emperor, moment):
    end = time.monotonic() + 15
    while faults := wrong() or wrong_ports(emperor):
        code = emperor.poll()
        if code is not None:
            faults = [f"the emperor ended with {code}"]
        if code is not None or time.monotonic() > end:
            told = " ".join(history[-3:])
            sys.exit(f"SEED={SEED}, kill {moment}, after {told}:\n  " + "\n  ".join(faults + said(emperor.log_begin)))
        time.sleep(0.02)


def disturb(emperor):
    """Something in whose midst the emperor is killed."""
    what = random_.choice(["edit", "edit", "live", "remove", "all", "die", "stop", "upgrade"])
    if what == "stop":
        emperor.send_signal(random_.choice([signal.SIGTERM, signal.SIGQUIT]))
    elif what == "upgrade":
        # Its outcome does not matter: the emperor that it asks is killed.
        helpers.append(subprocess.Popen([EMPEROR, "upgrade", "--config", SETTINGS], stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL))
    elif what == "die" and wanted:
        name = random_.choice(sorted(wanted))
        try:
            with open(f"{RUN}/state/{name}.json") as file:
                os.kill(json.load(file)["pid"] or 0x7FFFFFF, signal.SIGKILL)
        except OSError:
            pass
    elif what == "all":
        for name in NAMES:
            random_.choice([edit, remove])(name)
    elif what == "remove":
        remove(random_.choice(NAMES))
    else:
        edit(random_.choice(NAMES), live=what == "live")
    return what


# Without it a crasher dies in the midst of everything; with it, it settles.
CALM = "/run/scenario/pub/calm"


def play(moment):
    """One emperor, from its start to its kill; says in whose midst that was."""
    global emperor
    emperor = start()
    what = "start"
    if random_.random() < 0.7:
        open(CALM, "w").close()
        settle(emperor, moment)
        if random_.random() < 0.2:
            # One that lives on has to be as exact as one that has just started.
            for name in NAMES:
                random_.choice([edit, remove])(name)
            settle(emperor, moment)
        os.unlink(CALM)
        for _ in range(random_.randrange(1, 3)):
            what = disturb(emperor)
        time.sleep(random_.random() ** 2 * 0.1)
    else:
        time.sleep(random_.random() * 0.08)
        if random_.random() < 0.5:
            what = disturb(emperor)
            time.sleep(random_.random() ** 2 * 0.1)
    emperor.kill()
    emperor.wait()
    for helper in helpers:
        helper.wait()
    helpers.clear()
    return what


random_ = random.Random(SEED)
BEFORE = namespaces()
CGROUPS = cgroups()
helpers = []
emperor = None
print(f"SEED={SEED}", flush=True)
for name in NAMES:
    edit(name)
history = []  # in whose midst each was killed
begun = time.monotonic()
try:
    for moment in range(KILLS):
        what = play(moment)
        history.append(what)
    open(CALM, "w").close()
    emperor = start()
    settle(emperor, KILLS)
    for name in NAMES:
        remove(name)
    settle(emperor, KILLS)
finally:
    # Cgroups are not those of the scenario alone: it must not leave any.
    emperor.send_signal(signal.SIGQUIT)
    code = emperor.wait(20)
if code != 0:
    sys.exit(f"SEED={SEED}: the last emperor ended with {code}")
told = ", ".join(f"{history.count(what)} x {what}" for what in sorted(set(history)))
print(f"{KILLS} kills in {time.monotonic() - begun:.0f} s: {told}")
