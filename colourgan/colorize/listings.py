"""Files that list pictures: text, CSV and JSON lines of paths, and parquet files.

.txt      a path a line
.csv      a column "path"
.jsonl    a JSON object with "path" a line, or only the path as a string
.parquet  a column "path", or pictures themselves: a column "image" or "bytes" of their files'
          bytes, or of structs {"bytes", "path"} as Hugging Face writes them; beside bytes a
          column "path", "name" or "file_name" names them
"""

import csv
import json
import os
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, NamedTuple

from colourgan.errors import RunError, UsageError
from colourgan.files import shown

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetFile

PARQUET = ".parquet"
SUFFIXES = (".txt", ".csv", ".jsonl", PARQUET)
_PATH, _PICTURES, _NAMES = "path", ("image", "bytes"), ("path", "name", "file_name")
_AT_ONCE = 16  # pictures of a parquet file in memory


class Row(NamedTuple):
    """Where in a parquet file a picture is: the row of a group, in a column."""

    file: Path
    group: int
    row: int
    column: str


class Listed(NamedTuple):
    """A picture that is listed. name: below the output folder; row: None for one with a path."""

    source: Path
    name: Path
    row: Row | None = None


def is_listing(path: Path) -> bool:
    """Whether a file's ending is that of a list of pictures."""
    return path.suffix.lower() in SUFFIXES


def parquet_files(folder: Path) -> list[Path]:
    """Those in a folder and its subfolders, sorted; hidden ones are left out."""
    found = []
    for here, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        kept = (name for name in names if not name.startswith(".") and name.endswith(PARQUET))
        found += [Path(here, name) for name in kept]
    return sorted(found)


def listed(path: Path) -> Iterator[Listed]:
    """The pictures that a file lists, in its order.

    A relative path is looked for beside the file, and keeps its folders in its name; an absolute
    one, and one that leads out of the file's folder, has all of its folders in it. Whether there is
    a picture is not looked at. Pictures in a parquet file are called as if that were a folder of
    the same name without its ending; one without a name by its number, of two with one name the
    second has its number too.

    Raises UsageError for a file without the columns it needs or with what cannot be a path,
    RunError for one that is damaged.
    """
    if path.suffix.lower() == PARQUET:
        yield from _of_parquet(path)
        return
    read = {".txt": _lines, ".csv": _column, ".jsonl": _objects}[path.suffix.lower()]
    try:
        # Bytes that are no UTF-8 may be in a path.
        with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            for text in filter(None, read(path, file)):
                yield _of_path(path, text)
    except (OSError, csv.Error) as error:
        raise RunError(f"cannot read {shown(path)}: {error}") from error


def _lines(path: Path, file: Iterator[str]) -> Iterator[str]:
    return (line.rstrip("\r\n") for line in file)


def _column(path: Path, file: Iterator[str]) -> Iterator[str]:
    rows = csv.DictReader(file)
    _check_columns(path, rows.fieldnames or (), [_PATH])
    return (row[_PATH] or "" for row in rows)


def _objects(path: Path, file: Iterator[str]) -> Iterator[str]:
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            found = json.loads(line)
            found = found if isinstance(found, str) else found[_PATH]
        except (ValueError, KeyError, TypeError):
            found = None
        if not isinstance(found, str):
            raise UsageError(f'{shown(path)}: line {number} is no JSON object with a "path"')
        yield found


def _of_path(listing: Path, text: str) -> Listed:
    source = listing.parent / text
    name = PurePath(os.path.normpath(text))
    if name.is_absolute() or ".." in name.parts:
        name = PurePath(os.path.normpath(os.path.abspath(source)))
    parts = name.parts[bool(name.anchor) :]
    if not parts or "\0" in text:
        raise UsageError(f"{shown(listing)} lists {text!a}, which is no path of a file")
    return Listed(source, Path(*parts))


def _of_parquet(path: Path) -> Iterator[Listed]:
    with _opened(path) as file:
        schema = file.schema_arrow
        column = next((name for name in _PICTURES if name in schema.names), None)
        if column is None:
            _check_columns(path, schema.names, [_PATH, *_PICTURES])
            for batch in file.iter_batches(columns=[_PATH]):
                yield from (_of_path(path, str(text)) for text in batch[0].to_pylist() if text)
            return
        struct = schema.field(column).type
        inner = {struct.field(i).name for i in range(struct.num_fields)}
        if inner and "bytes" not in inner:
            raise UsageError(f"{shown(path)}: its column {column} holds no bytes")
        beside = [f"{column}.path"] if "path" in inner else []
        beside += [name for name in _NAMES if name in schema.names]
        taken, number = set(), 0
        for group in range(file.num_row_groups):
            for row, text in enumerate(_names(file, group, beside[:1])):
                name = _inside(text) or Path(f"{number:08d}")
                if name in taken:
                    name = name.with_name(f"{name.stem}-{number:08d}{name.suffix}")
                taken.add(name)
                number += 1
                yield Listed(path / name, path.stem / name, Row(path, group, row, column))


def _names(file: "ParquetFile", group: int, columns: list[str]) -> Iterator[str | None]:
    if not columns:
        yield from (None for _ in range(file.metadata.row_group(group).num_rows))
        return
    for batch in file.iter_batches(row_groups=[group], columns=columns):
        for value in batch[0].to_pylist():
            value = value["path"] if isinstance(value, dict) else value
            yield None if value is None else str(value)


def _inside(text: str | None) -> Path | None:
    """A name as a path that leads nowhere else; None if nothing is left of it."""
    pure = PurePath(os.path.normpath((text or "").replace("\0", "")))
    kept = [part for part in pure.parts[bool(pure.anchor) :] if part != ".."]
    return Path(*kept) if kept else None


def pictures(path: Path, group: int, column: str) -> Iterator[tuple[bytes | None, str | None]]:
    """(bytes, path) of each row of a group of a parquet file, a few at a time in memory."""
    with _opened(path) as file:
        for batch in file.iter_batches(_AT_ONCE, row_groups=[group], columns=[column]):
            for value in batch[0]:
                found = value.as_py()
                if isinstance(found, dict):
                    yield found["bytes"], found.get("path")
                else:
                    yield found, None


def _opened(path: Path) -> "ParquetFile":
    try:
        from pyarrow.lib import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError:
        needs = f"{shown(path)} needs pyarrow: pip install 'colourgan[ray]'"
        raise UsageError(needs) from None
    try:
        return ParquetFile(path, buffer_size=2**20)  # else a group is in memory as a whole
    except (ArrowException, OSError) as error:
        first = (str(error).splitlines() or [""])[0]
        raise RunError(f"{shown(path)} is damaged or no parquet file ({first})") from error


def _check_columns(path: Path, found: list[str], wanted: list[str]) -> None:
    if not set(found) & set(wanted):
        columns = ", ".join(found) or "none"
        raise UsageError(
            f"{shown(path)} has no column {' or '.join(wanted)}: its columns are {columns}"
        )
