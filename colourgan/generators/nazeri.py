"""The U-Net of Nazeri et al.: four halvings and back, at any size."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from colourgan.generators.base import GENERATORS
from colourgan.generators.plain import (
    GENERATOR_NORMS,
    bound_of,
    check_options,
    extended,
    initialized,
    parameter_counts,
)

HALVINGS = 4
MULTIPLE = 2**HALVINGS
KERNEL = 4
HALVING = {"kernel_size": KERNEL, "stride": 2, "padding": 1}
WIDTHS = (1, 2, 4, 8, 8)  # times the first layer's channels: what each halving begins and ends with
NOISY = 2  # blocks up with dropout


class NazeriUnet(nn.Module):
    """Halves an image four times and doubles it back, with a skip connection at each size.

    L: (N, in_channels, H, W) in network units; returns (N, out_channels, H, W), float32, in network
    units: two channels are ab, inside the range of sRGB, one is L in [-1, 1]. H and W must be
    multiples of 16, and 32 or more, so that a norm has more than one pixel at the innermost size:
    others are padded by repeating the last row and column, and the prediction is cropped.
    """

    parameter_counts = parameter_counts

    def __init__(self, width: int, norm: str, dropout: float, in_channels: int, out_channels: int):
        super().__init__()
        channels = [width * factor for factor in WIDTHS]
        self.first = _block(nn.Conv2d(in_channels, width, KERNEL), norm, nn.LeakyReLU(0.2))
        self.downs = nn.ModuleList(
            _block(nn.Conv2d(a, b, **HALVING), norm, nn.LeakyReLU(0.2))
            for a, b in pairwise(channels)
        )
        # The first block up reads the innermost features alone, each further one a skip too.
        reads = [channels[-1], *(2 * each for each in channels[-2:0:-1])]
        writes = channels[-2::-1]
        self.ups = nn.ModuleList(
            _block(
                nn.ConvTranspose2d(a, b, **HALVING), norm, nn.ReLU(), dropout if i < NOISY else 0
            )
            for i, (a, b) in enumerate(zip(reads, writes, strict=True))
        )
        self.last = nn.Conv2d(2 * width, out_channels, 1)
        self.bound = bound_of(out_channels)

    def forward(self, L: Tensor) -> Tensor:
        x = extended(L, MULTIPLE, least=2)
        height, width = x.shape[-2:]
        enlarged = (height + KERNEL - 1, width + KERNEL - 1)  # the first layer takes that off
        x = self.first(interpolate(x, enlarged, mode="bilinear", align_corners=False))
        skips = []
        for down in self.downs:
            skips.append(x)
            x = down(x)
        for up in self.ups:
            x = torch.cat([up(x), skips.pop()], dim=1)
        return self.bound(self.last(x)[..., : L.shape[-2], : L.shape[-1]].float())


def _block(
    convolution: nn.Module, norm: str, activation: nn.Module, dropout: float = 0.0
) -> nn.Sequential:
    make_norm = GENERATOR_NORMS[norm]
    layers = [convolution, *([make_norm(convolution.out_channels)] if make_norm else [])]
    return nn.Sequential(*layers, activation, *([nn.Dropout(dropout)] if dropout else []))


@GENERATORS.register("nazeri_unet")
def nazeri_unet(
    size: int,
    width: int = 64,
    norm: str = "batch",
    dropout: float = 0.5,
    init: str = "normal",
    in_channels: int = 1,
    out_channels: int = 2,
) -> NazeriUnet:
    """The U-Net of Nazeri et al. for size×size images, a multiple of 16; without an encoder.

    The image is enlarged by 3 pixels a side, bilinearly (32 → 35); a 4×4 convolution without
    padding takes it back, with `width` channels; four 4×4 convolutions of stride 2, to 2, 4, 8 and
    8 times as many (32 → 2), and four transposed ones, to 8, 4, 2 and 1 times as many, each joined
    with the features of its size; a 1×1 convolution to the colors. norm: "batch", "instance" or
    "none", in every layer but the last; dropout: its probability in the first two blocks up; init,
    in_channels, out_channels, attributes and UsageError as `pix2pix_unet`.
    Source: Nazeri, Ng and Ebrahimi, "Image Colorization using Generative Adversarial Networks",
    2018, arXiv:1803.05400; layers as in karoly-hars/GAN_image_colorizing, networks.py,
    channel for channel at 32 pixels and width 64, but for ab's bound, which is tanh's there.
    """
    check_options(size, width, dropout, MULTIPLE)
    model = NazeriUnet(width, norm, dropout, in_channels, out_channels)
    options = {"size": size, "width": width, "norm": norm, "dropout": dropout}
    return initialized(model, init, generator="nazeri_unet", **options)
