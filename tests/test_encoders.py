"""Encoders: their names, where their weights come from, and that folding RGB to grey is exact."""

import hashlib
import io
import json
import pickle
from copy import deepcopy

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from colourgan.color import encode
from colourgan.encoders import ENCODERS, build_encoder, load_classifier, read_weights, save_weights
from colourgan.encoders.architectures import IMAGENET
from colourgan.encoders.stages import flat, reading_lightness, without_closing_expansion
from colourgan.errors import RunError, UsageError

TIMM = "mobilenetv3_small_050"


def lively(model):
    """A network whose batch norms do something: fresh ones multiply by 1 and add 0."""
    random = torch.Generator().manual_seed(3)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.running_mean, module.bias.data):
                tensor.copy_(torch.randn(tensor.shape, generator=random) * 0.1)
            for tensor in (module.running_var, module.weight.data):
                tensor.copy_(torch.rand(tensor.shape, generator=random) + 0.5)
    return model.eval()


@pytest.fixture(scope="module")
def classifiers(tmp_path_factory):
    """name → a whole network and a file of its weights; of random ones, so nothing is downloaded."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    found = {}
    for name in ("resnet20", "resnet18", "mobilenet_v2"):
        found[name] = lively(ENCODERS[name]().build(10)), folder / f"{name}.pt"
    found[f"timm:{TIMM}"] = lively(timm.create_model(TIMM)), folder / f"{TIMM}.pt"
    for model, path in found.values():
        torch.save(model.state_dict(), path)
    return found


@pytest.fixture(scope="module")
def resnet20(classifiers):
    return classifiers["resnet20"]


def one_line(caught):
    message = str(caught.value)
    assert "\n" not in message and len(message) < 500
    return message


def refused(error, spec):
    with pytest.raises(error) as caught:
        build_encoder(spec)
    return one_line(caught)


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


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


def same_weights(encoder, classifier):
    """Whether all stages but the folded first one hold the classifier's tensors."""
    own = list(encoder.stages[1:].state_dict().values())
    wanted = list(classifier[1:6].state_dict().values())
    return len(own) == len(wanted) and all(map(torch.equal, own, wanted))


