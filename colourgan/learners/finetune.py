"""Finetuning: a pretrained generator against a discriminator."""

import sys
from functools import partial
from math import isfinite
from pathlib import Path

from fastai.optimizer import Adam
from fastai.torch_core import set_seed

from colourgan.callbacks import EMA, Adversarial, BestEpoch, resolve_precision
from colourgan.datasets import color_dataloaders
from colourgan.discriminators import DISCRIMINATORS
from colourgan.errors import UsageError
from colourgan.files import file_hash
from colourgan.learners.color import Outputs, choose_device, generator_learner
from colourgan.learners.runs import Run, arguments_of, new_folder, read_config
from colourgan.learners.training import checked_phase, train
from colourgan.models import MODEL_NAME, load_model, safe_model_file
from colourgan.objectives import build_objective


def gan_finetune(
    model: Path | None,
    data: str | None = None,
    discriminator: str = "patchgan",
    norm: str = "batch",
    d_width: int = 64,
    objective: str = "bce",
    real_label: float = 1.0,
    penalty_weight: float = 10.0,
    reconstruction: str | None = None,
    l1_weight: float = 100.0,
    adversarial_weight: float = 1.0,
    limit: int | None = None,
    epochs: int = 5,
    d_epochs: int = 0,
    patience: int | None = None,
    batch_size: int = 16,
    lr: float = 2e-4,
    d_lr: float = 2e-4,
    beta1: float = 0.5,
    beta2: float = 0.999,
    weight_decay: float = 0.0,
    d_steps: int = 1,
    g_steps: int = 1,
    schedule: str = "constant",
    decay_steps: int = 10_000,
    lr_floor: float = 0.0,
    augmentation: str = "flip+crop",
    ema: float = 0.999,
    seed: int = 0,
    device: str = "auto",
    precision: str = "auto",
    out: Path | None = None,
    resume: bool = False,
    data_dir: Path | None = None,
) -> Path:
    """Trains a pretrained generator against a conditional discriminator; returns the run folder.

    model: a pretrain run, whose data and limit are the defaults, or a model file; the generator
    minimises l1_weight × its reconstruction + adversarial_weight × the objective's loss;
    reconstruction: "l1" (None), "l2" or "feature"; real_label: the discriminator's target for true
    colors (below 1: one-sided label smoothing); penalty_weight: of wgan_gp's gradient penalty;
    d_epochs: as many epochs come before `epochs`, in which only the discriminator trains, on what
    the generator as it is predicts; patience: stop once the gain (see `BestEpoch`) has not risen
    for so many epochs, and keep the model of the epoch with the highest; lr, d_lr: Adam's rates of
    generator and discriminator, both with beta1 and beta2; weight_decay: of the generator; d_steps:
    discriminator steps a generator step, g_steps: the other way round; schedule: of both rates, a
    name of SCHEDULES or (the generator's only) "one-cycle", with its decay_steps in batches and a
    lowest rate; norm, d_width: of the discriminator, its norm and the channels of its first layer;
    the rest as in `pretrain`.
    Raises UsageError and RunError.
    """
    if epochs < 1:
        raise UsageError("nothing to train: epochs is 0")
    if d_epochs < 0:
        raise UsageError(f"d_epochs must not be negative: {d_epochs}")
    if patience is not None and patience < 1:
        raise UsageError(f"patience must be 1 epoch or more, not {patience}")
    if reconstruction == "bins":
        raise UsageError(
            "finetuning judges a generator's colors, not its classes: choose reconstruction l1, l2 "
            "or feature, which train a model of bins, too"
        )
    if model is None:
        raise UsageError("name a pretrain run or a model file to finetune")
    file = safe_model_file(model)
    if data is None:
        limit = _arguments_of(model)["limit"] if limit is None else limit
        data, data_dir = data_of(model, data_dir)
    arguments = arguments_of(locals())
    del arguments["file"]
    phases = [
        checked_phase(d_epochs, lr, "constant", decay_steps, lr_floor, alone=True),
        checked_phase(epochs, lr, schedule, decay_steps, lr_floor),
    ]
    set_seed(seed)
    where = choose_device(device)
    resolve_precision(precision, where)  # before a run folder is made
    generator = load_model(file).to(where)
    size = generator.arguments["size"]
    opponent = DISCRIMINATORS[discriminator](size, norm, d_width)
    dls = color_dataloaders(data, size, batch_size, limit, augmentation, where, data_dir)
    adam = partial(Adam, mom=beta1, sqr_mom=beta2, eps=1e-8, wd=weight_decay)
    learn = generator_learner(
        dls, generator, adam, lr, precision, reconstruction=reconstruction or "l1"
    )
    adversarial = Adversarial(
        opponent,
        build_objective(objective, real_label, penalty_weight),
        l1_weight=l1_weight,
        adversarial_weight=adversarial_weight,
        lr=d_lr,
        betas=(beta1, beta2),
        d_steps=d_steps,
        g_steps=g_steps,
    )
    average = EMA(ema) if ema else None
    learn.add_cbs([adversarial, average] if average else [adversarial])
    parent = {"model": str(model), "sha256": file_hash(file)}
    out = out or new_folder(
        f"{file.resolve().parent.name if file.name == MODEL_NAME else file.stem}-gan"
    )
    run = Run.open(out, "gan-finetune", arguments, resume, parent)
    run.note_learner(learn, discriminator=sum(p.numel() for p in opponent.parameters()))
    outputs = Outputs(learn, run, average)
    stateful = {"adversarial": adversarial, **({"ema": average} if average else {})}
    if patience is None:
        train(learn, run, phases, outputs.save_model, outputs.show_samples, stateful)
        return out
    best = BestEpoch(generator, dls, patience, d_epochs)
    learn.add_cb(best)

    def save_the_best() -> None:
        if best.keeps:
            outputs.save_model()

    stateful["best"] = best
    train(learn, run, phases, save_the_best, outputs.show_samples, stateful, lambda: best.stopped)
    _note_best(run, best)
    return out


def _note_best(run: Run, best: BestEpoch) -> None:
    """Says which epoch's model was kept, in config.json, too."""
    known = isfinite(best.best)
    run.config["best"] = {"epoch": best.best_epoch, "gain": best.best if known else None}
    run.write_config()
    found = f"gain {best.best:+.2%}" if known else "no gain: one of the generators is grey"
    print(f"{run.path}: kept the model of epoch {best.best_epoch}, {found}", file=sys.stderr)


def data_of(model: Path | str, data_dir: Path | str | None = None) -> tuple[str, Path | None]:
    """The data that a run was trained on and where they live, unless `data_dir` says it.

    Raises UsageError if `model` is a file, which does not say its data.
    """
    arguments = _arguments_of(model)
    place = data_dir or arguments["data_dir"]
    return arguments["data"], Path(place) if place else None


def _arguments_of(model: Path | str) -> dict:
    if not Path(model).is_dir():
        raise UsageError(f"{model} is no run folder and does not say its data set: add --data")
    return read_config(Path(model))["arguments"]
