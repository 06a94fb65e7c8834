"""Verdicts follow from numbers: their mean, their spread over seeds and images, and the scale."""

import math

import numpy as np
import pytest
import torch

from colourgan.claims import DECISIVE, FAILS, HOLDS, UNDECIDED, Scale, claim


def made(values, low=0, high=None):
    return claim("A GAN raises L1.", "", "L1 of the GAN minus that of the U-Net", values, low, high)


def test_short_of_names_what_is_too_small():
    assert Scale(images=4000, epochs=4, seeds=3, test_images=1000) == DECISIVE
    assert DECISIVE.short_of(DECISIVE) == []
    assert Scale(200, 9, 1, 1000).short_of(DECISIVE) == [
        "200 of 4,000 training images",
        "1 of 3 seeds",
    ]
    assert Scale(4000, 3, 3, 50).short_of(DECISIVE) == ["3 of 4 epochs", "50 of 1,000 test images"]


def test_the_interval_over_seeds_is_student_s():
    # t at 97.5 % with 2 degrees of freedom is 4.3027; the standard deviation of 1, 2, 3 is 1.
    low, high = made([1, 2, 3]).interval()
    assert low == pytest.approx(2 - 4.302653 / math.sqrt(3), abs=1e-5)
    assert high == pytest.approx(2 + 4.302653 / math.sqrt(3), abs=1e-5)
    assert made([1, 2, 3]).mean == 2


def test_the_choice_of_test_images_widens_the_interval():
    # Seeds' means 2 and 2; the mean over seeds of the four images: 0, 2, 2, 4.
    measured = made([[0, 2, 3, 3], [0, 2, 1, 5]])
    assert measured.values == [2, 2]
    error = math.sqrt(8 / 3) / 2
    assert measured.image_error == pytest.approx(error)
    assert measured.interval()[1] == pytest.approx(2 + 12.706205 * error, rel=1e-5)
    both = made([[0, 2, 3, 3], [0, 2, 1, 5]])._replace(values=[1.0, 3.0]).interval()
    assert both[1] == pytest.approx(2 + 12.706205 * math.sqrt(1 + error**2), rel=1e-5)


TABLE = [[1.0, 2.0], [3.0, 5.0], [4.0, 6.0]]


@pytest.mark.parametrize(
    "values",
    [
        TABLE,
        np.array(TABLE, dtype=np.float32),
        torch.tensor(TABLE, requires_grad=True),
        [torch.tensor(row) for row in TABLE],
        (np.array(row) for row in TABLE),
    ],
)
def test_values_may_come_in_any_container(values):
    measured = made(values)
    assert measured.values == [1.5, 4, 5]
    assert all(type(value) is float for value in (*measured.values, measured.image_error))


@pytest.mark.parametrize(
    ("values", "low", "high", "verdict"),
    [
        ([1.0, 1.1, 0.9], 0, None, HOLDS),
        ([-1.0, -1.1, -0.9], 0, None, FAILS),
        ([1.0, -1.0, 0.9], 0, None, UNDECIDED),
        ([1.0, 1.1, 0.9], None, 0, FAILS),
        ([-1.0, -1.1, -0.9], None, 0, HOLDS),
        ([3.9, 4.0, 4.1], 3, 5, HOLDS),
        ([2.0, 2.1, 2.2], 3, 5, FAILS),
        ([6.0, 6.1, 6.2], 3, 5, FAILS),
        ([2.9, 3.1, 3.2], 3, 5, UNDECIDED),
        ([0.0, 0.0, 0.0], 0, None, FAILS),  # "raises" is not "leaves as it is"
    ],
)
def test_the_whole_interval_must_lie_on_one_side(values, low, high, verdict):
    assert made(values, low, high).verdict(DECISIVE) == verdict


@pytest.mark.parametrize("field", Scale._fields)
def test_nothing_is_decided_if_anything_is_too_small(field):
    small = DECISIVE._replace(**{field: getattr(DECISIVE, field) - 1})
    assert made([1.0, 1.1, 0.9]).verdict(small) == UNDECIDED


def test_images_that_differ_leave_open_what_seeds_agree_on():
    alike = torch.linspace(-10, 11, 100).expand(3, -1)
    assert made(alike).mean == pytest.approx(0.5)
    assert made(alike).verdict(DECISIVE) == UNDECIDED
    assert made(alike.mean(1)).verdict(DECISIVE) == HOLDS


@pytest.mark.parametrize(
    "values", [[1.0], [[1.0, 2.0]], [1, 1, math.nan], [1, 1, math.inf], [[1.0], [1.1], [0.9]]]
)
def test_one_seed_one_image_or_a_number_that_is_none_decides_nothing(values):
    assert made(values).verdict(DECISIVE) == UNDECIDED
    assert (made(values).interval() is None) == (len(values) == 1)


@pytest.mark.parametrize(
    "values", [[], [[], []], torch.empty(0), torch.ones(2, 3, 4), [[1.0, 2.0], [1.0]]]
)
def test_values_that_are_no_seeds_are_refused(values):
    with pytest.raises(ValueError, match=r"values of .*: A GAN raises L1"):
        made(values)


@pytest.mark.parametrize(("low", "high"), [(None, None), (5, 3), (0, 0)])
def test_a_claim_must_be_able_to_fail(low, high):
    with pytest.raises(ValueError, match="says nothing: A GAN raises L1"):
        made([1.0], low, high)
