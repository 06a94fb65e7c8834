"""A picture that was sent → previews for the page, its colored file, a zip of many. No gradio."""

import copy
import csv
import os
import time
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from threading import Event, Lock, Thread
from typing import IO, Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from colourgan import lab
from colourgan.colorize import QUALITY, Colorizer, colorize_files, failures
from colourgan.colorize.formats import FORMATS, encoded, format_read
from colourgan.errors import RunError, UsageError
from colourgan.files import replacing
from colourgan.hints import Hint
from colourgan.images import SUFFIXES
from colourgan.page.limits import BATCH, KEPT, WORKING, Limits
from colourgan.pictures import Picture
from colourgan.runtimes import PACKAGED, Runtime

PREVIEW = 1200  # pixels of the longer side of what the browser is sent
REPORT = "report.csv"
_RECENT = 32  # pictures whose previews stay in memory: some 6 MB each
_NAME = 100  # characters of a name in a zip file
_LOADED = 16  # colorizers that stay in memory: some 30 MB each


@dataclass(frozen=True)
class Settings:
    """How a picture is colored; hints: in pixels of the upright picture."""

    model: str = PACKAGED
    quality: str = "good"
    saturation: float = 1.0
    temperature: float | None = None
    hints: tuple[Hint, ...] = ()


class Preview(NamedTuple):
    """Two small pictures of one size, mode "RGB"; height, width: of the whole picture."""

    grey: Image.Image
    color: Image.Image
    height: int
    width: int
    notes: tuple[str, ...]


class Opened(NamedTuple):
    """A picture that was read, without most of its pixels; height, width: with all of them."""

    small: Picture
    grey: Image.Image
    height: int
    width: int
    notes: tuple[str, ...]


