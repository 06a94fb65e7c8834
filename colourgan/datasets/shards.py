"""Where streamed images lie: in WebDataset shards, or in a data set of the Hugging Face Hub."""

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Protocol
from urllib.request import urlopen

from colourgan.errors import RunError, UsageError
from colourgan.files import ends, shown
from colourgan.hub import PREFIX, Reference, calling
from colourgan.images import SUFFIXES

INDEX = "index.json"
VALID_SPLITS = ("validation", "valid", "val")
_WAIT = 60  # seconds for a server to answer
_PART = re.compile(r"(valid(?:ation)?|val|test)[-_.\d]")
_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")


class Sample(NamedTuple):
    """An image as it lies in a stream: where, for messages, and a file's bytes."""

    place: str
    image: bytes


class Source(Protocol):
    """Images in shards that are read one after another.

    name: for messages; shards: how many; length: images in all of them, None if unknown.
    """

    name: str
    shards: int
    length: int | None

    def read(self, shard: int, skip: int) -> Iterator[Sample]:
        """The images of a shard but the first `skip`, always in the same order.

        Raises RunError for what cannot be read.
        """


class Parts(NamedTuple):
    """What to train on, what to validate on if that lies apart, and what identifies both."""

    train: Source
    valid: Source | None
    identity: str


def names_stream(data: str | Path) -> bool:
    """Whether this names shards, a folder of nothing else, or a data set of the Hub."""
    text, folder = str(data), Path(data).expanduser()
    if folder.is_dir():
        names = [name for name in os.listdir(folder) if not name.startswith(".")]
        return any(name.endswith(".tar") for name in names) and all(
            name.endswith((".tar", ".json")) for name in names
        )
    return text.startswith(PREFIX) or text.endswith(".tar")


def open_parts(data: str | Path) -> Parts:
    """The sources of a stream by its name, of which `names_stream` is true.

    `hf:NAME[:CONFIG[:SPLIT]][@REVISION]`, NAME a data set of the Hub or a folder that
    `datasets.load_dataset` reads; a path or URL of .tar shards with braces to expand, such as
    train-{000..099}.tar; or a folder of shards. Shards whose names begin with "valid" or "val" are
    for validation, those with "test" are left alone. Raises UsageError and RunError.
    """
    return _hub_parts(str(data)) if str(data).startswith(PREFIX) else _shard_parts(str(data))


# ------------------------------------------------------------------------------------------ shards


class Shards:
    """Images in .tar files, as WebDataset has them: files with one stem are one sample."""

    def __init__(self, name: str, files: list[str], length: int | None):
        self.name, self.files = name, files
        self.shards, self.length = len(files), length

    def read(self, shard: int, skip: int) -> Iterator[Sample]:
        from webdataset.tariterators import group_by_keys, tar_file_expander

        file = self.files[shard]
        try:
            # Not webdataset's gopen, which runs any command that a name such as "pipe:…" holds.
            with urlopen(file, timeout=_WAIT) if _is_url(file) else open(file, "rb") as stream:
                tar = [{"url": file, "stream": stream}]
                images = tar_file_expander(tar, select_files=_is_image)
                for sample in islice(group_by_keys(images), skip, None):
                    image = next(sample[key] for key in sample if _is_image(f"x.{key}"))
                    yield Sample(f"{sample['__key__']} in {file}", image)
        except Exception as error:  # tarfile's and webdataset's own, and those of the network
            said = str(error.args[0] if error.args else error).partition(" @ ")[0]
            raise RunError(f"cannot read {shown(file)}: {said or type(error).__name__}") from error


def _shard_parts(data: str) -> Parts:
    with _extra(data):
        import webdataset.tariterators  # noqa: F401 it is needed later
        from braceexpand import UnbalancedBracesError, braceexpand
    folder = Path(data).expanduser()
    try:
        if folder.is_dir():
            names = (name for name in sorted(os.listdir(folder)) if not name.startswith("."))
            files = [str(folder / name) for name in names if name.endswith(".tar")]
        else:
            files = [
                file if _is_url(file) else str(Path(file).expanduser())
                for file in braceexpand(data)
            ]
    except UnbalancedBracesError as error:
        raise UsageError(f"{data} has unbalanced braces") from error
    missing = [file for file in files if not (_is_url(file) or os.path.isfile(file))]
    if missing:
        raise UsageError(f"{len(missing)} of {len(files)} shards are missing, such as {missing[0]}")
    parts: dict[str, list[str]] = {"train": [], "valid": [], "test": []}
    for file in files:
        named = _PART.match(file.rpartition("/")[2])
        parts["test" if named and named[1] == "test" else "valid" if named else "train"].append(
            file
        )
    if not parts["train"]:
        raise UsageError(f"{data} names no shards to train on: only {', '.join(map(shown, files))}")
    train, valid = (
        Shards(data, part, _length(part)) if part else None
        for part in (parts["train"], parts["valid"])
    )
    known = ((file.rpartition("/")[2], file) for file in parts["train"] + parts["valid"])
    return Parts(train, valid, _identity(known))


def _length(files: list[str]) -> int | None:
    """Images in these shards as the index beside them says, None if it does not know them all.

    Raises RunError if one has not the size that the index says.
    """
    known: dict[Path, dict[str, dict]] = {}
    length = 0
    for file in map(Path, files):
        if file.parent not in known:
            with suppress(OSError, ValueError, KeyError, TypeError):
                index = json.loads((file.parent / INDEX).read_text())
                known[file.parent] = {shard["url"]: shard for shard in index["shardlist"]}
        if (entry := known.setdefault(file.parent, {}).get(file.name)) is None:
            return None
        if (size := file.stat().st_size) != entry["filesize"]:
            whole = f"{size} of {entry['filesize']} bytes"
            raise RunError(f"{shown(file)} is not whole ({whole}): copy or pack it again")
        length += entry["nsamples"]
    return length


