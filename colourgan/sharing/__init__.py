"""Sharing a model on the Hugging Face Hub: the files of a repository, the model card among them.

`prepared` gathers the files of a run, a model file or the packaged model, `push` sends them. What
tells of the machine stays here: of a path the last part is named, of the options only those that
say what was computed.

card  the text of the model card
"""

import hashlib
import json
import logging
import os
import re
import struct
from collections.abc import Mapping
from importlib.resources import files as package_files
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any, NamedTuple

from colourgan.errors import RunError, UsageError
from colourgan.files import shown
from colourgan.hub import (
    CARD,
    LOG_IN,
    MODEL,
    ONNX_MODEL,
    PREFIX,
    Reference,
    calling,
    is_on_hub,
    reference,
    token_of,
)
from colourgan.options import options
from colourgan.runtimes import PACKAGED
from colourgan.sharing.card import (
    CONFIG,
    EVALUATED,
    EVALUATION,
    HISTORY,
    LOSS,
    NAMED_DATA,
    SAMPLES,
    card_of,
)
from colourgan.trainings import TRAININGS, Training

OURS = (MODEL, ONNX_MODEL, CONFIG, HISTORY, LOSS, SAMPLES, EVALUATION, EVALUATED)
"""Files that a push writes; one that it does not write any more is of another model, and goes."""

_CONFIG = ("schema", "command", "arguments", "contents", "versions", "found", "chosen", "best")
_EVALUATION = ("rows", "comparisons", "left_out", "images", "data", "size")
_LICENSE = re.compile("[a-z0-9][a-z0-9.+-]*")
_MARK = re.compile(r"<!-- written by colourgan push, sha256 ([0-9a-f]{64}) -->\n?\Z")
_LARGEST_HEADER = 2**27  # bytes
_log = logging.getLogger(__name__)


class Shared(NamedTuple):
    """What a push sends. files: name → a path or the content, without the card; card: its text."""

    files: dict[str, Path | bytes]
    card: str

    def sizes(self) -> dict[str, int]:
        """name → bytes, of all files."""
        found = {
            name: len(each) if isinstance(each, bytes) else each.stat().st_size
            for name, each in self.files.items()
        }
        return {CARD: len(self.card.encode()), **found}


def push(
    model: Path | str,
    to: str,
    private: bool = False,
    license: str | None = None,
    message: str | None = None,
    evaluation: Path | str | None = None,
    pictures: bool = False,
    overwrite_card: bool = False,
) -> str:
    """Sends a model to a repository of the Hub, made if need be, as one commit; its address.

    to: hf:USER/NAME; private: who else may see a new repository; message: of the commit; the rest:
    see `prepared`. A card that somebody edited there stays, unless `overwrite_card`. Raises
    UsageError as `prepared`, without a token or the right to write, for a repository of another
    kind of model, and for `private` where the repository is public; RunError if the Hub fails.
    """
    wanted = destination(to)
    with calling(wanted, writing=True) as hub:
        if hub.constants.HF_HUB_OFFLINE:
            raise UsageError("nothing can be sent as HF_HUB_OFFLINE is set: unset it")
        if not token_of(hub):
            raise UsageError(f"{wanted} needs a token that may write: {LOG_IN} or set HF_TOKEN")
    shared = prepared(model, to, license, evaluation, pictures)
    message = message or f"{_name_of(model)}, by colourgan push"
    with calling(wanted, writing=True) as hub:
        kept = _send(hub, shared, wanted, private, message, overwrite_card)
        address = f"{hub.constants.ENDPOINT}/{wanted.repository}"
    if kept:
        _log.warning(f"{wanted}: {CARD} was edited there and stays; --overwrite-card replaces it")
    return address


def destination(to: str) -> Reference:
    """The repository that hf:USER/NAME names; UsageError for another form."""
    if (wanted := reference(to)).revision:
        raise UsageError(f"a push goes to the main branch: leave @{wanted.revision} out")
    return wanted


