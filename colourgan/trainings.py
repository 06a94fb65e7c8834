"""Trainings as values: what a run is asked for, each option declared once.

A training is a frozen dataclass. Its fields are the only place where an option has its name, type,
default, allowed values, unit and help; the command line, the checks, config.json, the identity of a
run, the cells of a study and the settings of a recipe are derived from them.

    base = Pretrain(encoder="resnet20@packaged", data="cifar10", epochs=3)
    pretrain(base)                                  # colourgan.pretrain
    pretrain(replace(base, seed=1))                 # dataclasses.replace

A group (Data, Schedule, …) holds the options that several trainings share; `training` gives it
other defaults or another help in one of them.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from colourgan.errors import UsageError
from colourgan.options import Condition, Options, differences, flat, option, options, training

SCHEMA = 2
"""Of config.json and of a run's identity; a changed default or a renamed option needs another."""

AUTO = "auto"
"""In place of a number: one that the training finds out, for config.json to record."""

# An option is easier to find where it takes one line or two.
# fmt: off

@dataclass(frozen=True, kw_only=True)
class Images(Options):
    """The images that are trained on."""

    data: str = option("cifar10",
        "Data set name, folder of images, or a stream: hf:NAME or shards-{000..099}.tar.",
        role="data")
    limit: int | None = option(None,
        "Maximum number of training images; of a stream: the images of an epoch.", least=1,
        none="all")
    batch_size: int | str = option(16,
        "Batch size; auto: the largest that fits the memory, at most 256.", unit="images", least=1,
        words=("auto",))
    augmentation: str = option("flip+crop",
        "Data augmentation: none, or flip, crop, zoom and aging joined by +.")

    @property
    def images_per_step(self) -> int:
        """Of an optimizer; the batch size must be a number."""
        return self.batch_size * getattr(self, "accumulate", 1)


@dataclass(frozen=True, kw_only=True)
class Accumulating(Options):
    accumulate: int = option(1,
        "Gradient accumulation: batches per optimizer step; memory is that of one.",
        unit="batches", least=1)


@dataclass(frozen=True, kw_only=True)
class Data(Images):
    size: int | None = option(None, "Side of the square images.", unit="pixels", least=16,
        none="the data set's own, 64 for a folder")


_DECAYING = Condition(
    "--schedule step or exponential", lambda t: t.schedule in ("step", "exponential")
)
_FALLING = Condition(
    "--schedule linear, step or exponential", lambda t: t.schedule not in ("constant", "one-cycle")
)


@dataclass(frozen=True, kw_only=True)
class Schedule(Options):
    """How long, and how fast. finds_rate: whether a training can choose its rate itself."""

    finds_rate = False
    epochs: int = option(10, "Number of epochs.", least=1)
    lr: float | str = option(2e-4, "Learning rate of the generator.", least=0, words=("auto",))
    schedule: str = option("constant", "Learning rate schedule.", kind="schedule",
        choices=("one-cycle",))
    decay_steps: int = option(10_000, "Steps per tenfold decay of the learning rate.", unit="steps",
        least=1, needs=(_DECAYING,))
    lr_floor: float = option(0.0, "Minimum learning rate.", least=0, needs=(_FALLING,))

    def check(self) -> None:
        super().check()
        if self.lr == AUTO and not self.finds_rate:
            raise UsageError(
                "--lr auto is for pretrain: a range test needs one loss that falls, and a GAN has "
                "none that says which rate is good; give a number"
            )


@dataclass(frozen=True, kw_only=True)
class Decay(Options):
    weight_decay: float = option(0.0, "Weight decay of the generator, decoupled.", least=0)


@dataclass(frozen=True, kw_only=True)
class Momentum(Options):
    beta2: float = option(0.999, "Adam beta2, all networks.", least=0, below=1)


@dataclass(frozen=True, kw_only=True)
class Betas(Momentum):
    """Adam's, of generator and discriminator alike."""

    beta1: float = option(0.5, "Adam beta1, all networks.", least=0, below=1)


@dataclass(frozen=True, kw_only=True)
class Averaging(Options):
    ema: float = option(0.0, least=0, below=1,
        help="Decay of the exponential moving average of weights that is saved; 0: off.")


@dataclass(frozen=True, kw_only=True)
class Reconstruction(Options):
    reconstruction: str = option("l1", "Reconstruction loss.", kind="reconstruction")


