"""colourgan.distances against closed forms, formulas written again, and without what they need."""

import sys
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import torchmetrics
from scipy.linalg import sqrtm
from tiny_encoders import TIMM, one_line
from tiny_networks import make_alexnet, make_inception
from torch import nn
from torchvision.models import alexnet

from colourgan import distances
from colourgan.distances import (
    DISTANCES,
    Pictures,
    check_distances,
    compare,
    distances_of,
    frechet,
    frechet_distance,
    networks,
)
from colourgan.encoders import ENCODERS, load_classifier
from colourgan.encoders.architectures import CIFAR10, IMAGENET
from colourgan.encoders.build import weights_file
from colourgan.errors import RunError, UsageError

RESNET20 = "resnet20@packaged"


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Random weights in the files of Inception-v3 and AlexNet."""
    home = tmp_path_factory.mktemp("torch")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCH_HOME", str(home))
        make_inception(patch, home)
        make_alexnet(patch, home)
        yield home


@pytest.fixture
def nothing(tmp_path, monkeypatch, web):
    """A computer without weights, whose network finds none."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for name in ("INCEPTION", "ALEXNET"):
        there = getattr(networks, name)
        url = f"{web.address}/{there.url.rsplit('/', 1)[1]}"
        monkeypatch.setattr(networks, name, there._replace(url=url))
    return tmp_path / "hub" / "checkpoints"


def random(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def photos(count=24, seed=0, side=32):
    """Smooth and colorful."""
    small = random(count, 3, 4, 4, seed=seed)
    return torch.nn.functional.interpolate(small, (side, side), mode="bilinear")


def paler(rgb, share):
    """Some of the way to grey."""
    return share * rgb.mean(1, keepdim=True) + (1 - share) * rgb


def white(count, width, seed):
    """(count, width) float64 features whose mean is 0 and whose covariance is 1, exactly."""
    features = np.random.default_rng(seed).standard_normal((count, width))
    features -= features.mean(0)
    root = np.linalg.cholesky(np.cov(features, rowvar=False))
    return torch.from_numpy(features @ np.linalg.inv(root).T)


def by_matrix_root(one, other):
    one, other = one.numpy(), other.numpy()
    first, second = np.cov(one, rowvar=False), np.cov(other, rowvar=False)
    gap = np.square(one.mean(0) - other.mean(0)).sum()
    return gap + np.trace(first + second - 2 * sqrtm(first @ second).real)


def test_of_gaussians_along_the_axes_as_the_closed_form_has_it():
    widths = torch.tensor([[1.0, 2.0, 0.5], [3.0, 2.0, 1.5]], dtype=torch.float64)
    one, other = white(40, 3, 0) * widths[0], white(30, 3, 1) * widths[1] + torch.tensor([2, 0, 1])
    wanted = (4 + 1) + (widths[0] - widths[1]).square().sum().item()
    assert frechet(one, other) == pytest.approx(wanted, rel=1e-10)


def test_of_any_gaussians_as_a_matrix_root_has_it():
    turn = torch.from_numpy(np.random.default_rng(2).standard_normal((2, 5, 5)))
    one, other = white(50, 5, 0) @ turn[0], white(60, 5, 1) @ turn[1] + 0.3
    assert frechet(one, other) == pytest.approx(by_matrix_root(one, other), rel=1e-8)
    assert frechet(one, other) == pytest.approx(frechet(other, one), rel=1e-12)
    assert frechet(one.float(), other.float()) == pytest.approx(frechet(one, other), rel=1e-5)


def test_fewer_pictures_than_features_have_a_distance_too():
    along = torch.tensor([-1.0, 0.0, 1.0])[:, None] * torch.eye(50)[:1]
    across = torch.tensor([-3.0, 0.0, 3.0])[:, None] * torch.eye(50)[1:2] + 2 * torch.eye(50)[2]
    assert frechet(along, across) == pytest.approx(1 + 9 + 4)
    assert frechet(along, 2 * along) == pytest.approx(1)
    assert frechet(along, along) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("encoder", [RESNET20, "resnet18@none", f"timm:{TIMM}@none"])
def test_greyer_pictures_are_farther_and_equal_ones_not_at_all(encoder):
    true = photos()
    apart = [frechet_distance(paler(true, share), true, encoder) for share in (0, 0.5, 1)]
    assert apart[0] == pytest.approx(0, abs=1e-9 * apart[2])
    assert apart[0] < apart[1] < apart[2]
    there_and_back = frechet_distance(true, paler(true, 1), encoder)
    assert there_and_back == pytest.approx(apart[2], rel=1e-9)


def by_hand(network, rgb, statistics):
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in statistics)
    with torch.inference_mode():
        return network.eval()((rgb - mean) / std).mean((2, 3)).double()