class Coloring:
    """Colors pictures that were sent; safe to be called from several threads at once.

    models: names → run folders or model files. folders: nothing else is read, whatever path a
    client names. All methods raise UsageError and RunError with one line that names a picture as
    its sender does, without the folder it lies in.
    """

    def __init__(
        self, models: Mapping[str, Path | str], limits: Limits, folders: Iterable[Path | str]
    ):
        self.models, self.limits = dict(models), limits
        self.folders = [Path(folder).resolve() for folder in folders]
        self._closed = Event()
        self._colorizers, self._opened, self._ab = (
            _Recent(_LOADED), _Recent(_RECENT), _Recent(4 * _RECENT)
        )  # fmt: skip
        for name in self.models:  # so that a wrong one is told of before anybody waits
            self._colorizer(Settings(name))

    def close(self) -> None:
        """Lets all pictures that are still to come fail, so that a long batch ends at once."""
        self._closed.set()

    def has_classes(self, model: str) -> bool:
        """Whether a model of these decodes classes of color, so that it has a temperature."""
        try:
            Colorizer(self.models[model], temperature=0.5)
        except UsageError:
            return False
        return True

    def preview(self, path: Path | str, settings: Settings) -> Preview:
        """The picture small, grey and in color: quick if only hints or saturation have changed."""
        path = self._checked(path)
        with _naming(path):
            opened, ab = self._predicted(path, settings)
            hints = [_scaled(each, opened) for each in settings.hints]
            color = self._colorizer(settings).colored(opened.small, ab, hints)
        return Preview(opened.grey, _on_white(color), opened.height, opened.width, opened.notes)

    def opened(self, path: Path | str) -> Opened:
        """The picture small, and its size."""
        path = self._checked(path)
        with _naming(path):
            found = self._opened.get(_file_key(path))
            return found or self._opened.put(_file_key(path), _small(Picture(path)))

    def file(self, path: Path | str, settings: Settings) -> tuple[bytes, str, tuple[str, ...]]:
        """The colored picture as a file of its own format, at full resolution, with its metadata;
        the ending of that format; notes on what was changed or left out.
        """
        path = self._checked(path)
        with _naming(path):
            colorizer, picture = self._colorizer(settings), Picture(path)
            ab = self._ab.get(_key(path, settings))
            if ab is None:
                (ab,) = colorizer.predict([picture])
            image = colorizer.colored(picture, ab, settings.hints)
            format = format_read(picture.format)
            content, notes = encoded(image, format, picture.metadata, QUALITY)
        return content, FORMATS[format].suffixes[0], (*picture.notes, *notes)

    def many(
        self,
        paths: Sequence[Path | str],
        settings: Settings,
        out: Path,
        tell: Callable[[int, int], Any] = lambda done, total: None,
    ) -> str:
        """Colors pictures, and those in zip files, into the zip file `out`; one line about it.

        The zip has a report of what became of each picture as well. tell: is called with how many
        are done, and how many there are. Raises RunError if none could be colored.
        """
        with TemporaryDirectory(prefix=WORKING, dir=out.parent) as folder:
            into, colored = Path(folder, "in"), Path(folder, "colored")
            refused = self._staged(paths, into)
            total, outcomes = len(_files(into)), []
            if total:
                with _watched(lambda: tell(len(_files(colored)), total)):
                    outcomes = colorize_files(
                        [into], self._colorizer(settings), colored, report=colored / REPORT,
                        jobs=1, progress=False,
                    )  # fmt: skip
            done = sum(each.state == "colored" for each in outcomes)
            if not done:
                said = failures(outcomes) or "; ".join(list(refused.values())[:3])
                raise RunError(_without(into, said) or "there is no picture in it")
            _amend(colored / REPORT, (into, colored), refused)
            _zip(colored, out)
        failed = total - done + len(refused)
        beside = f", {failed} could not be: {REPORT} says why" if failed else ""
        return f"{done} colored{beside}"

    def _checked(self, path: Path | str) -> Path:
        """A file that was sent, is still there and is not too large."""
        path = self._sent(path)
        with _naming(path):
            self.limits.check_pixels(path)
        return path

    def _sent(self, path: Path | str) -> Path:
        path = Path(path).resolve()
        ours = any(path.is_relative_to(folder) for folder in self.folders)
        if not ours or not path.is_file():
            raise UsageError("this picture is not here any more: send it again")
        return path

    def _colorizer(self, settings: Settings) -> Colorizer:
        if settings.model not in self.models:
            choices = ", ".join(self.models)
            raise UsageError(f"unknown model '{settings.model}': choices: {choices}")
        key = settings.model, settings.quality, settings.temperature
        colorizer = self._colorizers.get(key)
        if colorizer is None:
            colorizer = Colorizer(
                self.models[settings.model], quality=settings.quality,
                temperature=settings.temperature,
            )  # fmt: skip
            self._colorizers.put(key, colorizer)
        if not 0 <= settings.saturation <= 10:
            raise UsageError(f"saturation {settings.saturation} is not between 0 and 10")
        colorizer = copy.copy(colorizer)
        colorizer.saturation = settings.saturation
        colorizer.runtime = _Open(colorizer.runtime, self._closed)
        return colorizer

    def _predicted(self, path: Path, settings: Settings) -> tuple[Opened, np.ndarray]:
        """The small picture and ab of the whole one: the same that its file is made with."""
        opened, ab = self._opened.get(_file_key(path)), self._ab.get(_key(path, settings))
        if opened is None or ab is None:
            picture = Picture(path)
            opened = opened or self._opened.put(_file_key(path), _small(picture))
            if ab is None:
                (ab,) = self._colorizer(settings).predict([picture])
                self._ab.put(_key(path, settings), ab)
        return opened, ab

    def _staged(self, paths: Sequence[Path | str], into: Path) -> dict[str, str]:
        """Puts pictures and those in zip files below a folder; name → why one was left out."""
        refused, taken, room = {}, 0, self.limits.batch_bytes
        for name, file in _members(map(self._sent, paths), refused):
            if taken == BATCH:
                refused[name] = f"{name} and those after it: at most {BATCH} are taken at once"
                break
            taken += 1
            most = min(self.limits.file_bytes, room)
            # As much as is allowed and one byte: what a zip file says of sizes can be wrong.
            content = file.read(most + 1)
            if len(content) > most:
                refused[name] = f"{name} is too large: at most {most / 10**6:g} MB"
                continue
            room -= len(content)
            try:
                target = _put(content, into / name)
                self.limits.check_pixels(target)
            except UsageError as error:
                refused[name] = str(error)
                target.unlink()
            except OSError as error:
                refused[name] = f"{name} cannot be written: {error.strerror}"
            except RunError:
                pass  # the report will say what is wrong with it
        return refused


class _Open:
    """A runtime as long as the page is open."""

    def __init__(self, runtime: Runtime, closed: Event):
        self.runtime, self.closed = runtime, closed

    def __call__(self, L: np.ndarray) -> np.ndarray:
        if self.closed.is_set():
            raise RunError("the page is closed")
        return self.runtime(L)


class _Recent:
    """What was put last, `most` of it, for as long as files are kept."""

    def __init__(self, most: int):
        self.most, self._found, self._lock = most, OrderedDict(), Lock()

    def get(self, key: Any) -> Any:
        """None if it is not there, or was put too long ago."""
        with self._lock:
            put, value = self._found.get(key, (-KEPT, None))
            if time.monotonic() - put > KEPT:
                return None
            self._found.move_to_end(key)
            return value

    def put(self, key: Any, value: Any) -> Any:
        """Puts a value and gives it back."""
        with self._lock:
            self._found[key] = time.monotonic(), value
            self._found.move_to_end(key)
            while len(self._found) > self.most:
                self._found.popitem(last=False)
        return value


def marked(color: Image.Image, hints: Iterable[Hint], scale: float) -> Image.Image:
    """A copy of a preview with a numbered mark at each hint; scale: of the preview's pixels."""
    image = color.copy()
    draw = ImageDraw.Draw(image)
    radius = max(10, round(max(image.size) / 45))
    for number, hint in enumerate(hints, 1):
        x, y = hint.x * scale, hint.y * scale
        for grown, shade in ((2, "black"), (0, "white")):
            box = (x - radius - grown, y - radius - grown, x + radius + grown, y + radius + grown)
            draw.ellipse(box, outline=shade, width=grown + 3, fill=None)
        if hint.color is not None:
            inner = radius - 3
            draw.ellipse((x - inner, y - inner, x + inner, y + inner), fill=hint.color)
        draw.text(
            (x, y), str(number), fill="white", anchor="mm", font_size=1.2 * radius,
            stroke_width=2, stroke_fill="black",
        )  # fmt: skip
    return image


