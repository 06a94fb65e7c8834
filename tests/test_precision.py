import math
import pickle

import pytest
import torch
from fastai.callback import fp16
from fastai.callback.core import Callback, CancelBatchException
from tiny_training import G_LR, Generator, assert_same, make_adversarial, make_learner, weights
from torch.amp import GradScaler
from torch.nn import functional as F

from colourgan.callbacks import EMA, Precision, precision, resolve_precision
from colourgan.errors import UsageError


def autocast_is_off():
    return not torch.is_autocast_enabled("cpu")


class Watch(Callback):
    """Notes which number format the model's output, the prediction and the loss have."""

    order = 11

    def before_fit(self):
        self.seen = []
        self.handle = self.model.register_forward_hook(self.note)

    def note(self, module, inputs, output):
        self.seen.append((self.training, output.dtype))

    def after_loss(self):
        assert self.pred.dtype == self.loss.dtype == torch.float32
        assert autocast_is_off()

    def after_fit(self):
        self.handle.remove()


@pytest.mark.parametrize(("mode", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_forward_is_in_the_chosen_format_in_training_and_validation(tmp_path, mode, dtype):
    watch = Watch()
    learn = make_learner(tmp_path, [Precision(mode), watch])
    learn.fit(1, lr=G_LR)
    assert watch.seen == [(True, dtype)] * 5 + [(False, dtype)] * 2
    assert {weight.dtype for weight in learn.model.parameters()} == {torch.float32}
    predictions, _ = learn.get_preds()
    assert watch.seen == [(False, dtype)] * 2 and predictions.dtype == torch.float32
    assert "one_batch" not in vars(learn) and autocast_is_off()


def test_loss_is_computed_inside_the_autocast(tmp_path):
    def loss(pred, target):
        assert torch.get_autocast_dtype("cpu") == torch.bfloat16 and not autocast_is_off()
        return F.l1_loss(pred, target)

    learn = make_learner(tmp_path, [Precision("bf16")])
    learn.loss_func = loss
    learn.fit(1)


def test_bf16_training_steps_the_weights(tmp_path):
    learn = make_learner(tmp_path, [Precision("bf16")])
    expected = make_learner(tmp_path).model
    start = weights(learn.model)
    learn.fit(1, lr=G_LR)
    adam = torch.optim.Adam(expected.parameters(), lr=G_LR, betas=(0.5, 0.999))
    for L, ab in learn.dls.train:
        with torch.autocast("cpu", torch.bfloat16):
            pred = expected(L)
        adam.zero_grad()
        F.l1_loss(pred.float(), ab).backward()
        adam.step()
    assert_same(learn.model, expected.state_dict(), atol=1e-6, rtol=1e-6)
    assert not torch.equal(learn.model.layers[0].weight, start["layers.0.weight"])


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, CancelBatchException])
@pytest.mark.parametrize("place", ["before_batch", "forward", "after_pred", "after_loss"])
def test_no_autocast_stays_open_after_an_error(tmp_path, place, error):
    def fail(*_):
        if place == "forward":
            assert not autocast_is_off()
        raise error("stop")

    learn = make_learner(tmp_path, [Precision("bf16")])
    if place == "forward":
        learn.model.register_forward_hook(fail)
    else:
        learn.add_cb(
            Callback(**{place: fail}, after_batch=lambda self: check.append(autocast_is_off()))
        )
    check = []
    if error is CancelBatchException:
        learn.fit(1)
    else:
        with pytest.raises(error):
            learn.fit(1)
    assert autocast_is_off() and all(check) and "one_batch" not in vars(learn)


