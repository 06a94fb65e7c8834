"""Training an encoder as a classifier of a data set's folders, from nothing or from weights."""

from dataclasses import replace
from pathlib import Path

import torch
from fastai.callback.core import Callback
from fastai.data.transforms import IntToFloatTensor, Normalize
from fastai.learner import Learner
from fastai.losses import CrossEntropyLossFlat
from fastai.metrics import accuracy
from fastai.optimizer import SGD

from colourgan.callbacks import Precision
from colourgan.datasets import labelled_dataloaders, native_size
from colourgan.datasets.augmentation import Augment
from colourgan.encoders import ENCODERS, build_classifier, save_weights
from colourgan.errors import UsageError
from colourgan.learners.calls import begin, trains
from colourgan.learners.memory import first_size, settle_batches
from colourgan.learners.runs import Run, new_folder
from colourgan.learners.training import Phase, train
from colourgan.options import places
from colourgan.trainings import TrainEncoder, arguments

WEIGHTS = "encoder.safetensors"


@trains(TrainEncoder)
def train_encoder(training: TrainEncoder, cbs: list[Callback]) -> Path:
    """Trains a classifier on a data set whose folders are its classes; returns its weights' file.

    SGD with momentum and decoupled weight decay, one-cycle. The file `encoder.safetensors` (half
    precision, with a note of how it was made) serves as `ARCH@FILE`. The accuracy is that on the
    validation images. Raises UsageError and RunError.
    """
    t = replace(training, size=training.size or native_size(training.data))
    device = begin(t)
    name, _, weights = t.encoder.partition("@")
    kind = ENCODERS[name]()
    # On the device in use: Normalize.from_stats knows only fastai's default one.
    mean, std = (torch.tensor(v).view(1, 3, 1, 1).to(device) for v in (kind.mean, kind.std))
    tfms = [Augment(t.augmentation), IntToFloatTensor(), Normalize(mean, std)]
    dls, classes = labelled_dataloaders(
        t.data, t.size, first_size(t), t.limit, tfms, device, t.data_dir
    )
    if len(classes) < 2:
        raise UsageError(f"{t.data} has one class folder: a classifier needs at least 2")
    classifier = build_classifier(t.encoder, len(classes)).to(memory_format=torch.channels_last)
    learn = Learner(
        dls, classifier, CrossEntropyLossFlat(label_smoothing=t.label_smoothing), opt_func=SGD,
        wd=t.weight_decay, metrics=accuracy, cbs=[Precision(t.precision), *cbs],
    )  # fmt: skip
    out = t.out or new_folder(f"{name}-classifier-{Path(t.data).resolve().name}")
    with Run.open(out, t) as run:
        run.note_learner(learn)
        settle_batches(learn, run, t)

        def save_model() -> None:
            made = {k: v for k, v in arguments(t).items() if k not in (*places(t), "encoder")}
            note = {
                **made,
                "started_from": Path(weights).name or "none",
                "classes": classes,
                "validation_accuracy": round(run.history[-1]["accuracy"], 4),
            }
            save_weights(learn.model, run.path / WEIGHTS, name, note)

        train(learn, run, [Phase(t, t.epochs, t.lr)], save_model)
    return run.path / WEIGHTS
