"""The U-Nets of four halvings that have no encoder: nazeri_unet and residual_unet."""

import copy
import pickle
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import interpolate

from colourgan.color import AB_RANGE
from colourgan.errors import UsageError
from colourgan.generators import GENERATORS, nazeri_unet, residual_unet, sampling, splitter

EACH = pytest.mark.parametrize("name", ["nazeri_unet", "residual_unet"])
NORMS = {"batch": nn.BatchNorm2d, "instance": nn.InstanceNorm2d, "none": ()}


def pictures(height=32, width=32, count=2):
    random = torch.Generator().manual_seed(4)
    return torch.rand(count, 1, height, width, generator=random) * 2 - 1


def small(name, size=32, **options):
    torch.manual_seed(0)
    return GENERATORS[name](size, 4, **{"init": "kaiming", **options})


def found(model, kind):
    return [module for module in model.modules() if isinstance(module, kind)]


def convolutions(model):
    return found(model, (nn.Conv2d, nn.ConvTranspose2d))


def shape(layer):
    return type(layer), layer.out_channels, layer.kernel_size[0], layer.stride[0], layer.padding[0]


# Nazeri's


def test_nazeri_unet_has_the_published_layers():
    with torch.device("meta"):
        model = nazeri_unet(32, init="default")
    down = [(nn.Conv2d, 64, 4, 1, 0), *((nn.Conv2d, c, 4, 2, 1) for c in (128, 256, 512, 512))]
    up = [(nn.ConvTranspose2d, c, 4, 2, 1) for c in (512, 256, 128, 64)]
    assert [shape(layer) for layer in convolutions(model)] == [*down, *up, (nn.Conv2d, 2, 1, 1, 0)]
    assert [layer.in_channels for layer in convolutions(model)] == [
        1, 64, 128, 256, 512, 512, 1024, 512, 256, 128,
    ]  # fmt: skip
    assert all(layer.bias is not None for layer in convolutions(model))
    blocks = [[type(layer) for layer in block] for block in (model.first, *model.downs, *model.ups)]
    leaky = [nn.Conv2d, nn.BatchNorm2d, nn.LeakyReLU]
    plain = [nn.ConvTranspose2d, nn.BatchNorm2d, nn.ReLU]
    assert blocks == [*[leaky] * 5, *[[*plain, nn.Dropout]] * 2, *[plain] * 2]
    assert {layer.negative_slope for layer in found(model, nn.LeakyReLU)} == {0.2}
    assert {layer.p for layer in found(model, nn.Dropout)} == {0.5}
    assert model.parameter_counts() == {"generator": 16_654_722}


def test_nazeri_unet_computes_what_its_description_says():
    model, L = small("nazeri_unet").eval(), pictures()
    x = interpolate(L, (35, 35), mode="bilinear")
    features = [model.first(x)]
    for down in model.downs:
        features.append(down(features[-1]))
    assert [x.shape[-1] for x in features] == [32, 16, 8, 4, 2]
    x = features[-1]
    for up, skip in zip(model.ups, features[-2::-1], strict=True):
        x = torch.cat([up(x), skip], 1)
    torch.testing.assert_close(model(L), model.bound(model.last(x)))


# The residual one


def test_residual_unet_has_the_published_layers():
    with torch.device("meta"):
        model = residual_unet(32, init="default")
    down = [(nn.Conv2d, c, 4, 2, 1) for c in (256, 512, 512, 1024)]
    up = [
        layer
        for c in (512, 512, 256)
        for layer in ((nn.ConvTranspose2d, c, 4, 2, 1), *[(nn.Conv2d, c, 3, 1, 1)] * 2)
    ]
    assert [shape(layer) for layer in convolutions(model)] == [*down, *up, (nn.Conv2d, 2, 3, 1, 1)]
    assert [layer.in_channels for layer in convolutions(model)] == [
        1, 256, 512, 512, 1024, 512, 512, 1024, 512, 512, 1024, 256, 256, 512,
    ]  # fmt: skip
    assert [layer.bias is not None for layer in convolutions(model)] == [*[False] * 13, True]
    assert isinstance(model.downs[0], nn.Conv2d)  # neither norm nor activation
    leaky = [nn.Conv2d, nn.BatchNorm2d, nn.LeakyReLU]
    assert [[type(layer) for layer in down] for down in model.downs[1:]] == [leaky] * 3
    assert {layer.negative_slope for layer in found(model, nn.LeakyReLU)} == {0.3}
    residual = [nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.Conv2d, nn.BatchNorm2d]
    assert [[type(layer) for layer in up[1].layers] for up in model.ups] == [residual] * 3
    assert [[layer.p for layer in found(up, nn.Dropout)] for up in model.ups] == [[], [0.2], [0.2]]


def test_without_norm_its_residual_blocks_have_a_bias():
    (first, _, second) = small("residual_unet", norm="none").ups[0][1].layers
    assert first.bias is not None and second.bias is not None