@dataclass(frozen=True, kw_only=True)
class Discriminator(Options):
    discriminator: str = option("patchgan", "Discriminator.", kind="discriminator")
    d_norm: str = option("batch", "Normalization of the discriminator.",
        choices=("batch", "instance", "layer", "spectral", "none"))
    d_width: int = option(64, "Channels of the discriminator's first layer.", least=1)
    objective: str = option("bce", "Adversarial loss.", kind="objective")


_LABELS = Condition(
    "--objective bce or least_squares", lambda t: t.objective in ("bce", "least_squares")
)
_PENALTY = Condition("--objective wgan_gp", lambda t: t.objective == "wgan_gp")
_STEPS = Condition("--d-steps or --g-steps above 1", lambda t: t.d_steps > 1 or t.g_steps > 1)


@dataclass(frozen=True, kw_only=True)
class Adversary(Discriminator):
    """A conditional discriminator, and how it and the generator train against each other."""

    real_label: float = option(1.0, "Label of true colors; below 1: one-sided label smoothing.",
        above=0, most=1, needs=(_LABELS,))
    penalty_weight: float = option(10.0, "Weight of the gradient penalty.", least=0,
        needs=(_PENALTY,))
    adversarial_weight: float = option(1.0, "Weight of the adversarial loss.", least=0)
    reconstruction_weight: float = option(100.0, "Weight of the reconstruction loss.", least=0)
    d_lr: float = option(2e-4, "Learning rate of the discriminator.", least=0)
    d_steps: int = option(1,
        "Discriminator steps per generator step, each on another batch unless --same-batch.",
        least=1)
    g_steps: int = option(1,
        "Generator steps per discriminator step, each on another batch unless --same-batch.",
        least=1)
    same_batch: bool = option(False,
        "All steps of --d-steps or --g-steps on one batch: both networks step on every batch.",
        needs=(_STEPS,))
    d_noise_l: float = option(0.0,
        "Noise on L for the discriminator: standard deviation, 1 is 50 CIE units.", least=0)
    d_noise_ab: float = option(0.0,
        "Noise on true ab for the discriminator: standard deviation, 1 is 110 CIE units.", least=0)

    def check(self) -> None:
        super().check()
        if self.d_steps > 1 and self.g_steps > 1:
            raise UsageError(
                f"--d-steps {self.d_steps} and --g-steps {self.g_steps}: one of them must be 1"
            )


_INNERMOST = (
    Condition("--generator pix2pix_unet", lambda t: t.generator == "pix2pix_unet"),
    Condition("--dropout above 0", lambda t: t.dropout > 0),
)


@dataclass(frozen=True, kw_only=True)
class RandomGenerator(Options):
    """A generator that starts from random weights."""

    generator: str = option("pix2pix_unet", "Generator without an encoder.", kind="generator")
    width: int = option(64, "Channels of the generator's first layer.", least=1)
    norm: str = option("batch", "Normalization of the generator.", choices=("batch", "instance",
        "none"))
    dropout: float = option(0.5, "Dropout probability of the generator, its source of noise.",
        least=0, below=1)
    innermost_dropout: bool = option(True,
        "Dropout from the innermost block on, as in the paper; else from the next one on.",
        needs=_INNERMOST)
    init: str = option("normal", "Weight initialization.", kind="initialization")


@dataclass(frozen=True, kw_only=True)
class Compute(Options):
    """What computes, and where the data are."""

    precision: str = option("auto", "Numerical precision (auto: bf16 where it is fast).",
        choices=("auto", "fp32", "bf16", "fp16"))
    device: str = option("auto", "Device: cpu, cuda, mps, …; auto: CUDA if available.",
        role="place")
    data_dir: Path | None = option(None, "Folder of the named data sets.",
        none="fastai's data folder", role="place")


@dataclass(frozen=True, kw_only=True)
class Place(Compute):
    """Where a run takes place; none of it but seed and precision changes what is computed."""

    seed: int = option(0, "Random seed.", least=0)
    out: Path | None = option(None, "Run folder to create.", none="a new one in runs/",
        role="place")
    resume: bool = option(False, "Continue the run in --out with its own settings.", role="place")

    def check(self) -> None:
        super().check()
        if self.resume and self.out is None:
            raise UsageError("--resume needs the run's folder: add --out RUN")


# ------------------------------------------------------------------------------- the trainings


class Training(Place):
    """One run to come.

    command: its name on the command line; distributed: whether several processes can share it.
    """

    command, distributed = "", True


