"""Weights of encoders as files: pure tensors, read without running any code."""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from colourgan.errors import RunError, UsageError
from colourgan.files import replacing


def save_weights(model: nn.Module, path: Path, arch: str, note: dict) -> None:
    """Writes a classifier's weights in half precision, with `note` (JSON values) in the metadata."""
    # Counts of batches are integers and stay; values of trained networks fit float16's range.
    tensors = {
        name: (value.half() if value.is_floating_point() else value).contiguous()
        for name, value in model.state_dict().items()
    }
    metadata = {"colourgan": json.dumps({"kind": "encoder", "arch": arch, **note})}
    with replacing(path) as part:
        save_file(tensors, part, metadata)


def read_weights(path: Path) -> dict[str, Tensor]:
    """A state_dict in float32 from a .safetensors, .pt or .pth file.

    Raises UsageError if there is no such file, RunError if it is broken or not made of tensors alone.
    """
    if not path.is_file():
        raise UsageError(f"no encoder weights at {path}")
    try:
        if path.suffix == ".safetensors":
            weights = load_file(path)
        else:
            weights = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, OSError, RuntimeError, ValueError, EOFError, KeyError) as error:
        raise RunError(f"cannot read the weights in {path}: {_first_line(error)}") from error
    except Exception as error:  # UnpicklingError and its kin: something else than tensors
        raise RunError(f"{path} holds more than tensors and is not loaded") from error
    if not isinstance(weights, dict) or not all(isinstance(v, Tensor) for v in weights.values()):
        raise RunError(f"{path} is no state_dict: a flat dict of tensors is needed")
    return {k: v.float() if v.is_floating_point() else v for k, v in weights.items()}


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
