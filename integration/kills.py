"""Kills an emperor at random moments of births, edits and stops, starts another, and looks at everything.

kills.py EMPEROR SETTINGS VASSALS RUN LOG PUB    KILLS=N: how often (200); SEED=N: plays the same again

What must hold after each: one process for each definition, under its newest text; a vassal that nobody has touched has
the process and the addresses that it had; the census finds nothing of what is removed, and nothing twice; and whatever a
pre_start has made is taken back by a post_stop that ran to its end, before the next pre_start and if nothing runs any more.
"""

import os
import random
import re
import signal
import socket
import subprocess
import sys
import time

from census import Census, listing

EMPEROR, SETTINGS, VASSALS, RUN, LOG, PUB = sys.argv[1:]
KILLS = int(os.environ.get("KILLS", "200"))
SEED = int(os.environ.get("SEED") or random.SystemRandom().randrange(1 << 32))
# Cgroups are the machine's; no other scenario has vassals of these names.
STEM = f"k{SEED:x}-"
KIND_OF = {STEM + name: name.rstrip("0123456789") for name in [
    "plain", "plain2", "tree", "stubborn", "crasher", "notify", "bytes", "demand", "demand2", "hooks", "hooks2", "limits"]}
NAMES = list(KIND_OF)
HOOKED_ONES = [name for name in NAMES if KIND_OF[name] == "hooks"]
# Without it a crasher dies in the midst of everything; with it, it settles.
CALM = f"{PUB}/calm"
SOCKETS, HOOKED = "/run/scenario/sock", "/run/scenario/hooked"
PORTS = re.compile(r" status uplink=.* vassals=([0-9]+) ")
SPEAKS = "{timeout: 2s, signal: %s}\nrestart: {delay: 100ms}\nwatchdog: 5s\nready: %s\n"
generation = 0
known = {}  # name -> (pid, network namespace, addresses) of what was running and has not been touched since


def definition(name, kind, tag):
    """The YAML of one vassal."""
    command, rest = f"exec sleep {tag}", ""
    if kind == "stubborn":
        command = f"trap '' TERM; sleep {tag} & while :; do wait; done"
        rest = "stop: {signal: TERM, timeout: 200ms}\n"
    elif kind == "tree":
        command, rest = f"sleep {tag} & exec sleep {tag}", "namespaces: [mount]\n"
    elif kind == "crasher":
        command = f"sleep 0.03; [ -e {CALM} ] && exec sleep {tag}; exit 1"
        rest = "restart: {delay: 100ms, max_delay: 100ms}\n"
    elif kind in ("notify", "bytes"):
        command = f"exec {sys.executable} {PUB}/speaker.py {kind} {tag}"
        rest = "stop: " + SPEAKS % (("TERM", "notify") if kind == "notify" else ("emperor", "emperor"))
    elif kind == "demand":
        rest = f"on_demand: {{socket: {SOCKETS}/{name}.{tag}}}\n"
    elif kind == "hooks":
        made = f"[/bin/sh, -c, 'echo made >>{HOOKED}/{name}', kills-hook, x]"
        short = "[/bin/sh, -c, 'sleep 0.01', kills-hook, x]"
        undone = f"[/bin/sh, -c, 'sleep 0.03; echo undone >>{HOOKED}/{name}', kills-hook, x]"
        rest = f"hooks: {{pre_start: {made}, post_start: {short}, pre_stop: {short}, post_stop: {undone}}}\n"
    elif kind == "limits":
        rest = "limits: {memory: 64MiB, pids: 20}\n"
    # What a crasher does before it settles is not to be taken for a settled one.
    own = "x" if kind == "crasher" else tag
    return f'# {kind} {tag}\ncommand: [/bin/sh, -c, "{command}", sh, "{own}"]\n{rest}'


def edit(name, live=False):
    """Writes a definition: a new one, or the same with another live key."""
    global generation
    there = census.definitions().get(name)
    if live and there:
        kind, tag = there
        text = definition(name, kind, tag) + f"log: {{to: file, keep: {random_.randrange(9)}}}\n"
    else:
        generation += 1
        known.pop(name, None)
        text = definition(name, KIND_OF[name], f"74{generation:06}")
    path = f"{VASSALS}/{name}.yaml"
    with open(path + ".tmp", "w") as file:
        file.write(text)
    os.rename(path + ".tmp", path)


def remove(name):
    known.pop(name, None)
    if os.path.exists(f"{VASSALS}/{name}.yaml"):
        os.unlink(f"{VASSALS}/{name}.yaml")


def change_all():
    for name in NAMES:
        random_.choice([edit, remove])(name)


def start():
    with open(LOG, "ab") as log:
        begin = log.tell()
        started = subprocess.Popen([EMPEROR, "run", VASSALS, "--config", SETTINGS], stdin=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL, stderr=log)
        started.log_begin = begin
    return started


def log_since(begin):
    with open(LOG, "rb") as log:
        log.seek(begin)
        return log.read().decode(errors="replace")


def alive():
    """Name -> record of each vassal that runs."""
    records = {name: census.record(name) for name in census.definitions()}
    return {name: record for name, record in records.items() if record and record["state"] == "running"}


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
    return [] if int(found[1]) == len(alive()) else [f"{found[1]} ports, not {len(alive())}"]


