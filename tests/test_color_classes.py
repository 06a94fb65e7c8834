"""Generators of classes of color: their logits, how these are decoded, kept and exported."""

import copy
import pickle

import pytest
import torch
from fastai.learner import load_learner
from tiny_pictures import picture
from torch.nn import functional as F

from colourgan.bins import bin_centers
from colourgan.color import AB_RANGE, AB_SCALE
from colourgan.errors import RunError, UsageError
from colourgan.exports import to_torchscript
from colourgan.generators import classes, dynamic_unet
from colourgan.learners.export import to_fastai
from colourgan.models import load_model, save_model

COUNT = len(bin_centers())


def pictures(height=32, width=32, count=2):
    return torch.rand(count, 1, height, width, generator=torch.Generator().manual_seed(4)) * 2 - 1


def make(encoder="resnet20@none", size=32, **options):
    """A generator whose logits differ, as those of a trained one do, and whose prior is uneven."""
    torch.manual_seed(0)
    generator = dynamic_unet(encoder, size, **{"bins": True, "decoder_channels": 8, **options})
    with torch.no_grad():
        generator.classes.logits.weight.mul_(4)
        prior = torch.rand(COUNT, generator=torch.Generator().manual_seed(1)) + 0.01
        generator.classes.prior.copy_(prior / prior.sum())
    return generator.eval()


@pytest.fixture(scope="module")
def generator():
    return make()


@pytest.mark.parametrize("encoder", ["resnet20@none", "efficientnet_lite0@none"])
@pytest.mark.parametrize("size", [(32, 32), (37, 51), (65, 33)])
def test_pictures_of_any_size_with_and_without_gradient(encoder, size, monkeypatch):
    generator, L = make(encoder), pictures(*size, count=3)
    wanted = generator(L)
    assert wanted.shape == (3, 2, *size) and wanted.dtype == torch.float32 and wanted.std() > 0.01
    with torch.no_grad():
        torch.testing.assert_close(generator(L), wanted, atol=1e-6, rtol=1e-5)
        for at_once in (1, 2 * 40 * 51):  # one picture at a time; two and one
            monkeypatch.setattr(classes, "AT_ONCE", at_once)
            torch.testing.assert_close(generator(L), wanted, atol=1e-6, rtol=1e-5)


def test_not_all_classes_are_in_memory_at_once(generator, monkeypatch):
    counts = []
    generator.classes.logits.register_forward_hook(lambda *of: counts.append(len(of[2])))
    monkeypatch.setattr(classes, "AT_ONCE", 2 * 32 * 32)
    with torch.no_grad():
        generator(pictures(count=5))
    assert counts == [2, 2, 1]
    generator.classes.logits._forward_hooks.clear()


def test_classes_are_at_half_the_resolution_of_an_encoder_that_begins_with_a_stride():
    generator = make("efficientnet_lite0@none")
    with generator.giving_classes():
        logits = generator(pictures(32, 48))
    assert logits.shape == (2, COUNT, 16, 24)
    ab = F.interpolate(generator.classes.decode(logits), (32, 48), mode="bilinear")
    torch.testing.assert_close(generator(pictures(32, 48)), ab)


def test_giving_classes_ends_with_its_block(generator):
    with generator.giving_classes():
        assert generator(pictures()).shape == (2, COUNT, 32, 32)
    assert generator(pictures()).shape[1] == 2
    with pytest.raises(KeyError), generator.giving_classes():
        raise KeyError
    assert generator(pictures()).shape[1] == 2
    generator.classifying = True  # as an interrupted training leaves it
    assert generator.eval()(pictures()).shape[1] == 2


def test_decoding_by_hand(generator):
    decoder = copy.deepcopy(generator.classes)
    decoder.set_decoding(temperature=0.5, vivid=0.25, saturation=1.5)
    logits = torch.randn(1, COUNT, 1, 1, generator=torch.Generator().manual_seed(2))
    weights = 1 / (0.5 * decoder.prior + 0.5 / COUNT)
    weights = weights / (weights * decoder.prior).sum()
    shares = ((logits[0, :, 0, 0] - 0.75 * weights.log()) / 0.5).exp()
    wanted = 1.5 * (shares[:, None] * bin_centers()).sum(0) / shares.sum() / AB_SCALE
    torch.testing.assert_close(decoder.decode(logits)[0, :, 0, 0], wanted, atol=1e-5, rtol=1e-4)


def test_vivid_of_1_decodes_what_was_trained_and_a_low_temperature_its_mode(generator):
    decoder = copy.deepcopy(generator.classes)
    logits = torch.zeros(1, COUNT, 1, 1)
    logits[0, 7] = 3
    decoder.set_decoding(0.01, 1.0, 1.0)
    ab = decoder.decode(logits)[0, :, 0, 0] * AB_SCALE
    torch.testing.assert_close(ab, bin_centers()[7], atol=0.05, rtol=0)


def test_colors_stay_within_srgb(generator):
    decoder = copy.deepcopy(generator.classes)
    decoder.set_decoding(saturation=50.0)
    logits = torch.randn(2, COUNT, 8, 8, generator=torch.Generator().manual_seed(2)) * 9
    ab = decoder.decode(logits)
    low, high = torch.tensor(AB_RANGE).view(2, 2, 1, 1)
    assert (ab >= low).all() and (ab <= high).all() and ab.abs().max() > 0.8


