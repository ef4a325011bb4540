"""The original: uWSGI's Emperor with its TunTap router, as its documentation sets it up.

Three things are done beyond the documentation to keep it alive: IPv6 is off inside the vassals (the first router
solicitation would end them), each has a uid (without one its set-up commands run several times) and those commands
can be repeated. Bulk from the host to a vassal is not measured: it ends the vassal within a second or two.
"""

import os
import signal

from .space import Failed, Space, end, read, threads, wait_for
from .worlds import World

_EMPEROR = """[uwsgi]
master = true
die-on-term = true
tuntap-router = emperor0 {directory}/tuntap.socket
exec-as-root = ip addr replace 10.110.0.1/24 dev emperor0
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
exec-as-root = ip addr replace {address}/24 dev uwsgi0
exec-as-root = ip link set uwsgi0 up
exec-as-root = ip route replace default via 10.110.0.1
exec-as-root = ping -c 1 10.110.0.1
uid = nobody
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
                _VASSAL.format(directory=self.directory, role=role, address=self.addresses[role]))
        with self.log.open("w") as log:
            self.process = host.spawn(self.program, "--ini", settings, stdout=log, stderr=log)
        for role in "ab":
            pid = wait_for(30, f"uwsgi: vassal {role} runs as nobody", lambda: self.vassal(role))
            self.spaces[role] = Space(pid)

    def pids(self):
        """All processes of it, by the path of the binary, which nobody else runs in this PID namespace."""
        mine = f"{self.program}\0"
        return [int(pid) for pid in os.listdir("/proc")
                if pid.isdigit() and read(f"/proc/{pid}/cmdline", "").startswith(mine)]

    def vassal(self, role):
        """The first process of a vassal, once it has finished its set-up: only then has it given up root."""
        for pid in sorted(self.pids()):
            if (f"\0{role}.ini\0" in read(f"/proc/{pid}/cmdline", "")
                    and "\nUid:\t65534" in read(f"/proc/{pid}/status", "")):
                return pid
        return None

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
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.spaces["host"].close()
