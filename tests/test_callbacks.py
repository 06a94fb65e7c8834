import copy
import pickle
from contextlib import nullcontext
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from fastai.callback.core import Callback, CancelBatchException
from tiny_training import (
    BATCH,
    G_LR,
    SIZE,
    assert_same,
    batches,
    changed,
    make_adversarial,
    make_learner,
    saved,
    weights,
)
from torch import nn
from torch.nn import functional as F

from colourgan.callbacks import EMA, Adversarial, Precision, Watch, base
from colourgan.discriminators import DISCRIMINATORS
from colourgan.errors import RunError, UsageError
from colourgan.objectives import OBJECTIVES


def plain_loop(G, D, data, d_steps=1, dtype=None, g_steps=1, same_batch=False):
    """pix2pix's training as one would write it without fastai."""
    autocast = partial(torch.autocast, "cpu", dtype=dtype) if dtype else nullcontext
    g_adam = torch.optim.Adam(G.parameters(), lr=G_LR, betas=(0.5, 0.999))
    d_adam = torch.optim.Adam(D.parameters(), lr=2e-4, betas=(0.5, 0.999), fused=True)
    G.train(), D.train().to(memory_format=torch.channels_last)
    for step in range(1, len(data) // BATCH + 1):
        batch = data[(step - 1) * BATCH : step * BATCH]
        L, real = torch.stack([x for x, _ in batch]), torch.stack([y for _, y in batch])
        with autocast():
            fake = G(L)
        fake = fake.float()

        for _ in range(d_steps if same_batch else 1):
            with autocast():
                on_real, on_fake = D(L, real), D(L, fake.detach())
            on_real, on_fake = on_real.float(), on_fake.float()
            real_loss = F.binary_cross_entropy_with_logits(on_real, torch.ones_like(on_real))
            fake_loss = F.binary_cross_entropy_with_logits(on_fake, torch.zeros_like(on_fake))
            d_adam.zero_grad()
            ((real_loss + fake_loss) / 2).backward()
            d_adam.step()

        if not same_batch and step % d_steps:
            continue
        for turn in range(g_steps):
            if turn:
                with autocast():
                    fake = G(L)
                fake = fake.float()
            with autocast():
                logits = D(L, fake)
            logits = logits.float()
            adversarial = F.binary_cross_entropy_with_logits(logits, torch.ones_like(logits))
            g_adam.zero_grad()
            (100 * F.l1_loss(fake, real) + adversarial).backward()
            g_adam.step()


@pytest.mark.parametrize("norm", ["batch", "spectral"])
@pytest.mark.parametrize("d_steps", [1, 5])
@pytest.mark.parametrize("mode", [None, "fp32", "bf16"])
def test_five_steps_equal_a_plain_torch_loop(tmp_path, mode, d_steps, norm):
    adversarial = make_adversarial(norm, d_steps=d_steps)
    learn = make_learner(tmp_path, [adversarial, *([Precision(mode)] if mode else [])])
    G, D = copy.deepcopy(learn.model), make_adversarial(norm).discriminator
    plain_loop(G, D, batches(5), d_steps, torch.bfloat16 if mode == "bf16" else None)
    d_start, g_start = weights(adversarial.discriminator), weights(learn.model)
    learn.fit(1, lr=G_LR)
    assert_same(learn.model, G.state_dict(), atol=1e-6, rtol=1e-6)
    assert_same(adversarial.discriminator, D.state_dict(), atol=1e-6, rtol=1e-6)
    assert changed(adversarial.discriminator, d_start) and changed(learn.model, g_start)


SEVERAL = [{"d_steps": 3, "same_batch": True}, {"g_steps": 3, "same_batch": True}]
several = pytest.mark.parametrize("steps", SEVERAL, ids=["discriminator", "generator"])


def adam_steps(optimizer):
    (count,) = {int(state["step"]) for state in optimizer.state.values()}
    return count


@pytest.mark.parametrize("mode", [None, "fp32", "bf16"])
@pytest.mark.parametrize("norm", ["batch", "spectral"])
@several
def test_several_steps_on_the_same_batch_equal_a_plain_torch_loop(tmp_path, steps, norm, mode):
    adversarial, ema = make_adversarial(norm, **steps), EMA(0.9)
    learn = make_learner(tmp_path, [adversarial, ema, *([Precision(mode)] if mode else [])])
    G, D = copy.deepcopy(learn.model), make_adversarial(norm).discriminator
    plain_loop(G, D, batches(5), dtype=torch.bfloat16 if mode == "bf16" else None, **steps)
    learn.fit(1, lr=G_LR)
    assert_same(learn.model, G.state_dict(), atol=1e-6, rtol=1e-6)
    assert_same(adversarial.discriminator, D.state_dict(), atol=1e-6, rtol=1e-6)
    for_d, for_g = 5 * steps.get("d_steps", 1), 5 * steps.get("g_steps", 1)
    assert adam_steps(adversarial.optimizer) == len(adversarial.watch.values["d_loss"]) == for_d
    assert adam_steps(learn.opt.opt) == len(adversarial.watch.values["g_loss"]) == for_g
    assert ema.updates == for_g
    assert adversarial.steps == len(learn.recorder.losses) == 5  # a batch counts once
    assert not torch.is_autocast_enabled("cpu")


def test_a_batch_of_several_generator_steps_is_one_batch_to_other_callbacks(tmp_path):
    events = []
    names = ("before_batch", "after_pred", "after_loss", "before_step", "after_step", "after_batch")

    class Noting(Callback):
        order, run_valid = 70, False  # after all others

    for name in names:
        setattr(Noting, name, lambda self, name=name: events.append((name, self.iter)))
    adversarial = make_adversarial(g_steps=2, same_batch=True)
    learn = make_learner(tmp_path, [adversarial, Noting()], count=2)
    learn.fit_one_cycle(1, G_LR)
    a_batch = [names[0], *names[1:-1] * 2, names[-1]]
    expected = [(name, i) for i in range(2) for name in a_batch]
    assert events == expected
    assert len(learn.recorder.lrs) == 2


def test_a_further_step_that_another_callback_cancels_ends_the_batch(tmp_path):
    seen = []

    class Cancelling(Callback):
        order, run_valid = 20, False

        def after_pred(self):
            seen.append(self.iter)
            if seen.count(self.iter) == 2:
                raise CancelBatchException

        def after_batch(self):
            assert not torch.is_autocast_enabled("cpu")  # closed by Precision's after_cancel_batch

    adversarial = make_adversarial(g_steps=4, same_batch=True)
    learn = make_learner(tmp_path, [adversarial, Precision("bf16"), Cancelling()], count=3)
    learn.fit(1, lr=G_LR)
    assert seen == [0, 0, 1, 1, 2, 2] and adam_steps(learn.opt.opt) == 3


def test_the_penalty_is_that_of_each_step_on_the_same_batch(tmp_path, monkeypatch):
    objective, D = OBJECTIVES["wgan_gp"](), make_adversarial("none").discriminator
    adversarial = Adversarial(D, objective, lr=1e-2, d_steps=3, same_batch=True)
    D = copy.deepcopy(D)
    learn = make_learner(tmp_path, [adversarial], count=1)
    L, real = (torch.stack(part) for part in zip(*batches(1), strict=True))
    fake = copy.deepcopy(learn.model)(L).detach()
    place = torch.full((BATCH, 1, 1, 1), 0.5)  # of every mixture, for both
    monkeypatch.setattr(torch, "rand", lambda *size, device: place)
    learn.fit(1, lr=G_LR)
    adam, expected = torch.optim.Adam(D.parameters(), lr=1e-2, betas=(0.5, 0.999)), []
    for _ in range(3):
        penalty = objective.penalty(D, L, real, fake)
        expected.append(float(penalty))
        adam.zero_grad()
        (objective.d_loss(D(L, real), D(L, fake)) + penalty).backward()
        adam.step()
    assert len(set(expected)) == 3
    assert adversarial.watch.values["d_penalty"] == pytest.approx(expected)
    assert_same(adversarial.discriminator, D.state_dict(), atol=1e-6, rtol=1e-6)


# Noise


class Watched(nn.Module):
    """Notes what a discriminator is shown; judges by the means of L and ab."""

    def __init__(self):
        super().__init__()
        self.weight, self.seen = nn.Parameter(torch.ones(())), []

    def forward(self, L, ab):
        self.seen.append((L.detach().clone(), ab.detach().clone()))
        return self.weight * (L.mean((1, 2, 3)) + ab.mean((1, 2, 3)))


def shown(tmp_path, count=1, **options):
    """Of each batch: L, true ab and predicted ab, and what the discriminator saw, call by call."""
    adversarial, made = Adversarial(Watched(), OBJECTIVES["bce"](), **options), []
    note = lambda self: made.append((*self.xb, *self.yb, self.pred.detach().clone()))  # noqa: E731
    watch = Callback(after_pred=note)
    make_learner(tmp_path, [adversarial, watch], count=count).fit(1, lr=G_LR)
    return made, adversarial.discriminator.seen


def test_noise_on_lightness_is_the_same_wherever_the_discriminator_looks(tmp_path):
    ((L, ab, pred), *_), seen = shown(tmp_path, d_noise_l=0.3)
    (on_real, on_fake, in_loss) = seen
    assert torch.equal(on_real[0], on_fake[0]) and torch.equal(on_real[0], in_loss[0])
    noise, inside = on_real[0] - L, on_real[0].abs() < 1
    assert on_real[0].abs().max() == 1 and not inside.all()  # clamped
    assert noise[L.abs() < 0.2].std().item() == pytest.approx(0.3, rel=0.2)
    assert torch.equal(on_real[1], ab)
    assert torch.equal(on_fake[1], pred) and torch.equal(in_loss[1], pred)


def test_noise_on_ab_is_on_true_ab_alone(tmp_path):
    ((L, ab, pred), *_), seen = shown(tmp_path, d_noise_ab=0.2)
    (on_real, on_fake, in_loss) = seen
    assert all(torch.equal(each[0], L) for each in seen)
    noise = on_real[1] - ab
    assert noise.std().item() == pytest.approx(0.2, rel=0.1)
    assert noise[:, 0].std() > 0.1 and noise[:, 1].std() > 0.1 and noise.mean().abs() < 0.05
    assert on_real[1].abs().max() > 1  # not clamped
    assert torch.equal(on_fake[1], pred) and torch.equal(in_loss[1], pred)


@several
def test_a_batch_has_one_draw_of_noise_and_another_batch_another(tmp_path, steps):
    made, seen = shown(tmp_path, count=2, d_noise_l=0.1, d_noise_ab=0.1, **steps)
    half = len(seen) // 2
    assert half == (7 if "d_steps" in steps else 5)
    for part in (seen[:half], seen[half:]):
        assert all(torch.equal(L, part[0][0]) for L, _ in part)
        assert sum(torch.equal(ab, part[0][1]) for _, ab in part) == steps.get("d_steps", 1)
    passes = steps.get("g_steps", 1)
    noise = [seen[i * half][1] - made[i * passes][1] for i in range(2)]
    assert all(each.std() > 0.05 for each in (*noise, noise[0] - noise[1]))


def test_the_penalty_and_the_generators_loss_are_of_noisy_lightness(tmp_path):
    got = []

    class Penalized(type(OBJECTIVES["bce"]())):
        def penalty(self, discriminator, L, real, fake):
            got.append((L, real, fake))
            return 0 * discriminator.weight

    adversarial = Adversarial(Watched(), Penalized(), d_noise_l=0.1, d_noise_ab=0.1)
    make_learner(tmp_path, [adversarial], count=1).fit(1, lr=G_LR)
    ((L, real, fake),) = got
    (on_real, on_fake, _) = adversarial.discriminator.seen
    assert torch.equal(L, on_real[0]) and torch.equal(real, on_real[1])
    assert torch.equal(fake, on_fake[1])


def test_reconstruction_is_of_clean_colors(tmp_path):
    losses = []
    for options in ({}, {"d_noise_l": 0.5, "d_noise_ab": 0.5}):
        learn = make_learner(tmp_path, [make_adversarial("none", **options)], count=1)
        learn.fit(1, lr=G_LR)
        losses.append(learn.recorder.losses[0])
    assert losses[0] == losses[1]


def test_without_noise_nothing_is_drawn(tmp_path, monkeypatch):
    def drawn(*arguments):
        raise AssertionError

    monkeypatch.setattr(torch, "randn_like", drawn)
    make_learner(tmp_path, [make_adversarial()], count=1).fit(1, lr=G_LR)


def test_five_to_one_moves_the_generator_on_every_fifth_batch_only(tmp_path):
    moved = []
    watch = Callback(after_step=lambda self: moved.append(self.train_iter))
    adversarial = make_adversarial(d_steps=5)
    learn = make_learner(tmp_path, [adversarial, watch], count=12)
    learn.fit(1, lr=G_LR)
    assert moved == [4, 9] and adversarial.steps == 12
    assert (
        len(adversarial.watch.values["g_loss"]) == 2
        and len(adversarial.watch.values["d_loss"]) == 12
    )
    assert len(learn.recorder.losses) == 12


@pytest.mark.parametrize("precision", [True, False])
def test_the_generator_keeps_no_graph_where_it_does_not_step(tmp_path, precision):
    graphs = []
    watch = Callback(after_pred=lambda self: graphs.append(self.pred.requires_grad))
    cbs = [make_adversarial(d_steps=3), *([Precision("bf16")] if precision else [])]
    make_learner(tmp_path, [*cbs, Callback(), watch], count=6).fit(1, lr=G_LR)
    training = graphs[:6]
    assert training == ([False, False, True] * 2 if precision else [True] * 6)
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("steps", [{}, {"d_steps": 2}, {"g_steps": 3}, *SEVERAL], ids=str)
def test_alone_the_discriminator_trains_on_a_generator_that_stays_as_it_is(tmp_path, steps):
    predicted = []

    def keep(callback):
        expected = copy.deepcopy(callback.model).eval()(*callback.xb)
        predicted.append(torch.equal(callback.pred, expected) or not callback.training)

    adversarial, ema = make_adversarial(**steps), EMA(0.9)
    learn = make_learner(tmp_path, [adversarial, ema, Callback(after_pred=keep)])
    g_start, d_start = weights(learn.model), weights(adversarial.discriminator)
    adversarial.alone, adversarial.steps = True, 1  # not the turn of a g_steps above 1
    learn.fit(2, lr=1.0)
    assert_same(learn.model, g_start, rtol=0, atol=0)
    assert_same(learn.model, ema.average, rtol=0, atol=0)
    assert ema.updates == 0 and len(predicted) > 10 and all(predicted)
    assert changed(adversarial.discriminator, d_start)
    each = steps.get("d_steps", 1) if "same_batch" in steps else 1
    assert (
        len(adversarial.watch.values["d_loss"]) == 5 * each
        and not adversarial.watch.values["g_loss"]
    )
    adversarial.alone = False
    learn.fit(1, lr=G_LR)
    assert learn.model.training is False and changed(learn.model, g_start)  # after validation
    assert adversarial.steps == 6 and ema.updates == len(adversarial.watch.values["g_loss"]) > 0


def test_discriminator_answers_with_its_new_weights_under_bf16(tmp_path):
    seen = []
    adversarial = make_adversarial("none", lr=0.1)
    keep = lambda module, inputs, logits: seen.append((inputs[1].detach(), logits.detach()))  # noqa: E731
    adversarial.discriminator.register_forward_hook(keep)
    make_learner(tmp_path, [adversarial, Precision("bf16")], count=1).fit(1, lr=G_LR)
    _, (fake, before_step), (same_fake, after_step) = seen
    assert torch.equal(fake, same_fake) and before_step.dtype == torch.bfloat16
    assert (before_step - after_step).abs().mean() > 0.1


def test_generators_backward_leaves_no_gradient_in_the_discriminator(tmp_path):
    adversarial = make_adversarial("none")
    gradients = []

    def keep(callback):
        gradients.append([weight.grad.clone() for weight in adversarial.discriminator.parameters()])

    watch = Callback(before_backward=keep, after_backward=keep)
    make_learner(tmp_path, [adversarial, watch], count=1).fit(1, lr=G_LR)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=0, atol=0)


