"""Where the pictures come from: a name → a folder with train/, test/ and perhaps valid/ on disk.

Each function of DATASETS takes the folder that holds all data sets and returns its own folder in
there, of ordinary image files. The first call builds it under another name and renames it when
whole; later calls find it and need no network.
"""

import hashlib
import json
import math
import re
import zipfile
from collections.abc import Callable, Collection
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from colourgan.datasets.sample import build_sample
from colourgan.datasets.shards import names_stream, open_parts
from colourgan.download import download, unpack_tar
from colourgan.errors import RunError, UsageError
from colourgan.files import ends, file_hash, remove, replacing
from colourgan.images import list_images
from colourgan.registry import Registry

DATASETS = Registry("dataset")

# Addresses from the data sets' home pages, hashes as published (STL-10's in torchvision 0.29,
# datasets/stl10.py). CIFAR-10's address and check are fastai's own.
ARCHIVES = {
    "stl10_binary.tar.gz": (
        "http://ai.stanford.edu/~acoates/stl10/stl10_binary.tar.gz",
        "md5:91f7769df0f17e558f3565bffb0c7dfb",
    ),
    "tiny-imagenet-200.zip": (
        "http://cs231n.stanford.edu/tiny-imagenet-200.zip",
        "md5:90528d7ca1a48142e341f4ef8d21d0de",
    ),
}
STL10_MD5 = {
    "train_X.bin": "918c2871b30a85fa023e0c44e0bee87f",
    "train_y.bin": "5a34089d4802c674881badbb80307741",
    "test_X.bin": "7f263ba9f9e0b06b93213547f721ac82",
    "test_y.bin": "36f9794fa4beb8a2c72628de14fa638e",
    "class_names.txt": None,
}
SIZES = dict.fromkeys(("landscape-pictures", "places365", "coco-sample"), 256)
SIZES |= {"cifar10": 32, "stl10": 96}  # the others, and folders: 64
STL10_SHAPE = (3, 96, 96)  # channels, columns, rows
TINY_IMAGENET_IMAGES = 110_000  # 200 classes × (500 in train, 50 in val)


def dataset_root(name_or_path: str | Path, data_dir: Path | str | None = None) -> Path:
    """The folder of a data set's images: a registered name, prepared if need be, or any folder.

    data_dir: where named data sets live (default: `default_data_dir()`). A name goes before a
    folder of the same name; "./cifar10" is the folder. Raises UsageError for neither, RunError if
    the data set cannot be prepared.
    """
    if is_stream(name_or_path):
        raise UsageError(
            f"{name_or_path} is streamed, which only pretrain, gan-finetune and train-generator "
            "can do: name a data set or a folder of images"
        )
    if (folder := _folder(name_or_path)) is not None:
        return folder
    data_dir = default_data_dir() if data_dir is None else Path(data_dir).expanduser()
    return DATASETS[str(name_or_path)](data_dir)


def fingerprint(data: str | Path) -> str:
    """What identifies a data set's content wherever it lies: a registered name, or a folder's hash.

    The hash, 16 hexadecimal digits, is that of the sorted relative paths of the folder's images
    (see `list_images`), their sizes, and the first and last 4 KiB of their bytes; of an unreadable
    one the path alone counts. Where there is a folder train/, only its images and those of valid/
    count: test images may come and go, nothing is trained with them. A change further inside a
    file that keeps its size goes unnoticed, as do files that are no images. Of a stream (see
    `open_parts`) it is that of the shards or files, and of the commit on the Hub.
    Raises UsageError for neither a name nor a folder, and for a folder without images.
    """
    if is_stream(data):
        return open_parts(data).identity
    if (folder := _folder(data)) is None:
        return str(data)
    found = hashlib.sha256()
    parts = [folder]
    if (folder / "train").is_dir():
        parts = filter(Path.is_dir, (folder / "train", folder / "valid"))
    files = [file for part in parts for file in list_images(part, warn=False)]
    images = {file.relative_to(folder).as_posix(): file for file in files}
    for name, file in sorted(images.items()):
        size, first_and_last = ends(file)
        found.update(json.dumps([name, size]).encode() + first_and_last)
    return found.hexdigest()[:16]


