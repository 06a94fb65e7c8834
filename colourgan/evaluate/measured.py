"""Every metric of what a model predicts for test images, and their distances from the true ones."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from colourgan.color import decode, encode, to_lab
from colourgan.distances import INCEPTION_FEATURES, Pictures, compare, imagenet_labels
from colourgan.errors import RunError
from colourgan.evaluate.images import Computed, ImageSet, Rows, on_disk
from colourgan.generators import predict_at
from colourgan.metrics import Colors, measure, saturation_match, summarize
from colourgan.upsampling import Enlarged, guide_size

Further = Callable[[Tensor, Tensor, Tensor], dict[str, Tensor]]
"""Further values of some images: (L, ab, true ab) → name → (n,)."""


class Measured(NamedTuple):
    """values: what `metrics.measure` gives and what else was asked for, (N,) each; ab:
    (N, 2, S, S) in network units, predicted again where it is indexed, so with the generator as it
    then is; distances: numbers of the whole set, if `evaluate` was asked for them.
    """

    name: str
    ab: Computed | Tensor | None
    values: dict[str, Tensor]
    distances: dict[str, float] | None = None

    def row(self) -> dict:
        return {"name": self.name, **summarize(self.values), **(self.distances or {})}


def measure_grey(images: ImageSet, further: Further | None = None) -> Measured:
    """What predicting no color, ab = 0, scores."""
    count, _, height, width = images.rgb.shape
    ab = torch.zeros(1, 2, 1, 1).expand(count, 2, height, width)
    return as_measured("grey", ab, images, further)


def measure_model(
    name: str,
    generator: nn.Module,
    images: ImageSet,
    device: str,
    working_size: int | None = None,
    further: Further | None = None,
) -> Measured:
    """A generator's predictions and their metrics; RunError if one is not finite.

    The generator is moved to `device` and put in evaluation mode. working_size: the side at which
    it predicts, None for the images' own. further: see `as_measured`.
    """

    def predicted(rows: Rows) -> Tensor:
        """ab (n, 2, S, S) float32 on the CPU."""
        # Not under inference_mode: parameters moved there could not be trained again.
        generator.to(device).eval()
        parts = []
        with torch.inference_mode():
            for L in images.L[rows].split(images.batch_size):
                L = L.to(device)
                if working_size is None:
                    ab = generator(L).float()
                else:
                    ab = _enlarged(predict_at(generator, L, (working_size, working_size)), L)
                parts.append(ab.cpu())
        ab = torch.cat(parts)
        if not ab.isfinite().all():
            raise RunError(f"{name} predicts values that are not finite: the model is broken")
        return ab

    count, _, *sides = images.rgb.shape
    return as_measured(name, Computed((count, 2, *sides), predicted), images, further)


def _enlarged(ab: Tensor, L: Tensor) -> Tensor:
    """ab (n, 2, h, w) at the size of L (n, 1, S, S), on the CPU, as `colorize` enlarges it."""
    size = tuple(L.shape[2:])
    guides = interpolate(L, guide_size(*size, min(ab.shape[2:])), mode="bilinear", antialias=True)
    arrays = (each.float().cpu().numpy() for each in (ab, guides[:, 0], L[:, 0]))
    whole = slice(0, size[0])
    found = [
        Enlarged(a, guide, size).rows(whole, light) for a, guide, light in zip(*arrays, strict=True)
    ]
    return torch.from_numpy(np.stack(found))


def as_measured(
    name: str, ab: Computed | Tensor, images: ImageSet, further: Further | None = None
) -> Measured:
    """All metrics of ab (N, 2, S, S) in network units, image by image, in one pass.

    further: more values than METRICS, of a batch at a time; `Measured.values` has them, too.
    """
    parts = []
    for rows in images.batches(f"{name}: predicting and measuring"):
        rgb, pred_ab = images.rgb[rows], ab[rows]
        L, true_ab = encode(rgb)
        pred = Colors(to_lab(L, pred_ab), decode(L, pred_ab))
        values = measure(pred, Colors(to_lab(L, true_ab), rgb / 255))
        parts.append(values | (further(L, pred_ab, true_ab) if further else {}))
    return Measured(name, ab, {key: torch.cat([part[key] for part in parts]) for key in parts[0]})


def as_colorful_as(richer: Measured, paler: Measured, images: ImageSet) -> tuple[Measured, float]:
    """`paler` with its ab multiplied until it is as colorful as `richer`, and the factor.

    The factor is below 1 if it is not the paler one. L and ab lie in a temporary file, 12·S² bytes
    per image, that is freed with the result's ab. Raises RunError if there is no such factor, only
    one image, which gives no interval, or no space for that file.
    """
    if len(images) < 2:
        raise RunError("one image gives no interval")
    batches = images.batches(f"{paler.name}: predicting")
    lab = on_disk(torch.cat((images.L[rows], paler.ab[rows]), 1) for rows in batches)
    L, ab = lab[:, :1], lab[:, 1:]
    factor = saturation_match(ab, L, richer.row()["colorfulness"])
    name = f"{paler.name} ×{factor:.2f} (as colorful as {richer.name})"
    scaled = Computed(ab.shape, lambda rows: ab[rows] * factor)
    return as_measured(name, scaled, images), factor


class Distant:
    """DISTANCES of these names from the true images, whose features are computed only once."""

    def __init__(self, names: Sequence[str], feature_encoder: str, images: ImageSet, device: str):
        self.names, self.images = names, images
        self.options = feature_encoder, device, images.batch_size
        labels = imagenet_labels(images.files) if "accuracy" in names else None
        self.true = self._pictures(images.rgb, labels)
        if "accuracy" in names:  # without labels this is the error, before any model predicts
            self.accuracy = compare(["accuracy"], self.true, self.true)[0]["accuracy"]

    def add(self, measured: Measured) -> Measured:
        """The same with its distances, and with the values of those that have one per image."""
        if not self.names:
            return measured
        batches = self.images.batches(f"{measured.name}: decoding")
        decoded = (decode(self.images.L[rows], measured.ab[rows]) for rows in batches)
        # As files would have them.
        pred = self._pictures(on_disk((rgb * 255).round().to(torch.uint8) for rgb in decoded))
        distances, values = compare(self.names, pred, self.true)
        return measured._replace(values=measured.values | values, distances=distances)

    def notes(self, rows: Sequence[dict]) -> list[str]:
        """Sentences below the table: what the numbers are, and what they cannot be used for.

        rows: those of the table, grey's first.
        """
        encoder, count = self.options[0], len(self.images)
        said, features = [], {}
        if "frechet" in self.names:
            features["Fréchet"] = self.true.features.shape[1]
            said.append(f"Fréchet: distance in the features of {encoder}, not comparable with FID.")
        if "fid" in self.names:
            features["FID"] = INCEPTION_FEATURES
        if features:
            more = "larger the fewer images there are; compare at equal numbers."
            said.append(f"{' and '.join(features)}: {more}")
        for name, width in features.items():
            if count <= width:
                few = f"{count:,} images are too few to fit {width:,} features"
                said.append(f"{name}: {few}; far from its value for many images.")
        if "accuracy" in self.names:
            note = f"accuracy: of efficientnet_lite0; true pictures {self.accuracy:.1%}"
            grey, *models = rows
            if models and (gap := self.accuracy - grey["accuracy"]):
                shares = ((m["name"], (m["accuracy"] - grey["accuracy"]) / gap) for m in models)
                ways = ", ".join(f"{name} {share:.0%}" for name, share in shares)
                note += f"; of the way from grey to true: {ways}"
            said.append(f"{note}.")
        return said

    def _pictures(self, rgb: Tensor, labels: Tensor | None = None) -> Pictures:
        return Pictures(rgb, *self.options, progress=self.images.progress, labels=labels)
