"""Packs a folder of images into WebDataset shards, which `--data OUT` reads as a stream.

The parts are those that `--data FOLDER` would have: train-00000.tar, …, valid-00000.tar, … and
test-00000.tar, …, each in an order shuffled by the seed. Files keep their bytes. OUT/index.json
says how many images each shard has, in the form that webdataset's wids reads; it is written last.

Run: python data_scripts/pack_shards.py FOLDER OUT [--shard-size MB] [--classes] [--seed N]
"""

import argparse
import json
import logging
import random
import sys
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from io import BytesIO
from pathlib import Path

from tqdm import tqdm

from colourgan.datasets import is_stream, test_files, training_parts
from colourgan.datasets.shards import INDEX
from colourgan.errors import RunError, UsageError
from colourgan.files import replacing, shown

MB = 10**6


def pack(folder: Path, out: Path, shard_size: int, classes: bool = False, seed: int = 0) -> dict:
    """Writes the shards of a folder's images and their index, which it returns.

    shard_size: megabytes of images after which a shard ends; classes: whether each image gets a
    .cls, the number of its folder in the index's "classes". Raises UsageError for a folder without
    images, or if there are shards at `out`, RunError if the disk is full.
    """
    if shard_size < 1:
        raise UsageError(f"--shard-size {shard_size} is too small: at least 1 megabyte")
    if is_stream(folder):
        raise UsageError(f"{folder} holds shards already")
    if (out / INDEX).exists() or any(out.glob("*.tar")):
        raise UsageError(f"{out} holds shards already: remove them or choose another folder")
    train, valid = training_parts(folder)
    parts = {"train": train, "valid": valid, "test": []}
    with suppress(UsageError):  # there is no test part
        parts["test"] = test_files(folder)
    names = sorted({file.parent.name for files in parts.values() for file in files})
    shards: list[dict] = []
    bar = tqdm(total=sum(map(len, parts.values())), desc="packing", unit="image", disable=None)
    with bar:
        for part, files in parts.items():
            random.Random(seed).shuffle(files)
            samples = read(folder, files, names if classes else None, bar)
            for number in range(sys.maxsize):
                path = out / f"{part}-{number:05d}.tar"
                if not (count := write_shard(path, samples, shard_size * MB)):
                    break
                size = path.stat().st_size
                shards.append({"url": path.name, "nsamples": count, "filesize": size})
    index = {"__kind__": "wids-shard-index-v1", "wids_version": 1, "name": out.name}
    index |= {"shardlist": shards} | ({"classes": names} if classes else {})
    with replacing(out / INDEX) as beside:
        beside.write_text(json.dumps(index, indent=1) + "\n")
    return index


def read(
    folder: Path, files: list[Path], names: list[str] | None, bar: tqdm
) -> Iterator[dict[str, bytes]]:
    """The members of the tar that each image becomes, by their names, the image first."""
    taken: set[str] = set()
    for file in files:
        bar.update()
        try:
            image = file.read_bytes()
        except OSError as error:
            bar.write(f"left out {shown(file)}: {error.strerror}", file=sys.stderr)
            continue
        # What follows the first dot of a name is its kind, and one name is one sample.
        stem = file.relative_to(folder).with_suffix("").as_posix().replace(".", "_")
        while stem in taken:
            stem += "_"
        taken.add(stem)
        members = {stem + file.suffix.lower(): image}
        if names is not None:
            members[stem + ".cls"] = str(names.index(file.parent.name)).encode()
        yield members


def write_shard(path: Path, samples: Iterator[dict[str, bytes]], most: int) -> int:
    """Writes the next samples, until there are `most` bytes; returns how many, 0 if none are left.

    No time and no owner is written: the same images give the same bytes.
    """
    if (first := next(samples, None)) is None:
        return 0
    count, size = 0, 0
    with replacing(path) as beside, tarfile.open(beside, "w") as tar:
        members = first
        while members is not None:
            for name, content in members.items():
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                tar.addfile(entry, BytesIO(content))
                size += len(content)
            count += 1
            members = next(samples, None) if size < most else None
    return count


def main() -> None:
    """Packs what the command line says, then prints how many images are in which part."""
    logging.basicConfig(format="%(message)s")
    parser = argparse.ArgumentParser(description="Packs a folder of images into shards.")
    parser.add_argument("folder", type=Path, help="images, as for --data")
    parser.add_argument("out", type=Path, help="folder of the shards")
    parser.add_argument("--shard-size", type=int, default=100, help="megabytes (default: 100)")
    parser.add_argument("--classes", action="store_true", help="add NAME.cls: the folder's number")
    parser.add_argument("--seed", type=int, default=0, help="of the order (default: 0)")
    asked = parser.parse_args()
    try:
        index = pack(asked.folder, asked.out, asked.shard_size, asked.classes, asked.seed)
    except (UsageError, RunError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, UsageError) else 1)
    counts: dict[str, int] = {}
    for shard in index["shardlist"]:
        part = shard["url"].partition("-")[0]
        counts[part] = counts.get(part, 0) + shard["nsamples"]
    told = ", ".join(f"{part} {count}" for part, count in counts.items())
    print(f"{asked.out}: {told} images in {len(index['shardlist'])} shards")


if __name__ == "__main__":
    main()
