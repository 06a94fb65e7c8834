"""Distances from the truth, by hand, and trainings that minimise them."""

import contextlib

import fastai.callback.schedule  # noqa: F401 gives learners lr_find
import matplotlib.pyplot as plt
import pytest
import torch
from fastai.callback.core import Callback
from tiny_pictures import expected, make_parts
from torch.nn import functional as F

from colourgan.bins import bin_centers, soft_targets
from colourgan.callbacks import ClassifyColors, FeatureLoss, Precision
from colourgan.color import decode
from colourgan.datasets import color_dataloaders, training_parts
from colourgan.encoders import rgb_stages
from colourgan.errors import UsageError
from colourgan.generators import dynamic_unet
from colourgan.learners import color_learner
from colourgan.reconstructions import RECONSTRUCTIONS, ClassLoss

SIDE = 16


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return make_parts(tmp_path_factory.mktemp("pictures"))


def make_learner(root, path, reconstruction, precision="fp32"):
    torch.manual_seed(0)
    dls = color_dataloaders(root, SIDE, 7, augmentation="none")
    options = {"encoder": "resnet20@none", "decoder_channels": 8, "precision": precision}
    return color_learner(dls, **options, path=path, reconstruction=reconstruction)


@contextlib.contextmanager
def quiet(learn):
    with learn.no_bar(), learn.no_logging():
        yield


