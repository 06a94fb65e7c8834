"""Model files: one generator, everything that rebuilds it, and nothing that runs code."""

import copy
import errno
import json
import math
import pickle
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from fastai.learner import load_learner
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tiny_pictures import make_parts

from colourgan.color import AB_SCALE
from colourgan.datasets import color_dataloaders
from colourgan.encoders import ENCODERS, save_weights
from colourgan.errors import RunError, UsageError
from colourgan.generators import GENERATORS, dynamic_unet, pix2pix_unet
from colourgan.learners.export import export, to_fastai
from colourgan.models import load_model, model_file, save_model

OPTIONS = {"self_attention": True, "blur": True, "decoder_width": 0.5}


def pictures(height=32, width=32):
    return torch.rand(2, 1, height, width, generator=torch.Generator().manual_seed(4)) * 2 - 1


def trained(encoder, size=32, **options):
    """A generator one step away from how it is built, so that no new one equals it."""
    return stepped(dynamic_unet(f"{encoder}@none", size, **options))


def stepped(generator):
    generator(pictures()).abs().mean().backward()
    with torch.no_grad():
        for parameter in generator.parameters():
            parameter -= 0.1 * parameter.grad
    generator.zero_grad()
    return generator.eval()


@pytest.fixture(scope="module")
def resnet20():
    return trained("resnet20")


@pytest.fixture(scope="module")
def pix2pix():
    return stepped(pix2pix_unet(16, 4, "instance", 0.2, "kaiming"))


@pytest.fixture
def model(resnet20, tmp_path):
    path = tmp_path / "model.safetensors"
    save_model(resnet20, path)
    return path


def metadata_of(path):
    with safe_open(path, "pt") as file:
        assert list(file.metadata()) == ["colourgan"]
        return json.loads(file.metadata()["colourgan"])


def described(model, tensors=None, **changes):
    """Writes the model file again with another description, or with other tensors."""
    metadata = {**metadata_of(model), **changes}
    tensors = load_file(model) if tensors is None else tensors
    save_file(tensors, model, {"colourgan": json.dumps(metadata)})


def refused(error, path, **options):
    with pytest.raises(error) as caught:
        load_model(path, **options)
    message = str(caught.value)
    assert "\n" not in message and str(path) in message
    return message


# There and back


@pytest.mark.parametrize(
    ("encoder", "size", "options"),
    [
        ("resnet20", 32, {}),
        ("resnet20", 48, OPTIONS),
        ("timm:mobilenetv3_small_050", 32, {}),
        ("timm:efficientvit_b0", 32, {}),
    ],
)
def test_a_model_comes_back_as_it_was(encoder, size, options, tmp_path):
    generator = trained(encoder, size, **options)
    generator.origin = {"arch": encoder, "weights": "gone.pt", "sha256": "0" * 64}
    save_model(generator, tmp_path / "a.safetensors")
    again = load_model(str(tmp_path / "a.safetensors"))
    with torch.no_grad():
        for size in ((32, 32), (37, 51)):
            assert torch.equal(again(pictures(*size)), generator(pictures(*size)))
    assert not again.training
    assert (again.arguments, again.origin) == (generator.arguments, generator.origin)
    save_model(again, tmp_path / "b.safetensors")
    assert same_bytes(tmp_path, "a", "b")


def test_a_generator_without_encoder_comes_back_as_it_was(pix2pix, tmp_path):
    save_model(pix2pix, tmp_path / "a.safetensors")
    again = load_model(tmp_path / "a.safetensors")
    with torch.no_grad():
        for size in ((16, 16), (37, 51)):
            assert torch.equal(again(pictures(*size)), pix2pix(pictures(*size)))
    assert (again.arguments, again.origin) == (pix2pix.arguments, pix2pix.origin)
    save_model(again, tmp_path / "b.safetensors")
    assert same_bytes(tmp_path, "a", "b")
    metadata = metadata_of(tmp_path / "a.safetensors")
    arguments = {"size": 16, "width": 4, "norm": "instance", "dropout": 0.2}
    assert metadata["arguments"] == {"generator": "pix2pix_unet", **arguments}
    assert metadata["encoder"] == {"arch": "none", "weights": "none", "sha256": None}


