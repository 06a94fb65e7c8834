"""Pretraining: L1 from L to ab, on a pretrained encoder."""

from functools import partial
from pathlib import Path

from fastai.optimizer import Adam
from fastai.torch_core import set_seed

from colourgan.callbacks import EMA, resolve_precision
from colourgan.datasets import color_dataloaders, native_size
from colourgan.errors import UsageError
from colourgan.learners.color import Outputs, choose_device, color_learner
from colourgan.learners.runs import Run, arguments_of, new_folder
from colourgan.learners.training import checked_phase, train


def pretrain(
    encoder: str = "resnet18",
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
    reconstruction: str = "l1",
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
) -> Path:
    """Trains a generator to predict ab from L by L1 loss, or L2; returns the run folder.

    encoder: ARCH[@WEIGHTS]; data: a data set's name or a folder; size: of the square training
    images in pixels (None: the data set's own); limit: training images; epochs follow
    frozen_epochs, in which only the decoder trains; lr: the decoder's highest, the encoder gets
    lr × encoder_lr_ratio; weight_decay, beta2, eps: Adam's, by default fastai's choice (as
    published: 0, .999 and 1e-8); schedule: "one-cycle" or a name of SCHEDULES, over each of the two
    phases, with its decay_steps in batches; reconstruction: a name of RECONSTRUCTIONS;
    decoder_width to lightness: see `dynamic_unet`; ema: decay of the average of weights that is
    saved, 0 for none.
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
    phases = [
        checked_phase(frozen_epochs, lr, schedule, decay_steps, frozen=True),
        checked_phase(epochs, (lr * encoder_lr_ratio, lr), schedule, decay_steps),
    ]
    set_seed(seed)
    where = choose_device(device)
    resolve_precision(precision, where)  # before a run folder is made
    dls = color_dataloaders(data, size, batch_size, limit, augmentation, where, data_dir)
    learn = color_learner(
        dls,
        encoder,
        self_attention,
        blur,
        decoder_width,
        lr,
        weight_decay,
        precision,
        opt_func=partial(Adam, sqr_mom=beta2, eps=eps),
        reconstruction=reconstruction,
        decoder_channels=decoder_channels,
        encoder_stages=encoder_stages,
        lightness=lightness,
    )
    average = EMA(ema) if ema else None
    learn.add_cbs([average] if average else [])
    out = out or new_folder(f"{encoder.split('@', maxsplit=1)[0]}-{Path(data).resolve().name}")
    run = Run.open(out, "pretrain", arguments, resume)
    run.note_learner(learn)
    outputs = Outputs(learn, run, average)
    stateful = {"ema": average} if average else {}
    train(learn, run, phases, outputs.save_model, outputs.show_samples, stateful)
    return out
