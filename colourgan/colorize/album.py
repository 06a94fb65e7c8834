"""Coloring many files: side by side in threads, each written whole, with a report at the end."""

import csv
import logging
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from threading import Condition
from typing import TextIO

import numpy as np
from PIL import Image
from tqdm import tqdm

from colourgan import lab
from colourgan.colorize.colorizer import Colorizer, grey_copy
from colourgan.colorize.formats import QUALITY, encoded, format_named, format_read, save
from colourgan.colorize.inputs import Task, tasks
from colourgan.devices import cores
from colourgan.errors import DiskFull, OutOfMemory, RunError, UsageError, is_out_of_memory
from colourgan.files import remove_parts, replacing, shown
from colourgan.hints import Hint
from colourgan.images import pixels_of, read_rgb
from colourgan.pictures import Picture
from colourgan.sheets import sheet

_NAMED = 3  # failures that one line tells of
_SPREADS = 8  # for more pictures than this, one line gives the mean
_THUMBNAIL = 320
_WORKERS = 8
_IN_MEMORY = 2**25  # pixels decoded at the same time, unless one picture has more
_HEADER = ("picture", "colored", "state", "notes")
PICTURES_IN_ROWS = "pictures inside of parquet files are colored by Ray: add --engine ray"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """What became of a picture: state "colored", "skipped" (it was there already) or "failed".

    written: its colored files; notes: what was changed or left out, or why it failed; spread: see
    `Colorizer.samples`.
    """

    source: Path
    written: tuple[Path, ...]
    state: str
    notes: tuple[str, ...] = ()
    spread: float | None = None


@dataclass(frozen=True)
class Settings:
    """What is asked for every picture, see `colorize_files`; other processes understand it."""

    samples: int | None = None
    seed: int = 0
    side_by_side: bool = False
    jpeg_quality: int = QUALITY
    overwrite: bool = False
    skip_existing: bool = False


def colorize_files(
    inputs: Iterable[Path | str],
    colorizer: Colorizer,
    out: Path | str = "colored",
    *,
    format: str | None = None,
    jpeg_quality: int = QUALITY,
    side_by_side: bool = False,
    samples: int | None = None,
    seed: int = 0,
    overwrite: bool = False,
    skip_existing: bool = False,
    report: Path | str | None = None,
    jobs: int | None = None,
    hints: Sequence[Hint] = (),
    progress: bool = True,
) -> list[Outcome]:
    """Colors files, folders and patterns of files; what became of each picture, in order.

    inputs: also files that list pictures, see `listed`. out: a folder, see `tasks` for the names in
    it, or the file itself for a single input. format: a name of FORMATS, by default each picture's
    own, PNG where that cannot be written. jpeg_quality: 1 to 100, of JPEG, WebP, AVIF and HEIC.
    side_by_side: grey and color in one picture. samples, seed: see `Colorizer.samples`.
    skip_existing: files that are there are left as they are. report: a CSV file with a line for
    each picture, written even if the run is stopped. jobs: pictures at a time, by default one a
    core, at most 8; memory holds 32 megapixels of them, or a single larger one. hints: of a single
    picture, the colors that its pixels are meant to have.

    A picture that cannot be read or written does not stop the others; `failures` sums them up.
    Raises UsageError before any work as `tasks` and `Colorizer.samples` do, and for wrong values;
    RunError if the disk is full.
    """
    settings = Settings(samples, seed, side_by_side, jpeg_quality, overwrite, skip_existing)
    check_jobs(jobs)
    if samples is not None:
        colorizer.check_samples(samples)
    planned = plan(inputs, out, settings, format, report)
    if any(task.row for task in planned):
        raise UsageError(PICTURES_IN_ROWS)
    if hints and len(planned) > 1:
        raise UsageError(f"--hint is for one picture, and these are {len(planned)}")
    room = _Room(_IN_MEMORY)

    def color(task: Task) -> Outcome:
        if skip_existing and is_there(task):
            return skipped(task)
        with room.for_pixels(pixels_of(task.source)):
            return colored(task, colorizer, settings, hints)

    running: list[Future[Outcome]] = []
    try:
        with ThreadPoolExecutor(jobs or min(_WORKERS, cores())) as pool:
            running += (pool.submit(color, task) for task in planned)
            bar = tqdm(total=len(planned), unit="picture", disable=None if progress else True)
            try:
                with bar:
                    for each in as_completed(running):
                        each.result()
                        bar.update()
            except BaseException:  # those that have not begun never do
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    finally:
        # Those that had begun before a stop are finished by now, in whatever order.
        done = [each for each in running if each.done() and not each.cancelled()]
        outcomes = [each.result() for each in done if each.exception() is None]
        if report:
            write_report(outcomes, Path(report))
    tell(outcomes, samples)
    return outcomes


