"""Folders and archives as dicts of their files: name → bytes."""

import hashlib
import io
import tarfile
import zipfile
from pathlib import Path


def files(root: Path) -> dict[str, bytes]:
    """What lies in a folder and below it, sorted by name."""
    found = (path for path in sorted(root.rglob("*")) if path.is_file())
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in found}


def tar_gz(content: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, body in content.items():
            member = tarfile.TarInfo(name)
            member.size = len(body)
            tar.addfile(member, io.BytesIO(body))
    return buffer.getvalue()


def zipped(content: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, body in content.items():
            archive.writestr(name, body)
    return buffer.getvalue()


def write(folder: Path, content: dict[str, bytes]) -> None:
    for name, body in content.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(body)


def md5(body: bytes) -> str:
    return hashlib.md5(body).hexdigest()
