"""Films of a few small frames, what is read of them again, and what colors them without torch."""

import copy
import time
from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import numpy as np
from PIL import Image

from colourgan.colorize import Colorizer

AB = (0.1, 0.3)  # warm, and inside sRGB at middling lightness
SIZE = WIDTH, HEIGHT = 64, 48
UNIT = Fraction(1, 12800)  # seconds, of the times of frames
STEP = 512  # units from a frame to the next: 25 a second
SOUND_RATE, SOUND_FRAME = 8000, 1024
EXACT = int(av.video.reformatter.Interpolation(0x2 | 0x2000 | 0x4000 | 0x40000))  # and bilinear
TEXTS = {"subrip": b"A line.", "mov_text": b"\x00\x07A line."}


def scene(seed: int = 0, size: tuple[int, int] = SIZE) -> np.ndarray:
    """(H, W) uint8, smooth and of middling lightness."""
    small = np.random.default_rng(seed).integers(60, 190, (5, 6), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize(size))


def moving(count: int, seed: int = 0) -> list[np.ndarray]:
    """Frames that pan over a scene, a pixel a frame."""
    wide = scene(seed, (WIDTH + count, HEIGHT))
    return [wide[:, i : i + WIDTH] for i in range(count)]


def write_film(
    path: Path,
    frames: list[np.ndarray],
    *,
    times: list[int] | None = None,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    sound: str | None = None,
    subtitle: str | None = None,
    cover: bool = False,
    chapters: bool = False,
    attachment: bytes | None = None,
    turned: tuple | None = None,
    aspect: Fraction | None = None,
    full: bool = False,
    matrix: int | None = None,
    fields: bool = False,
) -> Path:
    """A film of grey (H, W) or sRGB (H, W, 3) frames.

    times: of the frames, in UNIT; sound: a codec for a sine as long as the film; subtitle: one of
    TEXTS, shown from 0.2 to 0.6 seconds; turned: degrees and whether mirrored, that players turn
    it by; full, matrix: range and matrix of Y'CbCr, BT.601 by default; fields: interlaced.
    """
    times = times or [STEP * i for i in range(len(frames))]
    with av.open(path, "w") as film:
        if cover:  # as the first stream, which is not to be mistaken for the film
            picture = film.add_stream("mjpeg", width=16, height=16, pix_fmt="yuvj420p")
            picture.codec_context.time_base = UNIT
            picture.disposition = int(av.stream.Disposition.attached_pic)
        video = film.add_stream(codec, rate=Fraction(25))
        video.height, video.width = frames[0].shape[:2]
        video.pix_fmt, video.codec_context.time_base = pixels, UNIT
        video.codec_context.options = {"crf": "1"} if codec == "libx264" else {}
        if fields:
            video.codec_context.options |= {"x264-params": "tff=1"}
        video.codec_context.color_range = 2 if full else 1
        video.codec_context.colorspace = matrix or 6
        if aspect:
            video.codec_context.sample_aspect_ratio = aspect
        if turned:
            video.set_display_rotation(turned[0], hflip=turned[1])
        heard = _sound(film, sound) if sound else None
        shown = film.add_mux_stream(subtitle, time_base=Fraction(1, 1000)) if subtitle else None
        if shown:
            shown.metadata["language"] = "fra"
        if attachment:
            film.add_attachment("notes.txt", "text/plain", attachment)
        film.metadata["title"] = "A title"
        if chapters:
            parts = [("One", 0, 400), ("Two", 400, 1200)]
            film.set_chapters([
                {"id": i, "start": a, "end": b, "time_base": Fraction(1, 1000),
                 "metadata": {"title": name}}
                for i, (name, a, b) in enumerate(parts)
            ])  # fmt: skip
        film.start_encoding()
        if cover:
            film.mux(picture.encode(_frame(scene(9, (16, 16)), "yuvj420p", 0, True, None)))
            film.mux(picture.encode(None))
        if shown:
            packet = av.Packet(TEXTS[subtitle])
            packet.stream, packet.time_base, packet.is_keyframe = shown, Fraction(1, 1000), True
            packet.pts, packet.dts, packet.duration = 200, 200, 400
            film.mux(packet)
        for frame, time in zip(frames, times, strict=True):
            film.mux(video.encode(_frame(frame, pixels, time, full, matrix)))
        film.mux(video.encode(None))
        if heard:
            _play(film, heard, float(times[-1] * UNIT))
    return path


