"""What experiments are asked for: the grid of a study, the setup of a recipe.

Like trainings, they are dataclasses whose fields are the only place of an option.
"""

from dataclasses import dataclass, fields
from pathlib import Path

from colourgan.cluster import ENGINES
from colourgan.errors import UsageError
from colourgan.options import Options, option, part
from colourgan.trainings import AUTO, Compute, GanFinetune, Pretrain, TrainEncoder

PLACE = ("seed", "precision", "device", "data_dir", "out", "resume")
TUNINGS = ("unfrozen", "discriminative", "gradual", "frozen")


@dataclass(frozen=True, kw_only=True)
class Experiment(Compute):
    """What every experiment has."""

    seeds: int = option(3, "Repetitions of every training.", least=1)
    test_limit: int = option(1000, "Maximum number of test images.", least=2)
    jobs: int = option(
        1, "Trainings in parallel; with ray, on each machine.", least=1, role="place"
    )
    engine: str = option(
        "local", "Who runs the trainings: this machine, or a Ray cluster whose nodes all see the "
        "folder --out and the data.", choices=ENGINES, role="place",
    )  # fmt: skip
    ray_address: str | None = option(
        None, "Ray cluster: auto (this machine's) or HOST:PORT.",
        none="RAY_ADDRESS, or a new one on this machine", role="place",
    )  # fmt: skip
    out: Path | None = option(
        None, "Folder of runs and report.", none="see the command", role="place"
    )


@dataclass(frozen=True, kw_only=True)
class Study(Experiment):
    """Train and measure a grid of models: encoders × data × methods × seeds; write a report.

    encoders: ARCH[@WEIGHTS] as for `pretrain`, or ARCH@trained:DATA (the study trains it on DATA by
    `train-encoder`), ARCH@adapted and ARCH@adapted:WEIGHTS (published, or those weights, trained on
    with the cell's own data). methods: a reconstruction; RECONSTRUCTION+gan[:OBJECTIVE], which
    finetunes the cell of that reconstruction against a discriminator; "gan" and "gan:OBJECTIVE",
    which finetune the L1 cell. limits: numbers of training images, in place of base.limit; an
    encoder that is trained on with the cell's own data gets as many, one of ARCH@trained:DATA has
    its own. steps: of each pretraining, in place of base.epochs, so that many images and few are
    trained on equally long; in whole epochs, at least one. generators: "dynamic_unet" is the U-Net
    around each encoder; another one is trained from random weights, once and not for each encoder,
    tuning and decoder, with `train-generator`'s dropout and beta1 and without weight decay.
    discriminators: NAME, or NAME:NORM, of the GANs; none: gan's own. tunings: "unfrozen" (one
    learning rate), "discriminative" (the encoder's is a tenth), "gradual" (the same after a first
    epoch with a frozen encoder) or "frozen" (of the encoder only batch norm learns from L1; a GAN
    then trains all of it). base, gan, encoder: what the grid does not vary. An encoder is trained
    once, with seed 0: differences between seeds are those of what follows.

    Every model of another method than L1 is also compared with the L1 model of the same kind made
    as colorful, if the study has it, or else with the one that it finetunes. With several limits,
    the L1 model of a pretrained encoder is compared so with that of the same encoder's random
    weights.
    """

    name: str = option("", "Name of the study, and of its folder.", positional=True)
    encoders: tuple[str, ...] = option(
        ("resnet20@packaged", "resnet20@none"),
        "ARCH[@WEIGHTS], ARCH@trained:DATA or ARCH@adapted, separated by commas.",
    )
    data: tuple[str, ...] = option(("cifar10",), "Data set names or folders of images.")
    methods: tuple[str, ...] = option(
        ("l1", "gan"),
        "l1, l2, bins or feature; gan[:OBJECTIVE] finetunes l1, bins+gan[:OBJECTIVE] bins.",
    )
    limits: tuple[int, ...] = option(
        (), "Numbers of training images, in place of --limit.", none="that of --limit", least=1
    )
    steps: int | None = option(
        None, "Training steps of each pretraining, in place of --epochs.", none="those of --epochs",
        least=1,
    )  # fmt: skip
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
    generators: tuple[str, ...] = option(
        ("dynamic_unet",),
        "dynamic_unet (around each encoder), or others from random weights.", kind="generator",
    )  # fmt: skip
    discriminators: tuple[str, ...] = option(
        (), "NAME or NAME:NORM of the GANs' discriminators.",
        none="that of --gan-discriminator and --gan-d-norm",
    )  # fmt: skip
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
        for each in fields(Study):
            given = getattr(self, each.name)
            if not isinstance(each.default, tuple):
                continue
            if each.default and not given:
                raise UsageError(f"{each.name}: a study needs at least one")
            if len(set(given)) < len(given):
                raise UsageError(f"{each.name} names something twice: {', '.join(map(str, given))}")
        if self.steps and not (self.limits or self.base.limit):
            raise UsageError("--steps needs a number of training images: add --limits or --limit")
        if self.steps and self.base.batch_size == AUTO:
            raise UsageError("--steps needs a batch size: give a number for --batch-size")
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
