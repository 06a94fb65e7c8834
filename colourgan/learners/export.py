"""Ways out of colourgan: a fastai pickle, TorchScript, or the model file itself."""

from pathlib import Path

from torch import nn

from colourgan.datasets import blank_dataloaders
from colourgan.errors import UsageError
from colourgan.files import replacing
from colourgan.learners.color import generator_learner
from colourgan.models import load_model, model_file, save_model, to_torchscript

ENDINGS = {"fastai": ".pkl", "safetensors": ".safetensors", "torchscript": ".ts"}


def export(
    model: Path | str, to: str, out: Path | str | None = None, trust_pickle: bool = False
) -> Path:
    """Writes a run's or file's model as `to` ("fastai", "safetensors", "torchscript"); its path.

    out: the file; by default named after the model, in the working folder. Raises UsageError for
    another format, or if the file is there already.
    """
    if to not in ENDINGS:
        raise UsageError(f"cannot export to '{to}': choices: {', '.join(ENDINGS)}")
    generator = load_model(model, trust_pickle)
    source = Path(model)
    name = source.resolve().name if source.is_dir() else model_file(source).stem
    path = Path(out) if out else Path(name).with_name(name + ENDINGS[to])
    if path.exists():
        raise UsageError(f"{path} exists already: choose another --out")
    write = {"fastai": to_fastai, "safetensors": save_model, "torchscript": to_torchscript}[to]
    write(generator, path)
    return path


def to_fastai(generator: nn.Module, path: Path | str) -> None:
    """Writes a pickled Learner, for `load_learner(path).predict("photo.jpg")` beside colourgan.

    It holds the generator alone: no optimizer, no discriminator, no data.
    """
    dls = blank_dataloaders(generator.arguments["size"])
    learn = generator_learner(dls, generator)
    learn.remove_cbs([learn.precision, learn.progress])  # whoever predicts chooses their own
    with replacing(path) as part:
        learn.path = part.parent
        learn.export(part.name)
