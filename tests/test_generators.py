"""Generators: equal to fastai's DynamicUnet, without its hooks and its limits."""

import copy
import pickle

import pytest
import torch
from fastai.layers import SelfAttention
from fastai.vision.models.unet import DynamicUnet
from torch import nn

from colourgan.color import AB_RANGE
from colourgan.encoders import ENCODERS, build_encoder
from colourgan.errors import UsageError
from colourgan.generators import GENERATORS, BoundedAb, dynamic_unet, splitter
from colourgan.models import load_model, save_model


def pictures(height=32, width=32, count=2):
    return torch.rand(count, 1, height, width, generator=torch.Generator().manual_seed(4)) * 2 - 1


@pytest.fixture(scope="module")
def resnet20():
    torch.manual_seed(0)
    return dynamic_unet("resnet20@none", 32).eval()


@pytest.fixture(scope="module")
def backbone():
    """A timm encoder that joins four resolutions."""
    torch.manual_seed(0)
    return dynamic_unet("timm:mobilenetv3_small_050@none", 32).eval()


def test_it_can_be_chosen_by_name():
    assert GENERATORS["dynamic_unet"] is dynamic_unet


@pytest.mark.parametrize("name", ENCODERS)
def test_every_encoder_makes_a_generator_for_32_pixels(name, monkeypatch):
    # Random numbers for resnet50's 339 M parameters take seconds; shapes need none.
    for draw in ("normal_", "uniform_", "trunc_normal_"):
        monkeypatch.setattr(torch.Tensor, draw, lambda self, *a, **k: self.zero_(), raising=False)
    generator = dynamic_unet(f"{name}@none", 32).eval()
    with torch.no_grad():
        assert generator(pictures(count=1)).shape == (1, 2, 32, 32)
    assert generator.arguments["encoder"] == name and generator.origin["weights"] == "none"


@pytest.mark.parametrize(
    ("encoder", "size", "options"),
    [
        ("resnet20", 32, {}),
        ("mobilenet_v2", 32, {"blur": True}),
        ("timm:convnext_atto", 32, {}),
        ("timm:pvt_v2_b0", 32, {}),
        ("timm:mobilenetv3_small_050", 48, {"self_attention": True, "blur": True}),
    ],
)
def test_it_computes_what_fastais_dynamic_unet_computes(encoder, size, options):
    torch.manual_seed(0)
    own = dynamic_unet(f"{encoder}@none", size, **options)
    torch.manual_seed(0)
    stages = build_encoder(f"{encoder}@none").stages
    theirs = nn.Sequential(DynamicUnet(stages, 2, (size, size), **options), BoundedAb())
    for training in (False, True):
        own.train(training), theirs.train(training)
        for L in (pictures(size, size), pictures(37, 51)):
            torch.manual_seed(1)  # of stochastic depth
            got = own(L)
            torch.manual_seed(1)
            torch.testing.assert_close(got, theirs(L), atol=1e-6, rtol=0)


def test_parameters_are_as_many_as_measured():
    counts = dynamic_unet("mobilenet_v2@none", 32).parameter_counts()
    assert round(counts["encoder"] / 1e6, 2) == 1.81
    assert round(sum(counts.values()) / 1e6, 2) == 7.80


def test_the_encoder_is_the_one_that_was_asked_for(resnet20):
    torch.manual_seed(0)
    wanted = build_encoder("resnet20@none").stages.state_dict()
    own = resnet20.encoder.state_dict()
    assert own.keys() == wanted.keys() and all(torch.equal(own[k], wanted[k]) for k in own)
    assert resnet20.origin == {"arch": "resnet20", "weights": "none", "sha256": None}


def test_a_new_generator_trains():
    generator = dynamic_unet("resnet20@none", 32)
    assert all(module.training for module in generator.modules())
    generator(pictures()).abs().mean().backward()
    assert all(p.grad is not None for p in generator.parameters())


