"""How good models are on test images: one table and one picture for all of them."""

import json
import random
from collections.abc import Iterable, Mapping
from itertools import combinations
from pathlib import Path
from textwrap import wrap
from typing import NamedTuple

import torch
from torch import Tensor, nn
from tqdm import tqdm

from colourgan.color import decode, encode, lightness_to_grey, to_lab
from colourgan.datasets import cached_images, dataset_root, test_files
from colourgan.errors import RunError, UsageError
from colourgan.files import replacing
from colourgan.generators import SMALLEST
from colourgan.metrics import Colors, bootstrap_interval, measure, saturation_match, summarize
from colourgan.plots import grid

PICTURED = 8  # images in the picture
NAME_WIDTH = 36  # characters: with the numbers, a line of about 110

# Column of a table row → (heading, format); a metric that is not here is shown under its own name.
COLUMNS = {
    "l1": ("L1 ↓", ".4f"),
    "psnr": ("PSNR ↑", ".2f"),
    "ssim": ("SSIM ↑", ".4f"),
    "delta_e": ("ΔE ↓", ".2f"),
    "colorfulness": ("colorfulness", ".1f"),
    "colorfulness_true": ("true", ".1f"),
    "delta_colorfulness": ("differs ↓", ".1f"),
    "within_5": ("within 5 ↑", ".1%"),
}
LEGEND = (
    "L1: of a and b / 110. ΔE: CIEDE2000. colorfulness: Hasler and Süsstrunk's, 0 is grey.\n"
    "within 5: share of pixels whose a and b are both within 5 units of the truth."
)

# Saturations are matched to a factor of ±0.0001, so that equal models differ by as little: what
# would be printed as 0.0 % is no difference.
_LEAST_RELATIVE = 0.0005


class Evaluation(NamedTuple):
    """rows: one dict a table row, "name" and then what `metrics.summarize` gives.

    comparisons: one dict a pair of models. "model" is the name of the more colorful one, "base" the
    other's, "against" the row of the other with its ab multiplied by "factor"; "l1_difference" is
    that row's L1 minus the model's (positive: the model is better than mere saturation),
    "interval" its 95 % bootstrap interval [low, high] over images; "relative" and
    "relative_interval" are the same as shares of that row's L1. left_out: a sentence for each pair
    that could not be compared. count: test images; size: their side in pixels; picture: the file of
    the grid, if one was wanted.
    """

    rows: list[dict]
    comparisons: list[dict]
    left_out: list[str]
    count: int
    data: str
    size: int
    picture: Path | None


class _Images(NamedTuple):
    """rgb: (N, 3, S, S) uint8; L: (N, 1, S, S) in network units; how to go through them."""

    rgb: Tensor
    L: Tensor
    batch_size: int
    progress: bool

    def batches(self, task: str) -> Iterable[slice]:
        """The rows of each batch, behind a progress bar."""
        starts = range(0, len(self.rgb), self.batch_size)
        rows = [slice(start, start + self.batch_size) for start in starts]
        return tqdm(rows, task, unit="batch", leave=False, disable=not self.progress)


class _Measured(NamedTuple):
    """ab: (N, 2, S, S) in network units; values: what `metrics.measure` gives, (N,) each."""

    name: str
    ab: Tensor | None
    values: dict[str, Tensor]

    def row(self) -> dict:
        return {"name": self.name, **summarize(self.values)}


