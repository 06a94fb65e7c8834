"""The figures that several recipes draw: each writes a file and returns (file name, caption).

In all of them a model has one color: that of its place in `results.cells`, see `model_colors`.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import cycle

import numpy as np
import torch
from torch import Tensor

from colourgan.color import encode
from colourgan.datasets import fit_square
from colourgan.evaluate import COLUMNS
from colourgan.experiments.cells import DONE
from colourgan.experiments.steps import Step
from colourgan.images import read_rgb
from colourgan.metrics import colorfulness
from colourgan.plots import bars, compare_curves, gif, grid
from colourgan.plots.charts import COLORS, DARK, NEUTRAL, value_curves
from colourgan.recipes.experiment import GREY, TRUE, Results
from colourgan.trainings import TrainCycleGAN

Figure = tuple[str, str]  # file name and caption
TITLES = {name: heading for name, (heading, _) in COLUMNS.items()} | {
    "smooth_variance": "ab variance in smooth regions"
}
PICTURED = 8  # test images in grids and animations
SHOWN_EPOCHS = (1, 10, 25, 50, 100)
COLORLESS = 1.0  # colorfulness below which a picture stored in color is grey
SPREAD = "Test images spread evenly over the set, first seed"
_NORMS = {"l1": "L1", "l2": "L2", "bins": "cross-entropy", "feature": "L1"}


def model_colors(results: Results) -> dict[str, str]:
    """model → its color in charts; "grey" and "true" have one that no model has."""
    # Without the palette's black, which is too near to the color of "true".
    models = zip(results.cells, cycle(COLORS[:-1]), strict=False)
    return dict(models) | {GREY: NEUTRAL, TRUE: DARK}


def spread_rows(results: Results) -> list[int]:
    """The numbers of PICTURED test images, evenly spaced; all of them if there are fewer."""
    count = len(results.images)
    shown = min(PICTURED, count)
    return [number * count // shown for number in range(shown)]


def loss_units(results: Results) -> dict[str, dict[str, str]]:
    """column of a history → model → the unit of its numbers, by what the model trains with.

    Of train_loss it is the reconstruction's, of valid_loss too, but that of "bins" is L1: training
    classifies, validation predicts ab. Both leave out the second term of "feature", which has a
    column of its own. Of d_loss and g_loss it is the objective, though CycleGAN's g_loss is the sum
    for two discriminators. Other columns have no unit. Without `results.steps` it is empty.
    """
    units: dict[str, dict[str, str]] = {}
    for model, (step, *_) in results.steps.items():
        training = step.training
        norm, objective = _reconstruction(step), getattr(training, "objective", "")
        generators = f"{objective} × 2" if isinstance(training, TrainCycleGAN) else objective
        found = {
            "train_loss": _NORMS.get(norm, norm),
            "valid_loss": "L1" if norm == "bins" else _NORMS.get(norm, norm),
            "d_loss": objective,
            "g_loss": generators,
        }
        for column, unit in found.items():
            units.setdefault(column, {})[model] = unit
    return units


def _reconstruction(step: Step) -> str:
    """The name of what a step minimises; a pretraining that leaves it open goes on with its own."""
    own = getattr(step.training, "reconstruction", None)
    return own or (_reconstruction(step.needs) if step.needs else "l1")


def measure_bars(results: Results, *metrics: str) -> Figure:
    """bars.png: a panel a metric, a bar a model, and one of the true images where they have it."""
    groups = {metric: results.per_seed(metric) for metric in metrics}
    for metric, models in groups.items():
        # The same number for every model and seed, but NaN of a training that failed.
        true = [
            mean
            for values in results.values.values()
            for mean in values.get(f"{metric}_true", torch.empty(0, 1)).mean(1).tolist()
            if math.isfinite(mean)
        ]
        if true:
            models[TRUE] = true[-1:]
    bars(groups, results.out / "bars.png", TITLES, model_colors(results))
    return "bars.png", "Means over the seeds; whiskers are standard deviations, dots the seeds."


def animation(
    results: Results, states: Sequence[Sequence[str]] | None = None, file: str = "colors.gif"
) -> Figure:
    """A GIF: the same test images in one state after the other, its name above them.

    states: the models of a frame, as many in each, whose pictures stand side by side; None: each
    alone, from grey to true.
    """
    states = states or [[column] for column in results.columns]
    rows, frames = spread_rows(results), []
    for models in states:
        pictures = [results.pictures(model, rows) for model in models]
        title = " | ".join(dict.fromkeys(models))
        frames.append((title, [rgb for row in zip(*pictures, strict=True) for rgb in row]))
    across = len(states[0])
    gif(frames, results.out / file, columns=max(4 // across, 1) * across)
    beside = ", side by side" if across > 1 else ""
    return file, f"{SPREAD}{beside}: {' → '.join(title for title, _ in frames)}."


def samples(
    results: Results,
    rows: Sequence[int] | None = None,
    file: str = "samples.png",
    caption: str = f"{SPREAD}.",
) -> Figure:
    """A grid of test images: grey, each model, true. rows: their numbers; None: `spread_rows`."""
    rows = spread_rows(results) if rows is None else rows
    columns = [results.pictures(model, rows) for model in results.columns]
    grid(list(zip(*columns, strict=True)), results.out / file, results.columns)
    return file, caption


def loss_curves(results: Results, *columns: str) -> Figure:
    """curves.png: a panel a column of the histories and unit of its numbers, a line a model."""
    histories = {model: results.history(model) for model in results.cells}
    path, colors = results.out / "curves.png", model_colors(results)
    compare_curves(histories, columns, path, loss_units(results), colors)
    return "curves.png", "Means over the seeds, shaded from the lowest to the highest."


def quantity_curves(
    results: Results,
    panels: Mapping[str, Mapping[str, Sequence[Sequence[float]]]],
    file: str,
    caption: str,
    bounds: Mapping[str, float] | None = None,
) -> Figure:
    """What a claim judges, over the epochs: a panel a quantity, a line a model.

    panels: title → model → for each seed its values, one an epoch, such as `results.column` has
    them; a seed whose training failed is left out. bounds: title → where the claim's bound lies, a
    dashed line.
    """

    def done(model: str, seeds: Sequence[Sequence[float]]) -> list[Sequence[float]]:
        cells = results.cells[model]
        return [seed for seed, cell in zip(seeds, cells, strict=True) if cell.state == DONE]

    drawn = {
        title: {model: done(model, seeds) for model, seeds in models.items()}
        for title, models in panels.items()
    }
    value_curves(drawn, results.out / file, model_colors(results), bounds)
    return file, caption


def over_epochs(results: Results, model: str) -> Figure:
    """Side by side, what the first seed drew after 1, 10, 25, 50, 100 and the last epoch."""
    run, last = next(run for run in results.runs(model) if run), len(results.history(model)[0])
    epochs = [epoch for epoch in SHOWN_EPOCHS if epoch < last] + [last]
    files = [run / "samples" / f"epoch_{epoch:03d}.png" for epoch in epochs]
    sheets = [torch.tensor(np.asarray(read_rgb(file))).permute(2, 0, 1) / 255 for file in files]
    grid([sheets], results.out / f"{model}-epochs.png", [f"epoch {epoch}" for epoch in epochs])
    after = f"after {', '.join(map(str, epochs))} epochs."
    return f"{model}-epochs.png", f"{model}, first seed: grey, predicted, true {after}"


def grey_files(results: Results) -> list[Figure]:
    """What becomes of test files that are grey themselves; no figure if there is none.

    Some are stored with three equal channels; others, stored with one, are not among the images
    that are measured.
    """
    images = results.images
    colors = [colorfulness(images.rgb[rows] / 255) for rows in images.batches("grey files")]
    measured = (torch.cat(colors) < COLORLESS).nonzero().flatten()[:PICTURED]
    grey = [images.L[measured]] if len(measured) else []
    for file in images.greyscale[: PICTURED - len(measured)]:
        square = np.array(fit_square(read_rgb(file), images.rgb.shape[-1]))
        grey.append(encode(torch.tensor(square).permute(2, 0, 1)[None])[0])
    if not grey:
        return []
    columns = results.columns[:-1]
    colored: list[list[Tensor]] = [results.colored(name, torch.cat(grey)) for name in columns]
    grid(list(zip(*colored, strict=True)), results.out / "grey-files.png", columns)
    return [("grey-files.png", "Genuinely grey files, first seed.")]
