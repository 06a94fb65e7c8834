"""Files from the web, and what is in archives: whole and verified, or an error of one line."""

import gzip
import hashlib
import shutil
import ssl
import tarfile
import zlib
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from urllib.error import ContentTooShortError, HTTPError, URLError
from urllib.request import Request, urlopen

from tqdm import tqdm

from colourgan.errors import RunError
from colourgan.files import file_hash, replacing

TIMEOUT = 30.0  # seconds without a single byte


def download(url: str, path: Path | str, checksum: str | None = None) -> Path:
    """`path`, fetched from `url` with a progress bar on stderr unless it is already there.

    checksum: "md5:…" or "sha256:…", the hexadecimal hash or its beginning; a file that somebody put
    there is checked against it too, and kept if it is wrong. Proxies and certificates come from the
    usual environment variables (https_proxy, no_proxy, SSL_CERT_FILE).
    Raises RunError, and leaves nothing half written, if there is no network, the server refuses or
    breaks off, the bytes are not the expected ones, or the disk is full.
    """
    path = Path(path)
    if path.exists():
        if _matches(path, checksum):
            return path
        wrong = f"{path} is not the file of {url} (wrong {checksum})"
        raise RunError(f"{wrong}: delete it and run again")
    by_hand = f"try again later, or get the file another way and put it at {path.absolute()}"
    request = Request(url, headers={"User-Agent": "colourgan"})
    with replacing(path) as beside:
        try:
            with urlopen(request, timeout=TIMEOUT) as response:
                length = response.headers["Content-Length"]
                total = int(length) if length else None
                shown = {"total": total, "desc": f"downloading {path.name}"}
                with tqdm.wrapattr(response, "read", **shown) as body, open(beside, "wb") as file:
                    shutil.copyfileobj(body, file)
            saved = beside.stat().st_size
            if total is not None and saved != total:
                raise ContentTooShortError(f"cut off after {saved} of {total} bytes", None)
        # Not OSError: a full disk is one too, and `replacing` explains it.
        except (URLError, HTTPException, ConnectionError, TimeoutError, ssl.SSLError) as error:
            reason = error if isinstance(error, HTTPError) else getattr(error, "reason", error)
            raise RunError(f"could not download {url} ({reason}): {by_hand}") from error
        if not _matches(beside, checksum):
            raise RunError(f"{url} sent a wrong file (not {checksum}): {by_hand}")
    return path


def _matches(path: Path, checksum: str | None) -> bool:
    if checksum is None:
        return True
    algorithm, _, start = checksum.partition(":")
    return file_hash(path, algorithm).startswith(start)


def unpack_tar(
    archive: Path, folder: Path, place: Callable[[str], str | None], most: int | None = None
) -> int:
    """The number of members unpacked from a .tar, .tar.gz or .tgz into `folder`.

    place: a member's name → where in `folder` it goes, or None to leave it out; most: read no
    further after so many. Raises RunError if the archive is damaged, is not whole, or has a member
    that would lead out of `folder`.
    """
    count, mode = 0, "r:gz" if archive.suffix in (".gz", ".tgz") else "r:"
    try:
        with (
            open(archive, "rb") as file,
            _shown(file, archive, "unpacking") as body,
            tarfile.open(fileobj=body, mode=mode) as tar,
        ):
            while member := tar.next():
                tar.members.clear()  # it keeps all of them: gigabytes for millions of images
                if inside := place(member.name):
                    target = folder / inside
                    if not target.resolve().is_relative_to(folder.resolve()):
                        raise tarfile.ExtractError(f"{member.name} leads outside its folder")
                    # By hand, as tarfile's filters came with Python 3.11.4 only.
                    if member.isfile():
                        target.parent.mkdir(parents=True, exist_ok=True)
                        tar.makefile(member, str(target))
                    elif member.isdir():
                        target.mkdir(parents=True, exist_ok=True)
                    else:
                        raise tarfile.ExtractError(f"{member.name} is neither file nor folder")
                    count += 1
                if count == most:
                    return count
            # Two blocks of zeros end an archive; one of them has been read.
            if not tar.fileobj.read(tarfile.BLOCKSIZE):
                raise tarfile.ReadError("it ends too early")
            while tar.fileobj.read(2**20):
                pass  # up to gzip's own checksum, at its end
    except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise damaged(archive, error) from error
    return count


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
