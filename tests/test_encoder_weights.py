"""Weights of encoders: from files and from the web, loaded whole or refused in one line."""

import hashlib
import io
import json
import pickle

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from tiny_encoders import TIMM, make_classifiers, refused, same_weights, sha256
from torch import nn

from colourgan.encoders import ENCODERS, build_encoder, load_classifier, read_weights, save_weights
from colourgan.encoders.architectures import Package
from colourgan.errors import RunError


@pytest.fixture(scope="module")
def classifiers(tmp_path_factory):
    return make_classifiers(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def resnet20(classifiers):
    return classifiers["resnet20"]


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
    architecture = real._replace(source=f"{web.address}/{name}")
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
    sources = {name: ENCODERS[name]().source for name in ENCODERS}
    packages = {name for name, source in sources.items() if isinstance(source, Package)}
    assert packages == {"efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"}
    for name in sources.keys() - packages:
        url = sources[name]
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
