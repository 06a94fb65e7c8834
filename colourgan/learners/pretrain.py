"""Pretraining: from L to ab, on a pretrained encoder, or on from a model that exists."""

import logging
from dataclasses import replace
from functools import partial
from pathlib import Path

from fastai.callback.core import Callback

from colourgan.callbacks import EMA
from colourgan.datasets import color_dataloaders, native_size
from colourgan.errors import UsageError
from colourgan.generators import GENERATORS
from colourgan.learners.calls import begin, trains
from colourgan.learners.classes import choose_decoding, count_colors
from colourgan.learners.color import Outputs, color_learner, generator_learner
from colourgan.learners.memory import first_size, settle_batches
from colourgan.learners.rates import settle_rate
from colourgan.learners.runs import Run, new_folder, read_training
from colourgan.learners.training import Phase, train
from colourgan.models import load_model, safe_model_file
from colourgan.optimizers import FusedAdam
from colourgan.options import flag
from colourgan.trainings import AUTO, Pretrain

GENERATOR = (
    "encoder", "self_attention", "blur", "decoder_width", "decoder_channels", "encoder_stages",
    "half_resolution", "lightness",
)  # fmt: skip
_log = logging.getLogger(__name__)


@trains(Pretrain)
def pretrain(training: Pretrain, cbs: list[Callback]) -> Path:
    """Trains a generator to predict ab from L; returns the run folder.

    First `frozen_epochs` in which only the decoder trains, then `epochs`; the decoder's learning
    rate is `lr`, the encoder's lr × encoder_lr_ratio. Of "bins", the decoding is chosen on
    validation images in the end, for `colorfulness`. `start`: encoder and decoder are its own, at
    this or another size, and so is the reconstruction if none is asked for. Raises UsageError and
    RunError.
    """
    t = replace(training, size=training.size or native_size(training.data))
    started = None
    if t.start is not None:
        started = load_model(safe_model_file(t.start))
        kind = started.arguments["generator"]
        if kind != "dynamic_unet":
            raise UsageError(f"{t.start} is a {kind}: pretrain trains U-Nets")
        # An older file does not name options that have come since.
        own = {n: started.arguments.get(n, getattr(Pretrain, n)) for n in GENERATOR}
        for name, value in own.items():
            if getattr(t, name) not in (value, getattr(Pretrain, name)):
                told = f"{t.start} has {flag(name)} {value}"
                raise UsageError(f"{told}: what goes on from it keeps it")
        if t.reconstruction is None:
            is_run = (t.start / "config.json").is_file()
            kept = read_training(t.start).reconstruction if is_run else ""
            own["reconstruction"] = kept or ("bins" if hasattr(started, "classes") else "l1")
        t = replace(t, **own)
    t = replace(t, reconstruction=t.reconstruction or "l1")
    device = begin(t)
    dls = color_dataloaders(
        t.data, t.size, first_size(t), t.limit, t.augmentation, device, t.data_dir, t.seed
    )
    adam = partial(FusedAdam, sqr_mom=t.beta2, eps=t.eps)
    lr = Pretrain.lr if t.lr == AUTO else t.lr
    shared = {"lr": lr, "precision": t.precision, "reconstruction": t.reconstruction}
    if started is None:
        shared |= {name: getattr(t, name) for name in (*GENERATOR, "weight_decay", "rebalancing")}
        learn = color_learner(dls, opt_func=adam, **shared)
    else:
        built = started.arguments | {"size": t.size, "pretrained": False}
        generator = GENERATORS[built.pop("generator")](**built)
        try:
            generator.load_state_dict(started.state_dict())
        except RuntimeError as error:
            raise UsageError(
                f"at size {t.size} this generator has other layers than at "
                f"{started.arguments['size']}: choose another --size"
            ) from error
        generator.origin = started.origin
        generator = generator.train().to(device)
        learn = generator_learner(dls, generator, partial(adam, wd=t.weight_decay), **shared)
        if t.reconstruction == "bins":
            count_colors(generator.classes, dls, t.rebalancing)
    stateful = {"ema": EMA(t.ema)} if t.ema else {}
    learn.add_cbs([*stateful.values(), *cbs])
    arch = t.encoder.partition("@")[0]
    with Run.open(t.out or new_folder(f"{arch}-{Path(t.data).resolve().name}"), t) as run:
        run.note_learner(learn)
        settle_batches(learn, run, t)
        if t.lr == AUTO:
            lr = settle_rate(learn, run, t.encoder_lr_ratio, frozen=t.frozen_epochs > 0)
        phases = [
            Phase(t, t.frozen_epochs, lr, frozen=True),
            Phase(t, t.epochs, (lr * t.encoder_lr_ratio, lr)),
        ]
        outputs = Outputs(learn, run, stateful.get("ema"))
        train(learn, run, phases, outputs.save_model, outputs.show_samples, stateful)
        if t.reconstruction == "bins":
            with outputs.averaged():
                chosen = choose_decoding(learn.model, dls, t.colorfulness)
            if outputs.ema:  # its average is what is saved
                for name in ("temperature", "vivid", "saturation"):
                    outputs.ema.average[f"classes.{name}"].fill_(chosen[name])
            outputs.save_model()
            run.config["decoding"] = chosen
            run.write_config()
            _log.info(
                "%s: decoding with temperature %g, vivid %g, saturation %.2f: L1 %.4f on "
                "validation images at %.0f %% of their colorfulness",
                run.path, *chosen.values(), 100 * t.colorfulness,
            )  # fmt: skip
    return run.path
