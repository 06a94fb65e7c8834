"""Colored frames → packets of H.264 or VP9, kept in segments: a run that was killed goes on there.

A segment is a file of its own, whole or not there: the packets of so many frames, and all that
the next one needs to begin as if there had been no stop.
"""

import json
import zipfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from colourgan.errors import UsageError
from colourgan.files import remove, replacing, shown
from colourgan.film.names import CONTAINERS
from colourgan.film.packages import pyav
from colourgan.film.reading import BT601, BT709, LIMITED, Film, Position
from colourgan.film.smoothing import State

if TYPE_CHECKING:
    import av

FRAMES = 120  # of a segment: what a kill costs at most
# Nearly transparent. On grain at 1920 × 1080 "medium" takes three times as long for files that are
# no smaller; VP9 takes seven times as long for half the size.
_H264 = ("libx264", {"crf": "18", "preset": "veryfast"})
_VP9 = ("libvpx-vp9", {"crf": "24", "b": "0", "deadline": "good", "cpu-used": "4", "row-mt": "1"})
_MATRIX_TAGS = {BT709: 1, BT601: 6}  # as files say it: BT.601 is 5 or 6, for the scaler 5


class Look(NamedTuple):
    """What the encoder is told of a film; width: of one or of two frames beside each other."""

    codec: str
    width: int
    height: int
    time_base: Fraction
    rate: Fraction
    aspect: Fraction
    matrix: int


class Packets(NamedTuple):
    """Encoded frames in the order of decoding: pts, duration, whether a key frame, and the bytes
    of each, all in one. Arrays.
    """

    pts: np.ndarray
    durations: np.ndarray
    keys: np.ndarray
    sizes: np.ndarray
    data: np.ndarray


def look_of(film: Film, target: Path, side_by_side: bool) -> Look:
    """How a film is encoded for a target; UsageError if that takes an encoder that is not there."""
    codec = (_VP9 if CONTAINERS[target.suffix.lower()] == "webm" else _H264)[0]
    av = pyav()
    try:
        av.codec.Codec(codec, "w")
    except ValueError:
        needs = f"the installed av has no {codec} to write {shown(target)}"
        raise UsageError(f"{needs}: pip install --force-reinstall av") from None
    width = film.width * (2 if side_by_side else 1)
    return Look(codec, width, film.height, film.time_base, film.rate, film.aspect, film.matrix)


def set_up(context: "av.VideoCodecContext", look: Look) -> None:
    """Sets all of an encoder that is not open yet."""
    context.width, context.height, context.pix_fmt = look.width, look.height, "yuv420p"
    context.time_base, context.framerate = look.time_base, look.rate
    context.sample_aspect_ratio = look.aspect
    context.color_range, context.colorspace = LIMITED, _MATRIX_TAGS[look.matrix]
    context.options = dict(options_of(look))


def options_of(look: Look) -> dict[str, str]:
    """The encoder's own options."""
    return dict((_H264, _VP9))[look.codec]


def as_frame(rgb: np.ndarray, pts: int, look: Look) -> "av.VideoFrame":
    """A frame to encode of sRGB (H, W, 3) uint8."""
    av = pyav()
    exact = av.video.reformatter.Interpolation
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), "rgb24").reformat(
        format="yuv420p", dst_colorspace=look.matrix, dst_color_range=LIMITED,
        interpolation=int(exact.BILINEAR | exact.ACCURATE_RND | exact.FULL_CHR_H_INP),
    )  # fmt: skip
    frame.pts, frame.time_base = pts, look.time_base
    return frame


class Encoder:
    """Frames of one segment, in order → its packets."""

    def __init__(self, look: Look):
        av = pyav()
        self.context = av.CodecContext.create(look.codec, "w")
        set_up(self.context, look)
        # Containers have what a decoder needs once, not before each key frame.
        self.context.flags |= int(av.codec.context.Flags.global_header)
        self.durations: dict[int, int] = {}
        self.packets: list[av.Packet] = []

    def add(self, frame: "av.VideoFrame", duration: int) -> None:
        self.durations[frame.pts] = duration
        self.packets += self.context.encode(frame)

    def finish(self) -> Packets:
        self.packets += self.context.encode(None)
        pts = [each.pts for each in self.packets]
        data = b"".join(map(bytes, self.packets))
        return Packets(
            np.array(pts, np.int64),
            np.array([self.durations[each] for each in pts], np.int64),
            np.array([each.is_keyframe for each in self.packets]),
            np.array([each.size for each in self.packets], np.int64),
            np.frombuffer(data, np.uint8),
        )


class Segments:
    """The segments of one film in a folder, as far as they are whole.

    count: of them; position, state: after the last; finished: whether that ends the film; notes:
    those of the film so far; first: pts of its first frame.
    """

    def __init__(self, folder: Path):
        self.folder, self.count = folder, 0
        self.position: Position | None = None
        self.state: State | None = None
        self.first, self.finished, self.notes = None, False, ()
        while not self.finished and self._read():
            self.count += 1

    def add(
        self, packets: Packets, position: Position, state: State | None, finished: bool, notes
    ) -> None:
        """Writes the next; it is there at once or, after a kill, not at all."""
        about = {"position": position, "finished": finished, "notes": list(notes)}
        kept = {} if state is None else {"L": state.L, "ab": state.ab}
        with replacing(self._path(self.count)) as part:
            np.savez(part, about=json.dumps(about), **packets._asdict(), **kept)
        self.position, self.state, self.notes = position, state, tuple(notes)
        self.finished = finished
        self.first = int(packets.pts.min()) if self.first is None else self.first
        self.count += 1

    def packets(self) -> Iterator[tuple[int, int, bool, bytes]]:
        """pts, duration, whether a key frame, and bytes of all, one segment in memory at a time."""
        for number in range(self.count):
            with np.load(self._path(number)) as kept:
                found = Packets(*(kept[name] for name in Packets._fields))
            ends = found.sizes.cumsum()
            starts, data = (ends - found.sizes).tolist(), found.data.tobytes()
            each = (found.pts.tolist(), found.durations.tolist(), found.keys.tolist())
            for pts, duration, key, start, end in zip(*each, starts, ends.tolist(), strict=True):
                yield pts, duration, key, data[start:end]

    def times(self) -> np.ndarray:
        """pts of all packets, in the order of decoding."""
        found = []
        for number in range(self.count):
            with np.load(self._path(number)) as kept:
                found.append(kept["pts"])
        return np.concatenate(found)

    def _read(self) -> bool:
        """Whether the next segment is there and whole; sets what comes after it."""
        path = self._path(self.count)
        if not path.exists():
            return False
        try:
            with np.load(path) as kept:
                about: dict[str, Any] = json.loads(str(kept["about"]))
                pts, state = kept["pts"], None
                if "L" in kept:
                    state = State(kept["L"], kept["ab"])
                kept["data"]  # whose checksum is compared
        except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):
            remove(path)  # of a disk that lost power
            return False
        self.position, self.state = Position(*about["position"]), state
        self.finished, self.notes = about["finished"], tuple(about["notes"])
        self.first = int(pts.min()) if self.first is None else self.first
        return True

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:06}.npz"
