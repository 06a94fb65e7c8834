"""CycleGAN as a callback, against a plain loop of it."""

import copy
import random
from contextlib import nullcontext
from functools import partial

import pytest
import torch
from fastai.callback import fp16
from fastai.callback.core import Callback
from fastai.data.load import DataLoader
from tiny_training import (
    BATCH,
    G_LR,
    SIZE,
    assert_same,
    batches,
    changed,
    make_learner,
    saved,
    weights,
)
from torch import nn
from torch.amp import GradScaler
from torch.nn import functional as F

from colourgan.callbacks import EMA, CycleConsistency, ImagePool, Precision, precision
from colourgan.discriminators import patchgan
from colourgan.errors import RunError, UsageError
from colourgan.objectives import OBJECTIVES

NETS = ("backward", "d_color", "d_grey")


def make_cycle(norm="none", objective="bce", count=5, shuffle=False, **options):
    torch.manual_seed(2)
    random.seed(3)
    back = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Conv2d(4, 1, 1))
    judges = [patchgan(SIZE, norm, width=4, in_channels=channels) for channels in (3, 1)]
    colors = DataLoader(batches(count, seed=5), bs=BATCH, shuffle=shuffle)
    return CycleConsistency(back, *judges, OBJECTIVES[objective](), colors, **options)


def nets_of(learn):
    cycle = learn.cycle_consistency
    return {"G": learn.model, **{name: getattr(cycle, name) for name in NETS}}


def all_weights(learn):
    return {name: weights(net) for name, net in nets_of(learn).items()}


def fitted(tmp_path, cycle=None, cbs=(), train=None, lr=G_LR, **options):
    learn = make_learner(tmp_path, [cycle or make_cycle(**options), *cbs], train=train)
    learn.fit(1, lr=lr)
    return learn


def plain_loop(nets, data, colors, size, dtype=None):
    """CycleGAN's training as one would write it without fastai, discriminators first."""
    G, back, d_color, d_grey = nets
    autocast = partial(torch.autocast, "cpu", dtype=dtype) if dtype else nullcontext
    pools = ImagePool(size, 0), ImagePool(size, 1)
    adam = partial(torch.optim.Adam, betas=(0.5, 0.999))
    d_adam = adam([*d_color.parameters(), *d_grey.parameters()], lr=2e-4, fused=True)
    g_adam = adam(G.parameters(), lr=G_LR)
    f_adam = adam(back.parameters(), lr=2e-4, fused=True)
    for net in (back, d_color, d_grey):
        net.to(memory_format=torch.channels_last)

    def run(net, *images):
        with autocast():
            return net(*images).float()

    def distance(logits, label):
        return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, label))

    for start in range(0, len(data), BATCH):
        L, true_L, ab = (
            torch.stack([pair[part] for pair in pairs[start : start + BATCH]])
            for pairs, part in ((data, 0), (colors, 0), (colors, 1))
        )
        fake_ab, fake_L = run(G, L), run(back, ab)
        d_loss = 0
        for judge, real, fake in (
            (d_color, (true_L, ab), pools[0].exchange(L, fake_ab.detach())),
            (d_grey, (L,), pools[1].exchange(fake_L.detach())),
        ):
            with autocast():  # of one and the same low-precision copy of the weights
                on_real, on_fake = judge(*real), judge(*fake)
            d_loss += (distance(on_real.float(), 1.0) + distance(on_fake.float(), 0.0)) / 2
        d_adam.zero_grad()
        d_loss.backward()
        d_adam.step()

        g_loss = distance(run(d_color, L, fake_ab), 1.0) + distance(run(d_grey, fake_L), 1.0)
        cycle = F.l1_loss(run(back, fake_ab), L) + F.l1_loss(run(G, fake_L), ab)
        g_adam.zero_grad(), f_adam.zero_grad()
        (g_loss + 10 * cycle).backward()
        g_adam.step(), f_adam.step()


