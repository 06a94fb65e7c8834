"""One finished cell on its test images: every metric, image by image, and what it cost."""

import hashlib
import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from colourgan.errors import RunError
from colourgan.evaluate import Distant, ImageSet, as_colorful_as, load_images, measure_model
from colourgan.files import replacing
from colourgan.learners import read_config, read_history
from colourgan.models import load_model
from colourgan.study.cells import DONE, Cell
from colourgan.study.costs import flops
from colourgan.study.grid import Training, with_content

MEASURED = "measured.safetensors"
TRAINED = "trained.json"
_MATCHED = "matched/"


class Test(NamedTuple):
    """How cells are measured: at most `limit` test images, further distances, on a device."""

    limit: int
    distances: Sequence[str]
    feature_encoder: str
    device: str
    data_dir: Path | None

    def images(self, data: str, size: str) -> ImageSet:
        """The test images of all cells of a data set and size, kept in memory."""
        return _images(data, int(size), self.limit, self.data_dir)

    def distant(self, data: str, size: str) -> Distant:
        """Measures distances from those images, whose features are kept in memory."""
        return _distant(self, data, size)

    def what(self, data: str, size: str) -> dict:
        """What the numbers depend on, the images themselves among it: a folder may change."""
        encoder = with_content(self.feature_encoder) if "frechet" in self.distances else None
        return {
            "images": _fingerprint(data, int(size), self.limit, self.data_dir),
            "distances": sorted(self.distances),
            "feature_encoder": encoder,
        }


@lru_cache(maxsize=4)
def _images(data: str, size: int, limit: int, data_dir: Path | None) -> ImageSet:
    return load_images(data, size, limit, data_dir=data_dir, progress=False)


@lru_cache(maxsize=4)
def _fingerprint(data: str, size: int, limit: int, data_dir: Path | None) -> str:
    """A hash of test images."""
    rgb = _images(data, size, limit, data_dir).rgb
    return hashlib.sha256(rgb.contiguous().numpy().tobytes()).hexdigest()


@lru_cache(maxsize=4)
def _distant(test: Test, data: str, size: str) -> Distant:
    return Distant(test.distances, test.feature_encoder, test.images(data, size), test.device)


def forget_images() -> None:
    """Empties these memories: between two calls a folder may have changed."""
    for memory in (_images, _fingerprint, _distant):
        memory.cache_clear()


def measure(training: Training, runs: Path, test: Test) -> None:
    """Writes measured.safetensors into a cell's run folder."""
    setting, folder = training.setting, runs / training.run
    place = setting["data"], setting["size"]
    images, distant = test.images(*place), test.distant(*place)
    generator = load_model(folder)
    measured = measure_model(training.name, generator, images, test.device)
    measured = distant.add(measured)
    tensors = dict(measured.values)
    costs = _costs(folder, generator)
    note = {"test": test.what(*place), "costs": costs, "distances": measured.distances or {}}
    if setting["method"].startswith("gan"):
        base = measure_model("l1", load_model(runs / training.needs.run), images, test.device)
        try:
            matched, note["matched_by"] = as_colorful_as(measured, base, images)
            matched = distant.add(matched)
            note["matched_distances"] = matched.distances or {}
            tensors |= {_MATCHED + name: value for name, value in matched.values.items()}
        except RunError as error:
            note["unmatched"] = str(error)
    tensors = {name: value.double().contiguous() for name, value in tensors.items()}
    with replacing(folder / MEASURED) as part:
        part.write_bytes(save(tensors, {"colourgan": json.dumps(note, sort_keys=True)}))


def _costs(folder: Path, generator: torch.nn.Module) -> dict[str, float]:
    found = read_config(folder)["found"]
    history = read_history(folder)
    seconds = sum(row["seconds"] for row in history)
    parameters = {f"{part}_parameters": count for part, count in found["parameters"].items()}
    return {
        **parameters,
        "flops": flops(generator, generator.arguments["size"]),
        "images_per_second": found["train_images"] * len(history) / max(seconds, 1e-9),
        "seconds": seconds,
        **json.loads((folder / TRAINED).read_text()),
    }


def is_measured(training: Training, runs: Path, test: Test) -> bool:
    """Whether a cell's file is there, whole, and of this test."""
    try:
        with safe_open(runs / training.run / MEASURED, "pt") as file:
            kept = json.loads(file.metadata()["colourgan"])["test"]
    except (SafetensorError, OSError, TypeError, KeyError, ValueError):
        return False
    return kept == test.what(training.setting["data"], training.setting["size"])


def read_cell(training: Training, runs: Path) -> Cell:
    """A measured cell as plain data."""
    with safe_open(runs / training.run / MEASURED, "pt") as file:
        note = json.loads(file.metadata()["colourgan"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    matched = {
        name.removeprefix(_MATCHED): tensors.pop(name)
        for name in list(tensors)
        if name.startswith(_MATCHED)
    }
    return Cell(
        training.setting,
        training.seed,
        training.run,
        DONE,
        "",
        tensors,
        matched,
        note["distances"],
        note.get("matched_distances", {}),
        note["costs"],
        read_history(runs / training.run),
    )
