"""Numbers as SVG charts for the inside of pages, drawn by matplotlib."""

import math
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from io import StringIO
from statistics import fmean
from textwrap import fill
from typing import NamedTuple
from xml.sax.saxutils import quoteattr

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.style import context
from matplotlib.ticker import LogLocator, MaxNLocator

from colourgan.plots.charts import COLORS, STYLES, band

SHAPES = (("o", "●"), ("o", "○"), ("s", "■"), ("s", "□"), ("D", "◆"), ("D", "◇"))
"""matplotlib's marker and a sign like it for each shape in turn; every second one is hollow."""

_ROOM = 0.07  # of an axis, on both sides of its values
_MAGNITUDES = 20  # the largest over the smallest, from which on an axis may be logarithmic
_WIDTH, _DOTS = 310, 72  # of an SVG: units, of which its letters are 11 high; units an inch
_LABEL_WIDTH, _LINE_HEIGHT = 42, 14  # characters; units
_MARGIN, _BELOW = 48, 40  # units, for the numbers at an upright axis, and at a level one
_OPTIONS = {"svg.fonttype": "none", "svg.hashsalt": "colourgan", "font.size": 11}
_as_svg = context(["default", _OPTIONS])  # whatever style the user chose for other pictures
# What stands for the page's own colors, which differ by day and night.
_INK, _SOFT, _LINE, _CARD = "#000000", "#5d636c", "#e3e0da", "#ffffff"
_GREEN, _GOOD, _BAD = "#dff2e6", "#14663d", "#98301f"
_DASHED = {"color": _INK, "linestyle": (0, (4, 2)), "linewidth": 1.6}
_TONES = {"better": _GOOD, "worse": _BAD}
_NAMES = {"soft": _SOFT, "line": _LINE, "card": _CARD}
_NAMES |= {"good-back": _GREEN, "good": _GOOD, "bad": _BAD}
_NAMES |= {f"c{number}": color for number, color in enumerate(COLORS[:-1])}
_PAGE = {color.lower(): f"var(--{name}, {color})" for name, color in _NAMES.items()}
_PAGE[_INK] = "currentColor"


class Axis(NamedTuple):
    """Numbers from `low` to `high`, in order of size or, if `logarithmic`, of magnitude."""

    low: float
    high: float
    logarithmic: bool = False


class Row(NamedTuple):
    """A line of `row_chart`: a name, a number with what is known of its spread, and a text.

    values: one a seed, their mean is drawn; none: only the texts are. interval: of that mean. text:
    at the right end, green if `tone` is "better", red if it is "worse". title: shown to a pointer
    that rests there. color, shape: numbers from 0 that tell configurations apart in all charts.
    """

    label: str
    values: Sequence[float]
    interval: tuple[float, float] | None = None
    text: str = ""
    tone: str = ""
    title: str = ""
    color: int = 0
    shape: int = 0


class Point(NamedTuple):
    """A mark of `scatter_chart` with `number` beside it; the other fields are as in Row."""

    x: float
    y: float
    number: str
    title: str = ""
    color: int = 0
    shape: int = 0


class Line(NamedTuple):
    """A line of `curve_chart`: for each seed its numbers, one an epoch, NaN for none."""

    label: str
    seeds: Sequence[Sequence[float]]
    color: int = 0


class Trend(NamedTuple):
    """A line of `trend_chart`: x, all above 0, → one number a seed, with what is shaded or barred.

    ends: x → lowest and highest end of that; an x without them has neither.
    """

    label: str
    seeds: Mapping[float, Sequence[float]]
    ends: Mapping[float, tuple[float, float]]
    color: int = 0


