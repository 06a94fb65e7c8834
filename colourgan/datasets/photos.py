"""The larger photographs that published student projects colorize: three more data sets.

Where the publisher set no images apart, a tenth becomes test/: the same tenth, chosen by the files'
names, that `--data` leaves out of training when it is given the unpacked folder itself.
"""

import os
import re
import shutil
import warnings
import zipfile
import zlib
from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from itertools import compress
from pathlib import Path, PurePosixPath

from PIL import Image
from tqdm import tqdm

from colourgan.datasets.cache import Cached, warn_skipped
from colourgan.datasets.parts import test_files
from colourgan.datasets.sources import DATASETS, fastai_archive, prepared
from colourgan.download import check_md5, damaged, unpack_tar
from colourgan.errors import RunError, UsageError
from colourgan.images import list_images

LANDSCAPE_PAGE = "https://www.kaggle.com/datasets/arnaud58/landscape-pictures"
# As Kaggle's own tool calls it, unpacked, and as a browser saves any data set of Kaggle's.
LANDSCAPE_NAMES = ("landscape-pictures.zip", "landscape_pictures", "archive.zip")
LANDSCAPE_WANTED = "landscape-pictures.zip (or archive.zip, or its unpacked landscape_pictures/)"
LANDSCAPE_FEWEST = 4000  # of about 4,300

PLACES_PAGE = "http://places2.csail.mit.edu/download.html"
# MD5 as torchvision 0.29 checks it (datasets/places365.py), which lacks the first archive's, and
# the fewest images: those of the home page, of the first archive its training images alone.
PLACES_ARCHIVES = {
    "places365standard_easyformat.tar": (None, 1_803_460),
    "train_256_places365standard.tar": ("53ca1c756c3d1e7809517cc47c5561c5", 1_803_460),
    "val_256.tar": ("e27b17d8d44f4af9a78502beb927f808", 36_500),
}

COCO_TOP = "coco_sample/train_sample"
COCO_FEWEST = 20_000  # of about 21,800


@DATASETS.register("landscape-pictures")
def landscape_pictures(data_dir: Path) -> Path:
    """Landscape Pictures from Kaggle: about 4,300 photographs you download; a tenth is test."""

    def build(folder: Path) -> None:
        brought = _brought(data_dir, LANDSCAPE_NAMES, LANDSCAPE_WANTED, LANDSCAPE_PAGE)[0]
        photos = folder / "train"
        photos.mkdir()
        if brought.is_dir():
            files = _pictures(brought)
            _link([files[name] for name in _flat_jpegs(files, brought)], photos)
        else:
            try:
                with zipfile.ZipFile(brought) as archive:
                    names = _flat_jpegs(archive.namelist(), brought)
                    for name in tqdm(names, desc=f"unpacking {brought.name}", unit="image"):
                        (photos / PurePosixPath(name).name).write_bytes(archive.read(name))
            except (zipfile.BadZipFile, zlib.error, EOFError) as error:
                raise damaged(brought, error) from error
        files = sorted(photos.iterdir())
        with ThreadPoolExecutor() as pool, warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"PIL\.")  # oddities in files that can be read
            found = pool.map(_can_be_read, files)
            readable = list(tqdm(found, "checking images", len(files), unit="image"))
        kept = list(compress(files, readable))
        broken = sorted(set(files) - set(kept))
        for file in broken:
            file.unlink()
        _check_count(len(kept), LANDSCAPE_FEWEST, brought)
        if broken:
            skipped = {"broken": [str(brought / file.name) for file in broken]}
            warn_skipped(Cached(None, kept, skipped))
        _set_test_apart(folder)

    advice = "rename it to landscape_pictures if it is the unpacked archive, else move it away"
    return prepared(data_dir / "landscape-pictures", build, advice)


@DATASETS.register("places365")
def places365(data_dir: Path) -> Path:
    """Places365 at 256×256: 36,500 or 1.8 million photographs of scenes that you download.

    places365standard_easyformat.tar has both parts. Otherwise images of train_256_…tar are train/
    and those of val_256.tar are test/; of either archive alone a tenth is test/.
    """

    def build(folder: Path) -> None:
        brought = _brought(data_dir, PLACES_ARCHIVES, " or ".join(PLACES_ARCHIVES), PLACES_PAGE)
        has_both_parts = brought[0].name == next(iter(PLACES_ARCHIVES))
        for archive in brought[:1] if has_both_parts else brought:
            md5, fewest = PLACES_ARCHIVES[archive.name]
            if md5:
                check_md5(archive, md5)
            val = "test" if (folder / "train").is_dir() else "train"
            found = unpack_tar(archive, folder, partial(_places_place, val=val))
            _check_count(found, fewest, archive)
        if not (folder / "test").is_dir():
            _set_test_apart(folder)

    return prepared(data_dir / "places365", build)


