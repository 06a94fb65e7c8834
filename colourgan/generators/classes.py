"""The last layer of a generator that predicts color as classes."""

from math import inf

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from colourgan.bins import annealed_mean, bin_centers, class_weights
from colourgan.color import AB_RANGE, AB_SCALE
from colourgan.decoding import NO_CLASSES, check_decoding
from colourgan.errors import UsageError
from colourgan.generators.base import recorded

AT_ONCE = 2**18  # pixels whose classes are in memory together outside of training: 330 MB


def set_decoding(generator: nn.Module, temperature: float | None, vivid: float | None) -> None:
    """`ColorClasses.set_decoding` of a generator; UsageError if it does not predict classes."""
    if not hasattr(generator, "classes"):
        raise UsageError(NO_CLASSES)
    generator.classes.set_decoding(temperature, vivid)


class ColorClasses(nn.Module):
    """Features (N, C, h, w) → logits (N, Q, h, w) of the bins of color, and these → ab.

    Buffers, saved with the model: prior (Q,), the bins' shares in the training images, which with
    `rebalancing` gives the weights in the loss; temperature, vivid and saturation, for decoding.
    The weighted loss makes rare colors more likely than they are; vivid is how much of that is
    kept: 1 decodes what was trained, 0 undoes it. saturation multiplies the decoded a and b.
    """

    def __init__(self, channels: int):
        super().__init__()
        count = len(bin_centers())
        self.logits = nn.Conv2d(channels, count, 1)
        self.register_buffer("prior", torch.full((count,), 1 / count))
        self.register_buffer("rebalancing", torch.tensor(0.5))
        self.register_buffer("temperature", torch.tensor(0.4))
        self.register_buffer("vivid", torch.tensor(0.5))
        self.register_buffer("saturation", torch.tensor(1.0))
        low, high = torch.tensor(AB_RANGE).view(2, 2, 1, 1)
        self.register_buffer("low", low, persistent=False)
        self.register_buffer("high", high, persistent=False)

    def weights(self) -> Tensor:
        """(Q,): the weight of each bin's colors in the loss."""
        return class_weights(self.prior, self.rebalancing)

    def forward(self, features: Tensor, size: torch.Size) -> Tensor:
        """ab (N, 2, H, W) float32 in network units, enlarged to `size`."""
        if not (torch.is_grad_enabled() or recorded()):
            height, width = features.shape[2:]
            parts = features.split(max(1, AT_ONCE // (height * width)))
            if len(parts) > 1:
                return torch.cat([self.forward(part, size) for part in parts])
        ab = self.decode(self.logits(features))
        return F.interpolate(ab, size=size, mode="bilinear", align_corners=False)

    def decode(self, logits: Tensor) -> Tensor:
        """ab (N, 2, h, w) of logits (N, Q, h, w)."""
        undone = (1 - self.vivid) * self.weights().log()
        if recorded():
            # The same as below, with the classes last: ONNX Runtime then needs half the time in all
            # for the packaged model, most of which went into a softmax along the second axis.
            shares = ((logits.float().permute(0, 2, 3, 1) - undone) / self.temperature).softmax(-1)
            centers = bin_centers().to(logits.device) / AB_SCALE
            ab = (shares @ centers).permute(0, 3, 1, 2)
        else:
            ab = annealed_mean(logits.float() - undone[:, None, None], self.temperature)
        return (ab * self.saturation).clamp(self.low, self.high)

    def set_decoding(
        self,
        temperature: float | None = None,
        vivid: float | None = None,
        saturation: float | None = None,
    ) -> None:
        """Changes how classes become colors; UsageError for values that are out of range."""
        check_decoding(temperature, vivid)
        if temperature is not None:
            self.temperature.fill_(temperature)
        if vivid is not None:
            self.vivid.fill_(vivid)
        if saturation is not None:
            if not 0 <= saturation < inf:
                raise UsageError(f"saturation {saturation} is not a number from 0 on")
            self.saturation.fill_(saturation)
