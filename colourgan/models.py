"""One generator as one safe file, and the ways out of colourgan: fastai pickle, TorchScript."""

import json
from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from colourgan.color import AB_SCALE
from colourgan.errors import RunError, UsageError
from colourgan.files import replacing
from colourgan.generators import GENERATORS

FORMAT_VERSION = 1
MODEL_NAME = "model.safetensors"


def save_model(generator: nn.Module, path: Path | str) -> None:
    """Writes a generator as a .safetensors file from which `load_model` rebuilds it alone.

    The metadata hold the format's version, the generator's build arguments and size, the scale of
    ab, and the origin and hash of the encoder's weights; equal generators give equal bytes.
    """
    metadata = {
        "kind": "generator",
        "format_version": FORMAT_VERSION,
        "arguments": generator.arguments,
        "ab_scale": AB_SCALE,
        "encoder": generator.origin,
    }
    tensors = {name: value.detach().cpu().contiguous() for name, value in _state(generator)}
    with replacing(path) as part:
        # One key, since the order of several is not fixed; "format" is what other readers look for.
        save_file(tensors, part, {"colourgan": json.dumps(metadata, sort_keys=True)})


def _state(generator: nn.Module):
    return sorted(generator.state_dict().items())


def load_model(path: Path | str, trust_pickle: bool = False) -> nn.Module:
    """The generator in a model file or run folder, on the CPU, in eval mode.

    A fastai pickle (.pkl) can run any code when it is loaded, so it is read only with trust_pickle.
    Raises UsageError if there is no such file or it is no model; RunError if it is damaged or was
    written by a newer colourgan.
    """
    path = model_file(path)
    if path.suffix in (".pkl", ".pickle"):
        return _from_pickle(path, trust_pickle)
    try:
        with safe_open(path, "pt") as file:
            text = (file.metadata() or {}).get("colourgan")
            if text is None:
                raise UsageError(f"{path} is no colourgan model: it has no description of one")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise RunError(f"{path} is damaged or no safetensors file ({error})") from error
    metadata = json.loads(text)
    _check(metadata, path)
    arguments = dict(metadata["arguments"])
    build = GENERATORS[arguments.pop("generator")]
    generator = build(**arguments, pretrained=False)
    generator.load_state_dict(tensors)
    generator.origin = metadata["encoder"]
    return generator.eval()


def model_file(path: Path | str) -> Path:
    """The model file itself, or that of a run folder."""
    path = Path(path)
    file = path / MODEL_NAME if path.is_dir() else path
    if not file.is_file():
        where = (
            f"run folder {path} holds no {MODEL_NAME} yet" if path.is_dir() else f"no file {path}"
        )
        raise UsageError(f"{where}: name a run folder or a model file")
    return file


def names_of(paths: Iterable[Path | str]) -> dict[str, Path]:
    """A name for each model: its run folder's or file's, with more of its path where two are alike."""
    paths = [Path(path) for path in paths]
    for depth in range(1, 1 + max(len(path.absolute().parts) for path in paths)):
        names = ["/".join(_named(path).parts[-depth:]) for path in paths]
        if len(set(names)) == len(names):
            return dict(zip(names, paths, strict=True))
    raise UsageError(f"a model is named twice: {', '.join(map(str, paths))}")


def _named(path: Path) -> Path:
    path = model_file(path).absolute()
    return path.parent if path.name == MODEL_NAME else path.with_suffix("")


def _check(metadata: dict, path: Path) -> None:
    if metadata.get("kind") != "generator":
        raise UsageError(
            f"{path} holds an {metadata.get('kind', 'unknown thing')}, not a generator"
        )
    if metadata["format_version"] > FORMAT_VERSION:
        raise RunError(
            f"{path} has format {metadata['format_version']}, this colourgan reads up to "
            f"{FORMAT_VERSION}: upgrade colourgan"
        )
    if metadata["ab_scale"] != AB_SCALE:
        raise RunError(f"{path} scales ab by {metadata['ab_scale']}, this colourgan by {AB_SCALE}")


def _from_pickle(path: Path, trust: bool) -> nn.Module:
    if not trust:
        raise UsageError(
            f"{path} is a pickle, which can run any code: add --trust-pickle if you trust its maker"
        )
    from fastai.learner import load_learner

    try:
        return load_learner(path).model.eval()
    except Exception as error:  # unpickling runs foreign code, which raises anything
        raise RunError(f"cannot load {path} ({type(error).__name__}: {error})") from error


def to_torchscript(generator: nn.Module, path: Path | str) -> None:
    """Writes a traced generator that runs without colourgan, for L of any size (N, 1, H, W)."""
    size = generator.arguments["size"]
    with torch.no_grad(), replacing(path) as part:
        traced = torch.jit.trace(generator.eval(), torch.zeros(1, 1, size, size), check_trace=False)
        traced.save(str(part))
