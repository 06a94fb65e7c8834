"""What every generator shares: the registry, the bound of ab, parameter groups, sampling."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from colourgan.color import AB_RANGE, AB_SCALE
from colourgan.errors import UsageError
from colourgan.registry import Registry

GENERATORS = Registry("generator")

FORMAT_VERSION = 1  # of what a model file says of itself
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


def described(generator: nn.Module) -> dict:
    """What a file says of the generator in it, for JSON: all that `load_model` needs, and more.

    The format's version, the generator's build arguments and size, the scale of ab, and the origin
    and hash of the encoder's weights.
    """
    return {
        "kind": "generator", "format_version": FORMAT_VERSION, "ab_scale": AB_SCALE,
        "arguments": generator.arguments, "encoder": generator.origin,
    }  # fmt: skip


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


def recorded() -> bool:
    """Whether this forward pass is being traced, exported or compiled, to be run at other sizes.

    A record keeps one side of a branch: what depends on a size has to be computed there.
    """
    return torch.jit.is_tracing() or torch.compiler.is_compiling()


def predict_at(generator: nn.Module, L: Tensor, size: tuple[int, int]) -> Tensor:
    """ab (N, 2, h, w) float32, predicted for L (N, 1, H, W) resized to (h, w)."""
    return generator(interpolate(L, size, mode="bilinear", antialias=True)).float()


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