def is_stream(data: str | Path) -> bool:
    """Whether `data` names images that are streamed rather than decoded once, see `open_parts`."""
    return str(data) not in DATASETS and names_stream(data)


def _folder(data: str | Path) -> Path | None:
    """The folder that `data` is the path of, None if it is the name of a data set."""
    name, folder = str(data), Path(data).expanduser()
    if name not in DATASETS and folder.is_dir():
        return folder
    try:
        DATASETS[name]
    except UsageError as error:
        raise UsageError(f"{error}, or the path of a folder of images") from None
    return None


def native_size(name: str) -> int:
    """The side in pixels at which a data set is used unless another is asked for."""
    return SIZES.get(name, 64)


def default_data_dir() -> Path:
    """fastai's data folder: ~/.fastai/data, unless FASTAI_HOME or fastai's config.ini moves it."""
    from fastai.data.external import fastai_path

    return fastai_path("data")


@DATASETS.register("sample")
def sample(data_dir: Path) -> Path:
    """486 crops, 96×96, of 8 color photographs from installed libraries; nothing to download."""
    return prepared(data_dir / "sample", build_sample)


@DATASETS.register("cifar10")
def cifar10(data_dir: Path) -> Path:
    """CIFAR-10 as fastai publishes it: 50,000 + 10,000 images of 32×32, 10 classes, 168 MB."""

    def build(folder: Path) -> None:
        from fastai.data.external import URLs

        archive = fastai_archive(URLs.CIFAR, data_dir / "cifar10.tgz")
        unpack_tar(archive, folder, lambda name: name.partition("/")[2])

    return prepared(data_dir / "cifar10", build)


@DATASETS.register("stl10")
def stl10(data_dir: Path) -> Path:
    """STL-10, labelled part: 5,000 + 8,000 images of 96×96, 10 classes, a download of 2.6 GB."""

    def build(folder: Path) -> None:
        binary = data_dir / "stl10_binary"
        if not binary.is_dir():
            binary = folder / "binary"
            archive = _archive(data_dir, "stl10_binary.tar.gz")
            wanted = {f"stl10_binary/{name}": name for name in STL10_MD5}
            unpack_tar(archive, binary, wanted.get, most=len(wanted))
        for name, md5 in STL10_MD5.items():
            path = binary / name
            if not path.is_file() or (md5 and file_hash(path, "md5") != md5):
                raise RunError(f"{path} is missing or damaged: delete {binary} and run again")
        classes = (binary / "class_names.txt").read_text().split()
        for part in ("train", "test"):
            images = read_stl10(binary / f"{part}_X.bin")
            labels = np.fromfile(binary / f"{part}_y.bin", np.uint8)  # 1 to 10
            for name in classes:
                (folder / part / name).mkdir(parents=True)
            pairs = zip(images, labels, strict=True)
            bar = tqdm(pairs, desc=f"writing stl10/{part}", total=len(images), unit="image")
            for number, (image, label) in enumerate(bar):
                path = folder / part / classes[label - 1] / f"{number:05d}.png"
                Image.fromarray(image).save(path)
        remove(folder / "binary")

    return prepared(data_dir / "stl10", build)