def prepared(
    model: Path | str,
    to: str,
    license: str | None = None,
    evaluation: Path | str | None = None,
    pictures: bool = False,
) -> Shared:
    """The files of a run folder's, a .safetensors file's or the packaged model, and their card.

    to: hf:USER/NAME, for the card; license: its identifier on the Hub; evaluation: a folder that
    `evaluate` wrote for this model; pictures: whether photographs of a folder, not of a named data
    set, are shown too. Raises UsageError for a model or evaluation that is not there or of another
    kind, RunError if one is damaged.
    """
    wanted = destination(to)
    if license is not None and not _LICENSE.fullmatch(license):
        raise UsageError(
            f"--license {shown(license)} is no identifier such as apache-2.0, mit or cc-by-4.0"
        )
    packaged = _is_packaged(model)
    file = _model_file(model)
    about, half = described_in(file)
    measured = None if evaluation is None else _evaluation(Path(evaluation), _name_of(model))
    run = _run_of(model)
    config = public(_json(run / CONFIG)) if run else None
    files: dict[str, Path | bytes] = {MODEL: file}
    if onnx := file.with_suffix(".onnx") if packaged else _onnx(file, half):
        files[ONNX_MODEL] = onnx
    if run:
        files |= _of_run(run, config, pictures)
    if measured is not None:
        files[EVALUATION] = _as_bytes(measured)
        picture = Path(evaluation) / EVALUATED
        if picture.is_file() and (pictures or measured.get("data") in NAMED_DATA):
            files[EVALUATED] = picture
    if packaged and license is None:
        license = "apache-2.0"
    card = card_of(wanted, about, half, config, measured, files, license, packaged)
    return Shared(files, signed(card))


def described_in(file: Path) -> tuple[dict, bool]:
    """What a .safetensors file says of its generator, and whether it is in half precision.

    Reads its head alone, without safetensors. Raises UsageError for one that holds no generator,
    RunError if it is damaged.
    """
    try:
        with open(file, "rb") as opened:
            (length,) = struct.unpack("<Q", opened.read(8))
            if length > _LARGEST_HEADER:
                raise ValueError("its head is too long")
            head = json.loads(opened.read(length))
        text = head.pop("__metadata__", {}).get("colourgan")
        about = None if text is None else json.loads(text)
        half = any(each["dtype"] == "F16" for each in head.values())
    except (OSError, ValueError, struct.error, KeyError, TypeError, AttributeError) as error:
        raise RunError(f"{file} is damaged or no safetensors file") from error
    if about is None or about.get("kind") != "generator":
        raise UsageError(f"{file} holds no generator of colourgan: only those can be pushed")
    return about, half


def public(config: Mapping[str, Any]) -> dict[str, Any]:
    """A run's config.json without the options that name places, and with paths' last parts.

    Raises RunError if it is none of a run.
    """
    if not {"command", "arguments"} <= config.keys():
        raise RunError(f"{CONFIG} beside the model names no command: it is damaged, or no run's")
    kept = {name: config[name] for name in _CONFIG if name in config}
    kind = TRAININGS.get(config.get("command"), Training)
    roles = {each.name: about.role for each, about in options(kind)}
    kept["arguments"] = {
        name: without_folders(value, roles.get(name, ""))
        for name, value in config["arguments"].items()
        if roles.get(name) != "place" and name != "resume"
    }
    return kept


def without_folders(value: Any, role: str = "") -> Any:
    """A path's last part, of ARCH@PATH "ARCH@" and that; any other value as it is."""
    if not isinstance(value, str) or value.startswith(PREFIX):
        return value
    if role == "encoder":
        arch, at, path = value.partition("@")
        return f"{arch}{at}{without_folders(path)}" if at else value
    if not re.search(r"[/\\]", value):
        return value
    return re.split(r"[/\\]", value.rstrip("/\\"))[-1] or "folder"


def signed(card: str) -> str:
    """The card with a line that tells whether it was edited since."""
    found = hashlib.sha256(card.encode()).hexdigest()
    return f"{card}\n<!-- written by colourgan push, sha256 {found} -->\n"


def is_unedited(card: str) -> bool:
    """Whether a card is as `signed` made it, whatever its line endings."""
    card = card.replace("\r\n", "\n")
    mark = _MARK.search(card)
    if mark is None:
        return False
    return hashlib.sha256(card[: mark.start() - 1].encode()).hexdigest() == mark[1]


# ------------------------------------------------------------------------------- what is sent


def _send(
    hub: ModuleType,
    shared: Shared,
    wanted: Reference,
    private: bool,
    message: str,
    overwrite_card: bool,
) -> bool:
    """Whether an edited card was kept; commits the files."""
    api, name = hub.HfApi(token=True), wanted.repository
    api.create_repo(name, private=private or None, exist_ok=True)
    before = api.model_info(name)
    there = {each.rfilename for each in before.siblings or ()}
    if private and not before.private:
        raise UsageError(
            f"{wanted} exists and is public, so nothing was sent: make it private in its settings, "
            "or leave --private out"
        )
    card = _card_there(hub, name, before.sha) if CARD in there else ""
    if there & set(OURS) and "library_name: colourgan" not in card and not overwrite_card:
        raise UsageError(
            f"{wanted} holds another kind of model, so nothing was sent: name another repository, "
            "or replace it with --overwrite-card"
        )
    operations = [
        hub.CommitOperationAdd(path_in_repo=path, path_or_fileobj=content)
        for path, content in shared.files.items()
    ]
    kept = bool(card.strip()) and not overwrite_card and not is_unedited(card)
    if not kept:
        operations.append(hub.CommitOperationAdd(CARD, shared.card.encode()))
    for path in sorted(there & set(OURS) - shared.files.keys()):
        operations.append(hub.CommitOperationDelete(path))
    # Whatever came in between, perhaps an edited card, makes the Hub refuse the commit.
    api.create_commit(name, operations, commit_message=message, parent_commit=before.sha)
    return kept