def random(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


# By hand


def test_pixels_by_hand():
    pred, target = torch.tensor([1.0, 2.0]), torch.tensor([1.0, 5.0])
    losses = {name: RECONSTRUCTIONS[name](None).loss(pred, target).item() for name in ("l1", "l2")}
    assert losses == {"l1": 1.5, "l2": 4.5}


def test_every_reconstruction_says_what_it_is_and_what_it_takes():
    torch.manual_seed(0)
    generator = dynamic_unet("resnet20@none", 16, decoder_channels=8, bins=True)
    needed = {
        name: [type(callback) for callback in make(generator).callbacks]
        for name, make in RECONSTRUCTIONS.items()
    }
    assert needed == {"l1": [], "l2": [], "bins": [ClassifyColors], "feature": [FeatureLoss]}
    assert all(make.__doc__ for make in RECONSTRUCTIONS.values())


def test_bins_need_a_generator_of_classes():
    with pytest.raises(UsageError, match="reconstruction bins needs a generator that predicts cla"):
        RECONSTRUCTIONS["bins"](dynamic_unet("resnet20@none", 16, decoder_channels=8))


def test_class_loss_is_the_weighted_cross_entropy_of_averaged_colors():
    torch.manual_seed(0)
    classes = dynamic_unet("resnet20@none", 16, decoder_channels=8, bins=True).classes
    count = len(bin_centers())
    prior = random(count) + 0.01
    classes.prior.copy_(prior / prior.sum())
    ab = random(2, 2, 6, 8) - 0.5
    logits = random(2, count, 3, 4, seed=1) * 5
    small = ab.view(2, 2, 3, 2, 4, 2).mean((3, 5))
    bins, shares = soft_targets(small)
    logs, total = logits.double().log_softmax(1), 0.0
    for n in range(2):
        for y in range(3):
            for x in range(4):
                place = (n, y, x)
                entropy = -(logs[n, bins[place], y, x] * shares[place]).sum()
                total += classes.weights()[bins[place][0]] * entropy
    assert ClassLoss(classes)(logits, ab).item() == pytest.approx(total.item() / 24, rel=1e-5)
    half = ClassLoss(classes)(logits.bfloat16(), ab)
    assert half.dtype == torch.float32 and half.item() == pytest.approx(total.item() / 24, rel=0.01)


def test_class_loss_of_colors_is_their_l1():
    classes = dynamic_unet("resnet20@none", 16, decoder_channels=8, bins=True).classes
    pred, ab = random(2, 2, 4, 4), random(2, 2, 4, 4, seed=1)
    assert torch.equal(ClassLoss(classes)(pred, ab), F.l1_loss(pred, ab))


# ClassifyColors


class Watch(Callback):
    """What was predicted and its loss, of every batch."""

    order = 50

    def __init__(self):
        self.seen = []

    def after_loss(self):
        by_hand = self.loss_func(self.pred, self.y)
        self.seen.append((self.training, self.pred.shape[1], self.loss.item(), by_hand.item()))


@pytest.fixture(scope="module")
def learn(root, tmp_path_factory):
    """A learner after one epoch on classes of color, and what it saw."""
    learn = make_learner(root, tmp_path_factory.mktemp("learner"), "bins")
    watch = Watch()
    with quiet(learn):
        learn.fit(1, 1e-3, cbs=watch)
    learn.seen = watch.seen
    return learn


def test_training_is_on_classes_and_validation_on_colors(learn):
    training, validation = ([s for s in learn.seen if s[0] is which] for which in (True, False))
    assert len(training) == 3 and len(validation) == 1
    count = len(bin_centers())
    assert {channels for _, channels, _, _ in training} == {count}
    assert {channels for _, channels, _, _ in validation} == {2}
    for _, _, loss, by_hand in learn.seen:
        assert loss == pytest.approx(by_hand, rel=1e-5)
    assert min(loss for _, _, loss, _ in training) > 1 > validation[0][2]
    assert learn.recorder.values[-1][1] == pytest.approx(validation[0][2], rel=1e-4)


def test_the_prior_is_that_of_the_training_pictures(learn, root):
    ab = torch.stack([expected(file, SIDE)[1] for file in training_parts(root).train])
    bins, shares = soft_targets(ab)
    prior = torch.zeros(len(bin_centers())).index_add_(0, bins.flatten(), shares.flatten())
    torch.testing.assert_close(learn.model.classes.prior, prior / prior.sum())


def test_after_a_training_everything_gives_colors(learn, root):
    file = training_parts(root).valid[0]
    L, _ = expected(file, SIDE)
    with torch.no_grad():
        wanted = learn.model.eval()(L[None])[0]
    assert wanted.shape == (2, SIDE, SIDE)
    with quiet(learn):
        rgb, ab, _ = learn.predict(file)
        preds, _ = learn.get_preds(ds_idx=1)
        loss = learn.validate()[0]
        plt.switch_backend("agg")
        learn.show_results(max_n=2)
    torch.testing.assert_close(ab, wanted)
    assert rgb.shape == (3, SIDE, SIDE) and preds.shape == (4, 2, SIDE, SIDE)
    assert loss == pytest.approx(learn.seen[-1][2], rel=1e-3)  # of the epoch's validation
    drawn = [axes.images[0].get_array().shape for axes in plt.gcf().axes if axes.images]
    assert drawn == [(SIDE, SIDE, 3)] * 6
    plt.close("all")


def test_lr_find_trains_on_classes_and_leaves_the_model_as_it_was(learn):
    before = {name: value.clone() for name, value in learn.model.state_dict().items()}
    with quiet(learn):
        found = learn.lr_find(num_it=4, show_plot=False)
    assert 0 < found.valley < 10 and min(learn.recorder.losses) > 1
    after = learn.model.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert not learn.model.classifying


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_a_training_that_breaks_off_leaves_a_model_that_gives_colors(root, tmp_path, error):
    learn = make_learner(root, tmp_path, "bins")

    def breaks(*args):
        raise error

    hook = learn.model.middle.register_forward_hook(breaks)
    with quiet(learn), pytest.raises(error):
        learn.fit(1, 1e-3)
    hook.remove()
    L, _ = expected(training_parts(root).valid[0], SIDE)
    with torch.no_grad():
        assert learn.model.eval()(L[None]).shape == (1, 2, SIDE, SIDE)
    with quiet(learn):
        assert learn.get_preds(ds_idx=1)[0].shape == (4, 2, SIDE, SIDE)
        watch = Watch()
        learn.fit(1, 1e-3, cbs=watch)  # and goes on to train on classes
    assert [channels for _, channels, _, _ in watch.seen] == [len(bin_centers())] * 3 + [2]


def test_a_step_on_classes_reaches_encoder_and_decoder_alone(root, tmp_path):
    learn = make_learner(root, tmp_path, "bins", "bf16")
    before = {name: value.clone() for name, value in learn.model.state_dict().items()}
    with quiet(learn):
        learn.fit(1, 1e-3)
    after = learn.model.state_dict()
    same = {name for name, value in before.items() if torch.equal(value, after[name])}
    kept = {f"classes.{n}" for n in ("prior", "rebalancing", "temperature", "vivid", "saturation")}
    assert {name for name in same if name.startswith("classes")} == kept
    assert "encoder.0.1.weight" not in same and "classes.logits.weight" not in same


@pytest.mark.parametrize("rebalancing", [-0.1, 1.5, float("nan")])
def test_rebalancing_that_makes_no_sense_is_refused(root, rebalancing):
    dls = color_dataloaders(root, SIDE, 7)
    options = {"reconstruction": "bins", "decoder_channels": 8, "rebalancing": rebalancing}
    with pytest.raises(UsageError, match=f"rebalancing {rebalancing} is not between 0 and 1"):
        color_learner(dls, "resnet20@none", **options)


# FeatureLoss


class Gradient(Callback):
    """Loss, gradient of the loss and the prediction of every training batch."""

    order = 60

    def __init__(self):
        self.seen = []

    def before_backward(self):
        self.seen.append((self.x, self.y, self.pred.detach(), self.loss.item(), self.loss_grad))


def feature_learner(root, path, weight=0.5, precision="fp32"):
    learn = make_learner(root, path, "l1", precision)
    torch.manual_seed(0)
    learn.add_cb(FeatureLoss(weight, "resnet20@packaged"))
    return learn


def feature_distance(pred, target):
    """Of the last four resolutions of resnet20, which has three: their last features."""
    stages = rgb_stages("resnet20@packaged").eval()
    features = [[], []]
    with torch.no_grad():
        for x, found in zip((pred, target), features, strict=True):
            for stage in stages:
                x = stage(x)
                found.append(x)
    last = {x.shape[-1]: i for i, x in enumerate(features[0])}
    terms = [
        (features[0][i] - features[1][i]).abs().mean() / features[1][i].abs().mean()
        for i in list(last.values())[-4:]
    ]
    assert len(terms) == 3
    return torch.stack(terms).mean()


def test_the_loss_is_l1_and_the_weighted_distance_of_features(root, tmp_path):
    learn, watch = feature_learner(root, tmp_path), Gradient()
    with quiet(learn):
        learn.fit(1, 1e-3, cbs=watch)
    values = []
    for L, ab, pred, loss, loss_grad in watch.seen:
        values.append(feature_distance(decode(L, pred), decode(L, ab)).item())
        l1 = F.l1_loss(pred, ab).item()
        assert loss == pytest.approx(l1, rel=1e-5)
        assert loss_grad.item() == pytest.approx(l1 + 0.5 * values[-1], rel=1e-4)
    assert len(values) == 3 and min(values) > 0.01
    names = list(learn.recorder.metric_names)
    row = dict(zip(names[1:], learn.recorder.values[-1], strict=False))
    assert names.count("feature_loss") == 1
    assert row["feature_loss"] == pytest.approx(sum(values) / 3, rel=1e-4)
    with quiet(learn):
        preds = learn.get_preds(ds_idx=1)
    assert row["valid_loss"] == pytest.approx(F.l1_loss(*preds).item(), rel=1e-3)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_gradients_reach_the_generator_and_not_the_features(root, tmp_path, precision):
    learn = feature_learner(root, tmp_path, 1e4, precision)
    callback = learn.feature_loss
    network = {name: value.clone() for name, value in callback.stages.state_dict().items()}
    grads = []
    keep = lambda self: grads.append([p.grad.abs().sum().item() for p in self.model.parameters()])  # noqa: E731
    with quiet(learn):
        learn.fit(1, 1e-3, cbs=Callback(before_step=keep))
    assert all(sum(step) > 1 for step in grads) and len(grads) == 3
    after = callback.stages.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in network.items())
    assert all(p.grad is None and not p.requires_grad for p in callback.stages.parameters())
    assert not any(module.training for module in callback.stages.modules())
    assert learn.recorder.values[-1][-1] > 0.01
    assert not {id(p) for p in callback.stages.parameters()} & {
        id(p) for group in learn.opt.param_lists for p in group
    }


