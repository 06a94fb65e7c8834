"""Encoders: their names, their stages, and that folding RGB to grey is exact."""

from copy import deepcopy

import numpy as np
import pytest
import timm
import torch
from tiny_encoders import TIMM, make_classifiers, refused, same_weights
from torch import nn

from colourgan.color import encode
from colourgan.encoders import ENCODERS, build_encoder, up_to_resolution
from colourgan.encoders.architectures import IMAGENET
from colourgan.encoders.stages import flat, reading_lightness, without_closing_expansion
from colourgan.errors import UsageError


@pytest.fixture(scope="module")
def classifiers(tmp_path_factory):
    return make_classifiers(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def resnet20(classifiers):
    return classifiers["resnet20"]


# What a spec means


@pytest.mark.parametrize("name", ENCODERS)
def test_every_encoder_halves_the_picture_three_times_or_more_and_takes_lightness(name):
    stages, origin = build_encoder(f"{name}@none")
    shape = stages.eval()(torch.zeros(1, 1, 32, 32)).shape
    assert shape[0] == 1 and shape[2] == shape[3] == (8 if name in CIFAR else 1)
    assert origin == {"arch": name, "weights": "none", "sha256": None}
    assert not any(isinstance(stage, (nn.Linear, nn.AdaptiveAvgPool2d)) for stage in stages)


CIFAR = ("resnet20", "resnet32", "resnet44", "resnet56")


def test_random_weights_are_random_and_follow_the_seed():
    def weights(seed):
        torch.manual_seed(seed)
        return build_encoder("resnet20@none").stages[3].conv1.weight

    assert torch.equal(weights(1), weights(1)) and not torch.equal(weights(1), weights(2))


def test_without_pretraining_no_weights_are_looked_for(tmp_path):
    for spec in (f"resnet20@{tmp_path}/gone.pt", "resnet20", "resnet20@packaged", f"timm:{TIMM}"):
        stages, origin = build_encoder(spec, pretrained=False)
        assert origin == {"arch": spec.split("@")[0], "weights": "none", "sha256": None}
        assert len(stages) > 5


def test_the_packaged_encoder_is_a_trained_one(resnet20):
    encoder = build_encoder("resnet20@packaged")
    assert encoder.origin["arch"] == "resnet20" and encoder.origin["weights"] == "packaged"
    assert len(encoder.origin["sha256"]) == 64
    assert not same_weights(encoder, resnet20[0])
    # Batch norms of a network that never saw an image have running means of zero.
    assert all(m.running_mean.abs().max() > 0.001 for m in encoder.stages.modules() if is_norm(m))
    assert "resnet18 has no packaged weights: only resnet20" in refused(
        UsageError, "resnet18@packaged"
    )


def is_norm(module):
    return isinstance(module, nn.BatchNorm2d)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("resnet2O", "unknown encoder 'resnet2O': did you mean 'resnet20'?"),
        ("mobilenet@none", "did you mean 'mobilenet_v2'?"),
        ("", "unknown encoder ''"),
        ("resnet20@", "nothing follows the @ of 'resnet20@'"),
        ("resnet20@gone.pt", "no encoder weights at gone.pt"),
        ("resnet20@.", "no encoder weights at ."),
        ("timm:convnext_ato@none", "did you mean 'timm:convnext_atto'?"),
        ("timm:convnext_atto.in99k@none", "choices: convnext_atto.d2_in1k"),
        ("timm:@none", "timm has no backbone ''"),
        ("timm:hf_hub:somebody/model", "timm has no backbone 'hf_hub:somebody/model'"),
        (f"timm:{TIMM}@gone.pt", "no encoder weights at gone.pt"),
    ],
)
def test_wrong_specs(spec, expected):
    assert expected in refused(UsageError, spec)


# timm's backbones


