"""Who does what, in which order.

A round is every measurement once, and for each measurement every contender, one right after the other, so that a
change of the machine's mood meets all of them. The order of the contenders turns with every round.
"""

import sys

from .emperor import Emperor
from .loads import LOADS, measure
from .space import Failed

# What the cost of company is measured with when there is little time; else with everything.
QUICK_GROWTH = ("tcp1", "udp64")
GROWTH = ({"name": "idle-1"}, {"name": "idle-100", "idle": 100}, {"name": "idle-1000", "idle": 1000},
          {"name": "rules-10", "rules": 10}, {"name": "rules-100", "rules": 100}, {"name": "rules-1000", "rules": 1000},
          {"name": "idle-1000+rules-100", "idle": 1000, "rules": 100})

# Measurements beside the loads.
OTHERS = ("growth", "code")


class Plan:
    """What is to be measured, and what has been."""

    def __init__(self, tools, options, directory):
        self.tools, self.options, self.directory = tools, options, directory
        self.samples = []
        self.skipped = []

    def wanted(self, key):
        return not self.options.measurements or key in self.options.measurements

    def set_up(self, worlds):
        """Those that can be; the others are named and left out."""
        standing = []
        for world in worlds:
            try:
                world.set_up()
                standing.append(world)
            except (Failed, OSError) as problem:
                self.skip(world.name, problem)
                world.demolish()
        return standing

    def skip(self, name, reason):
        self.skipped.append({"name": name, "reason": str(reason)})
        print(f"# SKIP {name}: {reason}", file=sys.stderr, flush=True)

    def contest(self, worlds):
        """Everybody's loads."""
        loads = [load for load in LOADS if self.wanted(load.key)]
        ways = {way for load in loads for way in load.ways if not self.options.ways or way in self.options.ways}
        worlds = self.set_up([world for world in worlds if ways.intersection(world.ways)])
        try:
            for number in self.rounds():
                for load in loads:
                    for way in (way for way in load.ways if way in ways):
                        able = [world for world in worlds if way in world.ways]
                        for world in turned(able, number - 1):
                            self.sample(number, "contest", load, way, world)
        finally:
            for world in worlds:
                world.demolish()

    def growth(self):
        """Loads again, beside idle vassals and behind rules; each a world of its own, all of them there."""
        loads = [load for load in LOADS if load.key in QUICK_GROWTH or not self.options.quick]
        worlds = self.set_up([Emperor(self.directory, self.tools.emperor, **wish) for wish in GROWTH])
        try:
            for number in self.rounds():
                for load in loads:
                    for world in turned(worlds, number - 1):
                        self.sample(number, "growth", load, "vassal>vassal", world)
        finally:
            for world in worlds:
                world.demolish()

    def rounds(self):
        return range(1, self.options.rounds + 1)

    def sample(self, number, group, load, way, world):
        """Measures once, twice if the first time fails, and remembers what came of it."""
        sample = {"round": number, "group": group, "load": load.key, "way": way, "contender": world.name}
        for _ in range(2):
            try:
                sample.update(measure(self.tools, world, load, way, self.options.seconds))
                break
            except (Failed, OSError) as problem:
                sample.setdefault("failures", []).append(str(problem))
                self.say(sample, f"failed: {problem}")
                self.renew(world)
        self.keep(sample, load.unit)

    def renew(self, world):
        """Whatever has become of a world, the next measurement finds a whole one, or fails in its turn."""
        try:
            world.again()
        except (Failed, OSError) as problem:
            print(f"{world.name} cannot be set up again: {problem}", file=sys.stderr, flush=True)

    def keep(self, sample, unit):
        self.samples.append(sample)
        if "value" in sample:
            extra = "  ".join(f"{key} {value:.4g}" for key, value in sample.items()
                              if key not in ("round", "value") and isinstance(value, (int, float)))
            self.say(sample, f"{sample['value']:10.4g} {unit:6}  {extra}")

    def say(self, sample, text):
        place = f"{sample['round']}/{self.options.rounds}  {sample['load']:10} {sample['way']:13} {sample['contender']:17}"
        print(f"{place} {text}", file=sys.stderr, flush=True)


def turned(items, by):
    """The same, but another one is the first."""
    by %= max(1, len(items))
    return items[by:] + items[:by]
