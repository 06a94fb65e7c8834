"""The command that compares encoders, data sets and methods by a grid of trainings."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from colourgan.cli.lists import listed
from colourgan.cli.output import done
from colourgan.errors import UsageError
from colourgan.options import Augmentation, DataDir, Device, DNorm, DWidth, Ema, Precision


def study(
    context: typer.Context,
    name: Annotated[str, Argument(help="Of the study, and of its folder.")],
    encoders: Annotated[
        str, Option(help="ARCH[@WEIGHTS], ARCH@trained:DATA, ARCH@adapted; commas between all.")
    ] = "resnet20@packaged,resnet20@none",
    data: Annotated[str, Option(help="Data sets' names or folders.")] = "cifar10",
    methods: Annotated[str, Option(help="l1, l2, bins, feature, gan, gan:OBJECTIVE.")] = "l1,gan",
    sizes: Annotated[str, Option(help="Sides in pixels. [default: the data set's own]")] = "",
    seeds: Annotated[
        int, Option(help="How often every training but an encoder's is repeated.")
    ] = 3,
    tunings: Annotated[
        str, Option(help="unfrozen, discriminative, gradual, frozen: how the encoder learns.")
    ] = "unfrozen",
    stages: Annotated[str, Option(help="How many of the encoder's are used: all, 2, 3, …")] = "all",
    lightness: Annotated[
        str, Option(help="How the encoder reads L: folded, summed, replicated.")
    ] = "folded",
    decoders: Annotated[
        str, Option(help="Their channels: encoder for what it brings about, or a fixed number.")
    ] = "encoder",
    limit: Annotated[int | None, Option(help="Training images at most. [default: all]")] = None,
    epochs: Annotated[int, Option(help="Of L1.")] = 10,
    batch_size: Annotated[int, Option(help="Images in a batch, for L1.")] = 32,
    lr: Annotated[float, Option(help="Highest learning rate of L1 (one-cycle).")] = 1e-3,
    gan_epochs: Annotated[int | None, Option(help="Of finetuning. [default: as of L1]")] = None,
    gan_batch_size: Annotated[int, Option(help="Images in a batch, for finetuning.")] = 16,
    gan_lr: Annotated[float, Option(help="Of generator and discriminator.")] = 2e-4,
    norm: DNorm = "batch",
    d_width: DWidth = 64,
    l1_weight: Annotated[float, Option(help="Weight of L1 beside the adversarial loss.")] = 100.0,
    ema: Ema = 0.999,
    augmentation: Augmentation = "flip+crop",
    encoder_size: Annotated[
        int | None, Option(help="Of images for ARCH@trained. [default: the data set's own]")
    ] = None,
    encoder_limit: Annotated[
        int | None, Option(help="Images to train an encoder with. [default: all]")
    ] = None,
    encoder_epochs: Annotated[int, Option(help="Of training an encoder.")] = 30,
    test_limit: Annotated[int, Option(help="How many test images at most.")] = 1000,
    distances: Annotated[str, Option(help="See `colourgan list distances`.")] = "",
    feature_encoder: Annotated[
        str, Option(help="ARCH[@WEIGHTS] whose features frechet compares.")
    ] = "efficientnet_lite0",
    jobs: Annotated[int, Option(help="Trainings side by side.")] = 1,
    device: Device = "auto",
    precision: Precision = "auto",
    out: Annotated[Path | None, Option(help="Its folder. [default: studies/NAME]")] = None,
    data_dir: DataDir = None,
    status: Annotated[
        bool, Option("--status", help="Say what is done and how long the rest will take.")
    ] = False,
    report: Annotated[
        bool, Option("--report", help="Write the report of what is done, train nothing.")
    ] = False,
) -> None:
    """Train and measure a grid of models: encoders × data × methods × seeds; write a report.

    Called again it keeps what is finished, goes on with what was broken off and tries again what
    failed; options that are left out are those of the last call, which study.json in its folder
    holds. The same command in a second terminal shares the work.
    """
    from colourgan.study import read_arguments, status_of, study
    from colourgan.study import report as write_report

    folder = out or Path("studies") / name
    if status or report:
        read_arguments(folder)  # says so if there is no study
    options = dict(context.params)
    del options["status"], options["report"]
    options = _listed(_kept(options, folder, context))
    if status:
        print("\n".join(status_of(options, folder)))
    elif report:
        done("report", write_report(options, folder))
    else:
        done("report", study(**options))


LISTS = ("encoders", "data", "methods", "tunings", "stages", "lightness", "decoders", "distances")


def _kept(options: dict, folder: Path, context: typer.Context) -> dict:
    """The options, those not given taken from the last call, which is said."""
    from colourgan.study import NOTE, command_line, read_arguments

    if not (folder / NOTE).is_file():
        return options
    kept = read_arguments(folder)
    given = {
        name
        for name in options
        if context.get_parameter_source(name).name == "COMMANDLINE" or name == "out"
    }
    print(f"{folder} was last called as: {command_line(kept)}", file=sys.stderr)
    return options | {name: value for name, value in kept.items() if name not in given}


def _listed(options: dict) -> dict:
    """What is written with commas, as lists."""
    lists = {name: _words(name, options[name]) for name in LISTS}
    try:
        sizes = [int(size) for size in _words("sizes", options["sizes"])]
    except ValueError:
        raise UsageError(f"--sizes {options['sizes']}: give numbers of pixels, as 32,64") from None
    return options | lists | {"sizes": sizes}


def _words(name: str, given: str | list) -> list:
    if not isinstance(given, str):  # from an earlier call
        return given
    return listed(f"--{name}", given, "names") if given.strip() else []
