"""The commands that train: one a function of colourgan.learners, its options the signature."""

from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from colourgan.cli.output import done
from colourgan.errors import UsageError
from colourgan.options import (
    AdversarialWeight,
    Augmentation,
    BatchSize,
    Beta1,
    Beta2,
    Data,
    DataDir,
    DecaySteps,
    DEpochs,
    Device,
    DLr,
    DNorm,
    Dropout,
    DSteps,
    DWidth,
    Ema,
    Epochs,
    Generator,
    GSteps,
    Init,
    Limit,
    LrFloor,
    Objective,
    Out,
    Patience,
    PenaltyWeight,
    Precision,
    RealLabel,
    Reconstruction,
    Resume,
    Schedule,
    Seed,
    Size,
    TrainEpochs,
    Width,
)


def pretrain(
    context: typer.Context,
    encoder: Annotated[
        str, Option(help="ARCH (published weights), or ARCH@none, ARCH@packaged or ARCH@FILE.")
    ] = "efficientnet_lite0",
    data: Annotated[str, Option(help="A data set's name or a folder of images.")] = "stl10",
    size: Size = None,
    limit: Limit = None,
    epochs: Epochs = 10,
    frozen_epochs: Annotated[int, Option(help="Epochs before these that train the decoder.")] = 1,
    batch_size: BatchSize = 32,
    lr: Annotated[float, Option(help="Highest learning rate of the decoder (one-cycle).")] = 1e-3,
    encoder_lr_ratio: Annotated[float, Option(help="The encoder's learning rate over it.")] = 0.1,
    weight_decay: Annotated[float, Option(help="Decoupled, as in AdamW.")] = 0.01,
    beta2: Annotated[float, Option(help="Adam's; as published: 0.999.")] = 0.99,
    eps: Annotated[float, Option(help="Adam's; as published: 1e-8.")] = 1e-5,
    schedule: Schedule = "one-cycle",
    decay_steps: DecaySteps = 10_000,
    reconstruction: Annotated[
        str | None,
        Option(help="l1, l2, bins (classes of color) or feature. [default: l1, or --start's]"),
    ] = None,
    rebalancing: Annotated[
        float, Option(help="bins: how much more rare colors count, from 0 to 1.")
    ] = 0.5,
    colorfulness: Annotated[
        float, Option(help="bins: share of the true colorfulness that decoding is chosen for.")
    ] = 0.8,
    augmentation: Augmentation = "flip+crop",
    self_attention: Annotated[bool, Option(help="One self-attention layer.")] = False,
    blur: Annotated[bool, Option(help="Blur after each enlargement, against checkers.")] = False,
    decoder_width: Annotated[float, Option(help="Channels of the decoder, as a factor.")] = 1.0,
    decoder_channels: Annotated[
        int | None, Option(help="Channels of every decoder block. [default: as the encoder's]")
    ] = None,
    encoder_stages: Annotated[
        int | None, Option(help="Resolutions of the encoder that are used. [default: all]")
    ] = None,
    lightness: Annotated[
        str, Option(help="How the encoder reads L: folded, summed or replicated.")
    ] = "folded",
    ema: Ema = 0.0,
    seed: Seed = 0,
    device: Device = "auto",
    precision: Precision = "auto",
    out: Out = None,
    resume: Resume = False,
    data_dir: DataDir = None,
    start: Annotated[
        Path | None,
        Option(help="A run or model file to go on from, at this or another --size."),
    ] = None,
) -> None:
    """Train a generator on a pretrained encoder to predict color from lightness."""
    from colourgan.learners import pretrain

    _train(pretrain, context)


def gan_finetune(
    context: typer.Context,
    model: Annotated[Path | None, Argument(help="A pretrain run or model file.")] = None,
    data: Annotated[
        str | None, Option(help="A data set's name or a folder. [default: the pretrain run's]")
    ] = None,
    discriminator: Annotated[str, Option(help="See `colourgan list discriminators`.")] = "patchgan",
    norm: Annotated[str, Option(help="Its norm: batch, instance, layer, spectral or none.")] = (
        "batch"
    ),
    d_width: DWidth = 64,
    objective: Objective = "bce",
    real_label: RealLabel = 1.0,
    penalty_weight: PenaltyWeight = 10.0,
    reconstruction: Annotated[str | None, Option(help="l1, l2 or feature. [default: l1]")] = None,
    l1_weight: Annotated[
        float, Option(help="Weight of the reconstruction beside the adversarial loss.")
    ] = 100.0,
    adversarial_weight: AdversarialWeight = 1.0,
    limit: Limit = None,
    epochs: Epochs = 5,
    d_epochs: DEpochs = 0,
    patience: Patience = None,
    batch_size: BatchSize = 16,
    lr: Annotated[float, Option(help="Learning rate of the generator.")] = 2e-4,
    d_lr: DLr = 2e-4,
    beta1: Beta1 = 0.5,
    beta2: Beta2 = 0.999,
    weight_decay: Annotated[float, Option(help="Of the generator, decoupled.")] = 0.0,
    d_steps: DSteps = 1,
    g_steps: GSteps = 1,
    schedule: Schedule = "constant",
    decay_steps: DecaySteps = 10_000,
    lr_floor: LrFloor = 0.0,
    augmentation: Augmentation = "flip+crop",
    ema: Ema = 0.999,
    seed: Seed = 0,
    device: Device = "auto",
    precision: Precision = "auto",
    out: Out = None,
    resume: Resume = False,
    data_dir: DataDir = None,
) -> None:
    """Sharpen a pretrained generator against a PatchGAN."""
    from colourgan.learners import gan_finetune

    _train(gan_finetune, context)


