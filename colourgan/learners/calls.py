"""How the functions that train are called: with a training as a value, or with its options."""

from collections.abc import Callable, Sequence
from functools import wraps
from inspect import Parameter, Signature
from pathlib import Path

import torch
from fastai.callback.core import Callback
from fastai.torch_core import set_seed
from fastcore.foundation import L

from colourgan import processes
from colourgan.callbacks import resolve_precision
from colourgan.datasets.augmentation import augmentations
from colourgan.devices import choose_device
from colourgan.discriminators import DISCRIMINATORS
from colourgan.encoders import check_encoder
from colourgan.errors import UsageError
from colourgan.generators import GENERATORS
from colourgan.initializations import INITIALIZATIONS
from colourgan.learners.memory import saying_what_to_try
from colourgan.objectives import OBJECTIVES
from colourgan.options import options
from colourgan.reconstructions import RECONSTRUCTIONS
from colourgan.schedules import SCHEDULES
from colourgan.trainings import AUTO, Training

_ALL = (DISCRIMINATORS, GENERATORS, INITIALIZATIONS, OBJECTIVES, RECONSTRUCTIONS, SCHEDULES)
REGISTRIES = {registry.kind: registry for registry in _ALL}


def trains(kind: type[Training]) -> Callable:
    """A decorator: `run(training, cbs)` becomes callable by a value or by keywords.

    `run(Kind(epochs=3))` and `run(epochs=3)` are the same; keywords beside a value replace its
    options. cbs: fastai callbacks (or one) that the learner gets besides its own; to them every
    epoch is a fit of its own, and their state is not kept for `resume`. TypeError for a keyword
    that is no option, UsageError for a wrong value.
    """

    def decorate(run: Callable[[Training, list[Callback]], Path]) -> Callable[..., Path]:
        @wraps(run)
        def call(
            training: Training | None = None, /, *, cbs: Callback | Sequence[Callback] = (), **given
        ) -> Path:
            if training is None:
                training = kind.made(given)
            elif not isinstance(training, kind):
                raise TypeError(f"{run.__name__} takes a {kind.__name__} or its options by name")
            else:
                training = type(training).made(vars(training) | given)
            check_names(training)
            check_processes(training)
            with saying_what_to_try(training), processes.joined(training.device):
                return run(training, list(L(cbs)))

        value = Parameter("training", Parameter.POSITIONAL_ONLY, default=None, annotation=kind)
        named = [
            Parameter(each.name, Parameter.KEYWORD_ONLY, default=each.default, annotation=each.type)
            for each, _ in options(kind)
        ]
        cbs = Parameter("cbs", Parameter.KEYWORD_ONLY, default=())
        call.__signature__ = Signature([value, *named, cbs], return_annotation=Path)
        call.training = kind
        return call

    return decorate


def check_names(training: Training) -> None:
    """Raises UsageError for a name in a training's options that no registry has."""
    for each, about in options(type(training)):
        value = getattr(training, each.name)
        if about.kind and value is not None and value not in about.choices:
            try:
                REGISTRIES[about.kind][value]
            except UsageError as error:
                raise UsageError(", ".join((str(error), *about.choices))) from None
        if about.role == "encoder" and getattr(training, "start", None) is None:
            check_encoder(value)
    augmentations(training.augmentation)


def check_processes(training: Training) -> None:
    """Raises UsageError if as many processes as were launched cannot train this together."""
    count, images = processes.launched(), training.batch_size
    if count == 1:
        processes.check_launcher()
        return
    if not training.distributed:
        raise UsageError(f"{training.command} trains in one process, not in {count}")
    if AUTO in (images, getattr(training, "lr", None)):
        raise UsageError(f"--batch-size auto and --lr auto are for one process, not for {count}")
    if rest := images % count:
        near = f"{images - rest} or {images - rest + count}" if images > rest else f"{count}"
        raise UsageError(
            f"--batch-size {images} is that of all {count} processes and does not divide evenly: "
            f"choose {near}"
        )


def begin(training: Training) -> torch.device:
    """Seeds everything random and chooses the device, before a run folder is made."""
    set_seed(training.seed)
    device = choose_device(training.device)
    resolve_precision(training.precision, device)
    return device