def axis(values: Iterable[float], from_zero: bool = False, logarithmic: bool = False) -> Axis:
    """An Axis around the finite values, so that charts can share it.

    logarithmic: only if they are positive and the largest is more than 20 times the smallest.
    """
    finite = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
    low, high = min(finite), max(finite)
    if logarithmic and low > 0 and high / low > _MAGNITUDES:
        room = (high / low) ** _ROOM
        return Axis(low / room, high * room, True)
    if from_zero:
        return Axis(min(low, 0.0), max(high, 0.0) * (1 + _ROOM) or 1.0)
    room = (high - low) * _ROOM or abs(high) * _ROOM or 1.0
    return Axis(low - room, high + room)


@_as_svg
def row_chart(
    name: str, rows: Sequence[Row], across: Axis, dashed: float | None = None, bars: bool = True
) -> str:
    """SVG: below each row's texts a bar from zero to its mean, or only a dot, with its interval.

    Beside a bar each seed is a small circle; the bar of an odd shape is hollow. dashed: where a
    line goes through all rows, such as the truth, or 0 of differences. name: says what it shows to
    those who cannot see it.
    """
    labels = [
        fill(row.label, max(_LABEL_WIDTH - len(row.text), 12), break_on_hyphens=False)
        for row in rows
    ]
    heights = [_LINE_HEIGHT * (label.count("\n") + 1) + 24 for label in labels]
    axes = _canvas(sum(heights) + 20, left=4, right=4, top=0, bottom=20)
    _scale(axes, "x", across)
    axes.set_ylim(sum(heights), 0)
    axes.yaxis.set_visible(False)
    bottom = 0
    for row, label, height in zip(rows, labels, heights, strict=True):
        style = {"transform": axes.get_yaxis_transform(), "va": "top", "parse_math": False}
        axes.text(0, bottom + 4, label, color=_INK, **style)
        axes.text(1, bottom + 4, row.text, ha="right", color=_TONES.get(row.tone, _SOFT), **style)
        bottom += height
        y = bottom - 11
        if dashed is not None:
            axes.plot((dashed, dashed), (y - 10, y + 10), **_DASHED)
        values = [value for value in row.values if math.isfinite(value)]
        if not values:
            continue
        mean, color = fmean(values), COLORS[row.color % len(COLORS)]
        if bars:
            face = _CARD if row.shape % 2 else color
            axes.barh(y, mean, 12, color=face, edgecolor=color, linewidth=1.5, alpha=0.75)
        if row.interval and all(map(math.isfinite, row.interval)):
            style = {"color": _INK, "markersize": 9, "linewidth": 1.6, "zorder": 5}
            axes.plot(row.interval, (y, y), "|-", url=row.title or None, **style)
        marks, size = (values, 4.4) if bars else ([mean], 8)
        face = _CARD if bars else _INK
        style = {"markersize": size, "markerfacecolor": face, "markeredgecolor": _INK}
        axes.plot(marks, [y] * len(marks), "o", zorder=6, url=row.title or None, **style)
    return _svg(axes.figure, name)


@_as_svg
def scatter_chart(
    name: str, points: Sequence[Point], across: Axis, down: Axis, heading: str
) -> str:
    """SVG: the points with their numbers, which never lie on each other; heading: the x axis's."""
    axes = _canvas(270, left=_MARGIN, right=8, top=8, bottom=_BELOW)
    _scale(axes, "x", across)
    _scale(axes, "y", down)
    note = ", in orders of magnitude" if across.logarithmic else ""
    axes.set_xlabel(heading + note, color=_SOFT)
    points = sorted(points, key=lambda each: -each.y)
    places = [axes.transData.transform((each.x, each.y)) for each in points]  # in units, from below
    heights = [y for _, y in places]

    def near(one: int, others: range) -> list[float]:
        """Heights of the numbers that could lie on this one."""
        return [heights[i] for i in others if abs(places[i][0] - places[one][0]) < 16]

    for each in range(len(points)):  # from above: down to where there is room
        heights[each] = min([heights[each], *(y - 12 for y in near(each, range(each)))])
    for each in reversed(range(len(points))):  # and up again from what lies below the axis
        under = [y + 12 for y in near(each, range(each + 1, len(points)))]
        heights[each] = max([heights[each], _BELOW + 5, *under])
    for point, (_, y), height in zip(points, places, heights, strict=True):
        color = COLORS[point.color % len(COLORS)]
        mark = SHAPES[point.shape % len(SHAPES)][0]
        style = {"markersize": 8, "markeredgewidth": 2, "markeredgecolor": color, "zorder": 3}
        style["markerfacecolor"] = _CARD if point.shape % 2 else color
        axes.plot(point.x, point.y, mark, url=point.title or None, **style)
        place = {"xytext": (8, height - y), "textcoords": "offset points", "va": "center"}
        axes.annotate(point.number, (point.x, point.y), parse_math=False, **place)
    return _svg(axes.figure, name)


