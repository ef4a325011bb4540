"""Who does what, in which order.

A round is every measurement once, and for each measurement every contender, one right after the other, so that a
change of the machine's mood meets all of them. The order of the contenders turns with every round.
"""

import sys

from .loads import LOADS, measure
from .space import Failed


def turned(items, by):
    by %= max(1, len(items))
    return items[by:] + items[:by]


class Plan:
    """What is to be measured, and what has been."""

    def __init__(self, tools, options, contenders):
        self.tools, self.options, self.contenders = tools, options, contenders
        self.samples = []

    def wanted(self, key):
        return not self.options.measurements or key in self.options.measurements

    def play(self):
        for number in range(1, self.options.rounds + 1):
            for load in LOADS:
                for way in load.ways:
                    if self.wanted(load.key) and (not self.options.ways or way in self.options.ways):
                        able = [world for world in self.contenders if way in world.ways]
                        for world in turned(able, number - 1):
                            self.sample(number, load, way, world)

    def sample(self, number, load, way, world, keep=None):
        """Measures once, twice if the first time fails, and remembers what came of it."""
        sample = {"round": number, "load": load.key, "way": way, "contender": world.name}
        for attempt in (1, 2):
            try:
                sample.update(measure(self.tools, world, load, way, self.options.seconds))
                break
            except Failed as problem:
                sample.setdefault("failures", []).append(str(problem))
                self.say(number, load, way, world, f"failed: {problem}")
                if attempt == 1:
                    world.again()
        (self.samples if keep is None else keep).append(sample)
        if "value" in sample:
            extra = "  ".join(f"{key} {value:.4g}" for key, value in sample.items()
                              if key not in ("round", "value") and isinstance(value, (int, float)))
            self.say(number, load, way, world, f"{sample['value']:10.4g} {load.unit:6}  {extra}")

    def say(self, number, load, way, world, text):
        place = f"{number}/{self.options.rounds}  {load.key:8} {way:13} {world.name:14}"
        print(f"{place} {text}", file=sys.stderr, flush=True)