def _card_there(hub: ModuleType, name: str, revision: str | None) -> str:
    with TemporaryDirectory() as folder:  # not from the cache, which may be old
        place = {"revision": revision, "cache_dir": folder, "token": True}
        path = hub.hf_hub_download(name, CARD, **place)
        return Path(path).read_text(encoding="utf-8", errors="replace")


def _is_packaged(model: Path | str) -> bool:
    return str(model) == PACKAGED and not Path(model).exists()


def _name_of(model: Path | str) -> str:
    """What `evaluate` calls a model in its table."""
    if _is_packaged(model) or is_on_hub(model):
        return str(model).removeprefix(PREFIX).rpartition("/")[-1]
    path = Path(os.path.abspath(model))
    path = path.parent if path.name == MODEL else path
    return path.name if path.is_dir() else path.stem


def _run_of(model: Path | str) -> Path | None:
    """The run folder that is named itself, or by its model file."""
    path = Path(model)
    folder = path.parent if path.name == MODEL else path
    return folder if (folder / CONFIG).is_file() and not is_on_hub(model) else None


def _model_file(model: Path | str) -> Path:
    """The .safetensors file of what can be pushed."""
    if _is_packaged(model):  # which is pushed without torch, too
        return Path(str(package_files("colourgan") / "weights" / "photographs.safetensors"))
    from colourgan.models import model_file

    file = model_file(model)
    if file.suffix != ".safetensors":
        raise UsageError(
            f"{file} cannot be pushed: name a run folder, a .safetensors file or packaged"
        )
    return file


def _onnx(file: Path, half: bool) -> bytes | None:
    """The model for ONNX Runtime, None with a warning if it cannot be exported."""
    from colourgan.exports.common import copied
    from colourgan.exports.onnx import need, onnx_bytes
    from colourgan.models import load_model

    generator = load_model(file)
    need("onnx", "onnxscript", "onnxruntime")
    try:
        return onnx_bytes(copied(generator, half), half)
    except UsageError as error:
        _log.warning(f"without {ONNX_MODEL}, so coloring will need torch: {error}")
        return None


def _of_run(run: Path, config: dict, pictures: bool) -> dict[str, Path | bytes]:
    """What a run folder has beside its model."""
    found: dict[str, Path | bytes] = {CONFIG: _as_bytes(config)}
    for name in (HISTORY, LOSS):
        if (run / name).is_file() and (run / name).stat().st_size:
            found[name] = run / name
    samples = sorted((run / "samples").glob("epoch_*.png"))
    if samples and (pictures or config["arguments"].get("data") in NAMED_DATA):
        found[SAMPLES] = samples[-1]
    return found


def _evaluation(folder: Path, name: str) -> dict:
    """What `evaluate` found out about a model of this name, without what tells of the machine."""
    if not (folder / EVALUATION).is_file():
        raise UsageError(
            f"{shown(folder)} holds no {EVALUATION}: name the --out folder of `colourgan evaluate`"
        )
    found = _json(folder / EVALUATION)
    if not all(key in found for key in ("rows", "data", "size", "images")):
        raise RunError(f"{shown(folder / EVALUATION)} is no evaluation of colourgan")
    names = [row["name"] for row in found["rows"]]
    if name not in {each.rpartition("/")[-1].removesuffix(".safetensors") for each in names}:
        raise UsageError(f"{shown(folder)} measures {', '.join(names)}, not {name}: evaluate it")
    kept = {key: found[key] for key in _EVALUATION if key in found}
    return kept | {"data": without_folders(found["data"])}


def _json(file: Path) -> dict:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise ValueError("it holds no object")
        return found
    except (OSError, ValueError) as error:
        raise RunError(f"{shown(file)} is damaged: {error}") from error


def _as_bytes(content: dict) -> bytes:
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()


# ------------------------------------------------------------------------------- the model card