def test_columns_hold_the_epoch_means_and_loss_stays_l1(tmp_path):
    adversarial = make_adversarial()
    learn = make_learner(tmp_path, [adversarial])
    learn.fit(2, lr=0)
    names = ["d_loss", "g_loss", "d_real_accuracy", "d_fake_accuracy"]
    assert list(learn.recorder.metric_names) == [
        "epoch",
        "train_loss",
        "valid_loss",
        *names,
        "time",
    ]
    values = dict(zip(learn.recorder.metric_names[1:], learn.recorder.values[-1], strict=False))
    for name in names:
        assert len(adversarial.watch.values[name]) == 5
        assert values[name] == pytest.approx(sum(adversarial.watch.values[name]) / 5)
    assert 0.4 < values["d_loss"] < 0.9 and 0.4 < values["g_loss"] < 1.0
    assert 0 <= values["d_real_accuracy"] <= 1 and 0 < values["d_fake_accuracy"] < 1
    l1 = [F.l1_loss(learn.model.train()(x[None]), y[None]).item() for x, y in batches(5)]
    assert values["train_loss"] == pytest.approx(sum(l1) / len(l1), abs=0.05)


def test_accuracies_are_the_shares_on_the_right_side_of_zero(tmp_path):
    class Sure(nn.Module):
        def __init__(self):
            super().__init__()
            self.shift = nn.Parameter(torch.zeros(()))

        def forward(self, L, ab):
            return torch.tensor([1.0, 1.0, 1.0, -1.0]).expand(len(L), 4) + self.shift

    adversarial = Adversarial(Sure(), OBJECTIVES["bce"](), lr=0)
    make_learner(tmp_path, [adversarial]).fit(1, lr=0)
    assert adversarial.watch.values["d_real_accuracy"] == [0.75] * 5
    assert adversarial.watch.values["d_fake_accuracy"] == [0.25] * 5