@pytest.mark.parametrize("size", [(16, 16), (37, 51), (301, 401), (32, 200)])
def test_pictures_of_any_size(resnet20, backbone, size):
    for generator in (resnet20, backbone):
        with torch.no_grad():
            ab = generator(pictures(*size, count=1))
        assert ab.shape == (1, 2, *size) and ab.dtype == torch.float32 and ab.std() > 0


def within_srgb(ab, tolerance=0.0):
    (a_low, b_low), (a_high, b_high) = AB_RANGE
    limits = ((a_low, a_high), (b_low, b_high))
    return all(
        low - tolerance <= channel.min() and channel.max() <= high + tolerance
        for channel, (low, high) in zip(ab.unbind(1), limits, strict=True)
    )


def test_colors_stay_within_srgb(resnet20):
    wild = copy.deepcopy(resnet20)
    with torch.no_grad():
        wild.head[0].weight.mul_(1000)
        ab = wild(pictures())
    assert within_srgb(ab, 1e-6) and ab.abs().max() > 0.8


def test_the_bound_is_smooth_with_slope_one_at_grey():
    bound = BoundedAb()
    small = torch.linspace(-0.01, 0.01, 5).view(1, 1, 1, -1).expand(1, 2, 1, -1)
    torch.testing.assert_close(bound(small), small, atol=1e-5, rtol=0)
    extreme = torch.tensor([-1e4, 1e4]).view(1, 1, 1, 2).expand(1, 2, 1, 2)
    torch.testing.assert_close(bound(extreme)[0, :, 0].T, torch.tensor(AB_RANGE))
    x = torch.zeros(1, 2, 1, 1, requires_grad=True)
    bound(x).sum().backward()
    torch.testing.assert_close(x.grad, torch.ones_like(x))


def test_limits_follow_the_model_to_its_device_and_type(resnet20):
    model = copy.deepcopy(resnet20)
    assert model.bound.to("meta").low.device.type == model.bound.high.device.type == "meta"
    assert not any("bound" in name for name in model.state_dict())
    model = copy.deepcopy(resnet20).double()
    assert model.bound.low.dtype == torch.float64
    torch.testing.assert_close(model(pictures().double()).float(), resnet20(pictures()))
    half = copy.deepcopy(resnet20).bfloat16()(pictures().bfloat16())
    assert half.dtype == torch.float32 and within_srgb(half, 0.01)


def test_autocast_gives_float32(resnet20):
    with torch.autocast("cpu", torch.bfloat16):
        ab = resnet20(pictures())
    assert ab.dtype == torch.float32
    torch.testing.assert_close(ab, resnet20(pictures()), atol=0.05, rtol=0)


@pytest.mark.parametrize(
    ("encoder", "options"),
    [
        ("resnet20", {}),
        ("resnet20", {"self_attention": True, "blur": True, "decoder_width": 0.5}),
        ("timm:mobilenetv3_small_050", {}),
    ],
)
def test_after_training_it_can_be_copied_and_pickled_without_activations(encoder, options):
    generator = dynamic_unet(f"{encoder}@none", 32, **options)
    fresh = len(pickle.dumps(generator))
    generator(pictures(64, 64)).sum().backward()
    generator.zero_grad()
    assert len(pickle.dumps(generator)) < fresh + 2000
    generator.eval()
    for again in (copy.deepcopy(generator), pickle.loads(pickle.dumps(generator))):
        assert torch.equal(again(pictures()), generator(pictures()))
        assert not {id(p) for p in again.parameters()} & {id(p) for p in generator.parameters()}
    assert not any(module._forward_hooks for module in generator.modules())


# Options


def attentions(generator):
    return [module for module in generator.modules() if isinstance(module, SelfAttention)]


