"""What every generator shares: the registry, the bound of ab, parameter groups, sampling."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from colourgan.color import AB_RANGE
from colourgan.errors import UsageError
from colourgan.registry import Registry

GENERATORS = Registry("generator")

SMALLEST = 16  # pixels: below this no encoder has two resolutions left to decode from


class BoundedAb(nn.Module):
    """A smooth bound of ab to the range of sRGB, with slope 1 at grey.

    An unbounded decoder predicts colors far outside sRGB. The limits are buffers, so that they
    follow the model to its device.
    """

    def __init__(self):
        super().__init__()
        low, high = torch.tensor(AB_RANGE).view(2, 1, 2, 1, 1)
        self.register_buffer("low", low, persistent=False)
        self.register_buffer("high", high, persistent=False)

    def forward(self, ab: Tensor) -> Tensor:
        limit = torch.where(ab < 0, -self.low, self.high)
        return limit * torch.tanh(ab / limit)


def splitter(model: nn.Module) -> list[list[nn.Parameter]]:
    """fastai parameter groups: the encoder, then the decoder; freezing trains the decoder alone.

    A generator without an encoder is one group.
    """
    parameters = list(model.parameters())
    if not hasattr(model, "encoder"):
        return [parameters]
    encoder = list(model.encoder.parameters())
    known = {id(p) for p in encoder}
    return [encoder, [p for p in parameters if id(p) not in known]]


def predict_at(generator: nn.Module, L: Tensor, size: tuple[int, int]) -> Tensor:
    """ab (N, 2, h, w) float32, predicted for L (N, 1, H, W) resized to (h, w)."""
    return generator(interpolate(L, size, mode="bilinear", antialias=True)).float()


def enlarged(ab: Tensor, L: Tensor) -> Tensor:
    """ab (N, 2, h, w) at the height and width of L."""
    # Bicubic: 2 to 10 % nearer (CIEDE2000) than bilinear for the true ab of 32 or 64 pixels.
    return interpolate(ab, L.shape[2:], mode="bicubic")


@contextmanager
def sampling(generator: nn.Module) -> Iterator[nn.Module]:
    """The generator in eval mode except for its dropout: each forward pass is a sample.

    Afterwards every module is in its former mode. Raises UsageError without any dropout above 0.
    Source: Isola et al., CVPR 2017, section 3.3: dropout at test time is where the noise z is.
    """
    noise = [m for m in generator.modules() if isinstance(m, nn.Dropout) and m.p > 0]
    if not noise:
        raise UsageError(
            "this generator has no dropout, so all its samples are alike: --samples needs a "
            "generator trained with it"
        )
    modes = [(module, module.training) for module in generator.modules()]
    generator.eval()
    for module in noise:
        module.training = True
    try:
        yield generator
    finally:
        for module, mode in modes:
            module.training = mode