def plan(
    inputs: Iterable[Path | str],
    out: Path | str,
    settings: Settings,
    format: str | None = None,
    report: Path | str | None = None,
) -> list[Task]:
    """The pictures that are meant and what they become, checked before any work.

    Raises UsageError as `colorize_files`. What killed processes left in their folders is removed.
    """
    _check_quality(settings.jpeg_quality)
    planned = tasks(
        inputs, Path(out), format=format, samples=settings.samples or 1,
        overwrite=settings.overwrite, skip_existing=settings.skip_existing,
    )  # fmt: skip
    if report:
        _check_report(Path(report), planned)
    for folder in {target.parent for task in planned for target in task.targets}:
        remove_parts(folder)
    return planned


def check_jobs(jobs: int | None) -> None:
    """Raises UsageError for fewer than one."""
    if jobs is not None and jobs < 1:
        raise UsageError(f"--jobs {jobs} is too small: at least 1 is needed")


def is_there(task: Task) -> bool:
    """Whether all that a picture becomes exists."""
    return all(target.exists() for target in task.targets)


def skipped(task: Task) -> Outcome:
    return Outcome(task.source, task.targets, "skipped", ("it was there already",))


def colored(
    task: Task,
    colorizer: Colorizer,
    settings: Settings,
    hints: Sequence[Hint] = (),
    data: bytes | None = None,
) -> Outcome:
    """Colors one picture and writes it; an outcome "failed" says what was wrong with it.

    data: its file's bytes, if they are not in a file of their own. Raises DiskFull, and UsageError
    for a hint outside of the picture.
    """
    try:
        return _colored(task, colorizer, settings, hints, data)
    except DiskFull:
        raise
    # Whatever is wrong with one picture, memory for it included, the others are colored.
    except Exception as error:
        if hints and isinstance(error, UsageError):  # one outside of the only picture
            raise
        _log.debug("%s", shown(task.source), exc_info=True)
        what = f"cannot color {shown(task.source)}"
        said = f"{what}: {type(error).__name__}: {error}"
        if isinstance(error, OutOfMemory):
            said = f"{what}: {error}"
        elif isinstance(error, RunError):
            said = str(error)
        elif is_out_of_memory(error):  # for the picture itself
            said = f"{what}: out of memory: try --jobs 1"
        if data is not None:  # what has no file has no name there
            said = said.replace("cannot read the picture", f"cannot read {shown(task.source)}", 1)
        return Outcome(task.source, (), "failed", (" ".join(said.split()),))


def colorize_bytes(
    data: bytes,
    colorizer: Colorizer,
    *,
    format: str | None = None,
    jpeg_quality: int = QUALITY,
    side_by_side: bool = False,
    hints: Sequence[Hint] = (),
) -> tuple[bytes, tuple[str, ...]]:
    """A file's bytes → those of its colored copy, and notes; options as for `colorize_files`.

    Raises RunError if it is no picture, UsageError for wrong values.
    """
    _check_quality(jpeg_quality)
    wanted = format and format_named(format)
    picture = Picture(BytesIO(data))
    image = colorizer(picture, hints)
    if side_by_side:
        image = beside(grey_copy(picture), image)
    content, notes = encoded(
        image, wanted or format_read(picture.format), picture.metadata, jpeg_quality
    )
    return content, (*picture.notes, *notes)


def colorize_sheet(outcomes: Iterable[Outcome], path: Path | str) -> None:
    """Writes one PNG of thumbnails of colored files.

    A row for each picture: grey | color, or grey | sample 1 | sample 2 | … if it has several.
    Raises UsageError if none was colored, or if it would replace one of the pictures.
    """
    rows = []
    for each in outcomes:
        if os.path.realpath(path) in map(os.path.realpath, (each.source, *each.written)):
            raise UsageError(f"--sheet {shown(path)} would replace a picture: choose another file")
        if each.written:
            rows.append([_grey_thumbnail(each.source), *map(_thumbnail, each.written)])
    if not rows:
        raise UsageError("no picture was colored: there is nothing to draw for --sheet")
    count = max(map(len, rows)) - 1
    titles = ["color"] if count == 1 else [f"sample {i}" for i in range(1, count + 1)]
    drawn = sheet(rows, ["grey", *titles], [""] * len(rows))
    with replacing(path) as part:
        drawn.save(part, format="PNG")


def failures(outcomes: list[Outcome]) -> str | None:
    """One line on the pictures that failed, None if there is none."""
    failed = [outcome.notes[0] for outcome in outcomes if outcome.state == "failed"]
    if not failed:
        return None
    more = f"; and {len(failed) - _NAMED} more" if len(failed) > _NAMED else ""
    reasons = "; ".join(failed[:_NAMED])
    return f"{len(failed)} of {len(outcomes)} pictures failed: {reasons}{more}"


