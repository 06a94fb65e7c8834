"""An experiment: the trainings of a recipe, each for every seed, and what their models measure."""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from colourgan.claims import Claim, Scale
from colourgan.color import AB_SCALE, decode, lightness_to_grey
from colourgan.encoders import build_encoder
from colourgan.errors import Diverged, OtherSettings, RunError, UsageError
from colourgan.evaluate import (
    ImageSet,
    Measured,
    as_colorful_as,
    load_images,
    measure_grey,
    measure_model,
)
from colourgan.files import replacing
from colourgan.learners import choose_device, is_unused, read_config, read_history
from colourgan.metrics import chroma_variance, smooth_regions
from colourgan.models import MODEL_NAME, load_model

GREY = "grey"
PICTURED = 8  # test images in grids and animations


class Results(NamedTuple):
    """images: the test images; values: model → metric → (S, N) values, one row a seed;
    ab: model → (N, 2, H, W) in network units, what seed 0 predicts.

    Besides those of METRICS there are "smooth_variance" and "smooth_variance_true", see
    `chroma_variance`, and "mean_a" and "mean_b", an image's mean color in CIE units. A seed whose
    training diverged has NaN everywhere.
    """

    images: ImageSet
    values: dict[str, dict[str, Tensor]]
    ab: dict[str, Tensor]

    def per_seed(self, metric: str) -> dict[str, list[float]]:
        """model → the metric's mean over the images for each seed."""
        return {model: values[metric].mean(1).tolist() for model, values in self.values.items()}

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
    """Where a recipe trains and draws; finished trainings are kept, broken-off ones go on.

    out: its folder; a folder belongs to one recipe. seeds: how often each training is repeated;
    test_limit: test images at most. Raises UsageError for too few of them, and for another
    recipe's folder.
    """

    def __init__(
        self,
        recipe: str,
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
        # Absolute: a path in a run's settings is the same from wherever the command is called.
        self.out, self.seeds, self.test_limit = Path(out).resolve(), seeds, test_limit
        self.where = {"device": device, "precision": precision, "data_dir": data_dir}
        self.runs: list[Path] = []
        self.diverged: dict[Path, str] = {}
        self.device = str(choose_device(device))
        self._claim_folder(recipe)

    def _claim_folder(self, recipe: str) -> None:
        note = self.out / "recipe.json"
        if note.exists() and (other := json.loads(note.read_text())["recipe"]) != recipe:
            raise UsageError(f"{self.out} belongs to recipe {other}: choose another --out")
        self.note = note, json.dumps({"recipe": recipe}) + "\n"

    def open(self, data: str, size: int, encoders: Sequence[str] = ()) -> None:
        """Looks at all that could be missing, before anything is trained for hours.

        Raises UsageError and RunError as `load_images` and `build_encoder` do.
        """
        watched, data_dir = sys.stderr.isatty(), self.where["data_dir"]
        self.images = load_images(data, size, self.test_limit, data_dir=data_dir, progress=watched)
        for encoder in encoders:
            build_encoder(encoder)

    def train(self, name: str, *commands: Callable[..., Path]) -> list[Path]:
        """Trains a model for every seed; returns what the commands return.

        commands: training functions with their settings (`functools.partial`), one for all seeds or
        one for each; seed, out, resume, device, precision and data_dir come from the experiment.
        """
        each = commands if len(commands) > 1 else commands * self.seeds
        return [self._train(name, seed, command) for seed, command in enumerate(each)]

    def _train(self, name: str, seed: int, command: Callable[..., Path]) -> Path:
        if not self.runs:
            path, text = self.note
            with replacing(path) as part:
                part.write_text(text)
        out = self.out / "runs" / f"{name}-seed{seed}"
        self.runs.append(out)
        print(f"training {len(self.runs)}: {name}, seed {seed}", file=sys.stderr)
        begun = (out / "config.json").exists() and not is_unused(out)
        try:
            return command(seed=seed, out=out, resume=begun, **self.where)
        except OtherSettings as error:
            raise UsageError(f"{error}; other settings need another --out") from error
        except Diverged as error:
            if not (out / MODEL_NAME).exists():
                raise
            self.diverged[out] = f"{name}, seed {seed}, diverged and does not count: {error}."
            print(self.diverged[out], file=sys.stderr)
            return out

    def column(self, runs: Sequence[Path], name: str) -> list[list[float]]:
        """One column of each run's history; NaN throughout for one that diverged."""
        return [
            [torch.nan if run in self.diverged else row[name] for row in read_history(run)]
            for run in runs
        ]

    def path(self, name: str) -> Path:
        """Where a figure belongs."""
        return self.out / name

    def evaluate(
        self,
        models: Mapping[str, list[Path]],
        prepare: Callable[[nn.Module], None] = lambda generator: None,
    ) -> Results:
        """Every model on the same test images, beside grey; prepare: sets each generator before."""
        smooth = smooth_regions(self.images.L)
        true = chroma_variance(self.images.true_ab(), smooth)
        grey = self._values(measure_grey(self.images), smooth, true)
        values, ab = {GREY: {name: each[None] for name, each in grey.items()}}, {}
        for name, runs in models.items():
            rows = []
            for run in runs:
                generator = load_model(run)
                prepare(generator)
                measured = measure_model(name, generator, self.images, self.device)
                ab.setdefault(name, measured.ab)
                rows.append(self._values(measured, smooth, true, run in self.diverged))
            values[name] = {metric: torch.stack([row[metric] for row in rows]) for metric in grey}
        return Results(self.images, values, ab)

    def as_colorful(self, results: Results, base: str, runs: list[Path], model: str) -> Tensor:
        """(S, N): L1 of `base` with its ab scaled until it is as colorful as the model, by seeds.

        runs: those of `base`. NaN for a seed that diverged or where no factor does it.
        """
        rows = []
        for seed, run in enumerate(runs):
            values = {name: each[seed] for name, each in results.values[model].items()}
            try:
                paler = measure_model(base, load_model(run), self.images, self.device)
                rival, _ = as_colorful_as(Measured(model, None, values), paler, self.images)
                l1 = rival.values["l1"]
            except RunError:
                l1 = torch.full_like(values["l1"], torch.nan)
            rows.append(l1 * torch.nan if run in self.diverged else l1)
        return torch.stack(rows)

    def _values(
        self, measured: Measured, smooth: Tensor, true: Tensor, diverged: bool = False
    ) -> dict[str, Tensor]:
        means = (measured.ab * AB_SCALE).mean((2, 3))
        values = measured.values | {
            "smooth_variance": chroma_variance(measured.ab, smooth),
            "smooth_variance_true": true,
            "mean_a": means[:, 0],
            "mean_b": means[:, 1],
        }
        return {name: each * torch.nan if diverged else each for name, each in values.items()}

    def scale(self, findings: Findings) -> Scale:
        """How large the experiment was: its smallest training counts."""
        runs = [run for runs in findings.models.values() for run in runs]
        found = [read_config(run)["found"]["train_images"] for run in runs]
        epochs = [len(read_history(run)) for run in runs]
        return Scale(min(found), min(epochs), self.seeds, len(findings.results.images.L))

    def minutes(self) -> float:
        """What all of the trainings took, whenever they ran, without their validation."""
        return sum(row["seconds"] for run in self.runs for row in read_history(run)) / 60


def exactly(encoders: Sequence[str], count: int) -> Sequence[str]:
    """The encoders; UsageError if there are not so many."""
    if len(encoders) != count:
        raise UsageError(
            f"this recipe compares {count} encoder{'s' * (count > 1)}, not {len(encoders)}: "
            f"name {count}, separated by commas"
        )
    return encoders
