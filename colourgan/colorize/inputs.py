"""Which pictures are meant by files, folders and patterns, and which files they become."""

import glob
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from os.path import lexists, realpath
from pathlib import Path

from colourgan.colorize.formats import FORMATS, format_named, format_of
from colourgan.colorize.listings import Listed, Row, is_listing, listed, parquet_files
from colourgan.errors import UsageError
from colourgan.files import shown
from colourgan.images import SUFFIXES, list_images

_FALLBACK = "png"


@dataclass(frozen=True)
class Task:
    """A picture, the files it becomes (one, or one a sample) and their format.

    row: where its bytes are, for one in a parquet file; `source` is then only what it is called.
    """

    source: Path
    targets: tuple[Path, ...]
    format: str
    row: Row | None = None


def tasks(
    inputs: Iterable[Path | str],
    out: Path,
    *,
    format: str | None = None,
    samples: int = 1,
    overwrite: bool = False,
    skip_existing: bool = False,
) -> list[Task]:
    """Each picture among files, folders, patterns and listings, once, with the files it becomes.

    What is below a folder stays below `out`: folder/a/b.jpg becomes out/a/b.jpg. With a single file
    as input `out` may name the file itself. A picture whose ending is none of FORMATS becomes a
    PNG, and keeps its ending as part of its name if another picture is called the same. Pictures
    already below `out` are not inputs of the folder around it. Two or more samples of b.jpg become
    b-1.jpg, b-2.jpg, … A folder without pictures is searched for parquet files. What listings name,
    see `listed`, may be missing: that is found out when it is its turn.

    Raises UsageError for an input that is missing or neither a regular file nor a folder, a folder
    without pictures, two inputs left with the same name, an output that would replace an input, or,
    without `overwrite` or `skip_existing`, that exists, and a single file to be written in a format
    that is none of FORMATS; and both errors as `listed` does.
    """
    if overwrite and skip_existing:
        raise UsageError("--overwrite and --skip-existing exclude each other: choose one")
    format = format and format_named(format)
    paths = [path for each in inputs for path in expanded(each)]
    names, rows = _pictures(paths, out)
    single = len(paths) == 1 and not paths[0].is_dir() and not is_listing(paths[0])
    if single and not out.is_dir() and (written := format_of(out)):
        (source,) = names
        named = {source: (out, format or format_named(written))}
    elif single and not out.is_dir() and out.suffix.lower() in SUFFIXES:
        raise UsageError(f"cannot write {shown(out)}: choices of --format: {', '.join(FORMATS)}")
    else:
        named = {
            source: (out / name, form) for source, (name, form) in _renamed(names, format).items()
        }
    return _checked(named, rows, samples, overwrite or skip_existing)


def expanded(path: Path | str) -> list[Path]:
    """The files and folders of a pattern, as shells expand it; others are themselves.

    Raises UsageError for a pattern that nothing matches.
    """
    if lexists(path) or not glob.has_magic(str(path)):
        return [Path(path)]
    if not (found := sorted(glob.glob(str(path), recursive=True))):
        raise UsageError(f"no file matches {shown(path)}")
    return [Path(each) for each in found]


def _pictures(paths: list[Path], out: Path) -> tuple[dict[Path, Path], dict[Path, Row]]:
    """Each picture, once → its name below `out`; and where those in parquet files are."""
    names: dict[Path, Path] = {}
    rows: dict[Path, Row] = {}
    known = set()
    for path in paths:
        if path.is_dir():
            found = _in_folder(path, out)
        elif path.is_file() and is_listing(path):
            found = listed(path)
        elif path.is_file():
            found = [Listed(path, Path(path.name))]
        elif lexists(path):
            raise UsageError(
                f"{shown(path)} is a broken link or no regular file: it cannot be colorized"
            )
        else:
            raise UsageError(f"there is no file or folder {shown(path)}")
        for source, name, row in found:
            if realpath(source) not in known:
                names[source] = name
                if row:
                    rows[source] = row
            known.add(realpath(source))
    if not names:
        raise UsageError("nothing to colorize: name pictures or folders with pictures")
    return names, rows


def _in_folder(path: Path, out: Path) -> Iterator[Listed]:
    """Its pictures, or what its parquet files hold if it has none."""
    try:
        found, written = list_images(path), Path(realpath(out))
    except UsageError:
        if not (files := parquet_files(path)):
            raise
        for file in files:
            below = file.parent.relative_to(path)
            yield from (each._replace(name=below / each.name) for each in listed(file))
        return
    own = Path(realpath(path)) in written.parents  # what an earlier run wrote is no input
    for each in found:
        if not (own and written in Path(realpath(each)).parents):
            yield Listed(each, each.relative_to(path))


def _renamed(names: dict[Path, Path], format: str | None) -> dict[Path, tuple[Path, str]]:
    """Each picture → its name with the ending of its format, and the format."""
    found = {}
    for source, name in names.items():
        own = format_of(name)
        chosen = format or own or _FALLBACK
        if own == chosen:
            found[source] = name, chosen
        else:
            found[source] = name.with_suffix(FORMATS[chosen].suffixes[0]), chosen
    often = Counter(name for name, _ in found.values())
    for source, (name, chosen) in found.items():
        if often[name] > 1 and name != names[source]:
            kept = names[source]
            found[source] = kept.with_name(kept.name + name.suffix), chosen
    return found


def _checked(
    named: dict[Path, tuple[Path, str]], rows: dict[Path, Row], samples: int, may_exist: bool
) -> list[Task]:
    """Tasks; UsageError if a file would be lost."""
    known = {realpath(source) for source in named}
    taken: dict[Path, Path] = {}
    found = []
    for source, (name, format) in named.items():
        numbers = [f"-{i}" for i in range(1, samples + 1)] if samples > 1 else [""]
        targets = tuple(name.with_name(f"{name.stem}{n}{name.suffix}") for n in numbers)
        for target in targets:
            if (other := taken.setdefault(target, source)) is not source:
                both = f"{shown(other)} and {shown(source)}"
                raise UsageError(f"{both} would both become {shown(target)}: use two --out")
            if realpath(target) in known:
                raise UsageError(f"{shown(target)} would replace an input: choose another --out")
            if target.is_dir() or (target.exists() and not may_exist):
                raise UsageError(
                    f"{shown(target)} exists: choose another --out, or add --overwrite or "
                    "--skip-existing"
                )
        found.append(Task(source, targets, format, rows.get(source)))
    return found
