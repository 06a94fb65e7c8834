"""INITIALIZATIONS: the weights a network starts from, set in place before it trains.

Each entry goes through a module's layers in their order and draws from torch's random numbers:
weights of convolutions, transposed convolutions and linear layers, and those of normalisations.
All biases become 0. A layer must not be under spectral or weight norm yet, which would undo this
at the next forward: that raises UsageError.
"""

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn

from colourgan.errors import UsageError
from colourgan.registry import Registry

INITIALIZATIONS = Registry("initialization")
TRANSPOSED = nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d
WEIGHTED = nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, *TRANSPOSED
BATCH_NORMS = nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d
INSTANCE_NORMS = nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d
NORMALIZING = *BATCH_NORMS, *INSTANCE_NORMS, nn.GroupNorm, nn.LayerNorm


@INITIALIZATIONS.register("normal")
def normal(module: nn.Module) -> None:
    """N(0, .02), and N(1, .02) in normalisations, as DCGAN and pix2pix.

    Source: Isola et al., CVPR 2017, section 6.2; Radford et al., "Unsupervised Representation
    Learning with Deep Convolutional Generative Adversarial Networks", 2016, section 3.
    """
    scale = partial(nn.init.normal_, mean=1.0, std=0.02)
    _initialize(module, lambda layer: nn.init.normal_(layer.weight, 0.0, 0.02), scale)


@INITIALIZATIONS.register("xavier")
def xavier(module: nn.Module) -> None:
    """Uniform, its width from the inputs and outputs of a layer; normalisations start at 1.

    Source: Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural
    networks", 2010, equation 16.
    """
    _initialize(module, lambda layer: nn.init.xavier_uniform_(layer.weight))


@INITIALIZATIONS.register("kaiming")
def kaiming(module: nn.Module) -> None:
    """N(0, √(2/inputs)), which keeps the variance through ReLUs; normalisations start at 1.

    Source: He et al., "Delving Deep into Rectifiers", ICCV 2015, equation 10.
    """

    def weigh(layer: nn.Module) -> Tensor:
        # A transposed convolution's weight has its inputs first, where torch counts outputs.
        mode = "fan_out" if isinstance(layer, TRANSPOSED) else "fan_in"
        return nn.init.kaiming_normal_(layer.weight, mode=mode, nonlinearity="relu")

    _initialize(module, weigh)


@INITIALIZATIONS.register("orthogonal")
def orthogonal(module: nn.Module) -> None:
    """A layer's weight is a matrix of orthonormal rows or columns; normalisations start at 1.

    The matrix is that of the weight's first axis by all others.
    Source: Saxe et al., "Exact solutions to the nonlinear dynamics of learning in deep linear
    neural networks", 2014, section 3.
    """
    _initialize(module, lambda layer: nn.init.orthogonal_(layer.weight))


@INITIALIZATIONS.register("default")
def default(module: nn.Module) -> None:
    """What torch gave the layers when they were made; nothing is changed."""


def _initialize(
    module: nn.Module,
    initialize: Callable[[nn.Module], Tensor],
    scale: Callable[[Tensor], Tensor] = nn.init.ones_,
) -> None:
    for layer in module.modules():
        if not isinstance(layer, WEIGHTED + NORMALIZING) or layer.weight is None:
            continue
        if not isinstance(layer.weight, nn.Parameter):
            raise UsageError("initialize weights before spectral or weight norm, not after it")
        if isinstance(layer, WEIGHTED):
            initialize(layer)
        else:
            scale(layer.weight)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
