"""Numbers as PNG files: curves of trainings, bars of their results."""

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import cycle, pairwise, zip_longest
from pathlib import Path
from statistics import fmean, stdev
from textwrap import fill
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from colourgan.files import replacing

_LOG_FROM = 100  # a first loss that high would press the others into one flat line

# Okabe and Ito, "Color Universal Design": told apart by all kinds of color vision.
COLORS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000")
NEUTRAL, DARK = "#9A9A9A", "#3A3A3A"  # for what is no model: no color, the true colors
STYLES = ("-", "--", "-.", ":")
_NAME_WIDTH = 11  # characters under a bar
_TITLE_WIDTH = 40  # characters over a panel of curves
_DOTS_WIDTH = 0.36  # of a bar's distance to the next; the bar takes twice that
_PNG_WIDTH, _PNG_HEIGHT = 8.0, 3.2  # inches: shown 800 pixels wide, text is 14 pixels high
_SHARP = 150  # dots an inch, for screens with more than one dot a pixel
_DASHED = (0, (4, 2))
_UNDRAWN = ("epoch", "seconds")

_Line = tuple[list[float], list[list[float]]]  # epochs, and for each seed its values


class _Look(NamedTuple):
    color: str
    style: str  # of a line


def curves(history: Iterable[Mapping], path: Path | str) -> None:
    """Writes a PNG of every numeric column of a training's history, over its epochs.

    history: one mapping an epoch; values are numbers or their text, keys may come and go. Losses,
    a GAN's losses and accuracies share a panel each, any other measure has its own. What is
    missing or not finite leaves a gap, "seconds" is left out: how long an epoch took is no
    result. With no number at all, no file is written.
    """
    history = list(history)
    panels: dict[str, dict[str, list[float]]] = {}  # what the y axis says → its columns
    for name in dict.fromkeys(name for row in history for name in row if name not in _UNDRAWN):
        adversarial = name.startswith(("d_", "g_"))
        label = name.removeprefix("train_").removeprefix("valid_")
        if "loss" in name or "penalty" in name:
            label = "adversarial losses" if adversarial else "loss"
        elif "accuracy" in name:
            label = "discriminator accuracy" if adversarial else "accuracy"
        values = series(history, name)
        if any(map(math.isfinite, values)):
            panels.setdefault(label, {})[name] = values
    if not panels:
        return
    figure, places = _figure(len(panels))
    for axes, (label, columns) in zip(places, panels.items(), strict=True):
        for name, values in columns.items():
            axes.plot(_epochs(history), values, label=name, marker=".")  # shows a single epoch
        axes.set_ylabel(label)
        _finish(axes, shares="accuracy" in label)
    with replacing(path) as beside:
        figure.savefig(beside, format="png")


def range_test(
    rates: Sequence[float], losses: Sequence[float], chosen: float, path: Path | str
) -> None:
    """Writes a PNG of a learning rate range test: losses over rates, the chosen rate marked."""
    figure, (axes,) = _figure(1)
    axes.plot(rates, losses, color=COLORS[0])
    axes.axvline(chosen, color=DARK, linestyle=_DASHED, label=f"chosen: {chosen:g}")
    low, high = min(losses), losses[0]
    axes.set_ylim(low - 0.1 * (high - low), high + 0.5 * (high - low))  # not where it diverges
    axes.set_xscale("log")
    axes.set_xlabel("learning rate")
    axes.set_ylabel("loss, smoothed")
    axes.legend()
    axes.grid(alpha=0.3)
    with replacing(path) as beside:
        figure.savefig(beside, format="png")


def compare_curves(
    histories: Mapping[str, Sequence[Sequence[Mapping]]],
    columns: Sequence[str],
    path: Path | str,
    units: Mapping[str, Mapping[str, str]] | None = None,
    colors: Mapping[str, str] | None = None,
) -> None:
    """Writes a PNG with a panel a column and in it a line a model, over the epochs.

    histories: model → for each seed its history, as for `curves`. units: column → model → unit of
    its numbers, "" or missing for none; models of different units have panels of their own, titled
    "column (unit)". colors: model → its color, which with its place among them decides how its
    lines look; a model that is missing takes the next color that is free. A line is the mean over a
    model's seeds, between shades from the lowest to the highest; it has a gap wherever a seed has
    no finite number. A model whose numbers leave no line at all is "none" in the legend; one
    without the column is not there. Raises ValueError for a column that no history has.
    """
    rows = [row for seeds in histories.values() for history in seeds for row in history]
    panels: dict[str, dict[str, _Line]] = {}
    for column in columns:
        if not any(column in row for row in rows):
            raise ValueError(f"no history has a column '{column}'")
        found = {}
        for model, seeds in histories.items():
            if any(row.get(column) not in (None, "") for history in seeds for row in history):
                unit = (units or {}).get(column, {}).get(model)
                line = _epochs(max(seeds, key=len)), [series(history, column) for history in seeds]
                found.setdefault(f"{column} ({unit})" if unit else column, {})[model] = line
        panels |= found or {column: {}}
    _draw_lines(panels, path, _looks(histories, colors))


