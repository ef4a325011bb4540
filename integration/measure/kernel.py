"""What the kernel does by itself, and the plain mechanism: veth with a bridge, and the bare relay."""

import subprocess

from .space import Space, end, threads
from .worlds import World


class Veth(World):
    """Two namespaces on a bridge.

        a: eth0 10.108.0.2 ---- port-a \\
                                        bridge0 10.108.0.1 (host)
        b: eth0 10.108.0.3 ---- port-b /
    """

    name = "veth"

    def build(self):
        host = Space()
        self.spaces = {"host": host, "a": Space(), "b": Space()}
        self.addresses = {"host": "10.108.0.1", "a": "10.108.0.2", "b": "10.108.0.3"}
        host.ip("link add bridge0 type bridge")
        host.ip("addr add 10.108.0.1/24 dev bridge0")
        host.ip("link set bridge0 up")
        for role in "ab":
            space = self.spaces[role]
            host.ip(f"link add port-{role} type veth peer name eth0 netns {space.pid}")
            host.ip(f"link set port-{role} master bridge0 up")
            space.ip(f"addr add {self.addresses[role]}/24 dev eth0")
            space.ip("link set eth0 up")

    def demolish(self):
        for space in self.spaces.values():
            space.close()


class Relay(World):
    """Two namespaces with a tun each, and one thread that carries frames from one to the other, unread."""

    name = "relay"
    ways = ("vassal>vassal",)

    def __init__(self, directory, program):
        super().__init__(directory)
        self.program = program
        self.process = None

    def build(self):
        self.spaces = {"a": Space(), "b": Space()}
        self.addresses = {"a": "10.109.0.2", "b": "10.109.0.3"}
        words = [word for role in "ab" for word in (self.spaces[role].path, "tun0")]
        self.process = subprocess.Popen([self.program, *words], stdout=subprocess.PIPE, text=True)
        self.process.stdout.readline()
        self.check()
        for role, space in self.spaces.items():
            # As the router's ports are: no word of IPv6 by itself.
            space.ip("link set tun0 addrgenmode none mtu 1500 txqueuelen 1000")
            space.ip(f"addr add {self.addresses[role]}/24 dev tun0")
            space.ip("link set tun0 up")

    def router_tasks(self):
        return threads(self.process.pid)

    def check(self):
        self.must_live(self.process, "the relay")

    def demolish(self):
        end(self.process)
        for space in self.spaces.values():
            space.close()
