"""A TCP stream that shows every gap, and a log that shows every missing line.

stream.py sink PORT FILE             takes connections; FILE gets a line for each: "listens", "open", "gap SECONDS AT" for every
                                     pause of 15 ms or more (AT: CLOCK_MONOTONIC of its end), "close"
stream.py source ADDRESS PORT [RATE] sends for ever: 4 KiB every 2 ms, or RATE bytes a second
stream.py lines RATE                 prints "line N" so many times a second
stream.py unbroken FILE...           the lines of these files are numbered without a hole; says how many there are,
                                     and how many twice
"""

import socket
import sys
import threading
import time


def take(connection, report):
    report("open")
    last = time.monotonic()
    with connection:
        while data := connection.recv(1 << 16):
            now = time.monotonic()
            if now - last >= 0.015:
                report(f"gap {now - last:.3f} {now:.3f}")
            last = now
    report("close")


def sink(port, path):
    out = open(path, "a", buffering=1)
    listener = socket.create_server(("", int(port)))
    print("listens", file=out)
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=take, args=(connection, lambda text: print(text, file=out)), daemon=True).start()


def source(address, port, rate=4096 * 500):
    with socket.create_connection((address, int(port))) as connection:
        while True:
            connection.sendall(b"x" * (int(rate) // 500))
            time.sleep(0.002)


def lines(rate):
    number = 0
    start = time.monotonic()
    while True:
        number += 1
        sys.stdout.write(f"line {number}\n")
        sys.stdout.flush()
        time.sleep(max(0, start + number / float(rate) - time.monotonic()))


def unbroken(*paths):
    numbers = []
    for path in paths:
        for line in open(path):
            if not line.endswith("\n"):
                continue  # it is being written
            words = line.split()
            assert len(words) == 2 and words[0] == "line", f"{path}: a torn line: {line!r}"
            numbers.append(int(words[1]))
    twice = len(numbers) - len(set(numbers))
    missing = sorted(set(range(1, max(numbers) + 1)) - set(numbers))
    assert not missing, f"missing: {missing[:20]}"
    print(f"{len(numbers)} lines, {twice} twice")


{"sink": sink, "source": source, "lines": lines, "unbroken": unbroken}[sys.argv[1]](*sys.argv[2:])
