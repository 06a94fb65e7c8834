"""The processor that networks run on."""

import torch

from colourgan.errors import UsageError


def choose_device(name: str) -> torch.device:
    """The device called `name`; "auto" takes a GPU if there is one. UsageError if it is missing."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return torch.empty(1, device=name).device
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UsageError(f"device '{name}' is not available here: use cpu or auto") from error
