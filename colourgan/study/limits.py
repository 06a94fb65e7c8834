"""What the number of training images is worth: L1 over it, and what pretraining then brings."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from textwrap import fill
from typing import NamedTuple

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from colourgan.experiments import judge
from colourgan.experiments.cells import Cell
from colourgan.files import replacing
from colourgan.plots import svg
from colourgan.plots.charts import COLORS
from colourgan.plots.svg import Trend
from colourgan.study import findings
from colourgan.study.findings import Entry, Place

PICTURE = "limits.png"
_MOST = 6  # lines in one chart
_AXIS = "training images"

# Of the picture: 1,100 pixels wide, its text 14 pixels high where it is shown 800 pixels wide.
_WIDTH, _DOTS, _TEXT = 7.34, 150, 9.5  # inches, dots an inch, points
_LEFT, _RIGHT, _TOP, _BOTTOM = 0.74, 2.4, 0.42, 0.58  # inches around each chart
_HEIGHT, _FOOT = 2.5, 0.3  # inches: of a chart, of the line below all
_CHARACTERS = 30  # of a line of a name beside a chart
_MARKS = "dots: seeds; shade: from the lowest to the highest seed"
_BARS = "; bars: 95 % interval of the difference"


class Chart(NamedTuple):
    """A line a model, each at several numbers of training images.

    heading: what is drawn, L1 or if `matched` L1 minus that of a rival made as colorful. L1 is
    shaded from the lowest to the highest seed, a difference has a bar, its 95 % interval.
    """

    heading: str
    trends: list[Trend]
    matched: bool


class Panel(NamedTuple):
    """Charts of some models of one data set and size; title: which, "" for all there are."""

    place: Place
    title: str
    charts: list[Chart]


def limit_panels(found: Iterable[Entry]) -> list[Panel]:
    """A Panel for each data set, size and method; [] if the number of images does not vary.

    Of one or two families the methods are together, if they are few.
    """
    found = [entry for entry in found if entry.seeds("l1")]
    if len({entry.configuration.limit for entry in found}) < 2:
        return []
    names, panels = findings.place_names(found), []
    several = len(names) > 1
    for place, here in findings.places(found).items():
        lines = {(entry.family, entry.method) for entry in here}
        families = {family for family, _ in lines}
        methods = list(dict.fromkeys(entry.method for entry in here))
        together = len(methods) == 1 or (len(families) <= 2 and len(lines) <= _MOST)
        for some in [methods] if together else [[method] for method in methods]:
            words = [names[place]] * several + some * (len(some) == 1 < len(methods))
            group = [entry for entry in here if entry.method in some]
            panels.append(Panel(place, ", ".join(words), _charts(group)))
    return panels


def _charts(group: Sequence[Entry]) -> list[Chart]:
    lines: dict[tuple[int, str], list[Entry]] = {}
    for entry in group:
        lines.setdefault((entry.family, entry.method), []).append(entry)
    families = {family for family, _ in lines}
    methods = {method for _, method in lines}
    trends = []
    matched: dict[str, list[Trend]] = {}  # name of the rivals → lines
    for number, ((family, method), entries) in enumerate(lines.items()):
        words = [entries[0].family_label] * (len(families) > 1 or len(methods) == 1)
        label = " ".join(words + [method] * (len(methods) > 1))
        color = family - 1 if len(methods) == 1 else number
        seeds = {int(entry.configuration.limit): entry.seeds("l1") for entry in entries}
        ends = {x: (min(values), max(values)) for x, values in seeds.items()}
        trends.append(Trend(label, seeds, ends, color))
        compared = {
            int(entry.configuration.limit): comparison
            for entry in entries
            if (comparison := judge.compare_with_matched(entry.cells, "l1"))
        }
        if compared:
            seeds = {x: each.per_seed for x, each in compared.items()}
            ends = {x: each.interval for x, each in compared.items() if each.interval}
            rival = next(entry.rival for entry in entries if entry.rival)
            name = rival.get("method", "random weights")  # of whichever encoder
            matched.setdefault(name, []).append(Trend(label, seeds, ends, color))
    charts = [Chart("L1 of a and b", trends, False)]
    for name, some in matched.items():
        charts.append(Chart(f"L1 minus that of {name} made as colorful", some, True))
    return charts


def limit_charts(panels: Sequence[Panel], grey: Mapping[Place, float]) -> list[dict]:
    """For each panel its "title" and "charts", pairs of a heading and a chart for a page.

    grey: the L1 of no color at all. Charts of one kind share their axis.
    """
    axes = {matched: _axis(panels, matched, grey) for matched in (False, True)}
    shown = []
    for panel in panels:
        charts = []
        for heading, trends, matched in panel.charts:
            name = f"{heading} over the number of training images"
            name += f", {panel.title}" if panel.title else ""
            dashed = 0.0 if matched else grey.get(panel.place)
            chart = svg.trend_chart(name, trends, axes[matched], _AXIS, dashed, matched)
            charts.append((heading, Markup(chart)))
        shown.append({"title": panel.title, "charts": charts})
    return shown


def limits_picture(
    cells: Sequence[Cell], path: Path | str, grey: Mapping[Place, float] | None = None
) -> bool:
    """Writes a PNG: for each panel L1 over the number of training images, below it the differences.

    Names stand beside the lines. grey: the L1 of no color at all, a dashed line. Returns whether
    there is anything to draw: not with one number of images.
    """
    panels, grey = limit_panels(findings.entries(cells)), grey or {}
    if not panels:
        return False
    charts = [(panel, *chart) for panel in panels for chart in panel.charts]
    downs = {matched: _axis(panels, matched, grey) for matched in (False, True)}
    each = _TOP + _HEIGHT + _BOTTOM
    height = each * len(charts) + _FOOT
    figure = Figure((_WIDTH, height), _DOTS)
    wide = (_WIDTH - _LEFT - _RIGHT) / _WIDTH
    for row, (panel, heading, trends, matched) in enumerate(charts):
        bottom = height - each * row - _TOP - _HEIGHT
        axes = figure.add_axes((_LEFT / _WIDTH, bottom / height, wide, _HEIGHT / height))
        better = "below 0 is better" if matched else "lower is better"
        title = ": ".join(filter(None, (panel.title, f"{heading}, {better}")))
        # Over the axis' numbers, too, so that it has room.
        left = axes.annotate(title, (0, 1), (6 - 72 * _LEFT, 9), "axes fraction", "offset points")
        left.set(fontsize=_TEXT + 1, parse_math=False)
        dashed = 0.0 if matched else grey.get(panel.place)
        _draw(axes, trends, downs[matched], dashed, matched)
    note = _MARKS + _BARS * any(matched for *_, matched in charts)
    figure.text(6 / 72 / _WIDTH, 0.12 / height, note, fontsize=_TEXT, color="0.35")
    with replacing(path) as beside:
        figure.savefig(beside, format="png")
    return True


def _axis(panels: Sequence[Panel], matched: bool, grey: Mapping[Place, float]) -> svg.Axis:
    """That of all charts of L1, with what grey scores, or of all differences, with 0."""
    values = [0.0] if matched else [grey[p.place] for p in panels if p.place in grey]
    charts = [chart for panel in panels for chart in panel.charts if chart.matched == matched]
    for trend in (trend for chart in charts for trend in chart.trends):
        values += [value for seeds in trend.seeds.values() for value in seeds]
        values += [end for ends in trend.ends.values() for end in ends]
    return svg.axis(values)


def _draw(
    axes: Axes, trends: Sequence[Trend], down: svg.Axis, dashed: float | None, barred: bool
) -> None:
    svg.draw_trends(axes, trends, barred)
    axes.set_ylim(down.low, down.high)
    axes.yaxis.set_major_locator(MaxNLocator(5))
    places = sorted({x for trend in trends for x in trend.seeds})
    axes.minorticks_off()
    axes.set_xticks(places, [f"{x:,}" for x in places])
    axes.set_xlabel(f"{_AXIS} (log scale)", fontsize=_TEXT)
    axes.tick_params(labelsize=_TEXT)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    named = []  # (height of the line's end, name, color)
    for trend in trends:
        last = fmean(trend.seeds[max(trend.seeds)])
        name = fill(trend.label, _CHARACTERS, break_on_hyphens=False)
        named.append((last, name, COLORS[trend.color % len(COLORS)]))
    if dashed is not None:
        axes.axhline(dashed, color="0.35", linestyle="--", linewidth=1.2)
        named.append((dashed, "no difference" if barred else "no color at all", "0.35"))
    points = _HEIGHT * 72  # of the axis
    named = sorted(each for each in named if math.isfinite(each[0]))
    wanted = [points * (value - down.low) / (down.high - down.low) for value, *_ in named]
    room = [(1.2 * _TEXT) * (name.count("\n") + 1) for _, name, _ in named]
    for (_, name, color), y in zip(named, _apart(wanted, room, points), strict=True):
        axes.annotate(
            name, (1, y / points), (8, 0), "axes fraction", "offset points", color=color,
            fontsize=_TEXT, va="center", parse_math=False, linespacing=1.05,
        )  # fmt: skip


def _apart(wanted: Sequence[float], room: Sequence[float], top: float) -> list[float]:
    """Heights near those wanted, ascending, of names that each take some room and do not meet."""
    heights = list(wanted)
    for i in range(1, len(heights)):
        heights[i] = max(heights[i], heights[i - 1] + (room[i - 1] + room[i]) / 2)
    limit = top
    for i in reversed(range(len(heights))):
        heights[i] = min(heights[i], limit - room[i] / 2)
        limit = heights[i] - room[i] / 2
    return heights
