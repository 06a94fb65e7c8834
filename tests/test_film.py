"""Films: frames, times and sound are kept, colors do not flicker, a kill loses little."""

import os
import re
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from PIL import Image
from tiny_films import (
    AB,
    HEIGHT,
    STEP,
    UNIT,
    WIDTH,
    Noisy,
    Paint,
    Wavering,
    colorizer_of,
    kinds_of,
    moving,
    packets_of,
    pictures_of,
    scene,
    times_of,
    write_film,
)
from tiny_runs import call as call_main

from colourgan import lab
from colourgan.errors import Busy, RunError, UsageError
from colourgan.film import SUFFIXES, coloring, colorize_film, encoding, film_target, seconds
from colourgan.film.ahead import ahead, in_order
from colourgan.film.smoothing import Smoother, correlation

CUT = 10


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """An empty folder that is the working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(
    source: Path | str, target: Path | str = "out.mp4", runtime=None, saturation=1, **options
) -> tuple[str, ...]:
    colorizer = colorizer_of(runtime or Paint(), saturation)
    options = {"progress": False, "jobs": 2, **options}
    return colorize_film(Path(source), Path(target), colorizer, **options)


def refused(match: str, source: str, target: str = "out.mp4", error=UsageError, **options) -> None:
    """Asserts an error of one line that leaves nothing behind."""
    before = sorted(os.listdir())
    with pytest.raises(error, match=match) as caught:
        run(source, target, **options)
    assert "\n" not in str(caught.value)
    assert sorted(os.listdir()) == before


def lightness_of(frames: list[np.ndarray]) -> np.ndarray:
    """CIE L, 0 to 100."""
    return 50 * (np.stack([lab.lightness(np.ascontiguousarray(each)) for each in frames]) + 1)


# Names and times


@pytest.mark.parametrize(
    ("source", "out", "target"),
    [
        ("a.mp4", "colored", "colored/a.mp4"),
        ("in/a.MKV", "colored", "colored/a.MKV"),
        ("a.webm", "colored", "colored/a.webm"),
        ("a.avi", "colored", "colored/a.mkv"),
        ("a.b.mpg", "colored", "colored/a.b.mkv"),
        ("a.avi", "b.mov", "b.mov"),
        ("a.mp4", "b.M4V", "b.M4V"),
    ],
)
def test_the_container_is_kept_where_it_can_be_written(source, out, target):
    assert film_target(Path(source), Path(out)) == Path(target)


def test_an_ending_that_cannot_be_written_is_refused(folder):
    with pytest.raises(UsageError, match=r"cannot write b\.avi: --out can end in \.mp4"):
        film_target(Path("a.mp4"), Path("b.avi"))
    Path("folder.mp4").mkdir()
    assert film_target(Path("a.mp4"), Path("folder.mp4")) == Path("folder.mp4/a.mp4")
    assert ".jpg" not in SUFFIXES and ".mp4" in SUFFIXES


@pytest.mark.parametrize(
    ("text", "value"),
    [("90", 90), ("1:30", 90), ("0:01:30.5", 90.5), (" .5", 0.5), ("90:00", 5400), ("100.", 100)],
)
def test_times_are_read_as_people_write_them(text, value):
    assert seconds(text) == value


@pytest.mark.parametrize("text", ["", "a", "-1", "1:60", "1:60:00", "1:2:3:4", "1e3", "nan", "1:"])
def test_other_times_are_refused(text):
    with pytest.raises(UsageError, match="is no time: "):
        seconds(text)


# What is kept


def test_sound_subtitles_and_chapters_of_mp4_are_copied(folder):
    write_film(
        Path("a.mp4"), moving(20), sound="aac", subtitle="mov_text", chapters=True, cover=True
    )
    assert run("a.mp4") == ()
    for kind in ("audio", "subtitle"):
        assert packets_of("out.mp4", kind) == packets_of("a.mp4", kind)
    with av.open("out.mp4") as film, av.open("a.mp4") as source:
        assert film.metadata["title"] == "A title"
        titles = [each["metadata"]["title"] for each in film.chapters()]
        assert titles == [each["metadata"]["title"] for each in source.chapters()] == ["One", "Two"]
        assert film.streams.audio[0].language == "deu"
        covers = [each for each in film.streams.video if int(each.disposition) & 1024]
        assert [each.name for each in covers] == ["mjpeg"]
    painted = Path("out.mp4"), Path("a.mp4")
    assert [len(colored(path)) for path in painted] == [20, 20]


def colored(path: Path) -> list[np.ndarray]:
    """The frames of the video that is no cover."""
    with av.open(path) as film:
        (stream,) = [each for each in film.streams.video if not int(each.disposition) & 1024]
        return [frame.to_ndarray(format="rgb24") for frame in film.decode(stream)]


def test_sound_subtitles_and_attachments_of_matroska_are_copied(folder):
    write_film(
        Path("a.mkv"), moving(20), sound="pcm_s16le", subtitle="subrip", attachment=b"Some notes."
    )
    assert run("a.mkv", "out.mkv") == ()
    assert kinds_of("out.mkv") == ["video", "audio", "subtitle", "attachment"]
    for kind in ("audio", "subtitle"):
        assert packets_of("out.mkv", kind) == packets_of("a.mkv", kind)
    with av.open("out.mkv") as film:
        assert [each.data for each in film.streams if each.type == "attachment"] == [b"Some notes."]
        assert film.streams.subtitles[0].language == "fra"
    assert times_of("out.mkv") == times_of("a.mkv")


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_frames_keep_their_times_however_they_vary(suffix, folder):
    times = [STEP * i + 37 * (i % 4) for i in range(12)] + [STEP * 30, STEP * 55]
    source = write_film(Path(f"a{suffix}"), moving(14), times=times)
    run(source, f"out{suffix}")
    assert times_of(f"out{suffix}") == times_of(source)
    assert suffix == ".mkv" or times_of(source) == [each * UNIT for each in times]


def test_webm_becomes_vp9_and_keeps_opus(folder):
    write_film(Path("a.webm"), moving(10), codec="libvpx-vp9", sound="libopus")
    run("a.webm", "out.webm")
    assert packets_of("out.webm", "audio") == packets_of("a.webm", "audio")
    assert times_of("out.webm") == times_of("a.webm")
    with av.open("out.webm") as film:
        assert film.streams.video[0].name == "vp9"


def test_a_transport_stream_becomes_matroska_in_sync(folder):
    write_film(Path("a.ts"), moving(20), sound="aac")
    target = film_target(Path("a.ts"), Path("out"))
    run("a.ts", target)
    source, found = times_of("a.ts"), times_of(target)
    assert len(found) == 20
    late = [float(b - a) for a, b in zip(source, found, strict=True)]
    assert max(late) - min(late) < 0.002  # Matroska's milliseconds
    heard = packets_of(target, "audio")[0][0] - packets_of("a.ts", "audio")[0][0]
    assert abs(float(heard) - late[0]) < 0.002


def test_what_a_container_cannot_hold_is_told(folder):
    write_film(Path("a.mkv"), moving(4), subtitle="subrip", sound="pcm_s16le")
    (note,) = run("a.mkv", "out.mov")
    assert note == "left out: its subtitles (srt), which an --out that ends in .mkv can hold"
    assert kinds_of("out.mov") == ["video", "audio"]
    refused(r"cannot hold the sound \(pcm_s16le\) of a\.mkv: choose an --out that ends in \.mkv",
            "a.mkv", "out.webm")  # fmt: skip


def test_start_and_end_cut_frames_sound_and_subtitles(folder):
    write_film(Path("a.mkv"), moving(25), sound="pcm_s16le", subtitle="subrip", chapters=True)
    run("a.mkv", "out.mkv", start=0.4, end=0.8)
    assert [float(each) for each in times_of("out.mkv")] == [i / 25 for i in range(10)]
    expected = [(t - Fraction(2, 5), b) for t, b in packets_of("a.mkv", "audio") if 0.4 <= t < 0.8]
    assert packets_of("out.mkv", "audio") == expected != []
    assert packets_of("out.mkv", "subtitle") == [(0, b"A line.")]  # which was on the screen
    with av.open("out.mkv") as film:
        assert [each["metadata"]["title"] for each in film.chapters()] == ["Two"]
    whole, part = pictures_of("a.mkv"), pictures_of("out.mkv")
    assert np.abs(lightness_of(whole[10:20]) - lightness_of(part)).mean() < 1


# Pictures


@pytest.mark.parametrize("matrix", [1, 5])
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("grey", [True, False])
def test_lightness_is_kept_whatever_range_and_matrix(matrix, full, grey, folder):
    pixels = scene() if grey else np.dstack([scene(1), scene(2), scene(3)]) // 2 + 60
    write_film(Path("a.mp4"), [pixels] * 3, full=full, matrix=matrix, pixels="yuv444p")
    run("a.mp4", saturation=0.3)
    expected = lightness_of(pictures_of("a.mp4"))
    assert np.abs(lightness_of(pictures_of("out.mp4")) - expected).mean() < 0.7
    assert abs((lightness_of(pictures_of("out.mp4")) - expected).mean()) < 0.3


def test_frames_are_colored_and_a_gray_neutral_film_is(folder):
    write_film(Path("a.mp4"), [scene()] * 3)
    run("a.mp4")
    for frame in pictures_of("out.mp4"):
        lab_of = cv2.cvtColor(frame.astype(np.float32) / 255, cv2.COLOR_RGB2Lab)
        a, b = lab_of[..., 1].mean(), lab_of[..., 2].mean()
        assert abs(a - AB[0] * 110) < 2 and abs(b - AB[1] * 110) < 2


TURNS = [((angle, mirrored)) for angle in (90, 180, -90, 0) for mirrored in (False, True)]


@pytest.mark.parametrize("turned", TURNS)
def test_a_turned_film_is_written_upright(turned, folder):
    write_film(Path("a.mp4"), [scene()] * 2, turned=turned, aspect=Fraction(4, 3))
    run("a.mp4")
    upright = np.rot90(scene(), turned[0] // 90)
    upright = upright[:, ::-1] if turned[1] else upright
    with av.open("out.mp4") as film:
        stream, frame = film.streams.video[0], next(film.decode(video=0))
        sideways = turned[0] in (90, -90)
        assert (frame.width, frame.height) == ((HEIGHT, WIDTH) if sideways else (WIDTH, HEIGHT))
        assert stream.sample_aspect_ratio == (Fraction(3, 4) if sideways else Fraction(4, 3))
        assert frame.rotation == 0
    got = lightness_of(pictures_of("out.mp4"))[0]
    assert np.abs(got - lightness_of([upright])[0]).mean() < 1


def test_odd_sizes_and_deep_pixels_are_told(folder):
    write_film(Path("a.mkv"), [scene(0, (63, 47))] * 2, codec="ffv1", pixels="yuv444p10le")
    notes = run("a.mkv", "out.mp4")
    assert "its height or width was odd: the last row or column was doubled" in notes
    assert "written with 8 bits a channel" in notes
    assert pictures_of("out.mp4")[0].shape == (48, 64, 3)


def test_grey_and_color_side_by_side(folder):
    write_film(Path("a.mp4"), moving(3))
    run("a.mp4", side_by_side=True)
    for frame in pictures_of("out.mp4"):
        grey, color = frame[:, : WIDTH - 8], frame[:, WIDTH + 8 :]
        assert frame.shape == (HEIGHT, 2 * WIDTH, 3)
        assert np.ptp(grey.astype(int), axis=2).max() < 12 < np.ptp(color.astype(int), axis=2).min()


# Smoothing


def grainy(count: int, seed: int, size: tuple[int, int] = (96, 64)) -> list[np.ndarray]:
    """L of a still scene with grain, whose brightness flickers."""
    rng = np.random.default_rng(seed)
    still = lab.lightness(scene(seed, size))
    return [
        (still * rng.uniform(0.9, 1.1) + rng.normal(0, 0.04, still.shape)).astype(np.float32)
        for _ in range(count)
    ]


def smoothed(frames: list[np.ndarray], seconds: float, seed: int = 1) -> tuple[list, list, int]:
    rng, smoother = np.random.default_rng(seed), Smoother(seconds)
    raw = [rng.normal(0, 0.1, (2, *each.shape)).astype(np.float32) for each in frames]
    return raw, [smoother(*each, 0.04) for each in zip(frames, raw, strict=True)], smoother.cuts


def flicker(clip: list[np.ndarray]) -> float:
    return float(np.abs(np.diff(np.stack(clip), axis=0)).mean())


def test_colors_of_a_still_scene_flicker_much_less():
    raw, smooth, cuts = smoothed(grainy(16, 0), 0.5)
    assert cuts == 0
    assert flicker(smooth[4:]) < flicker(raw[4:]) / 5


def test_without_smoothing_colors_are_as_predicted():
    raw, smooth, _ = smoothed(grainy(3, 0), 0)
    assert all(one is other for one, other in zip(raw, smooth, strict=True))


def test_nothing_is_smoothed_over_a_cut():
    raw, smooth, cuts = smoothed(grainy(CUT, 0) + grainy(CUT, 5), 0.5)
    assert cuts == 1
    np.testing.assert_array_equal(smooth[CUT], raw[CUT])
    assert np.abs(smooth[CUT + 1] - raw[CUT + 1]).mean() > 0.01


def test_a_black_frame_is_a_scene_of_its_own():
    black = np.full((64, 96), -1, np.float32)
    assert correlation(black, black) == 1
    assert smoothed([*grainy(3, 0), black, black, *grainy(3, 0)], 0.5)[2] == 2


def test_colors_follow_motion_and_leave_no_trail():
    size, speed, side = (96, 64), 3, 20
    background, frames, colors = lab.lightness(scene(0, size)) * 0.3 - 0.4, [], []
    for i in range(16):
        L, ab = background.astype(np.float32), np.zeros((2, *background.shape), np.float32)
        place = np.s_[20 : 20 + side, 4 + speed * i : 4 + speed * i + side]
        L[place] = lab.lightness(scene(7, (side, side))) * 0.5 + 0.5
        ab[(0, *place)] = 0.4
        frames.append(L)
        colors.append(ab)
    smoother = Smoother(0.5)
    smooth = [smoother(*each, 0.04) for each in zip(frames, colors, strict=True)]
    assert smoother.cuts == 0
    for got, right in zip(smooth[2:], colors[2:], strict=True):
        behind = (right[0] == 0) & (cv2.dilate(right[0], np.ones((5, 5))) == 0)
        inside = cv2.erode(right[0], np.ones((5, 5))) > 0
        assert np.abs(got[0][behind]).mean() < 0.01
        assert np.abs(got[0][inside] - 0.4).mean() < 0.02


def test_smoothing_of_a_whole_film(folder):
    write_film(Path("a.mp4"), [scene(0)] * CUT + [scene(5)] * CUT)
    change = {}
    for name, value in (("raw", 0), ("smooth", 0.5)):
        run("a.mp4", f"{name}.mp4", Noisy(), smoothing=value, jobs=1)
        frames = np.stack(pictures_of(f"{name}.mp4")).astype(int)
        change[name] = np.abs(np.diff(frames, axis=0)).mean((1, 2, 3))
    within = np.delete(change["smooth"], CUT - 1).mean(), np.delete(change["raw"], CUT - 1).mean()
    assert within[0] < within[1] / 2


# After a kill


# With mbtree x264 reads memory that it has not written: frames as small as these come out anew.
PREDICTABLE = "libx264", {"crf": "18", "preset": "veryfast", "x264-params": "mbtree=0"}
KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from tiny_films import Wavering, colorizer_of
from colourgan.film import colorize_film, encoding

encoding.FRAMES, encoding._H264 = 8, {encoder!r}
colorizer = colorizer_of(Wavering(slow=0.05))
colorize_film(Path("a.mp4"), Path("out.mp4"), colorizer, progress=False, jobs=1)
"""


