import pytest
import torch
from fastai.callback.core import Callback, CancelStepException
from tiny_training import G_LR, assert_same, make_adversarial, make_learner, weights

from colourgan.callbacks import EMA
from colourgan.errors import UsageError


class Trace(Callback):
    """Keeps the weights after every step, and those that validation saw."""

    order = 80

    def before_fit(self):
        self.steps, self.validated = [weights(self.model)], []

    def after_step(self):
        self.steps.append(weights(self.model))

    def after_batch(self):
        if not self.training:
            self.validated.append(weights(self.model))


def by_hand(steps, decay):
    average = steps[0]
    for t, now in enumerate(steps[1:]):
        keep = min(decay, (1 + t) / (10 + t))
        average = {
            name: keep * average[name] + (1 - keep) * w if w.is_floating_point() else w
            for name, w in now.items()
        }
    return average


@pytest.mark.parametrize("decay", [0.999, 0.15])
def test_average_equals_the_formula_and_is_what_validation_sees(tmp_path, decay):
    ema, trace = EMA(decay), Trace()
    learn = make_learner(tmp_path, [ema, trace])
    learn.fit(1, lr=0.1)
    expected = by_hand(trace.steps, decay)
    assert ema.updates == 5
    torch.testing.assert_close(ema.average, expected)
    torch.testing.assert_close(trace.validated, [ema.average] * 2, rtol=0, atol=0)
    assert_same(learn.model, trace.steps[-1], rtol=0, atol=0)
    with ema.averaged():
        assert_same(learn.model, ema.average, rtol=0, atol=0)
    assert_same(learn.model, trace.steps[-1], rtol=0, atol=0)
    ema.copy_to_model()
    assert_same(learn.model, ema.average, rtol=0, atol=0)
    assert (ema.average["layers.0.weight"] - trace.steps[-1]["layers.0.weight"]).abs().max() > 0.001


def test_only_the_generators_own_steps_count(tmp_path):
    ema = EMA()
    make_learner(tmp_path, [ema, make_adversarial(d_steps=5)], count=12).fit(1)
    assert ema.updates == 2

    def skip(self):
        raise CancelStepException

    ema = EMA()
    make_learner(tmp_path, [ema, Callback(before_step=skip)]).fit(1)
    assert ema.updates == 0


def test_it_goes_on_from_a_state_and_over_fits(tmp_path):
    once, twice, resumed = EMA(), EMA(), EMA()
    make_learner(tmp_path, [once]).fit(2, lr=G_LR)
    learn = make_learner(tmp_path, [twice])
    learn.fit(1, lr=G_LR)
    learn.fit(1, lr=G_LR)
    torch.testing.assert_close(twice.state_dict(), once.state_dict(), rtol=0, atol=0)
    resumed.load_state_dict(twice.state_dict())
    learn.fit(1, lr=G_LR)
    assert (twice.updates, resumed.updates) == (15, 10)
    torch.testing.assert_close(resumed.state_dict(), once.state_dict(), rtol=0, atol=0)


def test_outside_fit_the_model_stays_what_it_is(tmp_path):
    ema, trace = EMA(), Trace()
    learn = make_learner(tmp_path, [ema, trace])
    ema.copy_to_model()  # nothing to give yet
    learn.validate()
    assert ema.updates == 0 and not ema.average
    learn.fit(1, lr=0.1)
    last = trace.steps[-1]
    learn.validate()
    torch.testing.assert_close(trace.validated, [last] * 2, rtol=0, atol=0)


def test_weights_loaded_before_training_are_where_the_average_begins(tmp_path):
    ema = EMA()
    learn = make_learner(tmp_path, [ema])
    learn.lr_find(num_it=6, show_plot=False, suggest_funcs=None)
    torch.nn.init.ones_(learn.model.layers[0].weight)
    learn.fit(1, lr=0)
    assert ema.average["layers.0.weight"].eq(1).all()


def test_training_goes_on_with_its_own_weights_after_an_interrupted_validation(tmp_path):
    ema, trace = EMA(), Trace()
    learn = make_learner(tmp_path, [ema, trace])

    def interrupt(self):
        if not self.training:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        learn.fit(1, lr=0.1, cbs=Callback(after_pred=interrupt))
    last = trace.steps[-1]
    learn.fit(1, lr=0)
    for now in (trace.steps[1], weights(learn.model)):
        assert torch.equal(now["layers.0.weight"], last["layers.0.weight"])


@pytest.mark.parametrize("decay", [-0.1, 1.0])
def test_wrong_decay_is_a_usage_error(decay):
    with pytest.raises(UsageError, match="decay"):
        EMA(decay)
