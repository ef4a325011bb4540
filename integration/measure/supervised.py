"""The table of supervision, and what has to be known to read it."""

from .goals import of_supervision
from .report import US, aligned, heading, left_out, short, verdicts
from .supervision import GROUP

# Title, unit, measurement, figure.
ROWS = (
    ("file dropped to first instruction, median", "ms", "births", "value"),
    ("file dropped to first instruction, p99", "ms", "births", "p99_ms"),
    ("cold start, first file to last instruction", "s", "cold-start", "value"),
    ("stop, until the last process has ended", "s", "stop", "value"),
    ("supervisor crashed, all vassals kept or born again", "s", "crash", "value"),
    ("memory of the supervisor, empty", "MiB", "cold-start", "empty_mib"),
    ("the same, its share of what is shared", "MiB", "cold-start", "empty_pss_mib"),
    ("memory of the supervisor for each vassal", "KiB", "cold-start", "kib_per_vassal"),
    ("the same, its share of what is shared", "KiB", "cold-start", "pss_kib_per_vassal"),
    ("wake-ups of the supervisor, all vassals idle", "/min", "idle", "value"),
    ("CPU time of the supervisor, all vassals idle", "ms/min", "idle", "cpu_ms"),
    ("gap in a TCP stream, kill -9 and a new start", "ms", "gap-crash", "value"),
    ("the same, the worst", "ms", "gap-crash", "worst_ms"),
    ("gap in a TCP stream, upgrade", "ms", "gap-upgrade", "value"),
    ("the same, the worst", "ms", "gap-upgrade", "worst_ms"),
    ("one life of many, fifty at a time", "ms", "cycles", "ms_per_life"),
    ("growth of the supervisor over all lives", "KiB", "cycles", "value"),
    ("its memory at its most", "MiB", "cycles", "most_mib"),
    ("descriptors left by all lives", "", "cycles", "descriptors"),
    ("threads left by all lives", "", "cycles", "threads"),
    ("namespaces left by all lives", "", "cycles", "namespaces"),
    ("processes left by all lives", "", "cycles", "vassals"),
)

COUNTS = (("births", "births", "births a round"), ("cold-start", "vassals", "vassals"), ("cycles", "lives", "lives"))

NOTES = """\
emperor   A vassal has namespaces for network, processes, mounts, IPC and host name, a tun with an address, nobody's
          rights and no capability. It is born when its command's main function runs; all of its network works then.
uwsgi     Its Emperor with the TunTap router and a network namespace for each vassal, as documented. A vassal is born
          when the last of its set-up commands runs, after the ping that makes the router know it. It looks at its
          directory every 3 s: files are dropped at any moment between two looks. p99 of so few births is the worst.
          Memory and wake-ups are those of master, emperor and router, not of its vassals, which are a uWSGI each.
          After a crash its vassals end, and their streams with them; they are born again.
script    ip netns, a veth, a bridge; nobody watches a directory, nobody supervises, rights and other namespaces are the
          parent's. From the word to a waiting shell to the first instruction; a throng with as many at a time as cores.
all       One thing after the other, in turns; what takes long (births and throng of uwsgi, throng of script) once.
          Stopping is killing, for emperor and script: no vassal takes its time. The kernel takes namespaces apart in the
          background afterwards; that is not counted.
          A birth follows at once on the end of the one before. A gap below 15 ms is given as 15 ms. Lives: after four
          batches that warm up; growth is from the least of the first quarter to the least of the last, for what the
          allocator keeps goes up and down by megabytes.
          systemd-run is not here: it needs a systemd that manages this machine, and gives a vassal no address."""


def everything(figures, machine, versions, skipped):
    names = figures.contenders(GROUP)
    rows = [["supervision: median (as a multiple of ours)", "unit", *names]]
    for title, unit, load, figure in ROWS:
        rows.append([title, unit, *(_cell(figures, load, figure, name) for name in names)])
    rows = [row for row in rows if any(cell != "-" for cell in row[2:])]
    return "\n\n".join([heading(machine, versions), aligned(rows, left=2), _counts(figures, names), NOTES,
                        verdicts(of_supervision(figures)), *left_out(skipped)]) + "\n"


def _cell(figures, load, figure, name):
    if figures.failed(load, "", name, GROUP):
        return "failed"
    value = figures.median(load, "", name, group=GROUP, figure=figure)
    ours = figures.median(load, "", US, group=GROUP, figure=figure)
    if value is None or name == US or not ours or not value:
        return short(value) if value else "-" if value is None else "0"
    return f"{short(value)} ({_times(value / ours)}x)"


def _times(ratio):
    return f"{ratio:,.0f}" if ratio >= 10 else f"{ratio:.2g}"


def _counts(figures, names):
    """How many of what each figure is about."""
    said = []
    for name in names:
        words = [f"{figures.median(load, '', name, group=GROUP, figure=figure):,.0f} {what}"
                 for load, figure, what in COUNTS
                 if figures.median(load, "", name, group=GROUP, figure=figure)]
        said.append(f"{name}: {', '.join(words)}")
    return "\n".join(said)
