"""Small streams: numbered samples in memory, and pictures in .tar shards and Parquet files."""

import io
import json
import tarfile
from pathlib import Path

from PIL import Image
from tiny_pictures import SIDE, picture

from colourgan.datasets.shards import Sample


class Numbered:
    """A source whose samples are numbers, in shards of the given lengths; counts what it reads."""

    name = "numbers"

    def __init__(self, *lengths: int):
        self.lengths, self.shards, self.length, self.reads = lengths, len(lengths), sum(lengths), 0

    def read(self, shard, skip):
        first = sum(self.lengths[:shard])
        for number in range(first + skip, first + self.lengths[shard]):
            self.reads += 1
            yield Sample(str(number), b"%d" % number)


def encoded(seed: int, side: int = SIDE, kind: str = "PNG", mode: str = "RGB") -> bytes:
    file = io.BytesIO()
    picture(seed, side).convert(mode).save(file, kind)
    return file.getvalue()


def write_tar(path: Path, files: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return path


def write_shards(folder: Path, seeds: range, shards: int = 3, name: str = "train") -> Path:
    """NAME-0.tar, …, each seed's picture in one of them, with a text that is no picture."""
    for shard in range(shards):
        files = {}
        for seed in seeds[shard::shards]:
            files |= {f"{seed:03d}.png": encoded(seed), f"{seed:03d}.txt": b"a picture"}
        write_tar(folder / f"{name}-{shard}.tar", files)
    return folder


def write_parquet(folder: Path, seeds: range, shards: int = 3, name: str = "train") -> Path:
    """The same pictures as a data set of the Hub has them, in the column "picture"."""
    from pyarrow import table
    from pyarrow.parquet import write_table

    features = {"label": {"dtype": "int64", "_type": "Value"}, "picture": {"_type": "Image"}}
    known = json.dumps({"info": {"features": features}})

    folder.mkdir(parents=True, exist_ok=True)
    for shard in range(shards):
        images = [{"bytes": encoded(seed), "path": None} for seed in seeds[shard::shards]]
        columns = table({"label": list(range(len(images))), "picture": images})
        columns = columns.replace_schema_metadata({"huggingface": known})
        write_table(columns, folder / f"{name}-{shard:05d}-of-{shards:05d}.parquet")
    return folder


def seed_of(rgb, seeds: range, side: int = SIDE) -> int:
    """Which of the seeds' pictures this is, (3, side, side) uint8."""
    known = {picture(seed).resize((side, side)).tobytes(): seed for seed in seeds}
    return known[Image.fromarray(rgb.permute(1, 2, 0).numpy()).tobytes()]
