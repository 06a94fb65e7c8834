"""Ways out of colourgan: for fastai, for other runtimes, or the model file itself."""

from pathlib import Path

from fastai.data.core import DataLoaders
from torch import nn

from colourgan.datasets import CachedDL, blank_dataloaders
from colourgan.errors import UsageError
from colourgan.exports import to_exported_program, to_onnx, to_torchscript
from colourgan.files import replacing
from colourgan.learners.color import generator_learner
from colourgan.models import load_model, model_file, save_model

ENDINGS = {
    "fastai": ".pkl", "safetensors": ".safetensors", "torchscript": ".ts", "onnx": ".onnx",
    "torch-export": ".pt2",
}  # fmt: skip


def export(
    model: Path | str,
    to: str | None = None,
    out: Path | str | None = None,
    trust_pickle: bool = False,
) -> Path:
    """Writes a run's or file's model in a format of ENDINGS; returns the path.

    out: the file; by default named after the model, in the working folder. Raises UsageError for
    no or another format, or if the file is there already.
    """
    if to is None:
        *first, last = ENDINGS
        raise UsageError(f"no format named: choose --to {', '.join(first)} or {last}")
    if to not in ENDINGS:
        raise UsageError(f"cannot export to '{to}': choices: {', '.join(ENDINGS)}")
    generator, source = load_model(model, trust_pickle), Path(model)
    name = source.resolve().name if source.is_dir() else model_file(source).stem
    path = Path(out) if out else Path(name).with_name(name + ENDINGS[to])
    if path.exists():
        raise UsageError(f"{path} exists already: choose another --out")
    write = {
        "fastai": to_fastai, "safetensors": save_model, "torchscript": to_torchscript,
        "onnx": to_onnx, "torch-export": to_exported_program,
    }  # fmt: skip
    write[to](generator, path)
    return path


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
