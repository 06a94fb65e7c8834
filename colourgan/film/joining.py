"""Segments, and all of the source but its video, joined in one file by copying packets."""

import os
from collections.abc import Iterator
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from colourgan.errors import RunError, UsageError
from colourgan.files import replacing, shown
from colourgan.film.encoding import Look, Segments, options_of, set_up
from colourgan.film.names import CONTAINERS
from colourgan.film.packages import pyav
from colourgan.film.reading import Film

if TYPE_CHECKING:
    import av

# What says how the old file was written, not what it shows.
_OF_THE_FILE = {
    "bps", "compatible_brands", "creation_time", "duration", "encoder", "major_brand",
    "minor_version", "number_of_bytes", "number_of_frames", "vendor_id",
}  # fmt: skip
_KINDS = {"audio": "sound", "subtitle": "subtitles", "video": "cover picture"}
_SILENCE = b"\0\0"  # between two subtitles of MP4, whose writer adds it again
_MATROSKA = "matroska"
# Name and type of the attachment that a cover is in Matroska.
_COVERS = {"mjpeg": ("cover.jpg", "image/jpeg"), "png": ("cover.png", "image/png")}


class Cut(NamedTuple):
    """What is kept of a film, in seconds of its own clock: to before `end`, None for all; `zero`
    becomes the start of the colored film, and with `exact` nothing from before is kept.
    """

    zero: Fraction
    end: Fraction | None
    exact: bool


class Kept(NamedTuple):
    """indices: of the source's streams that the target's container can hold; notes: on others."""

    indices: tuple[int, ...]
    notes: tuple[str, ...]


def kept_streams(film: Film, target: Path) -> Kept:
    """Which streams beside the video a target can hold.

    Raises UsageError if it cannot hold the sound, which Matroska could: nobody wants to learn that
    after hours.
    """
    form = CONTAINERS[target.suffix.lower()]
    indices, notes = [], []
    with film.opened() as source:
        for stream in source.streams:
            if stream.index == film.index:
                continue
            kind = _KINDS.get(stream.type, stream.type)
            if stream.type == "data" and source.chapters():
                continue  # of a container that has its chapters' names there: they are written anew
            if stream.type == "video" and not _is_cover(stream):
                kind = "other video"
            elif _holds(form, stream):
                indices.append(stream.index)
                continue
            name = getattr(stream.codec_context, "name", None) or getattr(stream, "name", None)
            what = f"{kind} ({name})" if name else kind
            if stream.type == "audio" and form != _MATROSKA and _holds(_MATROSKA, stream):
                raise UsageError(
                    f"{shown(target)} cannot hold the {what} of {shown(film.path)}: choose an "
                    "--out that ends in .mkv"
                )
            instead = ""
            if form != _MATROSKA and stream.type == "subtitle" and _holds(_MATROSKA, stream):
                instead = ", which an --out that ends in .mkv can hold"
            notes.append(f"left out: its {what}{instead}")
    return Kept(tuple(indices), tuple(dict.fromkeys(notes)))


def join(
    film: Film,
    segments: Segments,
    look: Look,
    kept: Kept,
    cut: Cut,
    target: Path,
    overwrite: bool,
) -> tuple[str, ...]:
    """Writes the colored film, whole or not at all; notes on what could not be kept.

    Raises DiskFull, and RunError if it cannot be written, or a file has come to be there while the
    film was colored, without `overwrite`.
    """
    av = pyav()
    form = CONTAINERS[target.suffix.lower()]
    options = {"movflags": "+faststart"} if form in ("mp4", "mov") else {}
    try:
        with (
            replacing(target) as part,
            film.opened() as source,
            av.open(os.path.abspath(part), "w", format=form, container_options=options) as out,
        ):
            notes = _Joined(film, source, out, look, kept, cut).write(segments)
            if target.exists() and not overwrite:
                raise RunError(
                    f"{shown(target)} was not there when coloring began: move it away and run "
                    "again, which goes on here"
                )
    except av.error.FFmpegError as error:
        told = " ".join(str(error).split())
        raise RunError(f"cannot write {shown(target)}: {told}") from error
    return notes