@pytest.fixture
def short_segments(monkeypatch) -> None:
    monkeypatch.setattr(encoding, "FRAMES", 8)
    monkeypatch.setattr(encoding, "_H264", PREDICTABLE)


def segments(folder: Path) -> list[Path]:
    return sorted(folder.glob(".out.mp4.*.segments/0*.npz"))


def grainy_film(path: Path, count: int, **options) -> None:
    rng = np.random.default_rng(0)
    frames = [each + rng.normal(0, 5, each.shape) for each in moving(count)]
    write_film(path, [each.clip(0, 255).astype(np.uint8) for each in frames], **options)


def test_a_killed_run_goes_on_and_gives_the_same_frames(folder, short_segments):
    grainy_film(Path("a.mp4"), 44, sound="aac")
    code = KILLED.format(tests=str(Path(__file__).parent), encoder=PREDICTABLE)
    process = subprocess.Popen([sys.executable, "-c", code])
    deadline = time.monotonic() + 120
    while len(segments(folder)) < 2:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    finished = len(segments(folder))
    assert not Path("out.mp4").exists() and finished < 6
    resumed, whole = Wavering(), Wavering()
    run("a.mp4", "out.mp4", resumed)
    run("a.mp4", "whole.mp4", whole)
    assert whole.seen - resumed.seen == 8 * finished
    assert sorted(os.listdir()) == ["a.mp4", "out.mp4", "whole.mp4"]
    assert times_of("out.mp4") == times_of("a.mp4")
    np.testing.assert_array_equal(pictures_of("out.mp4"), pictures_of("whole.mp4"))
    assert packets_of("out.mp4", "audio") == packets_of("a.mp4", "audio")


