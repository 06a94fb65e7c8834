from math import inf, isnan, nan

import pytest
import torch
from fastai.callback.core import Callback
from tiny_training import G_LR, assert_same, make_learner, saved, weights

from colourgan.callbacks import EMA, BestEpoch, best
from colourgan.callbacks.best import gain
from colourgan.errors import UsageError


def colors(seed, strength=0.1):
    """ab (4, 2, 16, 16) small enough that sRGB holds nearly all of it made twice as strong."""
    random = torch.Generator().manual_seed(seed)
    small = torch.rand(4, 2, 2, 2, generator=random) * 2 - 1
    return torch.nn.functional.interpolate(small, size=16, mode="bilinear") * strength


L = torch.zeros(4, 1, 16, 16)
TRUE = colors(0)


def test_mere_saturation_gains_nothing():
    start = colors(1)
    assert gain(start, start, L, TRUE) == 0
    for factor in (0.5, 1.7):
        assert abs(gain(start * factor, start, L, TRUE)) < 2e-3


def test_gain_is_the_share_of_l1_that_is_gone_at_equal_colorfulness():
    start, near = colors(1), 0.7 * TRUE + 0.3 * colors(1)
    assert gain(near, start, L, TRUE) > 0.3
    assert gain(start, near, L, TRUE) < -0.3
    # Equally colorful: nothing is scaled.
    mirrored = TRUE.flip(-1)
    expected = 1 - (0.2 * (mirrored - TRUE)).abs().mean() / (mirrored - TRUE).abs().mean()
    mix = 0.2 * mirrored + 0.8 * TRUE
    assert gain(mix, mirrored, L, TRUE) == pytest.approx(float(expected), abs=0.05)


BROKEN = [torch.full_like(TRUE, value) for value in (0, nan, inf)]


@pytest.mark.parametrize("broken", BROKEN)
def test_grey_and_nan_have_no_gain(broken):
    assert isnan(gain(broken, TRUE, L, TRUE)) and isnan(gain(TRUE, broken, L, TRUE))


def judged(tmp_path, monkeypatch, gains, patience, waited=0):
    """Trains an epoch after the other with these gains until it is stopped; the kept epochs."""
    values = iter(gains)
    monkeypatch.setattr(best, "gain", lambda *tensors: next(values))
    learn = make_learner(tmp_path)
    callback = BestEpoch(learn.model, learn.dls, patience, waited)
    learn.add_cb(callback)
    kept = []
    for epoch in range(len(gains)):
        if callback.stopped:
            break
        learn.epochs_before = epoch
        learn.fit(1, lr=G_LR)
        assert learn.recorder.metric_names[3] == "gain"
        torch.testing.assert_close(learn.recorder.final_record[2], gains[epoch], equal_nan=True)
        kept += [epoch + 1] if callback.keeps else []
    return callback, kept


@pytest.mark.parametrize(
    "gains, patience, waited, kept, ended",
    [
        ([0.1, 0.2, 0.3], 1, 0, [1, 2, 3], 3),
        ([0.1, 0.3, 0.2, 0.3, 0.5], 2, 0, [1, 2], 4),  # as good is not better
        ([0.1, 0.3, 0.2, 0.4, 0.3], 2, 0, [1, 2, 4], 5),
        ([-0.2, -0.1, -0.3], 1, 0, [1, 2], 3),
        ([0.0, 0.0, -0.2, -0.3, -0.1], 1, 2, [1, 2, 3], 4),
        ([nan, -0.1, nan, 0.2], 2, 0, [1, 2, 4], 4),
        ([nan, nan, nan], 1, 0, [1], 2),
    ],
)
def test_the_best_epoch_is_kept_and_patience_ends(
    gains, patience, waited, kept, ended, tmp_path, monkeypatch
):
    callback, found = judged(tmp_path, monkeypatch, gains, patience, waited)
    assert (found, callback.epoch) == (kept, ended)
    assert callback.best_epoch == kept[-1]


def test_it_goes_on_from_a_state(tmp_path, monkeypatch):
    callback, _ = judged(tmp_path, monkeypatch, [0.1, 0.3, 0.2], 2)
    learn = make_learner(tmp_path)
    resumed = BestEpoch(learn.model, learn.dls, 2)
    resumed.load_state_dict(saved(callback.state_dict()))
    assert (resumed.epoch, resumed.best_epoch, resumed.best) == (3, 2, 0.3)
    assert not resumed.keeps and not resumed.stopped
    resumed.epoch = 4
    assert resumed.stopped


def test_it_judges_the_average_against_the_generator_before_the_training(tmp_path):
    seen, ema = [], EMA(0.9)
    watch = Callback(after_batch=lambda self: seen.append(self.training))
    learn = make_learner(tmp_path, [ema, watch])
    start = weights(learn.model)
    callback = BestEpoch(learn.model, learn.dls, 1)
    learn.add_cb(callback)
    learn.fit(1, lr=0.1)
    learn.model.eval()
    with torch.no_grad(), ema.averaged():
        pred = learn.model(callback.L)
    torch.testing.assert_close(callback.value, gain(pred, callback.start, callback.L, callback.ab))
    learn.model.load_state_dict(start)
    assert torch.equal(learn.model(callback.L), callback.start)


def test_looking_changes_neither_chance_nor_weights_nor_modes(tmp_path):
    learn = make_learner(tmp_path)
    before, chance = weights(learn.model), torch.get_rng_state()
    learn.model.layers[1].eval()
    callback = BestEpoch(learn.model, learn.dls, 1)
    assert torch.equal(torch.get_rng_state(), chance)
    assert learn.model.training and not learn.model.layers[1].training
    assert_same(learn.model, before, rtol=0, atol=0)
    assert len(callback.L) == 4 and not callback.start.requires_grad
    learn.add_cb(callback)
    learn.validate()
    learn.lr_find(num_it=2, show_plot=False, suggest_funcs=())
    assert callback.epoch == callback.best_epoch == 0
    learn.remove_cb(callback)
    assert not [m for m in learn.metrics if m.name == "gain"]


def test_no_more_than_256_images_are_judged(tmp_path, monkeypatch):
    monkeypatch.setattr(best, "JUDGED", 3)
    learn = make_learner(tmp_path)
    assert len(BestEpoch(learn.model, learn.dls, 1).ab) == 3


def test_patience_below_one_is_refused(tmp_path):
    learn = make_learner(tmp_path)
    with pytest.raises(UsageError, match="1 epoch or more, not 0"):
        BestEpoch(learn.model, learn.dls, 0)