def test_features_are_those_of_the_encoder_reading_its_own_rgb():
    rgb = photos(5)
    kind = ENCODERS["resnet20"]()
    packaged = weights_file("resnet20", kind, "packaged")
    body = load_classifier("resnet20", kind, packaged)[0][:6]
    seen = Pictures(rgb, RESNET20, batch_size=2).features
    assert seen.shape == (5, 64) and seen.dtype == torch.float64
    assert torch.allclose(seen, by_hand(body, rgb, CIFAR10), atol=1e-5)
    bytes_ = (rgb * 255).round().to(torch.uint8)
    assert torch.allclose(Pictures(bytes_, RESNET20).features, seen, atol=0.05)
    assert torch.equal(
        Pictures(bytes_ / 255, RESNET20).features, Pictures(bytes_, RESNET20).features
    )


def test_features_of_a_timm_backbone_and_of_random_weights():
    rgb = photos(4, side=64)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = timm.create_model(TIMM, features_only=True).eval()
    torch.manual_seed(5)
    after = torch.rand(1)
    torch.manual_seed(5)
    seen = Pictures(rgb, f"timm:{TIMM}@none").features
    assert torch.rand(1) == after  # the caller's random numbers are left alone
    wanted = by_hand(lambda_module(lambda x: network(x)[-1]), rgb, IMAGENET)
    assert torch.allclose(seen, wanted, rtol=1e-4, atol=1e-8)
    again, other = (frechet_distance(rgb, rgb.flip(-1), "resnet18@none") for _ in range(2))
    assert again == other > 0


def lambda_module(function):
    module = nn.Module()
    module.forward = function
    return module


def test_another_stage_gives_other_features():
    rgb = photos(6)
    kind = ENCODERS["resnet20"]()
    packaged = weights_file("resnet20", kind, "packaged")
    body = load_classifier("resnet20", kind, packaged)[0][:3]
    early = Pictures(rgb, RESNET20, stage=2).features
    assert torch.allclose(early, by_hand(body, rgb, CIFAR10), atol=1e-5)
    assert torch.equal(Pictures(rgb, RESNET20, stage=-10).features, early)
    late = frechet_distance(paler(rgb, 0.5), rgb, RESNET20)
    assert frechet_distance(paler(rgb, 0.5), rgb, RESNET20, stage=2) != pytest.approx(late, rel=0.1)
    for stage in (12, -13):
        with pytest.raises(UsageError, match=f"has no stage {stage}: it has 12"):
            frechet_distance(rgb, rgb, RESNET20, stage=stage)


@pytest.mark.parametrize("wrong", ["resnt20", "resnet18@packaged", "resnet20@", "resnet20@no.pt"])
def test_encoders_that_are_not_there_are_refused(wrong):
    with pytest.raises(UsageError) as caught:
        check_distances(["frechet"], wrong)
    one_line(caught)


def test_one_picture_has_no_covariance():
    for name in ("frechet", "kid"):
        one = Pictures(photos(1))
        one.inception = torch.zeros(1, 8, dtype=torch.float64)
        with pytest.raises(UsageError, match="at least 2 images in each, got 1"):
            compare([name], one, one)