@pytest.mark.parametrize(
    ("source", "damage"),
    [("a.mkv", None), ("a.mkv", b""), ("a.mkv", b"no segment"), ("a.mp4", None), ("a.ts", None)],
)
def test_ctrl_c_keeps_whole_segments(source, damage, folder, short_segments):
    grainy_film(Path(source), 30)
    with pytest.raises(KeyboardInterrupt):
        run(source, "out.mp4", Wavering(stop=29))
    kept = segments(folder)
    assert kept and sorted(os.listdir())[1:] == [source]
    if damage is not None:
        kept[-1].write_bytes(damage)
    resumed = Wavering()
    run(source, "out.mp4", resumed)
    missing = len(kept) - (damage is not None)
    assert resumed.seen == 30 - 8 * missing + 1  # and one to know the model again
    run(source, "whole.mp4", Wavering())
    np.testing.assert_array_equal(pictures_of("out.mp4"), pictures_of("whole.mp4"))


def test_other_settings_begin_anew(folder, short_segments):
    write_film(Path("a.mp4"), moving(20))
    with pytest.raises(KeyboardInterrupt):
        run("a.mp4", runtime=Wavering(stop=17))
    assert segments(folder)
    again = Wavering()
    run("a.mp4", runtime=again, smoothing=0.1)
    assert again.seen == 21
    assert sorted(os.listdir()) == ["a.mp4", "out.mp4"]


