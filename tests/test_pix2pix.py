"""The U-Net of pix2pix: down to one pixel and back, and the noise of its dropout."""

import copy
import pickle
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from colourgan.color import AB_RANGE
from colourgan.errors import UsageError
from colourgan.generators import GENERATORS, dynamic_unet, pix2pix_unet, sampling, splitter

SIZES = [16, 32, 64, 128, 256]
NORMS = {"batch": nn.BatchNorm2d, "instance": nn.InstanceNorm2d, "none": ()}


def pictures(height=16, width=16, count=2):
    random = torch.Generator().manual_seed(4)
    return torch.rand(count, 1, height, width, generator=random) * 2 - 1


def small(size=16, **options):
    """Lively weights: those of pix2pix's own start predict next to nothing but grey."""
    torch.manual_seed(0)
    return pix2pix_unet(size, 4, **{"init": "kaiming", **options})


def found(model, kind):
    return [module for module in model.modules() if isinstance(module, kind)]


# Shape


@pytest.mark.parametrize("size", SIZES)
def test_every_power_of_two_is_halved_down_to_one_pixel_and_back(size):
    model, seen = small(size, norm="none", dropout=0.0), []
    for part in (*model.downs, *model.ups):
        part.register_forward_hook(lambda part, x, y: seen.append(y.shape[-1]))
    L = pictures(size, size, 1).requires_grad_()
    ab = model(L)
    down = [size // 2**i for i in range(1, len(model.downs) + 1)]
    assert seen == [*down, *down[-2::-1], size] and down[-1] == 1
    assert ab.shape == (1, 2, size, size) and ab.dtype == torch.float32
    ab[0, 0, 0, 0].backward()  # each pixel's color depends on the whole picture
    assert (L.grad[0, 0, -1, -1] != 0) and (L.grad[0, 0] != 0).float().mean() > 0.9


def test_at_256_pixels_its_layers_are_the_published_ones():
    with torch.device("meta"):
        model = pix2pix_unet(256, init="default")
    downs, ups = found(model, nn.Conv2d), found(model, nn.ConvTranspose2d)
    assert [c.out_channels for c in downs] == [64, 128, 256, 512, 512, 512, 512, 512]
    assert [c.in_channels for c in ups] == [512, 1024, 1024, 1024, 1024, 512, 256, 128]
    assert [c.out_channels for c in ups] == [512, 512, 512, 512, 256, 128, 64, 2]
    assert {(c.kernel_size, c.stride) for c in downs + ups} == {((4, 4), (2, 2))}
    normed = [any(found(part, nn.BatchNorm2d)) for part in (*model.downs, *model.ups)]
    assert normed == [False, *[True] * 6, False, *[True] * 7, False]
    assert [any(found(part, nn.Dropout)) for part in model.ups] == [True] * 3 + [False] * 5
    slopes = {leaky.negative_slope for leaky in found(model.downs, nn.LeakyReLU)}
    assert slopes == {0.2} and len(found(model.ups, nn.ReLU)) == 8
    assert not found(model.downs[0], nn.LeakyReLU)
    assert model.parameter_counts() == {"generator": 54_410_434}


def test_each_step_back_is_joined_with_its_counterpart():
    model = small(32, norm="none", dropout=0.0)

    def joined(i, x):
        """From layer i down to the bottom and back up to it."""
        down, up = model.downs[i], model.ups[-1 - i]
        y = down(x)
        if i + 1 < len(model.downs):
            y = torch.cat([joined(i + 1, y), y], dim=1)
        return up(y)

    L = pictures(32, 32)
    torch.testing.assert_close(model(L), model.bound(joined(0, L)))


@pytest.mark.parametrize(("size", "count"), [(16, 1), (32, 2), (64, 3), (128, 3)])
def test_dropout_is_next_to_the_bottleneck(size, count):
    model = small(size, dropout=0.3)
    assert [len(found(up, nn.Dropout)) for up in model.ups[:count]] == [1] * count
    assert [dropout.p for dropout in found(model, nn.Dropout)] == [0.3] * count
    assert not found(small(size, dropout=0), nn.Dropout)


@pytest.mark.parametrize(("size", "count"), [(16, 1), (32, 2), (64, 3), (256, 3)])
def test_dropout_can_spare_the_innermost_block(size, count):
    with torch.device("meta"):
        model = pix2pix_unet(size, 4, init="default", innermost_dropout=False)
    noisy = [len(found(up, nn.Dropout)) for up in model.ups]
    assert noisy == [0, *[1] * count, *[0] * (len(model.ups) - count - 1)]


def test_a_file_says_where_dropout_is_only_if_it_is_not_as_it_always_was():
    assert "innermost_dropout" not in small().arguments
    model = small(innermost_dropout=False)
    assert model.arguments["innermost_dropout"] is False
    arguments = dict(model.arguments)
    again = GENERATORS[arguments.pop("generator")](**arguments)
    assert not found(again.ups[0], nn.Dropout) and found(again.ups[1], nn.Dropout)


@pytest.mark.parametrize("norm", NORMS)
def test_one_image_is_enough_to_train_every_parameter(norm):
    model = small(norm=norm, dropout=0.0)
    assert model.training
    model(pictures(count=1)).abs().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    layers = found(model, (nn.BatchNorm2d, nn.InstanceNorm2d))
    assert len(layers) == (0 if norm == "none" else 5)
    assert all(isinstance(layer, NORMS[norm]) for layer in layers)


@pytest.mark.parametrize("size", [(1, 1), (16, 22), (37, 51), (8, 100)])
def test_other_sizes_are_extended_and_cut(size):
    model, L = small().eval(), pictures(*size)
    height, width = (-n % 16 for n in size)
    padded = np.pad(L.numpy(), [(0, 0), (0, 0), (0, height), (0, width)], mode="edge")
    with torch.no_grad():
        ab = model(L)
        wanted = model(torch.from_numpy(padded))[:, :, : size[0], : size[1]]
    assert ab.shape == (2, 2, *size)
    torch.testing.assert_close(ab, wanted)


# What comes out


def test_colors_stay_within_srgb():
    model = small()
    with torch.no_grad():
        model.ups[-1][1].weight.mul_(1000)
        ab = model(pictures())
    low, high = torch.tensor(AB_RANGE).view(2, 2, 1, 1)
    assert (ab >= low - 1e-6).all() and (ab <= high + 1e-6).all() and ab.abs().max() > 0.8


def test_backward_it_makes_lightness_of_colors():
    model = small(in_channels=2, out_channels=1)
    with torch.no_grad():
        model.ups[-1][1].weight.mul_(1000)
        L = model(torch.rand(2, 2, 16, 16) - 0.5)
    assert L.shape == (2, 1, 16, 16) and 0.9 < L.abs().max() <= 1 and L.min() < 0 < L.max()


def test_autocast_gives_float32_of_the_same_colors():
    model = small().eval()
    with torch.autocast("cpu", torch.bfloat16):
        ab = model(pictures())
    assert ab.dtype == torch.float32
    torch.testing.assert_close(ab, model(pictures()), atol=0.05, rtol=0)


def test_it_keeps_channels_last():
    model = small().to(memory_format=torch.channels_last)
    ab = model(pictures().to(memory_format=torch.channels_last))
    assert ab.is_contiguous(memory_format=torch.channels_last)


# Building


def test_it_can_be_chosen_by_name_and_built_again():
    model = GENERATORS["pix2pix_unet"](32, 4, "instance", 0.2)
    arguments = {"size": 32, "width": 4, "norm": "instance", "dropout": 0.2}
    assert model.arguments == {"generator": "pix2pix_unet", **arguments}
    assert model.origin == {"arch": "none", "weights": "none", "sha256": None}
    again = pix2pix_unet(**arguments)
    again.load_state_dict(model.state_dict())
    assert torch.equal(again.eval()(pictures()), model.eval()(pictures()))


def test_its_start_is_chosen_by_name():
    first = pix2pix_unet(16, 8).downs[-1][1]
    assert first.weight.std().item() == pytest.approx(0.02, rel=0.1) and not first.bias.any()
    ups = pix2pix_unet(16, 8, init="orthogonal").ups[0][1].weight.flatten(1)
    torch.testing.assert_close(ups @ ups.T, torch.eye(len(ups)), atol=1e-5, rtol=0)


def test_after_training_it_can_be_copied_and_pickled():
    model = small()
    model(pictures()).sum().backward()
    model.eval()
    for again in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(again(pictures()), model(pictures()))
        assert not {id(p) for p in again.parameters()} & {id(p) for p in model.parameters()}


def test_without_encoder_there_is_one_group_of_parameters():
    model = small()
    (group,) = splitter(model)
    assert [id(p) for p in group] == [id(p) for p in model.parameters()]
    assert sum(p.numel() for p in group) == model.parameter_counts()["generator"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"size": 96}, "down to 1×1 cannot halve 96 that often: choose 64 or 128"),
        ({"size": 17}, "cannot halve 17 that often: choose 16 or 32"),
        ({"size": 8}, "size 8 is too small: at least 16"),
        ({"size": 0}, "size 0 is too small"),
        ({"width": 0}, "width 0 is too small"),
        ({"dropout": 1}, r"dropout 1 is not in \[0, 1\)"),
        ({"dropout": -0.1}, "dropout -0.1 is not in"),
        ({"norm": "spectral"}, "unknown generator norm 'spectral'.*batch, instance, none"),
        ({"norm": "layer"}, "choices: batch, instance, none"),
        ({"init": "norml"}, "did you mean 'normal'"),
    ],
)
def test_what_cannot_be_built_is_said_in_one_line(options, expected):
    with pytest.raises(UsageError, match=expected) as caught:
        pix2pix_unet(**{"size": 16, "width": 4, **options})
    assert "\n" not in str(caught.value)


