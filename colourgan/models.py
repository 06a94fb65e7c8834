"""One generator as one safe file."""

import json
import os
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from colourgan.color import AB_SCALE
from colourgan.errors import RunError, UsageError, is_out_of_memory
from colourgan.files import replacing
from colourgan.generators import FORMAT_VERSION, GENERATORS, described
from colourgan.hub import MODEL as MODEL_NAME
from colourgan.hub import PREFIX, fetched, is_on_hub, local, naming, reference

PACKAGED = "packaged"
PACKAGED_FILE = Path(str(files("colourgan") / "weights" / "photographs.safetensors"))
PICKLES = (".pkl", ".pickle")


def save_model(generator: nn.Module, path: Path | str, half: bool = False) -> None:
    """Writes a generator as a .safetensors file from which `load_model` rebuilds it alone.

    The metadata hold the format's version, the generator's build arguments and size, the scale of
    ab, and the origin and hash of the encoder's weights; equal generators give equal bytes. half:
    in half precision, so half as large. Raises RunError for a value that does not fit into it.
    """
    tensors = {}
    for name, value in sorted(generator.state_dict().items()):
        halved = half and value.is_floating_point()
        tensors[name] = (value.half() if halved else value).detach().cpu().contiguous()
        if halved and not tensors[name].isfinite().all():
            raise RunError(f"{name} has values that half precision cannot hold")
    with replacing(path) as part:
        # One key, since the order of several is not fixed; "format" is what other readers look for.
        text = json.dumps(described(generator), sort_keys=True)
        part.write_bytes(save(tensors, {"colourgan": text}))


def load_model(path: Path | str, trust_pickle: bool = False) -> nn.Module:
    """The generator in a model file, run folder or hf:USER/NAME, on the CPU, in eval mode.

    A fastai pickle (.pkl) can run any code when it is loaded, so it is read only with trust_pickle.
    Raises UsageError if there is no such file or it is no model; RunError if it is damaged or was
    written by a newer colourgan, or the Hub cannot be reached.
    """
    file = model_file(path)
    with naming(path, file):
        return _loaded(file, trust_pickle)


def _loaded(path: Path, trust_pickle: bool) -> nn.Module:
    if path.suffix in PICKLES:
        if not trust_pickle:
            raise UsageError(
                f"{path} is a pickle, which can run any code: add --trust-pickle if you trust its "
                "maker"
            )
        from fastai.learner import load_learner

        try:
            generator = load_learner(path).model.eval()
        except Exception as error:  # unpickling runs foreign code, which raises anything
            raise RunError(f"cannot load {path} ({type(error).__name__}: {error})") from error
        if not hasattr(generator, "arguments"):
            raise UsageError(f"{path} holds a learner of another kind, not a colourgan generator")
        return generator
    metadata, tensors = _read(path)
    arguments = dict(metadata["arguments"])
    build = GENERATORS[arguments.pop("generator")]
    if "encoder" in arguments:  # its weights are in the file, as all others
        arguments["pretrained"] = False
    try:
        generator = build(**arguments)
        generator.load_state_dict(tensors)
    except (RuntimeError, TypeError) as error:
        if is_out_of_memory(error):
            raise
        reason = str(error).splitlines()[-1].strip()[:200]
        raise RunError(
            f"{path} does not fit its own description ({reason}): it is damaged, or was written "
            "with other versions of colourgan, timm, torchvision or fastai"
        ) from error
    generator.origin = metadata["encoder"]
    return generator.eval()


def _read(path: Path) -> tuple[dict, dict[str, Tensor]]:
    """Metadata and tensors of a model file."""
    try:
        with safe_open(path, "pt") as file:
            text = (file.metadata() or {}).get("colourgan")
            if text is None:
                raise UsageError(f"{path} is no colourgan model: it has no description of one")
            metadata = json.loads(text)
            kind = metadata.get("kind", "unknown thing")
            if kind != "generator":
                raise UsageError(f"{path} holds an {kind}, not a generator")
            if metadata["format_version"] > FORMAT_VERSION:
                raise RunError(
                    f"{path} has format {metadata['format_version']}, this colourgan reads up to "
                    f"{FORMAT_VERSION}: upgrade colourgan"
                )
            if (scale := metadata["ab_scale"]) != AB_SCALE:
                raise RunError(f"{path} scales ab by {scale}, this colourgan by {AB_SCALE}")
            return metadata, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, json.JSONDecodeError) as error:
        raise RunError(f"{path} is damaged or no safetensors file ({error})") from error


def model_file(path: Path | str) -> Path:
    """The model file itself, that of a run folder, or for PACKAGED the one in the package.

    That of hf:USER/NAME is in huggingface_hub's cache, see `fetched`. Raises UsageError if it is
    not there.
    """
    path = Path(path)
    if is_on_hub(path):
        return fetched(path, MODEL_NAME)
    if str(path) == PACKAGED and not path.exists():
        return PACKAGED_FILE
    return local(path)


def safe_model_file(path: Path | str) -> Path:
    """As `model_file`, but UsageError for a pickle: further training needs the file's metadata."""
    file = model_file(path)
    if file.suffix in PICKLES:
        raise UsageError(
            f"{file} is a pickle: colourgan export {file} --to safetensors comes first"
        )
    return file


def name_of(model: Path | str) -> str:
    """What to call what is made of a model: as its run folder, file or repository is called."""
    path = Path(model)
    if is_on_hub(path):
        return reference(path).repository.rpartition("/")[2]
    file = model_file(path)
    return file.resolve().parent.name if file.name == MODEL_NAME else file.stem


def names_of(paths: Iterable[Path | str]) -> dict[str, Path]:
    """A name for each model: its run's, file's or repository's, with more of it if two are alike.

    Raises UsageError for a model that is not there, or named twice.
    """
    paths = [Path(path) for path in paths]
    found = [Path(os.path.abspath(model_file(path))) for path in paths]
    if len(set(found)) < len(found):
        raise UsageError(f"a model is named twice: {', '.join(map(str, paths))}")
    named = [file.parent if file.name == MODEL_NAME else file.with_suffix("") for file in found]
    if (own := Path(os.path.abspath(PACKAGED_FILE))) in found:
        named[found.index(own)] = Path(PACKAGED)
    if len(set(named)) < len(named):  # one model in two formats, or a run beside its export
        named = [file.parent if file.name == MODEL_NAME else file for file in found]
    for i, path in enumerate(paths):
        if is_on_hub(path):  # not the cache's names, which are hashes
            named[i] = Path(str(reference(path)).removeprefix(PREFIX))
    depth = 1
    while len({file.parts[-depth:] for file in named}) < len(named):
        depth += 1
    return {"/".join(file.parts[-depth:]): path for file, path in zip(named, paths, strict=True)}