PLAIN = [name for name in GENERATORS if name != "dynamic_unet"]


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("norm", ["batch", "none"])
def test_every_generator_without_encoder_comes_back_as_it_was(name, norm, tmp_path):
    generator = stepped(GENERATORS[name](32, 4, norm, 0.1, "kaiming"))
    save_model(generator, tmp_path / "a.safetensors")
    again = load_model(tmp_path / "a.safetensors")
    with torch.no_grad():
        assert torch.equal(again(pictures(37, 51)), generator(pictures(37, 51)))
    assert again.arguments == generator.arguments
    assert again.arguments["generator"] == name and again.origin == generator.origin
    dropouts = [
        [m.p for m in g.modules() if isinstance(m, torch.nn.Dropout)] for g in (again, generator)
    ]
    assert dropouts[0] == dropouts[1] == [0.1, 0.1]


def test_a_pix2pix_without_dropout_in_the_innermost_block_comes_back_without(tmp_path):
    save_model(pix2pix_unet(16, 4, innermost_dropout=False), tmp_path / "a.safetensors")
    assert metadata_of(tmp_path / "a.safetensors")["arguments"]["innermost_dropout"] is False
    first, second = load_model(tmp_path / "a.safetensors").ups[:2]
    kinds = [[type(layer) for layer in up] for up in (first, second)]
    assert torch.nn.Dropout not in kinds[0] and torch.nn.Dropout in kinds[1]


def same_bytes(folder, *names):
    return len({(folder / f"{name}.safetensors").read_bytes() for name in names}) == 1


def test_equal_models_make_equal_files(resnet20, tmp_path):
    save_model(resnet20, tmp_path / "a.safetensors")
    save_model(resnet20, tmp_path / "b.safetensors")
    channels_last = copy.deepcopy(resnet20).to(memory_format=torch.channels_last)
    save_model(channels_last, tmp_path / "c.safetensors")
    save_model(copy.deepcopy(resnet20).train(), tmp_path / "d.safetensors")
    assert same_bytes(tmp_path, "a", "b", "c", "d")
    other = copy.deepcopy(resnet20)
    with torch.no_grad():
        other.head[0].bias += 1e-6
    save_model(other, tmp_path / "e.safetensors")
    assert not same_bytes(tmp_path, "a", "e")


def test_the_file_describes_the_model(resnet20, model):
    assert metadata_of(model) == {
        "kind": "generator",
        "format_version": 1,
        "ab_scale": AB_SCALE,
        "arguments": {
            "generator": "dynamic_unet",
            "encoder": "resnet20",
            "size": 32,
            "self_attention": False,
            "blur": False,
            "decoder_width": 1.0,
            "decoder_channels": None,
            "encoder_stages": None,
            "lightness": "folded",
            "bins": False,
            "half_resolution": False,
        },
        "encoder": {"arch": "resnet20", "weights": "none", "sha256": None},
    }
    assert load_file(model).keys() == resnet20.state_dict().keys()


def test_a_model_is_replaced_as_a_whole(resnet20, model, monkeypatch):
    before = model.read_bytes()

    def full(self, body):
        self.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(RunError, match="no space left to write"):
        save_model(resnet20, model)
    assert model.read_bytes() == before and list(model.parent.iterdir()) == [model]


# Other files


@pytest.mark.parametrize("left", [0, 5, 100, 5000, -1])
def test_a_file_cut_short_is_damaged(model, left):
    model.write_bytes(model.read_bytes()[:left])
    assert "is damaged or no safetensors file" in refused(RunError, model)


def test_a_file_of_another_format_is_no_safetensors_file(model):
    model.write_bytes(b"\x89PNG\r\n" + bytes(1000))
    assert "is damaged or no safetensors file" in refused(RunError, model)


def test_weights_of_an_encoder_are_no_model(tmp_path):
    path = tmp_path / "encoder.safetensors"
    save_weights(ENCODERS["resnet20"]().build(10), path, "resnet20", {})
    assert "holds an encoder, not a generator" in refused(UsageError, path)


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}])
def test_any_safetensors_file_is_no_model(tmp_path, metadata):
    save_file({"x": torch.zeros(3)}, tmp_path / "x.safetensors", metadata)
    assert "is no colourgan model" in refused(UsageError, tmp_path / "x.safetensors")


def test_a_newer_format_asks_for_a_newer_colourgan(model):
    described(model, format_version=2)
    assert "has format 2, this colourgan reads up to 1" in refused(RunError, model)


def test_another_scale_of_ab_is_not_read_as_ours(model):
    described(model, ab_scale=128.0)
    assert "scales ab by 128.0, this colourgan by 110.0" in refused(RunError, model)


def test_a_damaged_description_is_damage(model):
    save_file(load_file(model), model, {"colourgan": '{"kind": "gener'})
    assert "is damaged" in refused(RunError, model)


