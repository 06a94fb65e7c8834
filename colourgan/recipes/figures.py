"""The figures that several recipes draw: each writes a file and returns (file name, caption)."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from colourgan.color import decode, encode, lightness_to_grey
from colourgan.datasets import fit_square
from colourgan.evaluate import COLUMNS
from colourgan.images import read_rgb
from colourgan.learners import read_history
from colourgan.metrics import colorfulness
from colourgan.models import load_model
from colourgan.plots import bars, compare_curves, gif, grid
from colourgan.recipes.experiment import PICTURED, Experiment, Results

Figure = tuple[str, str]
TITLES = {name: heading for name, (heading, _) in COLUMNS.items()} | {
    "smooth_variance": "ab variance in smooth regions"
}
SHOWN_EPOCHS = (1, 10, 25, 50, 100)
COLORLESS = 1.0  # colorfulness below which a picture stored in color is grey


def measure_bars(experiment: Experiment, results: Results, metrics: Sequence[str]) -> Figure:
    """bars.png: a panel a metric, a bar a model."""
    groups = {metric: results.per_seed(metric) for metric in metrics}
    bars(groups, experiment.path("bars.png"), TITLES)
    return "bars.png", "Means over the seeds; whiskers are standard deviations, dots the seeds."


def animation(experiment: Experiment, results: Results, states: Sequence[Sequence[str]]) -> Figure:
    """colors.gif: the same test images in one state after the other, seed 0.

    states: the models of a frame, whose pictures stand side by side.
    """
    frames = []
    for models in states:
        pictures = [results.pictures(model, range(PICTURED)) for model in models]
        title = " | ".join(dict.fromkeys(models))
        frames.append((title, [rgb for row in zip(*pictures, strict=True) for rgb in row]))
    gif(frames, experiment.path("colors.gif"), columns=4 // len(states[0]) * len(states[0]))
    return "colors.gif", " → ".join(title for title, _ in frames)


def samples(
    experiment: Experiment,
    results: Results,
    models: Sequence[str],
    rows: Sequence[int] = range(PICTURED),
    file: str = "samples.png",
    caption: str = "The first test images, seed 0.",
) -> Figure:
    """A grid of test images, a model a column."""
    columns = [results.pictures(model, rows) for model in models]
    grid(list(zip(*columns, strict=True)), experiment.path(file), list(models))
    return file, caption


def loss_curves(
    experiment: Experiment, models: Mapping[str, Sequence[Path]], columns: Sequence[str]
) -> Figure:
    """curves.png: a panel a column of the histories, a line a model."""
    histories = {name: [read_history(run) for run in runs] for name, runs in models.items()}
    compare_curves(histories, columns, experiment.path("curves.png"))
    return "curves.png", "Means over the seeds, shaded from the lowest to the highest."


def over_epochs(experiment: Experiment, name: str, run: Path) -> Figure:
    """Side by side, what a run drew after 1, 10, 25, 50, 100 and the last of its epochs."""
    last = len(read_history(run))
    epochs = [epoch for epoch in SHOWN_EPOCHS if epoch < last] + [last]
    sheet = [_picture(run / "samples" / f"epoch_{epoch:03d}.png") for epoch in epochs]
    file = f"{run.name}-epochs.png"
    grid([sheet], experiment.path(file), [f"epoch {epoch}" for epoch in epochs])
    count = ", ".join(map(str, epochs))
    return file, f"{name}, seed 0: grey, predicted and true after {count} epochs."


def grey_files(
    experiment: Experiment, results: Results, runs: Sequence[Path], columns: Sequence[str]
) -> list[Figure]:
    """What becomes of test files that are grey themselves; no figure if there is none.

    Some are stored with three equal channels; others, stored with one, are not among the images
    that are measured.
    """
    images = results.images
    colors = torch.cat([colorfulness(part / 255) for part in images.rgb.split(256)])
    grey = [images.L[colors < COLORLESS]]
    for file in images.greyscale:
        square = np.array(fit_square(read_rgb(file), images.L.shape[-1]))
        grey.append(encode(torch.tensor(square).permute(2, 0, 1)[None])[0])
    L = torch.cat(grey)[:PICTURED]
    if not len(L):
        return []
    with torch.no_grad():
        colored = [decode(L, load_model(run)(L)) for run in runs]
    rows = list(zip(lightness_to_grey(L).expand(-1, 3, -1, -1), *colored, strict=True))
    grid(rows, experiment.path("grey-files.png"), list(columns))
    return [("grey-files.png", "Genuinely grey files, seed 0.")]


def _picture(path: Path) -> Tensor:
    """(3, H, W) in [0, 1]."""
    return torch.tensor(np.asarray(read_rgb(path))).permute(2, 0, 1) / 255
