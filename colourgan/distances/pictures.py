"""A set of pictures, and what networks see in them."""

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import interpolate
from tqdm import tqdm

from colourgan.distances.networks import inception, rgb_encoder
from colourgan.encoders import rgb_classifier
from colourgan.errors import RunError

FEATURE_ENCODER = "efficientnet_lite0"
CLASSIFIER = "efficientnet_lite0"
_CLASSIFIED = 192  # pixels: smaller pictures are enlarged to be classified


class Pictures:
    """N pictures, and their features in networks: computed when first asked for, then kept.

    rgb: (N, 3, H, W), uint8 0..255 or float in [0, 1]; encoder: ARCH[@WEIGHTS] as `build_encoder`
    takes it, but reading RGB; stage: which of its stages gives the features, -1 the last; labels:
    (N,) ImageNet classes, if they are known. Raises ValueError for another shape.
    """

    def __init__(
        self,
        rgb: Tensor,
        encoder: str = FEATURE_ENCODER,
        device: str = "cpu",
        batch_size: int = 64,
        stage: int = -1,
        progress: bool = False,
        labels: Tensor | None = None,
    ):
        if rgb.ndim != 4 or rgb.shape[1] != 3:
            raise ValueError(f"expected shape (N, 3, H, W), got {tuple(rgb.shape)}")
        self.rgb, self.encoder, self.stage = rgb, encoder, stage
        self.device, self.batch_size, self.progress = device, batch_size, progress
        self.labels = labels

    @cached_property
    def features(self) -> Tensor:
        """(N, C) float64 on the CPU: the encoder's features, averaged over height and width."""
        network = rgb_encoder(self.encoder, self.stage).to(self.device)
        return self._seen(f"features of {self.encoder}", lambda rgb: network(rgb).mean((2, 3)))

    @cached_property
    def class_scores(self) -> Tensor:
        """(N, 1000) float64 on the CPU: CLASSIFIER's logits of ImageNet's classes."""
        network = rgb_classifier(CLASSIFIER).to(self.device)
        return self._seen("classes", lambda rgb: network(_at_least(rgb, _CLASSIFIED)))

    @cached_property
    def inception(self) -> Tensor:
        """(N, 2048) float64 on the CPU: what FID and KID compare, of the pictures in 8 bits."""
        network = inception().to(self.device)
        return self._seen("features of Inception-v3", lambda rgb: network(_bytes(rgb))[0])

    def batches(self, task: str = "") -> Iterator[Tensor]:
        """Float in [0, 1], on the device, behind a progress bar."""
        parts = self.rgb.split(self.batch_size)
        for part in tqdm(parts, task, unit="batch", leave=False, disable=not self.progress):
            part = part.to(self.device)
            yield part.float() if part.is_floating_point() else part / 255

    @torch.inference_mode()
    def _seen(self, task: str, network: Callable[[Tensor], Tensor]) -> Tensor:
        found = torch.cat([network(batch).cpu().double() for batch in self.batches(task)])
        if not found.isfinite().all():
            raise RunError(f"{task} are not finite: its weights are broken, or the pictures are")
        return found


def _at_least(rgb: Tensor, side: int) -> Tensor:
    """Enlarged so that the shorter side has as many pixels."""
    factor = side / min(rgb.shape[2:])
    if factor <= 1:
        return rgb
    size = [round(length * factor) for length in rgb.shape[2:]]
    return interpolate(rgb, size, mode="bilinear")


def imagenet_labels(files: Sequence[Path]) -> Tensor | None:
    """(N,) int64: the ImageNet classes that files' folders are named by; None if any is not."""
    from timm.data import ImageNetInfo

    info = ImageNetInfo()
    names = {info.index_to_label_name(i): i for i in range(info.num_classes())}
    found = [names.get(file.parent.name) for file in files]
    return None if None in found else torch.tensor(found)


def _bytes(rgb: Tensor) -> Tensor:
    return (rgb * 255).round().clamp(0, 255).to(torch.uint8)
