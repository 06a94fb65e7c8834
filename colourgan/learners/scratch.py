"""Training from random weights: a generator alone, against a discriminator, or in a cycle."""

from functools import partial
from pathlib import Path

from fastai.optimizer import Adam
from fastai.torch_core import set_seed
from torch import nn

from colourgan.callbacks import EMA, Adversarial, CycleConsistency, resolve_precision
from colourgan.datasets import color_dataloaders, native_size, unpaired_dataloaders
from colourgan.discriminators import DISCRIMINATORS
from colourgan.errors import UsageError
from colourgan.generators import GENERATORS
from colourgan.learners.color import Outputs, choose_device, generator_learner
from colourgan.learners.runs import Run, arguments_of, new_folder
from colourgan.learners.training import checked_phase, train
from colourgan.objectives import build_objective

ALONE = "none"  # the discriminator that is not there


def train_generator(
    data: str = "cifar10",
    size: int | None = None,
    limit: int | None = None,
    generator: str = "pix2pix_unet",
    width: int = 64,
    norm: str = "batch",
    dropout: float = 0.5,
    init: str = "normal",
    discriminator: str = "patchgan",
    d_norm: str = "batch",
    d_width: int = 64,
    objective: str = "bce",
    real_label: float = 1.0,
    penalty_weight: float = 10.0,
    adversarial_weight: float = 1.0,
    reconstruction: str = "l1",
    reconstruction_weight: float = 100.0,
    epochs: int = 10,
    batch_size: int = 16,
    lr: float = 2e-4,
    d_lr: float = 2e-4,
    beta1: float = 0.5,
    beta2: float = 0.999,
    d_steps: int = 1,
    g_steps: int = 1,
    schedule: str = "constant",
    decay_steps: int = 10_000,
    lr_floor: float = 0.0,
    augmentation: str = "flip+crop",
    ema: float = 0.0,
    seed: int = 0,
    device: str = "auto",
    precision: str = "auto",
    out: Path | None = None,
    resume: bool = False,
    data_dir: Path | None = None,
) -> Path:
    """Trains a generator from random weights, pix2pix by default; returns the run folder.

    generator: one of GENERATORS that needs no encoder, with its width (channels of the first
    layer), norm and dropout; init: a name of INITIALIZATIONS, for both networks; discriminator:
    "none" trains by reconstruction alone, else the generator minimises reconstruction_weight × L1
    (or L2) + adversarial_weight × the objective's loss; d_norm, d_width: the discriminator's; the
    rest as in `gan_finetune`. Adam has eps 1e-8 and no weight decay, as published.
    Raises UsageError and RunError.
    """
    size = native_size(data) if size is None else size
    arguments = arguments_of(locals())
    _check_epochs(epochs)
    if reconstruction_weight < 0:
        raise UsageError(f"reconstruction_weight must not be negative: {reconstruction_weight}")
    phase = checked_phase(epochs, lr, schedule, decay_steps, lr_floor)
    set_seed(seed)
    where = choose_device(device)
    resolve_precision(precision, where)  # before a run folder is made
    model = _generator(generator, size, width, norm, dropout, init)
    callbacks, sizes = {}, {}
    if discriminator != ALONE:
        opponent = DISCRIMINATORS[discriminator](size, d_norm, d_width, init=init)
        sizes = {"discriminator": _count(opponent)}
        callbacks["adversarial"] = Adversarial(
            opponent,
            build_objective(objective, real_label, penalty_weight),
            l1_weight=reconstruction_weight,
            adversarial_weight=adversarial_weight,
            lr=d_lr,
            betas=(beta1, beta2),
            d_steps=d_steps,
            g_steps=g_steps,
        )
    if ema:
        callbacks["ema"] = EMA(ema)
    dls = color_dataloaders(data, size, batch_size, limit, augmentation, where, data_dir)
    adam = _published_adam(beta1, beta2)
    learn = generator_learner(
        dls, model.to(where), adam, lr, precision, reconstruction=reconstruction
    )
    learn.add_cbs(callbacks.values())
    out = out or new_folder(f"{generator}-{Path(data).resolve().name}")
    run = Run.open(out, "train-generator", arguments, resume)
    run.note_learner(learn, **sizes)
    outputs = Outputs(learn, run, callbacks.get("ema"))
    train(learn, run, [phase], outputs.save_model, outputs.show_samples, callbacks)
    return out