@pytest.mark.parametrize("ending", [".pt", ".pth", ".safetensors"])
def test_weights_of_a_file_are_loaded(resnet20, tmp_path, ending, monkeypatch):
    model, _ = resnet20
    path = tmp_path / f"mine@home{ending}"
    if ending == ".safetensors":
        save_file(model.state_dict(), path)
    else:
        torch.save(model.state_dict(), path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for spec in (f"resnet20@{path}", f"resnet20@~/{path.name}"):
        encoder = build_encoder(spec)
        assert same_weights(encoder, model)
        assert encoder.origin == {"arch": "resnet20", "weights": path.name, "sha256": sha256(path)}


def test_a_body_without_a_classifier_will_do(resnet20, tmp_path):
    model, _ = resnet20
    body = {name: value for name, value in model.state_dict().items() if not name.startswith("fc")}
    save_file(body, tmp_path / "body.safetensors")
    assert same_weights(build_encoder(f"resnet20@{tmp_path / 'body.safetensors'}"), model)


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
    assert all(m.running_mean.abs().max() > 0.01 for m in encoder.stages if is_norm(m))
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


# Files that hold something else


class Evil:
    def __reduce__(self):
        return print, ("code of a pickle was run",)


def write_bad(name, path):
    if name == "text":
        path.write_text("<html>404</html>")
    elif name == "empty":
        path.write_bytes(b"")
    elif name == "code":
        path.write_bytes(pickle.dumps(Evil()))
    elif name == "code in torch's format":
        torch.save({"conv1.weight": Evil()}, path)
    elif name == "no dict":
        torch.save(torch.zeros(3), path)
    elif name == "empty dict":
        torch.save({}, path)
    elif name == "numbers as names":
        torch.save({1: torch.zeros(3)}, path)
    elif name == "nested":
        torch.save({"state_dict": {"conv1.weight": torch.zeros(3)}, "epoch": 3}, path)
    elif name == "whole network":
        torch.save(nn.Linear(2, 2), path)
    else:
        raise AssertionError(name)


BAD = [
    "text",
    "empty",
    "code",
    "code in torch's format",
    "no dict",
    "empty dict",
    "numbers as names",
    "nested",
    "whole network",
]


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("arch", ["resnet20", f"timm:{TIMM}"])
def test_a_file_that_is_no_state_dict_is_refused_and_runs_nothing(arch, name, tmp_path, capfd):
    path = tmp_path / "weights.pt"
    write_bad(name, path)
    assert str(path) in refused(RunError, f"{arch}@{path}")
    assert "code of a pickle" not in "".join(capfd.readouterr())


@pytest.mark.parametrize("ending", [".pt", ".safetensors"])
def test_a_file_cut_short_is_refused(resnet20, tmp_path, ending):
    path = tmp_path / f"whole{ending}"
    if ending == ".pt":
        torch.save(resnet20[0].state_dict(), path)
    else:
        save_file(resnet20[0].state_dict(), path)
    path.write_bytes(path.read_bytes()[:-1000])
    assert f"cannot read the weights in {path}" in refused(RunError, f"resnet20@{path}")


def test_weights_of_another_architecture_are_refused(classifiers):
    _, theirs = classifiers["resnet18"]
    for arch in ("resnet20", "resnet32", "mobilenet_v2"):
        message = refused(RunError, f"{arch}@{theirs}")
        assert f"the weights in {theirs} are not those of {arch}" in message
    message = refused(RunError, f"timm:{TIMM}@{theirs}")
    assert f"{theirs} holds no weights of timm:{TIMM}" in message
    _, of_timm = classifiers[f"timm:{TIMM}"]
    refused(RunError, f"resnet18@{of_timm}")
    refused(RunError, f"timm:convnext_atto@{of_timm}")


def test_weights_that_lack_one_tensor_are_refused(classifiers, tmp_path):
    for arch, lost in (("resnet20", "layer2.1.conv2.weight"), (f"timm:{TIMM}", "blocks.2.0.conv_")):
        state = classifiers[arch][0].state_dict()
        gone = next(name for name in state if name.startswith(lost))
        del state[gone]
        save_file(state, tmp_path / "some.safetensors")
        message = refused(RunError, f"{arch}@{tmp_path}/some.safetensors")
        assert gone.split(".")[-2] in message


# Published weights, from a server of our own


@pytest.fixture
def published(web, monkeypatch, tmp_path, resnet20):
    """Makes resnet20's published weights come from `web`; returns their name, bytes and target."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    buffer = io.BytesIO()
    torch.save(resnet20[0].state_dict(), buffer)
    body = buffer.getvalue()
    name = f"cifar10_resnet20-{hashlib.sha256(body).hexdigest()[:8]}.pt"
    real = ENCODERS["resnet20"]()
    architecture = real._replace(url=f"{web.address}/{name}")
    monkeypatch.setitem(ENCODERS, "resnet20", lambda: architecture)
    return name, body, tmp_path / "torch" / "hub" / "checkpoints" / name


def test_published_weights_are_downloaded_once_and_loaded(web, published, resnet20):
    name, body, target = published
    web.add(name, body)
    for _ in range(2):
        encoder = build_encoder("resnet20")
        assert same_weights(encoder, resnet20[0])
    assert web.requests == [name] and target.read_bytes() == body
    origin = {"arch": "resnet20", "weights": "published", "sha256": sha256(target)}
    assert encoder.origin == origin


@pytest.mark.parametrize("failure", ["wrong hash", "404", "no server", "cut off"])
def test_published_weights_that_cannot_be_had_name_the_alternatives(web, published, failure):
    name, body, target = published
    if failure == "wrong hash":
        web.add(name, body + b"x")
    elif failure == "cut off":
        web.add(name, body[:-50], length=len(body))
    elif failure == "no server":
        web.stop()
    with pytest.raises(RunError) as caught:
        build_encoder("resnet20")
    message = str(caught.value)
    assert "\n" not in message
    for part in (f"{web.address}/{name}", str(target), "resnet20@FILE", "@packaged", "@none"):
        assert part in message
    assert not target.exists() and not list(target.parent.iterdir())


def test_a_wrong_file_where_the_published_weights_belong_is_not_used(web, published):
    name, body, target = published
    target.parent.mkdir(parents=True)
    target.write_bytes(b"something else")
    web.add(name, body)
    with pytest.raises(RunError, match=rf"{target} is not the file of .*delete it.*resnet20@none"):
        build_encoder("resnet20")


def test_every_published_file_has_an_address_that_holds_its_hash():
    for name in ENCODERS:
        url = ENCODERS[name]().url
        digits = url.rsplit("-", 1)[1].split(".")[0]
        assert url.startswith("https://") and name in url
        assert len(digits) == 8 and int(digits, 16)


@pytest.fixture
def timm_published(web, monkeypatch, tmp_path, classifiers):
    """Makes timm's weights of TIMM come from `web`; returns their name, as timm knows no hash."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    config = timm.get_pretrained_cfg(TIMM)
    config.hf_hub_id, config.url = None, f"{web.address}/timm.pt"
    configs = timm.models._registry._model_pretrained_cfgs
    monkeypatch.setitem(configs, TIMM, config)
    return classifiers[f"timm:{TIMM}"][1].read_bytes()


def test_timms_published_weights_are_loaded(web, timm_published, classifiers):
    web.add("timm.pt", timm_published)
    model, path = classifiers[f"timm:{TIMM}"]
    encoder, again = build_encoder(f"timm:{TIMM}"), build_encoder(f"timm:{TIMM}@{path}")
    assert encoder.origin["weights"] == "published" and len(encoder.origin["sha256"]) == 64
    wanted = model.blocks[1][0].conv_pw.weight
    for one in (encoder, again):
        assert any(torch.equal(value, wanted) for value in one.stages.state_dict().values())
    for own, other in zip(encoder.stages.parameters(), again.stages.parameters(), strict=True):
        assert torch.equal(own, other)


@pytest.mark.parametrize("failure", ["404", "no server"])
def test_timms_published_weights_that_cannot_be_had(web, timm_published, failure):
    if failure == "no server":
        web.stop()
    message = refused(RunError, f"timm:{TIMM}")
    for part in (f"{web.address}/timm.pt", f"timm:{TIMM}@FILE", f"timm:{TIMM}@none"):
        assert part in message


def test_a_backbone_that_timm_has_no_weights_of(monkeypatch):
    config = timm.get_pretrained_cfg(TIMM)
    config.hf_hub_id = config.url = None
    monkeypatch.setitem(timm.models._registry._model_pretrained_cfgs, TIMM, config)
    assert "publishes no weights" in refused(RunError, f"timm:{TIMM}")


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
    with pytest.raises(UsageError, match="strange does not fit .* cannot read one channel"):
        reading_lightness([first], *IMAGENET, "strange")


# Files of weights that colourgan writes


def test_saved_weights_serve_as_an_encoder_in_half_precision(resnet20, tmp_path):
    model, _ = resnet20
    for name in ("one", "two"):
        note = {"accuracy": 0.91, "classes": ["cat"]}
        save_weights(model, tmp_path / f"{name}.safetensors", "resnet20", note)
    path = tmp_path / "one.safetensors"
    assert sha256(path) == sha256(tmp_path / "two.safetensors")
    assert path.stat().st_size < 0.65e6
    assert {value.dtype for value in load_file(path).values()} == {torch.float16, torch.int64}
    state = read_weights(path)
    for name, value in model.state_dict().items():
        assert state[name].dtype == value.dtype
        torch.testing.assert_close(state[name], value, atol=1e-3, rtol=1e-3)
    again, classes = load_classifier("resnet20", ENCODERS["resnet20"](), path)
    assert classes == 10 and torch.equal(again.fc.weight, state["fc.weight"])
    assert build_encoder(f"resnet20@{path}").origin["weights"] == "one.safetensors"


def test_saved_weights_say_what_they_are(resnet20, tmp_path):
    from safetensors import safe_open

    save_weights(resnet20[0], tmp_path / "e.safetensors", "resnet20", {"accuracy": 0.91})
    with safe_open(tmp_path / "e.safetensors", "pt") as file:
        note = json.loads(file.metadata()["colourgan"])
    assert note == {"kind": "encoder", "arch": "resnet20", "accuracy": 0.91}
