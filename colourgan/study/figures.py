"""A study's charts as plain data: places in percent of a chart's width and height.

The template draws them, so that text keeps its size however narrow the page is.
"""

import math
from collections.abc import Iterable, Sequence
from itertools import zip_longest
from statistics import fmean
from typing import NamedTuple

from matplotlib.ticker import LogLocator, MaxNLocator

from colourgan.evaluate import COLUMNS
from colourgan.study.shown import Entry

_MARGIN = 0.07  # of an axis, on both sides of its values
_LOG_FROM = 20  # the largest over the smallest
_COLORS, _DASHES = 7, 4
_LOSS = "valid_loss"
_COSTS = {  # name, unit, and what is added up
    "seconds": ("seconds of training", 1, ("seconds",)),
    "parameters": ("parameters, millions", 1e6, ("encoder_parameters", "decoder_parameters")),
    "flops": ("FLOPs an image, 10⁹", 1e9, ("flops",)),
}
# Of a point's number, in percent of a chart about 300 pixels wide and 250 high.
_NUMBER_WIDTH, _NUMBER_HEIGHT = 5.0, 5.2


class Axis(NamedTuple):
    """Numbers from `low` to `high`, in order of size or of their logarithm."""

    low: float
    high: float
    logarithmic: bool = False

    def place(self, value: float) -> float:
        """Percent of the axis."""
        low, high, value = (self._scaled(number) for number in (self.low, self.high, value))
        return round(100 * (value - low) / (high - low), 2)

    def ticks(self) -> list[tuple[float, str]]:
        """(place, text) of four or so round numbers."""
        if self.logarithmic:
            found = LogLocator(subs=(1, 2, 5)).tick_values(self.low, self.high)
        else:
            found = MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]).tick_values(self.low, self.high)
        inside = [float(tick) for tick in found if self.low <= tick <= self.high]
        step = math.ceil(len(inside) / 6)
        return [(self.place(tick), _short(tick)) for tick in inside[::step]]

    def _scaled(self, value: float) -> float:
        return math.log10(value) if self.logarithmic else value


def axis(values: Iterable[float], from_zero: bool = False, logarithmic: bool = False) -> Axis:
    """An axis around the finite values; `logarithmic` only if they are of very different size."""
    finite = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
    low, high = min(finite), max(finite)
    if logarithmic and low > 0 and high / low > _LOG_FROM:
        room = (high / low) ** _MARGIN
        return Axis(low / room, high * room, True)
    if from_zero:
        return Axis(min(low, 0.0), max(high, 0.0) * (1 + _MARGIN) or 1.0)
    room = (high - low) * _MARGIN or abs(high) * _MARGIN or 1.0
    return Axis(low - room, high + room)


def look(entry: Entry) -> dict[str, int]:
    """Color and dashes name the family, the shape of a point the method."""
    number = entry.family - 1
    return {
        "family": entry.family,
        "color": number % _COLORS,
        "dash": number // _COLORS % _DASHES,
        "shape": entry.shape,
    }


def bars(entries: Sequence[Entry], everyone: Sequence[Entry], metric: str) -> dict:
    """A bar a configuration, from zero, with the interval over its seeds and each seed.

    everyone: the configurations of all charts that shall have the same axis.
    """
    heading, style = COLUMNS[metric]
    true = _true(everyone) if metric == "colorfulness" else None
    ends = [end for entry in everyone for end in entry.interval(metric) or ()]
    seeds = [value for entry in everyone for value in entry.seeds(metric)]
    scale = axis([*seeds, *ends, *([] if true is None else [true])], from_zero=True)
    return {
        "heading": heading,
        "ticks": scale.ticks(),
        "true": None if true is None else scale.place(true),
        "true_text": None if true is None else format(true, style),
        "rows": [_bar(entry, metric, scale) for entry in entries],
    }


def _bar(entry: Entry, metric: str, scale: Axis) -> dict:
    seeds = entry.seeds(metric)
    interval = entry.interval(metric)
    return look(entry) | {
        "label": entry.label,
        "width": scale.place(fmean(seeds)) if seeds else None,
        "interval": [scale.place(end) for end in interval or ()],
        "seeds": [scale.place(seed) for seed in seeds],
        "text": entry.text(metric),
    }


def _true(entries: Sequence[Entry]) -> float | None:
    values = [value for entry in entries for value in entry.seeds("colorfulness_true")]
    return fmean(values) if values else None


