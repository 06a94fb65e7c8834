"""A film in, the same film in color out: each step in threads of its own, resumed after a kill."""

import hashlib
import json
import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from fractions import Fraction
from itertools import islice
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from tqdm import tqdm

import colourgan
from colourgan.colorize import Colorizer
from colourgan.colorize.colorizer import grey_copy
from colourgan.devices import cores
from colourgan.errors import Busy, RunError, UsageError
from colourgan.files import remove, remove_parts, shown
from colourgan.film import encoding
from colourgan.film.ahead import ahead, in_order
from colourgan.film.encoding import Encoder, Look, Segments, as_frame, look_of
from colourgan.film.joining import Cut, join, kept_streams
from colourgan.film.names import CONTAINERS
from colourgan.film.packages import opencv, pyav
from colourgan.film.reading import BROKEN_TIMES, Film, Frame, Position
from colourgan.film.smoothing import SECONDS, Smoother, State
from colourgan.pictures import Picture

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

if TYPE_CHECKING:
    import av

_AT_ONCE = 4  # frames in one batch; a segment has whole ones, so that a resumed run has the same
_WAITING = 8  # frames decoded, and as many with their colors, that wait for the next step
_WORKERS = 8
_PROBE = 48  # pixels a side of a picture by whose colors a model is known again
_LONGEST = 255  # bytes of a name on most disks
_FOLDER = "{name}.{digest}.segments"


class _Drawn(NamedTuple):
    """A frame to encode, and the state of smoothing after it."""

    frame: "av.VideoFrame"
    duration: int
    state: State | None


def colorize_film(
    source: Path,
    target: Path,
    colorizer: Colorizer,
    *,
    start: float | None = None,
    end: float | None = None,
    side_by_side: bool = False,
    overwrite: bool = False,
    smoothing: float = SECONDS,
    jobs: int | None = None,
    progress: bool = True,
) -> tuple[str, ...]:
    """Colors a film; notes on what was changed or left out.

    Every frame keeps its time, and comes upright if the film says how it is turned; sound,
    subtitles, chapters and attachments are copied as they are. start, end: in seconds, what is
    colored of it. smoothing: seconds, see `Smoother`. side_by_side: grey and color in one frame.
    jobs: frames at a time, by default one a core, at most 8.

    The target is there once it is whole. Until then a hidden folder beside it has what is finished,
    a few seconds of film in a file, and the same call after a stop or a kill goes on there.
    Raises UsageError before any work for wrong values, a source that is no film, or a target that
    exists, without `overwrite`; RunError if the source cannot be read or the target not be written,
    DiskFull if the disk is full, Busy if another process is coloring the same film.
    """
    pyav(), opencv()
    source, target = Path(source), Path(target)
    _check(source, target, start, end, overwrite, smoothing, jobs)
    film = Film(source)
    look, kept = look_of(film, target, side_by_side), kept_streams(film, target)
    first, last = _exact(start), _exact(end)
    asked = [source.name, *_stamp(source), start, end, side_by_side, smoothing]
    folder = _folder(target, _digest(asked, look, colorizer))
    with _alone(folder, target):
        segments = Segments(folder)
        film.notes |= dict.fromkeys(segments.notes)
        if not segments.finished:
            with ThreadPoolExecutor(jobs or min(_WORKERS, cores())) as pool:
                steps = _Steps(film, colorizer, look, pool, jobs or min(_WORKERS, cores()))
                total = _expected(film, first, last)
                _color(steps, segments, smoothing, (first, last), total, progress)
        if not segments.count:
            raise UsageError(f"{shown(source)} has no frame between --start and --end")
        zero = film.origin if start is None else segments.first * film.time_base
        cut = Cut(zero, None if last is None else last + film.origin, start is not None)
        notes = join(film, segments, look, kept, cut, target, overwrite)
    for each in _folders(target):
        with suppress(OSError):
            remove(each)
    return tuple(dict.fromkeys((*film.notes, *kept.notes, *notes)))


class _Steps:
    """From frames of a film to frames to encode."""

    def __init__(self, film: Film, colorizer: Colorizer, look: Look, pool, jobs: int):
        self.film, self.colorizer, self.look = film, colorizer, look
        self.pool, self.jobs = pool, jobs

    def drawn(self, times: tuple, after: Position | None, smoother: Smoother) -> Iterator[_Drawn]:
        """Frames to encode, made ahead in threads."""
        smoothed = ahead(self._smoothed(times, after, smoother), _WAITING)
        return in_order(self.pool, self._draw, smoothed, self.jobs + 1)

    def _smoothed(self, times: tuple, after: Position | None, smoother: Smoother) -> Iterator:
        """(frame, ab, state) of each."""
        frames = ahead(self.film.frames(*times, after), _WAITING)
        before = after and after.pts
        predicted = in_order(self.pool, self._predict, _batches(frames), self.jobs)
        with closing(predicted):
            for batch in predicted:
                for frame, L, ab in batch:
                    elapsed = 0 if before is None else (frame.pts - before) * self.film.time_base
                    before = frame.pts
                    yield frame, smoother(L, ab, float(elapsed)), smoother.state

    def _predict(self, frames: list[Frame]) -> list[tuple[Frame, np.ndarray, np.ndarray]]:
        """Each with L and ab at the working size."""
        found = self.colorizer.predict([frame.picture for frame in frames])
        return [
            (frame, frame.picture.resized_lightness(*ab.shape[1:]), ab)
            for frame, ab in zip(frames, found, strict=True)
        ]

    def _draw(self, smoothed: tuple[Frame, np.ndarray, State | None]) -> _Drawn:
        frame, ab, state = smoothed
        rgb = np.asarray(self.colorizer.colored(frame.picture, ab))
        if self.look.width > self.film.width:
            rgb = np.hstack((np.asarray(grey_copy(frame.picture)), rgb))
        return _Drawn(as_frame(rgb, frame.pts, self.look), frame.duration, state)


