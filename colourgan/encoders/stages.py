"""What any encoder's stages go through: flattened, cut at the end, made to read lightness."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from colourgan.color import lightness_to_grey
from colourgan.errors import UsageError

Triple = tuple[float, float, float]
LIGHTNESS = ("folded", "summed", "replicated")


class GreyInput(nn.Module):
    """Network-scaled L as the grey value that a pretrained encoder saw, with mean 0 and std 1.

    mean, std: the encoder's own RGB statistics, averaged over the channels: zero padding then
    stands for mean grey, as it did in the original.
    """

    def __init__(self, mean: float, std: float):
        super().__init__()
        self.mean, self.std = mean, std

    def forward(self, L: Tensor) -> Tensor:
        return ((lightness_to_grey(L) - self.mean) / self.std).to(L.dtype)


class Normalized(nn.Module):
    """RGB in [0, 1] with mean 0 and std 1, as an encoder was trained on it.

    mean, std: the encoder's own, per channel.
    """

    def __init__(self, mean: Triple, std: Triple):
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def forward(self, rgb: Tensor) -> Tensor:
        return (rgb - self.mean) / self.std


class RGBInput(Normalized):
    """Network-scaled L as the normalised R = G = B that a pretrained encoder saw."""

    def forward(self, L: Tensor) -> Tensor:
        return super().forward(lightness_to_grey(L)).to(L.dtype)


def flat(modules: Iterable[nn.Module]) -> list[nn.Module]:
    """Modules in order, plain nn.Sequential ones replaced by what they hold."""
    found: list[nn.Module] = []
    for module in modules:
        found += flat(module.children()) if type(module) is nn.Sequential else [module]
    return found


def without_closing_expansion(stages: Sequence[nn.Module]) -> list[nn.Module]:
    """The stages without closing 1×1 convolutions that only widen for a classifier.

    They would make the decoder many times larger than the encoder: mobilenet_v2's takes the U-Net
    from 7.8 M to 79.7 M parameters.
    """
    stages = list(stages)
    while len(stages) > 1:
        found = [m for m in stages[-1].modules() if isinstance(m, nn.Conv2d)]
        if len(found) != 1 or found[0].kernel_size != (1, 1) or found[0].stride != (1, 1):
            break
        if found[0].out_channels < 2 * found[0].in_channels:
            break
        stages.pop()
    return stages


@torch.no_grad()
def reading_lightness(
    stages: Sequence[nn.Module], mean: Triple, std: Triple, arch: str, lightness: str = "folded"
) -> nn.Sequential:
    """The stages of an encoder of RGB, normalised by mean and std, as stages that take L.

    lightness: "folded": the normalisation and the three kernels become one of one channel, with a
    bias; "replicated": L becomes R = G = B and the kernels stay; "summed": the kernels are summed
    and read network-scaled L as it is, without the normalisation that they were trained with.
    The first convolution is changed in place. Raises UsageError for another word or an encoder with
    which it cannot be done.
    """
    if lightness not in LIGHTNESS:
        raise UsageError(f"unknown lightness '{lightness}': choices: {', '.join(LIGHTNESS)}")
    if lightness == "replicated":
        return nn.Sequential(nn.Sequential(RGBInput(mean, std), stages[0]), *stages[1:])
    unfit = f"{arch} does not fit as an encoder: its first layer cannot read one channel"
    convolutions = (m for stage in stages for m in stage.modules() if isinstance(m, nn.Conv2d))
    first = [m for m in convolutions if m.in_channels == 3 and m.groups == 1]
    if not first:
        raise UsageError(unfit)
    if lightness == "summed":
        for convolution in first:
            convolution.weight = nn.Parameter(convolution.weight.sum(1, keepdim=True))
            convolution.in_channels = 1
        return nn.Sequential(nn.Sequential(nn.Identity(), stages[0]), *stages[1:])
    # For R = G = B = g and x = (g - m) / s, with m, s the channels' mean statistics, a kernel's
    # response is x ⋆ Σ w_c s / std_c + Σ w_c (m - mean_c) / std_c: exact where no padding is seen.
    m, s = sum(mean) / 3, sum(std) / 3
    means, stds = torch.tensor(mean)[:, None, None], torch.tensor(std)[:, None, None]
    grey_input, fits = GreyInput(m, s), True
    L = torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    rgb = (lightness_to_grey(L) - means) / stds
    for convolution in first:
        wanted = _inner_response(convolution, rgb)
        weight = convolution.weight / stds
        shift = (weight * (m - means)).sum((1, 2, 3))
        bias = shift if convolution.bias is None else shift + convolution.bias
        convolution.weight = nn.Parameter(weight.sum(1, keepdim=True) * s)
        convolution.bias, convolution.in_channels = nn.Parameter(bias), 1
        got = _inner_response(convolution, grey_input(L))
        fits &= torch.allclose(got, wanted, rtol=1e-4, atol=1e-4)
    if not fits:  # such as a convolution that standardises its weights as it runs
        raise UsageError(unfit)
    return nn.Sequential(nn.Sequential(grey_input, stages[0]), *stages[1:])


def _inner_response(convolution: nn.Conv2d, x: Tensor) -> Tensor:
    """A convolution's output away from the border, where padding shows."""
    out = convolution(x)
    edge = out.shape[-1] // 4
    return out[..., edge:-edge, edge:-edge]


@torch.no_grad()
def up_to_resolution(stages: nn.Sequential, count: int, size: int, arch: str) -> nn.Sequential:
    """The stages of the first `count` resolutions for size×size images, in evaluation mode.

    Raises UsageError for fewer than 2, which leave a U-Net nothing to decode, or more than it has.
    """
    x, sides = torch.zeros(1, 1, size, size), []
    for stage in stages.eval():
        x = stage(x)
        sides.append(x.shape[-1])
    resolutions = list(dict.fromkeys(sides))
    most = len(resolutions)
    if not 2 <= count <= most:
        raise UsageError(f"{arch} has {most} stages at {size}×{size}: use 2 to {most}, not {count}")
    kept = (i for i, side in enumerate(sides) if side in resolutions[:count])
    return nn.Sequential(*(stages[i] for i in kept))
