"""The U-Net of pix2pix: down to one pixel and back, nothing pretrained, noise by dropout."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from colourgan.errors import UsageError
from colourgan.generators.base import GENERATORS
from colourgan.generators.plain import (
    GENERATOR_NORMS,
    bound_of,
    check_options,
    extended,
    initialized,
    parameter_counts,
)

WIDEST = 8  # times the first layer's channels: no layer has more
NOISY = 3  # no more blocks than these have dropout
KERNEL = {"kernel_size": 4, "stride": 2, "padding": 1}


class Pix2PixUnet(nn.Module):
    """Halves an image until it is 1×1 and doubles it back, with a skip connection at each size.

    L: (N, in_channels, H, W) in network units; returns (N, out_channels, H, W), float32, in network
    units: two channels are ab, inside the range of sRGB, one is L in [-1, 1]. To be halved that
    often, H and W must be multiples of the size it was built for: others are padded to the next
    multiples by repeating the last row and column, and the prediction is cropped.
    """

    parameter_counts = parameter_counts

    def __init__(
        self,
        size: int,
        width: int,
        norm: str,
        dropout: float,
        in_channels: int,
        out_channels: int,
        innermost_dropout: bool = True,
    ):
        super().__init__()
        self.size = size
        depth = size.bit_length() - 1
        channels = [width * min(2**i, WIDEST) for i in range(depth)]
        downs = [_down(in_channels, channels[0], "none", first=True)]
        downs += [_down(a, b, norm) for a, b in pairwise(channels[:-1])]
        # The innermost has one pixel, which a batch of one image could not normalise.
        self.downs = nn.ModuleList([*downs, _down(*channels[-2:], "none")])
        count = min(NOISY, depth - 3)  # as many as read the widest features, or three
        noisy = range(count) if innermost_dropout else range(1, count + 1)
        ups = [_up(channels[-1], channels[-2], norm, dropout if 0 in noisy else 0)]
        for i, (inputs, outputs) in enumerate(pairwise(channels[-2::-1]), start=1):
            ups.append(_up(2 * inputs, outputs, norm, dropout if i in noisy else 0))
        self.ups = nn.ModuleList([*ups, _up(2 * channels[0], out_channels, "none", 0)])
        self.bound = bound_of(out_channels)

    def forward(self, L: Tensor) -> Tensor:
        x, skips = extended(L, self.size), []
        for down in self.downs:
            skips.append(x)
            x = down(x)
        for up in self.ups[:-1]:
            x = torch.cat([up(x), skips.pop()], dim=1)
        x = self.ups[-1](x)[..., : L.shape[-2], : L.shape[-1]]
        return self.bound(x.float())


def _down(inputs: int, outputs: int, norm: str, first: bool = False) -> nn.Sequential:
    make_norm = GENERATOR_NORMS[norm]
    layers = [] if first else [nn.LeakyReLU(0.2)]
    layers.append(nn.Conv2d(inputs, outputs, **KERNEL, bias=make_norm is None))
    return nn.Sequential(*layers, *([make_norm(outputs)] if make_norm else []))


def _up(inputs: int, outputs: int, norm: str, dropout: float) -> nn.Sequential:
    make_norm = GENERATOR_NORMS[norm]
    layers = [nn.ReLU(), nn.ConvTranspose2d(inputs, outputs, **KERNEL, bias=make_norm is None)]
    layers += [make_norm(outputs)] if make_norm else []
    return nn.Sequential(*layers, *([nn.Dropout(dropout)] if dropout else []))


@GENERATORS.register("pix2pix_unet")
def pix2pix_unet(
    size: int,
    width: int = 64,
    norm: str = "batch",
    dropout: float = 0.5,
    init: str = "normal",
    in_channels: int = 1,
    out_channels: int = 2,
    innermost_dropout: bool = True,
) -> Pix2PixUnet:
    """The U-Net of pix2pix for size×size images, a power of two; it has no pretrained encoder.

    width: channels of the first layer, doubled by each layer up to 8 times as many; norm: "batch",
    "instance" or "none"; dropout: its probability in the first blocks up, three of them from 64
    pixels on, two for 32, one for 16: the noise of the GAN, see `sampling`; init: a name of
    INITIALIZATIONS; in_channels, out_channels: 1 and 2 for L → ab, 2 and 1 for ab → L;
    innermost_dropout: whether the first block up is one of those with dropout, as in the paper; if
    not, it is the next ones, as many, as in the code of junyanz/pytorch-CycleGAN-and-pix2pix at 256
    pixels. Its attributes `arguments` and `origin` are what a model file needs to build it again,
    L → ab. Raises UsageError for a size that cannot be halved down to 1×1, and for other wrong
    values. Source: Isola et al., "Image-to-Image Translation with Conditional Adversarial
    Networks", CVPR 2017, section 6.1.1; at 256 pixels its layers are that section's, channel for
    channel.
    """
    check_options(size, width, dropout)
    if size & (size - 1):
        below = 2 ** (size.bit_length() - 1)
        raise UsageError(
            f"a U-Net down to 1×1 cannot halve {size} that often: choose {below} or {2 * below}"
        )
    channels = {"in_channels": in_channels, "out_channels": out_channels}
    model = Pix2PixUnet(size, width, norm, dropout, **channels, innermost_dropout=innermost_dropout)
    options = {"size": size, "width": width, "norm": norm, "dropout": dropout}
    if not innermost_dropout:  # what is as it always was is not written
        options["innermost_dropout"] = False
    return initialized(model, init, generator="pix2pix_unet", **options)
