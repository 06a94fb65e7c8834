"""Studies: the grid over encoders × data × method × seeds, run, measured and reported."""

import inspect
import json
import shlex
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import torch

from colourgan.callbacks import resolve_precision
from colourgan.distances import DISTANCES, FEATURE_ENCODER, check_distances
from colourgan.errors import RunError, UsageError
from colourgan.evaluate import measure_grey
from colourgan.files import replacing
from colourgan.learners import PLACES, choose_device
from colourgan.learners.runs import arguments_of
from colourgan.study.cells import DONE, FACTORS, FAILED, NOT_DONE, Cell
from colourgan.study.grid import grid, wanted
from colourgan.study.measure import Test, forget_images
from colourgan.study.run import Study, run, status_lines
from colourgan.study.settings import TUNINGS, Settings

__all__ = [
    "DONE",
    "FACTORS",
    "FAILED",
    "NOTE",
    "NOT_DONE",
    "TUNINGS",
    "Cell",
    "command_line",
    "defaults",
    "read_arguments",
    "report",
    "status_of",
    "study",
]

NOTE = "study.json"


def study(
    name: str,
    encoders: Sequence[str] = ("resnet20@packaged", "resnet20@none"),
    data: Sequence[str] = ("cifar10",),
    methods: Sequence[str] = ("l1", "gan"),
    sizes: Sequence[int] = (),
    seeds: int = 3,
    tunings: Sequence[str] = ("unfrozen",),
    stages: Sequence[str] = ("all",),
    lightness: Sequence[str] = ("folded",),
    decoders: Sequence[str] = ("encoder",),
    limit: int | None = None,
    epochs: int = 10,
    batch_size: int = 32,
    lr: float = 1e-3,
    gan_epochs: int | None = None,
    gan_batch_size: int = 16,
    gan_lr: float = 2e-4,
    norm: str = "batch",
    d_width: int = 64,
    l1_weight: float = 100.0,
    ema: float = 0.999,
    augmentation: str = "flip+crop",
    encoder_size: int | None = None,
    encoder_limit: int | None = None,
    encoder_epochs: int = 30,
    test_limit: int = 1000,
    distances: Sequence[str] = (),
    feature_encoder: str = FEATURE_ENCODER,
    jobs: int = 1,
    device: str = "auto",
    precision: str = "auto",
    out: Path | None = None,
    data_dir: Path | None = None,
) -> Path:
    """Trains and measures a grid of models and writes its report; returns the report's path.

    Every model is a cell, for each of: encoders, ARCH[@WEIGHTS] as for `pretrain`, or
    ARCH@trained:DATA (the study trains it on DATA by `train_encoder`), ARCH@adapted and
    ARCH@adapted:WEIGHTS (published, or those weights, trained on with the cell's own data); data,
    names or folders; methods: a name of RECONSTRUCTIONS, "gan" or "gan:OBJECTIVE", which finetunes
    the L1 cell of the same kind; sizes in pixels, none for the data set's own; seeds 0, 1, …;
    tunings:
    "unfrozen" (one learning rate), "discriminative" (the encoder's is a tenth), "gradual" (the
    same after a first epoch with a frozen encoder) or "frozen" (of the encoder only batch norm
    learns from L1; a GAN then trains all of it); stages: how many of the encoder's are used, or
    "all"; lightness: how it reads L; decoders: "encoder" for the widths that it brings about, or a
    number of channels, the same for all. An encoder is trained once, with seed 0: differences
    between seeds are those of what follows.

    limit to lr and ema to augmentation are those of `pretrain` and `gan_finetune`; gan_epochs: None
    for as many as before; norm: of the discriminator, "layer" where wgan_gp meets "batch";
    encoder_*: of the encoders that are trained, size None for their data's own. test_limit: test
    images at most; distances: names of DISTANCES; feature_encoder: whose features "frechet" uses.

    jobs: trainings side by side, each with its share of torch's threads when the study began; a
    script that asks for more than one must guard its call by `if __name__ == "__main__"`. out: its
    folder, None for studies/NAME; what is finished there is kept, what was broken off goes on, by
    any number of processes. Raises UsageError for wrong words, and RunError if a cell failed, once
    all others are done and the report is written.
    """
    arguments = arguments_of(locals())
    out = Path(out or Path("studies") / name).resolve()
    found = opened(arguments, out)
    sizes = {int(t.setting["size"]) for t in found.trainings if t.factors}
    check_distances(distances, feature_encoder, min(sizes))
    with replacing(out / NOTE) as part:
        part.write_text(json.dumps(arguments | {"threads": found.threads}, indent=2) + "\n")
    run(found, jobs)
    return _concluded(found, arguments, out)


