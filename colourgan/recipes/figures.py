"""The figures that several recipes draw: each writes a file and returns (file name, caption)."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from colourgan.color import encode
from colourgan.datasets import fit_square
from colourgan.evaluate import COLUMNS
from colourgan.images import read_rgb
from colourgan.metrics import colorfulness
from colourgan.plots import bars, compare_curves, gif, grid
from colourgan.recipes.experiment import Results

Figure = tuple[str, str]  # file name and caption
TITLES = {name: heading for name, (heading, _) in COLUMNS.items()} | {
    "smooth_variance": "ab variance in smooth regions"
}
PICTURED = 8  # test images in grids and animations
SHOWN_EPOCHS = (1, 10, 25, 50, 100)
COLORLESS = 1.0  # colorfulness below which a picture stored in color is grey


def measure_bars(results: Results, *metrics: str) -> Figure:
    """bars.png: a panel a metric, a bar a model."""
    bars({metric: results.per_seed(metric) for metric in metrics}, results.out / "bars.png", TITLES)
    return "bars.png", "Means over the seeds; whiskers are standard deviations, dots the seeds."


def animation(results: Results, states: Sequence[Sequence[str]] | None = None) -> Figure:
    """colors.gif: the same test images in one state after the other, first seed.

    states: the models of a frame, whose pictures stand side by side; None: each alone.
    """
    states = states or [[column] for column in results.columns]
    frames = []
    for models in states:
        pictures = [results.pictures(model, range(PICTURED)) for model in models]
        title = " | ".join(dict.fromkeys(models))
        frames.append((title, [rgb for row in zip(*pictures, strict=True) for rgb in row]))
    gif(frames, results.out / "colors.gif", columns=4 // len(states[0]) * len(states[0]))
    return "colors.gif", " → ".join(title for title, _ in frames)


def samples(
    results: Results,
    rows: Sequence[int] = range(PICTURED),
    file: str = "samples.png",
    caption: str = "The first test images, first seed.",
) -> Figure:
    """A grid of test images: grey, each model, true."""
    columns = [results.pictures(model, rows) for model in results.columns]
    grid(list(zip(*columns, strict=True)), results.out / file, results.columns)
    return file, caption


def loss_curves(results: Results, *columns: str) -> Figure:
    """curves.png: a panel a column of the histories, a line a model."""
    histories = {model: results.history(model) for model in results.cells}
    compare_curves(histories, columns, results.out / "curves.png")
    return "curves.png", "Means over the seeds, shaded from the lowest to the highest."


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