def evaluate(
    models: Mapping[str, nn.Module],
    data: str | Path,
    size: int | None = None,
    limit: int | None = None,
    batch_size: int = 64,
    device: str = "cpu",
    seed: int = 0,
    data_dir: Path | None = None,
    out: Path | None = None,
    progress: bool = True,
) -> Evaluation:
    """The metrics of all models on the same test images, beside those of grey (ab = 0).

    For each pair of models there is a row more: the less colorful one, its ab multiplied until its
    mean colorfulness equals the other's. A GAN is worth its name only if it beats that row. Its
    intervals are over the test images; how another training would turn out, they do not say.

    models: name → generator, L (N, 1, H, W) → ab (N, 2, H, W) in network units; each is moved to
    `device` and put in evaluation mode. data: a name of DATASETS or a folder. size: side of the
    square images in pixels; None: the size that the models were built for. limit: the first so many
    test images, in an order shuffled by `seed`, which also seeds the bootstrap. out: a folder for
    evaluation.png (grey | each model | true), .json and .txt. All predictions are kept in memory:
    8·S² bytes an image and model.

    Raises UsageError for models of several sizes without `size`, numbers that are too small and
    data that are not there; RunError for a model that predicts NaN.
    """
    size = _common_size(models) if size is None else size
    _check(size, limit, batch_size)
    rgb = _test_images(data, size, limit, seed, data_dir)
    L = torch.cat([encode(part)[0] for part in rgb.split(batch_size)])
    images = _Images(rgb, L, batch_size, progress)
    grey = _measured("grey", torch.zeros(1, 2, 1, 1).expand(len(L), 2, size, size), images)
    measured = []
    for name, generator in models.items():
        ab = _predicted(name, generator, images, device)
        measured.append(_measured(name, ab, images))
    matched, comparisons, left_out = _comparisons(measured, images, seed)
    rows = [each.row() for each in (grey, *measured, *matched)]
    picture = None if out is None else Path(out, "evaluation.png")
    evaluation = Evaluation(rows, comparisons, left_out, len(L), str(data), size, picture)
    if picture is not None:
        _draw(measured, images, picture)
        _write(evaluation, picture)
    return evaluation


def table(evaluation: Evaluation) -> str:
    """Plain text: what was evaluated, a row of numbers for each model, a sentence for each pair."""
    names = [name for name in evaluation.rows[0] if name != "name"]
    columns = {name: COLUMNS.get(name, (name, ".4f")) for name in names}
    cells = [["", *(heading for heading, _ in columns.values())]]
    for row in evaluation.rows:
        numbers = (format(row[name], style) for name, (_, style) in columns.items())
        cells.append([row["name"], *numbers])
    size = f"{evaluation.size}×{evaluation.size}"
    title = f"{evaluation.data}, test images: {evaluation.count:,} of {size} pixels"
    sentences = [*map(_sentence, evaluation.comparisons), *evaluation.left_out]
    return "\n".join([title, "", *_aligned(cells), "", LEGEND, "", *sentences]).rstrip()


def as_json(evaluation: Evaluation) -> str:
    """The same as a JSON object: "rows", "comparisons", "left_out", "images", "data", "size"."""
    content = evaluation._asdict()
    content["images"] = content.pop("count")
    del content["picture"]
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)


def _common_size(models: Mapping[str, nn.Module]) -> int:
    sizes = {name: getattr(m, "arguments", {}).get("size") for name, m in models.items()}
    if len(set(sizes.values())) == 1 and None not in sizes.values():
        return next(iter(sizes.values()))
    built = ", ".join(f"{name} {size or 'unknown'}" for name, size in sizes.items())
    raise UsageError(f"no size in common ({built or 'no models'}): choose one with --size")


def _check(size: int, limit: int | None, batch_size: int) -> None:
    wanted = (("size", size, SMALLEST), ("limit", limit, 1), ("batch size", batch_size, 1))
    for what, value, least in wanted:
        if value is not None and value < least:
            raise UsageError(f"{what} {value} is too small: it must be at least {least}")


def _test_images(
    data: str | Path, size: int, limit: int | None, seed: int, data_dir: Path | None
) -> Tensor:
    """(N, 3, S, S) uint8, in the shuffled order."""
    files = test_files(dataset_root(data, data_dir))
    random.Random(seed).shuffle(files)
    # Pictures without color are part of a published test set.
    pixels = cached_images(files, size, limit, skip_colorless=False).images
    return torch.tensor(pixels).permute(0, 3, 1, 2)


def _predicted(name: str, generator: nn.Module, images: _Images, device: str) -> Tensor:
    """ab (N, 2, S, S) float32 on the CPU; RunError if any of it is not finite."""
    # Not under inference_mode: parameters moved there could not be trained again.
    generator = generator.to(device).eval()
    batches = images.batches(f"{name}: predicting")
    with torch.inference_mode():
        ab = torch.cat([generator(images.L[rows].to(device)).float().cpu() for rows in batches])
    if not ab.isfinite().all():
        raise RunError(f"{name} predicts values that are not finite: the model is broken")
    return ab


