"""TorchScript: a trace."""

import warnings
from io import BytesIO
from pathlib import Path

import torch
from torch import nn

from colourgan.exports.common import equal, refused
from colourgan.files import replacing


@torch.no_grad()
def to_torchscript(generator: nn.Module, path: Path | str) -> None:
    """Writes a traced generator that runs without colourgan, for L of any size (N, 1, H, W).

    Raises UsageError, and writes nothing, if the trace holds constants of one size.
    """
    size = generator.arguments["size"]
    L = torch.zeros(1, 1, size, size)
    buffer = BytesIO()  # writing to a full disk itself, torch 2.15 ends the whole process
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its deprecation, and of what is tested below
        traced = torch.jit.trace(generator.eval(), L, check_trace=False)
        torch.jit.save(traced, buffer)
    if not equal(traced, generator, 1e-5):
        raise refused(generator, "trace: TorchScript would serve one size only")
    with replacing(path) as part:
        part.write_bytes(buffer.getbuffer())
