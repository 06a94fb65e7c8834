"""Training an encoder as a classifier of a data set's folders, from nothing or from weights."""

from pathlib import Path

import torch
from fastai.data.transforms import IntToFloatTensor, Normalize
from fastai.learner import Learner
from fastai.losses import CrossEntropyLossFlat
from fastai.metrics import accuracy
from fastai.optimizer import SGD
from fastai.torch_core import set_seed

from colourgan.callbacks import Precision, resolve_precision
from colourgan.datasets import labelled_dataloaders, native_size
from colourgan.datasets.loaders import Augment
from colourgan.encoders import ENCODERS, Architecture, build_classifier, save_weights
from colourgan.errors import UsageError
from colourgan.learners.color import choose_device
from colourgan.learners.runs import PLACES, Run, arguments_of, new_folder
from colourgan.learners.training import Phase, train


def train_encoder(
    arch: str = "resnet20",
    data: str = "cifar10",
    size: int | None = None,
    limit: int | None = None,
    epochs: int = 30,
    batch_size: int = 128,
    lr: float = 0.2,
    weight_decay: float = 5e-3,
    label_smoothing: float = 0.0,
    augmentation: str = "flip+crop",
    seed: int = 0,
    device: str = "auto",
    precision: str = "auto",
    out: Path | None = None,
    resume: bool = False,
    data_dir: Path | None = None,
) -> Path:
    """Trains a classifier on a data set whose folders are its classes; returns its weights' file.

    arch: a registered encoder, random, or ARCH@WEIGHTS to go on from weights that exist; lr:
    highest of the one-cycle, for SGD with momentum and decoupled weight decay. The file
    `encoder.safetensors` (half precision, with a note of how it was made) serves as `ARCH@FILE`.
    The accuracy is that on the validation images.
    Raises UsageError for wrong names and RunError if the loss is NaN or files cannot be written.
    """
    size = native_size(data) if size is None else size
    arguments = arguments_of(locals())
    if epochs < 1:
        raise UsageError("nothing to train: epochs is 0")
    set_seed(seed)
    where = choose_device(device)
    resolve_precision(precision, where)  # before a run folder is made
    name, _, weights = arch.partition("@")
    kind = ENCODERS[name]()
    tfms = [Augment(augmentation), IntToFloatTensor(), _normalize(kind, where)]
    dls, classes = labelled_dataloaders(data, size, batch_size, limit, tfms, where, data_dir)
    if len(classes) < 2:
        raise UsageError(f"{data} has one class folder: a classifier needs at least 2")
    learn = Learner(
        dls,
        build_classifier(arch, len(classes)).to(memory_format=torch.channels_last),
        CrossEntropyLossFlat(label_smoothing=label_smoothing),
        opt_func=SGD,
        wd=weight_decay,
        metrics=accuracy,
        cbs=[Precision(precision)],
    )
    out = out or new_folder(f"{name}-classifier-{Path(data).resolve().name}")
    run = Run.open(out, "train-encoder", arguments, resume)
    run.note_learner(learn)

    def save_model() -> None:
        reached = round(run.history[-1]["accuracy"], 4)
        made = {k: v for k, v in arguments.items() if k not in (*PLACES, "arch")}
        origin = Path(weights).name or "none"
        note = {**made, "started_from": origin, "classes": classes, "validation_accuracy": reached}
        save_weights(learn.model, out / "encoder.safetensors", name, note)

    train(learn, run, [Phase(epochs, lr)], save_model)
    return out / "encoder.safetensors"


def _normalize(kind: Architecture, device: torch.device) -> Normalize:
    """fastai's, on the device in use: `from_stats` knows only the default one."""
    mean, std = (
        torch.tensor(values).view(1, 3, 1, 1).to(device) for values in (kind.mean, kind.std)
    )
    return Normalize(mean, std)