def _small(picture: Picture) -> Opened:
    """What is kept of a picture: its lightness, small."""
    scale = min(1, PREVIEW / max(picture.height, picture.width))
    height, width = (max(1, round(scale * side)) for side in (picture.height, picture.width))
    L = picture.resized_lightness(height, width)
    grey = Image.fromarray(lab.to_bytes(lab.to_grey(L)))
    if picture.alpha is not None:
        grey.putalpha(picture.alpha.resize(grey.size))
    return Opened(Picture(grey), _on_white(grey), picture.height, picture.width, picture.notes)


def _scaled(hint: Hint, opened: Opened) -> Hint:
    """A hint for the small picture; UsageError if it is outside of the whole one."""
    height, width = opened.height, opened.width
    if not (0 <= hint.x < width and 0 <= hint.y < height):
        where = f"the picture of {width} × {height} pixels"
        raise UsageError(f"hint at {hint.x:g},{hint.y:g} is outside of {where}")
    x, y = hint.x * opened.small.width / width, hint.y * opened.small.height / height
    return hint._replace(x=x, y=y)


def _on_white(image: Image.Image) -> Image.Image:
    """Mode "RGB"; what is transparent is white."""
    if not image.has_transparency_data:
        return image.convert("RGB")
    white = Image.new("RGB", image.size, "white")
    white.paste(image, mask=image.getchannel("A"))
    return white


def _file_key(path: Path) -> tuple:
    about = path.stat()
    return str(path), about.st_size, about.st_mtime_ns


def _key(path: Path, settings: Settings) -> tuple:
    return *_file_key(path), settings.model, settings.quality, settings.temperature


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Errors name the picture without the folder that it lies in."""
    try:
        yield
    except (RunError, UsageError) as error:
        raise type(error)(_without(path.parent, str(error))) from error


def _without(folder: Path, text: str) -> str:
    return text.replace(f"{folder}{os.sep}", "")


def _members(paths: Iterable[Path], refused: dict[str, str]) -> Iterator[tuple[str, IO]]:
    """The name and the open file of each picture, those in zip files too."""
    for path in paths:
        if path.suffix.lower() != ".zip":
            if path.suffix.lower() in SUFFIXES:
                with open(path, "rb") as file:
                    yield path.name, file
            else:
                refused[path.name] = f"{path.name} is no picture by its name"
            continue
        try:
            with zipfile.ZipFile(path) as archive:
                for info in archive.infolist():
                    if (name := _safe(info)) is not None:
                        with archive.open(info) as file:
                            yield name, file
        # zipfile raises RuntimeError for a password, NotImplementedError for odd compression
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError) as error:
            refused[path.name] = f"{path.name} cannot be read as a zip file ({error})"


def _safe(info: zipfile.ZipInfo) -> str | None:
    """The name of a picture in a zip file, below its folder whatever it says; None for others."""
    parts = PurePosixPath(info.filename.replace("\\", "/")).parts
    parts = [part[-_NAME:] for part in parts if part not in ("/", "..") and ":" not in part]
    hidden = any(part.startswith((".", "__MACOSX")) for part in parts)
    if info.is_dir() or hidden or not parts or Path(parts[-1]).suffix.lower() not in SUFFIXES:
        return None
    return "/".join(parts)


def _put(content: bytes, path: Path) -> Path:
    """Where a file was written: the path, with a number if there is such a file."""
    number, found = 1, path
    while found.exists():
        number += 1
        found = path.with_name(f"{path.stem}-{number}{path.suffix}")
    found.parent.mkdir(parents=True, exist_ok=True)
    found.write_bytes(content)
    return found


def _files(folder: Path) -> list[Path]:
    """Those that are whole, as hidden ones are still being written."""
    return [p for p in folder.rglob("*") if p.is_file() and not p.name.startswith(".")]


@contextmanager
def _watched(look: Callable[[], Any]) -> Iterator[None]:
    """Calls a function twice a second while the block runs."""
    stop = Event()

    def run() -> None:
        while not stop.wait(0.5):
            look()

    thread = Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _amend(report: Path, folders: Iterable[Path], refused: dict[str, str]) -> None:
    """Takes the folders of this computer out of a report, and adds what was left out."""
    text = report.read_text(encoding="utf-8", errors="surrogateescape")
    for folder in folders:
        text = _without(folder, text)
    with open(report, "w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        file.write(text)
        rows = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)
        rows.writerows((name, "", "failed", why) for name, why in refused.items())


def _zip(folder: Path, out: Path) -> None:
    with replacing(out) as part, zipfile.ZipFile(part, "w") as archive:  # pictures are compressed
        for path in sorted(_files(folder)):
            archive.write(path, path.relative_to(folder))
