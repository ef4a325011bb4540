"""The benchmark, one idea a file; `integration/bench` puts them together.

peers.py    which programs take part, how they are had, which versions they are
space.py    network namespaces, and processes inside them
worlds.py   what every contender's world offers; emperor.py, kernel.py, original.py, usermode.py: each kind of it
loads.py    what is done to a world, and which figure comes out
code.py     our own code without any I/O
plan.py     who does what, in which order
figures.py  medians and ratios
goals.py    what the figures must reach
report.py   tables
chart.py    the drawings

Supervision: supervisors.py, scripts.py and original.py are who keeps vassals, deeds.py is what is measured of them,
supervision.py the order, supervised.py the table.
"""
