"""Other runtimes compute what the generator computes, at every size, or there is no file."""

import copy
import errno
import json
from functools import lru_cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import torch
from onnxruntime import InferenceSession, SessionOptions
from tiny_runs import call
from torch.nn.functional import interpolate

from colourgan import exports
from colourgan.color import AB_SCALE
from colourgan.errors import RunError, UsageError
from colourgan.exports import (
    LIMIT,
    OPSET,
    int8,
    to_exported_program,
    to_onnx,
    to_onnx_int8,
    to_torchscript,
)
from colourgan.exports import onnx as onnx_exports
from colourgan.exports.common import DECODING
from colourgan.generators import (
    described,
    dynamic_unet,
    nazeri_unet,
    pix2pix_unet,
    residual_unet,
)
from colourgan.models import load_model, model_file, save_model

SMALL = {"decoder_channels": 8, "encoder_stages": 2}
ATTENTION = {"self_attention": True, "blur": True, "decoder_width": 0.5}


def pictures(batch=2, height=32, width=32):
    random = torch.Generator().manual_seed(4)
    L = torch.rand(batch, 1, height // 4 + 1, width // 4 + 1, generator=random) * 2 - 1
    return interpolate(L, (height, width), mode="bilinear")


def trained(encoder, size=32, **options):
    torch.manual_seed(0)
    return stepped(dynamic_unet(f"{encoder}@none", size, **options))


def stepped(generator):
    """A generator one step away from how it is built, its batch norms too."""
    generator(pictures()).abs().mean().backward()
    with torch.no_grad():
        for parameter in generator.parameters():
            if parameter.grad is not None:
                parameter -= 0.1 * parameter.grad
    generator.zero_grad()
    return generator.eval()


def session_of(path):
    options = SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    return InferenceSession(path, options, ["CPUExecutionProvider"])


def running(session, **decoding):
    """Inputs are tensors of any number of axes, for ONNX Runtime; a number alone it refuses."""
    fed = {name: np.array(value, np.float32) for name, value in decoding.items()}
    return lambda L: session.run(["ab"], {"L": L.numpy(), **fed})[0]


def metadata_of(session):
    return json.loads(session.get_modelmeta().custom_metadata_map["colourgan"])


def same(run, generator, *sizes, tolerance=1e-5):
    with torch.no_grad():
        for size in sizes:
            L = pictures(*size)
            wanted = generator(L)
            assert wanted.std() > 1e-4
            torch.testing.assert_close(torch.as_tensor(run(L)), wanted, atol=tolerance, rtol=0)


@pytest.fixture(scope="module")
def resnet20():
    return trained("resnet20")


@pytest.fixture(scope="module")
def pix2pix():
    return stepped(pix2pix_unet(16, 4, "instance", 0.2, "kaiming"))


# ONNX and torch.export

GENERATORS = {
    "resnet20": lambda: trained("resnet20"),
    "resnet18": lambda: trained("resnet18", self_attention=True, **SMALL),
    "bins": lambda: trained("efficientnet_lite0", bins=True, **SMALL),
    "timm": lambda: trained("timm:convnext_atto", **SMALL),
    "pix2pix": lambda: stepped(pix2pix_unet(32, 4, init="kaiming")),
    "nazeri": lambda: stepped(nazeri_unet(32, 4, init="kaiming")),
    "residual": lambda: stepped(residual_unet(32, 4, init="kaiming")),
}


@lru_cache
def exported(name):
    """A generator, its file as bytes, and what runs it in ONNX Runtime and torch.export."""
    generator, extra = GENERATORS[name](), {"colourgan": ""}
    if name == "bins":
        prior = torch.rand(len(generator.classes.prior))
        generator.classes.prior.copy_(prior / prior.sum())
        generator.classes.set_decoding(0.3, 0.7, 1.5)
    with TemporaryDirectory() as folder:
        onnx, pt2 = Path(folder) / "model.onnx", Path(folder) / "model.pt2"
        to_onnx(generator, onnx)
        to_exported_program(generator, pt2)
        assert {path.name for path in Path(folder).iterdir()} == {"model.onnx", "model.pt2"}
        program = torch.export.load(pt2, extra_files=extra).module()
        return SimpleNamespace(
            generator=generator, session=session_of(onnx.read_bytes()), program=program,
            described=json.loads(extra["colourgan"]), files=(onnx.read_bytes(), pt2.read_bytes()),
        )  # fmt: skip


every_generator = pytest.mark.parametrize("name", GENERATORS)
SIZES = [(1, 32, 32), (3, 32, 32), (1, 33, 47), (3, 65, 34), (1, 12, 16)]


@every_generator
def test_onnx_computes_the_same_at_every_size(name):
    same(running(exported(name).session), exported(name).generator, *SIZES)


@every_generator
def test_an_exported_program_computes_the_same_at_every_size(name):
    same(exported(name).program, exported(name).generator, *SIZES)


@every_generator
def test_an_onnx_model_says_what_it_takes_and_gives(name):
    session = exported(name).session
    (L,), (ab,) = session.get_inputs(), session.get_outputs()  # with a default it is no input here
    assert (L.name, L.shape, L.type) == ("L", ["batch", 1, "height", "width"], "tensor(float)")
    assert (ab.name, ab.shape, ab.type) == ("ab", ["batch", 2, "height", "width"], "tensor(float)")
    optional = {each.name for each in session.get_overridable_initializers()}
    assert optional == ({"temperature", "vivid"} if name == "bins" else set())


@every_generator
def test_the_files_describe_the_generator_and_not_the_machine(name):
    model = exported(name)
    decoding = model.described.pop("decoding")
    if name == "bins":
        assert decoding == {"temperature": pytest.approx(0.3), "vivid": pytest.approx(0.7)}
    else:
        assert decoding is None
    assert model.described == {
        "kind": "generator",
        "format_version": 1,
        "ab_scale": AB_SCALE,
        "arguments": model.generator.arguments,
        "encoder": model.generator.origin,
    }
    assert metadata_of(model.session) == {**model.described, "decoding": decoding, "opset": OPSET}
    model.described["decoding"] = decoding
    opsets = onnx.load_from_string(model.files[0]).opset_import
    assert [(each.domain, each.version) for each in opsets] == [("", OPSET)]
    here = str(Path(exports.__file__).parents[1]).encode()
    assert not any(here in content for content in model.files)


@pytest.mark.parametrize(
    "given", [{"temperature": 1.0}, {"vivid": 0.0}, {"temperature": 0.05, "vivid": 1.0}]
)
def test_its_inputs_decode_as_set_decoding_does(given):
    model = exported("bins")
    other = copy.deepcopy(model.generator)
    other.classes.set_decoding(**given)
    same(running(model.session, **given), other, (2, 33, 47))
    with torch.no_grad():
        assert (other(pictures()) - model.generator(pictures())).abs().max() > 1e-3


def test_half_is_half_as_large_and_computes_with_the_rounded_weights(resnet20, tmp_path):
    rounded = copy.deepcopy(resnet20)
    for value in rounded.state_dict().values():
        if value.numel() >= 256:
            value.copy_(value.half())
    to_onnx(resnet20, tmp_path / "half.onnx", half=True)
    content, full = (tmp_path / "half.onnx").read_bytes(), exported("resnet20").files[0]
    assert len(content) < 0.55 * len(full)
    same(running(session_of(content)), rounded, *SIZES)
    with torch.no_grad():
        assert (rounded(pictures()) - resnet20(pictures())).abs().max() > 1e-4


def test_half_of_a_weight_that_does_not_fit(resnet20, tmp_path):
    large = copy.deepcopy(resnet20)
    large.state_dict()["blocks.0.conv1.0.weight"][0, 0, 0, 0] = 1e5
    with pytest.raises(RunError, match=r"blocks\.0\.conv1\.0\.weight has values that half"):
        to_onnx(large, tmp_path / "model.onnx", half=True)
    assert not list(tmp_path.iterdir())


class OneSize(torch.nn.Module):
    def forward(self, L):
        return L / int(L.shape[-1])  # int makes it a constant of the trace


def of_one_size(encoder):
    encoder = copy.deepcopy(encoder)
    encoder.encoder[0] = torch.nn.Sequential(OneSize(), encoder.encoder[0])
    return encoder


@pytest.mark.parametrize("write", [to_onnx, to_exported_program])
def test_generators_of_one_size_are_refused_in_one_line(write, resnet20, tmp_path):
    refused(write, of_one_size(resnet20), tmp_path)


@pytest.mark.parametrize("write", [to_onnx, to_exported_program])
def test_what_torch_cannot_export_is_refused_in_one_line(write, pix2pix, tmp_path, monkeypatch):
    def fail(*arguments, **options):
        raise RuntimeError("no symbol for this\nand\nmuch more")

    monkeypatch.setattr(torch.export, "export", fail)
    message = refused(write, pix2pix, tmp_path)
    assert message.endswith("no symbol for this") and "generator pix2pix_unet does not" in message


def test_other_colors_are_refused(pix2pix, tmp_path, monkeypatch):
    runtime = onnx_exports.onnx_runtime
    monkeypatch.setattr(onnx_exports, "onnx_runtime", lambda *a: lambda L: runtime(*a)(L) + 2e-4)
    assert "its colors would be others than torch's" in refused(to_onnx, pix2pix, tmp_path)


def refused(write, generator, folder):
    with pytest.raises(UsageError) as caught:
        write(generator, folder / "model")
    assert "\n" not in str(caught.value) and not list(folder.iterdir())
    return str(caught.value)


def test_without_its_packages_onnx_says_how_to_get_them(pix2pix, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_exports, "find_spec", lambda name: name == "onnxruntime")
    assert refused(to_onnx, pix2pix, tmp_path) == (
        "an ONNX model needs onnx and onnxscript to be written: pip install 'colourgan[train]'"
    )


@pytest.mark.parametrize("write", [to_torchscript, to_onnx])
def test_a_full_disk_leaves_what_was_there(write, pix2pix, tmp_path, monkeypatch):
    def full(self, body):
        self.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "model"
    path.write_text("before")
    monkeypatch.setattr(onnx_exports, "onnx_bytes", lambda *arguments: b"a model")
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(RunError, match="no space left to write"):
        write(pix2pix, path)
    assert path.read_text() == "before" and list(tmp_path.iterdir()) == [path]


# 8 bits


def test_int8_shows_nowhere_and_is_smaller(tmp_path):
    model = exported("timm")
    to_onnx_int8(model.generator, tmp_path / "model.onnx", pictures(4))
    content = (tmp_path / "model.onnx").read_bytes()
    session = session_of(content)
    told = metadata_of(session)
    found = told.pop("int8")
    assert told == metadata_of(model.session)
    assert found["delta_e"] <= LIMIT and found["in_float"] <= found["convolutions"] / 2
    assert len(content) < 0.6 * len(model.files[0])
    graph = onnx.load_from_string(content)
    onnx.checker.check_model(graph)
    assert {each.domain for each in graph.opset_import} == {""}
    for size in SIZES:
        L = pictures(*size)
        change = np.abs(running(session)(L) - running(model.session)(L)) * AB_SCALE
        assert 1e-4 < change.mean() < 1.5


def test_int8_is_refused_where_it_shows(pix2pix, tmp_path, monkeypatch):
    monkeypatch.setattr(int8, "LIMIT", 0.0)
    message = refused(partial(to_onnx_int8, L=pictures(2)), pix2pix, tmp_path)
    assert "generator pix2pix_unet does not compute with 8 bits" in message


# The command


@pytest.mark.parametrize(
    "to, ending", [("onnx", ".onnx"), ("onnx-int8", ".onnx"), ("torch-export", ".pt2")]
)
def test_the_command_prints_one_line(to, ending, pix2pix, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    save_model(pix2pix, "mine.safetensors")
    assert call(monkeypatch, "export", "mine.safetensors", "--to", to) == 0
    assert capfd.readouterr() == ("", f"exported: mine{ending}\n")
    before = Path(f"mine{ending}").read_bytes()
    assert call(monkeypatch, "export", "mine.safetensors", "--to", to) == 2
    assert "exists already: choose another --out" in capfd.readouterr().err
    assert Path(f"mine{ending}").read_bytes() == before


def test_photographs_are_for_int8_alone(monkeypatch, capsys):
    assert call(monkeypatch, "export", "packaged", "--to", "onnx", "--data", "sample") == 2
    assert "--data has no effect without --to onnx-int8" in capsys.readouterr().err


# The packaged model


def test_the_packaged_onnx_model_is_the_packaged_model():
    generator = load_model("packaged")
    file = model_file("packaged").with_suffix(".onnx")
    assert file.stat().st_size < 7.5e6
    session = session_of(file)
    same(running(session), generator, (1, 128, 128), (2, 77, 131), (1, 16, 240))
    decoding = {name: getattr(generator.classes, name).item() for name in DECODING}
    told = {**described(generator), "decoding": decoding, "opset": OPSET}
    # The file is older than this option.
    assert told["arguments"].pop("half_resolution") is False
    assert metadata_of(session) == told


# TorchScript


@pytest.mark.parametrize(
    ("encoder", "options", "largest"),
    [
        ("resnet20", {}, (300, 401)),
        ("resnet20", ATTENTION, (60, 81)),  # attention takes memory to the fourth power
        ("timm:mobilenetv3_small_050", {}, (300, 401)),
    ],
)
def test_torchscript_computes_the_same_at_every_size(encoder, options, largest, tmp_path, recwarn):
    generator = trained(encoder, **options)
    recwarn.clear()
    to_torchscript(generator, tmp_path / "model.ts")
    assert not recwarn.list
    same(torch.jit.load(tmp_path / "model.ts"), generator, (2, 32, 32), (1, *largest), (2, 17, 70))
    assert [path.name for path in tmp_path.iterdir()] == ["model.ts"]


def test_torchscript_extends_pictures_as_the_unet_of_pix2pix_does(pix2pix, tmp_path):
    to_torchscript(pix2pix, tmp_path / "model.ts")
    script = torch.jit.load(tmp_path / "model.ts")
    same(script, pix2pix, (2, 32, 32), (1, 300, 401), (2, 17, 70))


@pytest.mark.parametrize("name", ["nazeri", "residual"])
def test_torchscript_extends_pictures_as_the_other_unets_do(name, tmp_path):
    to_torchscript(exported(name).generator, tmp_path / "model.ts")
    script = torch.jit.load(tmp_path / "model.ts")
    sizes = (2, 32, 32), (1, 300, 401), (2, 17, 70), (2, 5, 16)
    same(script, exported(name).generator, *sizes)


def test_torchscript_is_refused_to_generators_of_one_size(resnet20, pix2pix, tmp_path):
    assert "encoder resnet20 does not trace" in refused(
        to_torchscript, of_one_size(resnet20), tmp_path
    )
    unet = copy.deepcopy(pix2pix)
    unet.downs[0] = torch.nn.Sequential(OneSize(), unet.downs[0])
    assert "generator pix2pix_unet does not trace" in refused(to_torchscript, unet, tmp_path)
