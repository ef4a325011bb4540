"""A vassal that writes numbered lines: ticks.py COUNT PAUSE. COUNT is a file that says how many it has written."""

import os, sys, time
count, pause = sys.argv[1], float(sys.argv[2])
n = 0
while True:
    sys.stdout.write(f"tick {n} " + "x" * 1000 + "\n")
    sys.stdout.flush()
    n += 1
    with open(count + ".new", "w") as file:
        print(n, file=file)
    os.rename(count + ".new", count)
    time.sleep(pause)
