"""Kills an emperor at random moments of births, edits and stops, starts another, and looks at everything.

kills.py EMPEROR SETTINGS VASSALS RUN LOG    KILLS=N: how often (200); SEED=N: plays the same again

What must hold after each: one process for each definition, under its newest text, and the same as before if nothing
was done to it; as many network namespaces, ports of the router, FIFOs, cgroups and sockets as there should be; one
uplink, one table; no init stage that waits; nothing of what is removed.
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
KINDS = ["plain", "plain", "tree", "tree", "stubborn", "crasher", "speaker", "asleep", "asleep", "hooked", "limited"]
NAMES = [f"v{n}" for n in range(len(KINDS))]
TAG = re.compile(rb"\0(74[0-9]{6})\0")
PORTS = re.compile(r" status uplink=.* vassals=([0-9]+) ")
generation = 0
wanted = {}  # name -> (tag, kind)
pids = {}  # name -> pid, of those that nothing was done to since they were seen
SOCKETS = "/run/scenario/sockets"
SPEAKER = """
import os, socket, time
def say(words):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as to:
        try:
            to.sendto(words, chr(0) + os.environ["NOTIFY_SOCKET"][1:])
        except OSError:
            pass  # there is no emperor at the moment
say(b"READY=1")
while True:
    say(b"WATCHDOG=1")
    time.sleep(0.2)
"""


def definition(name, kind, tag):
    if kind == "stubborn":
        command = f"trap '' TERM; sleep {tag} & while :; do wait; done"
        rest = "stop: {signal: TERM, timeout: 200ms}\n"
    elif kind == "tree":
        command = f"sleep {tag} & exec sleep {tag}"
        rest = "namespaces: [mount]\n"
    elif kind == "crasher":
        command = f"sleep 0.03; [ -e /run/scenario/pub/calm ] && exec sleep {tag}; exit 1"
        rest = "restart: {delay: 100ms, max_delay: 100ms}\n"
    elif kind == "speaker":
        command, rest = f'exec {sys.executable} /run/scenario/pub/speaker.py {tag}', "ready: notify\nwatchdog: 3s\n"
    else:
        command, rest = f"exec sleep {tag}", {
            "plain": "",
            "asleep": f"on_demand: {{socket: {SOCKETS}/{name}, idle: 1h}}\n",
            "hooked": "hooks: {pre_start: {command: [/bin/sleep, '0.01']}, post_stop: {command: [/bin/sleep, '0.02']}}\n",
            "limited": "limits: {pids: 20}\n",
        }[kind]
    return f'command: [/bin/sh, -c, "{command}", sh, "{tag}"]\n{rest}'


def edit(name, live=False):
    global generation
    if not (live and name in wanted):
        generation += 1
        pids.pop(name, None)
        wanted[name] = (f"74{generation:06}", KINDS[NAMES.index(name)])
    tag, kind = wanted[name]
    text = definition(name, kind, tag)
    if live:
        text += f"log: {{to: file, keep: {random_.randrange(9)}}}\n"
    path = f"{VASSALS}/{name}.yaml"
    with open(path + ".tmp", "w") as file:
        file.write(text)
    os.rename(path + ".tmp", path)


def remove(name):
    pids.pop(name, None)
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


def listening():
    with open("/proc/net/unix") as table:
        # The sixth field of one that listens is SS_UNCONNECTED, and its flags have __SO_ACCEPTCON.
        return [line for line in table if SOCKETS in line and line.split()[3] == "00010000"]


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
        found = sorted(tags.pop(tag, []))
        # tree: two sleeps; stubborn: a shell and its sleep; asleep: nobody has come.
        count = {"tree": 2, "stubborn": 2, "asleep": 0}.get(kind, 1)
        try:
            with open(f"{RUN}/state/{name}.json") as file:
                record = json.load(file)
        except OSError:
            faults.append(f"{name} has no record")
            continue
        if kind == "asleep":
            if record["state"] != "idle" or found:
                faults.append(f"{name} is {record['state']}: processes {found}")
        elif record["state"] != "running" or "alive" not in record["kept"]:
            faults.append(f"{name} is {record['state']}")
        elif len(found) != count or record["pid"] not in found:
            faults.append(f"{name} ({kind}, {tag}): record {record['pid']}, processes {found}")
        elif pids.get(name, record["pid"]) != record["pid"]:
            faults.append(f"{name} ({kind}, {tag}): nothing was done to it, and {pids[name]} is {record['pid']} now")
    faults += [f"nobody wants {tag}: {found}" for tag, found in tags.items()]
    awake = sum(kind != "asleep" for _, kind in wanted.values())
    for what, found, right in [
        ("records", listing(f"{RUN}/state"), len(wanted)),
        ("FIFOs", listing(f"{RUN}/logs"), awake),
        ("notes of hooks", listing(f"{RUN}/hooks"), 0),
        ("network namespaces", namespaces() - BEFORE, awake),
        ("sockets", listing(SOCKETS), len(wanted) - awake),
        ("sockets that listen", listening(), len(wanted) - awake),
        ("cgroups", cgroups() - CGROUPS,
         sum(kind in ("tree", "limited") for _, kind in wanted.values())),
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
    awake = sum(kind != "asleep" for _, kind in wanted.values())
    return [] if int(found[1]) == awake else [f"{found[1]} ports, not {awake}"]


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
    for name, (_, kind) in wanted.items():
        if kind not in ("crasher", "asleep"):
            with open(f"{RUN}/state/{name}.json") as file:
                pids[name] = json.load(file)["pid"]


def disturb(emperor):
    """Something in whose midst the emperor is killed."""
    what = random_.choice(["edit", "edit", "live", "remove", "all", "die", "stop", "upgrade"])
    if what == "stop":
        pids.clear()
        emperor.send_signal(random_.choice([signal.SIGTERM, signal.SIGQUIT]))
    elif what == "upgrade":
        # Its outcome does not matter: the emperor that it asks is killed.
        helpers.append(subprocess.Popen([EMPEROR, "upgrade", "--config", SETTINGS], stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL))
    elif what == "die" and wanted:
        name = random_.choice(sorted(wanted))
        pids.pop(name, None)
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
os.makedirs(SOCKETS)
with open("/run/scenario/pub/speaker.py", "w") as file:
    file.write(SPEAKER)
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
