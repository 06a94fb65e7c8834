"""Files that are never half written, and their hashes."""

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from colourgan.errors import RunError

_NOT_WRITABLE = (
    errno.EACCES,
    errno.EEXIST,
    errno.EISDIR,
    errno.ENAMETOOLONG,
    errno.ENOTDIR,
    errno.EPERM,
    errno.EROFS,
)
_NEARLY_NOTHING = 2**20  # bytes free on a disk that was full before the next write


@contextmanager
def replacing(path: Path | str) -> Iterator[Path]:
    """A path beside `path` to write to; it takes `path`'s place once the block ends well.

    Works for a file and for a new folder. What was at `path` stays whole until then; on an error
    the half-written part is removed. Raises RunError if the disk is full or not writable.
    """
    path = Path(path)
    # Keeps the ending: writers such as PIL and numpy choose a format by it.
    beside = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield beside
        os.replace(beside, path)
    except OSError as error:
        if explained := _explained(error, path):
            raise explained from error
        raise
    except RuntimeError as error:
        # torch.save says of a full disk only that a position is not the expected one.
        if isinstance(error, RunError) or shutil.disk_usage(path.parent).free > _NEARLY_NOTHING:
            raise
        raise _disk_full(path) from error
    finally:
        with suppress(OSError):  # a place that cannot be written: the error above says so
            remove(beside)


def _explained(error: OSError, path: Path) -> RunError | None:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return _disk_full(path)
    if error.errno in _NOT_WRITABLE:
        return RunError(f"cannot write {path}: {error.strerror}")
    return None


def _disk_full(path: Path) -> RunError:
    return RunError(f"no space left to write {path}: free some space or choose another place")


def remove(path: Path) -> None:
    """Removes a file or a folder, or does nothing if it is not there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def file_hash(path: Path | str, algorithm: str = "sha256") -> str:
    """The hexadecimal hash of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()
