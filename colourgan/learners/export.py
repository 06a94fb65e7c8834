"""Ways out of colourgan: for fastai, for other runtimes, or the model file itself."""

from pathlib import Path

import numpy as np
import torch
from fastai.data.core import DataLoaders
from torch import Tensor, nn

from colourgan.color import encode
from colourgan.datasets import (
    CachedDL,
    blank_dataloaders,
    dataset_root,
    fit_square,
    training_parts,
)
from colourgan.errors import UsageError
from colourgan.exports import to_exported_program, to_onnx, to_onnx_int8, to_torchscript
from colourgan.files import replacing
from colourgan.images import read_rgb
from colourgan.learners.color import generator_learner
from colourgan.models import load_model, name_of, save_model

ENDINGS = {
    "fastai": ".pkl", "safetensors": ".safetensors", "torchscript": ".ts", "onnx": ".onnx",
    "onnx-int8": ".onnx", "torch-export": ".pt2",
}  # fmt: skip
CALIBRATING = 100  # photographs that the ranges of 8-bit integers are taken from


def export(
    model: Path | str,
    to: str | None = None,
    out: Path | str | None = None,
    trust_pickle: bool = False,
    data: Path | str | None = None,
) -> Path:
    """Writes a run's or file's model in a format of ENDINGS; returns the path.

    out: the file; by default named after the model, in the working folder. data: a name of DATASETS
    or a folder of photographs that "onnx-int8" is calibrated on, by default "sample", which needs
    no download. Raises UsageError for no or another format, or if the file is there already.
    """
    if to is None:
        *first, last = ENDINGS
        raise UsageError(f"no format named: choose --to {', '.join(first)} or {last}")
    if to not in ENDINGS:
        raise UsageError(f"cannot export to '{to}': choices: {', '.join(ENDINGS)}")
    if data is not None and to != "onnx-int8":
        raise UsageError("--data has no effect without --to onnx-int8")
    generator, name = load_model(model, trust_pickle), name_of(model)
    path = Path(out) if out else Path(name).with_name(name + ENDINGS[to])
    if path.exists():
        raise UsageError(f"{path} exists already: choose another --out")
    if to == "onnx-int8":
        to_onnx_int8(generator, path, _lightness(data or "sample", generator.arguments["size"]))
        return path
    write = {
        "fastai": to_fastai, "safetensors": save_model, "torchscript": to_torchscript,
        "onnx": to_onnx, "torch-export": to_exported_program,
    }  # fmt: skip
    write[to](generator, path)
    return path


def _lightness(data: Path | str, size: int) -> Tensor:
    """L (N, 1, size, size) in network units of at most CALIBRATING of a data set's photographs."""
    files = training_parts(dataset_root(data)).train[:CALIBRATING]
    squares = [np.asarray(fit_square(read_rgb(file), size)) for file in files]
    return encode(torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2))[0]


def to_fastai(generator: nn.Module, path: Path | str) -> None:
    """Writes a pickled Learner, for `load_learner(path).predict("photo.jpg")` beside colourgan.

    It holds the generator alone: no optimizer, no discriminator, no data; what needs data raises
    UsageError until `learn.dls` is set.
    """
    blank = blank_dataloaders(generator.arguments["size"])
    loaders = [loader.new(cls=PredictingDL) for loader in blank.loaders]
    learn = generator_learner(DataLoaders(*loaders, device=blank.device), generator)
    learn.remove_cbs([learn.precision, learn.progress])  # whoever predicts chooses their own
    with replacing(path) as part:
        learn.path = part.parent
        learn.export(part.name)


class PredictingDL(CachedDL):
    """A loader for `learn.predict`; without items, as a pickle has it, UsageError for any batch."""

    def one_batch(self):
        self._check()
        return super().one_batch()

    def __iter__(self):
        self._check()
        return super().__iter__()

    def _check(self) -> None:
        if not len(self.dataset):
            size = self.dataset.tfms[0].size
            raise UsageError(
                "an exported learner has no pictures and can only predict; to give it some: "
                f"learn.dls = colourgan.datasets.color_dataloaders(FOLDER, {size})"
            )