@pytest.mark.parametrize("encoder", ["resnet20", "mobilenet_v2"])
@pytest.mark.parametrize("width", [1.0, 0.5])
def test_half_resolution_leaves_out_the_layers_at_full_resolution(encoder, width, tmp_path):
    """resnet20 begins at full resolution, mobilenet_v2 with a stride."""
    whole = dynamic_unet(f"{encoder}@none", 32, decoder_width=width)
    half = dynamic_unet(f"{encoder}@none", 32, decoder_width=width, half_resolution=True).eval()
    sides = []
    for module in half.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda layer, x, y: sides.append(y.shape[-1]))
    with torch.no_grad():
        ab = half(pictures(32, 32))
        decoder = sides[-3:]
        assert half(pictures(37, 51)).shape[2:] == (37, 51)
    assert ab.shape[2:] == (32, 32) and decoder == [16, 16, 16]
    counts = half.parameter_counts(), whole.parameter_counts()
    assert counts[0]["encoder"] == counts[1]["encoder"]
    assert counts[0]["decoder"] < counts[1]["decoder"]
    # Between the pixels of the small map colors are interpolated.
    small = nn.functional.interpolate(ab, scale_factor=0.5, mode="bilinear")
    again = nn.functional.interpolate(small, scale_factor=2, mode="bilinear")
    assert (again - ab).abs().mean() < 0.2 * ab.std()
    save_model(half, tmp_path / "model.safetensors")
    with torch.no_grad():
        assert torch.equal(load_model(tmp_path / "model.safetensors")(pictures()), half(pictures()))


def test_half_resolution_needs_two_resolutions():
    with pytest.raises(UsageError, match="half resolution needs"):
        dynamic_unet("resnet20@none", 32, encoder_stages=2, half_resolution=True)


@pytest.mark.parametrize("encoder", ["resnet20", "timm:mobilenetv3_small_050"])
@pytest.mark.parametrize("width", [1.0, 0.5])
def test_self_attention_is_there_and_does_something(encoder, width):
    def build(wanted):
        return dynamic_unet(
            f"{encoder}@none", 32, self_attention=wanted, blur=wanted, decoder_width=width
        ).eval()

    generator = build(True)
    assert len(attentions(generator)) == 1 and not attentions(build(False))
    before = generator(pictures())
    with torch.no_grad():
        attentions(generator)[0].gamma.fill_(2.0)  # fastai starts with 0
    assert not torch.equal(generator(pictures()), before)


@pytest.mark.parametrize("width", [1.0, 0.5])
def test_blur_follows_every_enlargement(width):
    def blurs(wanted):
        generator = dynamic_unet("resnet20@none", 32, blur=wanted, decoder_width=width)
        return [any(isinstance(m, nn.AvgPool2d) for m in block.shuf) for block in generator.blocks]

    assert blurs(True) == [True, True] and blurs(False) == [False, False]


@pytest.mark.parametrize("encoder", ["resnet20", "timm:mobilenetv3_small_050"])
def test_decoder_width_scales_the_decoder_alone(encoder):
    by_width = {}
    for width in (0.1, 0.5, 1.0, 2.0):
        generator = dynamic_unet(f"{encoder}@none", 32, decoder_width=width)
        by_width[width] = generator.parameter_counts()
        assert generator.eval()(pictures(37, 51)).shape == (2, 2, 37, 51)
        last = generator.blocks[-1].conv2[0].out_channels
        assert generator.head[0].in_channels == last + 1
    decoders = [counts["decoder"] for counts in by_width.values()]
    assert decoders == sorted(set(decoders))
    assert len({counts["encoder"] for counts in by_width.values()}) == 1


