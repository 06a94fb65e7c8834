"""The commands beside training: published experiments, evaluation, pictures, files, names."""

import sys
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from colourgan.cli.lists import listed
from colourgan.cli.output import done
from colourgan.errors import UsageError
from colourgan.options import (
    BatchSize,
    DataDir,
    Device,
    Limit,
    Precision,
    Seed,
    TrustPickle,
)


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
    chosen = None if encoders is None else listed("--encoders", encoders, "ARCH[@WEIGHTS]")
    report = reproduce(
        recipe, data, size, limit, epochs, batch_size, width, chosen, seeds, test_limit, device,
        precision, out, data_dir,
    )  # fmt: skip
    print("\n".join(verdict_lines(report)))
    done("report", out / "report.html")


def evaluate(
    models: Annotated[
        list[Path], Argument(help="Run folders or model files; packaged: the one in the package.")
    ],
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
    distances: Annotated[
        str,
        Option(help="frechet, accuracy, fid, kid, lpips, with commas between, or none."),
    ] = "frechet",
    feature_encoder: Annotated[
        str, Option(help="ARCH[@WEIGHTS]: in whose features frechet is.")
    ] = "efficientnet_lite0",
    part: Annotated[str, Option(help="Images to measure on: test or valid.")] = "test",
    working_size: Annotated[
        int | None,
        Option(help="Side at which colors are predicted, then enlarged. [default: the images']"),
    ] = None,
    trust_pickle: TrustPickle = False,
) -> None:
    """Compare models on test images: a table and a picture."""
    from colourgan.evaluate import DECILES, as_json, evaluate, table
    from colourgan.learners import choose_device, data_of
    from colourgan.models import load_model, names_of

    loaded = {name: load_model(path, trust_pickle) for name, path in names_of(models).items()}
    if data is None:
        data, data_dir = data_of(models[0], data_dir)
    device = str(choose_device(device))
    asked = listed("--distances", distances, "their names")
    asked = {"none": [], "frechet": None}.get(distances, asked)
    watched = sys.stderr.isatty()
    result = evaluate(
        loaded, data, size, limit, batch_size, device, seed, data_dir, out, asked, feature_encoder,
        watched, part, working_size,
    )  # fmt: skip
    print(as_json(result) if json else table(result))
    done("table and pictures", out / "evaluation.txt", result.picture, out / DECILES)


def colorize(
    inputs: Annotated[list[Path], Argument(help="Pictures and folders of pictures.")],
    model: Annotated[
        Path, Option(help="A run folder or model file; packaged: the one in the package.")
    ] = Path("packaged"),
    out: Annotated[Path, Option(help="Folder for the colored pictures (PNG).")] = Path("colored"),
    size: Annotated[
        int | None,
        Option(help="Shorter side at which color is predicted. [default: the model's own]"),
    ] = None,
    samples: Annotated[
        int | None,
        Option(help="So many colorizations of each picture, by dropout. [default: one, without]"),
    ] = None,
    temperature: Annotated[
        float | None,
        Option(help="Low takes the likeliest class of color, 1 their mean. [default: own]"),
    ] = None,
    vivid: Annotated[
        float | None,
        Option(help="Of classes of color, 0 to 1: share of rare ones. [default: the model's own]"),
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
    from colourgan.generators import SMALLEST, set_decoding
    from colourgan.learners import choose_device
    from colourgan.models import load_model

    generator = load_model(model, trust_pickle)
    if temperature is not None or vivid is not None:
        set_decoding(generator, temperature, vivid)
    size = generator.arguments["size"] if size is None else size
    if size < SMALLEST:
        raise UsageError(f"--size {size} is too small: at least {SMALLEST} pixels are needed")
    colorizer = Colorizer(generator, size, choose_device(device))
    pairs = colorize_files(inputs, colorizer, out, samples=samples, seed=seed, overwrite=overwrite)
    if sheet:
        colorize_sheet(pairs, sheet)
    done(f"{len(pairs)} colored", *[target for _, target in pairs[:3]], sheet)


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

    done("exported", export(model, to, out, trust_pickle))


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
    from colourgan.distances import DISTANCES
    from colourgan.encoders import ENCODERS
    from colourgan.generators import GENERATORS
    from colourgan.initializations import INITIALIZATIONS
    from colourgan.metrics import METRICS
    from colourgan.objectives import OBJECTIVES
    from colourgan.recipes import RECIPES
    from colourgan.reconstructions import RECONSTRUCTIONS
    from colourgan.schedules import SCHEDULES

    every = (
        ENCODERS, DATASETS, GENERATORS, DISCRIMINATORS, OBJECTIVES, RECONSTRUCTIONS,
        INITIALIZATIONS, SCHEDULES, METRICS, DISTANCES, RECIPES,
    )  # fmt: skip
    return {registry.kind + "s": registry for registry in every}