@pytest.mark.parametrize("norm", ["none", "spectral"])
@pytest.mark.parametrize("mode", [None, "bf16"])
def test_five_steps_equal_a_plain_torch_loop(tmp_path, mode, norm):
    cycle = make_cycle(norm, pool_size=3)
    learn = make_learner(tmp_path, [cycle, *([Precision(mode)] if mode else [])])
    before = all_weights(learn)
    nets = [copy.deepcopy(net) for net in nets_of(learn).values()]
    plain_loop(nets, batches(5), batches(5, 5), 3, torch.bfloat16 if mode else None)
    learn.fit(1, lr=G_LR)
    for (name, net), wanted in zip(nets_of(learn).items(), nets, strict=True):
        assert_same(net, wanted.state_dict(), atol=1e-6, rtol=1e-6)
        assert changed(net, before[name])


def test_the_true_colors_of_grey_pictures_move_nothing(tmp_path):
    noise = torch.rand(5 * BATCH, 2, SIZE, SIZE, generator=torch.Generator().manual_seed(8))
    blurred = [(L, ab) for (L, _), ab in zip(batches(5), noise, strict=True)]
    learn, other = fitted(tmp_path), fitted(tmp_path, train=blurred)
    assert learn.recorder.losses != other.recorder.losses  # still watched
    for net, wanted in zip(nets_of(other).values(), nets_of(learn).values(), strict=True):
        assert_same(net, wanted.state_dict(), rtol=0, atol=0)


def test_discriminators_and_generators_do_not_move_in_each_others_step(tmp_path):
    seen = []

    def keep(callback):
        learn = callback.learn
        grads = {
            name: [None if p.grad is None else p.grad.clone() for p in net.parameters()]
            for name, net in nets_of(learn).items()
        }
        seen.append((all_weights(learn), grads))

    watch = Callback(before_batch=keep, before_backward=keep, after_batch=keep)
    fitted(tmp_path, cbs=[watch])
    for (start, _), (middle, d_grads), (end, all_grads) in zip(*[iter(seen[:15])] * 3, strict=True):
        for name in ("d_color", "d_grey"):
            assert differ(middle[name], start[name]) and not differ(end[name], middle[name])
            torch.testing.assert_close(all_grads[name], d_grads[name], rtol=0, atol=0)
        for name in ("G", "backward"):
            same = {n for n in start[name] if "running" in n or "tracked" in n}
            assert differ(end[name], middle[name]) - same
            assert not differ(middle[name], start[name]) - same
            assert all(grad is None for grad in d_grads[name])


def differ(one, other):
    return {name for name in one if not torch.equal(one[name], other[name])}


class Silent(type(OBJECTIVES["bce"]())):
    def g_loss(self, logits):
        return 0 * logits.mean()


def test_both_terms_are_in_the_gradient_of_both_generators(tmp_path):
    silent = make_cycle(count=1)
    silent.objective = Silent()
    parts = fitted(tmp_path, count=1, cycle_weight=0), fitted(tmp_path, silent)
    both = nets_of(fitted(tmp_path, count=1))
    for learn in parts:
        for name in ("G", "backward"):
            assert moved(nets_of(learn)[name], weights(both[name]))


def test_every_network_runs_as_often_as_it_must(tmp_path):
    calls = []
    learn = make_learner(tmp_path, [make_cycle()], count=1)
    for name, net in nets_of(learn).items():
        net.register_forward_hook(lambda net, *_, name=name: calls.append((name, net.training)))
    learn.fit(1)
    counts = {name: calls.count((name, True)) for name in nets_of(learn)}
    assert counts == {"G": 2, "backward": 2, "d_color": 3, "d_grey": 3}


