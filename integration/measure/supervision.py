"""Who does what, in which order, where supervision is measured.

A round is births, a throng, gaps in a stream and cycles; in each of them the contenders take turns, and whoever is
first changes with every round. What takes long is done once.
"""

import time

from . import deeds
from .emperor import Emperor
from .original import Empire
from .plan import Plan, turned
from .scripts import Scripts
from .space import Failed
from .supervisors import Ears, Ours

GROUP = "supervise"
CONTENDERS = ("emperor", "script", "uwsgi")
MEASUREMENTS = ("births", "throng", "gaps", "cycles")
UNITS = {"births": "ms", "cold-start": "s", "idle": "wakes/min", "crash": "s", "stop": "s", "gap-crash": "ms",
         "gap-upgrade": "ms", "cycles": "KiB"}


class Supervision(Plan):
    """The measurements, and what came of them."""

    def play(self):
        names = [name for name in self.options.contenders if self._can(name)]
        for number in self.rounds():
            for part, key in ((self.births, "births"), (self.throng, "throng"), (self.gaps, "gaps"),
                              (self.cycles, "cycles")):
                if self.wanted(key):
                    for name in turned(names, number - 1):
                        part(number, name)

    def _can(self, name):
        if name == "uwsgi" and self.tools.uwsgi is None:
            self.skip(name, "it is not to be had")
            return False
        return True

    def _ours(self, name):
        return name not in ("script", "uwsgi")

    def _supervisor(self, name):
        if self._ours(name):
            return Ours(self.directory, self.tools, self.options.also.get(name), name)
        return {"script": Scripts, "uwsgi": Empire}[name](self.directory, self.tools)

    def births(self, number, name):
        if number > 1 and name == "uwsgi":
            return

        def play(supervisor, ears):
            supervisor.furnish()
            supervisor.start()
            count = max(2, supervisor.births // (10 if self.options.quick else 1))
            if supervisor.looks_every:
                time.sleep(supervisor.looks_every)
            self.record(number, "births", name, lambda: deeds.births(supervisor, ears, count, number))
            if supervisor.watches:
                supervisor.stop()
        self._with(number, "births", name, play)

    def throng(self, number, name):
        """A thousand vassals, and all that is to be seen of them."""
        count = 50 if self.options.quick else 1000
        if number > 1 and not self._ours(name):
            return

        in_disorder = []

        def stop(supervisor):
            self.record(number, "stop", name, lambda: deeds.stop(supervisor, count))

        def play(supervisor, ears):
            supervisor.furnish()
            if not self.record(number, "cold-start", name, lambda: deeds.cold_start(supervisor, ears, count)):
                return
            if supervisor.watches:
                # Seconds say nothing about silence.
                if number == 1 and not self.options.quick:
                    seconds = self.options.idle_seconds // (1 if self._ours(name) else 6)
                    self.record(number, "idle", name, lambda: deeds.silence(supervisor, seconds))
                if not self.record(number, "crash", name, lambda: deeds.crash(supervisor, ears, count)):
                    in_disorder.append(name)
                    return
                deeds.calm()
            stop(supervisor)

        def play_anew(supervisor, ears):
            supervisor.furnish()
            deeds.cold_start(supervisor, ears, count)
            stop(supervisor)
        self._with(number, "cold-start", name, play)
        # What a crash has left in disorder is no throng that could be stopped.
        if in_disorder:
            self._with(number, "stop", name, play_anew)

    def gaps(self, number, name):
        """Around `kill -9` with a new start, and around an upgrade. Whoever else is killed takes the stream along."""
        if not self._ours(name):
            return
        world = Emperor(self.directory, self.options.also.get(name, self.tools.emperor), f"gaps-{name}")
        path, times = self.directory / "gaps", 1 if self.options.quick else 3
        try:
            world.set_up()
            for load, deed in (("gap-crash", lambda: (world.kill(), world.start())), ("gap-upgrade", world.upgrade)):
                self.record(number, load, name, lambda: deeds.gaps(world, deed, path, times))
        except (Failed, OSError) as problem:
            self.failed(number, "gap-crash", name, problem)
        finally:
            world.demolish()

    def cycles(self, number, name):
        if number > 1 or not self._ours(name):
            return

        def play(supervisor, ears):
            supervisor.furnish()
            supervisor.start()
            batches = 5 if self.options.quick else 20
            self.record(number, "cycles", name, lambda: deeds.cycles(supervisor, ears, batches))
            supervisor.stop()
        self._with(number, "cycles", name, play)

    def _with(self, number, load, name, play):
        """A supervisor of its own for this, and nothing left of it."""
        deeds.calm()
        supervisor, ears = self._supervisor(name), Ears(self.directory)
        try:
            play(supervisor, ears)
        except (Failed, OSError) as problem:
            self.failed(number, load, name, problem)
        finally:
            supervisor.demolish()
            ears.close()

    def record(self, number, load, name, play):
        """Whether something came of it."""
        try:
            sample = {"round": number, "group": GROUP, "load": load, "way": "", "contender": name, **play()}
        except (Failed, OSError) as problem:
            self.failed(number, load, name, problem)
            return False
        self.keep(sample, UNITS[load])
        return True

    def failed(self, number, load, name, problem):
        sample = {"round": number, "group": GROUP, "load": load, "way": "", "contender": name,
                  "failures": [str(problem)]}
        self.samples.append(sample)
        self.say(sample, f"failed: {problem}")
