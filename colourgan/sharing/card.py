"""The model card: what a repository's README.md says of the model, filled from its run."""

import csv
import shlex
from collections.abc import Iterable, Mapping
from importlib.resources import files as package_files
from typing import Any

from colourgan.errors import RunError
from colourgan.files import shown
from colourgan.hub import MODEL, ONNX_MODEL, Reference, is_on_hub, reference
from colourgan.options import command_options, flag, options
from colourgan.runtimes import PACKAGED_SIZE
from colourgan.trainings import ALONE, Training, recorded

CONFIG, HISTORY, LOSS, SAMPLES = "config.json", "history.csv", "loss.png", "samples.png"
EVALUATION, EVALUATED = "evaluation.json", "evaluation.png"
NAMED_DATA = {
    "sample": None, "cifar10": "uoft-cs/cifar10", "stl10": None,
    "tiny-imagenet": "zh-plus/tiny-imagenet", "coco-sample": None, "landscape-pictures": None,
    "places365": None,
}  # fmt: skip
"""The named data sets, whose pictures are public, and what those on the Hub are called there."""

_ALWAYS = ("encoder", "generator", "data", "size", "epochs", "batch_size", "lr", "discriminator")
_ALWAYS += ("objective", "reconstruction", "seed")
_FEW = 100  # test images

LIMITS = """\
A grey photograph does not say what its colors were: those of this model are likely ones, learned
from the photographs that it has seen. Skies, plants and skin often get theirs; clothes, cars and
walls get one of many that are possible, often a pale one. It paints best what resembles its
training data, and skin and places as they are most frequent there.

**Do not use it to claim what the true colors of a photograph were.** Say that a picture was colored
by a machine where you show it."""


def card_of(
    wanted: Reference,
    about: dict,
    half: bool,
    config: dict | None,
    measured: dict | None,
    files: Mapping[str, object],
    license: str | None,
    packaged: bool,
) -> str:
    """The card's text: front matter, then a section for each thing to know.

    about, half: what the model file says of itself, see `described_in`; config: the run's, without
    folders, measured: an evaluation's content, both None where there is none; files: all that is
    sent, by name; license: its identifier on the Hub.
    """
    training = None if config is None else recorded(config, wanted.repository)
    parts = [
        _front_matter(license, training),
        f"# {wanted.repository.partition('/')[2]}",
        _what(about, half, files),
        _use(wanted, ONNX_MODEL in files, packaged),
    ]
    if packaged:
        parts += ["## The model", _packaged_section()]
    if training is not None:
        parts += _trained(training, config, about)
        parts += _history(training, config, files)
    if measured is not None:
        parts += _measured(measured, files)
    if not packaged:
        parts += ["## Limits", LIMITS]
    if license is None:
        parts += ["## License", "None is named: ask before you use it for more than a trial."]
    import colourgan

    made = (config or {}).get("versions", {}).get("colourgan", colourgan.__version__)
    parts.append(f"Made with colourgan {made}.")
    return "\n\n".join(parts) + "\n"


def _front_matter(license: str | None, training: Training | None) -> str:
    lines = ["library_name: colourgan", "pipeline_tag: image-to-image"]
    if license is not None:
        lines.append(f"license: {license}")
    started = str(getattr(training, "model", None) or getattr(training, "start", None) or "")
    if is_on_hub(started):
        lines += [f"base_model: {reference(started).repository}", "base_model_relation: finetune"]
    if data := NAMED_DATA.get(getattr(training, "data", None)):
        lines += ["datasets:", f"- {data}"]
    tags = ["colourgan", "colorization", "image-colorization", "black-and-white", "photography"]
    tags += ["gan"] if getattr(training, "discriminator", ALONE) != ALONE else []
    return "\n".join(["---", *lines, "tags:", *(f"- {tag}" for tag in tags), "---"])


def _what(about: dict, half: bool, files: Mapping[str, object]) -> str:
    built = about["arguments"]
    kind = built["encoder"] if "encoder" in built else built["generator"]
    on = "a U-Net on the encoder" if "encoder" in built else "the generator"
    classes = ", which predicts classes of color" if built.get("bins") else ""
    stored = "half" if half else "single"
    onnx = f", `{ONNX_MODEL}` the same model for ONNX Runtime" if ONNX_MODEL in files else ""
    return (
        "Colors black-and-white photographs of any size, by `colourgan`: "
        f"{on} {_code(kind)}{classes}.\nBuilt for {built['size']} pixels on the shorter side; "
        "a picture comes back at its full resolution.\n"
        f"`{MODEL}` holds the weights in {stored} precision{onnx}."
    )


def _use(wanted: Reference, onnx: bool, packaged: bool) -> str:
    install = ".[hub]" if onnx else ".[hub,train]"
    option, argument = "", ""
    if packaged:
        option, argument = f" --working-size {PACKAGED_SIZE}", f", working_size={PACKAGED_SIZE}"
    return (
        "## Use\n\n```bash\n"
        f"pip install '{install}'   # in a clone: PyPI has another project of that name\n"
        f"colourgan colorize old.jpg --model {wanted}{option}   # writes colored/old.jpg\n"
        "```\n\n```python\n"
        "from colourgan import Colorizer\n\n"
        f'Colorizer("{wanted}"{argument})("old.jpg").save("colored.jpg")\n'
        "```"
    )