@_as_svg
def curve_chart(name: str, lines: Sequence[Line], down: Axis, epochs: int) -> str:
    """SVG: lines over epochs, shaded from the lowest to the highest seed, their names below.

    A line has a gap where a seed has no finite number. epochs: how many the x axis has. Color,
    dashes and marks all tell a line from the next eleven.
    """
    labels = [fill(line.label, _LABEL_WIDTH, break_on_hyphens=False) for line in lines]
    below = 42 + sum(_LINE_HEIGHT * (label.count("\n") + 1) + 3 for label in labels)
    axes = _canvas(218 + below, left=_MARGIN, right=8, top=8, bottom=below)
    _scale(axes, "y", down)
    _scale(axes, "x", Axis(0.7, epochs + 0.3))
    ticks = range(1, epochs + 1, math.ceil(epochs / 8))
    axes.set_xticks(ticks, map(str, ticks))
    axes.set_xlabel("epoch", color=_SOFT)
    for line, label in zip(lines, labels, strict=True):
        mean, low, high = band(list(line.seeds))
        color, across = COLORS[line.color % len(COLORS)], range(1, len(mean) + 1)
        style = {"linestyle": STYLES[line.color % len(STYLES)], "marker": "os^"[line.color % 3]}
        style["markevery"] = math.ceil(len(mean) / 12)  # many marks would make a thick line
        axes.plot(across, mean, color=color, label=label, url=line.label, **style)
        axes.fill_between(across, low, high, color=color, alpha=0.16, linewidth=0)
    legend = axes.figure.legend(
        loc="lower left", frameon=False, borderaxespad=0, borderpad=0.2, handlelength=3.2
    )
    for text in legend.get_texts():
        text.set(parse_math=False, color=_SOFT)
    return _svg(axes.figure, name)


@_as_svg
def trend_chart(
    name: str,
    trends: Sequence[Trend],
    down: Axis,
    heading: str,
    dashed: float | None = None,
    barred: bool = False,
) -> str:
    """SVG: lines through the means over x in orders of magnitude, each seed a dot, names below.

    Between a line's ends lies a shade, or if `barred` a bar at each x. dashed: where a line goes
    across, such as what no color scores, or 0 of differences. heading: the x axis's.
    """
    labels = [fill(trend.label, _LABEL_WIDTH, break_on_hyphens=False) for trend in trends]
    below = 42 + sum(_LINE_HEIGHT * (label.count("\n") + 1) + 3 for label in labels)
    axes = _canvas(218 + below, left=_MARGIN, right=8, top=8, bottom=below)
    draw_trends(axes, [t._replace(label=x) for t, x in zip(trends, labels, strict=True)], barred)
    low, high = axes.get_xlim()
    _scale(axes, "y", down)
    places = sorted({x for trend in trends for x in trend.seeds})
    axes.minorticks_off()
    apart = [places[0]]  # numbers that do not lie on each other
    for x in places[1:]:
        if math.log(x / apart[-1]) / math.log(high / low) > 38 / _WIDTH:
            apart.append(x)
    axes.set_xticks(apart, map(_tick, apart))
    axes.grid(axis="x", color=_LINE)
    axes.set_xlabel(f"{heading}, in orders of magnitude", color=_SOFT)
    if dashed is not None:
        axes.axhline(dashed, zorder=1, **_DASHED)
    legend = axes.figure.legend(
        loc="lower left", frameon=False, borderaxespad=0, borderpad=0.2, handlelength=3.2
    )
    for text in legend.get_texts():
        text.set(parse_math=False, color=_SOFT)
    return _svg(axes.figure, name)


