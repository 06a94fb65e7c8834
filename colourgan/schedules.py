"""SCHEDULES: the factor on the learning rate at each step of an optimizer, as papers publish it.

Each entry takes step (from 0), steps (how many there are) and decay_steps (1 or more: after so many
"step" and "exponential" give a tenth; the others do not look at it).
"""

from colourgan.registry import Registry

SCHEDULES = Registry("schedule")


@SCHEDULES.register("constant")
def constant(step: int, steps: int, decay_steps: int) -> float:
    """The same rate from the first step to the last."""
    return 1.0


@SCHEDULES.register("linear")
def linear(step: int, steps: int, decay_steps: int) -> float:
    """The full rate for the first half of the steps, then down to 0 in a straight line.

    It would be 0 at step `steps`, the first that is not taken.
    Source: Zhu et al., "Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial
    Networks", ICCV 2017, section 4.
    """
    return min(1.0, 2 * (1 - step / steps))


@SCHEDULES.register("step")
def step(step: int, steps: int, decay_steps: int) -> float:
    """A tenth of the rate after every `decay_steps` steps, at once."""
    return 0.1 ** (step // decay_steps)


@SCHEDULES.register("exponential")
def exponential(step: int, steps: int, decay_steps: int) -> float:
    """A tenth of the rate after every `decay_steps` steps, a little less at each step."""
    return 0.1 ** (step / decay_steps)