def _packaged_section() -> str:
    """What the package's own card says of photographs.safetensors."""
    text = (package_files("colourgan") / "weights" / "README.md").read_text(encoding="utf-8")
    return text.split("\n## ")[1].partition("\n")[2].strip()


def _trained(training: Training, config: dict, about: dict) -> list[str]:
    """Data, settings and command of a run."""
    found, chosen = config.get("found", {}), config.get("chosen", {})
    images = [
        f"{found[key]:,} {what}"
        for key, what in (("train_images", "training"), ("valid_images", "validation"))
        if key in found
    ]
    named = training.data in NAMED_DATA
    kind = "The data set" if named else "Photographs of a folder named"
    counted = f": {' and '.join(images)} images" if images else ""
    rows = []
    for each, option in options(type(training)):
        value = getattr(training, each.name)
        if option.role == "place" or not (each.name in _ALWAYS or value != each.default):
            continue
        if each.name == "size":
            value = about["arguments"]["size"]
        told = _code(option.none if value is None else value)
        if each.name in chosen:
            told += f" ({chosen[each.name]:g})"  # what auto found
        rows.append([f"`{flag(each.name)}`", told, option.help.split(". ")[0].rstrip(".")])
    given = [str(training.model)] if getattr(training, "model", None) else []
    words = shlex.join(["colourgan", training.command, *given, *command_options(training)])
    return [
        "## Training", f"{kind} {_code(training.data)}{counted}.",
        _table(["option", "value", "what it is"], rows), f"```bash\n{words}\n```",
    ]  # fmt: skip


def _history(training: Training, config: dict, files: Mapping[str, Any]) -> list[str]:
    """The numbers of the model's epoch and of that with the lowest validation loss."""
    if HISTORY not in files:
        return []
    try:
        with open(files[HISTORY], newline="") as file:
            rows = [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)]
    except (OSError, ValueError, TypeError) as error:
        raise RunError(f"{files[HISTORY]} is damaged: {error}") from error
    rows = [row for row in rows if "valid_loss" in row]
    if not rows:
        return []
    kept = config.get("best", {}).get("epoch") or rows[-1]["epoch"]
    least = min(rows, key=lambda row: row["valid_loss"])["epoch"]
    loss = getattr(training, "reconstruction", None)
    headings = {
        "train_loss": f"training loss ({loss})" if loss else "training loss",
        # Whatever is trained with, colors are validated by L1, but for their squares.
        "valid_loss": "validation loss (l2)" if loss == "l2" else "validation L1",
        "saturation": "saturation (1: the truth's)",
    }
    headings = {k: v for k, v in headings.items() if k in rows[-1]}
    cells = [
        [
            f"{row['epoch']:.0f}{', this model' if row['epoch'] == kept else ', lowest loss'}",
            *(f"{row[key]:.4f}" if key in row else "" for key in headings),
        ]
        for row in rows
        if row["epoch"] in (kept, least)
    ]
    seconds = sum(row.get("seconds", 0) for row in rows)
    taken = f"{seconds / 60:.0f} minutes" if seconds > 100 else f"{seconds:.0f} seconds"
    epochs = "1 epoch" if len(rows) == 1 else f"{len(rows)} epochs"
    if frozen := getattr(training, "frozen_epochs", 0):
        epochs += f", the encoder frozen in the first{f' {frozen}' if frozen > 1 else ''}"
    parts = ["## Measured", f"On validation images; {epochs}, {taken} of training:"]
    parts.append(_table(["epoch", *headings.values()], cells))
    pictures = {
        LOSS: "The losses, epoch by epoch",
        SAMPLES: "Validation images: grey, predicted, true",
    }
    return parts + [f"![{text}]({name})" for name, text in pictures.items() if name in files]


def _measured(found: dict, files: Mapping[str, object]) -> list[str]:
    """The table of an evaluation."""
    from colourgan.evaluate import COLUMNS

    names = [name for name in found["rows"][0] if name != "name"]
    columns = {name: COLUMNS.get(name, (name, ".4f")) for name in names}
    rows = [
        [_code(row["name"]), *(format(row[key], style) for key, (_, style) in columns.items())]
        for row in found["rows"]
    ]
    few = " So few images say little." if found["images"] < _FEW else ""
    parts = [
        "## Evaluation",
        f"`colourgan evaluate` on {found['images']:,} test images of {_code(found['data'])} at "
        f"{found['size']}×{found['size']} pixels;\n`grey` predicts no color. "
        f"L1 is of a and b / 110, ΔE CIEDE2000.{few}",
        _table(["", *(heading for heading, _ in columns.values())], rows),
    ]
    return parts + (
        [f"![Test images: grey, predicted, true]({EVALUATED})"] if EVALUATED in files else []
    )


def _table(headings: list[str], rows: Iterable[list[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _code(value: object) -> str:
    """Any text as code, in which nothing is Markdown, HTML or the end of a cell."""
    text = shown(str(value)).replace("`", "'").replace("|", "/")
    return f"`{text}`"
