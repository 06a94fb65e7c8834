import math

import pytest
import torch

from colourgan.discriminators import patchgan
from colourgan.errors import UsageError
from colourgan.objectives import OBJECTIVES, Objective, build_objective

LOGITS = torch.tensor([[[[-2.0, 0.5], [1.0, 3.0]]]])
LABELLED = ["bce", "least_squares"]


def softplus_mean(values):
    return torch.log1p(values.double().exp()).mean().float()


def test_bce_is_the_halved_sum_of_both_cross_entropies():
    loss = OBJECTIVES["bce"]().d_loss(LOGITS, LOGITS - 1)
    torch.testing.assert_close(loss, (softplus_mean(-LOGITS) + softplus_mean(LOGITS - 1)) / 2)
    zeros = torch.zeros(2, 1, 3, 3)
    assert OBJECTIVES["bce"]().d_loss(zeros, zeros).item() == pytest.approx(math.log(2))


def test_bce_does_not_saturate_for_the_generator():
    logits = torch.full((1, 1, 2, 2), -20.0, requires_grad=True)  # the discriminator is sure
    loss = OBJECTIVES["bce"]().g_loss(logits)
    loss.backward()
    assert loss.item() == pytest.approx(20)
    assert logits.grad.sum().item() == pytest.approx(-1)


def test_label_smoothing_is_one_sided():
    plain, smooth = OBJECTIVES["bce"](), OBJECTIVES["bce"](real_label=0.9)
    assert smooth.g_loss(LOGITS) == plain.g_loss(LOGITS)
    expected = plain.d_loss(LOGITS, LOGITS) + 0.1 * LOGITS.mean() / 2
    torch.testing.assert_close(smooth.d_loss(LOGITS, LOGITS), expected)


@pytest.mark.parametrize("name", LABELLED)
@pytest.mark.parametrize("label", [0.0, -0.5, 1.1, float("nan")])
def test_labels_that_make_no_sense_are_refused(name, label):
    reason = f"label smoothing: real_label must be above 0 and at most 1, not {label}"
    with pytest.raises(UsageError, match=reason):
        OBJECTIVES[name](real_label=label)
    assert OBJECTIVES[name](real_label=0.01).real_label == 0.01


def test_least_squares_by_hand():
    plain, smooth = OBJECTIVES["least_squares"](), OBJECTIVES["least_squares"](real_label=0.5)
    # LOGITS - 1 squared: 9, .25, 0, 4; LOGITS: 4, .25, 1, 9; LOGITS - .5: 6.25, 0, .25, 6.25
    assert plain.d_loss(LOGITS, LOGITS).item() == pytest.approx((13.25 / 4 + 14.25 / 4) / 2)
    assert smooth.d_loss(LOGITS, LOGITS).item() == pytest.approx((12.75 / 4 + 14.25 / 4) / 2)
    assert plain.g_loss(LOGITS).item() == smooth.g_loss(LOGITS).item() == 13.25 / 4


def test_hinge_by_hand():
    hinge = OBJECTIVES["hinge"]()
    # relu(1 - LOGITS): 3, .5, 0, 0; relu(1 + LOGITS): 0, 1.5, 2, 4
    assert hinge.d_loss(LOGITS, LOGITS).item() == pytest.approx(3.5 / 4 + 7.5 / 4)
    assert hinge.d_loss(LOGITS + 9, LOGITS - 9).item() == 0
    assert hinge.g_loss(LOGITS).item() == -2.5 / 4


def test_wasserstein_by_hand():
    wgan = OBJECTIVES["wgan_gp"]()
    assert wgan.d_loss(LOGITS, 2 * LOGITS - 1).item() == pytest.approx(1.25 - 1 - 0.625)
    assert wgan.g_loss(LOGITS).item() == -2.5 / 4


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective_gives_scalars_that_improve_the_right_way(name):
    objective = OBJECTIVES[name]()
    assert isinstance(objective, Objective)
    right, wrong = (
        objective.d_loss(LOGITS + 5, LOGITS - 5),
        objective.d_loss(LOGITS - 5, LOGITS + 5),
    )
    assert right.shape == wrong.shape == () and right < wrong
    low, high = LOGITS.clamp(max=1) - 5, LOGITS.clamp(max=1)
    assert objective.g_loss(high) < objective.g_loss(low)
    L, real, fake = colors(2)
    assert float(objective.penalty(patchgan(16, "none", width=2), L, real, fake)) >= 0


