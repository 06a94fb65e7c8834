"""One file from the web: whole and verified, or one line that says what to put where by hand."""

import shutil
import ssl
from http.client import HTTPException, HTTPResponse
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
        if not _matches(path, checksum):
            raise RunError(
                f"{path} is not the file of {url} (wrong {checksum}): delete it and run again"
            )
        return path
    with replacing(path) as beside:
        _fetch(url, beside, path)
        if not _matches(beside, checksum):
            raise RunError(f"{url} sent a wrong file (not {checksum}): {_by_hand(path)}")
    return path


def _fetch(url: str, beside: Path, path: Path) -> None:
    request = Request(url, headers={"User-Agent": "colourgan"})
    try:
        with urlopen(request, timeout=TIMEOUT) as response:
            _save(response, beside, path.name)
    # Not OSError: a full disk is one too, and `replacing` explains it.
    except (URLError, HTTPException, ConnectionError, TimeoutError, ssl.SSLError) as error:
        reason = error if isinstance(error, HTTPError) else getattr(error, "reason", error)
        raise RunError(f"could not download {url} ({reason}): {_by_hand(path)}") from error


def _save(response: HTTPResponse, path: Path, name: str) -> None:
    length = response.headers["Content-Length"]
    total = int(length) if length else None
    with (
        tqdm.wrapattr(response, "read", total=total, desc=f"downloading {name}") as body,
        open(path, "wb") as file,
    ):
        shutil.copyfileobj(body, file)
    saved = path.stat().st_size
    if total is not None and saved != total:
        raise ContentTooShortError(f"cut off after {saved} of {total} bytes", None)


def _matches(path: Path, checksum: str | None) -> bool:
    if checksum is None:
        return True
    algorithm, _, start = checksum.partition(":")
    return file_hash(path, algorithm).startswith(start)


def _by_hand(path: Path) -> str:
    return f"try again later, or get the file another way and put it at {path.absolute()}"
