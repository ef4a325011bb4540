"""What the figures must reach: a floor that has to hold, and an aim."""

import operator
from dataclasses import dataclass

MORE, LESS = operator.ge, operator.le

VV, VH, HV = "vassal>vassal", "vassal>host", "host>vassal"
# 1,000 idle vassals and 100 rules together.
BOTH = "idle-1000+rules-100"


@dataclass
class Goal:
    """One line of the table."""

    title: str
    against: str
    unit: str
    better: object
    floor: float
    aim: float
    # The figure itself, what it may lie between, what it comes from; None if it was not measured.
    found: object = None

    def verdict(self):
        if self.found is None:
            return "not measured"
        if self.better(self.found[0], self.aim):
            return "aim met"
        return "met" if self.better(self.found[0], self.floor) else "MISSED"


def _ratio(figures, load, way, theirs):
    """Ours over the best of theirs."""
    names = [name for name in figures.contenders() if name == theirs or name.startswith(f"{theirs}-")]
    known = [name for name in names if figures.median(load, way, name) is not None]
    if not known:
        return None
    best = max(known, key=lambda name: figures.median(load, way, name))
    return figures.ratio(load, way, "emperor", best)


def _own(figures, load, figure="value", group="alone"):
    values = figures.of(load, "", "emperor", group, figure).values()
    middle = figures.median(load, "", "emperor", group=group, figure=figure)
    return (middle, min(values), max(values)) if values else None


def of_the_router(figures):
    def against(title, load, way, theirs, floor, aim, better=MORE):
        return Goal(title, theirs, "x", better, floor, aim, _ratio(figures, load, way, theirs))

    def own(title, unit, load, floor, aim, figure="value"):
        return Goal(title, "", unit, LESS, floor, aim, _own(figures, load, figure))

    def kept(title, load, world, better=MORE):
        most = 0.9 if better is MORE else 1.1
        return Goal(title, "idle-1", "x", better, most, most, figures.ratio(load, VV, world, "idle-1", "growth"))

    return [
        against("TCP, one stream, vassal>vassal", "tcp1", VV, "veth", 0.80, 1.0),
        against("TCP, one stream, vassal>vassal", "tcp1", VV, "relay", 1.0, 1.0),
        against("TCP, one stream, vassal>vassal", "tcp1", VV, "uwsgi", 12, 18),
        against("TCP, eight streams, vassal>vassal", "tcp8", VV, "veth", 0.75, 1.0),
        against("TCP, one stream, vassal>host", "tcp1", VH, "pasta", 1.2, 1.5),
        against("TCP, one stream, host>vassal", "tcp1", HV, "pasta", 1.2, 1.5),
        against("TCP, one stream, vassal>host", "tcp1", VH, "slirp4netns", 2, 4),
        against("TCP, one stream, host>vassal", "tcp1", HV, "slirp4netns", 2, 4),
        against("UDP 64 bytes delivered, vassal>vassal", "udp64", VV, "veth", 0.60, 0.9),
        against("UDP request and response, vassal>vassal", "udp-rr", VV, "relay", 1.1, 0.5, LESS),
        kept("TCP kept beside 1,000 idle vassals", "tcp1", "idle-1000"),
        kept("UDP 64 bytes kept beside 1,000 idle vassals", "udp64", "idle-1000"),
        kept("TCP kept behind 100 rules", "tcp1", "rules-100"),
        kept("UDP 64 bytes kept behind 100 rules", "udp64", "rules-100"),
        kept("TCP kept beside 1,000 and behind 100 rules", "tcp1", BOTH),
        kept("eight streams kept beside 1,000 and behind 100 rules", "tcp8", BOTH),
        kept("UDP 64 bytes kept beside 1,000 and behind 100 rules", "udp64", BOTH),
        kept("UDP round trip beside 1,000 and behind 100 rules", "udp-rr", BOTH, LESS),
        own("own code, 1,000 vassals, 100 rules", "ns/packet", "code", 150, 60),
    ]


def of_supervision(figures):
    def own(title, unit, load, floor, aim, figure="value"):
        return Goal(title, "", unit, LESS, floor, aim, _own(figures, load, figure, "supervise"))

    return [
        own("file dropped to first instruction, median", "ms", "births", 15, 5),
        own("file dropped to first instruction, p99", "ms", "births", 50, 50, "p99_ms"),
        own("1,000 vassals from a cold start", "s", "cold-start", 15, 5),
        own("memory of the supervisor, empty", "MiB", "cold-start", 12, 8, "empty_mib"),
        own("memory for each of 1,000 idle vassals", "KiB", "cold-start", 32, 8, "kib_per_vassal"),
        own("wake-ups in a minute with 1,000 idle vassals", "", "idle", 0, 0),
        own("gap in a stream, kill -9 and a new start", "ms", "gap-crash", 1000, 100),
        own("gap in a stream, upgrade", "ms", "gap-upgrade", 1000, 100),
        own("growth over 1,000 lives", "KiB", "cycles", 2048, 1024),
        own("left by 1,000 lives: descriptors", "", "cycles", 0, 0, "descriptors"),
        own("left by 1,000 lives: namespaces", "", "cycles", 0, 0, "namespaces"),
        own("left by 1,000 lives: processes", "", "cycles", 0, 0, "vassals"),
    ]