def test_penalty_of_an_objective_reaches_the_discriminator(tmp_path):
    class Penalized(type(OBJECTIVES["bce"]())):
        def penalty(self, discriminator, L, real, fake):
            assert not torch.is_autocast_enabled("cpu") and not fake.requires_grad
            assert real.dtype == fake.dtype == torch.float32
            return 1e4 * discriminator.layers[0].weight.square().sum()

    adversarial, plain = make_adversarial("none"), make_adversarial("none")
    adversarial.objective = Penalized()
    for callback in (adversarial, plain):
        make_learner(tmp_path, [callback, Precision("bf16")]).fit(1)
    norms = [c.discriminator.layers[0].weight.norm() for c in (adversarial, plain)]
    assert norms[0] < norms[1] - 1e-3


@pytest.mark.parametrize("steps", [{"d_steps": 2}, *SEVERAL], ids=str)
def test_lr_find_leaves_everything_as_it_was(tmp_path, steps):
    adversarial, ema = make_adversarial(**steps), EMA()
    learn = make_learner(tmp_path, [adversarial, ema, Precision("bf16")])
    learn.fit(1, lr=G_LR)
    before = copy.deepcopy([adversarial.state_dict(), ema.state_dict(), learn.opt.state_dict()])
    generator = weights(learn.model)
    learn.lr_find(num_it=12, show_plot=False, stop_div=False)
    after = [adversarial.state_dict(), ema.state_dict(), learn.opt.state_dict()]
    after[2]["param_groups"][0]["lr"] = before[2]["param_groups"][0]["lr"]  # set by every fit
    torch.testing.assert_close(after, before, rtol=0, atol=0)
    assert_same(learn.model, generator, rtol=0, atol=0)


