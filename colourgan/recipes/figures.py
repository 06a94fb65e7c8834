"""The figures that several recipes draw: each writes a file and returns (file name, caption)."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from colourgan.evaluate import COLUMNS
from colourgan.plots import bars, compare_curves, gif, grid
from colourgan.recipes.experiment import PICTURED, Experiment, Results, history

Figure = tuple[str, str]
TITLES = {name: heading for name, (heading, _) in COLUMNS.items()} | {
    "smooth_variance": "ab variance in smooth regions ↓"
}


def measure_bars(experiment: Experiment, results: Results, metrics: Sequence[str]) -> Figure:
    """bars.png: a panel a metric, a bar a model."""
    groups = {metric: results.per_seed(metric) for metric in metrics}
    bars(groups, experiment.path("bars.png"), TITLES)
    return "bars.png", "Means over the seeds; whiskers are standard deviations, dots the seeds."


def animation(experiment: Experiment, results: Results, models: Sequence[str]) -> Figure:
    """colors.gif: the same test images as one model after the other sees them."""
    frames = [(model, results.pictures(model, range(PICTURED))) for model in models]
    gif(frames, experiment.path("colors.gif"))
    return "colors.gif", " → ".join(models)


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
    histories = {name: [history(run) for run in runs] for name, runs in models.items()}
    compare_curves(histories, columns, experiment.path("curves.png"))
    return "curves.png", "Means over the seeds, shaded from the lowest to the highest."


def over_epochs(
    experiment: Experiment, name: str, run: Path, epochs: Sequence[int], file: str
) -> Figure:
    """Side by side, what a run drew after some of its epochs."""
    pictures = {epoch: run / "samples" / f"epoch_{epoch:03d}.png" for epoch in epochs}
    drawn = {epoch: path for epoch, path in pictures.items() if path.exists()}
    sheet = [_picture(path) for path in drawn.values()]
    grid([sheet], experiment.path(file), [f"epoch {epoch}" for epoch in drawn])
    return file, f"{name}: grey, predicted and true after {', '.join(map(str, drawn))} epochs."


def _picture(path: Path) -> Tensor:
    """(3, H, W) in [0, 1]."""
    with Image.open(path) as image:
        width, height = image.size
        data = torch.frombuffer(bytearray(image.convert("RGB").tobytes()), dtype=torch.uint8)
    return data.view(height, width, 3).permute(2, 0, 1) / 255