def train_cyclegan(
    data: str = "cifar10",
    size: int | None = None,
    limit: int | None = None,
    generator: str = "pix2pix_unet",
    width: int = 64,
    norm: str = "instance",
    dropout: float = 0.0,
    init: str = "normal",
    discriminator: str = "patchgan",
    d_norm: str = "instance",
    d_width: int = 64,
    objective: str = "least_squares",
    cycle_weight: float = 10.0,
    pool_size: int = 50,
    epochs: int = 200,
    batch_size: int = 1,
    lr: float = 2e-4,
    beta1: float = 0.5,
    beta2: float = 0.999,
    schedule: str = "linear",
    decay_steps: int = 10_000,
    lr_floor: float = 0.0,
    augmentation: str = "flip+crop",
    seed: int = 0,
    device: str = "auto",
    precision: str = "auto",
    out: Path | None = None,
    resume: bool = False,
    data_dir: Path | None = None,
) -> Path:
    """Trains a generator without pairs of grey and color; returns the run folder.

    Grey and color images are disjoint halves of the training images. A backward generator (ab → L)
    and two discriminators train beside it, see `CycleConsistency`; the run's model is the generator
    L → ab. limit: training images of both halves together;
    cycle_weight: of the L1 after a whole cycle; pool_size: earlier predictions kept for the
    discriminators; lr: of all four networks; the rest as in `train_generator`.
    Raises UsageError and RunError.
    """
    size = native_size(data) if size is None else size
    arguments = arguments_of(locals())
    _check_epochs(epochs)
    phase = checked_phase(epochs, lr, schedule, decay_steps, lr_floor)
    set_seed(seed)
    where = choose_device(device)
    resolve_precision(precision, where)  # before a run folder is made
    forward = _generator(generator, size, width, norm, dropout, init)
    backward = GENERATORS[generator](
        size, width, norm, dropout, init=init, in_channels=2, out_channels=1
    )
    judge = partial(DISCRIMINATORS[discriminator], size, d_norm, d_width, init=init)
    d_color, d_grey = judge(in_channels=3), judge(in_channels=1)
    dls, colors = unpaired_dataloaders(
        data, size, batch_size, limit, augmentation, where, data_dir, seed
    )
    cycle = CycleConsistency(
        backward,
        d_color,
        d_grey,
        build_objective(objective),
        colors,
        cycle_weight=cycle_weight,
        lr=lr,
        betas=(beta1, beta2),
        pool_size=pool_size,
        seed=seed,
    )
    adam = _published_adam(beta1, beta2)
    learn = generator_learner(dls, forward.to(where), adam, lr, precision)
    learn.add_cb(cycle)
    out = out or new_folder(f"cyclegan-{Path(data).resolve().name}")
    run = Run.open(out, "train-cyclegan", arguments, resume)
    counts = {"backward": _count(backward), "discriminators": _count(d_color, d_grey)}
    run.note_learner(learn, colors.n, **counts)
    outputs = Outputs(learn, run, None)
    train(learn, run, [phase], outputs.save_model, outputs.show_samples, {"cycle": cycle})
    return out


def _check_epochs(epochs: int) -> None:
    if epochs < 1:
        raise UsageError("nothing to train: epochs is 0")


def _generator(name: str, size: int, width: int, norm: str, dropout: float, init: str) -> nn.Module:
    if name == "dynamic_unet":
        raise UsageError("dynamic_unet is built around an encoder: train it by pretrain")
    return GENERATORS[name](size, width, norm, dropout, init=init)


def _published_adam(beta1: float, beta2: float) -> partial:
    """fastai's Adam with the constants of Kingma and Ba, 2015, which its defaults are not."""
    return partial(Adam, mom=beta1, sqr_mom=beta2, eps=1e-8, wd=0.0)


def _count(*networks: nn.Module) -> int:
    return sum(p.numel() for network in networks for p in network.parameters())