# Whatever goes wrong


def test_a_file_that_comes_meanwhile_is_not_replaced(folder, short_segments, monkeypatch):
    write_film("a.mp4", moving(12))
    joined = coloring.join

    def late(*args):
        Path("out.mp4").write_text("precious")
        return joined(*args)

    monkeypatch.setattr(coloring, "join", late)
    with pytest.raises(RunError, match=r"out\.mp4 was not there when coloring began: move it away"):
        run("a.mp4")
    assert Path("out.mp4").read_text() == "precious" and segments(folder)
    monkeypatch.undo()
    monkeypatch.chdir(folder)
    Path("out.mp4").unlink()
    again = Paint()
    run("a.mp4", runtime=again)
    assert sorted(os.listdir()) == ["a.mp4", "out.mp4"]


@pytest.mark.parametrize("name", ["me@home.mp4", "a[1].{2}.mp4", "Größe (1).mp4", "x.+*y.mp4"])
def test_nothing_is_left_behind_whatever_a_film_is_called(name, folder):
    write_film(name, moving(3))
    run(name, f"new-{name}")
    assert sorted(os.listdir()) == sorted([name, f"new-{name}"])


def test_wrong_use_is_refused(folder):
    write_film(Path("a.mp4"), moving(4))
    Path("there.mp4").write_bytes(b"mine")
    refused("there is no file b.mp4", "b.mp4")
    refused(r"there\.mp4 exists: choose another --out, or add --overwrite", "a.mp4", "there.mp4")
    refused("would replace the film itself", "a.mp4", "a.mp4", overwrite=True)
    refused(r"cannot write out\.avi: choices are \.mp4", "a.mp4", "out.avi")
    refused(r"--end 1 is not after --start 2", "a.mp4", start=2, end=1)
    refused("--start -1 is no number of seconds", "a.mp4", start=-1)
    refused("--smoothing nan is no number", "a.mp4", smoothing=float("nan"))
    refused("--jobs 0 is too small", "a.mp4", jobs=0)
    refused("has no frame between --start and --end", "a.mp4", start=50)
    assert Path("there.mp4").read_bytes() == b"mine"
    run("a.mp4", "there.mp4", overwrite=True)
    assert len(times_of("there.mp4")) == 4


