"""A script for each vassal: the commands of iproute2, a veth and a bridge. Nobody watches, and nobody supervises.

It is a good one: two batches instead of a process for each line, and no word of IPv6 that every port of the bridge
would have to hear.
"""

import os
import subprocess
import time

from .space import Space, end, wait_for
from .supervisors import Supervisor, kill

_BEGIN = """set -e
ip netns add $1
ip -batch - <<B
link add $1 type veth peer name eth0 netns $1
link set $1 addrgenmode none master bridge0 up
B
ip -netns $1 -batch - <<B
link set lo up
addr add $2/16 dev eth0
link set eth0 addrgenmode none up
route add default via 10.112.0.1
B
shift 2
ip netns exec "$@" </dev/null >/dev/null 2>&1 &
"""


class Scripts(Supervisor):
    """Namespaces on a bridge.

        host: bridge0 10.112.0.1 = NAME = eth0 10.112.x.y
    """

    name = "script"
    watches = False

    def __init__(self, directory, tools):
        super().__init__(directory, tools)
        self.begin, self.list = self.directory / "begin", self.directory / "list"
        self.host = self.shell = None

    def furnish(self):
        self.host = Space(places=("/run/netns",))
        self.defined = {}
        self.begin.write_text(_BEGIN)
        self.host.ip("link add bridge0 type bridge")
        self.host.ip("addr add 10.112.0.1/16 dev bridge0")
        self.host.ip("link set bridge0 up")
        # Somebody who waits with the command typed already: how long it takes to come here does not count.
        self.shell = self.host.spawn("sh", stdin=subprocess.PIPE)

    def define(self, name, number, ears, stays):
        address = f"10.112.{number >> 8}.{number & 255}"
        words = [name, address, name, str(self.tools.loads), "live" if stays else "born", str(ears.path)]
        self.defined[name] = words
        begun = time.time_ns()
        if not stays:
            self.shell.stdin.write(f"sh {self.begin} {' '.join(words)}\n")
            self.shell.stdin.flush()
        return begun

    def start(self):
        begun = time.time_ns()
        self._each(f"sh {self.begin}", map(" ".join, self.defined.values()))
        return begun

    def remove(self, name):
        del self.defined[name]
        self.host.ip(f"netns del {name}")

    def stop(self):
        for pid in self.vassals():
            kill(pid)
        self._each("ip netns del", self.defined)
        wait_for(5, "no vassal is left", lambda: not self.vassals())

    def _each(self, command, lines):
        """Once a line, as many at a time as there are cores."""
        self.list.write_text("\n".join(lines))
        self.host.run("sh", "-c", f"exec xargs -r -a {self.list} -P {os.cpu_count()} -L 1 {command}", timeout=300)

    def demolish(self):
        super().demolish()
        if self.shell:
            self.shell.stdin.close()
            end(self.shell)
        if self.host:
            self.host.close()