def value_curves(
    panels: Mapping[str, Mapping[str, Sequence[Sequence[float]]]],
    path: Path | str,
    colors: Mapping[str, str] | None = None,
    bounds: Mapping[str, float] | None = None,
) -> None:
    """Writes a PNG as `compare_curves` does, of values that stand in no history.

    panels: title → model → for each seed its values, one an epoch from the first on, NaN for none.
    bounds: title → a value at which a dashed line goes through its panel. Raises ValueError for no
    panels, and for a bound of a panel that is not there.
    """
    if not panels or not set(bounds or {}) <= set(panels):
        raise ValueError(f"panels {list(panels)}, bounds of {list(bounds or {})}")
    lines = {
        title: {
            model: (list(range(1, max(map(len, seeds), default=0) + 1)), [*map(list, seeds)])
            for model, seeds in models.items()
        }
        for title, models in panels.items()
    }
    models = dict.fromkeys(model for each in panels.values() for model in each)
    _draw_lines(lines, path, _looks(models, colors), bounds or {})


def bars(
    groups: Mapping[str, Mapping[str, Sequence[float]]],
    path: Path | str,
    titles: Mapping[str, str] | None = None,
    colors: Mapping[str, str] | None = None,
) -> None:
    """Writes a PNG with a panel a metric and in it a bar a model.

    groups: metric → model → one value a seed. A bar is as high as their mean, which is written
    above; the whisker is their standard deviation, each seed a dot. titles: metric → what stands
    over its panel, its name if that is missing. colors: as for `compare_curves`. A model with a
    number that is not finite is "none" in place of a bar; one without the metric is not there.
    Raises ValueError for nothing to draw.
    """
    if not groups or not all(models and all(models.values()) for models in groups.values()):
        raise ValueError(f"nothing to draw in {groups}")
    looks = _looks((model for values in groups.values() for model in values), colors)
    most = max(map(len, groups.values()))
    across = 3 if most <= 2 else 2 if most <= 4 else 1  # names need width
    figure, places = _figure(len(groups), across, (_PNG_WIDTH / across, _PNG_HEIGHT))
    for axes, (metric, values) in zip(places, groups.items(), strict=True):
        axes.set_title((titles or {}).get(metric, metric))
        for place, (model, seeds) in enumerate(values.items()):
            if not all(map(math.isfinite, seeds)):
                axes.annotate("none", (place, 0), (0, 3), textcoords="offset points", ha="center")
                continue
            mean, deviation = fmean(seeds), stdev(seeds) if len(seeds) > 1 else 0.0
            axes.bar(place, mean, 2 * _DOTS_WIDTH, color=looks[model].color, label=model)
            if len(seeds) > 1:
                axes.errorbar(place, mean, deviation, color="black", capsize=5, linewidth=1.2)
                # Side by side, so that equal seeds do not hide each other or the whisker.
                step = _DOTS_WIDTH / (len(seeds) - 1)
                dots = [place - _DOTS_WIDTH / 2 + step * seed for seed in range(len(seeds))]
                style = {"color": "white", "markeredgecolor": "black", "zorder": 3}
                axes.plot(dots, seeds, "o", markersize=5, **style)
            top = (place, max(mean + deviation, 0, *seeds))
            short = f"{mean:,.0f}" if abs(mean) >= 100 else f"{mean:#.3g}"  # .0723, 21.3, 4,120
            axes.annotate(short, top, (0, 5), textcoords="offset points", ha="center")
        names = [fill(model, _NAME_WIDTH, break_long_words=False) for model in values]
        axes.set_xticks(range(len(values)), names)
        axes.set_xlim(-0.6, most - 0.4)
        axes.margins(y=0.15)
        axes.axhline(0, color="black", linewidth=0.8)
        axes.spines[["top", "right", "bottom"]].set_visible(False)
        axes.tick_params(axis="x", length=0)
    with replacing(path) as beside:
        figure.savefig(beside, format="png", dpi=_SHARP)


