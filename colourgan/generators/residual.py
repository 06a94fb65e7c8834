"""A U-Net whose blocks up are residual: four halvings and back, at any size."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, relu

from colourgan.generators.base import GENERATORS
from colourgan.generators.plain import (
    GENERATOR_NORMS,
    bound_of,
    check_options,
    extended,
    initialized,
    parameter_counts,
)

WIDTHS = (1, 2, 2, 4)  # times the first layer's channels: what each halving ends with
MULTIPLE = 2 ** len(WIDTHS)
SLOPE = 0.3  # Keras's default of leaky ReLU
KERNEL = {"kernel_size": 4, "stride": 2, "padding": 1, "bias": False}


class ResidualUnet(nn.Module):
    """Halves an image four times and doubles it back, a residual block after each doubling.

    L: (N, in_channels, H, W) in network units; returns (N, out_channels, H, W), float32, in network
    units: two channels are ab, inside the range of sRGB, one is L in [-1, 1]. H and W must be
    multiples of 16, and 32 or more, so that a norm has more than one pixel at the innermost size:
    others are padded by repeating the last row and column, and the prediction is cropped.
    """

    parameter_counts = parameter_counts

    def __init__(self, width: int, norm: str, dropout: float, in_channels: int, out_channels: int):
        super().__init__()
        channels = [width * factor for factor in WIDTHS]
        downs = [nn.Conv2d(in_channels, width, **KERNEL)]
        for inputs, outputs in pairwise(channels):
            normed = _normalized(nn.Conv2d(inputs, outputs, **KERNEL), norm)
            downs.append(nn.Sequential(*normed, nn.LeakyReLU(SLOPE)))
        self.downs = nn.ModuleList(downs)
        ups, inputs = [], channels[-1]
        for i, outputs in enumerate(channels[-2::-1]):
            layers = [nn.ConvTranspose2d(inputs, outputs, **KERNEL), Residual(outputs, norm)]
            if dropout and i > 0:
                layers.append(nn.Dropout(dropout))
            ups.append(nn.Sequential(*layers))
            inputs = 2 * outputs  # with the skip connection
        self.ups = nn.ModuleList(ups)
        self.last = nn.Conv2d(inputs, out_channels, 3, padding=1)
        self.bound = bound_of(out_channels)

    def forward(self, L: Tensor) -> Tensor:
        x, skips = extended(L, MULTIPLE, least=2), []
        for down in self.downs:
            x = down(x)
            skips.append(x)
        skips.pop()  # the innermost is no skip
        for up in self.ups:
            x = torch.cat([up(x), skips.pop()], dim=1)
        x = self.last(interpolate(x, scale_factor=2, mode="nearest"))
        return self.bound(x[..., : L.shape[-2], : L.shape[-1]].float())


class Residual(nn.Module):
    """Two 3×3 convolutions, each with a norm, whose result is added to what they read."""

    def __init__(self, channels: int, norm: str):
        super().__init__()
        bias = GENERATOR_NORMS[norm] is None
        first, second = (
            _normalized(nn.Conv2d(channels, channels, 3, padding=1, bias=bias), norm)
            for _ in range(2)
        )
        self.layers = nn.Sequential(*first, nn.ReLU(), *second)

    def forward(self, x: Tensor) -> Tensor:
        return relu(x + self.layers(x))


def _normalized(convolution: nn.Module, norm: str) -> list[nn.Module]:
    make_norm = GENERATOR_NORMS[norm]
    return [convolution, *([make_norm(convolution.out_channels)] if make_norm else [])]


@GENERATORS.register("residual_unet")
def residual_unet(
    size: int,
    width: int = 256,
    norm: str = "batch",
    dropout: float = 0.2,
    init: str = "normal",
    in_channels: int = 1,
    out_channels: int = 2,
) -> ResidualUnet:
    """A U-Net with residual blocks for size×size images, a multiple of 16; without an encoder.

    Four 4×4 convolutions of stride 2, to `width`, 2, 2 and 4 times as many channels (32 → 2), the
    first without norm and activation; three transposed ones, to 2, 2 and 1 times as many, each with
    a residual block and joined with the features of its size; the nearest pixels at twice the size,
    and a 3×3 convolution to the colors. None of the 4×4 convolutions has a bias. norm: "batch",
    "instance" or "none"; dropout: its probability after the second and third residual block; init,
    in_channels, out_channels, attributes and UsageError as `pix2pix_unet`.
    Source: nabraun03/image-colorization-wgan, models/generator.py, channel for channel with width
    256 and dropout .2, but for ab's bound, which is tanh's there.
    """
    check_options(size, width, dropout, MULTIPLE)
    model = ResidualUnet(width, norm, dropout, in_channels, out_channels)
    options = {"size": size, "width": width, "norm": norm, "dropout": dropout}
    return initialized(model, init, generator="residual_unet", **options)
