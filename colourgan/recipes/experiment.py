"""An experiment: the trainings of a recipe, each for every seed, and what their models measure."""

import csv
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from colourgan.claims import Claim, Scale
from colourgan.color import AB_SCALE, decode, lightness_to_grey
from colourgan.errors import UsageError
from colourgan.evaluate import ImageSet, Measured, load_images, measure_grey, measure_model
from colourgan.learners import choose_device, read_config
from colourgan.metrics import chroma_variance, smooth_regions
from colourgan.models import load_model

GREY = "grey"
PICTURED = 8  # test images in grids and animations


class Results(NamedTuple):
    """images: the test images; values: model → metric → (S, N) values, one row a seed;
    ab: model → (N, 2, H, W) in network units, what seed 0 predicts.

    Besides those of METRICS there are "smooth_variance" and "smooth_variance_true", see
    `chroma_variance`, and "mean_a" and "mean_b", an image's mean color in CIE units.
    """

    images: ImageSet
    values: dict[str, dict[str, Tensor]]
    ab: dict[str, Tensor]

    def per_seed(self, metric: str, models: Sequence[str] = ()) -> dict[str, list[float]]:
        """model → the metric's mean over the images for each seed; all models unless named."""
        chosen = models or self.values
        return {model: self.values[model][metric].mean(1).tolist() for model in chosen}

    def difference(self, metric: str, model: str, base: str) -> Tensor:
        """(S, N): the metric of one model minus that of another, seed by seed, image by image."""
        return self.values[model][metric] - self.values[base][metric]

    def pictures(self, model: str, rows: Sequence[int]) -> list[Tensor]:
        """What a model makes of some test images; "grey" and "true" are the images themselves.

        rows: numbers of images; those beyond the last are left out.
        """
        rows = [row for row in rows if row < len(self.images.L)]
        if model == "true":
            return list(self.images.rgb[rows] / 255)
        L = self.images.L[rows]
        if model == GREY:
            return list(lightness_to_grey(L).expand(-1, 3, -1, -1))
        return list(decode(L, self.ab[model][rows]))


@dataclass
class Findings:
    """What a recipe found: figures are (file name in the experiment's folder, caption).

    models: model → run folders, one a seed, in the order of the table.
    """

    models: dict[str, list[Path]]
    results: Results
    claims: list[Claim]
    figures: list[tuple[str, str]]
    notes: list[str] = field(default_factory=list)


class Experiment:
    """Where a recipe trains and draws; finished trainings are kept, broken-off ones go on."""

    def __init__(
        self,
        out: Path,
        seeds: int = 3,
        test_limit: int = 1000,
        device: str = "auto",
        precision: str = "auto",
        data_dir: Path | None = None,
    ):
        if seeds < 1:
            raise UsageError(f"seeds must be 1 or more, not {seeds}")
        if test_limit < 2:
            raise UsageError(f"a test needs 2 images or more, not {test_limit}")
        self.out, self.seeds, self.test_limit = Path(out), seeds, test_limit
        self.where = {"device": device, "precision": precision, "data_dir": data_dir}
        self.trained = 0

    def train(self, name: str, *commands: Callable[..., Path]) -> list[Path]:
        """Trains a model for every seed; returns what the commands return.

        commands: training functions with their settings (`functools.partial`), one for all seeds or
        one for each; seed, out, resume, device, precision and data_dir come from the experiment.
        """
        each = commands if len(commands) > 1 else commands * self.seeds
        return [self._train(name, seed, command) for seed, command in enumerate(each)]

    def _train(self, name: str, seed: int, command: Callable[..., Path]) -> Path:
        out = self.out / "runs" / f"{name}-seed{seed}"
        self.trained += 1
        print(f"training {self.trained}: {name}, seed {seed}", file=sys.stderr)
        begun = (out / "config.json").exists()
        try:
            return command(seed=seed, out=out, resume=begun, **self.where)
        except UsageError as error:
            if not begun:
                raise
            raise UsageError(f"{error}; other settings need another --out") from error

    def path(self, name: str) -> Path:
        """Where a figure belongs."""
        return self.out / name

    def evaluate(self, models: Mapping[str, list[Path]], data: str, size: int) -> Results:
        """Every model on the same test images, beside grey."""
        watched, data_dir = sys.stderr.isatty(), self.where["data_dir"]
        images = load_images(data, size, self.test_limit, data_dir=data_dir, progress=watched)
        device = str(choose_device(self.where["device"]))
        smooth = smooth_regions(images.L)
        values, ab = {GREY: _stacked([measure_grey(images)], images, smooth)}, {}
        for name, runs in models.items():
            measured = (measure_model(name, load_model(run), images, device) for run in runs)
            first = next(measured)
            ab[name] = first.ab
            values[name] = _stacked([first, *measured], images, smooth)
        return Results(images, values, ab)

    def scale(self, findings: Findings) -> Scale:
        """How large the experiment was: its smallest training counts."""
        runs = [run for runs in findings.models.values() for run in runs]
        found = [read_config(run)["found"]["train_images"] for run in runs]
        epochs = [len(history(run)) for run in runs]
        return Scale(min(found), min(epochs), self.seeds, len(findings.results.images.L))


def history(run: Path) -> list[dict[str, float]]:
    """The rows of a run's history.csv, as numbers."""
    with (run / "history.csv").open(newline="") as file:
        return [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)]


def column(runs: Sequence[Path], name: str) -> list[list[float]]:
    """One column of each run's history."""
    return [[row[name] for row in history(run)] for run in runs]


def many(function: Callable[..., Path], parents: Sequence[Path], **settings) -> list[partial]:
    """The same finetuning of several parents, one command each, for `Experiment.train`."""
    return [partial(function, parent, **settings) for parent in parents]


def _stacked(seeds: list[Measured], images: ImageSet, smooth: Tensor) -> dict[str, Tensor]:
    rows = [each.values | _more(each.ab, images, smooth) for each in seeds]
    return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}


def _more(ab: Tensor, images: ImageSet, smooth: Tensor) -> dict[str, Tensor]:
    true = images.true_ab()
    means = (ab * AB_SCALE).mean((2, 3))
    return {
        "smooth_variance": chroma_variance(ab, smooth),
        "smooth_variance_true": chroma_variance(true, smooth),
        "mean_a": means[:, 0],
        "mean_b": means[:, 1],
    }