def _color(
    steps: _Steps, segments: Segments, smoothing: float, times: tuple, total: int | None, progress
) -> None:
    """Adds all segments that are missing."""
    film, after, encoder = steps.film, segments.position, None
    done = after.count if after else 0
    bar = tqdm(total=total, initial=done, unit="frame", disable=None if progress else True)
    drawn = steps.drawn(times, after, Smoother(smoothing, segments.state))

    def finish(last: _Drawn, finished: bool) -> None:
        position = Position(done, last.frame.pts, BROKEN_TIMES not in film.notes)
        packets, notes = encoder.finish(), list(film.notes)
        segments.add(packets, position, last.state, finished, notes)

    try:
        with bar, closing(drawn):
            for each in drawn:
                encoder = encoder or Encoder(steps.look)
                encoder.add(each.frame, each.duration)
                done += 1
                bar.update()
                if done % encoding.FRAMES == 0:
                    finish(each, False)
                    encoder = None
            if encoder:
                finish(each, True)
    except pyav().error.FFmpegError as error:
        told = " ".join(str(error).split())
        raise RunError(f"cannot color {shown(film.path)}: {told}") from error


def _check(source, target, start, end, overwrite, smoothing, jobs) -> None:
    if not source.is_file():
        raise UsageError(f"there is no file {shown(source)}")
    if target.suffix.lower() not in CONTAINERS:
        raise UsageError(f"cannot write {shown(target)}: choices are {', '.join(CONTAINERS)}")
    if os.path.realpath(target) == os.path.realpath(source):
        raise UsageError(f"{shown(target)} would replace the film itself: choose another --out")
    if target.is_dir() or (target.exists() and not overwrite):
        raise UsageError(f"{shown(target)} exists: choose another --out, or add --overwrite")
    for name, value in (("--start", start), ("--end", end), ("--smoothing", smoothing)):
        if value is not None and not (isfinite(value) and value >= 0):
            raise UsageError(f"{name} {value} is no number of seconds from 0 on")
    if end is not None and end <= (start or 0):
        raise UsageError(f"--end {end} is not after --start {start or 0}: nothing is between")
    if jobs is not None and jobs < 1:
        raise UsageError(f"--jobs {jobs} is too small: at least 1 is needed")


def _exact(seconds: float | None) -> Fraction | None:
    """What was meant: 0.1 is not a tenth in binary, and would miss a frame at that time."""
    return None if seconds is None else Fraction(str(seconds))


def _batches(frames: Iterator[Frame]) -> Iterator[list[Frame]]:
    with closing(frames):
        while batch := list(islice(frames, _AT_ONCE)):
            yield batch


def _expected(film: Film, start: Fraction | None, end: Fraction | None) -> int | None:
    """About how many frames there are to color."""
    until = film.duration if end is None else end
    if film.duration is not None and end is not None:
        until = min(end, film.duration)
    return None if until is None else max(0, round((until - (start or 0)) * film.rate))


def _stamp(path: Path) -> tuple[int, int]:
    about = path.stat()
    return about.st_size, about.st_mtime_ns


def _digest(asked: list, look: Look, colorizer: Colorizer) -> str:
    """16 digits that are others for another film, model or setting."""
    ramp = np.linspace(0, 255, _PROBE**2).reshape(_PROBE, _PROBE).round().astype(np.uint8)
    (ab,) = colorizer.predict([Picture(ramp ^ ramp.T)])
    model = [*np.round(ab.mean((1, 2)), 4).tolist(), *np.round(ab.std((1, 2)), 4).tolist()]
    colors = [colorizer.working_size, colorizer.quality, colorizer.saturation, *model]
    versions = [colourgan.__version__, pyav().__version__, opencv().__version__, encoding.FRAMES]
    text = json.dumps([asked, look, encoding.options_of(look), colors, versions], default=str)
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:16]


def _folder(target: Path, digest: str) -> Path:
    return target.with_name(_FOLDER.format(name=_short(target), digest=digest))


def _folders(target: Path) -> list[Path]:
    """All of a target, whatever was asked for."""
    own, pattern = _short(target), re.compile(r"\.[0-9a-f]{16}\.segments")
    return [
        each
        for each in target.parent.iterdir()
        if each.name.startswith(own) and pattern.fullmatch(each.name.removeprefix(own))
    ]


def _short(target: Path) -> str:
    """The hidden name of what belongs to a target."""
    room = _LONGEST - len(_FOLDER.format(name=".", digest="0" * 16))
    if len(os.fsencode(target.name)) <= room:
        return f".{target.name}"
    return "." + hashlib.sha256(os.fsencode(target.name)).hexdigest()


@contextmanager
def _alone(folder: Path, target: Path) -> Iterator[None]:
    """Makes the folder; nobody else works in it, where the disk knows locks."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = open(folder / "lock", "ab")  # noqa: SIM115
    except OSError as error:
        raise RunError(f"cannot write {shown(target)}: {error.strerror}") from error
    with lock:
        try:
            if fcntl:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy(f"another process is coloring {shown(target)}: let it finish") from None
        except OSError:  # a disk without locks
            pass
        remove_parts(folder)
        try:
            yield
        finally:
            if not any(folder.glob("*.npz")):
                with suppress(OSError):
                    remove(folder)
