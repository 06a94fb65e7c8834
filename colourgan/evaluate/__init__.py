"""How good models are on test images: one table and one picture for all of them."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path

import torch
from torch import nn

from colourgan.color import decode, lightness_to_grey
from colourgan.distances import FEATURE_ENCODER, check_distances
from colourgan.errors import RunError, UsageError
from colourgan.evaluate.distant import Distant
from colourgan.evaluate.measured import (
    ImageSet,
    Measured,
    as_colorful_as,
    check_numbers,
    load_images,
    measure_grey,
    measure_model,
)
from colourgan.evaluate.text import COLUMNS, Evaluation, as_json, table
from colourgan.files import replacing
from colourgan.metrics import bootstrap_interval
from colourgan.plots import grid

__all__ = [
    "COLUMNS",
    "DECILES",
    "Distant",
    "Evaluation",
    "ImageSet",
    "Measured",
    "as_colorful_as",
    "as_json",
    "evaluate",
    "load_images",
    "measure_grey",
    "measure_model",
    "table",
]

PICTURED = 8  # images in the picture
DECILES, RANKED = "deciles.png", 12  # the other picture, and its images


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
    distances: Sequence[str] | None = None,
    feature_encoder: str = FEATURE_ENCODER,
    progress: bool = True,
    part: str = "test",
    working_size: int | None = None,
) -> Evaluation:
    """The metrics of all models on the same test images, beside those of grey (ab = 0).

    For each pair of models there is a row more: the less colorful one, its ab multiplied until its
    mean colorfulness equals the other's. A GAN is worth its name only if it beats that row. Its
    intervals are over the test images; how another training would turn out, they do not say.

    models: name → generator, L (N, 1, H, W) → ab (N, 2, H, W) in network units; each is moved to
    `device` and put in evaluation mode. data: a name of DATASETS or a folder. size: side of the
    square images in pixels; None: the size that the models were built for. limit: the first so many
    test images, in an order shuffled by `seed`, which also seeds the bootstrap. out: a folder for
    evaluation.png (grey | each model | true), .json and .txt, and deciles.png: the same of twelve
    images from the best to the worst ΔE of the last model. distances: names of DISTANCES, for
    further columns (None: "frechet", if there are two images); feature_encoder: ARCH[@WEIGHTS] for
    "frechet". part: "test", or "valid" for the validation images. working_size: the side at which
    models predict, as `colorize` does it, their ab then enlarged; None: `size`. All predictions are
    kept in memory: 8·S² bytes an image and model.

    Raises UsageError for models of several sizes without `size`, numbers that are too small and
    data or distances that are not there; RunError for a model that predicts NaN and for weights
    that cannot be had.
    """
    size = _common_size(models) if size is None else size
    check_numbers(size, limit, batch_size)
    check_distances(("frechet",) if distances is None else distances, feature_encoder, size)
    images = load_images(data, size, limit, batch_size, seed, data_dir, progress, part)
    if distances is None:
        distances = ("frechet",) if len(images.L) > 1 else ()
    distant = Distant(distances, feature_encoder, images, device)
    grey = distant.add(measure_grey(images))
    measured = [
        distant.add(measure_model(*each, images, device, working_size)) for each in models.items()
    ]
    matched, comparisons, left_out = _comparisons(measured, images, seed, distant)
    rows = [each.row() for each in (grey, *measured, *matched)]
    picture = None if out is None else Path(out, "evaluation.png")
    count = len(images.L)
    evaluation = Evaluation(
        rows, comparisons, left_out, count, str(data), size, picture, distant.notes(rows)
    )
    if picture is not None:
        _draw(measured, images, picture)
        _draw_deciles(measured, images, picture.with_name(DECILES))
        _write(evaluation, picture)
    return evaluation


def _common_size(models: Mapping[str, nn.Module]) -> int:
    sizes = {name: getattr(m, "arguments", {}).get("size") for name, m in models.items()}
    if len(set(sizes.values())) == 1 and None not in sizes.values():
        return next(iter(sizes.values()))
    built = ", ".join(f"{name} {size or 'unknown'}" for name, size in sizes.items())
    raise UsageError(f"no size in common ({built or 'no models'}): choose one with --size")


def _comparisons(
    measured: list[Measured], images: ImageSet, seed: int, distant: Distant
) -> tuple[list[Measured], list[dict], list[str]]:
    """Of all pairs of models: the matched rows, the comparisons and why others are left out."""
    matched, comparisons, left_out = [], [], []
    for pair in combinations(measured, 2):
        paler, richer = sorted(pair, key=lambda each: each.row()["colorfulness"])
        try:
            rival, factor = as_colorful_as(richer, paler, images)
        except RunError as error:
            left_out.append(f"{richer.name} is not compared with {paler.name}: {error}")
            continue
        # The ab of all pairs would fill the memory.
        matched.append(distant.add(rival)._replace(ab=None))
        comparisons.append(_comparison(paler, richer, rival, factor, seed))
    return matched, comparisons, left_out


def _comparison(
    paler: Measured, richer: Measured, rival: Measured, factor: float, seed: int
) -> dict:
    difference, interval, relative = _under(richer, rival, "l1", seed)
    _, _, relative_delta_e = _under(richer, rival, "delta_e", seed)
    return {
        "model": richer.name,
        "base": paler.name,
        "against": rival.name,
        "factor": factor,
        "l1_difference": difference,
        "interval": list(interval),
        "relative": relative[0],
        "relative_interval": relative[1:],
        "relative_delta_e": relative_delta_e[0],
        "relative_delta_e_interval": relative_delta_e[1:],
    }


def _under(
    richer: Measured, rival: Measured, metric: str, seed: int
) -> tuple[float, tuple[float, float], list[float]]:
    """By how much an error is below the rival's: mean, interval, and both as shares of that."""
    differences = rival.values[metric].double() - richer.values[metric].double()
    difference, interval = differences.mean().item(), bootstrap_interval(differences, seed)
    whole = rival.row()[metric] or 1.0  # 0 if both are grey and the images, too
    return difference, interval, [each / whole for each in (difference, *interval)]


