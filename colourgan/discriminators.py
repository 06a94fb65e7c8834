"""DISCRIMINATORS: networks that tell true colors from predicted ones, given the lightness."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from colourgan.errors import UsageError
from colourgan.initializations import INITIALIZATIONS
from colourgan.registry import Registry

DISCRIMINATORS = Registry("discriminator")
NORMS = Registry("norm")
NORMS.update(
    batch=nn.BatchNorm2d,
    instance=lambda channels: nn.InstanceNorm2d(channels, affine=True),
    # All values of a sample together, then a scale and a shift a channel: layer norm is group norm
    # with one group (Wu and He, "Group Normalization", ECCV 2018, section 3.1).
    layer=lambda channels: nn.GroupNorm(1, channels),
    spectral=None,  # not a layer: it reparametrizes the convolutions
    none=None,
)
SMALLEST_SIZE = 16
KERNEL = 4
IMAGE_PADDING = 3
LARGEST_LAST = 7  # the side of the last convolution of `imagegan`
PUBLISHED = (2, 2, 2, 1)
# The published strides less one layer of stride 2 at a time; then the same without the layer of
# stride 1, for the few sizes that fall between two of these (29 to 31, 65 to 67, 137 to 139).
STRIDES = (PUBLISHED, (2, 2, 1), (2, 1), (1,), (2, 2, 2), (2, 2), (2,))


class ConditionalDiscriminator(nn.Module):
    """Logits for how real an image's colors are given its lightness, one a patch or an image."""

    def __init__(self, layers: list[nn.Module]):
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, *images: Tensor) -> Tensor:
        """L (N, 1, H, W) and ab (N, 2, H, W) in network units; returns logits (N, 1, h, w).

        More generally any images (N, C, H, W) with `in_channels` channels in all: one built for 1
        judges L alone, one built for 2 ab alone.
        """
        return self.layers(torch.cat(images, dim=1))


@DISCRIMINATORS.register("patchgan")
def patchgan(
    size: int, norm: str = "batch", width: int = 64, in_channels: int = 3, *, init: str = "normal"
) -> ConditionalDiscriminator:
    """pix2pix's PatchGAN, its number of layers chosen for images of `size` pixels a side.

    norm: "batch", "instance", "layer" or "spectral" norm, or "none"; the first layer has none but
    spectral norm. width: channels of the first layer. in_channels: those of L and ab together.
    init: the weights it starts from, one of INITIALIZATIONS.

    size   strides    channels            receptive field   logit map
    32     2 1        64 128              16                14 × 14
    64     2 1        64 128              16                30 × 30
    96     2 2 1      64 128 256          34                22 × 22
    128    2 2 1      64 128 256          34                30 × 30
    256    2 2 2 1    64 128 256 512      70                30 × 30

    (and a last convolution of stride 1 to one channel). The receptive field is between a quarter
    and half of the side for sizes from 16 to 280, and 70 above. Raises UsageError for a size under
    16, an unknown norm or initialization.
    Source: Isola et al., "Image-to-Image Translation with Conditional Adversarial Networks",
    CVPR 2017, sections 3.2.2 and 6.1.2.
    """
    strides = patch_strides(size)
    channels = [width * 2**i for i in range(len(strides))]
    layers = _hidden([in_channels, *channels], strides, KERNEL, norm)
    return _assemble([*layers, nn.Conv2d(channels[-1], 1, KERNEL, padding=1)], norm, init)


@DISCRIMINATORS.register("pixelgan")
def pixelgan(
    size: int, norm: str = "batch", width: int = 64, in_channels: int = 3, *, init: str = "normal"
) -> ConditionalDiscriminator:
    """pix2pix's PixelGAN: judges every pixel alone, by 1×1 convolutions of 64 and 128 channels.

    Arguments, errors and source as `patchgan`; the logit map is as large as the image.
    """
    _check_size(size)
    layers = _hidden([in_channels, width, 2 * width], (1, 1), 1, norm)
    return _assemble([*layers, nn.Conv2d(2 * width, 1, 1)], norm, init)


@DISCRIMINATORS.register("imagegan")
def imagegan(
    size: int, norm: str = "batch", width: int = 64, in_channels: int = 3, *, init: str = "normal"
) -> ConditionalDiscriminator:
    """One logit (N, 1, 1, 1) an image of `size` pixels a side, which sees all of it.

    The image is zero-padded by 3 pixels (32 → 35); 4×4 convolutions of stride 2 with width,
    2 · width, 4 · width, then 8 · width channels halve it until its side is at most 7 (35 → 17 → 8
    → 4), and a convolution as large as the rest gives one value. Arguments and errors as
    `patchgan`. Source: the student project of recipe `batch-vs-spectral`, input 35 × 35; layers as
    DCGAN's (Radford et al. 2016, section 3).
    """
    _check_size(size)
    sides = [size + IMAGE_PADDING]
    while sides[-1] > LARGEST_LAST:
        sides.append(sides[-1] // 2)
    channels = [width * min(2**i, 8) for i in range(len(sides) - 1)]
    hidden = _hidden([in_channels, *channels], (2,) * len(channels), KERNEL, norm)
    layers = [nn.ZeroPad2d((1, 2, 1, 2)), *hidden, nn.Conv2d(channels[-1], 1, sides[-1])]
    return _assemble(layers, norm, init)


def patch_strides(size: int) -> tuple[int, ...]:
    """The strides of `patchgan`'s layers but the last one, for images of `size` pixels a side."""
    _check_size(size)
    fitting = (s for s in STRIDES if size / 4 <= receptive_field(s) <= size / 2)
    return next(fitting, PUBLISHED)


def receptive_field(strides: tuple[int, ...]) -> int:
    """The side in pixels of what one logit sees: 4×4 layers of these strides, and a last of 1."""
    field = KERNEL
    for stride in reversed(strides):
        field = (field - 1) * stride + KERNEL
    return field


def _check_size(size: int) -> None:
    if size < SMALLEST_SIZE:
        raise UsageError(f"a discriminator needs images of {SMALLEST_SIZE} pixels or more: {size}")


def _hidden(
    channels: list[int], strides: tuple[int, ...], kernel: int, norm: str
) -> list[nn.Module]:
    make_norm, padding = NORMS[norm], 1 if kernel == KERNEL else 0
    layers = []
    for i, (inputs, outputs) in enumerate(pairwise(channels)):
        normed = make_norm is not None and i > 0
        layers.append(nn.Conv2d(inputs, outputs, kernel, strides[i], padding, bias=not normed))
        layers += [*([make_norm(outputs)] if normed else []), nn.LeakyReLU(0.2)]
    return layers


def _assemble(layers: list[nn.Module], norm: str, init: str) -> ConditionalDiscriminator:
    """The layers with their first weights, under spectral norm if `norm` says so.

    Source: Miyato et al., "Spectral Normalization for Generative Adversarial Networks", 2018.
    """
    discriminator = ConditionalDiscriminator(layers)
    INITIALIZATIONS[init](discriminator)
    for layer in layers if norm == "spectral" else ():
        if isinstance(layer, nn.Conv2d):
            spectral_norm(layer)
    return discriminator