def draw_trends(axes: Axes, trends: Sequence[Trend], barred: bool = False) -> None:
    """Draws the lines of a `trend_chart`, whose labels are those of the lines, into any Axes."""
    places = sorted({x for trend in trends for x in trend.seeds})
    room = (places[-1] / places[0]) ** _ROOM if len(places) > 1 else 2.0
    axes.set(xscale="log", xlim=(places[0] / room, places[-1] * room))
    for number, trend in enumerate(trends):
        # Side by side, so that bars and dots of one x do not hide each other.
        share = number / (len(trends) - 1) - 0.5 if len(trends) > 1 else 0.0
        beside = room ** (share * (0.8 if barred else 0.3))
        color, style = COLORS[trend.color % len(COLORS)], STYLES[trend.color % len(STYLES)]
        xs = sorted(x for x in trend.seeds if len(trend.seeds[x]))
        means = [fmean(trend.seeds[x]) for x in xs]
        known = [x for x in xs if x in trend.ends and all(map(math.isfinite, trend.ends[x]))]
        ends = [trend.ends[x] for x in known]
        moved = [x * beside for x in xs]
        axes.plot(moved, means, linestyle=style, color=color, label=trend.label, url=trend.label)
        if barred:
            for x, pair in zip(known, ends, strict=True):
                axes.plot((x * beside,) * 2, pair, "_-", color=color, markersize=7, linewidth=1.4)
        elif known:
            lows, highs = zip(*ends, strict=True)
            across = [x * beside for x in known]
            axes.fill_between(across, lows, highs, color=color, alpha=0.16, linewidth=0)
        for x in xs:
            dots = trend.seeds[x]
            place = [x * beside] * len(dots)
            axes.plot(place, dots, "os^"[trend.color % 3], color=color, markersize=4, alpha=0.7)


@_as_svg
def number_line(
    name: str,
    values: Sequence[float],
    interval: tuple[float, float] | None = None,
    low: float | None = None,
    high: float | None = None,
) -> str:
    """SVG: seeds (small circles), their mean and its interval, and on green where a claim holds.

    That is from `low` to `high`; None is an open end. "" if any of the numbers is not finite.
    """
    bounds = [end for end in (low, high) if end is not None]
    marks = [*values, *bounds, *(interval or ())]
    if not marks or not all(map(math.isfinite, marks)):
        return ""
    axes = _canvas(52, left=2, right=2, top=2, bottom=18)
    middle, half = (min(marks) + max(marks)) / 2, (max(marks) - min(marks)) / 2 or 1.0
    left, right = middle - half / 0.84, middle + half / 0.84
    axes.set(xlim=(left, right), ylim=(-1, 1), xticks=[], yticks=[])
    where = (left if low is None else low, right if high is None else high)
    axes.axvspan(*where, color=_GREEN, linewidth=0, zorder=0)
    axes.axhline(0, color=_LINE, linewidth=1)
    for end in bounds:
        axes.axvline(end, color=_SOFT, linestyle=(0, (3, 3)), linewidth=1)
        side = "center" if len(bounds) == 1 else "right" if end == low else "left"
        place = {"xytext": (0, -4), "textcoords": "offset points", "va": "top", "ha": side}
        axes.annotate(_tick(end), (end, -1), color=_SOFT, **place)
    if interval:
        axes.plot(interval, (0, 0), "|-", color=_INK, markersize=12, linewidth=2)
    axes.plot(fmean(values), 0, "o", color=_INK, markersize=11)
    style = {"markerfacecolor": _CARD, "markeredgecolor": _INK, "markeredgewidth": 1.3}
    axes.plot(values, [0] * len(values), "o", markersize=6, zorder=3, **style)
    return _svg(axes.figure, name)