@pytest.mark.parametrize(
    ("name", "widths"),
    [
        ("convnext_atto", [40, 80, 160, 320]),
        ("pvt_v2_b0", [32, 64, 160, 256]),
        ("mobilenetv3_small_050", [16, 8, 16, 24, 48]),
        ("efficientvit_b0", [8, 16, 32, 64, 128]),
    ],
)
def test_timm_backbones_whose_stages_follow_one_another(name, widths):
    stages, origin = build_encoder(f"timm:{name}@none")
    assert origin["arch"] == f"timm:{name}"
    found = {}
    x = torch.zeros(1, 1, 64, 64)
    with torch.no_grad():
        for stage in stages.eval():
            x = stage(x)
            found[x.shape[-1]] = x.shape[1]
    assert list(found.values()) == widths and 64 not in found


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "nf_resnet26", "hrnet_w18_small"])
def test_timm_backbones_that_do_not_fit_say_so(name):
    message = refused(UsageError, f"timm:{name}@none")
    assert message.startswith(f"timm:{name} does not fit as an encoder: ")


def test_a_backbone_that_does_not_fit_is_not_blamed_on_the_network(web, monkeypatch):
    config = timm.get_pretrained_cfg("test_vit")
    config.hf_hub_id, config.url = None, f"{web.address}/gone.pt"
    monkeypatch.setitem(timm.models._registry._model_pretrained_cfgs, "test_vit", config)

    def no_features(*args, **options):
        raise RuntimeError("features_only not implemented")

    monkeypatch.setattr(timm, "create_model", no_features)
    assert "does not fit as an encoder: features_only" in refused(UsageError, "timm:test_vit")


def test_a_closing_convolution_that_only_widens_is_cut():
    body = [nn.Conv2d(3, 8, 3, 2), nn.Conv2d(8, 16, 1), nn.Conv2d(16, 17, 1)]
    expansion = nn.Sequential(nn.Conv2d(17, 40, 1), nn.BatchNorm2d(40))
    assert without_closing_expansion([*body, expansion]) == body
    assert without_closing_expansion(body) == body
    assert without_closing_expansion([*body, nn.Conv2d(17, 40, 1, stride=2)])[-1].out_channels == 40
    assert len(without_closing_expansion([nn.Conv2d(1, 64, 1)])) == 1


# Folding: grey pictures mean to the folded encoder what they meant to the original


