"""What is done to the stages of any encoder: flattened, cut at the end, made to read lightness."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from colourgan.color import lightness_to_grey
from colourgan.errors import UsageError


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


@torch.no_grad()
def reading_lightness(
    stages: Sequence[nn.Module],
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
    arch: str,
) -> nn.Sequential:
    """The stages of an encoder of RGB, normalised by mean and std, as stages of one grey channel.

    For R = G = B = g and x = (g - m) / s, with m, s the channels' mean statistics, a kernel's
    response is x ⋆ Σ w_c s / std_c + Σ w_c (m - mean_c) / std_c: exact wherever no padding is seen.
    The first convolution is changed in place. Raises UsageError if that is not possible.
    """
    first = [m for stage in stages for m in stage.modules() if _reads_rgb(m)]
    m, s = sum(mean) / 3, sum(std) / 3
    grey_input = GreyInput(m, s)
    L = torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    rgb = (lightness_to_grey(L) - _column(mean)) / _column(std)
    fits = bool(first)
    for convolution in first:
        wanted = _inner_response(convolution, rgb)
        _fold(convolution, torch.tensor(mean), torch.tensor(std), m, s)
        got = _inner_response(convolution, grey_input(L))
        fits &= torch.allclose(got, wanted, rtol=1e-4, atol=1e-4)
    if not fits:  # such as a convolution that standardises its weights as it runs
        raise UsageError(
            f"{arch} does not fit as an encoder: its first layer cannot read one channel"
        )
    return nn.Sequential(nn.Sequential(grey_input, stages[0]), *stages[1:])


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
