"""The drawings: bars in panels, as SVG that follows the reader's light or dark mode."""

from html import escape

from .loads import LOADS
from .report import US, short
from .supervision import GROUP

WIDTH, PANEL, GAP = 900, 420, 20
BAR, STEP, NAME, VALUE = 14, 21, 152, 56

# What is drawn, in reading order: load, way, group.
PANELS = (
    ("tcp1", "vassal>vassal", "contest"), ("tcp8", "vassal>vassal", "contest"),
    ("tcp1", "vassal>host", "contest"), ("tcp1", "host>vassal", "contest"),
    ("udp64", "vassal>vassal", "contest"), ("udp1400", "vassal>vassal", "contest"),
    ("udp-rr", "vassal>vassal", "contest"), ("connect", "vassal>vassal", "contest"),
    ("tcp1", "vassal>vassal", "growth"), ("udp64", "vassal>vassal", "growth"),
    ("tcp8", "vassal>vassal", "growth"), ("udp-rr", "vassal>vassal", "growth"),
)

# What is drawn of supervision: title, unit, and for each bar a measurement, a figure and, if it is ours alone, a name.
SUPERVISED = (
    ("file dropped to first instruction, median", "ms", (("births", "value", None),)),
    ("file dropped to first instruction, p99", "ms", (("births", "p99_ms", None),)),
    ("1,000 vassals, cold start", "s", (("cold-start", "value", None),)),
    ("1,000 vassals, stop", "s", (("stop", "value", None),)),
    ("supervisor crashed, 1,000 vassals kept or born again", "s", (("crash", "value", None),)),
    ("wake-ups in a minute, 1,000 idle vassals", "", (("idle", "value", None),)),
    ("supervisor's memory for each of 1,000 vassals", "KiB", (("cold-start", "kib_per_vassal", None),)),
    ("longest gap in a TCP stream, mini-emperor", "ms", (("gap-crash", "value", "kill -9, new start"),
                                                         ("gap-upgrade", "value", "upgrade"))),
)

NAMES = {"script": "ip netns script", US: "mini-emperor", "veth": "veth + bridge", "relay": "bare relay", "uwsgi": "uWSGI",
         "idle-1000+rules-100": "1,000 idle, 100 rules"}

STYLE = """
  text { font: 12px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #1f2328; }
  .title { font-size: 16px; font-weight: 600; } .panel { font-weight: 600; }
  .quiet { fill: #59636e; } .paper { fill: #ffffff; } .bar { fill: #afb8c1; } .ours { fill: #0969da; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; } .quiet { fill: #9198a1; } .paper { fill: #0d1117; }
    .bar { fill: #4b545e; } .ours { fill: #4493f8; }
  }
"""


def of_the_router(figures, machine, versions):
    """The whole drawing, or None if there is nothing to draw."""
    panels = [panel for panel in (_panel(figures, *which) for which in PANELS) if panel]
    return _drawing("mini-Emperor's router beside its rivals", panels, machine, versions)


def of_supervision(figures, machine, versions):
    """The same of supervision."""
    panels = [panel for panel in (_supervised(figures, *which) for which in SUPERVISED) if panel]
    return _drawing("mini-Emperor's supervision beside its rivals", panels, machine, versions)


def _drawing(title, panels, machine, versions):
    if not panels:
        return None
    parts, top = _heading(title, machine, versions)
    for left, right in zip(panels[::2], [*panels[1::2], None]):
        height = 0
        for column, panel in enumerate(panel for panel in (left, right) if panel):
            drawn, tall = panel
            parts.append(f'<g transform="translate({GAP + column * (PANEL + GAP)} {top})">{drawn}</g>')
            height = max(height, tall)
        top += height + GAP
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top}" width="{WIDTH}" height="{top}" '
            f'role="img" aria-label="{escape(title)}">\n<style>{STYLE}</style>\n'
            f'<rect class="paper" width="{WIDTH}" height="{top}"/>\n' + "\n".join(parts) + "\n</svg>\n")


def _text(x, y, words, kind="", end=False):
    anchor = ' text-anchor="end"' if end else ""
    return f'<text x="{x:g}" y="{y:g}" class="{kind}"{anchor}>{escape(words)}</text>'


def _heading(title, machine, versions):
    ran = f"{machine['processor']}, {machine['cores']} cores, {machine['kernel']}; TCP with {machine['congestion']}; medians"
    peers = ", ".join(f"{name} {version}" for name, version in versions.items())
    return [_text(GAP, 32, f"{title}, same machine, same run", "title"),
            _text(GAP, 52, ran, "quiet"), _text(GAP, 69, peers, "quiet")], 92


def _named(name):
    """A contender as a reader knows it."""
    if name in NAMES:
        return NAMES[name]
    kind, _, size = name.rpartition("-")
    if kind in ("idle", "rules"):
        return f"{int(size):,} {'idle vassals' if kind == 'idle' else 'rules'}".replace("1 idle vassals", "1 idle vassal")
    return f"{kind}, MTU {size}" if size.isdigit() else name


def _panel(figures, key, way, group):
    load = next(load for load in LOADS if load.key == key)
    found = {name: figures.median(key, way, name, group=group) for name in figures.contenders(group)}
    bars = sorted(((name, value) for name, value in found.items() if value),
                  key=lambda bar: bar[1], reverse=load.better == "more")
    if group == "growth":
        bars = [(name, value) for name, value in found.items() if value]
    if len(bars) < 2:
        return None
    title = "growth: " + load.title if group == "growth" else load.title
    return _bars(title, f"{way.replace('>', ' to ')}, {load.unit}, {load.better} is better",
                 [(_named(name), value, name == US or group == "growth") for name, value in bars])


def _supervised(figures, title, unit, sources):
    bars = [(words or _named(name), value, name == US) for load, figure, words in sources
            for name in figures.contenders(GROUP)
            if (value := figures.median(load, "", name, group=GROUP, figure=figure)) is not None]
    return _bars(title, ", ".join(filter(None, [unit, "less is better"])), bars) if len(bars) > 1 else None


def _bars(title, below, bars):
    """A panel: names, values, and which are ours."""
    room = PANEL - NAME - VALUE
    most = max(value for _, value, _ in bars) or 1
    parts = [_text(0, 12, title, "panel"), _text(0, 28, below, "quiet")]
    for at, (name, value, ours) in enumerate(bars):
        y = 38 + at * STEP
        kind = "ours" if ours else "bar"
        parts += [_text(NAME - 8, y + 11, name, end=True),
                  f'<rect x="{NAME}" y="{y}" width="{max(1, room * value / most):.1f}" height="{BAR}" rx="2" '
                  f'class="{kind}"/>',
                  _text(NAME + max(1, room * value / most) + 6, y + 11, short(value))]
    return "".join(parts), 38 + len(bars) * STEP