def grey_pictures(side):
    """(2, 3, side, side) uint8 with R = G = B: noise, and an edge between black and white."""
    grey = np.random.default_rng(0).integers(0, 256, (2, 1, side, side), np.uint8)
    grey[1, :, :, : side // 2], grey[1, :, :, side // 2 :] = 0, 255
    return torch.from_numpy(grey).expand(-1, 3, -1, -1)


def normalised(rgb, arch):
    mean, std = IMAGENET if arch.startswith("timm:") else ENCODERS[arch]()[-2:]
    column = [torch.tensor(values)[:, None, None] for values in (mean, std)]
    return (rgb / 255 - column[0]) / column[1]


def original_stages(arch, model):
    if not arch.startswith("timm:"):
        return flat(ENCODERS[arch]().stages(model))
    body = timm.create_model(TIMM, features_only=True).eval()
    body.load_state_dict(model.state_dict(), strict=False)
    return flat(body.children())


def without_padding(stages):
    """The first convolution's padding is where folding is not exact, and nowhere else."""
    first = next(m for stage in stages for m in stage.modules() if isinstance(m, nn.Conv2d))
    first.padding = (0, 0)
    return stages


ARCHITECTURES = ["resnet20", "resnet18", "mobilenet_v2", f"timm:{TIMM}"]


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_folding_is_exact_in_the_first_stage_away_from_the_border(arch, classifiers):
    model, path = classifiers[arch]
    rgb = grey_pictures(48)
    with torch.no_grad():
        wanted = original_stages(arch, model)[0](normalised(rgb, arch))
        got = build_encoder(f"{arch}@{path}").stages.eval()[0](encode(rgb)[0])
    inside = (..., slice(2, -2), slice(2, -2))
    assert got.shape == wanted.shape and wanted.std() > 0.1
    torch.testing.assert_close(got[inside], wanted[inside], atol=1e-4, rtol=1e-4)
    assert (got - wanted).abs().max() > 1e-3  # at the border: so the test above sees something


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_folding_is_exact_in_every_stage_where_no_padding_is_read(arch, classifiers):
    model, path = classifiers[arch]
    rgb = grey_pictures(70)
    x, L = normalised(rgb, arch), encode(rgb)[0]
    originals = without_padding(original_stages(arch, deepcopy(model)))
    stages = without_padding(build_encoder(f"{arch}@{path}").stages.eval())
    with torch.no_grad():
        for original, stage in zip(originals, stages, strict=False):
            x, L = original(x), stage(L)
            assert L.shape == x.shape
            torch.testing.assert_close(L, x, atol=2e-3, rtol=2e-3)
    assert len(stages) >= len(originals) - 1 and x.std() > 1e-3


def test_folding_is_exact_inside_a_large_picture(resnet20):
    model, path = resnet20
    rgb = grey_pictures(160)
    with torch.no_grad():
        wanted = nn.Sequential(*original_stages("resnet20", model))(normalised(rgb, "resnet20"))
        got = build_encoder(f"resnet20@{path}").stages.eval()(encode(rgb)[0])
    inside = (..., slice(12, -12), slice(12, -12))  # a feature sees 81 pixels
    torch.testing.assert_close(got[inside], wanted[inside], atol=1e-3, rtol=1e-3)


def test_mean_grey_is_zero_to_the_first_convolution():
    """So zero padding stands for mean grey, as it did when the encoder was trained."""
    mean = sum(ENCODERS["resnet20"]().mean) / 3
    rgb = torch.full((1, 3, 8, 8), mean)
    grey_input = build_encoder("resnet20@none").stages[0][0]
    assert grey_input(encode(rgb)[0]).abs().max() < 1e-5
    assert grey_input(encode(rgb)[0].double()).dtype == torch.float64


class Standardised(nn.Conv2d):
    def forward(self, x):
        weight = self.weight / self.weight.std((1, 2, 3), keepdim=True)
        return nn.functional.conv2d(x, weight, self.bias)


@pytest.mark.parametrize(
    "first", [Standardised(3, 4, 3), nn.Conv2d(1, 4, 3), nn.Conv2d(3, 6, 3, groups=3)]
)
def test_a_first_layer_that_cannot_be_folded_is_refused(first):
    with pytest.raises(UsageError, match=r"strange does not fit .* cannot read one channel"):
        reading_lightness([first], *IMAGENET, "strange")


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_replicated_lightness_is_what_the_original_reads_up_to_the_border(arch, classifiers):
    model, path = classifiers[arch]
    rgb = grey_pictures(48)
    with torch.no_grad():
        wanted = original_stages(arch, model)[0](normalised(rgb, arch))
        stages = build_encoder(f"{arch}@{path}", lightness="replicated").stages.eval()
        got = stages[0](encode(rgb)[0])
    torch.testing.assert_close(got, wanted, atol=1e-4, rtol=1e-4)


def test_summed_kernels_read_network_units_without_normalisation(resnet20):
    model, path = resnet20
    L = encode(grey_pictures(24))[0]
    with torch.no_grad():
        wanted = model.conv1(L.expand(-1, 3, -1, -1))
        got = build_encoder(f"resnet20@{path}", lightness="summed").stages[0](L)
    torch.testing.assert_close(got, wanted)


def test_an_unknown_way_to_read_lightness_names_the_others():
    with pytest.raises(UsageError, match="folded, summed, replicated"):
        build_encoder("resnet20@none", lightness="averaged")


@pytest.mark.parametrize("count, widths", [(2, [16, 24]), (3, [16, 24, 32]), (5, None)])
def test_the_first_resolutions_of_an_encoder_alone(count, widths):
    stages = build_encoder("mobilenet_v2@none").stages
    x, seen = torch.zeros(1, 1, 64, 64), {}
    for stage in up_to_resolution(stages, count, 64, "mobilenet_v2"):
        x = stage(x)
        seen[x.shape[-1]] = x.shape[1]
    assert list(seen) == [32, 16, 8, 4, 2][:count]
    assert widths is None or list(seen.values()) == widths


@pytest.mark.parametrize("count", [0, 1, 6])
def test_stages_that_an_encoder_does_not_have(count):
    stages = build_encoder("mobilenet_v2@none").stages
    with pytest.raises(UsageError, match=f"has 5 stages at 64×64: use 2 to 5, not {count}"):
        up_to_resolution(stages, count, 64, "mobilenet_v2")
