"""Pretraining: from L to ab, on a pretrained encoder, or on from a model that exists."""

import sys
from functools import partial
from inspect import signature
from pathlib import Path

from fastai.optimizer import Adam
from fastai.torch_core import set_seed
from torch import nn

from colourgan.callbacks import EMA, resolve_precision
from colourgan.datasets import color_dataloaders, native_size
from colourgan.errors import UsageError
from colourgan.files import file_hash
from colourgan.generators import GENERATORS
from colourgan.learners.classes import choose_decoding, count_colors
from colourgan.learners.color import (
    DEFAULT_ENCODER,
    Outputs,
    choose_device,
    color_learner,
    generator_learner,
)
from colourgan.learners.runs import Run, arguments_of, new_folder, read_config
from colourgan.learners.training import checked_phase, train
from colourgan.models import load_model, safe_model_file

GENERATOR = (
    "encoder", "self_attention", "blur", "decoder_width", "decoder_channels", "encoder_stages",
    "lightness",
)  # fmt: skip


def pretrain(
    encoder: str = DEFAULT_ENCODER,
    data: str = "stl10",
    size: int | None = None,
    limit: int | None = None,
    epochs: int = 10,
    frozen_epochs: int = 1,
    batch_size: int = 32,
    lr: float = 1e-3,
    encoder_lr_ratio: float = 0.1,
    weight_decay: float = 0.01,
    beta2: float = 0.99,
    eps: float = 1e-5,
    schedule: str = "one-cycle",
    decay_steps: int = 10_000,
    reconstruction: str | None = None,
    rebalancing: float = 0.5,
    colorfulness: float = 0.8,
    augmentation: str = "flip+crop",
    self_attention: bool = False,
    blur: bool = False,
    decoder_width: float = 1.0,
    decoder_channels: int | None = None,
    encoder_stages: int | None = None,
    lightness: str = "folded",
    ema: float = 0.0,
    seed: int = 0,
    device: str = "auto",
    precision: str = "auto",
    out: Path | None = None,
    resume: bool = False,
    data_dir: Path | None = None,
    start: Path | None = None,
) -> Path:
    """Trains a generator to predict ab from L; returns the run folder.

    encoder: ARCH[@WEIGHTS]; data: a data set's name or a folder; size: of the square training
    images in pixels (None: the data set's own); limit: training images; epochs follow
    frozen_epochs, in which only the decoder trains; lr: the decoder's highest, the encoder gets
    lr × encoder_lr_ratio; weight_decay, beta2, eps: Adam's, by default fastai's choice (as
    published: 0, .999 and 1e-8); schedule: "one-cycle" or a name of SCHEDULES, over each of the two
    phases, with its decay_steps in batches; reconstruction: a name of RECONSTRUCTIONS (None: "l1",
    or that of `start`); rebalancing, colorfulness: of "bins": see `class_weights`, and the share
    of the true colorfulness for which its decoding is chosen on validation images at the end;
    decoder_width to lightness: see `dynamic_unet`; ema: decay of the average of weights that is
    saved, 0 for none; start: a run or model file whose generator trains on, at this or another
    size: then encoder and decoder are its own.
    Raises UsageError and RunError.
    """
    size = native_size(data) if size is None else size
    arguments = arguments_of(locals())
    if epochs + frozen_epochs < 1:
        raise UsageError("nothing to train: epochs and frozen epochs are both 0")
    if encoder_lr_ratio < 0:
        raise UsageError(
            f"the encoder's learning rate ratio must not be negative: {encoder_lr_ratio}"
        )
    if not 0 < colorfulness <= 2:
        raise UsageError(f"colorfulness {colorfulness} is not between 0 and 2")
    phases = [
        checked_phase(frozen_epochs, lr, schedule, decay_steps, frozen=True),
        checked_phase(epochs, (lr * encoder_lr_ratio, lr), schedule, decay_steps),
    ]
    started, parent = None, None
    if start is not None:
        file = safe_model_file(start)
        started, parent = load_model(file), {"model": str(start), "sha256": file_hash(file)}
        arguments |= _arguments_of_start(start, started, arguments)
    reconstruction = arguments["reconstruction"] = arguments["reconstruction"] or "l1"
    set_seed(seed)
    where = choose_device(device)
    resolve_precision(precision, where)  # before a run folder is made
    dls = color_dataloaders(data, size, batch_size, limit, augmentation, where, data_dir)
    adam = partial(Adam, sqr_mom=beta2, eps=eps)
    if started is None:
        learn = color_learner(
            dls,
            lr=lr,
            weight_decay=weight_decay,
            precision=precision,
            opt_func=adam,
            reconstruction=reconstruction,
            rebalancing=rebalancing,
            **{name: arguments[name] for name in GENERATOR},
        )
    else:
        generator = _at_size(started, size).to(where)
        adam = partial(adam, wd=weight_decay)
        learn = generator_learner(
            dls, generator, adam, lr, precision, reconstruction=reconstruction
        )
        if reconstruction == "bins":
            count_colors(generator.classes, dls, rebalancing)
    average = EMA(ema) if ema else None
    learn.add_cbs([average] if average else [])
    name = arguments["encoder"].split("@", maxsplit=1)[0]
    out = out or new_folder(f"{name}-{Path(data).resolve().name}")
    run = Run.open(out, "pretrain", arguments, resume, parent)
    run.note_learner(learn)
    outputs = Outputs(learn, run, average)
    stateful = {"ema": average} if average else {}
    train(learn, run, phases, outputs.save_model, outputs.show_samples, stateful)
    if reconstruction == "bins":
        _choose_decoding(outputs, run, colorfulness)
    return out


