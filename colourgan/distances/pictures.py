"""A set of pictures, and what networks see in them."""

from collections.abc import Callable, Iterator
from functools import cached_property

import torch
from torch import Tensor
from tqdm import tqdm

from colourgan.distances.networks import inception, rgb_encoder
from colourgan.errors import RunError

FEATURE_ENCODER = "resnet20@packaged"


class Pictures:
    """N pictures, and their features in networks: computed when first asked for, then kept.

    rgb: (N, 3, H, W), uint8 0..255 or float in [0, 1]; encoder: ARCH[@WEIGHTS] as `build_encoder`
    takes it, but reading RGB; stage: which of its stages gives the features, -1 the last. Raises
    ValueError for another shape.
    """

    def __init__(
        self,
        rgb: Tensor,
        encoder: str = FEATURE_ENCODER,
        device: str = "cpu",
        batch_size: int = 64,
        stage: int = -1,
        progress: bool = False,
    ):
        if rgb.ndim != 4 or rgb.shape[1] != 3:
            raise ValueError(f"expected shape (N, 3, H, W), got {tuple(rgb.shape)}")
        self.rgb, self.encoder, self.stage = rgb, encoder, stage
        self.device, self.batch_size, self.progress = device, batch_size, progress

    @cached_property
    def features(self) -> Tensor:
        """(N, C) float64 on the CPU: the encoder's features, averaged over height and width."""
        network = rgb_encoder(self.encoder, self.stage).to(self.device)
        return self._seen(f"features of {self.encoder}", lambda rgb: network(rgb).mean((2, 3)))

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


def _bytes(rgb: Tensor) -> Tensor:
    return (rgb * 255).round().clamp(0, 255).to(torch.uint8)