@pytest.mark.parametrize(
    ("decoding", "reason"),
    [
        ({"temperature": 0.0}, "temperature 0.0 is not between 0.01 and 1"),
        ({"temperature": 1.1}, "temperature 1.1 is not between"),
        ({"temperature": float("nan")}, "temperature nan is not between"),
        ({"vivid": -0.1}, "vivid -0.1 is not between 0 and 1"),
        ({"vivid": 1.01}, "vivid 1.01 is not between 0 and 1"),
        ({"saturation": -1.0}, "saturation -1.0 is not"),
        ({"saturation": float("nan")}, "saturation nan is not"),
    ],
)
def test_decoding_that_makes_no_sense_is_refused(generator, decoding, reason):
    with pytest.raises(UsageError, match=reason):
        generator.classes.set_decoding(**decoding)


# Kept and exported


@pytest.fixture
def decoded(generator):
    other = copy.deepcopy(generator)
    other.classes.set_decoding(temperature=0.3, vivid=0.75, saturation=1.2)
    other.classes.rebalancing.fill_(0.9)
    return other


def test_a_saved_model_keeps_how_it_decodes(decoded, tmp_path):
    save_model(decoded, tmp_path / "model.safetensors")
    again = load_model(tmp_path / "model.safetensors")
    assert again.arguments == decoded.arguments and again.arguments["bins"] is True
    for name in ("prior", "rebalancing", "temperature", "vivid", "saturation"):
        assert torch.equal(getattr(again.classes, name), getattr(decoded.classes, name)), name
    with torch.no_grad():
        assert torch.equal(again(pictures(37, 51)), decoded(pictures(37, 51)))


def test_half_precision_is_half_the_size_and_nearly_equal(decoded, tmp_path):
    sizes = {}
    for half in (False, True):
        save_model(decoded, tmp_path / f"{half}.safetensors", half=half)
        sizes[half] = (tmp_path / f"{half}.safetensors").stat().st_size
    assert 0.45 < sizes[True] / sizes[False] < 0.6
    again = load_model(tmp_path / "True.safetensors")
    assert {value.dtype for value in again.state_dict().values()} == {torch.float32, torch.int64}
    with torch.no_grad():
        torch.testing.assert_close(again(pictures()), decoded(pictures()), atol=0.01, rtol=0)


def test_values_that_half_precision_cannot_hold_are_named_and_nothing_is_written(decoded, tmp_path):
    with torch.no_grad():
        decoded.classes.logits.bias[3] = 1e5
    with pytest.raises(RunError, match=r"classes\.logits\.bias has values that half precision"):
        save_model(decoded, tmp_path / "model.safetensors", half=True)
    assert not list(tmp_path.iterdir())
    save_model(decoded, tmp_path / "model.safetensors")


@pytest.mark.parametrize("bins", [True, False])
def test_torchscript_of_an_encoder_that_pads_by_size_serves_every_size(bins, tmp_path):
    options = {"bins": True, "decoder_channels": 8} if bins else {"decoder_channels": 8}
    torch.manual_seed(0)
    generator = dynamic_unet("efficientnet_lite0", 32, **options).eval()
    to_torchscript(generator, tmp_path / "model.ts")
    script = torch.jit.load(tmp_path / "model.ts")
    with torch.no_grad():
        for size in ((32, 32), (31, 33), (64, 51), (100, 17), (97, 130)):
            L = pictures(*size)
            wanted = generator(L)
            assert wanted.std() > 1e-3
            torch.testing.assert_close(script(L), wanted, atol=1e-5, rtol=0)


def test_after_training_it_can_be_copied_and_pickled():
    generator = make(self_attention=True).train()
    with generator.giving_classes():
        generator(pictures()).square().mean().backward()
    generator.zero_grad()
    generator.eval()
    for again in (copy.deepcopy(generator), pickle.loads(pickle.dumps(generator))):
        assert torch.equal(again(pictures()), generator(pictures()))
        assert not {id(p) for p in again.parameters()} & {id(p) for p in generator.parameters()}
        again.classes.set_decoding(vivid=0.1)
    assert generator.classes.vivid == 0.5


def test_a_pickle_of_fastai_predicts_its_colors(decoded, tmp_path):
    to_fastai(copy.deepcopy(decoded), tmp_path / "model.pkl")
    image = picture(3, 32)
    learn = load_learner(tmp_path / "model.pkl")
    with learn.no_bar():
        rgb, ab, _ = learn.predict(image)
    assert ab.shape == (2, 32, 32) and rgb.shape == (3, 32, 32)
    again = load_model(tmp_path / "model.pkl", trust_pickle=True)
    with torch.no_grad():
        torch.testing.assert_close(again(pictures()), decoded(pictures()))


def test_a_generator_of_colors_has_no_classes():
    generator = dynamic_unet("resnet20@none", 32, decoder_channels=8)
    assert not hasattr(generator, "classes") and generator.arguments["bins"] is False
    assert not any(name.startswith("classes") for name in generator.state_dict())