def _is_url(file: str) -> bool:
    return file.startswith(("https://", "http://"))


def _is_image(name: str) -> bool:
    path = Path(name)
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


# --------------------------------------------------------------------------------------------- Hub


class HubSplit:
    """Images of one split of a data set that `datasets` streams."""

    def __init__(self, name: str, dataset: Any, length: int | None, remote: Reference | None):
        from datasets import Image

        self.name, self.length, self.remote = name, length, remote
        columns = dataset.features or {}
        found = [c for c, kind in columns.items() if isinstance(kind, Image) or _has_bytes(kind)]
        if not found:
            raise UsageError(
                f"{name} has no column of images: {', '.join(columns) or 'none known'}"
            )
        self.column = found[0]
        dataset = dataset.select_columns([self.column])
        if isinstance(columns[self.column], Image):
            dataset = dataset.cast_column(self.column, Image(decode=False))
        self.dataset, self.shards = dataset, dataset.num_shards

    def read(self, shard: int, skip: int) -> Iterator[Sample]:
        part = self.dataset.shard(num_shards=self.shards, index=shard)
        try:
            for number, row in enumerate(part.skip(skip) if skip else part, skip):
                image = row[self.column] or {}
                yield Sample(f"image {number} of shard {shard} of {self.name}", _bytes(image))
        except Exception as error:  # of three libraries for the network, and Arrow's
            if self.remote:
                with calling(self.remote):  # which says it without a server's words
                    raise
            said = (str(error).splitlines() or [type(error).__name__])[0]
            raise RunError(f"cannot read {self.name}: {said}") from error


def _hub_parts(data: str) -> Parts:
    with _extra(data):
        from datasets import load_dataset_builder
    name, config, split, revision = _hub_name(data)
    folder = Path(name).expanduser().absolute()  # "parquet" alone is a module of datasets
    remote = None if folder.is_dir() else Reference(name, revision)
    with calling(remote) if remote else _local(data):
        builder = load_dataset_builder(
            name if remote else str(folder), config or None, revision=revision
        )
        splits = builder.as_streaming_dataset()
    split = split or "train"
    if split not in splits:
        choices = f"write hf:NAME:CONFIG:SPLIT with one of {', '.join(splits)}"
        raise UsageError(f"{data} has no split '{split}': {choices}")
    wanted = [split, *(s for s in VALID_SPLITS if s in splits and s != split)][:2]
    files = builder.config.data_files or {}
    known = [(str(file), file) for part in wanted for file in files.get(part, [])]
    if not remote:
        known = [(os.path.relpath(name, folder), file) for name, file in known]
    identity = _identity([(json.dumps([config, *wanted, builder.hash if not known else ""]), ""),
                          *known])  # fmt: skip
    sources = [
        HubSplit(data, splits[part], _rows(builder, part, files.get(part, [])), remote)
        for part in wanted
    ]
    return Parts(sources[0], sources[1] if sources[1:] else None, identity)


def _hub_name(data: str) -> tuple[str, str, str, str | None]:
    """NAME, CONFIG, SPLIT and REVISION of a stream's name; what is not there is empty, or None."""
    text = data.removeprefix(PREFIX)
    if Path(text).expanduser().is_dir():  # whatever characters it has
        return text, "", "", None
    text, _, revision = text.partition("@")
    name, config, split, *more = (*text.split(":"), "", "")
    folder = Path(name).expanduser()
    if name.startswith((".", "/", "~")) and not folder.is_dir():
        raise UsageError(f"there is no folder {name}")
    if any(more) or not (_HUB_NAME.fullmatch(name) or folder.is_dir()):
        form = "hf:NAME, hf:NAME:CONFIG or hf:NAME:CONFIG:SPLIT, each with @REVISION if need be"
        raise UsageError(f"'{data}' names no data set: write {form}")
    if revision and folder.is_dir():
        raise UsageError(f"{data}: a folder has no revisions")
    return name, config, split, revision or None


def _rows(builder: Any, split: str, files: list) -> int | None:
    """How many rows a split has, by its description or, of local Parquet files, by themselves."""
    described = (builder.info.splits or {}).get(split)
    if described is not None and described.num_examples:
        return described.num_examples
    if files and all(str(f).endswith(".parquet") and os.path.isfile(str(f)) for f in files):
        from pyarrow.parquet import read_metadata

        return sum(read_metadata(str(file)).num_rows for file in files)
    return None


def _has_bytes(kind: Any) -> bool:
    return isinstance(kind, dict) and "bytes" in kind


def _bytes(image: dict) -> bytes:
    if image.get("bytes") is not None or not image.get("path"):
        return image.get("bytes") or b""
    import fsspec

    with fsspec.open(image["path"], "rb") as file:
        return file.read()


@contextmanager
def _local(data: str) -> Iterator[None]:
    """Whatever `datasets` says of a folder, as a UsageError of one line."""
    try:
        yield
    except Exception as error:
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise UsageError(f"{data} cannot be read as a data set: {said}") from error


@contextmanager
def _extra(data: str) -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        needs = f"{data} needs {str(error.name).partition('.')[0]}"
        raise UsageError(f"{needs}: pip install 'colourgan[streaming]'") from None


def _identity(files: Iterable[tuple[str, str]]) -> str:
    """16 hexadecimal digits: of names and, of files here, their sizes, first and last bytes."""
    found = hashlib.sha256()
    for name, file in sorted(files):
        size, first_and_last = ends(file)
        found.update(json.dumps([name, size]).encode() + first_and_last)
    return found.hexdigest()[:16]
