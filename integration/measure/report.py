"""Medians and tables."""

from statistics import median

from .loads import LOADS


def summarise(samples):
    """(load, way, contender) -> the median of each figure over the rounds."""
    groups = {}
    for sample in samples:
        if "value" in sample:
            groups.setdefault((sample["load"], sample["way"], sample["contender"]), []).append(sample)
    return {key: {figure: median(values) for figure in group[0]
                  if figure != "round" and (values := [sample[figure] for sample in group
                                                       if isinstance(sample.get(figure), (int, float))])}
            for key, group in groups.items()}


def aligned(rows, left=1):
    """Rows of text as columns; the first `left` of them begin at the left, the others end at the right."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    return "\n".join("  ".join(cell.ljust(width) if at < left else cell.rjust(width)
                               for at, (cell, width) in enumerate(zip(row, widths))).rstrip()
                     for row in rows)


def short(value):
    """Three figures that count."""
    if value is None:
        return "-"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def medians(summary, contenders, base):
    """One row a load and way; behind each figure of another contender, what `base` makes of it as a factor."""
    rows = [["median of all rounds", "way", "unit", *contenders]]
    for load in LOADS:
        for way in load.ways:
            found = {name: summary.get((load.key, way, name)) for name in contenders}
            if not any(found.values()):
                continue
            own = found.get(base)
            cells = []
            for name in contenders:
                figures = found[name]
                if figures is None:
                    cells.append("-")
                elif own is None or name == base:
                    cells.append(short(figures["value"]))
                else:
                    cells.append(f"{short(figures['value'])} ({own['value'] / figures['value']:.2f}x)")
            rows.append([load.title, way, load.unit, *cells])
    return aligned(rows, left=3)


def router_costs(summary, contenders):
    """What the router's threads used."""
    rows = [["router's processor time", "way", "unit", *contenders]]
    for load in LOADS:
        for way in load.ways:
            found = {name: summary.get((load.key, way, name), {}) for name in contenders}
            keys = sorted({key for figures in found.values() for key in figures if key.startswith("cpu_")})
            for key in keys:
                unit = {"cpu_s_per_gb": "s/GB"}.get(key, key.removeprefix("cpu_").replace("us_per_", "µs/"))
                # Zero is a world without threads of its own: the kernel works in the name of whoever sends.
                rows.append([load.title.partition(",")[0] + f" ({load.key})", way, unit,
                             *(short(found[name].get(key) or None) for name in contenders)])
    return aligned(rows, left=3)
