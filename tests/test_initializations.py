import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from colourgan.errors import UsageError
from colourgan.initializations import INITIALIZATIONS

CHANGING = [name for name in INITIALIZATIONS if name != "default"]


def network():
    """Nested layers of every kind; all weights and biases are 7, so that a forgotten one shows."""
    inner = nn.Sequential(nn.ConvTranspose2d(64, 32, 4), nn.InstanceNorm2d(32, affine=True))
    layers = nn.Conv2d(3, 64, 4), nn.BatchNorm2d(64), nn.ReLU(), inner, nn.GroupNorm(1, 32)
    module = nn.Sequential(*layers, nn.InstanceNorm2d(32), nn.LayerNorm(8), nn.Linear(200, 100))
    for parameter in module.parameters():
        nn.init.constant_(parameter, 7.0)
    return module


def weights(module):
    """The weights of convolutions and linear layers, and those of norms."""
    found = [m.weight for m in module.modules() if getattr(m, "weight", None) is not None]
    return [w for w in found if w.ndim > 1], [w for w in found if w.ndim == 1]


@pytest.mark.parametrize("name", CHANGING)
def test_every_layer_is_initialized_and_the_same_seed_repeats(name):
    first, second = network(), network()
    for module in (first, second):
        torch.manual_seed(3)
        assert INITIALIZATIONS[name](module) is None
    for weight, again in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(weight, again)
    kernels, scales = weights(first)
    assert len(kernels) == 3 and len(scales) == 4
    assert all(abs(kernel.mean()) < 0.02 < 20 * kernel.std() for kernel in kernels)
    assert all(abs(scale.mean() - 1) < 0.02 for scale in scales)
    biases = [p for key, p in first.named_parameters() if key.endswith("bias")]
    assert len(biases) == 7 and not any(bias.any() for bias in biases)


@pytest.mark.parametrize("name", CHANGING)
def test_the_weights_spread_as_published(name):
    module = network()
    torch.manual_seed(0)
    INITIALIZATIONS[name](module)
    inputs = torch.tensor([3 * 16, 64 * 16, 200])
    outputs = torch.tensor([64 * 16, 32 * 16, 100])
    rows, columns = torch.tensor([64, 64, 100]), torch.tensor([48, 512, 200])
    expected = {
        "normal": torch.full((3,), 0.02),
        "xavier": (2 / (inputs + outputs)).sqrt(),
        "kaiming": (2 / inputs).sqrt(),
        "orthogonal": 1 / torch.maximum(rows, columns).sqrt(),
    }[name]
    kernels, scales = weights(module)
    spread = torch.stack([kernel.std() for kernel in kernels])
    torch.testing.assert_close(spread, expected, rtol=0.05, atol=0)
    assert all((scale.std() > 0.01) == (name == "normal") for scale in scales)


def test_orthogonal_rows_are_orthonormal():
    convolution = nn.Conv2d(8, 16, 3)
    INITIALIZATIONS["orthogonal"](convolution)
    matrix = convolution.weight.flatten(1)
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(16), atol=1e-5, rtol=0)


def test_default_changes_nothing_not_even_the_random_state():
    module, state = network(), torch.get_rng_state()
    INITIALIZATIONS["default"](module)
    assert all((parameter == 7).all() for parameter in module.parameters())
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("name", CHANGING)
def test_layers_under_spectral_norm_are_refused(name):
    with pytest.raises(UsageError, match="before spectral or weight norm"):
        INITIALIZATIONS[name](nn.Sequential(spectral_norm(nn.Conv2d(1, 1, 3))))