@DATASETS.register("coco-sample")
def coco_sample(data_dir: Path) -> Path:
    """COCO sample as fastai publishes it: about 21,800 photographs, 3.2 GB; a tenth is test."""

    def build(folder: Path) -> None:
        unpacked = data_dir / COCO_TOP  # where fastai's untar_data leaves it
        if unpacked.is_dir():
            files = _pictures(unpacked)
            photos = [file for name, file in files.items() if _coco_place(f"{COCO_TOP}/{name}")]
            (folder / "train").mkdir()
            _link(photos, folder / "train")
            _check_count(len(photos), COCO_FEWEST, unpacked.parent)
        else:
            from fastai.data.external import URLs

            archive = fastai_archive(URLs.COCO_SAMPLE, data_dir / "coco_sample.tgz")
            _check_count(unpack_tar(archive, folder, _coco_place), COCO_FEWEST, archive)
        _set_test_apart(folder)

    return prepared(data_dir / "coco-sample", build)


def _brought(data_dir: Path, names: Collection[str], wanted: str, page: str) -> list[Path]:
    found = [data_dir / name for name in names if (data_dir / name).exists()]
    if not found:
        raise RunError(f"get {wanted} from {page} and put it into {data_dir.absolute()}")
    return found


def _set_test_apart(folder: Path) -> None:
    train = folder / "train"
    for file in test_files(train):
        moved = folder / "test" / file.relative_to(train)
        moved.parent.mkdir(parents=True, exist_ok=True)
        file.rename(moved)


def _pictures(folder: Path) -> dict[str, Path]:
    """Each picture's path within a folder → the path; empty without any, as counts come later."""
    with suppress(UsageError):
        return {file.relative_to(folder).as_posix(): file for file in list_images(folder)}
    return {}


def _link(files: Iterable[Path], folder: Path) -> None:
    """Hard-links files into `folder`, or copies them where that is impossible."""
    for file in tqdm(files, desc="taking images", unit="image"):
        try:
            os.link(file.resolve(), folder / file.name)
        except OSError:  # another disk behind a link, or a file of another user's
            shutil.copyfile(file, folder / file.name)


def _check_count(found: int, fewest: int, source: Path) -> None:
    if found < fewest:
        raise RunError(
            f"{source} is not whole ({found} images, at least {fewest} expected): "
            "delete it and run again"
        )


def _flat_jpegs(names: Iterable[str], brought: Path) -> list[str]:
    """The JPEG files among the names, which must be enough, and all in one folder."""
    # No hidden ones such as macOS's "__MACOSX/._x.jpg".
    jpegs = [name for name in names if re.fullmatch(r"(.*/)?[^./][^/]*\.jpe?g", name, re.I)]
    folders = {PurePosixPath(name).parent for name in jpegs}
    if len(jpegs) < LANDSCAPE_FEWEST or len(folders) > 1:
        raise RunError(
            f"{brought} is not Landscape Pictures ({len(jpegs)} JPEG images in {len(folders)} "
            f"folders, at least {LANDSCAPE_FEWEST} in one expected): move it away and run again"
        )
    return jpegs


def _can_be_read(file: Path) -> bool:
    try:
        with Image.open(file) as image:
            image.draft("RGB", (1, 1))  # of a JPEG all bytes, but fewer pixels: faster
            image.load()
    except Exception:  # PIL's readers raise nearly every kind for broken bytes
        return False
    return True


def _places_place(name: str, val: str) -> str | None:
    """Where an image goes, None for any other name; val: the part that val_256 becomes.

    "data_256/a/arena/hockey/00000001.jpg" → "train/arena-hockey/00000001.jpg", the class as the
    archive with both parts calls it.
    """
    if match := re.fullmatch(r"val_256/(\w+\.jpg)", name):
        return f"{val}/{match[1]}"
    if match := re.fullmatch(r"data_256/[a-z]/([\w/-]+)/(\w+\.jpg)", name):
        return f"train/{match[1].replace('/', '-')}/{match[2]}"
    if match := re.fullmatch(r"places365_standard/(train|val)/([\w-]+/\w+\.jpg)", name):
        return f"{'train' if match[1] == 'train' else 'test'}/{match[2]}"
    return None


def _coco_place(name: str) -> str | None:
    match = re.fullmatch(rf"{COCO_TOP}/(\w+\.jpg)", name)
    return f"train/{match[1]}" if match else None
