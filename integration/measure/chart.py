"""The drawing: bars in panels, as SVG that follows the reader's light or dark mode."""

from html import escape

from .loads import LOADS
from .report import US, short

WIDTH, PANEL, GAP = 900, 420, 20
BAR, STEP, NAME, VALUE = 14, 21, 152, 56

# What is drawn, in reading order: load, way, group.
PANELS = (
    ("tcp1", "vassal>vassal", "contest"), ("tcp8", "vassal>vassal", "contest"),
    ("tcp1", "vassal>host", "contest"), ("tcp1", "host>vassal", "contest"),
    ("udp64", "vassal>vassal", "contest"), ("udp1400", "vassal>vassal", "contest"),
    ("udp-rr", "vassal>vassal", "contest"), ("connect", "vassal>vassal", "contest"),
    ("tcp1", "vassal>vassal", "growth"), ("udp64", "vassal>vassal", "growth"),
)

NAMES = {US: "mini-emperor", "veth": "veth + bridge", "relay": "bare relay", "uwsgi": "uWSGI"}

STYLE = """
  text { font: 12px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #1f2328; }
  .title { font-size: 16px; font-weight: 600; } .panel { font-weight: 600; }
  .quiet { fill: #59636e; } .paper { fill: #ffffff; } .bar { fill: #afb8c1; } .ours { fill: #0969da; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; } .quiet { fill: #9198a1; } .paper { fill: #0d1117; }
    .bar { fill: #4b545e; } .ours { fill: #4493f8; }
  }
"""


def draw(figures, machine, versions):
    """The whole drawing, or None if there is nothing to draw."""
    panels = [panel for panel in (_panel(figures, *which) for which in PANELS) if panel]
    if not panels:
        return None
    parts, top = _heading(machine, versions)
    for left, right in zip(panels[::2], [*panels[1::2], None]):
        height = 0
        for column, panel in enumerate(panel for panel in (left, right) if panel):
            drawn, tall = panel
            parts.append(f'<g transform="translate({GAP + column * (PANEL + GAP)} {top})">{drawn}</g>')
            height = max(height, tall)
        top += height + GAP
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top}" width="{WIDTH}" height="{top}" '
            f'role="img" aria-label="mini-Emperor\'s router beside its rivals">\n<style>{STYLE}</style>\n'
            f'<rect class="paper" width="{WIDTH}" height="{top}"/>\n' + "\n".join(parts) + "\n</svg>\n")


def _text(x, y, words, kind="", end=False):
    anchor = ' text-anchor="end"' if end else ""
    return f'<text x="{x:g}" y="{y:g}" class="{kind}"{anchor}>{escape(words)}</text>'


def _heading(machine, versions):
    ran = f"{machine['processor']}, {machine['cores']} cores, {machine['kernel']}; TCP with {machine['congestion']}; medians"
    peers = ", ".join(f"{name} {version}" for name, version in versions.items())
    return [_text(GAP, 32, "mini-Emperor's router beside its rivals, same machine, same run", "title"),
            _text(GAP, 52, ran, "quiet"), _text(GAP, 69, peers, "quiet")], 92


def _named(name):
    """A contender as a reader knows it."""
    kind, _, size = name.rpartition("-")
    if kind in ("idle", "rules"):
        return f"{int(size):,} {'idle vassals' if kind == 'idle' else 'rules'}".replace("1 idle vassals", "1 idle vassal")
    return f"{kind}, MTU {size}" if size.isdigit() else NAMES.get(name, name)


def _panel(figures, key, way, group):
    load = next(load for load in LOADS if load.key == key)
    found = {name: figures.median(key, way, name, group=group) for name in figures.contenders(group)}
    bars = sorted(((name, value) for name, value in found.items() if value),
                  key=lambda bar: bar[1], reverse=load.better == "more")
    if group == "growth":
        bars = [(name, value) for name, value in found.items() if value]
    if len(bars) < 2:
        return None
    room = PANEL - NAME - VALUE
    most = max(value for _, value in bars)
    title = "growth: " + load.title if group == "growth" else load.title
    parts = [_text(0, 12, title, "panel"),
             _text(0, 28, f"{way.replace('>', ' to ')}, {load.unit}, {load.better} is better", "quiet")]
    for at, (name, value) in enumerate(bars):
        y = 38 + at * STEP
        kind = "ours" if name == US or group == "growth" else "bar"
        parts += [_text(NAME - 8, y + 11, _named(name), end=True),
                  f'<rect x="{NAME}" y="{y}" width="{max(1, room * value / most):.1f}" height="{BAR}" rx="2" '
                  f'class="{kind}"/>',
                  _text(NAME + max(1, room * value / most) + 6, y + 11, short(value))]
    return "".join(parts), 38 + len(bars) * STEP
