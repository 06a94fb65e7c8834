"""Files that are never half written, and their hashes."""

import errno
import hashlib
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from itertools import chain
from pathlib import Path
from secrets import token_hex

from colourgan.errors import DiskFull, RunError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

_NOT_WRITABLE = {errno.EACCES, errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG}
_NOT_WRITABLE |= {errno.ENOTDIR, errno.EPERM, errno.EROFS}
_LONGEST = 255  # bytes of a name on most disks
_NEARLY_NOTHING = 2**20  # bytes free on a disk that was full before the next write
_PART = re.compile(r"\..*\.[0-9a-f]{16}\.part(\.[^.]*)?", re.DOTALL)
_END = 4096  # bytes
_STALE = 24 * 60 * 60  # seconds without a change after which nobody is writing a part any more


@contextmanager
def replacing(path: Path | str) -> Iterator[Path]:
    """A path beside `path` to write to; it takes `path`'s place once the block ends without error.

    Works for a file and for a new folder. What was at `path` stays until then; on an error the
    half-written part is removed. Content reaches the disk before it gets its name (fsync of a
    file, sync of the whole system for a folder, where there is one), so after a power cut `path` is
    the old or the new one. A killed process leaves a hidden part behind; the first write of a later
    process to the same folder removes all parts in which nothing has changed for a day, and
    `remove_parts` younger ones.
    Raises DiskFull, or RunError if the path is not writable.
    """
    path = Path(path)
    # No two writers share a part: threads have one process number, containers the same ones. The
    # ending stays: writers such as PIL and numpy choose a format by it.
    stem = path.stem if len(os.fsencode(path.name)) <= _LONGEST - 23 else ""
    beside = path.with_name(f".{stem}.{token_hex(8)}.part{path.suffix}")
    full = f"no space left to write {shown(path)}: free some space or choose another place"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale(path.parent.absolute())
        with _lock(path.parent):
            yield beside
            if not beside.is_dir():
                _fsync(beside, os.O_RDWR)
            elif hasattr(os, "sync"):  # one call: fsync of thousands of files takes far longer
                os.sync()
            os.replace(beside, path)
        with suppress(OSError):  # Windows and some network disks cannot do this for a folder
            _fsync(path.parent, os.O_RDONLY)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(full) from error
        if error.errno in _NOT_WRITABLE:
            raise RunError(f"cannot write {shown(path)}: {error.strerror}") from error
        raise
    except RuntimeError as error:
        # torch.save says of a full disk only that a position is not the expected one.
        if isinstance(error, RunError) or shutil.disk_usage(path.parent).free > _NEARLY_NOTHING:
            raise
        raise DiskFull(full) from error
    finally:
        with suppress(OSError):  # a place that cannot be written: the error above says so
            remove(beside)


def remove_parts(folder: Path | str) -> None:
    """Removes what killed processes left in a folder, if nobody is writing to it.

    Does nothing on systems and disks without locks.
    """
    with suppress(OSError), _lock(folder, alone=True) as alone:
        for part in _parts(Path(folder)) if alone else ():
            remove(part)


@contextmanager
def _lock(folder: Path | str, alone: bool = False) -> Iterator[bool]:
    """Whether this process has a lock on a folder: those who write to it share one.

    It ends with the process, however that ends. To be `alone` is tried, not waited for.
    """
    descriptor, locked = None, False
    with suppress(OSError, AttributeError):
        descriptor = os.open(folder, os.O_RDONLY)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB if alone else fcntl.LOCK_SH)
        locked = True
    try:
        yield locked
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _parts(folder: Path) -> list[Path]:
    return [entry for entry in folder.iterdir() if _PART.fullmatch(entry.name)]


@lru_cache(maxsize=1024)  # once for each process and folder: listing a large one takes its time
def _remove_stale(folder: Path) -> None:
    with suppress(OSError):
        for part in _parts(folder):
            with suppress(OSError):  # another process may be removing the same part
                # Of a folder's files the newest counts: its own time does not change with them.
                changes = (path.lstat().st_mtime for path in chain([part], part.rglob("*")))
                if all(time.time() - change > _STALE for change in changes):
                    remove(part)


def _fsync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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


def ends(path: Path | str) -> tuple[int | None, bytes]:
    """A file's size, its first and its last 4 KiB; None and b"" if it cannot be read."""
    size, found = None, b""
    with suppress(OSError), open(path, "rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        found = file.read(_END)
        file.seek(max(_END, size - _END))
        found += file.read(_END)
    return size, found


def shown(path: Path | str) -> str:
    """A path as one line of text: what cannot be printed, such as a newline, is escaped."""
    text = os.fspath(path)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
