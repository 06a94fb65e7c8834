"""The commands beside training: evaluation, pictures, files, names."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from colourgan.cli.derive import hint, listed
from colourgan.cli.output import done
from colourgan.errors import DiskFull, RunError, UsageError
from colourgan.files import replacing, shown
from colourgan.plans import Study
from colourgan.trainings import Pretrain

DataDir, Device, Seed = (hint(Pretrain, name) for name in ("data_dir", "device", "seed"))
TrustPickle = Annotated[
    bool, Option("--trust-pickle", help="Load a .pkl model, which can run any code on loading.")
]


def evaluate(
    models: Annotated[
        list[Path],
        Argument(
            help="Run folders, model files or hf:USER/NAME; packaged: the one in the package."
        ),
    ],
    data: Annotated[
        str | None, Option(help="A data set's name or a folder. [default: the first run's]")
    ] = None,
    size: Annotated[
        int | None, Option(help="Side of the test images, in pixels. [default: the models']")
    ] = None,
    limit: Annotated[int | None, Option(help="Maximum number of images. [default: all]")] = None,
    batch_size: Annotated[int, Option(help="Batch size.", metavar="<images>")] = 64,
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
    from colourgan.devices import choose_device
    from colourgan.evaluate import DECILES, as_json, evaluate, table
    from colourgan.learners import data_of
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
    inputs: Annotated[
        list[str],
        Argument(
            help="Pictures, folders, patterns such as 'scans/*.tif', lists of paths (.txt, .csv, "
            ".jsonl, .parquet), films, or - for stdin."
        ),
    ],
    model: Annotated[
        Path,
        Option(
            help="Run folder, model file, .onnx too, or hf:USER/NAME of the Hugging Face Hub; "
            "packaged: the one in the package."
        ),
    ] = Path("packaged"),
    out: Annotated[
        str | None,
        Option(
            help="Folder for the colored pictures, the file for a single one, or - for stdout. "
            "[default: colored; - for stdin]"
        ),
    ] = None,
    format: Annotated[
        str | None,
        Option(help="jpeg, png, tiff, webp, avif, heic, bmp or ppm. [default: the picture's own]"),
    ] = None,
    quality: Annotated[
        str, Option(help="fast, good or best: 1, 2 or 6 predictions are averaged.")
    ] = "good",
    working_size: Annotated[
        int | None,
        Option(help="Shorter side, in pixels, at which color is predicted. [default: the model's]"),
    ] = None,
    saturation: Annotated[float, Option(help="Factor on the predicted colors.")] = 1.0,
    temperature: Annotated[
        float | None,
        Option(help="Temperature of the annealed mean, bins only. [default: the model's]"),
    ] = None,
    vivid: Annotated[
        float | None,
        Option(help="How far rare colors count, 0 to 1, bins only. [default: the model's]"),
    ] = None,
    hint: Annotated[
        list[str] | None,
        Option(
            metavar="x,y,color",
            help="The color that the pixel x to the right and y down is meant to have, such as "
            "darkred, #8b0000 or keep; it spreads. Repeatable; for one picture.",
        ),
    ] = None,
    samples: Annotated[
        int | None,
        Option(help="Samples per picture, dropout on. [default: one, dropout off]"),
    ] = None,
    seed: Seed = 0,
    side_by_side: Annotated[
        bool, Option("--side-by-side", help="Grey and color in one picture.")
    ] = False,
    jpeg_quality: Annotated[
        int, Option(help="Quality of JPEG, WebP, AVIF and HEIC, 1 to 100.")
    ] = 92,
    overwrite: Annotated[bool, Option("--overwrite", help="Replace pictures that exist.")] = False,
    skip_existing: Annotated[
        bool, Option("--skip-existing", help="Leave pictures that exist; goes on after a stop.")
    ] = False,
    start: Annotated[
        str | None, Option(help="Where to begin in a film: seconds, 1:30 or 0:01:30.5.")
    ] = None,
    end: Annotated[str | None, Option(help="Where to end in a film.")] = None,
    smoothing: Annotated[
        float | None,
        Option(
            help="Seconds over which a film's colors are averaged, along motion, within a scene; "
            "0: each frame by itself. [default: 0.5]"
        ),
    ] = None,
    report: Annotated[
        Path | None, Option(help="Also write what became of each picture, as CSV.")
    ] = None,
    sheet: Annotated[
        Path | None, Option(help="Also draw one picture of all, grey beside color.")
    ] = None,
    jobs: Annotated[
        int | None, Option(help="Pictures at a time. [default: one a core, at most 8]")
    ] = None,
    engine: Annotated[
        str, Option(help="local, or ray: the workers of a Ray cluster, for large archives.")
    ] = "local",
    ray_address: Annotated[
        str | None,
        Option(
            help="Ray cluster: auto (this machine's) or HOST:PORT. "
            "[default: RAY_ADDRESS, or a new one on this machine]"
        ),
    ] = None,
    device: Device = "auto",
    trust_pickle: TrustPickle = False,
) -> None:
    """Color pictures and films of any size and kind, at full resolution, in their own format."""
    from colourgan.cluster import check_engine
    from colourgan.colorize import (
        Colorizer,
        colorize_files,
        colorize_on_ray,
        colorize_sheet,
        expanded,
        failures,
    )
    from colourgan.film import SUFFIXES
    from colourgan.hints import parse_hint

    check_engine(engine, ray_address)
    hints = [parse_hint(each) for each in hint or ()]
    of_model = {
        "model": model, "working_size": working_size, "quality": quality, "saturation": saturation,
        "temperature": temperature, "vivid": vivid, "device": device, "trust_pickle": trust_pickle,
    }  # fmt: skip

    def colorizer() -> Colorizer:
        return Colorizer(**of_model)

    if "-" in inputs or out == "-":
        needs_files = {
            "--samples": samples is not None, "--sheet": sheet, "--report": report,
            "--skip-existing": skip_existing, "--engine ray": engine == "ray",
        }  # fmt: skip
        if given := [name for name, value in needs_files.items() if value]:
            raise UsageError(f"{given[0]} is for files: it cannot be used with -")
        _through_pipe(inputs, out, colorizer, format, jpeg_quality, side_by_side, overwrite, hints)
        return
    paths = [path for each in inputs for path in expanded(each)]
    films = [path for path in paths if path.suffix.lower() in SUFFIXES and not path.is_dir()]
    of_films = {"start": start, "end": end, "smoothing": smoothing}
    if films:
        of_pictures = {
            "--samples": samples is not None, "--hint": hints, "--format": format, "--sheet": sheet,
            "--report": report, "--engine ray": engine == "ray",
        }  # fmt: skip
        if given := [name for name, value in of_pictures.items() if value]:
            raise UsageError(f"{given[0]} is for pictures: it cannot be used with a film")
        if len(films) < len(paths):
            raise UsageError("color films and pictures by two commands")
        _color_films(films, out, colorizer, of_films, side_by_side, overwrite, skip_existing, jobs)
        return
    if given := [name for name, value in of_films.items() if value is not None]:
        raise UsageError(f"--{given[0]} is for films, and none is named")
    for folder in filter(Path.is_dir, paths):
        if left := sum(each.suffix.lower() in SUFFIXES for each in folder.rglob("*")):
            said = "a film was" if left == 1 else f"{left} films were"
            print(f"{shown(folder)}: {said} left out: name films themselves", file=sys.stderr)
    asked = {
        "format": format, "jpeg_quality": jpeg_quality, "side_by_side": side_by_side,
        "samples": samples, "seed": seed, "overwrite": overwrite, "skip_existing": skip_existing,
        "report": report, "jobs": jobs,
    }  # fmt: skip
    out = out or "colored"
    if engine == "ray":
        if given := [name for name, value in {"--hint": hints, "--sheet": sheet}.items() if value]:
            raise UsageError(f"{given[0]} cannot be used with --engine ray")
        outcomes = colorize_on_ray(inputs, of_model, out, address=ray_address, **asked)
    else:
        outcomes = colorize_files(inputs, colorizer(), out, hints=hints, **asked)
    written = [path for each in outcomes if each.state == "colored" for path in each.written]
    failed = failures(outcomes)
    if sheet and (written or not failed):
        colorize_sheet(outcomes, sheet)
    if written or not failed:
        skipped = sum(each.state == "skipped" for each in outcomes)
        done(f"{len(written)} colored{_beside(skipped)}", *written[:3], sheet, report)
    if failed:
        raise RunError(failed if report is None else f"{failed}; all are in {shown(report)}")


def _beside(skipped: int) -> str:
    return f" ({skipped} there already)" if skipped else ""


def _color_films(
    films: list[Path],
    out: str | None,
    colorizer: Callable,
    options: dict,
    side_by_side: bool,
    overwrite: bool,
    skip_existing: bool,
    jobs: int | None,
) -> None:
    """One film after the other; those that fail do not stop the rest."""
    from colourgan.film import colorize_film, film_target, seconds

    if overwrite and skip_existing:
        raise UsageError("--overwrite and --skip-existing exclude each other: choose one")
    times = {name: options[name] and seconds(options[name]) for name in ("start", "end")}
    if options["smoothing"] is not None:
        times["smoothing"] = options["smoothing"]
    targets = [film_target(film, Path(out or "colored")) for film in films]
    if len(set(targets)) < len(targets):
        raise UsageError("two of the films would become the same file: use two --out")
    colored, failed, model = [], [], colorizer()
    for film, target in zip(films, targets, strict=True):
        if skip_existing and target.exists():
            continue
        try:
            notes = colorize_film(
                film, target, model, side_by_side=side_by_side, overwrite=overwrite, jobs=jobs,
                **times,
            )  # fmt: skip
        except RunError as error:
            if len(films) == 1 or isinstance(error, DiskFull):
                raise
            failed.append(str(error))
            continue
        colored.append(target)
        for note in notes:
            print(f"{shown(film)}: {note}", file=sys.stderr)
    if colored or not failed:
        skipped = len(films) - len(colored) - len(failed)
        done(f"{len(colored)} colored{_beside(skipped)}", *colored)
    if failed:
        raise RunError(f"{len(failed)} of {len(films)} films failed: {'; '.join(failed)}")


def _through_pipe(
    inputs: list[str],
    out: str | None,
    colorizer: Callable,
    format: str | None,
    jpeg_quality: int,
    side_by_side: bool,
    overwrite: bool,
    hints: list,
) -> None:
    """One picture, from stdin or to stdout or both."""
    from colourgan.colorize import colorize_bytes
    from colourgan.images import reading

    if len(inputs) != 1:
        raise UsageError("- stands for one picture: name no other beside it")
    to = None if out in (None, "-") else Path(out)
    if to is None and sys.stdout.isatty():
        raise UsageError("a picture would go to the terminal: add > FILE, or --out FILE")
    if to is not None and (to.is_dir() or (to.exists() and not overwrite)):
        raise UsageError(f"{shown(to)} exists: name a file for --out or add --overwrite")
    if inputs == ["-"]:
        data = sys.stdin.buffer.read()
    else:
        if os.path.exists(inputs[0]) and not os.path.isfile(inputs[0]):
            raise UsageError(f"{shown(inputs[0])} is no file: - is for one picture")
        if not os.path.lexists(inputs[0]):
            raise UsageError(f"there is no file {shown(inputs[0])}")
        with reading(inputs[0]):
            data = Path(inputs[0]).read_bytes()
    if format is None and to is not None:
        format = to.suffix[1:]
    content, notes = colorize_bytes(
        data, colorizer(), format=format, jpeg_quality=jpeg_quality, side_by_side=side_by_side,
        hints=hints,
    )  # fmt: skip
    for note in notes:
        print(f"{shown(inputs[0])}: {note}", file=sys.stderr)
    if to is None:
        sys.stdout.buffer.write(content)
    else:
        with replacing(to) as part:
            part.write_bytes(content)
        done("colored", to)


def export(
    model: Annotated[Path, Argument(help="A run folder, model file or hf:USER/NAME.")],
    to: Annotated[
        str | None,
        Option(
            help="Format: fastai, safetensors, torchscript, onnx, onnx-int8 (8 bits where they do "
            "not show) or torch-export."
        ),
    ] = None,
    out: Annotated[
        Path | None, Option(help="File to write. [default: named after the model, in this folder]")
    ] = None,
    data: Annotated[
        str | None,
        Option(help="Photographs to calibrate onnx-int8 on: a name or folder. [default: sample]"),
    ] = None,
    trust_pickle: TrustPickle = False,
) -> None:
    """Write a model for fastai or another runtime: TorchScript, ONNX, an exported program."""
    from colourgan.learners import export

    done("exported", export(model, to, out, trust_pickle, data))


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
