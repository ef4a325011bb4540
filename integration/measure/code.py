"""Our own code alone: what the Criterion benchmark of `Router::forward` measures, nanoseconds a packet."""

import json
import pathlib
import subprocess
import sys

# Vassals / rules / family / size, as the benchmark calls it.
CASE = "1000/100/v4/small"


def measure(target, rounds):
    """One sample a round."""
    command = ["cargo", "bench", "--quiet", "--bench", "forward", "--", CASE]
    result = pathlib.Path(target) / "criterion/forward" / CASE.replace("/", "_") / "new/estimates.json"
    samples = []
    for number in range(1, rounds + 1):
        result.unlink(missing_ok=True)
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"{' '.join(command)}:\n{done.stderr}")
        value = json.loads(result.read_text())["median"]["point_estimate"]
        samples.append({"round": number, "group": "alone", "load": "code", "way": "", "contender": "emperor",
                        "case": CASE, "value": value})
        print(f"{number}/{rounds}  code       {value:.1f} ns/packet  {CASE}", file=sys.stderr, flush=True)
    return samples
