"""Training from random weights: a generator alone, against a discriminator, or in a cycle."""

from dataclasses import replace
from functools import partial
from pathlib import Path

from fastai.callback.core import Callback
from fastai.learner import Learner
from torch import nn

from colourgan.callbacks import EMA, CycleConsistency
from colourgan.datasets import color_dataloaders, native_size, unpaired_dataloaders
from colourgan.discriminators import DISCRIMINATORS
from colourgan.errors import UsageError
from colourgan.generators import GENERATORS
from colourgan.learners.calls import begin, trains
from colourgan.learners.color import Outputs, generator_learner
from colourgan.learners.finetune import against, count
from colourgan.learners.memory import first_size, settle_batches
from colourgan.learners.runs import Run, new_folder
from colourgan.learners.training import Phase, train
from colourgan.objectives import build_objective
from colourgan.optimizers import FusedAdam
from colourgan.trainings import ALONE, RandomGenerator, TrainCycleGAN, TrainGenerator


@trains(TrainGenerator)
def train_generator(training: TrainGenerator, cbs: list[Callback]) -> Path:
    """Trains a generator from random weights, pix2pix by default; returns the run folder.

    Without a discriminator ("none") it minimises the reconstruction alone, else
    reconstruction_weight × it + adversarial_weight × the objective's loss. Adam has eps 1e-8 and no
    weight decay, as published. Raises UsageError and RunError.
    """
    t = replace(training, size=training.size or native_size(training.data))
    device = begin(t)
    generator = _generator(t)
    stateful, sizes = {}, {}
    if t.discriminator != ALONE:
        opponent = DISCRIMINATORS[t.discriminator](t.size, t.d_norm, t.d_width, init=t.init)
        sizes["discriminator"] = count(opponent)
        stateful["adversarial"] = against(opponent, t)
    if t.ema:
        stateful["ema"] = EMA(t.ema)
    dls = color_dataloaders(
        t.data, t.size, first_size(t), t.limit, t.augmentation, device, t.data_dir, t.seed
    )
    learn = generator_learner(
        dls, generator.to(device), _published_adam(t), t.lr, t.precision,
        reconstruction=t.reconstruction,
    )  # fmt: skip
    learn.add_cbs([*stateful.values(), *cbs])
    return _run(t, learn, t.generator, stateful, **sizes)


@trains(TrainCycleGAN)
def train_cyclegan(training: TrainCycleGAN, cbs: list[Callback]) -> Path:
    """Trains a generator without pairs of grey and color; returns the run folder.

    Grey and color images are disjoint halves of the training images, `limit` counts both. A
    backward generator (ab → L) and two discriminators train beside it, see `CycleConsistency`; the
    run's model is the generator L → ab. Raises UsageError and RunError.
    """
    t = replace(training, size=training.size or native_size(training.data))
    device = begin(t)
    forward, backward = _generator(t), _generator(t, in_channels=2, out_channels=1)
    judge = partial(DISCRIMINATORS[t.discriminator], t.size, t.d_norm, t.d_width, init=t.init)
    d_color, d_grey = judge(in_channels=3), judge(in_channels=1)
    dls, colors = unpaired_dataloaders(
        t.data, t.size, t.batch_size, t.limit, t.augmentation, device, t.data_dir, t.seed
    )
    cycle = CycleConsistency(
        backward, d_color, d_grey, build_objective(t.objective), colors,
        cycle_weight=t.cycle_weight, lr=t.lr, betas=(t.beta1, t.beta2), pool_size=t.pool_size,
        seed=t.seed,
    )  # fmt: skip
    learn = generator_learner(dls, forward.to(device), _published_adam(t), t.lr, t.precision)
    learn.add_cbs([cycle, *cbs])
    sizes = {"backward": count(backward), "discriminators": count(d_color, d_grey)}
    return _run(t, learn, "cyclegan", {"cycle": cycle}, colors.n, **sizes)


def _generator(t: RandomGenerator, **channels: int) -> nn.Module:
    if t.generator == "dynamic_unet":
        raise UsageError("dynamic_unet is built around an encoder: train it by pretrain")
    more = channels if t.innermost_dropout else channels | {"innermost_dropout": False}
    return GENERATORS[t.generator](t.size, t.width, t.norm, t.dropout, init=t.init, **more)


def _run(
    t: RandomGenerator, learn: Learner, kind: str, stateful: dict, more: int = 0, **sizes: int
) -> Path:
    """Trains in a run folder, which it returns; more, sizes: see `Run.note_learner`."""
    with Run.open(t.out or new_folder(f"{kind}-{Path(t.data).resolve().name}"), t) as run:
        run.note_learner(learn, more, **sizes)
        settle_batches(learn, run, t)
        outputs = Outputs(learn, run, stateful.get("ema"))
        phases = [Phase(t, t.epochs, t.lr)]
        train(learn, run, phases, outputs.save_model, outputs.show_samples, stateful)
    return run.path


def _published_adam(t: TrainGenerator | TrainCycleGAN) -> partial:
    """fastai's Adam with the constants of Kingma and Ba, 2015, which its defaults are not."""
    return partial(FusedAdam, mom=t.beta1, sqr_mom=t.beta2, eps=1e-8, wd=0.0)