def series(history: Iterable[Mapping], name: str) -> list[float]:
    """One number an epoch, NaN where it is missing or none."""
    found = []
    for epoch in history:
        try:
            found.append(float(epoch.get(name)))
        except (TypeError, ValueError):
            found.append(math.nan)
    return found


def _epochs(history: Sequence[Mapping]) -> list[float]:
    """The x axis."""
    epochs = series(history, "epoch")
    # Epochs may start anew after the frozen ones: the line would run back over itself.
    rising = all(before < after for before, after in pairwise(epochs))
    return epochs if rising and all(map(math.isfinite, epochs)) else list(range(len(history)))


def _figure(
    count: int, across: int = 3, size: tuple[float, float] = (4.5, 3.5)
) -> tuple[Figure, list[Axes]]:
    """Panels of that size in inches, so many side by side."""
    across = min(count, across)
    down = math.ceil(count / across)
    figure = Figure(figsize=(size[0] * across, size[1] * down), dpi=100, layout="constrained")
    return figure, [figure.add_subplot(down, across, place) for place in range(1, count + 1)]


def band(seeds: list[list[float]]) -> tuple[list[float], list[float], list[float]]:
    """Mean, lowest and highest of each epoch; NaN where a seed is missing or not finite."""
    epochs = zip_longest(*seeds, fillvalue=math.nan)
    whole = [values if all(map(math.isfinite, values)) else [math.nan] for values in epochs]
    return [fmean(v) for v in whole], [min(v) for v in whole], [max(v) for v in whole]


def _looks(models: Iterable[str], colors: Mapping[str, str] | None = None) -> dict[str, _Look]:
    """How each model looks in all charts that are given the same colors."""
    colors = colors or {}
    free = cycle([color for color in COLORS if color not in colors.values()] or COLORS)
    order = zip(dict.fromkeys([*colors, *models]), cycle(STYLES), strict=False)
    return {model: _Look(colors.get(model) or next(free), style) for model, style in order}


def _draw_lines(
    panels: Mapping[str, Mapping[str, _Line]],
    path: Path | str,
    looks: Mapping[str, _Look],
    bounds: Mapping[str, float] | None = None,
) -> None:
    """Writes the PNG of `compare_curves` and of `value_curves`: title → model → its line."""
    figure, places = _figure(len(panels), 2, (_PNG_WIDTH / 2, _PNG_HEIGHT))
    for axes, (title, lines) in zip(places, panels.items(), strict=True):
        for model, (epochs, seeds) in lines.items():
            color, style = looks[model]
            mean, low, high = band(seeds)
            if any(map(math.isfinite, mean)):
                axes.plot(epochs, mean, style, color=color, label=model, marker=".")
                axes.fill_between(epochs, low, high, color=color, alpha=0.2, linewidth=0)
            else:
                axes.plot([], [], style, color=color, label=f"{model}: none")
        axes.set_title(fill(title, _TITLE_WIDTH))
        _finish(axes, "accuracy" in title, (bounds or {}).get(title))
    with replacing(path) as beside:
        figure.savefig(beside, format="png", dpi=_SHARP)


def _finish(axes: Axes, shares: bool, bound: float | None = None) -> None:
    """What all panels over epochs have; says so if there is no line.

    shares: whether the values are shares of 1. bound: where a dashed line goes through.
    """
    axes.set_xlabel("epoch")
    axes.grid(alpha=0.3)
    epochs = [epoch for line in axes.lines for epoch in line.get_xdata()]
    values = [value for line in axes.lines for value in line.get_ydata() if math.isfinite(value)]
    if epochs:
        axes.set_xlim(min(epochs) - 0.5, max(epochs) + 0.5)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    else:
        axes.text(0.5, 0.5, "no finite number", ha="center", transform=axes.transAxes)
    if bound is not None:
        axes.axhline(bound, color="black", linestyle=_DASHED, label=f"bound: {bound:g}")
        values.append(bound)
    if axes.lines:
        axes.legend()
    if shares and epochs:
        axes.set_ylim(-0.03, 1.03)
    elif epochs and min(values) > 0 and max(values) / min(values) > _LOG_FROM:
        axes.set_yscale("log")