def train_encoder(
    context: typer.Context,
    arch: Annotated[
        str, Option(help="A name of `colourgan list encoders`, random; ARCH@WEIGHTS goes on.")
    ] = "resnet20",
    data: Annotated[str, Option(help="A data set or folder with a folder a class.")] = "cifar10",
    size: Size = None,
    limit: Limit = None,
    epochs: Epochs = 30,
    batch_size: BatchSize = 128,
    lr: Annotated[float, Option(help="Highest learning rate (one-cycle SGD).")] = 0.2,
    weight_decay: Annotated[float, Option(help="Decoupled from the gradient.")] = 5e-3,
    label_smoothing: Annotated[float, Option(help="Share given to the wrong classes.")] = 0.0,
    augmentation: Augmentation = "flip+crop",
    seed: Seed = 0,
    device: Device = "auto",
    precision: Precision = "auto",
    out: Out = None,
    resume: Resume = False,
    data_dir: DataDir = None,
) -> None:
    """Train an encoder as a classifier; its file serves as ARCH@FILE."""
    from colourgan.learners import train_encoder

    _train(train_encoder, context)


def train_generator(
    context: typer.Context,
    data: Data = "cifar10",
    size: Size = None,
    limit: Limit = None,
    generator: Generator = "pix2pix_unet",
    width: Width = 64,
    norm: Annotated[str, Option(help="The generator's norm: batch, instance or none.")] = "batch",
    dropout: Dropout = 0.5,
    init: Init = "normal",
    discriminator: Annotated[
        str, Option(help="See `colourgan list discriminators`; none: reconstruction alone.")
    ] = "patchgan",
    d_norm: DNorm = "batch",
    d_width: DWidth = 64,
    objective: Objective = "bce",
    real_label: RealLabel = 1.0,
    penalty_weight: PenaltyWeight = 10.0,
    adversarial_weight: AdversarialWeight = 1.0,
    reconstruction: Reconstruction = "l1",
    reconstruction_weight: Annotated[float, Option(help="Weight of L1 or L2 beside it.")] = 100.0,
    epochs: TrainEpochs = 10,
    batch_size: BatchSize = 16,
    lr: Annotated[float, Option(help="Learning rate of the generator.")] = 2e-4,
    d_lr: DLr = 2e-4,
    beta1: Beta1 = 0.5,
    beta2: Beta2 = 0.999,
    d_steps: DSteps = 1,
    g_steps: GSteps = 1,
    schedule: Schedule = "constant",
    decay_steps: DecaySteps = 10_000,
    lr_floor: LrFloor = 0.0,
    augmentation: Augmentation = "flip+crop",
    ema: Ema = 0.0,
    seed: Seed = 0,
    device: Device = "auto",
    precision: Precision = "auto",
    out: Out = None,
    resume: Resume = False,
    data_dir: DataDir = None,
) -> None:
    """Train a generator from random weights: pix2pix, or by reconstruction alone."""
    from colourgan.learners import train_generator

    _train(train_generator, context)


def train_cyclegan(
    context: typer.Context,
    data: Data = "cifar10",
    size: Size = None,
    limit: Limit = None,
    generator: Generator = "pix2pix_unet",
    width: Width = 64,
    norm: Annotated[str, Option(help="The generators': batch, instance or none.")] = "instance",
    dropout: Dropout = 0.0,
    init: Init = "normal",
    discriminator: Annotated[str, Option(help="See `colourgan list discriminators`.")] = "patchgan",
    d_norm: DNorm = "instance",
    d_width: DWidth = 64,
    objective: Objective = "least_squares",
    cycle_weight: Annotated[float, Option(help="Weight of L1 after a whole cycle.")] = 10.0,
    pool_size: Annotated[int, Option(help="Earlier predictions shown to discriminators.")] = 50,
    epochs: TrainEpochs = 200,
    batch_size: BatchSize = 1,
    lr: Annotated[float, Option(help="Learning rate of all four networks.")] = 2e-4,
    beta1: Beta1 = 0.5,
    beta2: Beta2 = 0.999,
    schedule: Schedule = "linear",
    decay_steps: DecaySteps = 10_000,
    lr_floor: LrFloor = 0.0,
    augmentation: Augmentation = "flip+crop",
    seed: Seed = 0,
    device: Device = "auto",
    precision: Precision = "auto",
    out: Out = None,
    resume: Resume = False,
    data_dir: DataDir = None,
) -> None:
    """Train a generator without pairs: CycleGAN between grey and color images."""
    from colourgan.learners import train_cyclegan

    _train(train_cyclegan, context)


def _train(command, context: typer.Context) -> None:
    """Calls a training command with its options; a resumed run keeps those it was started with."""
    options = dict(context.params)
    if options["resume"]:
        options = _resumed(options, context)
    run = command(**options)
    done("run", run)


def _resumed(options: dict, context: typer.Context) -> dict:
    from colourgan.learners import read_config

    if options["out"] is None:
        raise UsageError("--resume needs the run's folder: add --out RUN")
    kept = read_config(options["out"])["arguments"]
    for name in options.keys() & kept.keys():
        given = context.get_parameter_source(name).name == "COMMANDLINE"
        if not given:
            options[name] = kept[name]
    return options