def test_broken_pictures_are_no_number():
    with pytest.raises(RunError, match="features of resnet20@packaged are not finite"):
        frechet_distance(photos(2) * torch.nan, photos(2), RESNET20)
    with pytest.raises(ValueError, match=r"\(N, 3, H, W\), got \(2, 1, 32, 32\)"):
        frechet_distance(photos(2)[:, :1], photos(2), RESNET20)
    with pytest.raises(ValueError, match="differ in shape"):
        distances_of(["frechet"], photos(2), photos(3))


def test_fid_is_that_distance_in_the_features_of_inception(weights):
    true = photos(3, side=48)
    pred, target = (Pictures(rgb, batch_size=2) for rgb in (paler(true, 0.7), true))
    numbers, values = compare(["fid", "kid"], pred, target)
    assert list(numbers) == ["fid", "kid"] and values == {}
    assert target.inception.shape == (3, 2048)
    eight_bits = (pred.rgb * 255).round().to(torch.uint8)
    wanted = networks.inception()(eight_bits)[0].double()
    assert torch.allclose(pred.inception, wanted, rtol=1e-4, atol=1e-6)
    assert numbers["fid"] == frechet(pred.inception, target.inception) > 0
    assert compare(["fid"], target, target)[0]["fid"] == pytest.approx(0, abs=1e-6)
    assert numbers["kid"] == pytest.approx(kernel_distance(pred.inception, target.inception))


def kernel_distance(one, other):
    """Bińkowski et al., equation 4, with the polynomial kernel of section 4."""
    one, other = one.numpy(), other.numpy()

    def kernel(a, b):
        return (a @ b.T / a.shape[1] + 1) ** 3

    inside = [
        (kernel(x, x).sum() - np.trace(kernel(x, x))) / (len(x) * (len(x) - 1))
        for x in (one, other)
    ]
    return sum(inside) - 2 * kernel(one, other).mean()


def test_kid_of_many_images_is_the_mean_over_the_same_subsets_every_time(monkeypatch):
    monkeypatch.setattr(distances, "_KID_SUBSET", 20)
    pred, target = (Pictures(torch.zeros(60, 3, 1, 1)) for _ in range(2))
    pred.inception, target.inception = random(60, 8).double(), random(60, 8, seed=1).double() * 1.5
    torch.manual_seed(3)
    first = DISTANCES["kid"](pred, target)
    torch.manual_seed(4)
    assert DISTANCES["kid"](pred, target) == first
    whole = kernel_distance(pred.inception, target.inception)
    assert first == pytest.approx(whole, rel=0.2) and first != pytest.approx(whole, rel=1e-6)


def test_lpips_is_one_value_an_image(weights):
    true = photos(3)
    pred = torch.stack([true[0], paler(true[1], 0.5), paler(true[2], 1)])
    numbers, values = compare(["lpips"], Pictures(pred, batch_size=2), Pictures(true, batch_size=2))
    found = values["lpips"]
    assert found.shape == (3,) and found.dtype == torch.float64
    assert numbers["lpips"] == found.mean().item()
    assert found[0] == 0 < found[1:].min()
    assert torch.allclose(found, perceptual_by_hand(pred, true), rtol=1e-4, atol=1e-8)


def perceptual_by_hand(pred, true):
    """Zhang et al., equation 1, after each ReLU, with the weights that torchmetrics brings."""
    folder = Path(torchmetrics.functional.image.__file__).parent / "lpips_models"
    heads = iter(torch.load(folder / "alex.pth", map_location="cpu").values())
    layers = alexnet().eval()
    file = Path(torch.hub.get_dir(), "checkpoints", networks.ALEXNET.url.rsplit("/", 1)[1])
    layers.load_state_dict(torch.load(file))
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in IMAGENET)
    x, total = (torch.cat([pred, true]) - mean) / std, 0
    with torch.inference_mode():
        for layer in layers.features[:12]:
            x = layer(x)
            if isinstance(layer, nn.ReLU):
                unit = x / x.norm(dim=1, keepdim=True)
                squares = (unit[: len(pred)] - unit[len(pred) :]).square()
                total = total + (squares * next(heads)).sum(1).mean((1, 2))
    return total.double()


