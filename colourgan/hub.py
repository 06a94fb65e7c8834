"""Where models are: on the Hugging Face Hub, as hf:USER/NAME[@REVISION], or here.

The optional package huggingface_hub does the talking, keeps the cache and knows the token. What it
raises is replaced by a line of our own: a server's words may repeat all that it was sent.
"""

import errno
import logging
import os
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from colourgan.errors import DiskFull, RunError, UsageError
from colourgan.files import shown

PREFIX = "hf:"
MODEL, ONNX_MODEL, CARD = "model.safetensors", "model.onnx", "README.md"
LOG_IN = "log in with `hf auth login`"

_NAME = re.compile(r"(?=.{1,96}$)[A-Za-z0-9_][\w.-]*/[A-Za-z0-9_]([\w.-]*\w)?", re.ASCII)
_REVISION = re.compile(r"\w[\w.-]*(/\w[\w.-]*)*", re.ASCII)
_PIECE = 8  # characters of a token that no message may have in a row
_BUSY = (409, 412)
_REFUSED = (400, 413, 422)
_UNREACHED = {"HTTPError", "RequestException", "ConnectionError", "TimeoutError"}
_UNREACHED |= {"LocalEntryNotFoundError", "FileMetadataError"}


class Reference(NamedTuple):
    """A repository of the Hub, USER/NAME, and a branch, tag or commit in it."""

    repository: str
    revision: str | None = None

    def __str__(self) -> str:
        at = "" if self.revision is None else f"@{self.revision}"
        return f"{PREFIX}{self.repository}{at}"


def is_on_hub(model: object) -> bool:
    """Whether a model is named as one on the Hub; a file or folder of that name comes first."""
    if not isinstance(model, str | os.PathLike):
        return False
    return os.fspath(model).startswith(PREFIX) and not os.path.exists(model)


def reference(model: Path | str) -> Reference:
    """What hf:USER/NAME or hf:USER/NAME@REVISION names; UsageError for another form."""
    text = os.fspath(model).replace("\\", "/")  # as Windows writes it, once it is a path
    name, at, revision = text.removeprefix(PREFIX).partition("@")
    odd = "--" in name or ".." in text or name.endswith(".git")
    good = _NAME.fullmatch(name) and (not at or _REVISION.fullmatch(revision))
    if odd or not good or not text.startswith(PREFIX):
        raise UsageError(
            f"'{shown(text)}' names no model on the Hub: write hf:USER/NAME or "
            "hf:USER/NAME@REVISION"
        )
    return Reference(name, revision or None)


def fetched(model: Path | str, *names: str) -> Path:
    """The first of these files that a repository has, in huggingface_hub's cache.

    It is looked for on the Hub each time, and in the cache if that cannot be asked. Raises
    UsageError for a wrong name, a repository, revision or file that is not there, one that may not
    be read, or without huggingface_hub; RunError if the Hub cannot be reached and nothing is
    cached.
    """
    wanted = reference(model)
    with calling(wanted) as hub:
        place = {"repo_id": wanted.repository, "revision": wanted.revision}
        failed = None
        for name in names:
            try:
                return Path(hub.hf_hub_download(filename=name, **place))
            except Exception as error:
                if "EntryNotFoundError" in _kinds(error) and _status(error) == 404:
                    continue
                failed = error
                break
        if failed is None:
            raise UsageError(f"{wanted} holds no colourgan model: it has no {' or '.join(names)}")
        for name in names if _status(failed) != 404 else ():  # what an earlier call left
            with suppress(Exception):
                return Path(hub.hf_hub_download(filename=name, local_files_only=True, **place))
        raise failed


def local(model: Path | str) -> Path:
    """The model file of a run folder, or the file itself; UsageError if it is not there."""
    path = Path(model)
    file = path / MODEL if path.is_dir() else path
    if not file.is_file():
        missing = f"run folder {shown(path)} holds no {MODEL} yet"
        where = missing if path.is_dir() else f"no file {shown(path)}"
        raise UsageError(f"{where}: name a run folder or a model file")
    return file


@contextmanager
def naming(model: object, file: Path) -> Iterator[None]:
    """Errors raised inside name a model on the Hub, not its file in the cache."""
    try:
        yield
    except (UsageError, RunError) as error:
        if not is_on_hub(model):
            raise
        told = str(error).replace(str(file), f"{file.name} of {model}")
        raise type(error)(told) from error