def test_lr_find_ends_quietly_where_the_losses_explode(tmp_path):
    adversarial = make_adversarial("none", reconstruction_weight=1e30)
    learn = make_learner(tmp_path, [adversarial])
    start, generator = weights(adversarial.discriminator), weights(learn.model)
    learn.lr_find(
        start_lr=1, end_lr=1e39, num_it=30, show_plot=False, stop_div=False, suggest_funcs=None
    )
    assert len(learn.recorder.losses) < 30
    assert_same(adversarial.discriminator, start)
    assert_same(learn.model, generator)


def test_validate_and_get_preds_leave_the_discriminator_alone(tmp_path):
    adversarial = make_adversarial()
    adversarial.discriminator.eval()
    learn = make_learner(tmp_path, [adversarial])
    before = weights(adversarial.discriminator)
    learn.validate()
    learn.get_preds()
    assert not changed(adversarial.discriminator, before) and not adversarial.discriminator.training
    assert adversarial.steps == 0 and len(learn.metrics) == 0
    learn.fit(1)
    assert len(learn.metrics) == 4 and adversarial.steps == 5
    assert adversarial.discriminator.training
    learn.fit(1)
    assert len(learn.metrics) == 4
    state = copy.deepcopy(adversarial.state_dict())
    learn.validate()
    torch.testing.assert_close(adversarial.state_dict(), state, rtol=0, atol=0)