def test_residual_unet_computes_what_its_description_says():
    model, L = small("residual_unet").eval(), pictures()
    features = [L]
    for down in model.downs:
        features.append(down(features[-1]))
    assert [x.shape[-1] for x in features] == [32, 16, 8, 4, 2]
    x = features[-1]
    for (enlarge, block, *_), skip in zip(model.ups, features[-2:0:-1], strict=True):
        x = enlarge(x)
        x = torch.cat([torch.relu(x + block.layers(x)), skip], 1)
    x = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
    torch.testing.assert_close(model(L), model.bound(model.last(x)))


# Both


@EACH
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("size", [16, 32, 48])
def test_one_image_is_enough_to_train_every_parameter(name, norm, size):
    model = small(name, size, norm=norm)
    assert model.training
    ab = model(pictures(size, size, 1))
    assert ab.shape == (1, 2, size, size) and ab.dtype == torch.float32
    ab.abs().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    norms = found(model, (nn.BatchNorm2d, nn.InstanceNorm2d))
    assert bool(norms) == (norm != "none") and all(isinstance(m, NORMS[norm]) for m in norms)


@EACH
@pytest.mark.parametrize("size", [(1, 1), (16, 16), (32, 22), (37, 51), (8, 100)])
def test_other_sizes_are_extended_and_cut(name, size):
    model, L = small(name).eval(), pictures(*size)
    height, width = (max(32, -(-n // 16) * 16) - n for n in size)
    padded = np.pad(L.numpy(), [(0, 0), (0, 0), (0, height), (0, width)], mode="edge")
    with torch.no_grad():
        ab = model(L)
        wanted = model(torch.from_numpy(padded))[:, :, : size[0], : size[1]]
    assert ab.shape == (2, 2, *size)
    torch.testing.assert_close(ab, wanted)


@EACH
def test_colors_stay_within_srgb_and_lightness_within_its_range(name):
    model, back = small(name), small(name, in_channels=2, out_channels=1)
    with torch.no_grad():
        for each in (model, back):
            each.last.weight.mul_(1000)
        ab, L = model(pictures()), back(torch.rand(2, 2, 32, 32) - 0.5)
    low, high = torch.tensor(AB_RANGE).view(2, 2, 1, 1)
    assert (ab >= low - 1e-6).all() and (ab <= high + 1e-6).all() and ab.abs().max() > 0.8
    assert L.shape == (2, 1, 32, 32) and 0.9 < L.abs().max() <= 1 and L.min() < 0 < L.max()


@EACH
def test_autocast_gives_float32_of_the_same_colors(name):
    model = small(name).eval()
    with torch.autocast("cpu", torch.bfloat16):
        ab = model(pictures())
    assert ab.dtype == torch.float32
    torch.testing.assert_close(ab, model(pictures()), atol=0.1, rtol=0)


@EACH
def test_it_can_be_built_again_copied_and_pickled(name):
    model = GENERATORS[name](32, 4, "instance", 0.1)
    arguments = {"size": 32, "width": 4, "norm": "instance", "dropout": 0.1}
    assert model.arguments == {"generator": name, **arguments}
    assert model.origin == {"arch": "none", "weights": "none", "sha256": None}
    again = GENERATORS[name](**arguments)
    again.load_state_dict(model.state_dict())
    model(pictures()).sum().backward()
    again.load_state_dict(model.state_dict())
    model.eval()
    for each in (again.eval(), copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(each(pictures()), model(pictures()))
    (group,) = splitter(model)
    assert sum(p.numel() for p in group) == model.parameter_counts()["generator"]


@EACH
def test_its_start_is_chosen_by_name(name):
    first = GENERATORS[name](32, 16).downs[1][0].weight
    assert first.std().item() == pytest.approx(0.02, rel=0.1)
    flat = GENERATORS[name](32, 4, init="orthogonal").downs[1][0].weight.flatten(1)
    torch.testing.assert_close(flat @ flat.T, torch.eye(len(flat)), atol=1e-5, rtol=0)


@EACH
def test_samples_differ_by_dropout(name):
    model = small(name, dropout=0.5)
    assert len(found(model, nn.Dropout)) == 2
    with sampling(model), torch.no_grad():
        samples = [model(pictures()) for _ in range(4)]
    assert all((a - b).abs().mean() > 1e-3 for a, b in pairwise(samples))
    assert not found(small(name, dropout=0.0), nn.Dropout)


@EACH
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"size": 24}, "size 24 is not a multiple of 16: choose 16 or 32"),
        ({"size": 8}, "size 8 is too small: at least 16"),
        ({"width": 0}, "width 0 is too small"),
        ({"dropout": 1}, r"dropout 1 is not in \[0, 1\)"),
        ({"norm": "layer"}, "unknown generator norm 'layer'.*batch, instance, none"),
        ({"init": "norml"}, "did you mean 'normal'"),
    ],
)
def test_what_cannot_be_built_is_said_in_one_line(name, options, expected):
    with pytest.raises(UsageError, match=expected) as caught:
        GENERATORS[name](**{"size": 32, "width": 4, **options})
    assert "\n" not in str(caught.value)