def _draw(measured: list[Measured], images: ImageSet, path: Path) -> None:
    """grey | each model | true, one image a row."""
    L = images.L[:PICTURED]
    grey = lightness_to_grey(L).expand(-1, 3, -1, -1)
    columns = [decode(L, each.ab[:PICTURED]) for each in measured]
    rows = list(zip(grey, *columns, images.rgb[:PICTURED] / 255, strict=True))
    grid(rows, path, ["grey", *(each.name for each in measured), "true"])


def _draw_deciles(measured: list[Measured], images: ImageSet, path: Path) -> None:
    """The same columns for twelve images: from the last model's best ΔE to its worst."""
    delta_e = measured[-1].values["delta_e"]
    order = delta_e.argsort()
    places = torch.linspace(0, len(order) - 1, min(RANKED, len(order))).round().long()
    chosen = order[places]
    L = images.L[chosen]
    columns = [decode(L, each.ab[chosen]) for each in measured]
    grey = lightness_to_grey(L).expand(-1, 3, -1, -1)
    rows = list(zip(grey, *columns, images.rgb[chosen] / 255, strict=True))
    shares = places / max(1, len(order) - 1)
    titles = [f"{s:.0%}: ΔE {d:.1f}" for s, d in zip(shares, delta_e[chosen], strict=True)]
    grid(rows, path, ["grey", *(each.name for each in measured), "true"], titles)


def _write(evaluation: Evaluation, picture: Path) -> None:
    texts = {".json": as_json(evaluation), ".txt": table(evaluation)}
    for suffix, text in texts.items():
        with replacing(picture.with_suffix(suffix)) as part:
            part.write_text(text + "\n", encoding="utf-8")