def test_removing_it_leaves_a_plain_learner(tmp_path):
    adversarial = make_adversarial()
    learn = make_learner(tmp_path, [adversarial])
    learn.metrics = [F.mse_loss]
    learn.fit(1)
    learn.remove_cb(adversarial)
    assert [metric.name for metric in learn.metrics] == ["mse_loss"]
    assert not hasattr(learn, "adversarial") and adversarial.learn is None
    assert b"colourgan" not in pickle.dumps(learn)
    learn.fit(1)


@pytest.mark.parametrize(("loss", "where"), [("l1_loss", 0), ("l1_loss", 1), ("g_loss", None)])
def test_nan_ends_fit_with_run_error_before_any_step(tmp_path, loss, where):
    data = batches(3)
    if where is not None:
        data[2 * BATCH][where][:] = float("nan" if where else "inf")
    adversarial = make_adversarial()
    if where is None:
        broken = type("Broken", (type(adversarial.objective),), {})
        broken.g_loss = lambda self, logits: logits.mean() * float("inf")
        adversarial.objective = broken()
    learn = make_learner(tmp_path, [adversarial], train=data)
    with pytest.raises(RunError) as error:
        learn.fit(1)
    expected = (
        f"{loss} is .* in epoch 1, batch {2 if where is not None else 0}: .*last good model is kept"
    )
    assert error.match("^" + expected) and "\n" not in str(error.value)
    nets = (learn.model, adversarial.discriminator)
    for net in nets:
        assert all(parameter.isfinite().all() for parameter in net.parameters())
    assert all(parameter.requires_grad for parameter in nets[1].parameters())


