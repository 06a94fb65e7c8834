"""What generators without an encoder share: norms, checks, pictures of any size, a description."""

from torch import Tensor, nn
from torch.nn.functional import pad

from colourgan.errors import UsageError
from colourgan.generators.base import SMALLEST, BoundedAb, recorded
from colourgan.initializations import INITIALIZATIONS
from colourgan.registry import Registry

GENERATOR_NORMS = Registry("generator norm")
GENERATOR_NORMS.update(
    batch=nn.BatchNorm2d,
    instance=lambda channels: nn.InstanceNorm2d(channels, affine=True),
    none=None,
)


def extended(image: Tensor, multiple: int, least: int = 1) -> Tensor:
    """(N, C, H, W) → both sides multiples of `multiple`, at least `least` (1 or 2) times that.

    The last row and column are repeated.
    """
    missing = []
    for side in image.shape[-2:]:
        # Not -side % multiple: torch.export halves a multiple of an unknown size sooner than a
        # remainder.
        count = (side + multiple - 1) // multiple
        if least > 1:
            count += (least - 1) // count  # a maximum that a record can hold
        missing.append(count * multiple - side)
    below, right = missing
    # Always extending, which may be by nothing, is safe for every size to come.
    if recorded() or below or right:
        image = pad(image, (0, right, 0, below), mode="replicate")
    return image


def bound_of(channels: int) -> nn.Module:
    """The last layer of a generator: of two channels to the range of sRGB, of L to [-1, 1]."""
    return BoundedAb() if channels == 2 else nn.Tanh()


def check_options(size: int, width: int, dropout: float, multiple: int = 1) -> None:
    """Raises UsageError for a size that is no such multiple, and for other wrong values."""
    if size < SMALLEST:
        raise UsageError(f"size {size} is too small: at least {SMALLEST} pixels are needed")
    if size % multiple:
        below = size - size % multiple
        raise UsageError(
            f"size {size} is not a multiple of {multiple}: choose {below} or {below + multiple}"
        )
    if width < 1:
        raise UsageError(f"width {width} is too small: at least 1 channel is needed")
    if not 0 <= dropout < 1:
        raise UsageError(f"dropout {dropout} is not in [0, 1)")


def initialized(model: nn.Module, init: str, **arguments: object) -> nn.Module:
    """A generator with its first weights, and with what a file needs to build it again.

    init: a name of INITIALIZATIONS; arguments: its name under "generator", and how it was built.
    """
    INITIALIZATIONS[init](model)
    model.arguments = arguments
    model.origin = {"arch": "none", "weights": "none", "sha256": None}
    return model.train()


def parameter_counts(generator: nn.Module) -> dict[str, int]:
    """Number of parameters of a generator no part of which is an encoder of its own."""
    return {"generator": sum(p.numel() for p in generator.parameters())}
