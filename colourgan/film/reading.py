"""A film's frames as colorizing needs them: upright, grey, with the times at which they are shown.

Grey stands for lightness: sRGB's of the same CIE L as the frame, whose colors, if there are any,
only count by their lightness. Of RGB and of Y'CbCr in full or limited range, BT.601, 709 or 2020.
"""

import os
from collections.abc import Iterator
from contextlib import closing
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from colourgan import lab
from colourgan.errors import RunError, UsageError
from colourgan.files import shown
from colourgan.film.packages import opencv, pyav
from colourgan.images import strips
from colourgan.pictures import Picture

if TYPE_CHECKING:
    import av

# Codes of H.273, which FFmpeg uses: matrices, ranges, transfer curves.
BT709, BT601, LIMITED, FULL = 1, 5, 1, 2
_MATRICES = {1: BT709, 4: 4, 5: BT601, 6: BT601, 7: 7, 9: 9, 10: 9}  # as FFmpeg's scaler wants them
_HDR, _SRGB = (16, 18), 13  # PQ and HLG
_HD = 720  # rows from which BT.709 is meant where a file does not say, as players take it
_NEUTRAL = 2  # steps of chroma that change lightness by less than half of one of its own
_COVERS = ("attached_pic", "timed_thumbnails", "still_image")
# Containers with an index of frames, where a place is found exactly, and those whose clock starts
# anywhere.
_INDEXED, _CLOCKED = {"mov", "matroska"}, {"mpegts", "mpeg"}
# Codecs whose grey is of limited range unless they say otherwise.
_LIMITED_GREY = {"h264", "hevc", "vp9", "av1", "mpeg2video", "mpeg4"}
# A film that is shorter by so many seconds and such a share has been cut off. Where only the length
# of the whole file is known, sound may last longer.
_MISSING, _MISSING_SHARE = 1, Fraction(1, 20)
DAMAGED = "parts of it are damaged, and missing or broken in the colored film"
BROKEN_TIMES = "its times are broken: frames without one, or not in order, follow each other"


class Frame(NamedTuple):
    """pts, duration: in units of the film's time base, duration 0 if not known; picture: grey, of
    the film's width and height.
    """

    pts: int
    duration: int
    picture: Picture


class Position(NamedTuple):
    """After the first `count` frames, the last of which was at `pts`.

    regular: whether all came with times in order, so that frames can be told by them.
    """

    count: int
    pts: int
    regular: bool


