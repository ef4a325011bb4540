"""Networks in user space that translate connections: pasta and slirp4netns, between a namespace and its host.

They connect a namespace with the host and not namespaces with each other, and what comes from the host is an answer:
so connections are opened from inside, whichever way the bytes go.
"""

import subprocess

from .space import Failed, Space, end, threads, wait_for
from .worlds import World


class Translator(World):
    """A host with a way out that leads nowhere, and one namespace `a`."""

    ways = ("vassal>host", "host>vassal")

    def __init__(self, directory, tools, kind, mtu):
        self.name = kind if mtu == 1500 else f"{kind}-{mtu}"
        super().__init__(directory)
        self.tools, self.mtu = tools, mtu
        self.process = None

    def command(self):
        """The program's words, and whatever it has to be told."""
        raise NotImplementedError

    def build(self):
        host = Space()
        self.spaces = {"host": host, "a": Space()}
        host.ip("link add wan0 type veth peer name nowhere0")
        host.ip("addr add 10.111.0.2/24 dev wan0")
        host.ip("link set nowhere0 up")
        host.ip("link set wan0 up")
        host.ip("route add default via 10.111.0.1")
        log = self.directory / "log"
        with log.open("w") as file:
            self.process = host.spawn(*self.command(), stdout=file, stderr=file)
        try:
            wait_for(10, f"{self.name}: a device with an address inside", self.configured)
        except Failed as problem:
            raise Failed(f"{problem}; it said: {log.read_text()[-300:].strip()}") from None

    def configured(self):
        self.check()
        return "default" in self.spaces["a"].run("ip", "-4", "route", "show")

    def reach(self, way):
        """By a connection: not all of them carry pings."""
        server = self.spaces["host"].spawn(self.tools.loads, "serve", stdout=subprocess.PIPE)
        try:
            server.stdout.readline()
            wait_for(10, f"{self.name}: the host answers", lambda: self.spaces["a"].succeeds(
                self.tools.loads, "connect", self.addresses["host"], "0.01"))
        finally:
            end(server)

    def router_tasks(self):
        return threads(self.process.pid)

    def check(self):
        self.must_live(self.process, self.name)

    def demolish(self):
        end(self.process)
        for space in self.spaces.values():
            space.close()


class Pasta(Translator):
    """pasta maps the gateway's address inside to the host's loopback."""

    def __init__(self, directory, tools, mtu):
        super().__init__(directory, tools, "pasta", mtu)

    def command(self):
        self.addresses = {"host": "10.111.0.1", "a": "10.111.0.2"}
        # It gives up the right to look at another process's namespaces before it opens this one.
        handle = self.directory / "netns"
        handle.touch()
        subprocess.run(["mount", "--bind", self.spaces["a"].path, handle], check=True)
        # No ports: only the way through the tap is measured, not that between loopback devices.
        return ["pasta", "--foreground", "--stderr", "--quiet", "--config-net", "--ipv4-only", "--mtu", self.mtu,
                "--tcp-ports", "none", "--udp-ports", "none", "--tcp-ns", "none", "--udp-ns", "none",
                "--runas", "0", "--netns-only", "--netns", handle]


class Slirp(Translator):
    """slirp4netns maps 10.0.2.2 inside to the host's loopback."""

    def __init__(self, directory, tools, mtu):
        super().__init__(directory, tools, "slirp4netns", mtu)

    def command(self):
        self.addresses = {"host": "10.0.2.2", "a": "10.0.2.100"}
        return ["slirp4netns", "--configure", f"--mtu={self.mtu}", "--netns-type=path", self.spaces["a"].path, "tap0"]
