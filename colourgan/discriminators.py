"""DISCRIMINATORS: networks that tell true colors from predicted ones, given the lightness."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from colourgan.errors import UsageError
from colourgan.registry import Registry

DISCRIMINATORS = Registry("discriminator")
NORMS = Registry("norm")
NORMS.update(
    batch=nn.BatchNorm2d,
    instance=lambda channels: nn.InstanceNorm2d(channels, affine=True),
    spectral=None,  # not a layer: it reparametrizes the convolutions
    none=None,
)
SMALLEST_SIZE = 16
KERNEL = 4
PUBLISHED = (2, 2, 2, 1)
# The published strides less one layer of stride 2 at a time; then the same without the layer of
# stride 1, for the few sizes that fall between two of these (29 to 31, 65 to 67, 137 to 139).
STRIDES = (PUBLISHED, (2, 2, 1), (2, 1), (1,), (2, 2, 2), (2, 2), (2,))


class ConditionalDiscriminator(nn.Module):
    """Logits for how true the colors `ab` are on the lightness `L`, one for each patch."""

    def __init__(self, layers: list[nn.Module]):
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, L: Tensor, ab: Tensor) -> Tensor:
        """L (N, 1, H, W) and ab (N, 2, H, W) in network units; returns logits (N, 1, h, w)."""
        return self.layers(torch.cat([L, ab], dim=1))


@DISCRIMINATORS.register("patchgan")
def patchgan(
    size: int, norm: str = "batch", width: int = 64, in_channels: int = 3
) -> ConditionalDiscriminator:
    """pix2pix's PatchGAN with as many layers as suit images of `size` pixels a side.

    norm: "batch", "instance" or "spectral" norm, or "none"; the first layer has no batch or
    instance norm. width: channels of the first layer. in_channels: those of L and ab together.

    size   strides    channels            receptive field   logit map
    32     2 1        64 128              16                14 × 14
    64     2 1        64 128              16                30 × 30
    96     2 2 1      64 128 256          34                22 × 22
    128    2 2 1      64 128 256          34                30 × 30
    256    2 2 2 1    64 128 256 512      70                30 × 30

    (plus a last convolution of stride 1 to one channel). The receptive field is between a quarter
    and half of the side for sizes from 16 to 280, and 70 above. Raises UsageError for a size under
    16 or an unknown norm.
    Source: Isola et al., "Image-to-Image Translation with Conditional Adversarial Networks",
    CVPR 2017, sections 3.2.2 and 6.1.2.
    """
    strides = patch_strides(size)
    channels = [width * 2**i for i in range(len(strides))]
    return _build([in_channels, *channels], strides, KERNEL, norm)


@DISCRIMINATORS.register("pixelgan")
def pixelgan(
    size: int, norm: str = "batch", width: int = 64, in_channels: int = 3
) -> ConditionalDiscriminator:
    """pix2pix's PixelGAN: judges every pixel alone, by 1×1 convolutions of 64 and 128 channels.

    Arguments, errors and source as `patchgan`; the logit map is as large as the image.
    """
    _check_size(size)
    return _build([in_channels, width, 2 * width], (1, 1), 1, norm)


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


def _build(
    channels: list[int], strides: tuple[int, ...], kernel: int, norm: str
) -> ConditionalDiscriminator:
    make_norm = NORMS[norm]
    layers = []
    for i, stride in enumerate(strides):
        normed = make_norm is not None and i > 0
        layers.append(_convolution(channels[i], channels[i + 1], kernel, stride, bias=not normed))
        layers += [make_norm(channels[i + 1])] if normed else []
        layers.append(nn.LeakyReLU(0.2))
    layers.append(_convolution(channels[-1], 1, kernel, 1, bias=True))
    _initialize(layers)
    if norm == "spectral":
        layers = list(_spectral(layers))
    return ConditionalDiscriminator(layers)


def _convolution(inputs: int, outputs: int, kernel: int, stride: int, bias: bool) -> nn.Conv2d:
    padding = 1 if kernel == KERNEL else 0
    return nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=bias)


def _initialize(layers: list[nn.Module]) -> None:
    """Weights from N(0, 0.02), those of norms from N(1, 0.02), biases 0 (section 6.2)."""
    for layer in layers:
        if getattr(layer, "weight", None) is None:
            continue
        nn.init.normal_(layer.weight, 0.0 if isinstance(layer, nn.Conv2d) else 1.0, 0.02)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def _spectral(layers: list[nn.Module]) -> Iterator[nn.Module]:
    """Every convolution normalised (Miyato et al., "Spectral Normalization for GANs", 2018)."""
    for layer in layers:
        yield spectral_norm(layer) if isinstance(layer, nn.Conv2d) else layer
