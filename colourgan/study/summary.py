"""The one picture that says most of a study."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from colourgan.files import replacing
from colourgan.study.cells import Cell
from colourgan.study.shown import Entry, Place, entries, place_names, places

_ACROSS = 2  # panels side by side
_WIDTH, _DOTS_AN_INCH = 8.0, 150  # shown 800 pixels wide, text is 14 pixels high
_ROW, _FRAME = 0.17, 1.1  # inches: for one method of one family; for axis and title
_GAP = 0.22  # between two methods of one family, whose distance to the next is 1
# Okabe and Ito, "Color Universal Design".
_LOOKS = (("#0072B2", "o"), ("#D55E00", "D"), ("#009E73", "s"), ("#CC79A7", "^"), ("#E69F00", "v"))


def summary_picture(
    cells: Sequence[Cell], path: Path | str, grey: Mapping[Place, float] | None = None
) -> None:
    """Writes a PNG: a panel a data set and size, in it a line a model, with its L1 to the right.

    Each mark is a seed, the upright stroke their mean, the line its 95 % interval (Student's);
    methods are side by side. grey: the L1 of no color at all, a dashed line. Raises
    ValueError if no cell is done.
    """
    found = [entry for entry in entries(cells) if entry.seeds("l1")]
    if not found:
        raise ValueError("nothing to draw: no cell is done")
    groups, names = places(found), place_names(found)
    across = min(_ACROSS, len(groups))
    down = math.ceil(len(groups) / across)
    families = list(dict.fromkeys(entry.family_label for entry in found))
    methods = list(dict.fromkeys(entry.method for entry in found))
    height = _FRAME + _ROW * (1 + len(methods)) * len(families)
    figure = Figure((_WIDTH, 0.4 + height * down), _DOTS_AN_INCH, layout="constrained")
    for number, (place, group) in enumerate(groups.items()):
        axes = figure.add_subplot(down, across, number + 1)
        _draw(axes, group, families, methods, (grey or {}).get(place))
        axes.set_title(names[place], fontsize=10)
        axes.tick_params(labelleft=number % across == 0)
    _legend(figure, methods, bool(grey))
    with replacing(path) as beside:
        figure.savefig(beside, format="png")


def _draw(
    axes: Axes,
    group: Sequence[Entry],
    families: list[str],
    methods: list[str],
    grey: float | None,
) -> None:
    for entry in group:
        number = methods.index(entry.method)
        color, mark = _LOOKS[number % len(_LOOKS)]
        y = families.index(entry.family_label) + _GAP * (number - (len(methods) - 1) / 2)
        seeds = entry.seeds("l1")
        if interval := entry.interval("l1"):
            axes.plot(interval, (y, y), color=color, linewidth=1.5, alpha=0.6)
        axes.plot(seeds, [y] * len(seeds), mark, color=color, markersize=4.5, alpha=0.7)
        axes.plot(fmean(seeds), y, "|", color=color, markersize=11, markeredgewidth=2)
    if grey is not None:
        axes.axvline(grey, color="0.35", linestyle="--", linewidth=1.2)
    axes.set_ylim(len(families) - 0.5, -0.5)
    axes.set_yticks(range(len(families)), families)
    axes.set_xlabel("L1 of a and b: lower is better")
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.grid(axis="x", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


def _legend(figure: Figure, methods: list[str], grey: bool) -> None:
    handles = [
        Line2D([], [], color=color, marker=mark, markersize=5, linewidth=1.5, label=method)
        for method, (color, mark) in zip(methods, _LOOKS * len(methods), strict=False)
    ]
    if grey:
        handles.append(Line2D([], [], color="0.35", linestyle="--", label="no color at all"))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