def test_what_is_no_film_is_refused(folder):
    Path("a.mp4").write_bytes(b"no film")
    Path("b.mp4").write_bytes(b"")
    with av.open("c.m4a", "w") as film:
        heard = film.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 8000
        film.mux(heard.encode(frame))
        film.mux(heard.encode(None))
    Image.new("L", (8, 8)).save("d.png")
    refused(r"cannot read a\.mp4: ", "a.mp4", error=RunError)
    refused(r"cannot read b\.mp4: ", "b.mp4", error=RunError)
    refused(r"c\.m4a has only sound: there is nothing to colorize", "c.m4a")


def test_of_a_broken_film_what_can_be_read_is_colored(folder):
    times = [5 * STEP * i for i in range(30)]
    write_film(Path("a.mkv"), moving(30), codec="mjpeg", pixels="yuvj420p", full=True, times=times)
    whole = Path("a.mkv").read_bytes()
    Path("short.mkv").write_bytes(whole[: len(whole) // 2])
    notes = run("short.mkv", "out.mkv")
    assert 5 < len(times_of("out.mkv")) < 30
    assert any(re.fullmatch(r"it ends early: .* of 5\.8 seconds could be read", n) for n in notes)


def test_damaged_frames_are_told_and_the_others_colored(folder):
    write_film(Path("a.mp4"), moving(30))
    content = bytearray(Path("a.mp4").read_bytes())
    content[1500:1900] = bytes(400)
    Path("a.mp4").write_bytes(content)
    (note,) = run("a.mp4")
    assert note == "parts of it are damaged, and missing or broken in the colored film"
    assert len(times_of("out.mp4")) > 20


def test_fields_are_told(folder):
    write_film(Path("a.mp4"), moving(3), fields=True)
    (note,) = run("a.mp4")
    assert note.startswith("it is interlaced, and its fields were colored as one frame")


def test_two_runs_do_not_color_one_film(folder):
    write_film(Path("a.mp4"), moving(4))

    class Twice(Wavering):
        def __call__(self, L):
            if self.seen == 1:  # the first call only knows the model again
                with pytest.raises(Busy, match=r"another process is coloring out\.mp4"):
                    run("a.mp4", runtime=Wavering())
            return super().__call__(L)

    run("a.mp4", runtime=Twice())


@pytest.mark.parametrize(
    ("module", "package"), [("av", "av"), ("cv2", "opencv-python-headless")]
)  # fmt: skip
def test_a_missing_package_is_named(module, package, folder, monkeypatch):
    Path("a.mp4").write_bytes(b"")
    monkeypatch.setitem(sys.modules, module, None)
    refused(rf"a film needs {package}: pip install 'colourgan\[film\]'", "a.mp4")


def test_a_model_that_fails_is_told_and_a_full_disk_too(folder, monkeypatch):
    write_film(Path("a.mp4"), moving(4))

    class Broken(Wavering):
        def __call__(self, L):
            if self.seen:
                raise RunError("the model predicts values that are not finite: it is broken")
            return super().__call__(L)

    with pytest.raises(RunError, match="not finite"):
        run("a.mp4", runtime=Broken())
    real = av.open

    def full(file, mode="r", **options):
        if mode == "w" and isinstance(file, str):
            raise av.error.OSError(28, "No space left on device", file)
        return real(file, mode, **options)

    monkeypatch.setattr(av, "open", full)
    with pytest.raises(RunError, match=r"no space left to write out\.mp4"):
        run("a.mp4")
    monkeypatch.setattr(av, "open", real)
    run("a.mp4")
    assert sorted(os.listdir()) == ["a.mp4", "out.mp4"]


# Threads


def test_items_come_in_order_and_errors_where_they_belong():
    from concurrent.futures import ThreadPoolExecutor

    def items():
        yield from range(5)
        raise RunError("the sixth is broken")

    got = []
    with ThreadPoolExecutor(3) as pool:
        for each in in_order(pool, lambda i: i * i, ahead(items(), 2), 3):
            got.append(each)
            if len(got) == 3:
                break
    assert got == [0, 1, 4]
    with pytest.raises(RunError, match="the sixth is broken"):
        list(ahead(items(), 2))


def test_closing_ends_the_thread():
    closed = []

    def items():
        try:
            while True:
                yield 1
        finally:
            closed.append(True)

    made = ahead(items(), 2)
    assert next(made) == 1
    made.close()
    assert closed == [True]


# The command


@pytest.fixture
def call(folder, monkeypatch, capsys):
    """Exit code and stderr of `colourgan colorize`, beside film.mp4, other.mkv and photo.png."""
    write_film(folder / "film.mp4", moving(8), sound="aac")
    write_film(folder / "other.mkv", moving(4))
    Image.fromarray(scene()).save(folder / "photo.png")

    def run(*arguments: str) -> tuple[int, str]:
        quick = ["--quality", "fast", "--working-size", "32"]
        code = call_main(monkeypatch, "colorize", *arguments, *quick)
        return code, capsys.readouterr().err

    return run


def test_the_command_colors_films(call):
    assert call("film.mp4", "*.mkv") == (0, "2 colored: colored/film.mp4, colored/other.mkv\n")
    assert times_of("colored/film.mp4") == times_of("film.mp4")
    assert kinds_of("colored/film.mp4") == ["video", "audio"]
    code, said = call("film.mp4")
    assert code == 2 and "colored/film.mp4 exists" in said and "--overwrite" in said
    assert call("film.mp4", "other.mkv", "--skip-existing") == (
        0, "0 colored (2 there already)\n",
    )  # fmt: skip
    assert call("film.mp4", "--overwrite", "--side-by-side", "--start", "0:00.1") == (
        0, "1 colored: colored/film.mp4\n",
    )  # fmt: skip
    assert pictures_of("colored/film.mp4")[0].shape == (HEIGHT, 2 * WIDTH, 3)
    assert len(times_of("colored/film.mp4")) == 5


def test_films_in_a_folder_are_told_of(call, folder):
    (folder / "in").mkdir()
    for name in ("film.mp4", "photo.png"):
        (folder / name).rename(folder / "in" / name)
    code, said = call("in")
    assert code == 0
    assert said == "in: a film was left out: name films themselves\n1 colored: colored/photo.png\n"


def test_a_film_that_fails_does_not_stop_the_others(call, folder):
    (folder / "broken.mp4").write_bytes(b"no film at all")
    code, said = call("broken.mp4", "other.mkv")
    assert code == 1 and (folder / "colored" / "other.mkv").is_file()
    assert said.splitlines()[0] == "1 colored: colored/other.mkv"
    assert re.match(
        r"colourgan: 1 of 2 films failed: cannot read broken.mp4: .+", said.splitlines()[1]
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("film.mp4 --samples 2", "--samples is for pictures: it cannot be used with a film"),
        ("film.mp4 --hint 1,1,red", "--hint is for pictures"),
        ("film.mp4 photo.png", "color films and pictures by two commands"),
        ("photo.png --start 1", "--start is for films, and none is named"),
        ("photo.png --smoothing 1", "--smoothing is for films"),
        ("film.mp4 --start 1:99", "'1:99' is no time"),
        ("film.mp4 --smoothing -1", "--smoothing -1.0 is no number of seconds"),
        ("film.mp4 --out out.avi", "cannot write out.avi: --out can end in"),
        ("film.mp4 other.mkv --out out.mkv", "two of the films would become the same file"),
        ("film.mp4 --overwrite --skip-existing", "exclude each other"),
        ("none.mp4", "there is no file none.mp4"),
    ],
)
def test_wrong_use_of_the_command_is_one_line(arguments, said, call, folder):
    code, line = call(*arguments.split())
    assert (code, line.count("\n")) == (2, 1) and said in line, line
    assert not (folder / "colored").exists() or not any((folder / "colored").glob("*.m*"))
