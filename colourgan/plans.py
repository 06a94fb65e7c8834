"""What experiments are asked for: the grid of a study, the setup of a recipe.

Like trainings, they are dataclasses whose fields are the only place of an option.
"""

from dataclasses import dataclass
from pathlib import Path

from colourgan.errors import UsageError
from colourgan.options import Options, option, part
from colourgan.trainings import Compute, GanFinetune, Pretrain, TrainEncoder

PLACE = ("seed", "precision", "device", "data_dir", "out", "resume")
TUNINGS = ("unfrozen", "discriminative", "gradual", "frozen")


@dataclass(frozen=True, kw_only=True)
class Experiment(Compute):
    """What every experiment has."""

    seeds: int = option(3, "Repetitions of every training.", least=1)
    test_limit: int = option(1000, "Maximum number of test images.", least=2)
    jobs: int = option(1, "Trainings in parallel.", least=1, role="place")
    out: Path | None = option(
        None, "Folder of runs and report.", none="see the command", role="place"
    )


@dataclass(frozen=True, kw_only=True)
class Study(Experiment):
    """Train and measure a grid of models: encoders × data × methods × seeds; write a report.

    encoders: ARCH[@WEIGHTS] as for `pretrain`, or ARCH@trained:DATA (the study trains it on DATA by
    `train-encoder`), ARCH@adapted and ARCH@adapted:WEIGHTS (published, or those weights, trained on
    with the cell's own data). methods: a reconstruction, "gan" or "gan:OBJECTIVE", which finetunes
    the L1 cell of the same kind. tunings: "unfrozen" (one learning rate), "discriminative" (the
    encoder's is a tenth), "gradual" (the same after a first epoch with a frozen encoder) or
    "frozen" (of the encoder only batch norm learns from L1; a GAN then trains all of it). base,
    gan, encoder: what the grid does not vary. An encoder is trained once, with seed 0: differences
    between seeds are those of what follows.
    """

    name: str = option("", "Name of the study, and of its folder.", positional=True)
    encoders: tuple[str, ...] = option(
        ("resnet20@packaged", "resnet20@none"),
        "ARCH[@WEIGHTS], ARCH@trained:DATA or ARCH@adapted, separated by commas.",
    )
    data: tuple[str, ...] = option(("cifar10",), "Data set names or folders of images.")
    methods: tuple[str, ...] = option(("l1", "gan"), "l1, l2, bins, feature, gan, gan:OBJECTIVE.")
    sizes: tuple[int, ...] = option(
        (), "Sides of the square images.", unit="pixels", none="the data set's own", least=16
    )
    tunings: tuple[str, ...] = option(
        ("unfrozen",), "How the encoder is finetuned.", choices=TUNINGS
    )
    stages: tuple[str, ...] = option(("all",), "Numbers of encoder stages that are used, or all.")
    lightness: tuple[str, ...] = option(
        ("folded",), "How the encoder's first layer reads L.",
        choices=("folded", "summed", "replicated"),
    )  # fmt: skip
    decoders: tuple[str, ...] = option(
        ("encoder",), "Channels of the decoder blocks: encoder (as the encoder's) or a number."
    )
    base: Pretrain = part(
        Pretrain(frozen_epochs=0), "",
        (*PLACE, "encoder", "data", "size", "start", "frozen_epochs", "encoder_lr_ratio",
         "reconstruction", "rebalancing", "colorfulness", "decoder_channels", "encoder_stages",
         "lightness"),
    )  # fmt: skip
    gan: GanFinetune = part(
        GanFinetune(epochs=10), "gan_",
        (*PLACE, "model", "data", "limit", "objective", "real_label", "penalty_weight"),
        follows=("epochs", "augmentation"),
    )  # fmt: skip
    encoder: TrainEncoder = part(TrainEncoder(), "encoder_", (*PLACE, "encoder", "data"))
    distances: tuple[str, ...] = option((), "Distances between sets of images.", kind="distance")
    feature_encoder: str = option(
        Pretrain.encoder, "Encoder whose features frechet compares.", role="encoder"
    )

    def check(self) -> None:
        super().check()
        for name in ("encoders", "data", "methods", "tunings", "stages", "lightness", "decoders"):
            if not getattr(self, name):
                raise UsageError(f"{name}: a study needs at least one")
        for name in ("encoders", "data", "methods", "sizes", "tunings", "stages", "lightness",
                     "decoders", "distances"):  # fmt: skip
            given = getattr(self, name)
            if len(set(given)) < len(given):
                raise UsageError(f"{name} names something twice: {', '.join(map(str, given))}")
        _check_numbers("stages", self.stages, "all", 2)
        _check_numbers("decoder", self.decoders, "encoder", 4)


def _check_numbers(what: str, words: tuple[str, ...], other: str, least: int) -> None:
    for word in words:
        if word != other and not (word.isdecimal() and int(word) >= least):
            raise UsageError(f"unknown {what} '{word}': {other} or a number from {least}")


@dataclass(frozen=True, kw_only=True)
class Setup(Options):
    """What may be chosen of a recipe; None: as published, or not an option of this recipe."""

    data: str | None = option(None, "Data set name or folder of images.", none="as published")
    size: int | None = option(
        None, "Side of the square images.", unit="pixels", none="as published", least=16
    )
    limit: int | None = option(
        None, "Maximum number of training images.", none="as published", least=1
    )
    epochs: int | None = option(None, "Epochs of each training.", none="as published", least=1)
    batch_size: int | None = option(
        None, "Batch size.", unit="images", none="as published", least=1
    )
    width: int | None = option(None, "Channels of the first layer.", none="as published", least=1)
    encoders: tuple[str, ...] | None = option(
        None, "ARCH[@WEIGHTS], separated by commas.", none="as published"
    )


@dataclass(frozen=True, kw_only=True)
class Reproduction(Experiment, Setup):
    """Repeat a published experiment: train, draw its figures, say whether its claims hold."""

    recipe: str = option("", "See `colourgan list recipes`.", positional=True)