def test_lpips_says_which_pictures_are_too_small(nothing):
    with pytest.raises(UsageError, match=r"at least 31×31 pixels, got 30×30") as caught:
        check_distances(["lpips"], size=30)
    one_line(caught)


@pytest.mark.parametrize(
    "name, module, package",
    [
        ("fid", "torch_fidelity", "torch-fidelity"),
        ("kid", "torchmetrics.image.kid", "torchmetrics"),
        ("lpips", "torchmetrics.image.lpip", "torchmetrics"),
    ],
)
def test_a_missing_package_is_named_with_how_to_get_it(nothing, monkeypatch, name, module, package):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UsageError) as caught:
        check_distances([name])
    message = one_line(caught)
    assert name in message.split(" need")[0]
    assert message.endswith(f" the package {package}: pip install 'colourgan[quality]'")
    check_distances(["frechet"])  # which needs none


@pytest.mark.parametrize(
    "name, file", [("fid", "inception"), ("kid", "inception"), ("lpips", "alex")]
)
def test_weights_that_cannot_be_had_are_one_line_that_says_where_to_put_them(nothing, name, file):
    with pytest.raises(RunError) as caught:
        check_distances(["frechet", name])
    message = one_line(caught)
    assert name in message.split(" need")[0]
    assert "could not download http" in message and f"put it at {nothing}/" in message
    assert file in message.rsplit("/", 1)[1]
    assert not nothing.exists() or not list(nothing.iterdir())


def test_weights_are_downloaded_once_and_verified(weights, nothing, web):
    name = networks.ALEXNET.url.rsplit("/", 1)[1]
    served = (weights / "hub" / "checkpoints" / name).read_bytes()
    web.add(name, served[:-1] + b"?")
    with pytest.raises(RunError, match=r"AlexNet, which lpips needs: .* sent a wrong file"):
        check_distances(["lpips"], size=31)
    web.add(name, served)
    check_distances(["lpips"], size=31)
    check_distances(["lpips"], size=31)
    assert web.requests == [name, name]
    assert [path.name for path in nothing.iterdir()] == [name]
    (nothing / name).write_bytes(b"something else")
    with pytest.raises(RunError, match="delete it and run again") as caught:
        check_distances(["lpips"])
    one_line(caught)


def test_names_are_checked_before_anything_else(nothing, web):
    with pytest.raises(UsageError, match="unknown distance 'frechett': did you mean 'frechet'"):
        check_distances(["fid", "frechett"])
    with pytest.raises(UsageError, match="'kid' is named 2 times"):
        check_distances(["kid", "kid"])
    assert web.requests == []
    assert check_distances([], "no encoder is needed") is None
    assert list(DISTANCES) == ["frechet", "fid", "kid", "lpips", "accuracy"]


def test_numbers_and_values_of_any_distance(monkeypatch):
    redder = lambda pred, target: (pred.rgb - target.rgb)[:, 0].mean((1, 2))  # noqa: E731
    monkeypatch.setitem(DISTANCES, "redder", redder)
    true = photos(3)
    pred = true + torch.tensor([0.1, 0.2, 0.6]).view(3, 1, 1, 1)
    numbers, values = distances_of(["redder", "frechet"], pred, true, RESNET20, "cpu")
    assert list(numbers) == ["redder", "frechet"] and list(values) == ["redder"]
    assert values["redder"].tolist() == pytest.approx([0.1, 0.2, 0.6], abs=1e-6)
    assert numbers["redder"] == pytest.approx(0.3, abs=1e-6)
    assert numbers["frechet"] == pytest.approx(frechet_distance(pred, true, RESNET20))


def test_features_are_computed_once(monkeypatch):
    built = []
    real = networks.rgb_stages
    monkeypatch.setattr(networks, "rgb_stages", lambda spec: built.append(spec) or real(spec))
    true = Pictures(photos(3))
    for share in (0.2, 0.4):
        compare(["frechet"], Pictures(paler(true.rgb, share)), true)
    assert len(built) == 3