THRESHOLDS = {name: OBJECTIVES[name]().threshold for name in OBJECTIVES}


@pytest.mark.parametrize("name", [name for name, at in THRESHOLDS.items() if at is not None])
def test_threshold_is_where_a_discriminator_is_undecided(name):
    objective = OBJECTIVES[name]()
    logit = torch.tensor(objective.threshold, requires_grad=True)
    objective.d_loss(logit, logit).backward()  # as many true as predicted: no way is better
    assert logit.grad.item() == pytest.approx(0)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_accuracy_counts_logits_on_the_right_side(name):
    real, fake = torch.tensor([3.0, 2.0, 1.0, -2.0]), torch.tensor([-3.0, 2.0, -1.0, -2.0])
    d_real, d_fake = OBJECTIVES[name]().accuracy(real, fake)
    assert (float(d_real), float(d_fake)) == (0.75, 0.75)


def test_logits_without_a_threshold_are_right_or_wrong_beside_each_other():
    objective = OBJECTIVES["wgan_gp"]()
    real, fake = torch.tensor([1.0, 2.0]), torch.tensor([0.0, 0.5])
    for constant in (0, -10, 10):  # which changes nothing in its losses either
        shares = objective.accuracy(real + constant, fake + constant)
        assert [float(share) for share in shares] == [1, 1]
    assert [name for name, threshold in THRESHOLDS.items() if threshold is None] == ["wgan_gp"]


def test_only_the_gradient_penalty_looks_at_samples_one_by_one():
    assert [name for name in OBJECTIVES if OBJECTIVES[name]().per_sample] == ["wgan_gp"]


# The gradient penalty


def colors(count, side=16):
    """L, true ab from 0 to .4 and predicted ab from .6 to 1: what lies between is a mix of both."""
    random = torch.Generator().manual_seed(count)
    L, real, fake = (torch.rand(count, c, side, side, generator=random) for c in (1, 2, 2))
    return L * 2 - 1, real * 0.4, 0.6 + fake * 0.4


class Linear(torch.nn.Module):
    """`logits` equal logits a sample: `slope` × the mean of ab times the root of its 2HW values."""

    def __init__(self, slope, logits=1):
        super().__init__()
        self.slope = torch.nn.Parameter(torch.tensor(slope))
        self.logits, self.seen = logits, []

    def forward(self, L, ab):
        self.seen.append((L, ab))
        value = self.slope * ab.flatten(1).sum(1) / ab[0].numel() ** 0.5
        return value.view(-1, 1, 1, 1).expand(-1, 1, self.logits, self.logits)


@pytest.mark.parametrize(("side", "logits"), [(4, 1), (16, 1), (16, 5)])
def test_gradient_penalty_of_a_1_lipschitz_discriminator_is_0(side, logits):
    penalty = OBJECTIVES["wgan_gp"]().penalty(Linear(1.0, logits), *colors(3, side))
    assert penalty.item() == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(("slope", "weight"), [(3.0, 10.0), (-0.5, 10.0), (0.0, 10.0), (3.0, 2.5)])
def test_gradient_penalty_of_another_is_as_by_hand(slope, weight):
    discriminator = Linear(slope, logits=3)
    penalty = OBJECTIVES["wgan_gp"](penalty_weight=weight).penalty(discriminator, *colors(3))
    assert penalty.item() == pytest.approx(weight * (abs(slope) - 1) ** 2, rel=1e-5)
    penalty.backward()
    expected = 2 * weight * (abs(slope) - 1) * ((slope > 0) - (slope < 0))
    assert discriminator.slope.grad.item() == pytest.approx(expected, rel=1e-5)