class _Joined:
    """An open file that is being written."""

    def __init__(self, film: Film, source, out, look: Look, kept: Kept, cut: Cut):
        self.film, self.source, self.out, self.cut = film, source, out, cut
        self.notes: dict[str, None] = {}
        out.metadata.update(_described(source.metadata))
        own = source.streams[film.index]
        self.video = out.add_stream(look.codec, options=options_of(look), rate=look.rate)
        set_up(self.video.codec_context, look)
        self.video.time_base = look.time_base
        self.video.metadata.update(_described(own.metadata))
        self.video.disposition = int(own.disposition)
        self.copies = {}
        for index in kept.indices:
            stream = source.streams[index]
            self.copies[index] = _copy(out, stream, _picture(film, stream))
        if chapters := self._chapters():
            out.set_chapters(chapters)

    def write(self, segments: Segments) -> tuple[str, ...]:
        self.out.start_encoding()
        video = self._video(segments)
        ahead = next(video, None)
        for time, packet in self._others():
            while ahead is not None and ahead.dts * self.film.time_base <= time:
                self.out.mux_one(ahead)
                ahead = next(video, None)
            self._mux(packet)
        while ahead is not None:
            self.out.mux_one(ahead)
            ahead = next(video, None)
        return tuple(self.notes)

    def _video(self, segments: Segments) -> Iterator["av.Packet"]:
        av = pyav()
        times = segments.times()
        order = np.sort(times)
        # A frame is decoded at the time at which one some places before it is shown: as many as
        # the most that any has to wait for.
        delay = int((np.arange(len(times)) - np.searchsorted(order, times)).max())
        early = order[0] - self.film.step * np.arange(delay, 0, -1)
        decoded = np.concatenate((early, order))
        shift = round(self.cut.zero / self.film.time_base)
        for dts, (pts, duration, key, data) in zip(
            decoded.tolist(), segments.packets(), strict=False
        ):
            packet = av.Packet(data)
            packet.pts, packet.dts, packet.duration = pts - shift, dts - shift, duration
            packet.time_base, packet.is_keyframe = self.film.time_base, key
            packet.stream = self.video
            yield packet

    def _others(self) -> Iterator[tuple[Fraction, "av.Packet"]]:
        """Packets to copy, with the time of each, as far as they can be read."""
        av = pyav()
        streams = [self.source.streams[index] for index in self.copies]
        if not streams:
            return
        packets = self.source.demux(streams)
        while True:
            try:
                packet = next(packets, None)
            except av.error.FFmpegError:  # of a broken source, which its frames have told of
                return
            if packet is None:
                return
            copy, base = self.copies[packet.stream.index], packet.time_base
            if copy.type == "attachment" or not packet.size:
                continue
            if packet.stream.name == "mov_text" and bytes(packet) == _SILENCE:
                continue
            if _is_cover(packet.stream):
                packet.pts = packet.dts = 0
                packet.stream = copy
                yield Fraction(0), packet
            elif (packet.pts is not None or packet.dts is not None) and self._within(packet):
                packet.stream = copy
                yield (packet.pts if packet.dts is None else packet.dts) * base, packet

    def _within(self, packet: "av.Packet") -> bool:
        """Moves a packet to its new time; whether it is within what is kept."""
        base, zero, end, exact = packet.time_base, *self.cut
        pts = packet.pts if packet.pts is not None else packet.dts
        shift = round(zero / base)
        if end is not None and pts * base >= end:
            return False
        if packet.dts is not None:
            packet.dts -= shift
        packet.pts = pts - shift
        if exact and packet.pts < 0:
            last = packet.pts + (packet.duration or 0)
            if packet.stream.type != "subtitle" or last <= 0:
                return False
            packet.pts, packet.dts, packet.duration = 0, 0, last  # it is still to be read
        return True

    def _mux(self, packet: "av.Packet") -> None:
        av = pyav()
        try:
            self.out.mux_one(packet)
        except av.error.ArgumentError:  # as of times that go backwards
            self.notes["broken parts of its sound or subtitles were left out"] = None

    def _chapters(self) -> list[dict]:
        found = []
        for chapter in self.source.chapters():
            base = chapter["time_base"]
            zero = round(self.cut.zero / base)
            end = chapter["end"]
            if self.cut.end is not None:
                end = min(end, int(self.cut.end / base))
            start = max(chapter["start"] - zero, 0)
            if end - zero > start:
                found.append(chapter | {"start": start, "end": end - zero})
        return found


def _copy(
    out: "av.container.OutputContainer", stream: "av.stream.Stream", picture: bytes = b""
) -> "av.stream.Stream":
    """A stream of `out` to copy the packets of another to; picture: of a cover."""
    if stream.type == "attachment":
        return out.add_attachment(stream.name or "file", stream.mimetype or "", stream.data)
    if _is_cover(stream) and out.format.name == _MATROSKA:
        return out.add_attachment(*_COVERS[stream.codec_context.name], picture)
    copy = out.add_stream_from_template(stream, opaque=True)
    copy.metadata.update(_described(stream.metadata))
    copy.disposition = int(stream.disposition)
    return copy


def _picture(film: Film, stream: "av.stream.Stream") -> bytes:
    """The file of a cover picture; nothing of other streams."""
    if not _is_cover(stream):
        return b""
    with film.opened() as again:
        return bytes(next(again.demux(again.streams[stream.index])))


def _holds(form: str, stream: "av.stream.Stream") -> bool:
    """Whether a container can hold a stream: its writer is asked to begin with it."""
    av = pyav()
    try:
        with av.open(BytesIO(), "w", format=form) as trial:
            _copy(trial, stream)
            trial.start_encoding()
    except (av.error.FFmpegError, KeyError, ValueError):
        return False
    return True


def _is_cover(stream: "av.stream.Stream") -> bool:
    return bool(int(stream.disposition) & int(pyav().stream.Disposition.attached_pic))


def _described(metadata: dict[str, str]) -> dict[str, str]:
    """What is said of a film or stream, without what was said of its file."""
    return {
        name: value
        for name, value in metadata.items()
        if name.lower() not in _OF_THE_FILE and not name.startswith("_STATISTICS")
    }