def test_columns_hold_the_epoch_means(tmp_path):
    cycle = make_cycle(lr=0, pool_size=0)
    learn = fitted(tmp_path, cycle, lr=0)
    names = ["d_loss", "g_loss", "cycle_loss"]
    assert list(learn.recorder.metric_names)[3:6] == names
    row = dict(zip(learn.recorder.metric_names[1:], learn.recorder.values[-1], strict=False))
    assert all(len(cycle.watch.values[name]) == 5 for name in names) and cycle.steps == 5
    L, fake_L = (torch.stack([pair[0] for pair in batches(5, seed)]) for seed in (0, 5))
    ab = torch.stack([pair[1] for pair in batches(5, 5)])
    wanted = {name: [] for name in names}
    for i in range(0, len(L), BATCH):
        x, true_L, y = (part[i : i + BATCH] for part in (L, fake_L, ab))
        fake, back = learn.model.train()(x), cycle.backward(y)
        loss = cycle.objective
        on = cycle.d_color(x, fake), cycle.d_grey(back)
        d_color = loss.d_loss(cycle.d_color(true_L, y), on[0])
        wanted["d_loss"].append((d_color + loss.d_loss(cycle.d_grey(x), on[1])) / 2)
        wanted["g_loss"].append(loss.g_loss(on[0]) + loss.g_loss(on[1]))
        there = F.l1_loss(cycle.backward(fake), x)
        wanted["cycle_loss"].append(there + F.l1_loss(learn.model(back), y))
    for name in names:
        assert row[name] == pytest.approx(torch.stack(wanted[name]).mean().item(), rel=1e-5)
    learn.remove_cb(cycle)
    assert learn.metrics == []


def test_validate_leaves_everything_alone(tmp_path):
    cycle = make_cycle(shuffle=True)
    learn = make_learner(tmp_path, [cycle])
    state = copy.deepcopy(cycle.state_dict())
    learn.validate()
    torch.testing.assert_close(cycle.state_dict(), state, rtol=0, atol=0)


def test_lr_find_leaves_everything_as_it_was(tmp_path):
    cycle = make_cycle(shuffle=True, pool_size=3)
    learn = fitted(tmp_path, cycle, [Precision("bf16"), EMA()])
    before, generator = copy.deepcopy(cycle.state_dict()), weights(learn.model)
    learn.lr_find(num_it=8, show_plot=False, stop_div=False, suggest_funcs=None)
    torch.testing.assert_close(cycle.state_dict(), before, rtol=0, atol=0)
    assert_same(learn.model, generator, rtol=0, atol=0)


@pytest.mark.parametrize("mode", ["fp32", "bf16"])
def test_resumed_training_equals_an_uninterrupted_one(tmp_path, mode):
    def run(epochs, state=None):
        # 7 color batches for 5 grey ones: an epoch ends in the middle of them.
        callbacks = [make_cycle(shuffle=True, count=7, pool_size=4), EMA(), Precision(mode)]
        learn = make_learner(tmp_path, callbacks)
        learn.create_opt()
        parts = [learn.model, learn.opt, *callbacks]
        for part, part_state in zip(parts, state or [], strict=False):
            part.load_state_dict(part_state)
        learn.fit(epochs, lr=G_LR)
        return saved([part.state_dict() for part in parts])

    one_go = run(2)
    torch.testing.assert_close(run(1, run(1)), one_go, rtol=0, atol=0)
    assert run(1)[2]["order"] != one_go[2]["order"]


def test_color_batches_begin_again_when_they_are_fewer_and_anew_each_epoch(tmp_path):
    seen = []
    cycle = make_cycle(count=2)
    cycle.backward.register_forward_pre_hook(lambda net, inputs: seen.append(inputs[0].clone()))
    learn = make_learner(tmp_path, [cycle], count=3)
    learn.fit(2, lr=G_LR)
    one, two = (torch.stack([ab for _, ab in batches(2, 5)[i : i + BATCH]]) for i in (0, BATCH))
    for batch, wanted in zip(seen[::2], (one, two, one) * 2, strict=True):
        assert torch.equal(batch, wanted)