def _measured(name: str, ab: Tensor, images: _Images) -> _Measured:
    parts = []
    for rows in images.batches(f"{name}: measuring"):
        L, rgb = images.L[rows], images.rgb[rows]
        pred = Colors(to_lab(L, ab[rows]), decode(L, ab[rows]))
        parts.append(measure(pred, Colors(to_lab(*encode(rgb)), rgb / 255)))
    return _Measured(name, ab, {key: torch.cat([part[key] for part in parts]) for key in parts[0]})


def _comparisons(
    measured: list[_Measured], images: _Images, seed: int
) -> tuple[list[_Measured], list[dict], list[str]]:
    """Of all pairs of models: the matched rows, the comparisons and why others are left out."""
    matched, comparisons, left_out = [], [], []
    for pair in combinations(measured, 2):
        paler, richer = sorted(pair, key=lambda each: each.row()["colorfulness"])
        try:
            rival, factor = _matched(paler, richer, images)
        except RunError as error:
            left_out.append(f"{richer.name} is not compared with {paler.name}: {error}")
            continue
        matched.append(rival._replace(ab=None))  # those of all pairs would fill the memory
        comparisons.append(_comparison(paler, richer, rival, factor, seed))
    return matched, comparisons, left_out


def _matched(paler: _Measured, richer: _Measured, images: _Images) -> tuple[_Measured, float]:
    """The less colorful model made as colorful as the other, and the factor that does it."""
    if len(images.L) < 2:
        raise RunError("one image gives no interval")
    factor = saturation_match(paler.ab, images.L, richer.row()["colorfulness"])
    name = f"{paler.name} ×{factor:.2f} (as colorful as {richer.name})"
    return _measured(name, paler.ab * factor, images), factor


def _comparison(
    paler: _Measured, richer: _Measured, rival: _Measured, factor: float, seed: int
) -> dict:
    differences = rival.values["l1"].double() - richer.values["l1"].double()
    difference, interval = differences.mean().item(), bootstrap_interval(differences, seed)
    l1 = rival.row()["l1"] or 1.0  # 0 if both are grey and the images, too
    return {
        "model": richer.name,
        "base": paler.name,
        "against": rival.name,
        "factor": factor,
        "l1_difference": difference,
        "interval": list(interval),
        "relative": difference / l1,
        "relative_interval": [end / l1 for end in interval],
    }


def _sentence(comparison: dict) -> str:
    """What a comparison means."""
    model, relative = comparison["model"], comparison["relative"]
    rival = f"{comparison['base']} at matched saturation"
    sign = -1 if relative < 0 else 1
    low, high = sorted(sign * end for end in comparison["relative_interval"])
    interval = f"95 % interval {_percent(low)} to {_percent(high)}"
    under = f"{_percent(abs(relative))} {'over' if relative < 0 else 'under'}"
    if low < _LEAST_RELATIVE:
        return f"{model}: no better than {rival}, L1 {under} it, {interval}"
    if relative < 0:
        return f"{model}: worse than {rival}, L1 {under} it, {interval}"
    return f"{model}: L1 {under} {rival}, {interval}"


def _percent(share: float) -> str:
    return f"{share * 100:z.1f} %"


def _aligned(cells: list[list[str]]) -> list[str]:
    """Lines of text: names on the left, wrapped if they are long, numbers on the right."""
    names = [wrap(row[0], NAME_WIDTH) or [""] for row in cells]
    left = max(len(line) for lines in names for line in lines)
    widths = [max(map(len, column)) for column in list(zip(*cells, strict=True))[1:]]
    lines = []
    for (first, *rest), row in zip(names, cells, strict=True):
        numbers = (text.rjust(width) for text, width in zip(row[1:], widths, strict=True))
        lines += ["  ".join([first.ljust(left), *numbers]), *rest]
    return lines


def _draw(measured: list[_Measured], images: _Images, path: Path) -> None:
    """grey | each model | true, one image a row."""
    L = images.L[:PICTURED]
    grey = lightness_to_grey(L).expand(-1, 3, -1, -1)
    columns = [decode(L, each.ab[:PICTURED]) for each in measured]
    rows = list(zip(grey, *columns, images.rgb[:PICTURED] / 255, strict=True))
    grid(rows, path, ["grey", *(each.name for each in measured), "true"])


def _write(evaluation: Evaluation, picture: Path) -> None:
    texts = {".json": as_json(evaluation), ".txt": table(evaluation)}
    for suffix, text in texts.items():
        with replacing(picture.with_suffix(suffix)) as part:
            part.write_text(text + "\n", encoding="utf-8")
