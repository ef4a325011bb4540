"""The original: uWSGI's Emperor with its TunTap router, as its documentation sets it up.

Three things are done beyond the documentation to keep it alive: IPv6 is off inside the vassals (the first router
solicitation would end them), each has a uid (without one its set-up commands run several times) and those commands
can be repeated. Bulk from the host to a vassal is not measured: it ends the vassal within a second or two.
"""

import os
import time

from .space import Failed, Space, end, read, threads, wait_for
from .supervisors import Supervisor, kill, running
from .worlds import World

_EMPEROR = """[uwsgi]
master = true
die-on-term = true
tuntap-router = emperor0 {directory}/tuntap.socket
exec-as-root = ip addr replace 10.110.0.1/16 dev emperor0
exec-as-root = ip link set emperor0 up
exec-as-root = echo 1 >/proc/sys/net/ipv4/ip_forward
emperor-use-clone = net
emperor = {directory}/vassals
"""

_VASSAL = """[uwsgi]
jailed = true
master = true
tuntap-device = uwsgi0 {directory}/tuntap.socket
exec-as-root = echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6
exec-as-root = ip link set lo up
exec-as-root = ip addr replace {address}/16 dev uwsgi0
exec-as-root = ip link set uwsgi0 up
exec-as-root = ip route replace default via 10.110.0.1
exec-as-root = ping -c 1 10.110.0.1
{more}uid = nobody
gid = nogroup
socket = {directory}/sockets/{role}
"""


class Uwsgi(World):
    """A host with uWSGI's Emperor and two vassals, which do nothing but hold their network.

        host: emperor0 10.110.0.1 = router process = unix socket = a: uwsgi0 10.110.0.2, b: uwsgi0 10.110.0.3

    Packets between vassals pass the host's kernel, as they do in the original.
    """

    name = "uwsgi"
    ways = ("vassal>vassal", "vassal>host")

    def __init__(self, directory, program):
        super().__init__(directory)
        self.program = program
        self.process = None
        self.log = self.directory / "uwsgi.log"

    def build(self):
        vassals = self.directory / "vassals"
        vassals.mkdir(exist_ok=True)
        sockets = self.directory / "sockets"
        sockets.mkdir(exist_ok=True)
        sockets.chmod(0o777)
        host = self.spaces["host"] = Space()
        self.addresses = {"host": "10.110.0.1", "a": "10.110.0.2", "b": "10.110.0.3"}
        settings = self.directory / "emperor.ini"
        settings.write_text(_EMPEROR.format(directory=self.directory))
        for role in "ab":
            (vassals / f"{role}.ini").write_text(
                _VASSAL.format(directory=self.directory, role=role, address=self.addresses[role], more=""))
        with self.log.open("w") as log:
            self.process = host.spawn(self.program, "--ini", settings, stdout=log, stderr=log)
        for role in "ab":
            pid = wait_for(30, f"uwsgi: vassal {role} runs as nobody", lambda: self.vassal(role))
            self.spaces[role] = Space(pid)

    def pids(self):
        return running(self.program)

    def vassal(self, role):
        """The first process of a vassal, once it has finished its set-up: only then has it given up root."""
        return next((pid for pid in sorted(running(self.program, [f"{role}.ini"]))
                     if "\nUid:\t65534" in read(f"/proc/{pid}/status", "")), None)

    def router_tasks(self):
        """The router's process and the vassals: in each of them a thread carries the packets, and nothing else works."""
        return [task for pid in self.pids() for task in threads(pid)]

    def check(self):
        self.must_live(self.process, "the emperor")
        for role in "ab":
            if role in self.spaces and not os.path.exists(self.spaces[role].path):
                last = read(self.log, "").strip().splitlines()[-2:]
                raise Failed(f"uwsgi: vassal {role} has died: {' / '.join(last)}")

    def demolish(self):
        end(self.process)
        for pid in self.pids():
            kill(pid)
        self.spaces["host"].close()


class Empire(Supervisor):
    """uWSGI's Emperor as a supervisor. A vassal is born with the last of its set-up, when its network has answered."""

    name = "uwsgi"
    births, looks_every = 12, 3

    def __init__(self, directory, tools):
        super().__init__(directory, tools)
        self.ini, self.log = self.directory / "emperor.ini", self.directory / "uwsgi.log"
        self.definitions = self.directory / "vassals"
        self.host = self.process = None

    def furnish(self):
        sockets = self.directory / "sockets"
        for place in (self.definitions, sockets):
            place.mkdir(exist_ok=True)
            for old in place.iterdir():
                old.unlink()
        sockets.chmod(0o777)
        self.host = Space()
        self.ini.write_text(_EMPEROR.format(directory=self.directory))

    def start(self):
        begun = time.time_ns()
        with self.log.open("w") as log:
            self.process = self.host.spawn(self.tools.uwsgi, "--ini", self.ini, stdout=log, stderr=log)
        return begun

    def define(self, name, number, ears, stays):
        hidden = self.directory / name
        cry = f"exec-as-root = {self.tools.loads} born {ears.path}\n"
        hidden.write_text(_VASSAL.format(directory=self.directory, role=name, more=cry,
                                         address=f"10.110.{number >> 8}.{number & 255}"))
        now = time.time_ns()
        hidden.rename(self.definitions / f"{name}.ini")
        return now

    def remove(self, name):
        """With all the others at the end: it takes half a minute."""

    def ready(self):
        wait_for(20, "uwsgi: the emperor and the router", lambda: len(self.pids()) == 3)

    def pids(self):
        """Its master, the emperor and the router; a vassal's own word is in its command line."""
        return running(self.tools.uwsgi, [str(self.ini)])

    def vassals(self):
        return sorted(set(running(self.tools.uwsgi)) - set(self.pids()))

    def stop(self):
        end(self.process, 120)
        wait_for(60, "no vassal is left", lambda: not self.vassals())

    def crash(self, ears, count):
        """`kill -9`, and another one when the rest of the old one is gone; seconds until it has all vassals anew."""
        begun = time.monotonic()
        self.process.kill()
        self.process.wait()
        wait_for(30, "the old router is gone", lambda: not self.pids())
        self.start()
        ears.hear(count, 120)
        return {"value": time.monotonic() - begun}

    def demolish(self):
        super().demolish()
        if self.host:
            self.host.close()