def test_gradient_penalty_averages_over_samples_the_norm_of_all_values_of_each():
    def discriminator(L, ab):  # the slopes: 3 on a and 4 on b of one pixel; then half of that
        logits = 3 * ab[:, 0, 0, 0] + 4 * ab[:, 1, 1, 1]
        return (logits * torch.tensor([1.0, 0.5])).view(2, 1, 1, 1)

    penalty = OBJECTIVES["wgan_gp"](penalty_weight=1).penalty(discriminator, *colors(2, 2))
    assert penalty.item() == pytest.approx(((5 - 1) ** 2 + (2.5 - 1) ** 2) / 2)


def test_the_mix_is_uniform_on_the_line_between_real_and_fake_for_each_sample():
    L, real, fake = colors(2000, 2)
    discriminator = Linear(1.0)
    torch.manual_seed(0)
    OBJECTIVES["wgan_gp"]().penalty(discriminator, L, real, fake)
    (seen_L, mixed) = discriminator.seen[0]
    assert torch.equal(seen_L, L) and mixed.shape == real.shape
    place = ((mixed - fake) / (real - fake)).flatten(1)  # 0 at fake, 1 at real
    assert (place.max(1).values - place.min(1).values).max() < 1e-5  # one place a sample
    assert place.min() > -1e-5 and place.max() < 1 + 1e-5
    shares = torch.histc(place[:, 0], bins=5, min=0, max=1) / len(place)
    assert (shares - 0.2).abs().max() < 0.03


@pytest.mark.parametrize("norm", ["none", "instance", "layer", "spectral"])
def test_the_penalty_moves_every_weight_but_the_last_bias(norm):
    discriminator, (L, real, fake) = patchgan(16, norm, width=4), colors(2)
    real.requires_grad_()
    loss = discriminator(L, real).mean() + discriminator(L, fake).mean()  # as in a training step
    penalty = OBJECTIVES["wgan_gp"]().penalty(discriminator, L, real, fake)
    (loss * 0 + penalty).backward()
    weights = [p for key, p in discriminator.named_parameters() if "bias" not in key]
    assert all(weight.grad.any() for weight in weights)
    assert not real.grad.any()


def test_the_penalty_is_in_float32_under_autocast_and_for_half_precision():
    discriminator, (L, real, fake) = patchgan(16, "none", width=4), colors(2)
    penalties = []
    for autocast in (False, True):
        torch.manual_seed(0)
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            penalties.append(OBJECTIVES["wgan_gp"]().penalty(discriminator, L, real, fake))
    assert penalties[0] == penalties[1] and penalties[1].dtype == torch.float32
    half = OBJECTIVES["wgan_gp"]().penalty(discriminator, L, real, fake.bfloat16())
    assert half.dtype == torch.float32


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf")])
def test_a_penalty_weight_that_makes_no_sense_is_refused(weight):
    with pytest.raises(UsageError, match=f"penalty_weight must be 0 or more, not {weight}"):
        OBJECTIVES["wgan_gp"](penalty_weight=weight)


# By name


def test_build_objective_hands_each_setting_to_those_that_have_it():
    assert build_objective("bce", 0.9) == OBJECTIVES["bce"](real_label=0.9)
    assert build_objective("least_squares", 0.9).real_label == 0.9
    assert build_objective("wgan_gp", penalty_weight=5.0).penalty_weight == 5.0
    assert all(build_objective(name) == OBJECTIVES[name]() for name in OBJECTIVES)


@pytest.mark.parametrize("name", [name for name in OBJECTIVES if name not in LABELLED])
def test_label_smoothing_without_labels_is_refused(name):
    with pytest.raises(UsageError, match=f"'{name}' has no labels"):
        build_objective(name, real_label=0.9)


@pytest.mark.parametrize("name", ["bce", "least_squares", "hinge"])
def test_a_penalty_weight_without_a_penalty_is_refused(name):
    with pytest.raises(UsageError, match=f"objective '{name}' has no gradient penalty; leave pen"):
        build_objective(name, penalty_weight=5.0)