_BINS = Condition(
    "--reconstruction bins",
    lambda t: t.reconstruction == "bins" or (t.reconstruction is None and t.start is not None),
)
_WHOLE = Condition("epochs that train the whole network: --epochs 1 or more", lambda t: t.epochs)


@training(
    data="stl10",
    batch_size=32,
    epochs=(10, {"help": "Epochs that train the whole network.", "least": 0}),
    lr=(1e-3, {"help": "Maximum learning rate of the decoder; auto: by a range test, at most "
        "0.001."}),
    schedule="one-cycle",
    weight_decay=(0.01, {"help": "Weight decay, decoupled (AdamW)."}),
    beta2=(0.99, {"help": "Adam beta2; as published: 0.999."}),
)
class Pretrain(Training, Averaging, Momentum, Decay, Schedule, Accumulating, Data):
    """Train a generator on a pretrained encoder to predict color from lightness."""

    command, finds_rate = "pretrain", True
    encoder: str = option("efficientnet_lite0",
        "Pretrained encoder: ARCH (published weights), ARCH@none, ARCH@packaged or ARCH@FILE.",
        role="encoder")
    start: Path | None = option(None,
        "Run, model file or hf:USER/NAME to continue from, at this or another --size.",
        none="train a new decoder", role="file")
    frozen_epochs: int = option(1,
        "Epochs before these that train the decoder, the encoder frozen.", least=0)
    encoder_lr_ratio: float = option(0.1, "Encoder learning rate as a fraction of --lr.", least=0,
        needs=(_WHOLE,))
    eps: float = option(1e-5, "Adam epsilon; as published: 1e-8.", above=0)
    reconstruction: str | None = option(None, "Reconstruction loss.", kind="reconstruction",
        none="l1, or that of --start")
    rebalancing: float = option(0.5,
        "Class rebalancing: 0 weights all colors alike, 1 by their inverse frequency.", least=0,
        most=1, needs=(_BINS,))
    colorfulness: float = option(0.8,
        "Colorfulness that decoding is chosen for, as a fraction of the true one.", above=0, most=2,
        needs=(_BINS,))
    self_attention: bool = option(False, "Add a self-attention layer.")
    blur: bool = option(False, "Blur after upsampling, against checkerboard artifacts.")
    half_resolution: bool = option(False,
        "Predict color at half the resolution, enlarged bilinearly: less time, less detail.")
    decoder_width: float = option(1.0, "Factor on the decoder's channels.", above=0)
    decoder_channels: int | None = option(None, "Channels of every decoder block.", least=1,
        none="as the encoder's")
    encoder_stages: int | None = option(None, "Number of encoder stages that are used.", least=1,
        none="all")
    lightness: str = option("folded", "How the encoder's first layer reads L.", choices=("folded",
        "summed", "replicated"))

    def check(self) -> None:
        super().check()
        if self.epochs + self.frozen_epochs < 1:
            raise UsageError("nothing to train: --epochs and --frozen-epochs are both 0")


@training(
    epochs=(5, {"help": "Epochs of generator and discriminator."}),
    ema=0.999,
    reconstruction=("l1", {"kind": "", "choices": ("l1", "l2", "feature")}),
)
class GanFinetune(
    Training, Averaging, Betas, Decay, Schedule, Adversary, Reconstruction, Accumulating, Images
):  # fmt: skip
    """Finetune a pretrained generator against a discriminator."""

    command = "gan-finetune"
    model: Path | None = option(
        None, "Pretrain run, model file or hf:USER/NAME.", role="file", positional=True
    )
    data: str | None = option(None,
        "Data set name, folder of images, or a stream: hf:NAME or shards-{000..099}.tar.",
        none="the pretrain run's", role="data")
    d_epochs: int = option(0, "Epochs before these that train the discriminator alone.", least=0)
    patience: int | None = option(None,
        "Early stopping: epochs without improvement on the validation images; keeps the best.",
        least=1, none="train all epochs, keep the last")


ALONE = "none"
_OPPOSED = Condition("a discriminator: give --discriminator", lambda t: t.discriminator != ALONE)


def opposed(cls: type) -> dict[str, tuple]:
    """The options of an Adversary as they are where there may be no discriminator."""
    return {
        each.name: (each.default, {"needs": (_OPPOSED, *about.needs)})
        for each, about in options(cls)
        if each.name != "discriminator"
    }


