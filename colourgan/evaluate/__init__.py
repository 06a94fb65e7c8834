"""How good models are on test images: one table and one picture for all of them.

`evaluate` does all of it; its parts, which keep only batches in memory, whatever the number N of
images (S: their side in pixels; rows: a slice, numbers or a mask of images):
- load_images(data, size, limit, batch_size, seed, data_dir, progress, part) → ImageSet: rgb
  (N, 3, S, S) uint8, mapped from the cache of decoded images; files; greyscale; len(images);
  images.L[rows] and images.true_ab(rows), computed each time; images.batches(task), the slices of
  all batches behind a progress bar.
- measure_model(name, generator, images, device, working_size, further), measure_grey(images,
  further), as_measured(name, ab, images, further) → Measured: values, (N,) of each metric and of
  each name that further(L, ab, true_ab) → dict gives of a batch; row(), their means; ab[rows],
  predicted again each time, by the generator as it then is.
- as_colorful_as(richer, paler, images) → (Measured, factor): at matched saturation.
- Distant(names, feature_encoder, images, device).add(measured) → Measured with distances.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from inspect import signature
from itertools import combinations
from pathlib import Path

import torch
from torch import nn

from colourgan.color import decode, lightness_to_grey
from colourgan.distances import FEATURE_ENCODER, check_distances
from colourgan.errors import RunError, UsageError, naming_what_was_large
from colourgan.evaluate.images import Computed, ImageSet, Rows, check_numbers, load_images
from colourgan.evaluate.measured import (
    Distant,
    Measured,
    as_colorful_as,
    as_measured,
    measure_grey,
    measure_model,
)
from colourgan.evaluate.text import COLUMNS, Evaluation, as_json, table
from colourgan.files import replacing
from colourgan.metrics import bootstrap_interval
from colourgan.plots import grid

__all__ = [
    "COLUMNS", "DECILES", "Computed", "Distant", "Evaluation", "ImageSet", "Measured",
    "as_colorful_as", "as_json", "as_measured", "evaluate", "load_images", "measure_grey",
    "measure_model", "table",
]  # fmt: skip

PICTURED = 8  # images in the picture
DECILES, RANKED = "deciles.png", 12  # the other picture, and its images


def _saying_what_to_try(run: Callable[..., Evaluation]) -> Callable[..., Evaluation]:
    """The function, whose error of a full memory names the batch size and a smaller one."""

    @wraps(run)
    def call(*args, **given) -> Evaluation:
        asked = signature(run).bind(*args, **given)
        asked.apply_defaults()
        size, place = asked.arguments["batch_size"], asked.arguments["working_size"]
        tries = [f"--batch-size {size // 2}"] * (size > 1)
        tries.append(f"a smaller {'--size' if place is None else '--working-size'}")
        with naming_what_was_large(lambda: f"at batch size {size}: try {' or '.join(tries)}"):
            return run(*args, **given)

    return call


@_saying_what_to_try
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

    Each pair of models adds a row: the less colorful one, its ab multiplied until its mean
    colorfulness equals the other's. A GAN is worth training only if it beats that row. Intervals
    are over the test images; they do not say how another training would turn out.

    models: name → generator, L (N, 1, H, W) → ab (N, 2, H, W) in network units; each is moved to
    `device` and put in evaluation mode. data: a name of DATASETS or a folder. size: side of the
    square images in pixels; None: the size that the models were built for. limit: the first so many
    test images, in an order shuffled by `seed`, which also seeds the bootstrap. out: a folder for
    evaluation.png (grey | each model | true), .json and .txt, and deciles.png: the same of twelve
    images from the best to the worst ΔE of the last model. distances: names of DISTANCES, for
    further columns (None: "frechet", if there are two images); feature_encoder: ARCH[@WEIGHTS] for
    "frechet". part: "test", or "valid" for the validation images. working_size: the side at which
    models predict, as `colorize` does it, their ab then enlarged; None: `size`. Predictions are not
    kept but made again where needed; one model's lie in a temporary file where images are cached
    while it is compared, 12·S² bytes per image, or 3·S² for its distances.

    Raises UsageError for models of different sizes without `size`, numbers that are too small and
    unknown data or distances; RunError for a model that predicts NaN and for missing weights,
    OutOfMemory.
    """
    if size is None:
        sizes = {name: getattr(m, "arguments", {}).get("size") for name, m in models.items()}
        size = next(iter(sizes.values()), None)
        if len(set(sizes.values())) != 1 or size is None:
            built = ", ".join(f"{name} {side or 'unknown'}" for name, side in sizes.items())
            raise UsageError(f"no size in common ({built or 'no models'}): choose one with --size")
    check_numbers(size, limit, batch_size)
    check_distances(("frechet",) if distances is None else distances, feature_encoder, size)
    images = load_images(data, size, limit, batch_size, seed, data_dir, progress, part)
    if distances is None:
        distances = ("frechet",) if len(images) > 1 else ()
    distant = Distant(distances, feature_encoder, images, device)
    grey = distant.add(measure_grey(images))
    measured = [
        distant.add(measure_model(*each, images, device, working_size)) for each in models.items()
    ]
    matched, comparisons, left_out = [], [], []
    for pair in combinations(measured, 2):
        paler, richer = sorted(pair, key=lambda each: each.row()["colorfulness"])
        try:
            rival, factor = as_colorful_as(richer, paler, images)
        except RunError as error:
            left_out.append(f"{richer.name} is not compared with {paler.name}: {error}")
            continue
        matched.append(distant.add(rival)._replace(ab=None))  # without ab, whose file is large
        found = {"model": richer.name, "base": paler.name, "against": rival.name, "factor": factor}
        # By how much the model's errors are below the rival's, and as shares of those.
        for metric, name in {"l1": "relative", "delta_e": "relative_delta_e"}.items():
            differences = rival.values[metric].double() - richer.values[metric].double()
            difference, interval = differences.mean().item(), bootstrap_interval(differences, seed)
            if metric == "l1":
                found |= {"l1_difference": difference, "interval": list(interval)}
            whole = rival.row()[metric] or 1.0  # 0 if both are grey and the images, too
            shares = [end / whole for end in interval]
            found |= {name: difference / whole, f"{name}_interval": shares}
        comparisons.append(found)
    rows = [each.row() for each in (grey, *measured, *matched)]
    picture = None if out is None else Path(out, "evaluation.png")
    count, notes = len(images), distant.notes(rows)
    evaluation = Evaluation(rows, comparisons, left_out, count, str(data), size, picture, notes)
    if picture is not None:
        _draw(measured, images, range(min(PICTURED, count)), picture)
        delta_e = measured[-1].values["delta_e"]
        places = torch.linspace(0, count - 1, min(RANKED, count)).round().long()
        chosen = delta_e.argsort()[places]
        shares = places / max(1, count - 1)
        titles = [f"{s:.0%}: ΔE {d:.1f}" for s, d in zip(shares, delta_e[chosen], strict=True)]
        _draw(measured, images, chosen, picture.with_name(DECILES), titles)
        for suffix, text in {".json": as_json(evaluation), ".txt": table(evaluation)}.items():
            with replacing(picture.with_suffix(suffix)) as part:
                part.write_text(text + "\n", encoding="utf-8")
    return evaluation


def _draw(
    measured: list[Measured], images: ImageSet, rows: Rows, path: Path, titles: list | None = None
) -> None:
    """grey | each model | true, one image per row."""
    L = images.L[rows]
    grey = lightness_to_grey(L).expand(-1, 3, -1, -1)
    columns = [decode(L, each.ab[rows]) for each in measured]
    pictures = list(zip(grey, *columns, images.rgb[rows] / 255, strict=True))
    grid(pictures, path, ["grey", *(each.name for each in measured), "true"], titles)
