"""How much is taken at once, and for how long it is kept."""

import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread

from PIL import Image, UnidentifiedImageError

from colourgan.errors import UsageError
from colourgan.images import MAX_PIXELS, SUFFIXES, pixels_of, reading

KEPT = 60 * 60  # seconds
BATCH = 500  # pictures in one batch
WORKING = "working-"  # how folders of what is being colored begin
_MEGA = 10**6
_UPLOADS = 100  # files of the largest size that the disk keeps
_EVERY = 60  # seconds between two looks at what is too old


@dataclass(frozen=True)
class Limits:
    """max_mb: of one file, in millions of bytes; max_megapixels: of one picture; queue: requests
    that wait; jobs: pictures colored at a time. Raises UsageError for one that is not above 0.
    """

    max_mb: float = 50
    max_megapixels: float = 50
    queue: int = 20
    jobs: int = 1

    def __post_init__(self):
        for name, value in vars(self).items():
            if not 0 < value < 10**9:
                raise UsageError(f"--{name.replace('_', '-')} {value:g} is not above 0")

    @property
    def file_bytes(self) -> int:
        return int(self.max_mb * _MEGA)

    @property
    def batch_bytes(self) -> int:
        """Of all files in one batch together."""
        return 20 * self.file_bytes

    @property
    def disk_bytes(self) -> int:
        """Of all that is kept at a time."""
        return _UPLOADS * self.file_bytes

    def check_pixels(self, path: Path) -> None:
        """Raises UsageError for a picture with too many pixels, before it is decoded; RunError for
        a file that is no picture.
        """
        pixels = pixels_of(path)
        if pixels == MAX_PIXELS:  # or more than its head told
            with reading(path):
                pixels = _pixels(path)
        if pixels > self.max_megapixels * _MEGA:
            least = f"at most {self.max_megapixels:g} are colored here"
            has = -(-pixels // (_MEGA // 10)) / 10  # rounded up: 50.003 is not "50.0"
            raise UsageError(f"{path.name} has {has:.1f} megapixels: {least}")


def _pixels(path: Path) -> int:
    """As `pixels_of`; raises UnidentifiedImageError for what it knows nothing of."""
    if path.suffix.lower() not in SUFFIXES:
        raise UnidentifiedImageError
    with Image.open(path) as image:
        return image.width * image.height


class Janitor:
    """Removes the files of a folder that are older than `kept` seconds, and the oldest of them if
    all together have more than `most` bytes, but none below a folder called WORKING…, which whoever
    works there removes. Runs beside the block it is entered for.
    """

    def __init__(self, folder: Path, most: int, kept: float = KEPT, every: float = _EVERY):
        self.folder, self.most, self.kept, self.every = folder, most, kept, every
        self._stop = Event()
        self._thread = Thread(target=self._run, daemon=True)

    @classmethod
    def of(cls, folder: Path, limits: Limits) -> "Janitor":
        return cls(folder, limits.disk_bytes)

    def __enter__(self) -> "Janitor":
        self._thread.start()
        return self

    def __exit__(self, *error) -> None:
        self._stop.set()
        self._thread.join()

    def clean(self) -> None:
        """One look at all files."""
        found, folders = [], []
        for path in self.folder.rglob("*"):
            if any(part.startswith(WORKING) for part in path.relative_to(self.folder).parts):
                continue
            with suppress(OSError):  # whoever made it may remove it now
                about = path.lstat()
                if path.is_dir():
                    folders.append(path)
                else:
                    found.append((max(about.st_ctime, about.st_mtime), about.st_size, path))
        total, now = 0, time.time()
        for changed, size, path in sorted(found, reverse=True):
            total += size
            if now - changed > self.kept or total > self.most:
                path.unlink(missing_ok=True)
        for path in sorted(folders, reverse=True):
            with suppress(OSError):  # rmdir refuses a folder that has files
                if now - path.lstat().st_ctime > self.kept:
                    path.rmdir()

    def _run(self) -> None:
        while not self._stop.wait(self.every):
            with suppress(OSError):
                self.clean()