def test_without_weight_the_training_is_that_of_l1(root, tmp_path):
    states = []
    for learn in (make_learner(root, tmp_path, "l1"), feature_learner(root, tmp_path, 0.0)):
        torch.manual_seed(0)
        learn.dls.train.rng.seed(0)
        with quiet(learn):
            learn.fit(1, 1e-3)
        states.append(learn.model.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_removing_it_takes_its_column_along(root, tmp_path):
    learn = feature_learner(root, tmp_path)
    with quiet(learn):
        learn.fit(1, 1e-3)
        assert "feature_loss" in [metric.name for metric in learn.metrics]
        learn.fit(1, 1e-3)
    assert [metric.name for metric in learn.metrics].count("feature_loss") == 1
    learn.remove_cb(learn.feature_loss)
    assert [metric.name for metric in learn.metrics] == ["saturation"]
    learn.remove_cb(learn.precision)
    learn.export("export.pkl")
    assert b"FeatureLoss" not in (tmp_path / "export.pkl").read_bytes()


def test_an_encoder_that_is_not_there_is_refused():
    with pytest.raises(UsageError, match="did you mean 'resnet20'"):
        FeatureLoss(encoder="resnt20")


def test_by_name_it_looks_through_the_encoder_of_imagenet(root, tmp_path):
    learn = make_learner(root, tmp_path, "feature")
    assert [type(c) for c in learn.cbs if isinstance(c, (FeatureLoss, Precision))] == [
        Precision,
        FeatureLoss,
    ]
    features = learn.feature_loss.features(random(1, 3, 64, 64))
    assert [tuple(f.shape[1:]) for f in features] == [
        (24, 16, 16),
        (40, 8, 8),
        (112, 4, 4),
        (320, 2, 2),
    ]