class Film:
    """A film file, as its first frame shows it.

    width, height: of the upright frames, even; time_base: seconds of one unit of pts; rate: frames
    a second, about; step: units from one to the next, about; aspect: a pixel's width by its height;
    matrix: BT709 or BT601, of what is written; duration: seconds, None if not known; origin: where
    its clock starts, in seconds; index: of its video among the file's streams; notes: what of it
    was changed or is unusual, which grows as frames are read. Raises UsageError if there is no such
    file or no video in it, RunError if it cannot be read.
    """

    def __init__(self, path: Path):
        if not path.is_file():
            raise UsageError(f"there is no file {shown(path)}")
        self.path, self.notes = path, {}
        with self.opened() as container:
            self.index = _main_video(container, path)
            stream = container.streams[self.index]
            frame = next(self._decoded(container), None)
            if frame is None:
                raise RunError(f"cannot read {shown(path)}: none of its frames can be decoded")
            self._look(container, stream, frame)

    def opened(self) -> "av.container.InputContainer":
        """The file, to be closed by the caller; RunError if it is no film."""
        av = pyav()
        try:
            # A name that begins like an address is one to FFmpeg, and a file can name others.
            return av.open(
                os.path.abspath(self.path), metadata_errors="replace",
                container_options={"protocol_whitelist": "file"},
            )  # fmt: skip
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise RunError(f"cannot read {shown(self.path)}: {_told(error)}") from error

    def frames(
        self, start: Fraction | None, end: Fraction | None, after: Position | None = None
    ) -> Iterator[Frame]:
        """The frames from `start` to before `end`, in seconds, without those up to `after`."""
        if after is not None and after.regular:
            seek = after.pts
        else:
            seek = None if after or start is None else self._pts(start)
        last = after.pts if after else None
        left = after.count if after and not after.regular else 0
        known = bool(after and after.regular)  # frames up to `after`, by their times
        for frame in self._from(seek):
            raw = frame.pts if frame.pts is not None else frame.dts
            time = None if raw is None else raw * self.time_base - self.origin
            if time is not None and start is not None and time < start:
                continue
            if time is not None and end is not None and time >= end:
                return
            if left:
                left -= 1
                continue
            if known and raw is not None and raw <= after.pts:
                continue
            known = False
            if raw is None or (last is not None and raw <= last):
                self.notes[BROKEN_TIMES] = None
                raw = (last or 0) + self.step
            last = raw
            yield Frame(raw, frame.duration or 0, Picture(self._grey(frame)))
        if last is not None and end is None and self.duration is not None:
            lasted = last * self.time_base - self.origin
            if lasted + _MISSING < self.duration * (1 - _MISSING_SHARE):
                told = f"{float(lasted):.1f} of {float(self.duration):.1f} seconds"
                self.notes[f"it ends early: {told} could be read"] = None

    def _look(self, container, stream, frame) -> None:
        """Sets what is known from the first frame."""
        self.time_base = stream.time_base
        self.rate = stream.guessed_rate or stream.average_rate or Fraction(24)
        self.step = max(1, round(1 / (self.rate * self.time_base)))
        self._turn = _turn(frame)
        self._codec = stream.codec_context.name
        grey = self._turned(self._lightness(frame))
        self.shape = grey.shape
        self.height, self.width = (side + side % 2 for side in grey.shape)
        aspect = stream.sample_aspect_ratio or Fraction(1)
        self.aspect = (1 / aspect if self._turn[0] else aspect) if aspect > 0 else Fraction(1)
        self.matrix = BT709 if self._matrix(frame) in (BT709, 7, 9) else BT601
        clocked = container.format.name in _CLOCKED and container.start_time
        self.origin = Fraction(container.start_time, 10**6) if clocked else Fraction(0)
        self._indexed = container.format.name.split(",")[0] in _INDEXED
        self.duration = _duration(container, stream)
        deep = any(each.bits > 8 for each in frame.format.components)
        said = {
            "its height or width was odd: the last row or column was doubled": (
                (self.height, self.width) != self.shape
            ),
            "its high dynamic range was reduced to the usual one": frame.color_trc in _HDR,
            "written with 8 bits a channel": deep,
            "it is interlaced, and its fields were colored as one frame: deinterlace it first": (
                frame.interlaced_frame
            ),
        }
        self.notes |= {note: None for note, true in said.items() if true}

    def _pts(self, time: Fraction) -> int:
        return int((time + self.origin) // self.time_base)

    def _from(self, pts: int | None) -> Iterator["av.VideoFrame"]:
        """Decoded frames from one at or before `pts`, from the first if that cannot be found."""
        av = pyav()
        if pts is not None and self._indexed:
            with self.opened() as container:
                try:
                    container.seek(pts, stream=container.streams[self.index])
                    with closing(self._decoded(container)) as frames:
                        first = next(frames, None)
                        if first is not None and first.pts is not None and first.pts <= pts:
                            yield first
                            yield from frames
                            return
                except av.error.FFmpegError:
                    pass
        with self.opened() as container:
            yield from self._decoded(container)

    def _decoded(self, container) -> Iterator["av.VideoFrame"]:
        """All frames that can be read."""
        av = pyav()
        stream = container.streams[self.index]
        stream.thread_type = "AUTO"
        packets = container.demux(stream)
        while True:
            try:
                packet = next(packets, None)
            except av.error.FFmpegError:
                self.notes[DAMAGED] = None
                return
            if packet is None:
                return
            try:
                frames = packet.decode()
            except av.error.EOFError:
                return
            except av.error.FFmpegError:
                self.notes[DAMAGED] = None
                continue
            for frame in frames:
                if frame.is_corrupt:
                    self.notes[DAMAGED] = None
                yield frame

    def _grey(self, frame: "av.VideoFrame") -> np.ndarray:
        """(height, width) uint8 of a frame."""
        cv2 = opencv()
        grey = self._turned(self._lightness(frame))
        if grey.shape != self.shape:
            self.notes["its size changes: frames were scaled to the first's"] = None
            grey = cv2.resize(grey, self.shape[::-1], interpolation=cv2.INTER_AREA)
        missing = [(0, side % 2) for side in self.shape]
        return np.ascontiguousarray(np.pad(grey, missing, "edge"))

    def _turned(self, grey: np.ndarray) -> np.ndarray:
        transposed, upside_down, mirrored = self._turn
        grey = grey.T if transposed else grey
        return grey[:: -1 if upside_down else 1, :: -1 if mirrored else 1]

    def _matrix(self, frame: "av.VideoFrame") -> int:
        guess = BT709 if min(frame.width, frame.height) >= _HD else BT601
        return _MATRICES.get(frame.colorspace, guess)

    def _full(self, frame: "av.VideoFrame") -> bool:
        name = frame.format.name
        if frame.color_range in (LIMITED, FULL) and not name.startswith("yuvj"):
            return frame.color_range == FULL
        grey = name.startswith("gray") and self._codec not in _LIMITED_GREY
        return grey or name.startswith("yuvj") or frame.format.is_rgb

    def _lightness(self, frame: "av.VideoFrame") -> np.ndarray:
        """(H, W) uint8: the grey of each pixel's lightness, as the frame is stored."""
        luma = _neutral_luma(frame)
        if luma is not None and frame.color_trc not in _HDR:
            return luma if self._full(frame) else _FROM_LIMITED[luma]
        scaler = pyav().video.reformatter
        exact = scaler.Interpolation
        exact = exact.BILINEAR | exact.ACCURATE_RND | exact.FULL_CHR_H_INT
        options: dict[str, Any] = {}
        if frame.color_trc in _HDR:
            options = {"dst_color_trc": _SRGB, "dst_color_primaries": BT709}
        rgb = frame.reformat(
            format="rgb24", src_colorspace=self._matrix(frame), interpolation=int(exact),
            src_color_range=FULL if self._full(frame) else LIMITED, dst_color_range=FULL, **options,
        ).to_ndarray()  # fmt: skip
        grey = np.empty(rgb.shape[:2], np.uint8)
        for rows in strips(*grey.shape):
            grey[rows] = lab.to_bytes(lab.to_grey(lab.lightness(rgb[rows])))
        return grey


def _neutral_luma(frame: "av.VideoFrame") -> np.ndarray | None:
    """(H, W) uint8, luma of a frame of 8 bits without color; None of any other."""
    if frame.format.name not in _PLANAR:
        return None
    luma, *chroma = (_plane(each) for each in frame.planes)
    if any(int(abs(each.astype(np.int16) - 128).max()) > _NEUTRAL for each in chroma):
        return None
    return luma


def _plane(plane: "av.video.plane.VideoPlane") -> np.ndarray:
    pixels = np.frombuffer(plane, np.uint8)[: plane.line_size * plane.height]
    return pixels.reshape(plane.height, plane.line_size)[:, : plane.width]


def _main_video(container, path: Path) -> int:
    """The index of the video that players show: no cover picture."""
    disposition = pyav().stream.Disposition
    covers = sum(int(disposition[name]) for name in _COVERS)
    films = [each for each in container.streams.video if not int(each.disposition) & covers]
    if not films:
        only = "only sound" if container.streams.audio else "no video"
        raise UsageError(f"{shown(path)} has {only}: there is nothing to colorize")
    readable = [each for each in films if each.codec_context is not None]
    if not readable:
        raise RunError(f"cannot read {shown(path)}: FFmpeg has no decoder for its video")
    default = int(disposition.default)
    best = max(readable, key=lambda s: (int(s.disposition) & default, s.width * s.height))
    return best.index


def _turn(frame: "av.VideoFrame") -> tuple[bool, bool, bool]:
    """How a frame is stored: transposed, and then upside down, mirrored."""
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return False, False, False
    # x' = ax + cy, y' = bx + dy
    a, b, _, c, d, *_ = np.frombuffer(data, np.int32).tolist()
    if abs(b) > abs(a):
        return True, b < 0, c < 0
    return False, d < 0, a < 0


def _duration(container, stream) -> Fraction | None:
    """Seconds of the video, of the whole file if it does not say."""
    if stream.duration:
        return stream.duration * stream.time_base
    return Fraction(container.duration, 10**6) if container.duration else None


def _told(error: Exception) -> str:
    return " ".join(str(getattr(error, "strerror", None) or error).split())


_PLANAR = {"gray"} | {
    f"yuv{j}{each}p" for each in (410, 411, 420, 422, 440, 444) for j in ("", "j")
}
_FROM_LIMITED = ((np.arange(256) - 16) * (255 / 219)).round().clip(0, 255).astype(np.uint8)