def test_a_few_losses_are_read_together_and_none_is_missed(monkeypatch):
    learn = SimpleNamespace(iter=0, epoch=0)
    monkeypatch.setattr(base, "READ_EVERY", 3)
    # As on a GPU: a loss of another device than the CPU is not read at once.
    noted = lambda value: torch.tensor([value]).as_subclass(Elsewhere)[0]  # noqa: E731
    watch = Watch()
    for learn.iter, value in enumerate([1.0, 2.0]):
        watch.note(learn, loss=noted(value))
    assert not watch.values and len(watch.pending) == 2
    learn.iter = 2
    watch.note(learn, loss=noted(3.0))
    assert watch.values == {"loss": [1.0, 2.0, 3.0]} and not watch.pending
    learn.iter = 3
    watch.note(learn, loss=noted(float("nan")))
    learn.iter = 4
    watch.note(learn, loss=noted(4.0))
    with pytest.raises(RunError, match="loss is nan in epoch 1, batch 3"):
        watch.read(learn)


class Elsewhere(torch.Tensor):
    """A tensor that says it is on a GPU."""

    device = torch.device("cuda")


def test_nan_in_the_discriminators_loss_is_named(tmp_path):
    adversarial = make_adversarial("none")
    adversarial.discriminator.layers[0].bias.data[:] = float("nan")
    with pytest.raises(RunError, match=r"^d_loss is nan in epoch 1, batch 0"):
        make_learner(tmp_path, [adversarial]).fit(1)


@pytest.mark.parametrize("steps", [{"d_steps": 2}, *SEVERAL], ids=str)
def test_resumed_training_equals_an_uninterrupted_one(tmp_path, steps):
    def run(epochs, state=None):
        callbacks = [make_adversarial(**steps), EMA(), Precision("bf16")]
        learn = make_learner(tmp_path, callbacks)
        learn.create_opt()
        parts = [learn.model, learn.opt, *callbacks]
        for part, part_state in zip(parts, state or [], strict=False):
            part.load_state_dict(part_state)
        learn.fit(epochs, lr=G_LR)
        return saved([part.state_dict() for part in parts])

    torch.testing.assert_close(run(1, run(1)), run(2), rtol=0, atol=0)


WRONG_USE = {
    "no steps": ({"d_steps": 0}, "d_steps must be 1 or more, not 0"),
    "no generator steps": ({"g_steps": 0}, "g_steps must be 1 or more, not 0"),
    "both": ({"d_steps": 2, "g_steps": 3}, "one of them must be 1"),
    "l1": ({"reconstruction_weight": -1}, "reconstruction_weight must not be negative"),
    "adversarial": ({"adversarial_weight": -0.1}, "adversarial_weight must not be negative"),
    "noise on L": ({"d_noise_l": -0.1}, "d_noise_l must not be negative"),
    "noise on ab": ({"d_noise_ab": float("nan")}, "d_noise_ab must not be negative"),
}