def _arguments_of_start(start: Path, started: nn.Module, arguments: dict) -> dict:
    """What a run takes over from the model that it goes on from; UsageError if it is asked not to.

    Its reconstruction too, if none is asked for and `start` is a run that says it.
    """
    if started.arguments["generator"] != "dynamic_unet":
        raise UsageError(f"{start} is a {started.arguments['generator']}: pretrain trains U-Nets")
    own = {name: started.arguments.get(name) for name in GENERATOR}
    defaults = signature(pretrain).parameters
    for name, value in own.items():
        if arguments[name] not in (value, defaults[name].default):
            option = "--" + name.replace("_", "-")
            raise UsageError(f"{start} has {option} {value}: what goes on from it keeps it")
    if arguments["reconstruction"] is None:
        run = Path(start) / "config.json"
        kept = read_config(run.parent)["arguments"] if run.is_file() else {}
        by_itself = "bins" if hasattr(started, "classes") else "l1"
        own["reconstruction"] = kept.get("reconstruction") or by_itself
    return own


def _at_size(started: nn.Module, size: int) -> nn.Module:
    """The same generator built for another size; UsageError if its decoder differs there."""
    arguments = started.arguments | {"size": size, "pretrained": False}
    generator = GENERATORS[arguments.pop("generator")](**arguments)
    try:
        generator.load_state_dict(started.state_dict())
    except RuntimeError as error:
        before = started.arguments["size"]
        raise UsageError(
            f"at size {size} this generator has other layers than at {before}: "
            "choose another --size"
        ) from error
    generator.origin = started.origin
    return generator.train()


def _choose_decoding(outputs: Outputs, run: Run, colorfulness: float) -> None:
    """Chooses temperature and vivid of the model that is saved, and saves it again."""
    learn = outputs.learn
    with outputs.averaged():
        chosen = choose_decoding(learn.model, learn.dls, colorfulness)
    if outputs.ema:  # its average is what is saved
        for name in ("temperature", "vivid", "saturation"):
            outputs.ema.average[f"classes.{name}"].fill_(chosen[name])
    outputs.save_model()
    run.config["decoding"] = chosen
    run.write_config()
    print(
        f"{run.path}: decoded at temperature {chosen['temperature']:g}, vivid {chosen['vivid']:g}, "
        f"saturation {chosen['saturation']:.2f}: L1 {chosen['l1']:.4f} on validation images, "
        f"{colorfulness:.0%} as colorful as they are",
        file=sys.stderr,
    )
