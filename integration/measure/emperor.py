"""mini-emperor itself: two vassals that talk, idle ones beside them, and firewall rules that match nothing."""

import subprocess
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
    """A host of its own with a mini-emperor. `a` and `b` are the first two of its vassals."""

    def __init__(self, directory, program, name="emperor", idle=1, rules=0):
        self.name = name
        super().__init__(directory)
        self.program, self.idle, self.rules = program, idle, rules
        self.process = None
        self.log = self.directory / "emperor.log"
        self.vassals = self.directory / "vassals"
        # Seconds from the first file to the last running vassal, and bytes of memory before and after.
        self.growth = {}

    def build(self):
        self.start()
        for role, number in (("a", 2), ("b", 3)):
            self.drop(role, number)
        for role in "ab":
            self.spaces[role] = Space(self.vassal(role))
            self.addresses[role] = f"10.107.0.{2 + (role == 'b')}"
        if self.idle:
            self.grow()

    def start(self):
        """The emperor alone."""
        self.spaces["host"] = Space()
        self.addresses["host"] = "10.107.0.1"
        self.vassals.mkdir(parents=True, exist_ok=True)
        for old in self.vassals.iterdir():
            old.unlink()
        settings = self.directory / "emperor.yaml"
        settings.write_text(
            "router: {address: 10.107.0.1/16}\n"
            "defaults: {stop: {signal: KILL}, log: {to: none}, restart: {policy: never}}\n"
            f"firewall: {{out: [{', '.join(rules(self.rules))}]}}\n")
        with self.log.open("w") as log:
            self.process = self.spaces["host"].spawn(
                "unshare", "--mount", "--", "sh", "-c", _OWN_PLACES, "sh",
                self.program, "run", self.vassals, "--config", settings, stdout=log, stderr=log)
        wait_for(20, f"{self.name}: ready", lambda: self.check() or "emperor ready" in read(self.log, ""))

    def drop(self, name, number):
        hidden = self.vassals / f".{name}"
        hidden.write_text("command: [/bin/sleep, infinity]\n"
                          f"network: {{address: 10.107.{number >> 8}.{number & 255}}}\n")
        hidden.rename(self.vassals / f"{name}.yaml")

    def vassal(self, name):
        """The pid of a vassal whose command runs."""
        state = f"/proc/{self.process.pid}/root/run/mini-emperor/state/{name}.json"

        def pid():
            self.check()
            found = (state_of(state) or {}).get("pid")
            return found if read(f"/proc/{found}/comm") == "sleep\n" else None

        return wait_for(60, f"{self.name}: vassal {name} runs", pid)

    def grow(self):
        """Starts the idle vassals; remembers what that cost."""
        self.growth["before"] = self.memory()
        begun = time.monotonic()
        for at in range(self.idle):
            self.drop(f"idle{at}", at + 10)
        for at in range(self.idle):
            self.vassal(f"idle{at}")
        self.growth["seconds"] = time.monotonic() - begun
        self.growth["after"] = self.memory()

    def memory(self):
        """Bytes of the supervisor, by kind."""
        kinds = (line.split() for line in read(f"/proc/{self.process.pid}/smaps_rollup", "").splitlines()[1:])
        return {words[0].rstrip(":").lower(): int(words[1]) * 1024 for words in kinds
                if words[0] in ("Rss:", "Pss:", "Private_Dirty:")}

    def router_tasks(self):
        return threads(self.process.pid, "router")

    def check(self):
        if self.process.poll() is not None:
            last = read(self.log, "").strip().splitlines()[-3:]
            raise Failed(f"{self.name} ended with {self.process.returncode}: {' / '.join(last)}")

    def demolish(self):
        end(self.process)
        self.spaces["host"].close()


def rules(count):
    """Rules that every packet has to pass: other addresses, other ports, of each protocol."""
    kinds = ("deny 10.200.{}.{} any", "deny any any tcp {}", "deny any any udp {}")
    return [f'"{kinds[at % 3].format(at >> 8, at & 255) if at % 3 == 0 else kinds[at % 3].format(20000 + at)}"'
            for at in range(count)]
