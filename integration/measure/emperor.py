"""mini-emperor itself: two vassals that talk, idle ones beside them, and firewall rules that match nothing."""

import os
import time

from .space import Failed, Space, end, read, state_of, threads, wait_for
from .worlds import World

# Many emperors live beside each other here.
_OWN_PLACES = ("/run/mini-emperor", "/var/lib", "/var/log")


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
        self.settings = self.directory / "emperor.yaml"

    def build(self):
        self.furnish()
        numbers = {**{role: 2 + at for at, role in enumerate(self.talkers)},
                   **{f"idle{at}": 10 + at for at in range(self.idle)}}
        for name, number in numbers.items():
            self.define(name, "[/bin/sleep, infinity]", number)
        self.start()
        pids = {name: self.vassal(name) for name in numbers}
        for role in self.talkers:
            self.spaces[role] = Space(pids[role])
            self.addresses[role] = f"10.107.0.{numbers[role]}"

    def furnish(self):
        """A host, settings, and an empty directory of definitions."""
        self.vassals.mkdir(parents=True, exist_ok=True)
        for old in self.vassals.iterdir():
            old.unlink()
        self.spaces["host"] = Space(places=_OWN_PLACES)
        self.addresses["host"] = "10.107.0.1"
        self.settings.write_text(
            "router: {address: 10.107.0.1/16}\n"
            "defaults: {stop: {signal: KILL}, log: {to: none}, restart: {policy: never}}\n"
            f"firewall: {{out: [{', '.join(_rules(self.rules))}]}}\n")

    def start(self):
        """Until it says that it is ready: every file has been read, and the router forwards."""
        with self.log.open("w") as log:
            self.process = self.spaces["host"].spawn(
                self.program, "run", self.vassals, "--config", self.settings, stdout=log, stderr=log)
        wait_for(60, f"{self.name}: ready", lambda: self.check() or "emperor ready" in read(self.log, ""))

    def kill(self):
        """As a crash would."""
        self.process.kill()
        self.process.wait()

    def upgrade(self):
        """To the same binary, in the same process."""
        self.spaces["host"].run(self.program, "upgrade", "--config", self.settings)

    def define(self, name, command, number):
        """Writes a definition beside the directory's others and renames it into place: when, is returned."""
        hidden = self.vassals / f".{name}"
        hidden.write_text(f"command: {command}\nnetwork: {{address: 10.107.{number >> 8}.{number & 255}}}\n")
        now = time.time_ns()
        hidden.rename(self.vassals / f"{name}.yaml")
        return now

    def remove(self, name):
        (self.vassals / f"{name}.yaml").unlink()

    def gone(self, name):
        wait_for(20, f"{self.name}: vassal {name} is gone", lambda: not os.path.exists(self.state(name)))

    def state(self, name):
        """Where the emperor, which has a /run of its own, says what it knows of a vassal."""
        return f"/proc/{self.spaces['host'].pid}/root/run/mini-emperor/state/{name}.json"

    def vassal(self, name):
        """The pid of a vassal, as soon as its command runs."""
        def pid():
            self.check()
            found = (state_of(self.state(name)) or {}).get("pid")
            return found if read(f"/proc/{found}/comm") == "sleep\n" else None

        return wait_for(120, f"{self.name}: vassal {name} runs", pid)

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