def _canvas(height: float, left: float, right: float, top: float, bottom: float) -> Axes:
    """Axes without a frame in a picture of that height and _WIDTH, with these margins."""
    figure = Figure((_WIDTH / _DOTS, height / _DOTS), dpi=_DOTS)
    size = 1 - (left + right) / _WIDTH, 1 - (top + bottom) / height
    axes = figure.add_axes((left / _WIDTH, bottom / height, *size))
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labelcolor=_SOFT)
    axes.set_axisbelow(True)
    return axes


def _scale(axes: Axes, name: str, scale: Axis) -> None:
    """Gives the axis "x" or "y" its ends, six or fewer round ticks, and grid lines."""
    axes.set(**{f"{name}scale": "log" if scale.logarithmic else "linear", f"{name}lim": scale[:2]})
    side = axes.xaxis if name == "x" else axes.yaxis
    round_ones = MaxNLocator(4, steps=[1, 2, 2.5, 5, 10])
    found = LogLocator(subs=(1, 2, 5)) if scale.logarithmic else round_ones
    ticks = found.tick_values(scale.low, scale.high)
    inside = [float(tick) for tick in ticks if scale.low <= tick <= scale.high]
    inside = inside[:: math.ceil(len(inside) / 6) or 1]
    side.set_ticks(inside, [_tick(tick) for tick in inside])
    side.set_ticks([], minor=True)
    side.grid(color=_LINE)


def _tick(number: float) -> str:
    """0.1 + 0.2 is 0.3."""
    return f"{round(number, 12):,g}".replace("-", "−")


def _svg(figure: Figure, name: str) -> str:
    """The figure as an <svg> for the inside of a page: no prologue, no style sheet, no ids.

    What matplotlib defines once and uses often is written out at each place, so that nothing on a
    page can collide. Colors become those of _PAGE; the letters are the page's; an artist's url is
    its title. The same figure gives the same text.
    """
    file = StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # that its font lacks: the browser has others
        figure.savefig(file, format="svg", transparent=True, metadata=nothing)
    drawn = re.sub(r"\s+", " ", file.getvalue())
    box, drawn = re.search(r'(viewBox="[^"]*")[^>]*>(.*)</svg>', drawn).groups()
    marks = dict(re.findall(r'<path id="(\w+)" (d="[^"]*")', drawn))
    drawn = re.sub(r"<(metadata|defs)>.*?</\1>|</?g\b[^>]*>", "", drawn)
    drawn = re.sub(
        r'<use xlink:href="#(\w+)" x="(\S+)" y="(\S+)"',
        lambda use: f'<path {marks[use[1]]} transform="translate({use[2]} {use[3]})"',
        drawn,
    )

    def on_page(found: re.Match) -> str:
        """A <path> or <text>: colors and letters of the page; hundredths of a unit are enough."""
        tag = re.sub(r' clip-path="[^"]*"| transform="rotate\(-0 [^"]*"', "", found[0])
        tag = re.sub(r"\d+\.\d{3,}", lambda number: f"{float(number[0]):.2f}", tag)
        tag = re.sub(r'font: ([\d.]+px) [^;"]*', r"font-size: \1", tag)  # of older matplotlibs
        tag = re.sub(r'font-family: [^;"]*;? ?', "", tag)
        return re.sub("#[0-9a-f]{6}", lambda color: _PAGE.get(color[0], color[0]), tag)

    drawn = re.sub(r"<(path|text)[^>]*>", on_page, drawn)
    drawn = re.sub(r"""<a xlink:href=(["'])(.*?)\1[^>]*>""", r"<g><title>\2</title>", drawn)
    drawn = drawn.replace("</a>", "</g>").replace("/>", " />").replace("> <", "><").strip()
    look = f'{box} class="chart" fill="currentColor" role="img" aria-label={quoteattr(name)}'
    return f"<svg {look}>{drawn}</svg>"
