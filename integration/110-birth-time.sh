# From the rename that drops a file to the first thing its command does: fifty times, one at a time, and in turn with what
# the same program takes in the same namespaces and nothing more.
#
#   rename(2) ---> emperor ---> namespaces, tun, addresses, routes, exec ---> date +%s%N
#   unshare(1) --------------> namespaces, exec ----------------------------> date +%s%N

. "$(dirname "$0")/lib.sh"

start_emperor
births() {
  "$PYTHON" - "$VASSALS" "$PUB" "$W/births" <<'P'
import os, subprocess, sys, time
vassals, public, result = sys.argv[1:]
def lasts(name, begin):
    """Milliseconds from what `begin` does with a command to that command's own clock."""
    stamp = f"{public}/{name}"
    os.mkfifo(stamp, 0o666)
    os.chmod(stamp, 0o666)
    reader = os.open(stamp, os.O_RDONLY | os.O_NONBLOCK)
    # What the shell does first is to open the fifo; date prints the time right after.
    begun = begin(f"exec date +%s%N >{stamp}")
    end = time.monotonic() + 10
    while True:
        text = b""
        try:
            text = os.read(reader, 64)
        except BlockingIOError:
            pass
        if text:
            break
        if time.monotonic() > end:
            sys.exit(f"{name} has not run within 10 s")
        time.sleep(0.001)
    os.close(reader)
    return (int(text) - begun) / 1e6
def birth(n):
    def begin(command):
        hidden = f"{vassals}/.birth{n}"
        with open(hidden, "w") as file:
            file.write(f"command: [/bin/sh, -c, '{command}']\n"
                       f"network: {{address: 10.107.0.{n + 2}}}\nrestart: {{policy: never}}\n")
        begun = time.time_ns()
        os.rename(hidden, f"{vassals}/birth{n}.yaml")
        return begun
    return lasts(f"birth{n}", begin)
def bare(n):
    children = []
    def begin(command):
        begun = time.time_ns()
        children.append(subprocess.Popen(["unshare", "--net", "--mount", "--ipc", "--uts", "--pid", "--fork", "/bin/sh", "-c", command]))
        return begun
    took = lasts(f"bare{n}", begin)
    children[0].wait()
    return took
births, bares = zip(*((birth(n), bare(n)) for n in range(50)))
births, bares = sorted(births), sorted(bares)
with open(result, "w") as file:
    print(f"{births[24] / bares[24]:.2f} median={births[24]:.1f} p90={births[44]:.1f} worst={births[-1]:.1f}, of bare namespaces:"
          f" median={bares[24]:.1f} p90={bares[44]:.1f} worst={bares[-1]:.1f}", file=file)
P
}
check "fifty vassals are born one after the other" births
read -r ratio figures <"$W/births" || ratio=none
note "from rename to the command's own clock, shell included, in ms: ${figures:-}"
note "a birth takes $ratio times as long as its namespaces"
# A bound that tells a working birth from one that polls or waits; the benchmark holds the real numbers.
check "half of them within ten times that" test "${ratio%%.*}" -lt 10
check "the emperor ends with 0" stop_emperor