def scatter(entries: Sequence[Entry], everyone: Sequence[Entry], cost: str) -> dict | None:
    """L1 against "seconds", "parameters" or "flops"; None if no cell knows that cost."""
    name, unit, numbers = _COSTS[cost]
    known = {entry: _point(entry, unit, numbers) for entry in everyone}
    known = {entry: point for entry, point in known.items() if point}
    shown = [entry for entry in entries if entry in known]
    if not shown:
        return None
    across = axis([x for x, _ in known.values()], logarithmic=True)
    down = axis([y for _, y in known.values()])
    points = [_placed(entry, *known[entry], across, down) for entry in shown]
    _part_numbers(points)
    return {
        "heading": name,
        "logarithmic": across.logarithmic,
        "x_ticks": across.ticks(),
        "y_ticks": _upwards(down),
        "points": points,
    }


def _point(entry: Entry, unit: float, numbers: Sequence[str]) -> tuple[float, float] | None:
    """(cost, L1), means over seeds."""
    costs, l1 = [entry.mean(name) for name in numbers], entry.mean("l1")
    if l1 is None or None in costs:
        return None
    return sum(costs) / unit, l1


def _placed(entry: Entry, x: float, y: float, across: Axis, down: Axis) -> dict:
    place = {"x": across.place(x), "y": round(100 - down.place(y), 2)}
    text = f"{entry.label}: L1 {y:.4f}, {x:,.4g}"
    return look(entry) | place | {"text": text}


def _part_numbers(points: list[dict]) -> None:
    """Gives each point a "text_y" for its number that no other's number lies on."""
    placed: list[tuple[float, float]] = []
    for point in sorted(points, key=lambda each: each["y"]):
        y = point["y"]
        near = sorted(taken for x, taken in placed if abs(x - point["x"]) < _NUMBER_WIDTH)
        for taken in near:
            if abs(taken - y) < _NUMBER_HEIGHT:
                y = taken + _NUMBER_HEIGHT
        placed.append((point["x"], y))
        point["text_y"] = round(y, 2)


def _upwards(scale: Axis) -> list[tuple[float, str]]:
    return [(round(100 - place, 2), text) for place, text in scale.ticks()]


def curves(entries: Sequence[Entry], everyone: Sequence[Entry]) -> dict | None:
    """valid_loss over epochs, a line a configuration, shaded from its lowest to its highest seed.

    None if no history has a number.
    """
    bands = {entry: _band(entry) for entry in everyone}
    values = [value for band in bands.values() for point in band for value in point[1:]]
    if not any(bands[entry] for entry in entries):
        return None
    epochs = [point[0] for band in bands.values() for point in band]
    across, down = Axis(min(epochs) - 0.3, max(epochs) + 0.3), axis(values, logarithmic=True)
    step = math.ceil((max(epochs) - min(epochs) + 1) / 8)
    return {
        "x_ticks": [(across.place(each), each) for each in range(1, max(epochs) + 1, step)],
        "y_ticks": _upwards(down),
        "logarithmic": down.logarithmic,
        "lines": [_line(entry, bands[entry], across, down) for entry in entries if bands[entry]],
    }


def _band(entry: Entry) -> list[tuple[int, float, float, float]]:
    """(epoch, mean, lowest, highest) of the epochs in which each seed has a finite number."""
    seeds = [[row.get(_LOSS) for row in cell.history] for cell in entry.done if cell.history]
    points = []
    for epoch, values in enumerate(zip_longest(*seeds), 1):
        if all(isinstance(value, (int, float)) and math.isfinite(value) for value in values):
            points.append((epoch, fmean(values), min(values), max(values)))
    return points


def _line(entry: Entry, band: list[tuple], across: Axis, down: Axis) -> dict:
    def path(points: Iterable[tuple[int, float]]) -> str:
        return " ".join(f"{across.place(x)},{100 - down.place(y):.2f}" for x, y in points)

    shade = [(x, low) for x, _, low, _ in band] + [(x, high) for x, *_, high in reversed(band)]
    dots = [(across.place(x), round(100 - down.place(y), 2)) for x, y, *_ in band]
    return look(entry) | {
        "label": entry.family_label,
        "path": path((x, mean) for x, mean, *_ in band),
        "shade": path(shade),
        "dots": dots,
    }


def _short(number: float) -> str:
    """A tick's text; 0.1 + 0.2 is 0.3."""
    return f"{round(number, 12):,g}".replace("-", "−")