@DATASETS.register("tiny-imagenet")
def tiny_imagenet(data_dir: Path) -> Path:
    """Tiny ImageNet: 100,000 + 10,000 images of 64×64, 200 classes, 248 MB; its val is test."""

    def build(folder: Path) -> None:
        unzipped = data_dir / "tiny-imagenet-200"
        if unzipped.is_dir():
            found = (path for path in unzipped.rglob("*") if path.is_file())
            names = [path.relative_to(data_dir).as_posix() for path in found]
            _sort_tiny_imagenet(names, lambda name: (data_dir / name).read_bytes(), folder)
            return
        with zipfile.ZipFile(_archive(data_dir, "tiny-imagenet-200.zip")) as archive:
            _sort_tiny_imagenet(archive.namelist(), archive.read, folder)

    return prepared(data_dir / "tiny-imagenet", build)


def prepared(root: Path, build: Callable[[Path], None], misplaced: str = "move it away") -> Path:
    """`root`, a folder with train/ and test/, filled by `build` unless it is there already.

    build: fills the folder it is given, which takes root's place when whole; misplaced: what to do
    with a folder at `root` that lacks the parts. Raises RunError.
    """

    def has_parts(folder: Path) -> bool:
        return (folder / "train").is_dir() and (folder / "test").is_dir()

    if has_parts(root):
        return root
    if root.exists():
        raise RunError(f"{root} lacks train/ or test/: {misplaced}, and run again to prepare it")
    try:
        with replacing(root) as folder:
            folder.mkdir()
            build(folder)
            if not has_parts(folder):
                raise RunError(f"what was found for {root} has no train/ and test/ part")
    except (OSError, RunError):
        if not has_parts(root):  # else another process was faster
            raise
    return root


def fastai_archive(url: str, path: Path) -> Path:
    """`path`, an archive that fastai publishes, downloaded if need be. Raises RunError.

    It must have the length and the first megabyte that fastai knows of it.
    """
    import fastai.data
    from fastai.data.external import fastai_cfg
    from fastdownload import FastDownload

    # Not untar_data: it has no timeout, shows its progress on stdout, and given another data folder
    # it changes fastai's configuration for the whole process.
    download(url, path)
    if not FastDownload(fastai_cfg(), module=fastai.data).check(url, path):
        raise RunError(f"{path} is not the file of {url}: delete it and run again")
    return path


def read_stl10(path: Path | str) -> np.ndarray:
    """The images of one of STL-10's *_X.bin files: (N, 96, 96, 3) uint8, rows before columns.

    The file holds, for each image, the three channels, each column by column. Raises RunError if it
    does not hold whole images.
    """
    values = np.fromfile(path, np.uint8)
    if values.size == 0 or values.size % math.prod(STL10_SHAPE):
        raise RunError(f"{path} is not a whole file of STL-10 images: {values.size} bytes")
    return values.reshape(-1, *STL10_SHAPE).transpose(0, 3, 2, 1)


def _archive(data_dir: Path, name: str) -> Path:
    url, checksum = ARCHIVES[name]
    return download(url, data_dir / name, checksum)


def _sort_tiny_imagenet(names: Collection[str], read: Callable[[str], bytes], folder: Path) -> None:
    # Only names of this form are written: none can lead out of the folder.
    picture = re.compile(r"tiny-imagenet-200/(?:train/(n\d+)|val)/images/(\w+\.JPEG)")
    pictures = list(filter(None, map(picture.fullmatch, names)))
    notes, words = "tiny-imagenet-200/val/val_annotations.txt", "tiny-imagenet-200/words.txt"
    if len(pictures) != TINY_IMAGENET_IMAGES or not {notes, words} <= set(names):
        found = f"{len(pictures)} of {TINY_IMAGENET_IMAGES} labelled images"
        raise RunError(f"tiny-imagenet-200 is not whole ({found}): delete it and run again")
    classes = dict(re.findall(r"^(\w+\.JPEG)\t(n\d+)\t", read(notes).decode(), re.MULTILINE))
    (folder / "words.txt").write_bytes(read(words))
    for match in tqdm(pictures, desc="sorting tiny-imagenet", unit="image"):
        wnid, name = match.groups()
        path = folder / (f"train/{wnid}" if wnid else f"test/{classes[name]}") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(read(match.string))
