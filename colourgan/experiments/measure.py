"""One finished training on its test images: every metric, image by image, and what it cost."""

import hashlib
import json
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from colourgan.color import AB_SCALE
from colourgan.datasets import native_size
from colourgan.distances import FEATURE_ENCODER
from colourgan.errors import RunError
from colourgan.evaluate import (
    Distant,
    ImageSet,
    Measured,
    as_colorful_as,
    load_images,
    measure_grey,
    measure_model,
)
from colourgan.experiments.cells import DONE, Cell
from colourgan.experiments.steps import Step
from colourgan.files import replacing
from colourgan.learners import hash_of, read_config, read_history
from colourgan.metrics import chroma_variance, smooth_regions
from colourgan.models import load_model
from colourgan.trainings import GanFinetune

MEASURED, TRAINED = "measured.safetensors", "trained.json"
_MATCHED = "matched/"
_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass
class Test:
    """How models are measured: at most `limit` test images, further distances, on a device.

    details: also "smooth_variance" and "smooth_variance_true", see `chroma_variance`, and "mean_a"
    and "mean_b", an image's mean color in CIE units. Images and features of every data set and size
    stay open until the experiment ends.
    """

    limit: int
    device: str
    data_dir: Path | None = None
    distances: tuple[str, ...] = ()
    feature_encoder: str = FEATURE_ENCODER
    details: bool = False
    _images: dict = field(default_factory=dict, repr=False)
    _distant: dict = field(default_factory=dict, repr=False)
    _hashes: dict = field(default_factory=dict, repr=False)

    def __getstate__(self) -> dict:  # another process opens its own
        return vars(self) | {"_images": {}, "_distant": {}, "_hashes": {}}

    def images(self, data: str, size: int) -> ImageSet:
        """The test images of all models of a data set and size."""
        if (data, size) not in self._images:
            self._images[data, size] = load_images(
                data, size, self.limit, data_dir=self.data_dir, progress=False
            )
        return self._images[data, size]

    def distant(self, data: str, size: int) -> Distant:
        """Measures distances from those images."""
        if (data, size) not in self._distant:
            asked = self.distances, self.feature_encoder
            self._distant[data, size] = Distant(*asked, self.images(data, size), self.device)
        return self._distant[data, size]

    def what(self, step: Step) -> dict:
        """What a model's numbers depend on, the images themselves among it."""
        place = place_of(step)
        if place not in self._hashes:
            digest = hashlib.sha256()
            images = self.images(*place)
            for rows in images.batches("hashing"):
                digest.update(images.rgb[rows].contiguous().numpy().tobytes())
            self._hashes[place] = digest.hexdigest()
        encoder = self.feature_encoder if "frechet" in self.distances else None
        if encoder and (file := Path(encoder.partition("@")[2]).expanduser()).is_file():
            encoder = f"{encoder.partition('@')[0]}@{hash_of(file)}"
        return {
            "images": self._hashes[place],
            "distances": sorted(self.distances),
            "feature_encoder": encoder,
            "details": self.details,
            "rival": step.rival and step.rival.run,
            "decoding": step.decoding and list(step.decoding),
        }

    def grey(self, data: str, size: int) -> dict[str, Tensor]:
        """What no color at all scores on them: metric → (N,)."""
        return measure_grey(self.images(data, size), _details if self.details else None).values

    def grey_distances(self, data: str, size: int) -> dict[str, float]:
        """Those of no color at all; {} if none were asked for."""
        if not self.distances:
            return {}
        images = self.images(data, size)
        return self.distant(data, size).add(measure_grey(images)).distances or {}

    def measured(self, step: Step, runs: Path) -> tuple[Measured, nn.Module]:
        """A trained model's numbers, and the model."""
        generator = prepared(step, runs)
        images, further = self.images(*place_of(step)), _details if self.details else None
        return measure_model(step.name, generator, images, self.device, further=further), generator


def _details(L: Tensor, pred: Tensor, true: Tensor) -> dict[str, Tensor]:
    smooth = smooth_regions(L)
    means = (pred * AB_SCALE).mean((2, 3))
    return {
        "smooth_variance": chroma_variance(pred, smooth),
        "smooth_variance_true": chroma_variance(true, smooth),
        "mean_a": means[:, 0],
        "mean_b": means[:, 1],
    }


