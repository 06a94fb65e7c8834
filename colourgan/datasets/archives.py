"""Archives: what is wanted of them unpacked, with progress on stderr; one line if damaged."""

import gzip
import hashlib
import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from tqdm import tqdm

from colourgan.errors import RunError


def unpack_tar(
    archive: Path, folder: Path, place: Callable[[str], str | None], most: int | None = None
) -> int:
    """The number of members unpacked from a .tar, .tar.gz or .tgz into `folder`.

    place: a member's name → where in `folder` it goes, or None to leave it out; most: read no
    further after so many. Raises RunError if the archive is damaged, is not whole, or has a member
    that would lead out of `folder`.
    """
    try:
        with (
            open(archive, "rb") as file,
            _shown(file, archive, "unpacking") as body,
            tarfile.open(fileobj=body, mode=_mode(archive)) as tar,
        ):
            return _extract(tar, folder, place, most)
    except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise damaged(archive, error) from error


def check_md5(archive: Path, md5: str) -> None:
    """Raises RunError unless the archive's bytes have this hexadecimal MD5."""
    found = hashlib.md5()
    with open(archive, "rb") as file, _shown(file, archive, "checking") as body:
        while chunk := body.read(2**20):
            found.update(chunk)
    if found.hexdigest() != md5:
        raise RunError(
            f"{archive} is not the published file (wrong md5:{md5}): delete it and run again"
        )


def damaged(archive: Path, error: Exception) -> RunError:
    """The error for an archive that could not be read to its end."""
    return RunError(f"{archive} is damaged ({error}): delete it and run again")


def _shown(file, archive: Path, doing: str):
    size = archive.stat().st_size
    return tqdm.wrapattr(file, "read", total=size, desc=f"{doing} {archive.name}")


def _mode(archive: Path) -> str:
    return "r:gz" if archive.suffix in (".gz", ".tgz") else "r:"


def _extract(tar: tarfile.TarFile, folder: Path, place: Callable, most: int | None) -> int:
    count = 0
    for member in _members(tar):
        if inside := place(member.name):
            _unpack(tar, member, folder, inside)
            count += 1
        if count == most:
            return count
    if not tar.fileobj.read(tarfile.BLOCKSIZE):  # two blocks of zeros end an archive, one was read
        raise tarfile.ReadError("it ends too early")
    while tar.fileobj.read(2**20):
        pass  # up to gzip's own checksum, at its end
    return count


def _unpack(tar: tarfile.TarFile, member: tarfile.TarInfo, folder: Path, inside: str) -> None:
    """One file or folder: by hand, as tarfile's filters came with Python 3.11.4 only."""
    target = folder / inside
    if not target.resolve().is_relative_to(folder.resolve()):
        raise tarfile.ExtractError(f"{member.name} leads outside its folder")
    if member.isdir():
        target.mkdir(parents=True, exist_ok=True)
        return
    if not member.isfile():
        raise tarfile.ExtractError(f"{member.name} is neither file nor folder")
    target.parent.mkdir(parents=True, exist_ok=True)
    tar.makefile(member, str(target))


def _members(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    while member := tar.next():
        tar.members.clear()  # it keeps all of them: gigabytes for millions of images
        yield member
