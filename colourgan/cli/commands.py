"""The commands beside training: evaluation, pictures, files, names."""

import sys
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from colourgan.cli.derive import hint, listed
from colourgan.cli.output import done
from colourgan.errors import UsageError
from colourgan.plans import Study
from colourgan.trainings import Pretrain

BatchSize, DataDir, Device, Seed = (
    hint(Pretrain, name) for name in ("batch_size", "data_dir", "device", "seed")
)
TrustPickle = Annotated[
    bool, Option("--trust-pickle", help="Load a .pkl model, which can run any code on loading.")
]


def evaluate(
    models: Annotated[
        list[Path], Argument(help="Run folders or model files; packaged: the one in the package.")
    ],
    data: Annotated[
        str | None, Option(help="A data set's name or a folder. [default: the first run's]")
    ] = None,
    size: Annotated[
        int | None, Option(help="Side of the test images, in pixels. [default: the models']")
    ] = None,
    limit: Annotated[int | None, Option(help="Maximum number of images. [default: all]")] = None,
    batch_size: BatchSize = 64,
    json: Annotated[bool, Option("--json", help="Print JSON instead of the table.")] = False,
    seed: Seed = 0,
    device: Device = "auto",
    out: Annotated[Path, Option(help="Folder for table and picture.")] = Path("evaluation"),
    data_dir: DataDir = None,
    distances: Annotated[
        str,
        Option(help="frechet, accuracy, fid, kid and lpips, separated by commas, or none."),
    ] = "frechet",
    feature_encoder: Annotated[
        str, Option(help="Encoder whose features frechet compares.")
    ] = Study.feature_encoder,
    part: Annotated[str, Option(help="Split to measure on: test or valid.")] = "test",
    working_size: Annotated[
        int | None,
        Option(help="Side at which color is predicted, then enlarged. [default: the images']"),
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
        Option(help="Shorter side, in pixels, at which color is predicted. [default: the model's]"),
    ] = None,
    samples: Annotated[
        int | None,
        Option(help="Samples per picture, dropout on. [default: one, dropout off]"),
    ] = None,
    temperature: Annotated[
        float | None,
        Option(help="Temperature of the annealed mean, bins only. [default: the model's]"),
    ] = None,
    vivid: Annotated[
        float | None,
        Option(help="How far rare colors count, 0 to 1, bins only. [default: the model's]"),
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
    to: Annotated[str | None, Option(help="Format: fastai, safetensors or torchscript.")] = None,
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
    found = {registry.kind + "s": registry for registry in every}
    if kind != "all" and kind not in found:
        raise UsageError(f"nothing is called '{kind}': choices: {', '.join(found)}")
    for plural in found if kind == "all" else [kind]:
        print(f"{plural}:")
        for name, entry in found[plural].items():
            told = f"{entry.title}." if plural == "recipes" else (entry.__doc__ or "").strip()
            print(f"  {name:22} {told.splitlines()[0]}")
        if plural == "encoders":
            print(f"  {'timm:NAME':22} Any timm backbone whose stages run in order.")
        if plural == "schedules":
            print(f"  {'one-cycle':22} fastai's: up to the full rate in a quarter, then down to 0.")
