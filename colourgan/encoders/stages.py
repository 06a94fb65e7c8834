"""What is done to the stages of any encoder: flattened, cut at the end, made to read lightness."""

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


class RGBInput(nn.Module):
    """Network-scaled L as the normalised R = G = B that a pretrained encoder saw: three channels.

    mean, std: the encoder's own, per channel.
    """

    def __init__(self, mean: Triple, std: Triple):
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def forward(self, L: Tensor) -> Tensor:
        return ((lightness_to_grey(L) - self.mean) / self.std).to(L.dtype)


class Normalized(nn.Module):
    """RGB in [0, 1] with mean 0 and std 1, as an encoder was trained on it."""

    def __init__(self, mean: Triple, std: Triple):
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def forward(self, rgb: Tensor) -> Tensor:
        return (rgb - self.mean) / self.std


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
    while len(stages) > 1 and _only_widens(stages[-1]):
        stages.pop()
    return stages


def _only_widens(stage: nn.Module) -> bool:
    convolutions = [m for m in stage.modules() if isinstance(m, nn.Conv2d)]
    return len(convolutions) == 1 and (
        convolutions[0].kernel_size == (1, 1)
        and convolutions[0].stride == (1, 1)
        and convolutions[0].out_channels >= 2 * convolutions[0].in_channels
    )


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
    if lightness == "folded":
        return _folded(stages, mean, std, arch)
    if lightness == "replicated":
        entry: nn.Module = RGBInput(mean, std)
    else:
        entry = nn.Identity()
        for convolution in _first_convolutions(stages, arch):
            convolution.weight = nn.Parameter(convolution.weight.detach().sum(1, keepdim=True))
            convolution.in_channels = 1
    return nn.Sequential(nn.Sequential(entry, stages[0]), *stages[1:])


@torch.no_grad()
def up_to_resolution(stages: nn.Sequential, count: int, size: int, arch: str) -> nn.Sequential:
    """The stages that give the first `count` resolutions of features, for size×size images, in
    evaluation mode.

    Raises UsageError for fewer than 2, which leave a U-Net nothing to decode, or more than it has.
    """
    x, sides = torch.zeros(1, 1, size, size), []
    for stage in stages.eval():
        x = stage(x)
        sides.append(x.shape[-1])
    kept = list(dict.fromkeys(sides))[:count]
    most = len(set(sides))
    if not 2 <= count <= most:
        raise UsageError(f"{arch} has {most} stages at {size}×{size}: use 2 to {most}, not {count}")
    return nn.Sequential(
        *(stage for stage, side in zip(stages, sides, strict=True) if side in kept)
    )


@torch.no_grad()
def _folded(stages: Sequence[nn.Module], mean: Triple, std: Triple, arch: str) -> nn.Sequential:
    """Stages of one grey channel.

    For R = G = B = g and x = (g - m) / s, with m, s the channels' mean statistics, a kernel's
    response is x ⋆ Σ w_c s / std_c + Σ w_c (m - mean_c) / std_c: exact wherever no padding is seen.
    """
    first = _first_convolutions(stages, arch)
    m, s = sum(mean) / 3, sum(std) / 3
    grey_input = GreyInput(m, s)
    L = torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    rgb = (lightness_to_grey(L) - _column(mean)) / _column(std)
    fits = True
    for convolution in first:
        wanted = _inner_response(convolution, rgb)
        _fold(convolution, torch.tensor(mean), torch.tensor(std), m, s)
        got = _inner_response(convolution, grey_input(L))
        fits &= torch.allclose(got, wanted, rtol=1e-4, atol=1e-4)
    if not fits:  # such as a convolution that standardises its weights as it runs
        raise _unfit(arch)
    return nn.Sequential(nn.Sequential(grey_input, stages[0]), *stages[1:])


def _first_convolutions(stages: Sequence[nn.Module], arch: str) -> list[nn.Conv2d]:
    found = [m for stage in stages for m in stage.modules() if _reads_rgb(m)]
    if not found:
        raise _unfit(arch)
    return found


def _unfit(arch: str) -> UsageError:
    return UsageError(f"{arch} does not fit as an encoder: its first layer cannot read one channel")


def _reads_rgb(module: nn.Module) -> bool:
    return isinstance(module, nn.Conv2d) and module.in_channels == 3 and module.groups == 1


def _fold(convolution: nn.Conv2d, mean: Tensor, std: Tensor, m: float, s: float) -> None:
    weight = convolution.weight / std[:, None, None]
    shift = (weight * (m - mean)[:, None, None]).sum((1, 2, 3))
    bias = shift if convolution.bias is None else shift + convolution.bias
    convolution.weight = nn.Parameter(weight.sum(1, keepdim=True) * s)
    convolution.bias = nn.Parameter(bias)
    convolution.in_channels = 1


def _inner_response(convolution: nn.Conv2d, x: Tensor) -> Tensor:
    """A convolution's output away from the border, where padding shows."""
    out = convolution(x)
    edge = out.shape[-1] // 4
    return out[..., edge:-edge, edge:-edge]


def _column(values: tuple[float, ...]) -> Tensor:
    return torch.tensor(values)[:, None, None]