def calls(name):
    """What the hooks of a vassal wrote down, which run one after the other."""
    try:
        with open(f"{HOOKED}/{name}") as file:
            return file.read().split()
    except FileNotFoundError:
        return []


def wrong_hooks(running):
    """What was made and not taken back before it was made again, or is there though nothing runs."""
    faults = []
    for name in HOOKED_ONES:
        made = calls(name)
        twice = sum(pair == ("made", "made") for pair in zip(made, made[1:]))
        if twice:
            faults.append(f"{name}: {twice} times a pre_start came before the post_stop of the life before it")
        if (made[-1:] == ["made"]) != (name in running):
            faults.append(f"{name}: runs: {name in running}, its last hooks: {made[-4:]}")
    return faults


def identity(record):
    return record["pid"], record["netns"], record["addresses"]


def changed(running, woken):
    """Who was not touched, and is not what he was; who was woken, and sleeps."""
    faults = []
    for name, was in known.items():
        now = identity(running[name]) if name in running else None
        if now != was:
            faults.append(f"{name} was not touched: it was {was} and is {now}")
    return faults + [f"{name} was woken and does not run" for name in woken if name not in running]


def said(since):
    """What the log holds of trouble from there on; the whole of its end if nothing is."""
    lines = log_since(since).splitlines()
    trouble = [line for line in lines if " ERROR " in line or "panicked" in line]
    return (trouble or lines)[-5:]


def settle(emperor, moment, woken=()):
    """Waits until everything is as it must be; `woken` are those that somebody has connected to."""
    end = time.monotonic() + 15
    while True:
        running = alive()
        lost = changed(running, woken)
        faults = lost or census.faults(emperor.pid) or wrong_hooks(running) or wrong_ports(emperor)
        if not faults:
            break
        code = emperor.poll()
        if code is not None:
            faults = [f"the emperor ended with {code}"]
        if code is not None or time.monotonic() > end:
            told = " ".join(history[-3:])
            sys.exit(f"SEED={SEED}, kill {moment}, after {told}:\n  " + "\n  ".join(faults + said(emperor.log_begin)))
        time.sleep(0.02)
    known.clear()
    known.update((name, identity(record)) for name, record in running.items())


def wake():
    """Connects to the sockets of all that sleep; says whose they are."""
    woken = []
    for name, (kind, tag) in census.definitions().items():
        if kind == "demand":
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(f"{SOCKETS}/{name}.{tag}")
            woken.append(name)
    return woken


def disturb(emperor):
    """Something in whose midst the emperor is killed."""
    what = random_.choice(["edit", "edit", "live", "remove", "all", "die", "stop", "upgrade", "wake"])
    there = sorted(census.definitions())
    if what == "stop":
        known.clear()
        emperor.send_signal(random_.choice([signal.SIGTERM, signal.SIGQUIT]))
    elif what == "upgrade":
        # Its outcome does not matter: the emperor that it asks is killed.
        helpers.append(subprocess.Popen([EMPEROR, "upgrade", "--config", SETTINGS], stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL))
    elif what == "die" and there:
        name = random_.choice(there)
        known.pop(name, None)
        record = census.record(name)
        try:
            os.kill(record and record["pid"] or 0x7FFFFFF, signal.SIGKILL)
        except OSError:
            pass
    elif what == "wake":
        try:
            wake()
        except OSError:
            pass  # The socket is about to be made, or its emperor has ended.
    elif what == "all":
        change_all()
    elif what == "remove":
        remove(random_.choice(NAMES))
    else:
        edit(random_.choice(NAMES), live=what == "live")
    return what


def play(moment):
    """One emperor, from its start to its kill; says in whose midst that was."""
    global emperor, owed
    emperor = start()
    what = "start"
    if random_.random() < 0.7:
        open(CALM, "w").close()
        settle(emperor, moment)
        if random_.random() < 0.2:
            # One that lives on has to be as exact as one that has just started.
            change_all()
            settle(emperor, moment)
        if random_.random() < 0.3:
            settle(emperor, moment, wake())
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
    owed += len(listing(f"{RUN}/owed"))
    for helper in helpers:
        helper.wait()
    helpers.clear()
    return what


random_ = random.Random(SEED)
os.makedirs(SOCKETS)
os.makedirs(HOOKED)
census = Census(VASSALS, RUN, SOCKETS, STEM)
helpers = []
emperor = None
owed = 0  # how many post_stop hooks a kill has kept from their end
kept = 0  # how often a vassal that was not touched has outlived a kill
print(f"SEED={SEED}", flush=True)
for name in NAMES:
    edit(name)
history = []  # in whose midst each was killed
begun = time.monotonic()
try:
    for moment in range(KILLS):
        history.append(play(moment))
        kept += len(known)
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
if KILLS > 50 and not kept:
    sys.exit(f"SEED={SEED}: no kill has met a vassal that was not touched")
if KILLS > 50 and not owed:
    sys.exit(f"SEED={SEED}: no kill has met a post_stop")
told = ", ".join(f"{history.count(what)} x {what}" for what in sorted(set(history)))
hooked = [call for name in HOOKED_ONES for call in calls(name)]
print(f"{owed} post_stop hooks met a kill; {hooked.count('made')} lives got their pre_start and {hooked.count('undone')} a post_stop")
print(f"{KILLS} kills in {time.monotonic() - begun:.0f} s: {told}; {kept} times an untouched vassal went on")
