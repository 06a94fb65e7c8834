import math

import pytest
import torch

from colourgan.errors import UsageError
from colourgan.objectives import OBJECTIVES, Objective

LOGITS = torch.tensor([[[[-2.0, 0.5], [1.0, 3.0]]]])


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


@pytest.mark.parametrize("label", [0.5, 1.1, float("nan")])
def test_bce_refuses_labels_that_make_no_sense(label):
    with pytest.raises(UsageError, match="real_label"):
        OBJECTIVES["bce"](real_label=label)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective_gives_scalars_that_improve_the_right_way(name):
    objective = OBJECTIVES[name]()
    assert isinstance(objective, Objective)
    right, wrong = (
        objective.d_loss(LOGITS + 5, LOGITS - 5),
        objective.d_loss(LOGITS - 5, LOGITS + 5),
    )
    assert right.shape == wrong.shape == () and right < wrong
    assert objective.g_loss(LOGITS + 5) < objective.g_loss(LOGITS - 5)
    ab = torch.zeros(1, 2, 4, 4)
    assert float(objective.penalty(torch.nn.Identity(), ab[:, :1], ab, ab)) >= 0
