"""mini-emperor itself: two vassals that talk, idle ones beside them, and firewall rules that match nothing."""

import os
import time

from .space import Failed, Space, end, read, state_of, threads, wait_for
from .worlds import World

# Its own run, state and log directories: many emperors live beside each other here.
_OWN_PLACES = """
for place in /run/mini-emperor /var/lib /var/log; do
  mkdir -p $place && mount -t tmpfs -o mode=0755 bench $place || exit 1
done
exec "$@"
"""


class Emperor(World):
    """A host of its own with a mini-emperor. `a` and `b` are two of its vassals, `idle` more do nothing."""

    def __init__(self, directory, program, name="emperor", idle=1, rules=0, talkers="ab"):
        self.name = name
        super().__init__(directory)
        self.program, self.idle, self.rules, self.talkers = program, idle, rules, talkers
        if not talkers:
            self.ways = ()
        self.process = None
        self.log = self.directory / "emperor.log"
        self.vassals = self.directory / "vassals"
        # Seconds from the program's start until the last vassal's command ran.
        self.took = None

    def build(self):
        self.vassals.mkdir(parents=True, exist_ok=True)
        for old in self.vassals.iterdir():
            old.unlink()
        numbers = {**{role: 2 + at for at, role in enumerate(self.talkers)},
                   **{f"idle{at}": 10 + at for at in range(self.idle)}}
        for name, number in numbers.items():
            self.define(name, "[/bin/sleep, infinity]", number)
        begun = time.monotonic()
        self.start()
        pids = {name: self.vassal(name) for name in numbers}
        self.took = time.monotonic() - begun
        self.addresses["host"] = "10.107.0.1"
        for role in self.talkers:
            self.spaces[role] = Space(pids[role])
            self.addresses[role] = f"10.107.0.{numbers[role]}"

    def start(self):
        self.spaces["host"] = Space()
        settings = self.directory / "emperor.yaml"
        settings.write_text(
            "router: {address: 10.107.0.1/16}\n"
            "defaults: {stop: {signal: KILL}, log: {to: none}, restart: {policy: never}}\n"
            f"firewall: {{out: [{', '.join(_rules(self.rules))}]}}\n")
        with self.log.open("w") as log:
            self.process = self.spaces["host"].spawn(
                "unshare", "--mount", "--", "sh", "-c", _OWN_PLACES, "sh",
                self.program, "run", self.vassals, "--config", settings, stdout=log, stderr=log)
        wait_for(60, f"{self.name}: ready", lambda: self.check() or "emperor ready" in read(self.log, ""))

    def define(self, name, command, number):
        """Writes a definition beside the directory's others and renames it into place: when, is returned."""
        hidden = self.vassals / f".{name}"
        hidden.write_text(f"command: {command}\nnetwork: {{address: 10.107.{number >> 8}.{number & 255}}}\n")
        now = time.time_ns()
        hidden.rename(self.vassals / f"{name}.yaml")
        return now

    def remove(self, name):
        (self.vassals / f"{name}.yaml").unlink()
        wait_for(20, f"{self.name}: vassal {name} is gone", lambda: not os.path.exists(self.state(name)))

    def state(self, name):
        """Where the emperor, which has a /run of its own, says what it knows of a vassal."""
        return f"/proc/{self.process.pid}/root/run/mini-emperor/state/{name}.json"

    def vassal(self, name):
        """The pid of a vassal, as soon as its command runs."""
        def pid():
            self.check()
            found = (state_of(self.state(name)) or {}).get("pid")
            return found if read(f"/proc/{found}/comm") == "sleep\n" else None

        return wait_for(120, f"{self.name}: vassal {name} runs", pid)

    def memory(self):
        """Bytes of the supervisor: resident, and its share of what is resident."""
        lines = (line.split() for line in read(f"/proc/{self.process.pid}/smaps_rollup", "").splitlines()[1:])
        sizes = {words[0]: int(words[1]) * 1024 for words in lines if len(words) == 3}
        return {"rss": sizes["Rss:"], "pss": sizes["Pss:"]}

    def router_tasks(self):
        # io_uring may add threads of the kernel's to those of the program.
        return threads(self.process.pid, ("router", "iou-"))

    def all_tasks(self):
        return threads(self.process.pid)

    def check(self):
        if self.process.poll() is not None:
            last = read(self.log, "").strip().splitlines()[-3:]
            raise Failed(f"{self.name} ended with {self.process.returncode}: {' / '.join(last)}")

    def demolish(self):
        end(self.process)
        if "host" in self.spaces:
            self.spaces["host"].close()


def _rules(count):
    """Rules that every packet has to pass: other addresses, other ports, of each protocol."""
    kinds = (lambda at: f"deny 10.200.{at >> 8}.{at & 255} any",
             lambda at: f"deny any any tcp {20000 + at}",
             lambda at: f"deny any any udp {20000 + at}")
    return [f'"{kinds[at % 3](at)}"' for at in range(count)]