def _frame(pixels: np.ndarray, kind: str, time: int, full: bool, matrix) -> av.VideoFrame:
    rgb = np.repeat(pixels[..., None], 3, 2) if pixels.ndim == 2 else pixels
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), "rgb24").reformat(
        format=kind, dst_colorspace=matrix or 5, dst_color_range=2 if full else 1,
        interpolation=EXACT,
    )  # fmt: skip
    frame.pts, frame.time_base = time, UNIT
    return frame


def _sound(film: av.container.OutputContainer, codec: str) -> av.audio.stream.AudioStream:
    heard = film.add_stream(codec, rate=SOUND_RATE)
    heard.codec_context.layout = "mono"
    heard.metadata["language"] = "deu"
    return heard


def _play(film: av.container.OutputContainer, heard: av.audio.stream.AudioStream, seconds) -> None:
    kind = heard.codec_context.format.name
    for first in range(0, int(seconds * SOUND_RATE), SOUND_FRAME):
        sine = 0.2 * np.sin(np.arange(first, first + SOUND_FRAME) * 0.3)[None]
        wave = sine.astype(np.float32) if kind.startswith("flt") else (sine * 32767).astype("<i2")
        frame = av.AudioFrame.from_ndarray(wave, kind, "mono")
        frame.sample_rate, frame.pts = SOUND_RATE, first
        film.mux(heard.encode(frame))
    film.mux(heard.encode(None))


def times_of(path: Path) -> list[Fraction]:
    """The seconds at which frames are shown."""
    with av.open(path) as film:
        return [frame.pts * frame.time_base for frame in film.decode(video=0)]


def pictures_of(path: Path) -> list[np.ndarray]:
    """The frames, (H, W, 3) sRGB, by matrix and range as the file says."""
    with av.open(path) as film:
        return [_rgb(frame) for frame in film.decode(video=0)]


def _rgb(frame: av.VideoFrame) -> np.ndarray:
    matrix = {1: 1, 5: 5, 6: 5}[frame.colorspace]
    return frame.reformat(
        format="rgb24", src_colorspace=matrix, src_color_range=frame.color_range,
        dst_color_range=2, interpolation=EXACT,
    ).to_ndarray()  # fmt: skip


def packets_of(path: Path, kind: str) -> list[tuple[Fraction, bytes]]:
    """Time and bytes of the packets of the first stream of a kind: "audio", "subtitle"."""
    with av.open(path) as film:
        (stream, *_) = [each for each in film.streams if each.type == kind]
        found = [each for each in film.demux(stream) if each.pts is not None]
        return [(each.pts * each.time_base, bytes(each)) for each in found]


def kinds_of(path: Path) -> list[str]:
    with av.open(path) as film:
        return [each.type for each in film.streams]


class Paint:
    """A runtime of the same colors for every pixel."""

    size = 16

    def __call__(self, L: np.ndarray) -> np.ndarray:
        return np.broadcast_to(np.float32(AB)[:, None, None], (len(L), 2, *L.shape[2:])).copy()


class Noisy:
    """A runtime of other colors at each call, whatever the picture."""

    size = 16

    def __init__(self, seed: int = 0):
        self.random = np.random.default_rng(seed)

    def __call__(self, L: np.ndarray) -> np.ndarray:
        return self.random.normal(0, 0.1, (len(L), 2, *L.shape[2:])).astype(np.float32)


class Wavering:
    """A runtime of colors that change much with lightness; `seen` counts frames.

    slow: seconds it takes for a frame; stop: frames after which somebody presses Ctrl-C.
    """

    size = 16

    def __init__(self, slow: float = 0, stop: int | None = None):
        self.slow, self.stop, self.seen = slow, stop, 0

    def __call__(self, L: np.ndarray) -> np.ndarray:
        if self.stop is not None and self.seen >= self.stop:
            raise KeyboardInterrupt
        time.sleep(self.slow * len(L))
        self.seen += len(L)
        return np.concatenate([0.3 * np.sin(40 * L), 0.3 * np.cos(30 * L)], 1).astype(np.float32)


def colorizer_of(runtime, saturation: float = 1) -> Colorizer:
    """A Colorizer that a runtime paints for."""
    made = copy.copy(_any_colorizer())
    made.runtime, made.saturation = runtime, saturation
    return made


@cache
def _any_colorizer() -> Colorizer:
    return Colorizer(working_size=16, quality="fast")