def beside(grey: Image.Image, color: Image.Image) -> Image.Image:
    """Two pictures of one size in one, the first on the left."""
    both = Image.new(color.mode, (2 * color.width, color.height))
    grey = grey.convert(color.mode)
    if color.mode == "RGBA":
        grey.putalpha(color.getchannel("A"))
    both.paste(grey, (0, 0))
    both.paste(color, (color.width, 0))
    return both


def _colored(
    task: Task,
    colorizer: Colorizer,
    settings: Settings,
    hints: Sequence[Hint],
    data: bytes | None,
) -> Outcome:
    picture = Picture(task.source if data is None else BytesIO(data))
    notes, metadata, spread = dict.fromkeys(picture.notes), picture.metadata, None
    grey = grey_copy(picture) if settings.side_by_side else None
    if settings.samples is None:
        images = iter([colorizer(picture, hints)])
    else:
        images, spread = colorizer.samples(picture, settings.samples, settings.seed, hints)
    del picture  # some writers need its memory
    for image, target in zip(images, task.targets, strict=True):
        if (
            settings.skip_existing and target.exists()
        ):  # of several samples, as the others are missing
            continue
        if not settings.overwrite and target.exists():
            raise RunError(f"cannot write {shown(target)}: it was not there when coloring began")
        if grey:
            image = beside(grey, image)
        notes |= dict.fromkeys(save(image, target, task.format, metadata, settings.jpeg_quality))
    return Outcome(task.source, task.targets, "colored", tuple(notes), spread)


def _thumbnail(path: Path) -> Image.Image:
    image = read_rgb(path)
    image.thumbnail((_THUMBNAIL, _THUMBNAIL))
    return image


def _grey_thumbnail(path: Path) -> Image.Image:
    pixels = np.asarray(_thumbnail(path))
    return Image.fromarray(lab.to_bytes(lab.to_grey(lab.lightness(pixels)))).convert("RGB")


def _check_quality(jpeg_quality: int) -> None:
    if not 1 <= jpeg_quality <= 100:
        raise UsageError(f"--jpeg-quality {jpeg_quality} is not between 1 and 100")


class _Room:
    """So many pixels in memory: who needs more waits until others have left."""

    def __init__(self, pixels: int):
        self.pixels, self.used, self.changed = pixels, 0, Condition()

    @contextmanager
    def for_pixels(self, pixels: int) -> Iterator[None]:
        with self.changed:
            self.changed.wait_for(lambda: not self.used or self.used + pixels <= self.pixels)
            self.used += pixels
        try:
            yield
        finally:
            with self.changed:
                self.used -= pixels
                self.changed.notify_all()


def tell(outcomes: list[Outcome], samples: int | None) -> None:
    """Logs the notes, each once, and how far samples differ."""
    colored = [outcome for outcome in outcomes if outcome.state == "colored"]
    for note, count in Counter(note for each in colored for note in each.notes).items():
        who = next(shown(each.source) for each in colored if note in each.notes)
        _log.info(f"{who}: {note}" if count == 1 else f"{count} pictures: {note}")
    if samples is None or samples < 2:
        return
    unit = f"(standard deviation of a and b over {samples} samples)"
    told = {f"spread of {shown(each.source)}": each.spread for each in colored}
    if len(told) > _SPREADS:
        told = {f"mean spread of {len(told)} pictures": sum(told.values()) / len(told)}
    for what, value in told.items():
        _log.info(f"{what}: {value:.2f} {unit}")


def _check_report(path: Path, planned: list[Task]) -> None:
    """Raises UsageError if something is or will be at `path` that is no earlier report."""
    if path.exists() and not path.is_file():
        raise UsageError(f"{shown(path)} is no regular file: name one for --report")
    pictures = {os.path.realpath(file) for task in planned for file in (task.source, *task.targets)}
    if os.path.realpath(path) in pictures:
        raise UsageError(f"--report {shown(path)} would replace a picture: choose another file")
    if path.exists():
        with open(path, encoding="utf-8", errors="replace") as file:
            if file.readline().strip() not in ("", ",".join(_HEADER)):
                raise UsageError(f"{shown(path)} is no earlier report: choose another --report")


def write_report(outcomes: Iterable[Outcome], path: Path) -> None:
    """A CSV file with a line for each picture."""
    with (
        replacing(path) as part,
        open(part, "w", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        file.write(",".join(_HEADER) + "\n")
        add_to_report(outcomes, file)


def add_to_report(outcomes: Iterable[Outcome], file: TextIO) -> None:
    """Their lines, at the end of an open report."""
    # In quotes, as names can have anything in them: Python 3.11 forgets some around a "\r".
    rows = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)
    for each in outcomes:
        written = "; ".join(map(str, each.written))
        rows.writerow((each.source, written, each.state, "; ".join(each.notes)))