@pytest.fixture
def fp16_on_cpu(monkeypatch):
    """fp16's loss scaling, which does not depend on the device, with a format all CPUs compute."""
    scaler = lambda _, enabled: GradScaler("cpu", enabled=enabled)  # noqa: E731
    monkeypatch.setattr(precision, "resolve_precision", lambda mode, device: mode)
    monkeypatch.setitem(precision.DTYPES, "fp16", torch.bfloat16)
    monkeypatch.setattr(precision, "GradScaler", scaler)


def test_loss_scaling_changes_no_step(tmp_path, fp16_on_cpu):
    scaled = fitted(tmp_path, cbs=[Precision("fp16")])
    plain = fitted(tmp_path, cbs=[Precision("bf16")])
    assert scaled.precision.state_dict()["scaler"]["_growth_tracker"] == 5
    assert scaled.cycle_consistency.state_dict()["scaler"]["_growth_tracker"] == 5
    for net, wanted in zip(nets_of(scaled).values(), nets_of(plain).values(), strict=True):
        assert_same(net, wanted.state_dict(), atol=1e-6, rtol=1e-6)


def test_a_step_whose_gradients_overflow_is_skipped(tmp_path, fp16_on_cpu):
    numbers, cycle = Precision("fp16"), make_cycle()
    numbers.load_state_dict({"scaler": {**GradScaler("cpu").state_dict(), "scale": float(2**127)}})
    before = weights(cycle.backward)
    watch = Callback(after_batch=lambda self: skipped.append(not moved(cycle.backward, before)))
    skipped = []
    learn = fitted(tmp_path, cycle, [numbers, watch])
    assert skipped[0] and learn.precision.state_dict()["scaler"]["scale"] < 2**127
    assert all(p.isfinite().all() for net in nets_of(learn).values() for p in net.parameters())


@pytest.fixture
def fastais_fp16_on_cpu(monkeypatch):
    """fastai's own loss scaling, which without CUDA would be off."""
    scaler = lambda _, enabled: GradScaler("cpu", enabled=enabled)  # noqa: E731
    monkeypatch.setattr(fp16, "GradScaler", scaler)


def test_fastais_own_loss_scaling_changes_no_step(tmp_path, fastais_fp16_on_cpu):
    def trained(cbs):
        cycle = make_cycle()
        # Unlike Adam, a step of SGD is as long as its gradient.
        cycle.f_optimizer = torch.optim.SGD(cycle.backward.parameters(), lr=1e-3)
        return fitted(tmp_path, cycle, cbs)

    scaled, plain = trained([fp16.MixedPrecision()]), trained([])
    for net, wanted in zip(nets_of(scaled).values(), nets_of(plain).values(), strict=True):
        assert_same(net, wanted.state_dict(), atol=1e-6, rtol=1e-6)


def test_fastais_scaler_skips_a_step_whose_gradients_overflow(tmp_path, fastais_fp16_on_cpu):
    cycle, skipped, scales = make_cycle(), [], []
    before = weights(cycle.backward)

    def overflow(self):
        if not self.iter:
            self.learn.scaler._scale = torch.tensor(float(2**127))
            self.learn.scaler._growth_tracker = torch.tensor(0, dtype=torch.int32)

    def note(self):
        skipped.append(not moved(cycle.backward, before))
        scales.append(self.learn.scaler.get_scale())

    watch = Callback(before_backward=overflow, after_batch=note)
    learn = fitted(tmp_path, cycle, [fp16.MixedPrecision(), watch])
    assert skipped[0] and scales[0] == 2**126
    assert all(p.isfinite().all() for net in nets_of(learn).values() for p in net.parameters())


def moved(net, before):
    return [name for name, p in net.named_parameters() if not torch.equal(p, before[name])]


class Broken(type(OBJECTIVES["bce"]())):
    def g_loss(self, logits):
        return logits.mean() * float("inf")


