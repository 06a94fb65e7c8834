"""DISCRIMINATORS: networks that tell true colors from predicted ones, given the lightness."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from colourgan.convolutions import ToOneChannel
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
SLOPE = 0.2  # of leaky ReLU
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
    return _assemble([*layers, ToOneChannel(channels[-1], 1, KERNEL, padding=1)], norm, init)


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

    The image is enlarged by 3 pixels a side, bilinearly (32 → 35); a 4×4 convolution without
    padding takes it back to `size` with `width` channels; 4×4 convolutions of stride 2 with
    2 · width, 4 · width, then 8 · width channels halve it until its side is at most 7 (32 → 16 → 8
    → 4), and a convolution as large as the rest gives one value. norm: spectral norm, too, spares
    the first and the last convolution; otherwise arguments and errors as `patchgan`. At 32 pixels
    with width 64 these are the published layers. Source: karoly-hars/GAN_image_colorizing,
    networks.py, whose logit goes through a sigmoid in the network and here in the objective.
    """
    _check_size(size)
    sides = [size]
    while sides[-1] > LARGEST_LAST:
        sides.append(sides[-1] // 2)
    channels = [width * min(2**i, 8) for i in range(len(sides))]
    enlarge = nn.Upsample(size=(size + KERNEL - 1,) * 2, mode="bilinear")
    first = nn.Conv2d(in_channels, width, KERNEL)
    hidden = _hidden(channels, (2,) * (len(channels) - 1), KERNEL, norm, first=True)
    last = nn.Conv2d(channels[-1], 1, sides[-1])
    layers = [enlarge, first, nn.LeakyReLU(SLOPE), *hidden, last]
    return _assemble(layers, norm, init, spared=(first, last))


@DISCRIMINATORS.register("patchgan94")
def patchgan94(
    size: int, norm: str = "batch", width: int = 64, in_channels: int = 3, *, init: str = "normal"
) -> ConditionalDiscriminator:
    """A PatchGAN of the same layers at every size, each of whose logits sees 94×94 pixels.

    4×4 convolutions: of stride 2 to width, 2 · width and 4 · width channels, normalized, the first
    too; of stride 1 to 4 · width, which keeps the size, and linear: neither norm nor activation
    follows; of stride 1 to 8 · width, normalized; of stride 1 to one channel. Leaky ReLU has slope
    .3. Logits: 2 × 2 at 32 pixels, and a side of size // 8 − 2 for larger images; 1 × 1 under 32.
    A receptive field larger than the image covers all of it and its padding.

    norm: spectral norm is in every convolution; otherwise arguments and errors as `patchgan`.
    "layer" normalizes all values of a sample together, the published code the channels at each
    pixel by itself. Source: nabraun03/image-colorization-wgan, models/discriminator.py, with width
    64 and layer norm, for sizes that are multiples of 8 from 24 on. For smaller images one more row
    and column of zeros lead to the 8 · width channels, or nothing would be left.
    """
    _check_size(size)
    channels = [in_channels, width, 2 * width, 4 * width]
    layers = _hidden(channels, (2, 2, 2), KERNEL, norm, first=True, slope=0.3)
    # TensorFlow's "same" for an even kernel: the odd row and column come last.
    layers += [nn.ZeroPad2d((1, 2, 1, 2)), nn.Conv2d(4 * width, 4 * width, KERNEL)]
    if size // 8 < 3:
        layers.append(nn.ZeroPad2d((0, 1, 0, 1)))
    layers += _hidden([4 * width, 8 * width], (1,), KERNEL, norm, first=True, slope=0.3)
    return _assemble([*layers, ToOneChannel(8 * width, 1, KERNEL, padding=1)], norm, init)


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
    channels: list[int],
    strides: tuple[int, ...],
    kernel: int,
    norm: str,
    first: bool = False,
    slope: float = SLOPE,
) -> list[nn.Module]:
    """Convolution, norm and leaky ReLU for each stride; first: whether the first one has a norm."""
    make_norm, padding = NORMS[norm], 1 if kernel == KERNEL else 0
    layers = []
    for i, (inputs, outputs) in enumerate(pairwise(channels)):
        normed = make_norm is not None and (first or i > 0)
        layers.append(nn.Conv2d(inputs, outputs, kernel, strides[i], padding, bias=not normed))
        layers += [*([make_norm(outputs)] if normed else []), nn.LeakyReLU(slope)]
    return layers


def _assemble(
    layers: list[nn.Module], norm: str, init: str, spared: tuple[nn.Module, ...] = ()
) -> ConditionalDiscriminator:
    """The layers with their first weights, under spectral norm if `norm` says so, but for `spared`.

    Source: Miyato et al., "Spectral Normalization for Generative Adversarial Networks", 2018.
    """
    discriminator = ConditionalDiscriminator(layers)
    INITIALIZATIONS[init](discriminator)
    for layer in layers if norm == "spectral" else ():
        if isinstance(layer, nn.Conv2d) and layer not in spared:
            spectral_norm(layer)
    return discriminator