# Sampling


def test_without_sampling_evaluation_is_always_the_same():
    model = small().eval()
    assert torch.equal(model(pictures()), model(pictures()))


def test_samples_differ_by_dropout_alone():
    model, L = small(), pictures()
    model(L)
    before = copy.deepcopy(model.state_dict())
    with sampling(model) as sampled, torch.no_grad():
        assert sampled is model
        samples = [model(L) for _ in range(4)]
        assert [m for m in model.modules() if m.training] == found(model, nn.Dropout)
    assert all((a - b).abs().mean() > 1e-3 for a, b in pairwise(samples))
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


@pytest.mark.parametrize("ends", ["well", "with an error"])
def test_after_sampling_every_module_is_in_the_mode_it_was_in(ends):
    model = small().train()
    model.downs[1].eval()
    before = [module.training for module in model.modules()]
    try:
        with sampling(model):
            assert [module.training for module in model.modules()] != before
            if ends == "with an error":
                raise KeyError
    except KeyError:
        pass
    assert [module.training for module in model.modules()] == before


def test_nothing_is_sampled_from_a_generator_without_dropout():
    for model in (small(dropout=0), dynamic_unet("resnet20@none", 16)):
        with pytest.raises(UsageError, match="has no dropout, so all its samples are alike"):
            sampling(model).__enter__()
        assert model.training