@pytest.mark.parametrize(
    ("name", "break_it"),
    [
        ("d_loss", lambda cycle: cycle.d_grey.layers[0].bias.data.fill_(float("nan"))),
        ("g_loss", lambda cycle: setattr(cycle, "objective", Broken())),
        # The second call of F, of G's colors, gives infinity: that is the way back to L.
        (
            "cycle_loss",
            lambda cycle: cycle.backward.register_forward_hook(
                lambda _, ab, L: L + torch.inf if ab[0].requires_grad else L
            ),
        ),
    ],
)
def test_nan_ends_fit_with_run_error_before_the_generators_step(tmp_path, name, break_it):
    cycle = make_cycle()
    break_it(cycle)
    learn = make_learner(tmp_path, [cycle])
    before = all_weights(learn)
    with pytest.raises(RunError) as error:
        learn.fit(1)
    assert error.match(f"^{name} is (nan|inf|-inf) in epoch 1, batch 0: .*last good model is kept")
    assert "\n" not in str(error.value)
    for net in ("G", "backward"):
        assert not moved(nets_of(learn)[net], before[net])
    assert all(p.requires_grad for p in cycle.d_color.parameters())


@pytest.mark.parametrize("mode", ["fp32", "bf16"])
def test_a_penalty_is_of_whole_pictures_and_reaches_both_discriminators(tmp_path, mode):
    shapes = []

    class Penalized(type(OBJECTIVES["wgan_gp"]())):
        def penalty(self, discriminator, L, real, fake):
            shapes.append(tuple(real.shape))
            assert not fake.requires_grad and real.dtype == fake.dtype == torch.float32
            return super().penalty(discriminator, L, real, fake)

    ends = []
    for weight in (0.0, 1e3):
        cycle = make_cycle(lr=1e-2)
        cycle.objective = Penalized(penalty_weight=weight)
        ends.append(all_weights(fitted(tmp_path, cycle, [Precision(mode)])))
    assert shapes[:2] == [(BATCH, 3, SIZE, SIZE), (BATCH, 1, SIZE, SIZE)]
    for name in ("d_color", "d_grey"):
        assert differ(ends[0][name], ends[1][name])


def test_weights_that_were_frozen_stay_frozen(tmp_path):
    cycle = make_cycle()
    cycle.d_color.layers[0].requires_grad_(False)
    start = weights(cycle.d_color)
    fitted(tmp_path, cycle)
    trained = {name for name, p in cycle.d_color.named_parameters() if p.requires_grad}
    assert not any(name.startswith("layers.0.") for name in trained) and trained
    assert differ(weights(cycle.d_color), start) == trained


def test_rates_follow_a_schedule(tmp_path):
    cycle = make_cycle(lr=2e-4)
    rates = lambda: [o.param_groups[0]["lr"] for o in (cycle.optimizer, cycle.f_optimizer)]  # noqa: E731
    cycle.scale_rates(0.5)
    assert rates() == [1e-4, 1e-4]
    cycle.scale_rates(0.25, floor=8e-5)
    assert rates() == [8e-5, 8e-5]
    before = [weights(net) for net in (cycle.backward, cycle.d_color)]
    cycle.scale_rates(0.0)
    fitted(tmp_path, cycle)
    assert not moved(cycle.backward, before[0]) and not moved(cycle.d_color, before[1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cycle_weight": -1}, "cycle_weight must not be negative: -1"),
        ({"pool_size": -1}, "pool_size must not be negative: -1"),
        ({"count": 0}, "the loader of color pictures has no batch"),
    ],
)
def test_wrong_use_is_one_clear_line(options, message):
    with pytest.raises(UsageError, match=message):
        make_cycle(**options)


@pytest.mark.parametrize("name", ["d_color", "d_grey"])
def test_batch_norm_is_refused_for_a_penalty_of_each_image(name):
    cycle = make_cycle()
    nets = {part: getattr(cycle, part) for part in NETS} | {name: nn.BatchNorm2d(1)}
    with pytest.raises(UsageError, match="batch norm mixes the images"):
        CycleConsistency(**nets, objective=OBJECTIVES["wgan_gp"](), colors=cycle.colors)