@contextmanager
def calling(wanted: Reference, writing: bool = False) -> Iterator[ModuleType]:
    """huggingface_hub, quiet; whatever it raises inside is replaced by a UsageError or RunError.

    The replaced error is not kept as the cause: a traceback shows where it was raised, but not its
    words. writing: whether something is sent, for messages. Raises UsageError if huggingface_hub is
    not installed.
    """
    try:
        import huggingface_hub.constants
        import huggingface_hub.utils  # neither is there by the first import alone
    except ModuleNotFoundError:
        raise UsageError(f"{wanted} needs huggingface_hub: pip install 'colourgan[hub]'") from None
    try:
        with _quiet(huggingface_hub):
            yield huggingface_hub
    except (UsageError, RunError):
        raise
    except Exception as error:  # its own, those of three HTTP libraries, and of the disk
        found = _explained(error, wanted, writing, token_of(huggingface_hub))
        raise found.with_traceback(error.__traceback__) from None


def token_of(hub: ModuleType) -> str | None:
    """The user's token, None if there is none or it cannot be had."""
    with suppress(Exception):
        return hub.get_token()
    return None


@contextmanager
def _quiet(hub: ModuleType) -> Iterator[None]:
    """No warnings of huggingface_hub, which repeat a server's, and no bars where nobody looks."""
    # Not its own logger's level, which it sets when it first imports the module of its loggers.
    disabled = logging.root.manager.disable
    hide = not (hub.utils.are_progress_bars_disabled() or sys.stderr.isatty())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        if hide:
            hub.utils.disable_progress_bars()
        try:
            yield
        finally:
            logging.disable(disabled)
            if hide:
                hub.utils.enable_progress_bars()


def _explained(
    error: Exception, wanted: Reference, writing: bool, token: str | None
) -> UsageError | RunError:
    """The error, in one line, that says what to do."""
    kinds, status = _kinds(error), _status(error)
    name = PREFIX + wanted.repository
    number = getattr(error, "errno", None)
    if number in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull(f"no space left to keep {wanted}: free some space or set HF_HOME")
    if number is not None and "PermissionError" in kinds:
        return RunError(f"cannot write {shown(str(error.filename))}: {error.strerror}")
    if "OfflineModeIsEnabled" in kinds:
        where = "nothing can be sent" if writing else f"{wanted} is not in the cache"
        return RunError(f"{where} and HF_HUB_OFFLINE is set: unset it")
    if "GatedRepoError" in kinds:
        return UsageError(f"{name} has conditions: accept them on its page and {LOG_IN}")
    if "RevisionNotFoundError" in kinds:
        return UsageError(f"{name} has no revision {wanted.revision or 'main'}: see its page")
    if status == 401 and token:
        return UsageError(f"the Hub does not accept your token for {name}: {LOG_IN} again")
    if status in (401, 404) or "RepositoryNotFoundError" in kinds:
        if token:
            return UsageError(f"there is no {name} that your token can see: check both")
        return UsageError(f"there is no {name}, or it is private: check its name or {LOG_IN}")
    if status == 403:
        need = "write to" if writing else "read"
        return UsageError(f"your token may not {need} {name}: {LOG_IN}, with a token that may")
    if status in _BUSY:
        return RunError(f"{name} was changed meanwhile: try again")
    if status in _REFUSED or (writing and type(error) is ValueError):
        said = _said(error, token) or f"HTTP {status}"
        return RunError(f"the Hub refuses {wanted} ({said})")
    if status is not None:
        return RunError(f"the Hub fails for {wanted} (HTTP {status}): try again later")
    if kinds & _UNREACHED:
        where = "nothing was sent" if writing else f"{wanted} is not in the cache"
        return RunError(f"{where} and the Hub cannot be reached: check the network and try again")
    return RunError(f"{wanted} failed in huggingface_hub ({type(error).__name__})")


def _said(error: Exception, token: str | None) -> str:
    """A server's reason, or nothing if it repeats a part of the token."""
    text = " ".join(str(getattr(error, "server_message", None) or error).split())
    starts = range(max(1, len(token) - _PIECE + 1)) if token else ()
    repeats = any(token[i : i + _PIECE] in text for i in starts)
    return "" if repeats or "bearer" in text.lower() else shown(text[:200])


def _kinds(error: BaseException) -> set[str]:
    """The names of an error's classes and of its causes', as modules differ between versions."""
    return {kind.__name__ for each in _causes(error) for kind in type(each).__mro__}


def _status(error: BaseException) -> int | None:
    """What HTTP status a server answered with, None if none did."""
    answers = (getattr(each, "response", None) for each in _causes(error))
    return next((answer.status_code for answer in answers if answer is not None), None)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