def _concluded(found: Study, arguments: dict, out: Path) -> Path:
    """Writes the report of whatever is done; RunError if that is not all."""
    cells = wanted(_settings(arguments), found.trainings)
    page = report(arguments, out) if any(map(found.is_done, cells)) else None
    told = f"; the report of the others is {page}" if page else ""
    failed = [t for t in found.trainings if found.state(t) == FAILED]
    if failed:
        first = f"{failed[0].name}: {found.failure(failed[0])}"
        raise RunError(
            f"{len(failed)} of {len(found.trainings)} trainings failed, the first: {first}{told}"
        )
    if not all(map(found.is_done, cells)):
        raise RunError(
            f"a process ended before its work was done (see {out / 'logs'}): the same command "
            f"goes on{told}"
        )
    return page


def opened(arguments: dict, out: Path) -> Study:
    """The study that these arguments of `study` describe, whatever is done of it.

    Raises UsageError for wrong words in them.
    """
    if arguments["jobs"] < 1:
        raise UsageError(f"jobs must be 1 or more, not {arguments['jobs']}")
    if arguments["test_limit"] < 2:
        raise UsageError(f"a test needs 2 images or more, not {arguments['test_limit']}")
    trainings = grid(_settings(arguments))
    forget_images()
    for distance in arguments["distances"]:
        DISTANCES[distance]
    place = Path(arguments["data_dir"]).expanduser() if arguments["data_dir"] else None
    device = choose_device(arguments["device"])
    resolve_precision(arguments["precision"], device)
    test = Test(
        arguments["test_limit"],
        tuple(arguments["distances"]),
        arguments["feature_encoder"],
        str(device),
        place,
    )
    where = {"device": arguments["device"], "data_dir": place}
    return Study(out, trainings, test, where, _threads(out, arguments["jobs"]))


def _settings(arguments: dict) -> Settings:
    given = {field.name: arguments[field.name] for field in fields(Settings)}
    return Settings(
        **{k: tuple(v) if isinstance(v, (list, tuple)) else v for k, v in given.items()}
    )


def _threads(out: Path, jobs: int) -> int:
    """Of each training: once begun, a study keeps their number, on which sums depend."""
    if (out / NOTE).is_file():
        return _read_note(out)["threads"]
    return max(1, torch.get_num_threads() // jobs)


def read_arguments(out: Path) -> dict:
    """The arguments that a study was last called with.

    Raises UsageError if there is none in `out`, RunError if its note is damaged.
    """
    arguments = defaults() | _read_note(Path(out))
    del arguments["threads"]
    return arguments


def _read_note(out: Path) -> dict:
    note = out / NOTE
    if not note.is_file():
        raise UsageError(f"{out} holds no study: it has no {NOTE}")
    try:
        found = json.loads(note.read_text())
        return found | {"threads": int(found["threads"])}
    except (ValueError, TypeError, KeyError) as error:
        raise RunError(f"{note} is damaged: remove it and give all options again") from error


def status_of(arguments: dict, out: Path) -> list[str]:
    """Lines that say what of a study is done, what failed and why, and how long the rest takes."""
    found = opened(arguments, Path(out).resolve())
    return status_lines(found, wanted(_settings(arguments), found.trainings), arguments["jobs"])


def report(arguments: dict, out: Path) -> Path:
    """Writes the tables, the picture and the page of what is done; returns the page's path.

    Raises UsageError if no cell is done.
    """
    from colourgan.study.page import write_page
    from colourgan.study.summary import summary_picture
    from colourgan.study.table import write_tables

    out = Path(out).resolve()
    found = opened(arguments, out)
    cells = [found.cell(t) for t in wanted(_settings(arguments), found.trainings)]
    done = [cell for cell in cells if cell.state == DONE]
    if not done:
        raise UsageError(f"{out} has no finished cell to report on: run the study first")
    places = sorted({(cell.factors["data"], cell.factors["size"]) for cell in done})
    images = {place: found.test.images(*place) for place in places}
    write_tables(cells, out)
    grey = {place: measure_grey(images[place]).row() for place in places}
    summary_picture(cells, out / "summary.png", {place: row["l1"] for place, row in grey.items()})
    shown = {k: v for k, v in arguments.items() if k not in (*PLACES, "name", "jobs")}
    command = command_line(arguments)
    return write_page(arguments["name"], command, shown, cells, found.runs, images, grey, out)


def command_line(arguments: dict) -> str:
    """The command that makes a study again, without places."""
    parts = ["colourgan", "study", arguments["name"]]
    for name, default in defaults().items():
        value = arguments[name]
        if name not in (*PLACES, "jobs") and _written(value) != _written(default):
            parts += [f"--{name.replace('_', '-')}", _written(value)]
    return shlex.join(parts)


def defaults() -> dict:
    """The arguments of `study` that have one, but for its name."""
    parameters = inspect.signature(study).parameters.items()
    return {name: each.default for name, each in parameters if name != "name"}


def _written(value) -> str:
    return ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
