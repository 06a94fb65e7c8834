"""Weights of encoders as files: pure tensors, read without running any code."""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from colourgan.errors import RunError, UsageError
from colourgan.files import replacing


def save_weights(model: nn.Module, path: Path, arch: str, note: dict) -> None:
    """Writes a classifier's weights in half precision; `note` (JSON values) is in the metadata."""
    # Counts of batches are integers and stay; values of trained networks fit float16's range.
    tensors = {
        name: (value.half() if value.is_floating_point() else value).contiguous()
        for name, value in model.state_dict().items()
    }
    metadata = {"colourgan": json.dumps({"kind": "encoder", "arch": arch, **note})}
    with replacing(path) as part:
        part.write_bytes(save(tensors, metadata))  # save_file hides a full disk in its own error


def read_weights(path: Path) -> dict[str, Tensor]:
    """A state_dict in float32 from a .safetensors, .pt or .pth file.

    Raises UsageError if there is no such file, RunError if it is broken or not of tensors alone.
    """
    check_file(path)
    try:
        if path.suffix == ".safetensors":
            weights = load_file(path)
        else:
            weights = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, OSError, RuntimeError, ValueError, EOFError, KeyError) as error:
        raise RunError(f"cannot read the weights in {path}: {first_line(error)}") from error
    except Exception as error:  # UnpicklingError and the like: something other than tensors
        raise RunError(f"{path} is broken or holds more than tensors, and is not loaded") from error
    named = weights.items() if isinstance(weights, dict) else ()
    if not named or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in named):
        raise RunError(f"{path} is no state_dict: a flat dict of named tensors is needed")
    return {k: v.float() if v.is_floating_point() else v for k, v in weights.items()}


def check_file(path: Path) -> None:
    """Raises UsageError if there is no file of weights."""
    if not path.is_file():
        raise UsageError(f"no encoder weights at {path}")


def first_line(error: BaseException) -> str:
    """The first line of an error's message, at most 200 characters."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
