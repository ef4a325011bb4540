"""What is done to a world, and which figures come out.

Every load starts its server anew and ends it, so that nothing of one measurement is left in the next.
"""

import json
import subprocess

from .space import Failed, cpu_seconds, end, wait_for
from .worlds import WAYS

IPERF = 5201
FLOOD = 5401

# The kernel's own default, whatever this machine prefers: BBR, for one, paces a single stream, and its pace is then
# what is measured of every network that is faster.
CONGESTION = "cubic"


class Load:
    """`key` names it; `unit` and `better` belong to its main figure, which is called `value` in each sample."""

    def __init__(self, key, title, unit, better, play, ways=("vassal>vassal", "vassal>host")):
        self.key, self.title, self.unit, self.better, self.play, self.ways = key, title, unit, better, play, ways


def measure(tools, world, load, way, seconds):
    """One sample: a dictionary of figures."""
    world.check()
    figures = load.play(tools, world, way, seconds)
    world.check()
    return figures


def _ends(world, way):
    """Who calls, who is called, at which address; vassals call the host, whichever way the bytes go."""
    caller, called = ("a", "host") if way == "host>vassal" else WAYS[way]
    return world.spaces[caller], world.spaces[called], world.addresses[called]


def _streams(count):
    def play(tools, world, way, seconds):
        caller, called, address = _ends(world, way)
        server = called.spawn("iperf3", "-s", "-1", "-p", IPERF, stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL)
        try:
            wait_for(5, "iperf3 listens", lambda: called.listens(IPERF))
            before = cpu_seconds(world.router_tasks())
            # iperf3 counts in whole seconds.
            said = caller.run("iperf3", "-c", address, "-p", IPERF, "-t", max(1, round(seconds)), "-P", count, "-J",
                              "--congestion", CONGESTION, "--connect-timeout", 3000,
                              *(["-R"] if way == "host>vassal" else []), timeout=seconds + 30)
            used = cpu_seconds(world.router_tasks()) - before
        finally:
            end(server)
        result = json.loads(said)["end"]
        received = result["sum_received"]
        if not received["bytes"]:
            raise Failed("iperf3 received nothing")
        return {"value": received["bits_per_second"] / 1e9, "cpu_s_per_gb": used / (received["bytes"] / 1e9),
                "retransmits": result["sum_sent"].get("retransmits")}
    return play


def _flood(size):
    def play(tools, world, way, seconds):
        caller, called, address = _ends(world, way)
        receiver = called.spawn(tools.loads, "receive", FLOOD, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            _until_ready(receiver)
            before = cpu_seconds(world.router_tasks())
            sent = json.loads(caller.run(tools.loads, "flood", address, FLOOD, size, seconds, timeout=seconds + 30))
            said, problem = receiver.communicate(timeout=30)
            used = cpu_seconds(world.router_tasks()) - before
        finally:
            end(receiver)
        if receiver.returncode:
            raise Failed(f"the receiver: {problem.strip()}")
        got = json.loads(said)
        return {"value": got["delivered"] / got["seconds"] / 1000,
                "sent_k_per_s": sent["sent"] / sent["seconds"] / 1000,
                "lost_k_per_s": (sent["sent"] - got["delivered"]) / sent["seconds"] / 1000,
                "lost_percent": 100 * (1 - got["delivered"] / sent["sent"]),
                "late": got["late"], "cpu_us_per_packet": used * 1e6 / got["delivered"]}
    return play


def _served(verb, figures):
    """A load of our own against our own server."""
    def play(tools, world, way, seconds):
        caller, called, address = _ends(world, way)
        server = called.spawn(tools.loads, "serve", stdout=subprocess.PIPE)
        try:
            _until_ready(server)
            before = cpu_seconds(world.router_tasks())
            said = json.loads(caller.run(tools.loads, verb, address, seconds, timeout=seconds + 30))
            said["cpu"] = cpu_seconds(world.router_tasks()) - before
        finally:
            end(server)
        return figures(said)
    return play


def _until_ready(process):
    if process.stdout.readline() != "ready\n":
        raise Failed("a server of the benchmark does not start")


def _turns(said):
    return {"value": said["median_us"], "p99_us": said["p99_us"], "worst_us": said["worst_us"],
            "lost": said["lost"], "cpu_us_per_turn": said["cpu"] * 1e6 / said["turns"]}


def _connections(said):
    return {"value": said["connections"] / said["seconds"], "failed": said["failed"],
            "cpu_us_per_connection": said["cpu"] * 1e6 / said["connections"]}


LOADS = [
    Load("tcp1", "TCP, one stream", "Gbit/s", "more", _streams(1), tuple(WAYS)),
    Load("tcp8", "TCP, eight streams", "Gbit/s", "more", _streams(8), tuple(WAYS)),
    Load("udp64", "UDP flood, 64 bytes, delivered", "k/s", "more", _flood(64)),
    Load("udp1400", "UDP flood, 1400 bytes, delivered", "k/s", "more", _flood(1400)),
    Load("udp-rr", "UDP request and response, median", "µs", "less", _served("udp-rr", _turns)),
    Load("tcp-rr", "TCP request and response, median", "µs", "less", _served("tcp-rr", _turns)),
    Load("connect", "connections opened, used, closed", "/s", "more", _served("connect", _connections)),
]