@training(
    **opposed(Adversary),
    discriminator=("patchgan", {"choices": (ALONE,)}),
    dropout=0.5,
)
class TrainGenerator(
    Training, Averaging, Betas, Schedule, Adversary, Reconstruction, RandomGenerator,
    Accumulating, Data
):  # fmt: skip
    """Train a generator from random weights: pix2pix, or by reconstruction alone."""

    command = "train-generator"


@training(
    data=("cifar10", {"help": "Data set name or folder of images."}),
    limit=(None, {"help": "Maximum number of training images."}),
    batch_size=(1, {"help": "Batch size."}),
    epochs=200,
    lr=(2e-4, {"help": "Learning rate of all four networks."}),
    schedule="linear",
    norm=("instance", {"help": "Normalization of the generators."}),
    dropout=0.0,
    d_norm="instance",
    objective="least_squares",
)
class TrainCycleGAN(Training, Betas, Schedule, Discriminator, RandomGenerator, Data):
    """Train a generator without pairs: CycleGAN between grey and color images."""

    command, distributed = "train-cyclegan", False
    cycle_weight: float = option(10.0, "Weight of the cycle consistency loss.", least=0)
    pool_size: int = option(50, "Image pool: earlier predictions shown to the discriminators.",
        unit="images", least=0)

    def check(self) -> None:
        super().check()
        if self.batch_size == AUTO:
            raise UsageError("--batch-size auto: CycleGAN trains on single images; give a number")


@training(
    data=("cifar10", {"help": "Data set or folder with one subfolder per class."}),
    limit=(None, {"help": "Maximum number of training images."}),
    batch_size=128,
    weight_decay=(5e-3, {"help": "Weight decay, decoupled."}),
)
class TrainEncoder(Training, Decay, Accumulating, Data):
    """Train an encoder as a classifier; its file serves as ARCH@FILE."""

    command = "train-encoder"
    encoder: str = option("resnet20",
        "Encoder of random weights, or ARCH@WEIGHTS to continue from.", role="encoder")
    epochs: int = option(30, "Number of epochs.", least=1)
    lr: float = option(0.2, "Maximum learning rate (SGD, one-cycle).", least=0)
    label_smoothing: float = option(0.0, "Label smoothing.", least=0, below=1)


TRAININGS = {
    each.command: each
    for each in (Pretrain, GanFinetune, TrainEncoder, TrainGenerator, TrainCycleGAN)
}

# fmt: on


def arguments(training: Training) -> dict[str, Any]:
    """Every option but `resume`, fit for config.json."""
    return {name: value for name, value in flat(training).items() if name != "resume"}


def identity(training: Training, contents: Mapping[str, str]) -> str:
    """A hash (64 hexadecimal digits) that names what a training computes.

    Of its command, the schema, what differs from the defaults, and `contents`: option → what
    identifies the file or folder that it names, in place of the path. So a new option with a
    neutral default changes no identity, and files may move.
    """
    known = differences(training) | dict(contents)
    text = json.dumps([SCHEMA, training.command, known], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


RENAMED = {  # by command, what options were called in schema 1
    "gan-finetune": {"norm": "d_norm", "l1_weight": "reconstruction_weight"},
    "train-encoder": {"arch": "encoder"},
}


def recorded(config: Mapping[str, Any], name: str) -> Training:
    """The training that a run's config.json records; options that it lacks have their defaults.

    name: of the run, for messages. Raises UsageError if this version does not know its command, an
    option, or its schema.
    """
    command, schema = config["command"], config.get("schema", 1)
    kept = dict(config["arguments"])
    if schema == 1:
        kept = {RENAMED.get(command, {}).get(key, key): value for key, value in kept.items()}
        if command == "gan-finetune" and kept.get("reconstruction", "") is None:
            kept["reconstruction"] = "l1"
    kind = TRAININGS.get(command)
    if kind and schema == 1:  # which allowed options without effect
        loose = SimpleNamespace(**{each.name: each.default for each in fields(kind)} | kept)
        for each, about in options(kind):
            if not all(need.holds(loose) for need in about.needs):
                kept.pop(each.name, None)
    unknown = kept.keys() - {each.name for each in fields(kind)} if kind else {command}
    reason = f"unknown here: {', '.join(sorted(unknown))}" if unknown else f"schema {schema}"
    try:
        if schema <= SCHEMA and not unknown:
            return kind(**kept)
    except UsageError as error:  # what was once allowed
        reason = str(error)
    version = config.get("versions", {}).get("colourgan", "of another time")
    raise UsageError(f"{name} was made by colourgan {version} and needs that version ({reason})")
