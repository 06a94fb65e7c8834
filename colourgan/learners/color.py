"""Learners that color: `color_learner` for fastai users, and what pretrain and finetune share."""

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path

import torch
from fastai.data.core import DataLoaders
from fastai.learner import Learner
from torch import Tensor, nn

from colourgan import color, plots
from colourgan.callbacks import EMA, Precision
from colourgan.generators import GENERATORS, splitter
from colourgan.learners.classes import count_colors
from colourgan.learners.runs import Run
from colourgan.models import MODEL_NAME, save_model
from colourgan.optimizers import FusedAdam
from colourgan.reconstructions import RECONSTRUCTIONS
from colourgan.trainings import Pretrain

CONSTANT, DEAD = 1e-5, 0.95  # a channel's standard deviation; a block's share of such channels
SAMPLES = 8  # validation images in the picture drawn after every epoch
_log = logging.getLogger(__name__)


def color_learner(
    dls: DataLoaders,
    encoder: str = Pretrain.encoder,
    self_attention: bool = False,
    blur: bool = False,
    decoder_width: float = 1.0,
    lr: float = 1e-3,
    weight_decay: float = 0.01,
    precision: str = "auto",
    path: Path | str | None = None,
    opt_func: Callable = FusedAdam,
    reconstruction: str = "l1",
    decoder_channels: int | None = None,
    encoder_stages: int | None = None,
    lightness: str = "folded",
    rebalancing: float = 0.5,
    half_resolution: bool = False,
) -> Learner:
    """A fastai Learner that colors, as `unet_learner` segments: generator, L1, Adam, precision.

    dls: DataLoaders of (L, ab), see `color_dataloaders`; encoder: ARCH[@WEIGHTS]; opt_func: called
    with wd=weight_decay besides what fastai gives it; reconstruction: a name of RECONSTRUCTIONS;
    rebalancing: of the classes of "bins", see `class_weights`;
    decoder_channels, encoder_stages, lightness, half_resolution: see `dynamic_unet`.
    Frozen, it trains the decoder alone. Raises UsageError or RunError as `build_encoder` does.
    """
    generator = GENERATORS["dynamic_unet"](
        encoder, image_size(dls), self_attention=self_attention, blur=blur,
        decoder_width=decoder_width, decoder_channels=decoder_channels,
        encoder_stages=encoder_stages, lightness=lightness, bins=reconstruction == "bins",
        half_resolution=half_resolution,
    )  # fmt: skip
    if reconstruction == "bins":
        count_colors(generator.classes, dls, rebalancing)
    opt_func = partial(opt_func, wd=weight_decay)
    return generator_learner(dls, generator, opt_func, lr, precision, path, reconstruction)


def generator_learner(
    dls: DataLoaders,
    generator: nn.Module,
    opt_func: Callable = FusedAdam,
    lr: float = 1e-3,
    precision: str = "auto",
    path: Path | str | None = None,
    reconstruction: str = "l1",
) -> Learner:
    """A Learner around a generator that exists already; see `color_learner`."""
    loss, callbacks = RECONSTRUCTIONS[reconstruction](generator)
    callbacks = [Precision(precision), *callbacks]
    settings = {"opt_func": opt_func, "lr": lr, "splitter": splitter, "metrics": saturation}
    generator = generator.to(memory_format=torch.channels_last)
    return Learner(dls, generator, loss, cbs=callbacks, path=path, **settings)


def saturation(pred: Tensor, target: Tensor) -> Tensor:
    """Mean chroma of predicted colors as a share of the true ones'; ab (N, 2, H, W)."""
    return pred.norm(dim=1).mean() / target.norm(dim=1).mean().clamp_min(1e-6)


def image_size(dls: DataLoaders) -> int:
    """The side of a loader's square images, in pixels."""
    return getattr(dls, "size", None) or dls.train.one_batch()[0].shape[-1]


class Outputs:
    """What a color run writes after every epoch: the model file and a picture of samples."""

    def __init__(self, learn: Learner, run: Run, ema: EMA | None):
        self.learn, self.run, self.ema = learn, run, ema
        self.warned: set[int] = set()  # dead blocks that were warned of
        valid = learn.dls.valid
        count = min(SAMPLES, valid.n)
        self.batch = next(iter(valid.new(valid.dataset, images=valid.images, bs=count)))

    def averaged(self) -> AbstractContextManager:
        """In here the model has the weights that are saved."""
        return self.ema.averaged() if self.ema else nullcontext()

    def save_model(self) -> None:
        with self.averaged():
            save_model(self.learn.model, self.run.path / MODEL_NAME)

    def show_samples(self, epoch: int) -> None:
        """samples/epoch_NNN.png: grey | predicted | true for the same validation images.

        Warns of decoder blocks that have died.
        """
        L, ab = self.batch
        with self.averaged(), torch.no_grad():
            pred = self.learn.model.eval()(L).float().cpu()
        dead = dead_blocks(self.learn.model, L) - self.warned
        L, ab = L.cpu(), ab.cpu()
        columns = [color.decode(L, part) for part in (torch.zeros_like(ab), pred, ab)]
        path = self.run.path / "samples" / f"epoch_{epoch:03d}.png"
        plots.grid(list(zip(*columns, strict=True)), path, ["grey", "predicted", "true"])
        self.warned |= dead
        if dead:
            _log.warning(
                "%s, epoch %d: decoder block %s is dead, its output does not depend on "
                "the image: start anew with a lower --lr",
                self.run.path, epoch, ", ".join(map(str, sorted(dead))),
            )  # fmt: skip


@torch.no_grad()
def dead_blocks(generator: nn.Module, L: Tensor) -> set[int]:
    """The decoder's blocks, counted from 1, nearly all of whose channels are constant.

    L: some images, (N, 1, H, W). Too high a learning rate kills the units of the last blocks, and
    the loss hardly shows it: what is left paints every image alike. A generator without blocks has
    no dead ones.
    """
    shares = []

    def note(module: nn.Module, inputs: tuple, output: Tensor) -> None:
        spread = output.float().std((0, 2, 3))
        shares.append(float((spread < CONSTANT).float().mean()))

    hooks = [block.conv2.register_forward_hook(note) for block in getattr(generator, "blocks", [])]
    try:
        generator.eval()(L)
    finally:
        for hook in hooks:
            hook.remove()
    return {number for number, share in enumerate(shares, 1) if share >= DEAD}