def test_a_learner_without_it_works_after_an_interrupted_fit(tmp_path):
    precision = Precision("bf16")
    learn = make_learner(tmp_path, [precision])
    stop = Callback(before_step=lambda self: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        learn.fit(1, cbs=stop)
    learn.remove_cb(precision)
    learn.fit(1)


def test_channels_last_model_and_pickled_learner(tmp_path):
    learn = make_learner(tmp_path, [Precision("bf16"), make_adversarial()])
    learn.model.to(memory_format=torch.channels_last)
    learn.fit(1, lr=G_LR)
    learn.remove_cb(learn.adversarial)
    again = pickle.loads(pickle.dumps(learn))
    assert isinstance(again.model, Generator) and again.precision.mode == "bf16"
    again.validate()


def test_auto_follows_the_device(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    assert resolve_precision("auto", "cpu") == "fp32"
    monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported")
    assert resolve_precision("auto", "cpu") == "fp32"
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
    assert resolve_precision("auto", torch.device("cpu")) == "bf16"
    for fast, expected in ((True, "bf16"), (False, "fp32")):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation, f=fast: f)
        assert resolve_precision("auto", "cuda:0") == expected
    assert resolve_precision("auto", "mps") == "fp32"


@pytest.fixture
def fp16_on_cpu(monkeypatch):
    """fp16's loss scaling, which does not depend on the device, with a format all CPUs compute."""
    monkeypatch.setattr(precision, "resolve_precision", lambda mode, device: mode)
    monkeypatch.setitem(precision.DTYPES, "fp16", torch.bfloat16)
    monkeypatch.setattr(
        precision, "GradScaler", lambda _, enabled: GradScaler("cpu", enabled=enabled)
    )


def trained(tmp_path, mode, scale=None, **steps):
    steps = steps or {"d_steps": 2}
    adversarial, ema, numbers = make_adversarial("none", **steps), EMA(), Precision(mode)
    if scale:
        numbers.load_state_dict({"scaler": {**GradScaler("cpu").state_dict(), "scale": scale}})
    learn = make_learner(tmp_path, [adversarial, ema, numbers], count=8)
    learn.fit(1, lr=G_LR)
    return learn


def test_loss_scaling_changes_no_step(tmp_path, fp16_on_cpu):
    scaled, plain = trained(tmp_path, "fp16"), trained(tmp_path, "bf16")
    assert scaled.precision.state_dict()["scaler"]["scale"] == 65536
    assert scaled.adversarial.state_dict()["scaler"]["_growth_tracker"] == 8
    assert scaled.precision.state_dict()["scaler"]["_growth_tracker"] == 4
    assert plain.precision.state_dict() == {"scaler": {}}
    assert_same(scaled.model, plain.model.state_dict(), atol=1e-6, rtol=1e-6)
    expected = plain.adversarial.discriminator.state_dict()
    assert_same(scaled.adversarial.discriminator, expected, atol=1e-6, rtol=1e-6)


def test_loss_scaling_changes_none_of_several_steps_on_a_batch(tmp_path, fp16_on_cpu):
    steps = {"g_steps": 3, "same_batch": True}
    scaled, plain = (trained(tmp_path, mode, **steps) for mode in ("fp16", "bf16"))
    assert scaled.precision.state_dict()["scaler"]["_growth_tracker"] == 24
    assert scaled.adversarial.state_dict()["scaler"]["_growth_tracker"] == 8
    assert scaled.ema.updates == 24
    assert_same(scaled.model, plain.model.state_dict(), atol=1e-6, rtol=1e-6)
    expected = plain.adversarial.discriminator.state_dict()
    assert_same(scaled.adversarial.discriminator, expected, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("steps", [{}, {"g_steps": 2, "same_batch": True}], ids=str)
def test_fastais_own_loss_scaling_changes_no_step(tmp_path, monkeypatch, steps):
    scaler = lambda _, enabled: GradScaler("cpu", enabled=enabled)  # noqa: E731
    monkeypatch.setattr(fp16, "GradScaler", scaler)
    learners, opened = [], []

    class Autocast(fp16.autocast):
        def __enter__(self):
            opened.append(1)
            return super().__enter__()

        def __exit__(self, *error):
            opened.append(-1)
            return super().__exit__(*error)

    monkeypatch.setattr(fp16, "autocast", Autocast)
    for numbers in ([fp16.MixedPrecision()], []):
        learn = make_learner(tmp_path, [make_adversarial("none", **steps), *numbers])
        learn.fit(1, lr=G_LR)
        learners.append(learn)
    scaled, plain = learners
    assert opened == [1, -1] * (len(opened) // 2) and opened
    assert_same(scaled.model, plain.model.state_dict(), atol=1e-6, rtol=1e-6)
    expected = plain.adversarial.discriminator.state_dict()
    assert_same(scaled.adversarial.discriminator, expected, atol=1e-6, rtol=1e-6)


def test_overflow_in_a_further_step_skips_that_step_alone(tmp_path, fp16_on_cpu):
    steps = {"g_steps": 3, "same_batch": True}
    learn = trained(tmp_path, "fp16", scale=float(2**127), **steps)
    skipped = 127 - math.log2(learn.precision.state_dict()["scaler"]["scale"])
    assert skipped > 0 and learn.ema.updates == 24 - skipped
    assert all(weight.isfinite().all() for weight in learn.model.parameters())


def test_a_step_whose_gradients_overflow_is_skipped(tmp_path, fp16_on_cpu):
    learn = trained(tmp_path, "fp16", scale=float(2**127))
    scale = learn.precision.state_dict()["scaler"]["scale"]
    assert scale < 2**127 and learn.ema.updates == 4 - (127 - math.log2(scale))
    assert all(weight.isfinite().all() for weight in learn.model.parameters())
    before = learn.precision.state_dict()
    learn.fit(1, lr=0)
    after = learn.precision.state_dict()
    assert after["scaler"]["scale"] <= before["scaler"]["scale"]


@pytest.mark.parametrize("mode", ["fp32", "bf16"])
def test_what_is_asked_for_is_what_comes(mode):
    assert resolve_precision(mode, "cpu") == resolve_precision(mode, "cuda") == mode
    assert resolve_precision("fp16", "cuda") == "fp16"


def test_wrong_use_is_one_clear_line(tmp_path):
    for ask in (lambda: Precision("fp64"), lambda: resolve_precision("fp64", "cpu")):
        with pytest.raises(UsageError, match="'fp64': choices: auto, fp32, bf16, fp16"):
            ask()
    learn = make_learner(tmp_path, [Precision("fp16")])
    with pytest.raises(UsageError) as error:
        learn.fit(1)
    assert str(error.value).startswith("precision fp16 needs a CUDA GPU: on cpu choose")