def place_of(step: Step) -> tuple[str, int]:
    """The data set and size that a step's model is measured on; of a GAN its pretraining's."""
    while isinstance(step.training, GanFinetune):
        step = step.needs
    training = step.training
    return training.data, training.size or native_size(training.data)


def prepared(step: Step, runs: Path) -> nn.Module:
    """A trained model that decodes as the step says."""
    generator = load_model(runs / step.run)
    if step.decoding and hasattr(generator, "classes"):
        generator.classes.set_decoding(**step.decoding._asdict())
    return generator


def measure(step: Step, runs: Path, test: Test) -> None:
    """Writes measured.safetensors into a step's run folder."""
    folder, place = runs / step.run, place_of(step)
    distant = test.distant(*place)
    measured, generator = test.measured(step, runs)
    measured = distant.add(measured)
    tensors = dict(measured.values)
    found, history = read_config(folder)["found"], read_history(folder)
    seconds = sum(row["seconds"] for row in history)
    costs = {
        **{f"{part}_parameters": count for part, count in found["parameters"].items()},
        "flops": flops(generator, generator.arguments["size"]),
        "images_per_second": found["train_images"] * len(history) / max(seconds, 1e-9),
        "seconds": seconds,
        **json.loads((folder / TRAINED).read_text()),
    }
    note = {"test": test.what(step), "costs": costs, "distances": measured.distances or {}}
    if step.rival:
        rival, _ = test.measured(step.rival, runs)
        try:
            matched, note["matched_by"] = as_colorful_as(measured, rival, test.images(*place))
            matched = distant.add(matched)
            note["matched_distances"] = matched.distances or {}
            tensors |= {_MATCHED + name: value for name, value in matched.values.items()}
        except RunError as error:
            note["unmatched"] = str(error)
    tensors = {name: value.double().contiguous() for name, value in tensors.items()}
    with replacing(folder / MEASURED) as part:
        part.write_bytes(save(tensors, {"colourgan": json.dumps(note, sort_keys=True)}))


def is_measured(step: Step, runs: Path, test: Test) -> bool:
    """Whether a step's file is there, whole, and of this test."""
    try:
        with safe_open(runs / step.run / MEASURED, "pt") as file:
            kept = json.loads(file.metadata()["colourgan"])["test"]
    except (SafetensorError, OSError, TypeError, KeyError, ValueError):
        return False
    return kept == test.what(step)


def read_cell(step: Step, runs: Path) -> Cell:
    """A measured step as plain data."""
    with safe_open(runs / step.run / MEASURED, "pt") as file:
        note = json.loads(file.metadata()["colourgan"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    names = [name for name in tensors if name.startswith(_MATCHED)]
    matched = {name.removeprefix(_MATCHED): tensors.pop(name) for name in names}
    return Cell(
        step.factors, step.seed, step.run, DONE, "", tensors, matched, note["distances"],
        note.get("matched_distances", {}), note["costs"], read_history(runs / step.run),
        rival=step.rival and step.rival.factors,
    )  # fmt: skip


def flops(generator: nn.Module, size: int) -> int:
    """Floating-point operations, a multiplication and an addition each one, for one image's ab.

    As torch counts them: those of convolutions and matrix products.
    """
    L = torch.zeros(1, 1, size, size, device=next(generator.parameters()).device)
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        generator.eval()(L)
    return counter.get_total_flops()


@contextmanager
def peak_memory(device: str) -> Iterator[dict[str, float]]:
    """Fills {"peak_memory_mb"} when the block ends: of a CUDA device, else resident.

    Resident memory is the whole process', with Python and libraries; MB are 10^6 bytes. Where the
    system cannot forget an earlier peak (not Linux), it is the highest since the process began.
    """
    found: dict[str, float] = {}
    on_gpu = torch.device(device).type == "cuda"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats(device)
    else:
        with suppress(OSError):
            _RESET.write_text("5")  # proc(5): resets the peak resident set size
    yield found
    peak = torch.cuda.max_memory_allocated(device) if on_gpu else _resident()
    found["peak_memory_mb"] = peak / 1e6


def _resident() -> float:
    """The peak of this process' resident memory in bytes."""
    with suppress(OSError):
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return float(line.split()[1]) * 1024
    with suppress(ImportError):  # Windows has no such module
        from resource import RUSAGE_SELF, getrusage

        return getrusage(RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return math.nan