@pytest.mark.parametrize("case", WRONG_USE)
def test_wrong_use_is_one_clear_line(case):
    options, reason = WRONG_USE[case]
    with pytest.raises(UsageError, match=reason):
        make_adversarial(**options)


@pytest.mark.parametrize("norm", ["batch", "layer", "instance", "spectral", "none"])
def test_batch_norm_alone_is_refused_for_a_gradient_penalty(norm):
    discriminator = DISCRIMINATORS["pixelgan"](SIZE, norm, width=4)
    refusal = pytest.raises(UsageError, match="batch norm mixes")
    with refusal if norm == "batch" else nullcontext():
        Adversarial(discriminator, OBJECTIVES["wgan_gp"]())


def test_one_to_three_moves_the_discriminator_on_every_third_batch_only(tmp_path):
    adversarial = make_adversarial(g_steps=3)
    moved, seen = [], []

    def compare(self):
        now = weights(adversarial.discriminator)["layers.0.weight"]
        if seen and not torch.equal(now, seen[-1]):
            moved.append(self.train_iter)
        seen.append(now)

    learn = make_learner(tmp_path, [adversarial, Callback(after_batch=compare)], count=8)
    seen.append(weights(adversarial.discriminator)["layers.0.weight"])
    learn.fit(1, lr=G_LR)
    assert moved == [1, 4, 7]  # fastai has counted the batch by then
    assert (
        len(adversarial.watch.values["g_loss"]) == 8
        and len(adversarial.watch.values["d_loss"]) == 3
    )


def test_discriminator_and_generator_do_not_move_in_each_others_step(tmp_path):
    adversarial = make_adversarial()
    learn = make_learner(tmp_path, [adversarial], count=1)
    states = {}

    def note(name):
        states[name] = weights(learn.model), weights(adversarial.discriminator)

    step = adversarial._step_discriminator

    def noting(loss):
        note("before D's")
        step(loss)
        note("after D's")
        assert all(p.grad is None for p in learn.model.parameters())

    adversarial._step_discriminator = noting
    learn.add_cb(Callback(after_step=lambda self: note("after G's")))
    learn.fit(1, lr=G_LR)
    (g0, d0), (g1, d1), (g2, d2) = states.values()
    parameters = {name for name, _ in learn.model.named_parameters()}
    assert all(torch.equal(g0[name], g1[name]) for name in g0)
    assert any(not torch.equal(d0[name], d1[name]) for name in d0)
    # Batch norm's running means follow every forward; what is learnt does not.
    learnt = {name for name, _ in adversarial.discriminator.named_parameters()}
    assert all(torch.equal(d1[name], d2[name]) for name in learnt)
    assert all(not torch.equal(g1[name], g2[name]) for name in parameters if "1.bias" not in name)


def test_each_weight_scales_its_own_part_of_the_gradient(tmp_path):
    def gradient(**options):
        grads = []
        learn = make_learner(tmp_path, [make_adversarial(**options)], count=1)
        learn.add_cb(Callback(before_step=lambda self: grads.append(
            torch.cat([p.grad.flatten() for p in self.model.parameters()]))))  # fmt: skip
        learn.fit(1, lr=G_LR)
        return grads[0]

    l1 = gradient(reconstruction_weight=1.0, adversarial_weight=0.0)
    adversarial = gradient(reconstruction_weight=0.0, adversarial_weight=1.0)
    assert l1.abs().max() > 0 and adversarial.abs().max() > 0
    # A new discriminator hardly says anything: so much weight makes both parts alike in size.
    weight = (l1.abs().max() / adversarial.abs().max()).item()
    both = gradient(reconstruction_weight=0.985, adversarial_weight=0.5 * weight)
    expected = 0.985 * l1 + 0.5 * weight * adversarial
    torch.testing.assert_close(both, expected, atol=1e-3 * l1.abs().max().item(), rtol=1e-3)


def test_the_discriminators_rate_follows_a_schedule_down_to_its_floor():
    adversarial = make_adversarial(lr=1e-3)
    for factor, expected in ((1.0, 1e-3), (0.5, 5e-4), (1e-6, 1e-5)):
        adversarial.scale_rates(factor, floor=1e-5)
        assert adversarial.optimizer.param_groups[0]["lr"] == pytest.approx(expected)
