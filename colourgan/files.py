"""Files that are never half written, and their hashes."""

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from colourgan.errors import RunError


@contextmanager
def replacing(path: Path | str) -> Iterator[Path]:
    """A path beside `path` to write to; it takes `path`'s place once the block ends well.

    Works for a file and for a new folder. What was at `path` stays whole until then; on an error the
    half-written part is removed. Raises RunError if the disk is full or the place is not writable.
    """
    path = Path(path)
    # Keeps the ending: writers such as PIL and numpy choose a format by it.
    beside = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield beside
        os.replace(beside, path)
    except OSError as error:
        raise _explained(error, path) or error from error
    finally:
        remove(beside)


def _explained(error: OSError, path: Path) -> RunError | None:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return RunError(f"no space left to write {path}: free some space or choose another place")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
        return RunError(f"cannot write {path}: {error.strerror}")
    return None


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
