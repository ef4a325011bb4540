"""Tables."""

from .goals import MORE, goals
from .loads import LOADS
from .worlds import WAYS

US = "emperor"


def aligned(rows, left):
    """Rows of text as columns; the first `left` of them begin at the left, the others end at the right."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    return "\n".join("  ".join(cell.ljust(width) if at < left else cell.rjust(width)
                               for at, (cell, width) in enumerate(zip(row, widths))).rstrip()
                     for row in rows)


def short(value):
    """Three figures that count."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def heading(machine, versions):
    ran = f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB; {machine['kernel']}; TCP with {machine['congestion']}"
    return "\n".join([ran, ", ".join(f"{name} {version}" for name, version in versions.items())])


def ways(figures):
    """Each way that was measured, with the loads and the contenders that have figures for it."""
    for way in WAYS:
        names = [name for name in figures.contenders()
                 if any(figures.median(load.key, way, name) is not None or figures.failed(load.key, way, name)
                        for load in LOADS)]
        loads = [load for load in LOADS
                 if any(figures.median(load.key, way, name) is not None for name in names)]
        if loads:
            yield way, loads, names


def medians(figures):
    """One table a way; behind a figure, how many times that ours is."""
    tables = []
    for way, loads, names in ways(figures):
        rows = [[f"{way}: median (ours as a multiple)", "unit", *names]]
        for load in loads:
            cells = []
            for name in names:
                ratio = figures.ratio(load.key, way, US, name) if name != US else None
                failed = figures.failed(load.key, way, name)
                text = "failed" if failed else short(figures.median(load.key, way, name))
                cells.append(f"{text} ({ratio[0]:.2f}x)" if ratio else text)
            rows.append([load.title, load.unit, *cells])
        tables.append(aligned(rows, left=2))
    return tables


# Figures beside the main one, and what they are.
_BESIDE = {"lost_percent": "lost, %", "late": "out of order", "p99_us": "p99, µs", "failed": "failed",
           "cpu_s_per_gb": "router, CPU s/GB", "cpu_us_per_packet": "router, CPU µs/packet",
           "cpu_us_per_turn": "router, CPU µs/turn", "cpu_us_per_connection": "router, CPU µs/connection"}


def details(figures):
    """What else was counted; a dash where the kernel does the work in the name of whoever sends."""
    tables = []
    for way, loads, names in ways(figures):
        rows = [[f"{way}: beside it", "median", *names]]
        for load in loads:
            for figure, title in _BESIDE.items():
                values = [figures.median(load.key, way, name, figure=figure) for name in names]
                if figure.startswith("cpu_"):
                    values = [value or None for value in values]
                if any(value is not None for value in values):
                    rows.append([load.title, title, *map(short, values)])
        tables.append(aligned(rows, left=2))
    return tables


def growth(figures):
    names = figures.contenders("growth")
    rows = [["growth, vassal>vassal", "unit", *names]]
    for load in LOADS:
        cells = [figures.median(load.key, "vassal>vassal", name, group="growth") for name in names]
        if any(cell is not None for cell in cells):
            rows.append([load.title, load.unit, *map(short, cells)])
    return aligned(rows, left=2)


def verdicts(figures):
    rows = [["goal", "against", "floor", "aim", "found", "least", "most", ""]]
    for goal in (goal for goal in goals(figures) if goal.found):
        sign, unit = (">=" if goal.better is MORE else "<="), f" {goal.unit}".rstrip()
        rows.append([goal.title, goal.against, f"{sign} {goal.floor:g}{unit}", f"{sign} {goal.aim:g}{unit}",
                     *map(short, goal.found), goal.verdict()])
    left_out = sum(goal.found is None for goal in goals(figures))
    lines = ([aligned(rows, left=4)] if len(rows) > 1 else []) + (
        [f"({left_out} goals were not measured)"] if left_out else [])
    return "\n".join(lines)


def judged(figures):
    """The goals for the record."""
    return [{"goal": goal.title, "against": goal.against, "unit": goal.unit,
             "better": "more" if goal.better is MORE else "less", "floor": goal.floor, "aim": goal.aim,
             "found": goal.found and goal.found[0], "least": goal.found and goal.found[1],
             "most": goal.found and goal.found[2], "verdict": goal.verdict()} for goal in goals(figures)]


def everything(figures, machine, versions, skipped):
    parts = [heading(machine, versions), *medians(figures), *details(figures)]
    if figures.contenders("growth"):
        parts.append(growth(figures))
    parts.append(verdicts(figures))
    if skipped:
        parts.append("\n".join(f"# SKIP {skip['name']}: {skip['reason']}" for skip in skipped))
    return "\n\n".join(parts) + "\n"
