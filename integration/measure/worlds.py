"""What every contender's world offers to a load: places, addresses and the threads that move its packets.

Each world has a host of its own, a network namespace; so nobody's routes, rules or connection tracking weigh on
another's packets. A world that is not measured is idle.
"""

from .space import Failed, wait_for

# The ways that packets are sent, and the roles at their ends.
WAYS = {"vassal>vassal": ("a", "b"), "vassal>host": ("a", "host"), "host>vassal": ("host", "a")}


class World:
    """Base of all contenders. `build` fills `spaces` and `addresses` by role: `a` and `b` are vassals."""

    name = ""
    ways = tuple(WAYS)

    def __init__(self, directory):
        self.directory = directory / self.name
        self.spaces = {}
        self.addresses = {}

    def build(self):
        raise NotImplementedError

    def demolish(self):
        """Ends every process of it."""
        raise NotImplementedError

    def router_tasks(self):
        """The threads whose work is counted as the router's; none where the kernel does it in anybody's name."""
        return []

    def set_up(self):
        self.directory.mkdir(parents=True, exist_ok=True)
        self.build()
        for way in self.ways:
            self.reach(way)

    def again(self):
        """After a failure: all of it anew."""
        self.demolish()
        self.spaces, self.addresses = {}, {}
        self.set_up()

    def reach(self, way):
        """Waits until packets go that way and back."""
        # Whoever is behind a translator can only call, not be called.
        caller, called = ("a", "host") if way == "host>vassal" else WAYS[way]
        target = self.addresses[called]
        wait_for(20, f"{self.name}: {target} answers",
                 lambda: self.spaces[caller].succeeds("ping", "-q", "-c", "1", "-W", "1", target))

    def check(self):
        """Raises if a part of this world has ended by itself."""

    def must_live(self, process, what):
        if process.poll() is not None:
            raise Failed(f"{self.name}: {what} ended with {process.returncode}")
