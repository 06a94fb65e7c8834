"""The distances of an evaluation: added to what was measured, and said in words."""

from collections.abc import Sequence

import torch
from torch import Tensor

from colourgan.color import decode
from colourgan.distances import INCEPTION_FEATURES, Pictures, compare, imagenet_labels
from colourgan.evaluate.measured import ImageSet, Measured


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
        """The same with its distances, and with the values of those that have one an image."""
        if not self.names:
            return measured
        pred = self._pictures(self._decoded(measured))
        distances, values = compare(self.names, pred, self.true)
        return measured._replace(values=measured.values | values, distances=distances)

    def notes(self, rows: Sequence[dict]) -> list[str]:
        """Sentences for below the table: what the numbers are, and what they are not good for.

        rows: of the table, the first one grey's.
        """
        encoder, count = self.options[0], len(self.images.rgb)
        said, features = [], {}
        if "frechet" in self.names:
            features["Fréchet"] = self.true.features.shape[1]
            said.append(f"Fréchet: distance in the features of {encoder}, not comparable with FID.")
        if "fid" in self.names:
            features["FID"] = INCEPTION_FEATURES
        if features:
            named = " and ".join(features)
            said.append(f"{named}: larger the fewer images there are; compare at equal numbers.")
        for name, width in features.items():
            if count <= width:
                few = f"{count:,} images are too few to fit {width:,} features"
                said.append(f"{name}: {few}; far from its value for many images.")
        if "accuracy" in self.names:
            said.append(self._accuracy_note(rows))
        return said

    def _accuracy_note(self, rows: Sequence[dict]) -> str:
        grey, *models = rows
        gap = self.accuracy - grey["accuracy"]
        ways = [
            f"{row['name']} {(row['accuracy'] - grey['accuracy']) / gap:.0%}"
            for row in models
            if gap
        ]
        way = f"; of the way from grey to true: {', '.join(ways)}" if ways else ""
        return f"accuracy: of efficientnet_lite0; true pictures {self.accuracy:.1%}{way}."

    def _pictures(self, rgb: Tensor, labels: Tensor | None = None) -> Pictures:
        return Pictures(rgb, *self.options, progress=self.images.progress, labels=labels)

    def _decoded(self, measured: Measured) -> Tensor:
        """(N, 3, S, S) uint8: the pictures as files would have them."""
        parts = []
        for rows in self.images.batches(f"{measured.name}: decoding"):
            rgb = decode(self.images.L[rows], measured.ab[rows])
            parts.append((rgb * 255).round().to(torch.uint8))
        return torch.cat(parts)
