import pytest

from colourgan.schedules import SCHEDULES

# factors at steps 0, 25, 50, 75, 99 of 100, a tenth every 50
EXPECTED = {
    "constant": [1, 1, 1, 1, 1],
    "linear": [1, 1, 1, 0.5, 0.02],
    "step": [1, 1, 0.1, 0.1, 0.1],
    "exponential": [1, 10**-0.5, 0.1, 10**-1.5, 10**-1.98],
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_factors_are_the_published_ones(name):
    factors = [SCHEDULES[name](step, 100, 50) for step in (0, 25, 50, 75, 99)]
    assert factors == pytest.approx(EXPECTED[name])


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_rates_never_rise_and_never_end_before_the_last_step(name, steps):
    factors = [SCHEDULES[name](step, steps, 3) for step in range(steps)]
    assert factors[0] == 1 and factors == sorted(factors, reverse=True) and factors[-1] > 0