@pytest.mark.parametrize("change", ["lost", "another shape"])
def test_tensors_that_do_not_fit_their_description(model, change):
    tensors = load_file(model)
    value = tensors.pop("head.0.bias")
    if change == "another shape":
        tensors["head.0.bias"] = value[:1]
    described(model, tensors)
    assert "does not fit its own description" in refused(RunError, model)


def test_arguments_that_this_colourgan_does_not_know(model):
    arguments = metadata_of(model)["arguments"]
    described(model, arguments={**arguments, "generator": "dynamic_net"})
    with pytest.raises(UsageError, match="did you mean 'dynamic_unet'"):
        load_model(model)
    described(model, arguments={**arguments, "wings": 2})
    assert "does not fit its own description" in refused(RunError, model)


def test_a_file_or_run_that_is_not_there(tmp_path):
    assert "no file" in refused(UsageError, tmp_path / "gone.safetensors")
    assert "holds no model.safetensors yet" in refused(UsageError, tmp_path)


# Pickles


class Evil:
    def __reduce__(self):
        return print, ("code of a pickle was run",)


@pytest.mark.parametrize("ending", [".pkl", ".pickle"])
def test_a_pickle_is_not_loaded_without_trust(tmp_path, ending, capsys):
    path = tmp_path / f"model{ending}"
    path.write_bytes(pickle.dumps(Evil()))
    assert "add --trust-pickle" in refused(UsageError, path)
    assert not capsys.readouterr().out


def test_a_pickle_under_another_name_is_not_loaded_either(model, capsys):
    model.write_bytes(pickle.dumps(Evil()))
    assert "is damaged or no safetensors file" in refused(RunError, model, trust_pickle=True)
    assert not capsys.readouterr().out


@pytest.mark.parametrize("name", ["resnet20", "pix2pix"])
def test_a_trusted_pickle_of_fastai_is_a_model(name, tmp_path, request):
    generator = request.getfixturevalue(name)
    path = tmp_path / "model.pkl"
    to_fastai(copy.deepcopy(generator), path)
    again = load_model(path, trust_pickle=True)
    torch.testing.assert_close(again(pictures()), generator(pictures()))
    assert not again.training
    save_model(again, tmp_path / "a.safetensors")
    save_model(generator, tmp_path / "b.safetensors")
    assert same_bytes(tmp_path, "a", "b")


def test_an_exported_learner_without_pictures_says_how_to_get_some(resnet20, tmp_path):
    to_fastai(copy.deepcopy(resnet20), tmp_path / "model.pkl")
    learn = load_learner(tmp_path / "model.pkl")
    needing = ("summary", "show_results", "validate", "get_preds", lambda: learn.fit(1))
    for use in (each if callable(each) else getattr(learn, each) for each in needing):
        with learn.no_bar(), learn.no_logging(), pytest.raises(UsageError) as error:
            use()
        assert error.match(
            r"only predict.*learn\.dls = colourgan\.datasets\.color_dataloaders\(FOLDER, 32\)$"
        )
        assert "\n" not in str(error.value)
    with learn.no_bar():
        assert learn.predict(np.zeros((32, 32, 3), np.uint8))[1].shape == (2, 32, 32)
    learn.dls = color_dataloaders(make_parts(tmp_path), 32, 7)
    with learn.no_bar(), learn.no_logging():
        assert math.isfinite(learn.validate()[0]) and "Total params" in str(learn.summary())
        plt.switch_backend("agg")
        learn.show_results(max_n=1)
        plt.close("all")
        learn.fit(1)
    assert math.isfinite(learn.recorder.losses[-1])


def test_export_without_a_format_names_the_choices(model):
    with pytest.raises(UsageError) as error:
        export(model)
    choices = "fastai, safetensors, torchscript, onnx, onnx-int8 or torch-export"
    assert str(error.value) == f"no format named: choose --to {choices}"


def test_a_trusted_pickle_of_something_else(tmp_path):
    path = tmp_path / "model.pkl"
    path.write_bytes(b"nothing")
    assert "cannot load" in refused(RunError, path, trust_pickle=True)
    torch.save(3, path)
    assert "cannot load" in refused(RunError, path, trust_pickle=True)


def test_a_run_folder_stands_for_its_model(model, resnet20):
    assert model_file(model.parent) == model_file(str(model)) == model
    again = load_model(model.parent)
    assert torch.equal(again(pictures()), resnet20(pictures()))