def test_decoders_of_one_width_are_alike_whatever_the_encoder():
    counts = {}
    for encoder in ("resnet20@none", "mobilenet_v2@none"):
        generator = dynamic_unet(encoder, 32, blur=True, decoder_channels=12).eval()
        assert [block.conv2[0].out_channels for block in generator.blocks] == [12] * len(
            generator.blocks
        )
        assert [layer[0].out_channels for layer in generator.middle[-1]] == [12, 12]
        assert generator(pictures(37, 51)).shape == (2, 2, 37, 51)
        counts[encoder] = generator.parameter_counts()["decoder"]
    wide = dynamic_unet("mobilenet_v2@none", 32).parameter_counts()["decoder"]
    assert max(counts.values()) < 8 * min(counts.values()) < wide


def test_fewer_stages_make_a_smaller_generator_of_the_same_kind():
    sizes = {}
    for stages in (2, 3, None):
        generator = dynamic_unet("resnet20@none", 32, encoder_stages=stages).eval()
        assert generator(pictures(37, 51)).shape == (2, 2, 37, 51)
        sizes[stages] = len(generator.blocks), generator.parameter_counts()["encoder"]
    assert sizes[3] == sizes[None] and sizes[2][0] == 1 and sizes[2][1] < sizes[3][1]


@pytest.mark.parametrize("lightness", ["folded", "summed", "replicated"])
def test_a_saved_model_reads_lightness_as_it_was_trained_to(lightness, tmp_path):
    options = {"encoder_stages": 2, "lightness": lightness}
    generator = dynamic_unet("resnet20@packaged", 16, **options).eval()
    save_model(generator, tmp_path / "model.safetensors")
    with torch.no_grad():
        loaded = load_model(tmp_path / "model.safetensors")
        assert torch.equal(loaded(pictures(16, 16)), generator(pictures(16, 16)))


def test_arguments_are_all_that_a_model_file_needs():
    options = {
        "self_attention": True,
        "blur": True,
        "decoder_width": 0.5,
        "decoder_channels": None,
        "encoder_stages": 3,
        "lightness": "replicated",
        "bins": True,
        "half_resolution": True,
    }
    generator = dynamic_unet("resnet20@none", 48, **options)
    assert generator.arguments == {
        "generator": "dynamic_unet",
        "encoder": "resnet20",
        "size": 48,
        **options,
    }


def test_groups_hold_every_parameter_once_the_encoder_first(resnet20):
    encoder, decoder = splitter(resnet20)
    assert [id(p) for p in encoder] == [id(p) for p in resnet20.encoder.parameters()]
    held = [id(p) for p in encoder + decoder]
    assert sorted(held) == sorted({id(p) for p in resnet20.parameters()})
    counts = resnet20.parameter_counts()
    assert sum(p.numel() for p in encoder) == counts["encoder"]
    assert sum(p.numel() for p in decoder) == counts["decoder"]


@pytest.mark.parametrize(
    ("encoder", "size", "options", "expected"),
    [
        ("resnet20", 15, {}, "size 15 is too small: at least 16"),
        ("resnet20", -1, {}, "size -1 is too small"),
        ("resnet20", 32, {"decoder_width": 0}, "decoder width 0 is not between"),
        ("resnet20", 32, {"decoder_width": 5}, "decoder width 5 is not between"),
        ("resnet20", 32, {"decoder_channels": 2}, "decoder channels 2: give 4 to 1024"),
        ("resnet20", 32, {"decoder_channels": 8, "decoder_width": 2}, "no decoder width besides"),
        ("resnet20", 32, {"encoder_stages": 4}, "resnet20 has 3 stages at 32×32: use 2 to 3"),
        ("resnet20", 32, {"lightness": "mean"}, "folded, summed, replicated"),
        ("timm:convnext_atto", 16, {}, "encoder timm:convnext_atto cannot take 16×16 images"),
        ("resnet2", 32, {}, "did you mean 'resnet20'"),
    ],
)
def test_what_cannot_be_built_is_said_in_one_line(encoder, size, options, expected):
    with pytest.raises(UsageError, match=expected) as caught:
        dynamic_unet(f"{encoder}@none", size, **options)
    assert "\n" not in str(caught.value)
