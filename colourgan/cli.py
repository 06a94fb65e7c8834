"""The command line: one short function a command. Nothing heavy is imported before it is needed."""

import os
import signal
import sys
import traceback
import warnings
from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from colourgan.errors import RunError, UsageError
from colourgan.options import (
    AdversarialWeight,
    Augmentation,
    BatchSize,
    Beta1,
    Beta2,
    Data,
    DataDir,
    DecaySteps,
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
    PenaltyWeight,
    Precision,
    RealLabel,
    Reconstruction,
    Resume,
    Schedule,
    Seed,
    Size,
    TrainEpochs,
    TrustPickle,
    Width,
)

INTERRUPTED = 130  # what shells give for Ctrl-C

app = typer.Typer(
    name="colourgan",
    help="Transfer learning for image colorization: pretrain, gan-finetune, evaluate, colorize. "
    "`colourgan reproduce` repeats published experiments. `colourgan list` names the encoders, "
    "data sets and other parts to choose from. --debug, anywhere, shows the traceback of an error.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # brackets in the help are meant as they are
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


@app.command()
def pretrain(
    context: typer.Context,
    encoder: Annotated[
        str, Option(help="ARCH (published weights), or ARCH@none, ARCH@packaged or ARCH@FILE.")
    ] = "resnet18",
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
    reconstruction: Reconstruction = "l1",
    augmentation: Augmentation = "flip+crop",
    self_attention: Annotated[bool, Option(help="One self-attention layer.")] = False,
    blur: Annotated[bool, Option(help="Blur after each enlargement, against checkers.")] = False,
    decoder_width: Annotated[float, Option(help="Channels of the decoder, as a factor.")] = 1.0,
    ema: Ema = 0.0,
    seed: Seed = 0,
    device: Device = "auto",
    precision: Precision = "auto",
    out: Out = None,
    resume: Resume = False,
    data_dir: DataDir = None,
) -> None:
    """Train a generator on a pretrained encoder to predict color from lightness."""
    from colourgan.learners import pretrain

    _train(pretrain, context)


@app.command("gan-finetune")
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
    objective: Objective = "bce",
    real_label: RealLabel = 1.0,
    penalty_weight: PenaltyWeight = 10.0,
    l1_weight: Annotated[float, Option(help="Weight of L1 beside the adversarial loss.")] = 100.0,
    adversarial_weight: AdversarialWeight = 1.0,
    limit: Limit = None,
    epochs: Epochs = 5,
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


@app.command("train-encoder")
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


@app.command("train-generator")
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


@app.command("train-cyclegan")
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


@app.command()
def reproduce(
    recipe: Annotated[str, Argument(help="See `colourgan list recipes`.")],
    data: Annotated[
        str | None, Option(help="A data set's name or a folder. [default: as published]")
    ] = None,
    size: Annotated[int | None, Option(help="Side in pixels. [default: as published]")] = None,
    limit: Annotated[int | None, Option(help="Training images. [default: as published]")] = None,
    epochs: Annotated[
        int | None, Option(help="Epochs of each training. [default: as published]")
    ] = None,
    batch_size: Annotated[
        int | None, Option(help="Images in a batch. [default: as published]")
    ] = None,
    width: Annotated[
        int | None, Option(help="Channels of the first layer. [default: as published]")
    ] = None,
    encoders: Annotated[
        str | None, Option(help="ARCH[@WEIGHTS], with commas between. [default: as published]")
    ] = None,
    seeds: Annotated[int, Option(help="How often every training is repeated.")] = 3,
    test_limit: Annotated[int, Option(help="How many test images at most.")] = 1000,
    device: Device = "auto",
    precision: Precision = "auto",
    out: Annotated[
        Path | None, Option(help="Folder for runs and report. [default: reproductions/RECIPE]")
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Train a published experiment, draw its figures, and say whether its claims hold.

    Called again with the same --out it keeps what is finished and goes on with the rest. Below
    4,000 images, 4 epochs, 3 seeds and 1,000 test images every verdict stays open.
    """
    from colourgan.recipes import reproduce
    from colourgan.report import verdict_lines

    out = out or Path("reproductions") / recipe
    listed = encoders.split(",") if encoders else None
    report = reproduce(
        recipe, data, size, limit, epochs, batch_size, width, listed, seeds, test_limit, device,
        precision, out, data_dir,
    )  # fmt: skip
    print("\n".join(verdict_lines(report)))
    _done("report", out / "report.html")


@app.command()
def evaluate(
    models: Annotated[list[Path], Argument(help="Run folders or model files.")],
    data: Annotated[
        str | None, Option(help="A data set's name or a folder. [default: the first run's]")
    ] = None,
    size: Annotated[
        int | None, Option(help="Side of the test images in pixels. [default: the models']")
    ] = None,
    limit: Limit = None,
    batch_size: BatchSize = 64,
    json: Annotated[bool, Option("--json", help="Print JSON instead of the table.")] = False,
    seed: Seed = 0,
    device: Device = "auto",
    out: Annotated[Path, Option(help="Folder for table and picture.")] = Path("evaluation"),
    data_dir: DataDir = None,
    trust_pickle: TrustPickle = False,
) -> None:
    """Compare models on test images: a table and a picture."""
    from colourgan.evaluate import as_json, evaluate, table
    from colourgan.learners import choose_device, data_of
    from colourgan.models import load_model, names_of

    loaded = {name: load_model(path, trust_pickle) for name, path in names_of(models).items()}
    if data is None:
        data, data_dir = data_of(models[0], data_dir)
    device = str(choose_device(device))
    watched = sys.stderr.isatty()
    result = evaluate(
        loaded, data, size, limit, batch_size, device, seed, data_dir, out, progress=watched
    )
    print(as_json(result) if json else table(result))
    _done("table and picture", out / "evaluation.txt", result.picture)


@app.command()
def colorize(
    inputs: Annotated[list[Path], Argument(help="Pictures and folders of pictures.")],
    model: Annotated[Path, Option(help="A run folder or model file.")],
    out: Annotated[Path, Option(help="Folder for the colored pictures (PNG).")],
    size: Annotated[
        int | None,
        Option(help="Shorter side at which color is predicted. [default: the model's own]"),
    ] = None,
    samples: Annotated[
        int | None,
        Option(help="So many colorizations of each picture, by dropout. [default: one, without]"),
    ] = None,
    seed: Seed = 0,
    device: Device = "auto",
    overwrite: Annotated[bool, Option("--overwrite", help="Replace pictures in --out.")] = False,
    sheet: Annotated[
        Path | None, Option(help="Also draw one picture of all, grey beside color.")
    ] = None,
    trust_pickle: TrustPickle = False,
) -> None:
    """Color pictures of any size and kind, at full resolution."""
    from colourgan.colorize import Colorizer, colorize_files, colorize_sheet
    from colourgan.generators import SMALLEST
    from colourgan.learners import choose_device
    from colourgan.models import load_model

    generator = load_model(model, trust_pickle)
    size = generator.arguments["size"] if size is None else size
    if size < SMALLEST:
        raise UsageError(f"--size {size} is too small: at least {SMALLEST} pixels are needed")
    colorizer = Colorizer(generator, size, choose_device(device))
    pairs = colorize_files(inputs, colorizer, out, samples=samples, seed=seed, overwrite=overwrite)
    if sheet:
        colorize_sheet(pairs, sheet)
    _done(f"{len(pairs)} colored", *[target for _, target in pairs[:3]], sheet)


@app.command()
def export(
    model: Annotated[Path, Argument(help="A run folder or model file.")],
    to: Annotated[str, Option(help="fastai, safetensors or torchscript.")],
    out: Annotated[
        Path | None, Option(help="File to write. [default: named after the model, in this folder]")
    ] = None,
    trust_pickle: TrustPickle = False,
) -> None:
    """Write a model as fastai pickle, safetensors or TorchScript."""
    from colourgan.learners import export

    _done("exported", export(model, to, out, trust_pickle))


@app.command("list")
def list_names(
    kind: Annotated[str, Argument(help="encoders, datasets, discriminators, …; all if left out.")]
    = "all",
) -> None:  # fmt: skip
    """Name the parts to choose from."""
    found = _registries()
    if kind != "all" and kind not in found:
        raise UsageError(f"nothing is called '{kind}': choices: {', '.join(found)}")
    for plural in found if kind == "all" else [kind]:
        print(f"{plural}:")
        for name, entry in found[plural].items():
            print(f"  {name:22} {(entry.__doc__ or '').strip().splitlines()[0]}")
        if plural == "encoders":
            print(f"  {'timm:NAME':22} Any timm backbone whose stages run in order.")
        if plural == "schedules":
            print(f"  {'one-cycle':22} fastai's: up to the full rate in a quarter, then down to 0.")


def _registries() -> dict:
    """What can be chosen from: plural → registry."""
    from colourgan.datasets import DATASETS
    from colourgan.discriminators import DISCRIMINATORS
    from colourgan.encoders import ENCODERS
    from colourgan.generators import GENERATORS
    from colourgan.initializations import INITIALIZATIONS
    from colourgan.metrics import METRICS
    from colourgan.objectives import OBJECTIVES, RECONSTRUCTIONS
    from colourgan.recipes import RECIPES
    from colourgan.schedules import SCHEDULES

    every = (
        ENCODERS, DATASETS, GENERATORS, DISCRIMINATORS, OBJECTIVES, RECONSTRUCTIONS,
        INITIALIZATIONS, SCHEDULES, METRICS, RECIPES,
    )  # fmt: skip
    return {registry.kind + "s": registry for registry in every}


def _train(command, context: typer.Context) -> None:
    """Calls a training command with its options; a resumed run keeps those it was started with."""
    options = dict(context.params)
    if options["resume"]:
        options = _resumed(options, context)
    run = command(**options)
    _done("run", run)


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


def _done(what: str, *paths: Path | None) -> None:
    """Names on stderr what was made: stdout belongs to tables and JSON."""
    print(f"{what}: {', '.join(str(path) for path in paths if path)}", file=sys.stderr)


def main() -> None:
    """Runs the command line; every error a user can cause is one line on stderr."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    debug = len(arguments) < len(sys.argv) - 1
    signal.signal(signal.SIGTERM, _interrupt)
    if not debug:  # other libraries' notes to their developers
        warnings.simplefilter("ignore")
    try:
        code = app(arguments, standalone_mode=False, prog_name="colourgan")
        if code == INTERRUPTED:  # newer Typers turn Ctrl-C into this code
            raise KeyboardInterrupt
    except (Exception, KeyboardInterrupt) as error:
        if debug:
            traceback.print_exc()
        code, line = _explain(error)
        print(f"colourgan: {line}", file=sys.stderr)
    try:
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of a pipe had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code or 0)


def _interrupt(number, frame) -> None:
    raise KeyboardInterrupt


def _explain(error: BaseException) -> tuple[int, str]:
    """Exit code and line for an error."""
    if hasattr(error, "format_message"):  # Typer's own, whose class differs between its versions
        path = getattr(getattr(error, "ctx", None), "command_path", "colourgan")
        return 2, f"{error.format_message()} (see {path} --help)"
    if isinstance(error, UsageError):
        return 2, str(error)
    if isinstance(error, RunError):
        return 1, str(error)
    if isinstance(error, (KeyboardInterrupt, typer.Abort)):
        kept = "what was finished is kept; a run goes on with --resume --out RUN"
        return INTERRUPTED, f"interrupted: {kept}"
    if isinstance(error, BrokenPipeError):
        return 1, "the reader of the output went away"
    if isinstance(error, MemoryError) or "out of memory" in str(error).lower():
        return 1, "out of memory: use a smaller --batch-size or --size"
    first = (str(error).splitlines() or [""])[0]
    return 1, f"failed: {type(error).__name__}: {first} (--debug shows where)"


if __name__ == "__main__":
    main()
