"""Finetuning: a pretrained generator against a discriminator."""

import logging
from dataclasses import replace
from functools import partial
from math import isfinite
from pathlib import Path

from fastai.callback.core import Callback

from colourgan.callbacks import EMA, Adversarial, BestEpoch
from colourgan.datasets import color_dataloaders
from colourgan.discriminators import DISCRIMINATORS
from colourgan.errors import UsageError
from colourgan.learners.calls import begin, trains
from colourgan.learners.color import Outputs, generator_learner
from colourgan.learners.memory import first_size, settle_batches
from colourgan.learners.runs import Run, new_folder, read_training
from colourgan.learners.training import Phase, train
from colourgan.models import load_model, name_of, safe_model_file
from colourgan.objectives import build_objective
from colourgan.optimizers import FusedAdam
from colourgan.trainings import Adversary, GanFinetune

_log = logging.getLogger(__name__)


@trains(GanFinetune)
def gan_finetune(training: GanFinetune, cbs: list[Callback]) -> Path:
    """Trains a pretrained generator against a conditional discriminator; returns the run folder.

    The generator minimises reconstruction_weight × its reconstruction + adversarial_weight × the
    objective's loss. First `d_epochs` in which only the discriminator trains, on what the generator
    as it is predicts, then `epochs`. With `patience` the model of the epoch with the highest gain
    (see `BestEpoch`) is kept. Of a run as `model`, data and limit are the defaults. Raises
    UsageError and RunError.
    """
    t = training
    if t.model is None:
        raise UsageError("name a pretrain run or a model file to finetune")
    file = safe_model_file(t.model)
    if t.data is None:
        before = _trained(t.model)
        limit = before.limit if t.limit is None else t.limit
        t = replace(t, data=before.data, limit=limit, data_dir=t.data_dir or before.data_dir)
    phases = [Phase(t, t.d_epochs, t.lr, alone=True), Phase(t, t.epochs, t.lr)]
    device = begin(t)
    generator = load_model(file).to(device)
    size = generator.arguments["size"]
    adversarial = against(DISCRIMINATORS[t.discriminator](size, t.d_norm, t.d_width), t)
    dls = color_dataloaders(data=t.data, size=size, batch_size=first_size(t), limit=t.limit,
        augmentation=t.augmentation, device=device, data_dir=t.data_dir, seed=t.seed)  # fmt: skip
    adam = partial(FusedAdam, mom=t.beta1, sqr_mom=t.beta2, eps=1e-8, wd=t.weight_decay)
    learn = generator_learner(
        dls, generator, adam, t.lr, t.precision, reconstruction=t.reconstruction
    )
    stateful = {"adversarial": adversarial} | ({"ema": EMA(t.ema)} if t.ema else {})
    learn.add_cbs([*stateful.values(), *cbs])
    best = None
    if t.patience is not None:
        stateful["best"] = best = BestEpoch(generator, dls, t.patience, t.d_epochs)
        learn.add_cb(best)
    name = name_of(t.model)
    with Run.open(t.out or new_folder(f"{name}-gan"), t) as run:
        run.note_learner(learn, discriminator=count(adversarial.discriminator))
        settle_batches(learn, run, t)
        outputs = Outputs(learn, run, stateful.get("ema"))

        def save_model() -> None:
            if best is None or best.keeps:
                outputs.save_model()

        train(
            learn, run, phases, save_model, outputs.show_samples, stateful,
            lambda: best is not None and best.stopped,
        )  # fmt: skip
        if best:
            known = isfinite(best.best)
            run.config["best"] = {"epoch": best.best_epoch, "gain": best.best if known else None}
            run.write_config()
            found = f"gain {best.best:+.2%}" if known else "no gain: one of the generators is grey"
            _log.info("%s: kept the model of epoch %d, %s", run.path, best.best_epoch, found)
    return run.path


def against(discriminator, t: Adversary) -> Adversarial:
    """The callback of a training's discriminator and objective."""
    return Adversarial(
        discriminator, build_objective(t.objective, t.real_label, t.penalty_weight),
        reconstruction_weight=t.reconstruction_weight, adversarial_weight=t.adversarial_weight,
        lr=t.d_lr, betas=(t.beta1, t.beta2), d_steps=t.d_steps, g_steps=t.g_steps,
        same_batch=t.same_batch, d_noise_l=t.d_noise_l, d_noise_ab=t.d_noise_ab,
    )  # fmt: skip


def count(*networks) -> int:
    """Parameters of networks."""
    return sum(p.numel() for network in networks for p in network.parameters())


def data_of(model: Path | str, data_dir: Path | str | None = None) -> tuple[str, Path | None]:
    """The data that a run was trained on and where they live, unless `data_dir` says it.

    Raises UsageError if `model` is a file, which does not say its data.
    """
    trained = _trained(model)
    return trained.data, Path(data_dir) if data_dir else trained.data_dir


def _trained(model: Path | str):
    if not Path(model).is_dir():
        raise UsageError(f"{model} is no run folder and does not say its data set: add --data")
    return read_training(model)
