"""Whatever is to be colored, and however that ends: no file is lost, and what happened is told."""

import csv
import logging
import os
import signal
import threading
import time
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_colorizers import Painter, is_painted, noise, painter_file, process

from colourgan import cli, colorize
from colourgan.colorize import Colorizer, Outcome, album, colorize_files, colorize_sheet, failures
from colourgan.colorize.album import _Room
from colourgan.errors import DiskFull, RunError, UsageError
from colourgan.generators import pix2pix_unet
from colourgan.runtimes import OnnxRuntime

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """An empty folder that is the working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return painter_file(tmp_path_factory.mktemp("model") / "painter.onnx")


def put(*names: str | bytes, color: tuple = (120, 120, 120)) -> None:
    for name in map(os.fsdecode, names):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        format = None if Path(name).suffix.lower() in Image.registered_extensions() else "PNG"
        Image.new("RGB", (12, 8), color).save(name, format)


def put_broken(*names: str) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(b"no picture")


def contents(below: str = ".") -> dict[str, bytes]:
    """name → content of all files, hidden ones too."""
    return {p.as_posix(): p.read_bytes() for p in Path(below).rglob("*") if p.is_file()}


def run(*inputs: str, out: str = "out", generator=None, **options) -> list[Outcome]:
    colorizer = Colorizer(generator or Painter(), working_size=16)
    return colorize_files(inputs, colorizer, out, **{"progress": False, **options})


def written(*inputs: str, **options) -> list[str]:
    """The names of what became of pictures that all can be colored."""
    outcomes = run(*inputs, **options)
    assert all(each.state == "colored" and each.written for each in outcomes)
    return [path.as_posix() for each in outcomes for path in each.written]


def refused(match: str, *inputs: str, **options) -> None:
    """Asserts a UsageError of one line, and that nothing was done before it."""
    before, painter = contents(), Painter()
    with pytest.raises(UsageError, match=match) as caught:
        run(*inputs, generator=painter, **options)
    assert "\n" not in str(caught.value)
    assert contents() == before
    assert not painter.seen


@pytest.fixture
def call(monkeypatch, capsysbinary, model):
    """Exit code, stdout and stderr (bytes) of `colourgan colorize` in this process."""

    def run(*arguments, stdin: bytes = b"", model: Path | str = model) -> tuple[int, bytes, str]:
        monkeypatch.setattr("sys.argv", ["colourgan", "colorize", *arguments, *of(model)])
        monkeypatch.setattr("sys.stdin", type("Stdin", (), {"buffer": BytesIO(stdin)}))
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsysbinary.readouterr()
        return ended.value.code, out, err.decode()

    return run


def of(model: Path | str) -> tuple[str, str]:
    return "--model", str(model)


# Which pictures, and what they are called


def test_files_and_folders_keep_their_names_and_folders_below_out(folder):
    put("a.jpg", "in/b.PNG", "in/deep/er/c.tif", "in/.hidden/d.png", "in/._b.jpg.png")
    names = written("a.jpg", "in")
    assert names == ["out/a.jpg", "out/b.PNG", "out/deep/er/c.tif"]
    assert set(contents("out")) == set(names)
    for name, format in zip(names, ("JPEG", "PNG", "TIFF"), strict=True):
        with Image.open(name) as image:
            assert (image.format, image.mode, image.size) == (format, "RGB", (12, 8))
            assert is_painted(image)


@pytest.mark.parametrize(
    ("source", "target", "format"),
    [
        ("a.jpg", "a.jpg", "JPEG"),
        ("a.JPG", "a.JPG", "JPEG"),
        ("a.Jpeg", "a.Jpeg", "JPEG"),
        ("a.tiff", "a.tiff", "TIFF"),
        ("a.webp", "a.webp", "WEBP"),
        ("a.bmp", "a.bmp", "BMP"),
        ("a.ppm", "a.ppm", "PPM"),
        ("a.gif", "a.png", "PNG"),
        ("a.PGM", "a.png", "PNG"),
        ("scan.0001", "scan.png", "PNG"),
        ("scan", "scan.png", "PNG"),
        ("a.b.jpg", "a.b.jpg", "JPEG"),
    ],
)
def test_the_ending_is_the_pictures_where_that_can_be_written(source, target, format, folder):
    put(source)
    assert written(source) == [f"out/{target}"]
    with Image.open(f"out/{target}") as image:
        assert image.format == format and is_painted(image)


def test_a_format_that_is_asked_for_changes_endings_that_are_not_its_own(folder):
    put("a.jpg", "b.TIFF", "c.tif", "d.gif")
    expected = ["out/a.tif", "out/b.TIFF", "out/c.tif", "out/d.tif"]
    assert written("a.jpg", "b.TIFF", "c.tif", "d.gif", format="tif") == expected
    assert all(Image.open(name).format == "TIFF" for name in expected)
    refused("unknown format 'gif': choices: jpeg, png, tiff", "a.jpg", format="gif")


def test_pictures_that_would_be_called_the_same_keep_their_endings(folder):
    put("a.gif", "a.png", "a.tif", "b.gif", "in/a.pgm", "in/x/a.gif")
    assert written("a.gif", "a.png", "a.tif", "b.gif", "in") == [
        "out/a.gif.png", "out/a.png", "out/a.tif", "out/b.png", "out/a.pgm.png", "out/x/a.png",
    ]  # fmt: skip
    put("c.jpg", "c.tif")
    assert written("c.jpg", "c.tif", format="png") == ["out/c.jpg.png", "out/c.tif.png"]


def test_pictures_left_with_the_same_name_are_refused(folder):
    put("x/a.jpg", "y/a.jpg", "b.gif", "b.gif.png", "b.png")
    refused("^x/a.jpg and y/a.jpg would both become out/a.jpg: use two --out$", "x", "y")
    refused("^b.gif and b.gif.png would both become out/b.gif.png", "b.gif", "b.gif.png", "b.png")


def test_a_picture_named_twice_is_done_once(folder):
    put("in/a.jpg")
    os.symlink("a.jpg", "in/b.jpg")
    assert written("in/a.jpg", "in", "in/*", str(folder / "in" / "a.jpg")) == ["out/a.jpg"]


def test_patterns_are_expanded(folder):
    put("in/a.jpg", "in/b.jpg", "in/c.png", "in/x/y/d.jpg", "in/.e.jpg")
    assert written("in/*.jpg") == ["out/a.jpg", "out/b.jpg"]
    assert written("in/[ab].jpg", out="two") == ["two/a.jpg", "two/b.jpg"]
    assert written("in/**/?.jpg", out="all") == ["all/a.jpg", "all/b.jpg", "all/d.jpg"]
    assert written("i*", out="whole") == [
        f"whole/{n}" for n in ("a.jpg", "b.jpg", "c.png", "x/y/d.jpg")
    ]
    refused(r"^no file matches in/\*\.gif$", "in/*.gif")


def test_a_file_whose_name_looks_like_a_pattern_is_itself(folder):
    put("a[1].jpg", "a1.jpg", "what?.jpg")
    assert written("a[1].jpg", "what?.jpg") == ["out/a[1].jpg", "out/what?.jpg"]


def test_out_may_be_the_file_of_a_single_picture(folder):
    put("a.jpg", "b.jpg", "in/a.jpg")
    assert written("a.jpg", out="new/color.png") == ["new/color.png"]
    assert Image.open("new/color.png").format == "PNG"
    assert written("a.jpg", out="c.JPEG") == ["c.JPEG"]
    assert written("a*.jpg", out="pattern.tif") == ["pattern.tif"]
    assert written("a.jpg", out="any", format="png") == ["any/a.png"]
    assert written("a.jpg", out="lies.jpg", format="png") == ["lies.jpg"]
    assert Image.open("lies.jpg").format == "PNG"
    Path("folder.jpg").mkdir()
    assert written("a.jpg", out="folder.jpg") == ["folder.jpg/a.jpg"]
    assert written("a.jpg", "b.jpg", out="two.jpg") == ["two.jpg/a.jpg", "two.jpg/b.jpg"]
    assert written("in", out="in.jpg") == ["in.jpg/a.jpg"]


def test_out_is_no_folder_called_like_a_picture_that_cannot_be_written(folder):
    put("a.jpg")
    refused("^cannot write color.gif: choices of --format: jpeg, png", "a.jpg", out="color.gif")
    Path("color.gif").mkdir()
    assert written("a.jpg", out="color.gif") == ["color.gif/a.jpg"]


def test_missing_inputs_are_refused_before_any_work(folder):
    put("a.jpg")
    (folder / "empty").mkdir()
    refused("^there is no file or folder b.jpg$", "a.jpg", "b.jpg")
    refused("^no picture in empty", "a.jpg", "empty")
    refused("^nothing to colorize")


def test_pipes_and_links_that_lead_nowhere_are_skipped_in_folders(folder, caplog):
    put("in/a.jpg")
    os.symlink("loop.png", "in/loop.png")
    os.symlink("gone.png", "in/dangling.png")
    os.mkfifo("in/pipe.jpg")
    assert written("in") == ["out/a.jpg"]
    (said,) = caplog.messages
    assert said.startswith("in: skipped 3 entries that are no regular files or cannot be read (")


@pytest.mark.parametrize("name", ["loop.png", "dangling.png", "pipe.jpg"])
def test_pipes_and_links_that_lead_nowhere_are_refused_by_name(name, folder):
    os.symlink("loop.png", "loop.png")
    os.symlink("gone.png", "dangling.png")
    os.mkfifo("pipe.jpg")
    put("a.jpg")
    refused(f"^{name} is a broken link or no regular file", "a.jpg", name)


def test_what_cannot_be_written_is_told(folder):
    put("a.jpg", "file")
    os.symlink("loop", "loop")
    for out in ("file", "loop"):
        (outcome,) = run("a.jpg", out=f"{out}/below")
        assert outcome.state == "failed" and out in outcome.notes[0]
    assert outcome.notes[0].startswith("cannot color a.jpg: OSError: ")
    assert set(contents()) == {"a.jpg", "file"}


# Nothing is lost


@pytest.mark.parametrize("options", [{}, {"overwrite": True}, {"skip_existing": True}])
def test_an_input_is_never_replaced(options, folder):
    put("in/a.gif", "in/b.png", "c.jpg")
    os.symlink("in", "same")
    refused("^in/b.png would replace an input: choose another --out$", "in", out="in", **options)
    refused("same/b.png would replace an input", "in", out="same", **options)
    refused("c.jpg would replace an input", "c.jpg", out=".", **options)
    refused("c.jpg would replace an input", "c.jpg", out="c.jpg", **options)
    assert written("in/a.gif", out="in") == ["in/a.png"]


def test_report_and_sheet_replace_no_picture(folder, call):
    put("a.jpg", "in/a.jpg")
    os.symlink("a.jpg", "same.csv")
    for name in ("a.jpg", "out/a.jpg", "same.csv", "./in/../a.jpg"):
        refused("--report .* would replace a picture", "a.jpg", report=name)
    outcomes = run("a.jpg")
    before = contents()
    for name in ("a.jpg", "out/a.jpg", "same.csv"):
        with pytest.raises(UsageError, match=f"--sheet {name} would replace a picture"):
            colorize_sheet(outcomes, name)
    assert contents() == before
    assert call("in/a.jpg", "--out", "cli", "--sheet", "in/a.jpg")[0] == 2
    assert contents("in") == {"in/a.jpg": before["in/a.jpg"]}


def test_outputs_that_exist_are_refused_unless_told_otherwise(folder):
    put("a.jpg", "b.jpg")
    run("b.jpg")
    refused("^out/b.jpg exists: .*--overwrite or --skip-existing", "a.jpg", "b.jpg")
    refused("^out/b.jpg exists", "b.jpg", out="out/b.jpg")
    put("out/b.jpg", color=RED)
    assert written("a.jpg", "b.jpg", overwrite=True) == ["out/a.jpg", "out/b.jpg"]
    assert is_painted(Image.open("out/b.jpg"))
    Path("out/c.jpg").mkdir()
    put("c.jpg")
    for options in ({"overwrite": True}, {"skip_existing": True}):
        refused("^out/c.jpg exists", "c.jpg", **options)
    both = {"overwrite": True, "skip_existing": True}
    refused("--overwrite and --skip-existing exclude each other", "a.jpg", **both)


def test_skip_existing_writes_what_is_missing_and_nothing_else(folder):
    put("in/a.jpg", "in/b.gif", "in/c.jpg")
    put("out/b.png", color=RED)
    before = contents("out")
    painter = Painter()
    outcomes = run("in", generator=painter, skip_existing=True)
    assert [each.state for each in outcomes] == ["colored", "skipped", "colored"]
    assert outcomes[1].written == (Path("out/b.png"),)
    assert outcomes[1].notes == ("it was there already",)
    assert set(contents("out")) == {"out/a.jpg", "out/b.png", "out/c.jpg"}
    assert contents("out")["out/b.png"] == before["out/b.png"]
    seen = len(painter.seen)
    assert (
        seen
        and [each.state for each in run("in", generator=painter, skip_existing=True)]
        == ["skipped"] * 3
    )
    assert len(painter.seen) == seen


def test_results_within_the_input_folder_are_no_inputs(folder):
    put("in/a.jpg")
    assert written("in", out="in/color") == ["in/color/a.jpg"]
    assert written("in", out="in/color", overwrite=True) == ["in/color/a.jpg"]
    assert written(".", out="colored") == ["colored/in/a.jpg", "colored/in/color/a.jpg"]
    assert written("in/color", out=".") == ["a.jpg"]


def test_a_link_in_a_circle_is_no_output_that_exists(folder):
    put("a.jpg", "out/b.png")
    os.symlink("a.jpg", "out/a.jpg")
    assert written("a.jpg") == ["out/a.jpg"]
    assert not Path("out/a.jpg").is_symlink()


# What goes wrong


def test_broken_files_do_not_stop_the_others(folder, caplog):
    put("in/a.jpg", "in/z.jpg")
    put_broken(*(f"in/broken{i}.jpg" for i in range(5)))
    outcomes = run("in")
    assert [each.state for each in outcomes] == ["colored", *["failed"] * 5, "colored"]
    assert set(contents("out")) == {"out/a.jpg", "out/z.jpg"}
    assert not any(each.written for each in outcomes[1:-1])
    assert outcomes[1].notes[0].startswith("cannot read in/broken0.jpg: not a picture")
    said = failures(outcomes)
    assert said.startswith("5 of 7 pictures failed: cannot read in/broken0.jpg: not a picture")
    assert said.count("cannot read") == 3
    assert said.endswith("; and 2 more")
    assert failures(outcomes[:1]) is None and failures([]) is None
    assert not caplog.messages


def test_failures_are_one_line_exit_code_1_and_named_after_what_was_made(folder, call):
    put("in/a.jpg")
    put_broken("in/b\nc.jpg")
    code, out, err = call("in", "--out", "out", "--report", "r.csv")
    made, failed = err.splitlines()
    assert (code, out, made) == (1, b"", "1 colored: out/a.jpg, r.csv")
    assert failed.startswith(r"colourgan: 1 of 2 pictures failed: cannot read in/b\nc.jpg: not a")
    assert failed.endswith("; all are in r.csv")
    code, _, err = call("in/b\nc.jpg", "--out", "none", "--sheet", "sheet.png")
    assert (code, err.count("\n")) == (1, 1) and "1 of 1 pictures failed" in err
    assert not Path("none").exists() and not Path("sheet.png").exists()


def test_whatever_breaks_with_one_picture_is_told_with_its_name(folder):
    class Fragile(Painter):
        def forward(self, L):
            if L.mean() > 0.5:
                raise ValueError("no value\nfor this")
            return super().forward(L)

    put("a.jpg", "c.jpg")
    put("b.jpg", color=(255, 255, 255))
    outcomes = run("a.jpg", "b.jpg", "c.jpg", generator=Fragile())
    assert [each.state for each in outcomes] == ["colored", "failed", "colored"]
    assert outcomes[1].notes == ("cannot color b.jpg: ValueError: no value for this",)


@pytest.mark.parametrize("jobs", [1, 3])
def test_a_full_disk_ends_the_run_and_leaves_whole_files(jobs, folder, monkeypatch):
    put(*(f"{name}.jpg" for name in "abcdefgh"))
    save = Image.Image.save

    def fill(image, path, **options):
        if not path.name.startswith(".a."):
            path.write_bytes(b"half")
            time.sleep(0.1)  # or the others had failed, too, before the first is known
            raise OSError(28, "No space left on device")
        if jobs > 1:
            time.sleep(1)  # nobody waits for the first before the run ends
        save(image, path, **options)

    monkeypatch.setattr(Image.Image, "save", fill)
    painter = Painter()
    with pytest.raises(DiskFull, match=r"^no space left to write out/[b-h]\.jpg"):
        run("*.jpg", generator=painter, jobs=jobs, report="r.csv")
    assert set(contents("out")) == {"out/a.jpg"}
    assert len(painter.seen) < 2 * 8  # good quality: two a picture
    assert rows("r.csv") == [["a.jpg", "out/a.jpg", "colored", ""]]
    with Image.open("out/a.jpg") as image:
        assert is_painted(image)


def test_an_interrupted_run_reports_and_goes_on(folder, call, monkeypatch):
    put(*(f"in/{name}.jpg" for name in "abcdef"))
    # Shells have jobs in the background ignore it, and Python keeps to that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    predict, calls = OnnxRuntime.__call__, []

    def interrupted(runtime, L):
        calls.append(L)
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.3)  # the picture that is being colored is finished
        return predict(runtime, L)

    monkeypatch.setattr(OnnxRuntime, "__call__", interrupted)
    options = ["in", "--out", "out", "--report", "r.csv", "--jobs", "1", "--quality", "fast"]
    code, out, err = call(*options, "--sheet", "sheet.png")
    assert (code, out, err.count("\n")) == (130, b"", 1)
    assert "--skip-existing" in err
    assert rows("r.csv") == [[f"in/{n}.jpg", f"out/{n}.jpg", "colored", ""] for n in "abc"]
    before = contents("out")
    assert set(before) == {"out/a.jpg", "out/b.jpg", "out/c.jpg"}
    times = {name: os.stat(name).st_mtime_ns for name in before}
    code, _, err = call(*options)
    assert code == 2 and "exists" in err
    code, _, err = call(*options, "--skip-existing", "--sheet", "sheet.png")
    assert code == 0
    assert err == "3 colored (3 there already): out/d.jpg, out/e.jpg, out/f.jpg, sheet.png, r.csv\n"
    assert {name: os.stat(name).st_mtime_ns for name in before} == times
    assert [row[2] for row in rows("r.csv")] == ["skipped"] * 3 + ["colored"] * 3
    assert len(calls) == 6


def test_a_stop_reports_what_was_finished_in_any_order(folder):
    """The first picture waits for the others, then fails for good: they are in the report."""
    names = [f"{name}.jpg" for name in "abcd"]
    put("a.jpg", color=(255, 255, 255))
    put(*names[1:])

    class Stopping(Painter):
        def forward(self, L):
            if L.mean() > 0.5:
                raise KeyboardInterrupt
            return super().forward(L)

    generator = Stopping()
    colorizer = Colorizer(generator, working_size=16)
    colored, others = album._colored, threading.Semaphore(0)

    def waiting(task, *arguments):
        if task.source.name == "a.jpg":
            for _ in names[1:]:
                assert others.acquire(timeout=20)
            return colored(task, *arguments)
        outcome = colored(task, *arguments)
        others.release()
        return outcome

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(album, "_colored", waiting)
        with pytest.raises(KeyboardInterrupt):
            colorize_files(names, colorizer, "out", report="r.csv", jobs=4, progress=False)
    assert [row[0] for row in rows("r.csv")] == names[1:]


# Side by side


def test_so_many_pictures_at_a_time(folder, monkeypatch):
    put(*(f"{name}.jpg" for name in "abcdef"))
    inside, most, lock = 0, 0, threading.Lock()
    meeting = threading.Barrier(3, timeout=20)
    colored = album._colored

    def counted(*arguments):
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        if meet:
            meeting.wait()  # broken, which fails the picture, unless three are here at a time
        outcome = colored(*arguments)
        time.sleep(0 if meet else 0.01)
        with lock:
            inside -= 1
        return outcome

    monkeypatch.setattr(album, "_colored", counted)
    meet = True
    assert len(written("*.jpg", jobs=3)) == 6
    assert most == 3
    meet, most = False, 0
    assert len(written("*.jpg", jobs=1, overwrite=True)) == 6
    assert most == 1
    monkeypatch.setattr(album, "_IN_MEMORY", 12 * 8)  # one picture
    most = 0
    assert len(written("*.jpg", jobs=3, overwrite=True)) == 6
    assert most == 1
    for jobs in (0, -1):
        refused(f"--jobs {jobs} is too small: at least 1", "a.jpg", out="new", jobs=jobs)


def test_outcomes_are_in_order_and_equal_however_many_jobs(folder):
    for i in range(6):
        Image.fromarray(noise(60 - 9 * i, 20, seed=i)).save(f"{i}.png")
    found = {}
    for jobs in (1, 4):
        names = written("*.png", jobs=jobs, out=str(jobs))
        assert names == [f"{jobs}/{i}.png" for i in range(6)]
        found[jobs] = [Path(name).read_bytes() for name in names]
    assert found[1] == found[4]


def test_the_room_lets_in_what_fits_and_what_is_too_large_alone():
    room, inside, order = _Room(100), threading.Event(), []

    def enter(name: str, pixels: int, wait: bool = False) -> threading.Thread:
        def visit():
            with room.for_pixels(pixels):
                order.append(name)
                if wait:
                    assert inside.wait(20)

        thread = threading.Thread(target=visit, daemon=True)
        thread.start()
        return thread

    def until(count: int) -> None:
        end = time.monotonic() + 20
        while len(order) < count and time.monotonic() < end:
            time.sleep(0.001)
        time.sleep(0.05)
        assert len(order) == count, order

    threads = [enter("60", 60, wait=True)]
    until(1)
    threads.append(enter("40", 40, wait=True))
    until(2)
    threads += [enter("1", 1), enter("500", 500)]
    until(2)
    inside.set()
    for thread in threads:
        thread.join(20)
    assert set(order) == {"60", "40", "1", "500"} and room.used == 0
    with pytest.raises(ValueError), room.for_pixels(500):
        raise ValueError
    assert room.used == 0


# What is told


def rows(path: str) -> list[list[str]]:
    """The lines of a report without its header."""
    with open(path, newline="", encoding="utf-8", errors="surrogateescape") as file:
        header, *lines = csv.reader(file)
    assert header == ["picture", "colored", "state", "notes"]
    return lines


def test_the_report_lists_every_picture(folder):
    put("in/a.jpg", "in/b.png", 'in/c\n;,"d.jpg')
    put_broken("in/d.jpg")
    Image.new("LA", (9, 9), (120, 100)).save("in/e.png")
    put("out/b.png")
    run("in", skip_existing=True, report="new/report.csv", format="jpeg", samples=None)
    run("in", out="two", report="samples.csv", samples=2)
    a, b, c, d, e = rows("new/report.csv")
    assert a == ["in/a.jpg", "out/a.jpg", "colored", ""]
    assert b == ["in/b.png", "out/b.jpg", "colored", ""]
    assert c == ['in/c\n;,"d.jpg', 'out/c\n;,"d.jpg', "colored", ""]
    assert d[:3] == ["in/d.jpg", "", "failed"] and d[3].startswith("cannot read in/d.jpg: ")
    assert e == ["in/e.png", "out/e.jpg", "colored", "its transparency was laid on white"]
    assert rows("samples.csv")[0][1] == "two/a-1.jpg; two/a-2.jpg"
    run("in", skip_existing=True, report="new/report.csv", format="jpeg")
    states = [row[2:] for row in rows("new/report.csv")]
    assert states[0] == ["skipped", "it was there already"] and states[3][0] == "failed"


def test_a_report_replaces_only_a_report(folder):
    put("a.jpg")
    Path("notes.csv").write_text("name,age\n")
    Path("binary.csv").write_bytes(b"\xff\xfe\0picture")
    for name in ("notes.csv", "binary.csv"):
        refused(f"^{name} is no earlier report: choose another --report$", "a.jpg", report=name)
    Path("folder").mkdir()
    os.mkfifo("pipe")
    for name in ("folder", "pipe"):
        refused(f"^{name} is no regular file", "a.jpg", report=name)
    Path("empty.csv").touch()
    run("a.jpg", report="empty.csv")
    run("a.jpg", report="empty.csv", overwrite=True)
    assert len(rows("empty.csv")) == 1


def test_notes_are_told_once_for_all_pictures(folder, caplog):
    caplog.set_level(logging.INFO)
    Path("in").mkdir()
    for name in ("a", "b", "c"):
        Image.new("LA", (9, 9), (120, 100)).save(f"in/{name}.png")
    Image.fromarray(np.full((9, 9), 30000, np.uint16)).save("in/d\n.png")
    put("in/e.png")
    put_broken("in/f.png")
    run("in", format="jpeg")
    assert caplog.messages == [
        "3 pictures: its transparency was laid on white",
        r"in/d\n.png: written with 8 bits a channel",
    ]


def test_what_was_made_is_told_on_stderr(folder, call):
    put(*(f"{name}.jpg" for name in "abcde"))
    code, out, err = call("a.jpg", "b.jpg", "c.jpg", "d.jpg", "e.jpg")
    assert (code, out) == (0, b"")
    assert err == "5 colored: colored/a.jpg, colored/b.jpg, colored/c.jpg\n"
    code, _, err = call("a.jpg", "--skip-existing")
    assert (code, err) == (0, "0 colored (1 there already)\n")


# Grey beside color


def test_grey_and_color_side_by_side(folder):
    source = Image.new("RGBA", (12, 8), (120, 60, 120, 255))
    source.putpixel((0, 0), (120, 60, 120, 7))
    source.save("a.png")
    assert written("a.png", side_by_side=True) == ["out/a.png"]
    image = Image.open("out/a.png")
    assert (image.mode, image.size) == ("RGBA", (24, 8))
    assert image.getpixel((0, 0))[3] == image.getpixel((12, 0))[3] == 7
    left, right = (np.asarray(image.convert("RGB").crop((x, 0, x + 12, 8))) for x in (0, 12))
    assert np.ptp(left, axis=2).max() == 0
    assert is_painted(Image.fromarray(right))


def test_the_sheet_shows_grey_beside_color(folder):
    put("a.png", color=GREEN)
    Image.new("RGB", (900, 600), BLUE).save("colored.png")
    colorize_sheet([Outcome(Path("a.png"), (Path("colored.png"),), "skipped")], "sheet.png")
    sheet = np.asarray(Image.open("sheet.png"))
    assert (sheet == BLUE).all(2).sum() == 320 * 213
    grey = round(np.interp(87.74, [87.5, 88], [219.3, 220.6]))  # the lightness of green
    assert (np.abs(sheet.astype(int) - grey) <= 1).all(2).sum() >= 12 * 8
    assert not (sheet == GREEN).all(2).any()


def test_the_sheet_shows_all_samples_of_a_picture_in_one_row(folder, monkeypatch):
    put("a.png", "b.png")
    put("1.png", "2.png", color=RED)
    put("3.png", "4.png", color=BLUE)
    drawn = []
    draw = album.sheet
    monkeypatch.setattr(album, "sheet", lambda *given: drawn.append(given) or draw(*given))
    outcomes = [
        Outcome(Path("a.png"), (Path("1.png"), Path("3.png")), "colored"),
        Outcome(Path("c.png"), (), "failed", ("cannot read c.png",)),
        Outcome(Path("b.png"), (Path("2.png"), Path("4.png")), "colored"),
    ]
    colorize_sheet(outcomes, "sheet.png")
    (((first, second), columns, _),) = drawn
    assert columns == ["grey", "sample 1", "sample 2"]
    for row in (first, second):
        grey, *colored = (image.getpixel((5, 5)) for image in row)
        assert grey == (120, 120, 120) and colored == [RED, BLUE]
    assert Image.open("sheet.png").format == "PNG"
    with pytest.raises(UsageError, match="no picture was colored"):
        colorize_sheet(outcomes[1:2], "none.png")
    assert not Path("none.png").exists()


def test_the_sheet_is_a_png_whatever_it_is_called(folder, call):
    put("a.jpg", "b.jpg")
    code, _, err = call("a.jpg", "b.jpg", "--sheet", "new/sheet.jpg")
    assert code == 0 and "new/sheet.jpg" in err
    with Image.open("new/sheet.jpg") as sheet:
        assert sheet.format == "PNG" and sheet.height > 16
    assert {path.name for path in Path("new").iterdir()} == {"sheet.jpg"}


# Samples


@pytest.fixture(scope="module")
def unet():
    torch.manual_seed(0)
    return pix2pix_unet(16, 4, "instance", init="kaiming")  # vivid without any training


@pytest.fixture
def photos(folder) -> list[str]:
    """Pictures with something on them to color, one of them in a folder and not square."""
    Path("in").mkdir()
    Image.fromarray(noise(24, 24)).save("a.png")
    Image.fromarray(noise(30, 50)).save("in/b.png")
    return ["a.png", "in"]


def sampled(unet, *inputs: str, **options) -> dict[str, bytes]:
    """name → content of what is written."""
    return {
        Path(name).name: Path(name).read_bytes()
        for name in written(*inputs, generator=unet, **options)
    }


def test_samples_are_numbered_and_differ(photos, unet):
    found = sampled(unet, *photos, samples=3)
    assert list(found) == [f"{name}-{i}.png" for name in "ab" for i in (1, 2, 3)]
    assert len(set(found.values())) == 6
    assert {f"out/{name}" for name in found} == set(contents("out"))
    assert not unet.training


def test_one_sample_keeps_the_name_and_is_not_the_prediction(photos, unet):
    one, plain = sampled(unet, *photos, samples=1), sampled(unet, *photos, out="plain")
    assert list(one) == list(plain) == ["a.png", "b.png"]
    assert one["a.png"] != plain["a.png"] and one["b.png"] != plain["b.png"]
    assert sampled(unet, *photos, out="again") == plain


def test_the_same_seed_makes_the_same_samples_whatever_else_is_colored(photos, unet):
    one = sampled(unet, *photos, samples=1, seed=7, out="one", jobs=1)
    torch.rand(5)
    assert sampled(unet, *photos, samples=1, seed=7, out="again", jobs=4) == one
    assert sampled(unet, "in", samples=1, seed=7, out="alone") == {"b.png": one["b.png"]}
    many = sampled(unet, *photos, samples=2, seed=7, out="many", jobs=4)
    assert (many["a-1.png"], many["b-1.png"]) == (one["a.png"], one["b.png"])
    other = sampled(unet, *photos, samples=1, seed=8, out="other")
    assert other["a.png"] != one["a.png"] and other["b.png"] != one["b.png"]


def test_samples_that_are_there_are_left_and_the_others_made(photos, unet):
    before = sampled(unet, *photos, samples=3, seed=7)
    Path("out/a-2.png").unlink()
    put("out/a-3.png", color=RED)
    red = Path("out/a-3.png").read_bytes()
    options = {"samples": 3, "seed": 7, "skip_existing": True}
    first, second = run(*photos, generator=unet, **options)
    assert (first.state, second.state) == ("colored", "skipped")
    assert Path("out/a-2.png").read_bytes() == before["a-2.png"]
    assert Path("out/a-3.png").read_bytes() == red
    assert [path.name for path in first.written] == ["a-1.png", "a-2.png", "a-3.png"]


def test_samples_next_to_a_file(photos, unet):
    assert list(sampled(unet, "a.png", samples=2, out="new/x.png")) == ["x-1.png", "x-2.png"]
    before = contents()
    with pytest.raises(UsageError, match=r"new/x-1\.png exists"):
        run("a.png", generator=unet, samples=2, out="new/x.png")
    assert contents() == before


def test_spreads_are_logged(photos, unet, caplog):
    caplog.set_level(logging.INFO)
    outcomes = run(*photos, generator=unet, samples=2)
    first, second = caplog.messages
    caplog.clear()
    value = Colorizer(unet, working_size=16).samples("a.png", 2).spread
    assert outcomes[0].spread == pytest.approx(value)
    assert first == f"spread of a.png: {value:.2f} (standard deviation of a and b over 2 samples)"
    assert second.startswith("spread of in/b.png: ")
    for i in range(7):
        Image.fromarray(noise(16 + i, 16)).save(f"in/{i}.png")
    put_broken("in/broken.png")
    outcomes = run(*photos, generator=unet, samples=2, out="many")
    (mean,) = caplog.messages
    caplog.clear()
    value = np.mean([each.spread for each in outcomes if each.state == "colored"])
    assert mean.startswith(f"mean spread of 9 pictures: {value:.2f} (standard deviation")
    run("a.png", generator=unet, samples=1, out="one")
    assert not caplog.messages


def test_samples_from_the_command_line_are_those_of_python(photos, unet, call):
    from colourgan.models import save_model

    save_model(unet, "m.safetensors")
    options = ["--samples", "2", "--seed", "5", "--out", "cli", "--sheet", "sheet.png"]
    code, _, err = call(*photos, *options)
    assert (code, err.count("\n")) == (2, 1) and "an ONNX model has no dropout" in err
    code, _, err = call(*photos, *options, model="m.safetensors")
    assert code == 0, err
    wanted = sampled(unet, *photos, samples=2, seed=5)
    assert {path.name: path.read_bytes() for path in Path("cli").iterdir()} == wanted
    assert Image.open("sheet.png").width > 3 * 24


@pytest.mark.parametrize("count", [0, -2])
def test_less_than_one_sample_is_refused(count, folder):
    put("a.jpg")
    refused(f"--samples {count} is too small: at least 1", "a.jpg", samples=count)


def test_no_file_is_lost_to_samples(folder):
    put("a.jpg", "in/a-2.jpg", "in/a.jpg", "twin/b.gif", "twin/b.pgm")
    refused("in/a-2.jpg would replace an input", "in", out="in", samples=2)
    put("out/a-2.jpg")
    refused("out/a-2.jpg exists.*--overwrite", "a.jpg", samples=2)
    put("clash/c.jpg", "clash/c-1.jpg")
    assert written("clash", out="clashed", samples=2) == [
        f"clashed/{name}.jpg" for name in ("c-1-1", "c-1-2", "c-1", "c-2")
    ]
    names = [Path(name).name for name in written("twin", "in", out="new", samples=2)]
    assert names == [
        *("b.gif-1.png", "b.gif-2.png", "b.pgm-1.png", "b.pgm-2.png"),
        *("a-2-1.jpg", "a-2-2.jpg", "a-1.jpg", "a-2.jpg"),
    ]


# Names of any kind, and pipes: processes of their own, without torch

ODD = [b"new\nline.png", b"\xff\xfe no UTF-8.png", "\N{SNOWMAN} 'quoted\" -.png".encode()]


def test_names_may_have_newlines_and_bytes_that_are_no_text(folder, model):
    put(*(b"in/" + name for name in ODD))
    put_broken("in/broken\n\udcff.png")
    arguments = [b"in", *(b"in/" + name for name in ODD[:2]), "--report", "r.csv"]
    done = process("colorize", *arguments, *of(model), "--sheet", "s.png")
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"Traceback" not in done.stderr
    made, failed = done.stderr.decode().splitlines()
    assert made.startswith("3 colored: ") and "line.png" in made
    assert failed.startswith(
        r"colourgan: 1 of 4 pictures failed: cannot read in/broken\n\udcff.png"
    )
    assert {os.fsencode(path.name) for path in Path("colored").iterdir()} == set(ODD)
    for name in ODD:
        assert is_painted(Image.open(os.fsdecode(b"colored/" + name)))
    assert {os.fsencode(row[0]) for row in rows("r.csv")} == {
        b"in/" + name for name in (*ODD, b"broken\n\xff.png")
    }
    put(b"alone\n\xff.png")
    done = process("colorize", b"alone\n\xff.png", "--out", b"one\n\xff.jpg", *of(model))
    assert (done.returncode, done.stderr.count(b"\n")) == (0, 1)
    assert is_painted(Image.open(os.fsdecode(b"one\n\xff.jpg")))


@pytest.fixture
def photo(folder) -> bytes:
    """The content of photo.jpg."""
    Image.fromarray(noise()).save("photo.jpg")
    return Path("photo.jpg").read_bytes()


def test_from_pipe_to_pipe(photo, model):
    done = process("colorize", "-", *of(model), input=photo)
    assert (done.returncode, done.stderr) == (0, b"")
    image = Image.open(BytesIO(done.stdout))
    assert (image.format, image.size) == ("JPEG", (60, 40)) and is_painted(image)
    (outcome,) = colorize_files(["photo.jpg"], Colorizer(model), "out")
    assert outcome.written[0].read_bytes() == done.stdout


def test_what_is_said_goes_beside_the_pipe(photo, model):
    Image.new("LA", (9, 9), (120, 100)).save("a.png")
    options = ["--format", "jpeg", "--jpeg-quality", "40", "--side-by-side", *of(model)]
    done = process("colorize", "a.png", "--out", "-", *options)
    assert done.returncode == 0
    assert done.stderr == b"a.png: its transparency was laid on white\n"
    image = Image.open(BytesIO(done.stdout))
    assert (image.format, image.size) == ("JPEG", (18, 9))


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n"])
def test_a_broken_pipe_is_one_line_and_no_output(content, call):
    code, out, err = call("-", stdin=content)
    assert (code, out, err.count("\n")) == (1, b"", 1)
    assert err.startswith("colourgan: cannot read the picture: ")


def test_a_broken_pipe_in_a_process_of_its_own(photo, model):
    done = process("colorize", "-", *of(model), input=photo[:300])
    assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (1, b"", 1)


def test_pipes_in_all_combinations(photo, call):
    code, expected, err = call("-", "--out", "-", stdin=photo)
    assert (code, err) == (0, "")
    assert call("-", stdin=photo) == (0, expected, "")
    assert call("photo.jpg", "--out", "-") == (0, expected, "")
    code, out, err = call("-", "--out", "new/a.jpg", stdin=photo)
    assert (code, out, err) == (0, b"", "colored: new/a.jpg\n")
    assert Path("new/a.jpg").read_bytes() == expected
    code, _, _ = call("-", "--out", "new/a.png", stdin=photo)
    assert code == 0 and Image.open("new/a.png").format == "PNG"
    code, out, _ = call("-", "--format", "webp", stdin=photo)
    assert code == 0 and Image.open(BytesIO(out)).format == "WEBP"
    gif = BytesIO()
    Image.fromarray(noise()).save(gif, "GIF")
    code, out, _ = call("-", stdin=gif.getvalue())
    assert code == 0 and Image.open(BytesIO(out)).format == "PNG"


def test_what_a_pipe_cannot_do_is_refused(photo, call, monkeypatch):
    put("b.jpg", "in/c.jpg", "there.jpg")
    before = contents()
    for arguments, said in {
        ("-", "b.jpg"): "- stands for one picture",
        ("b.jpg", "-"): "- stands for one picture",
        ("b.jpg", "photo.jpg", "--out", "-"): "- stands for one picture",
        ("in", "--out", "-"): "in is no file",
        ("-", "--out", "there.jpg"): "there.jpg exists",
        ("-", "--out", "in"): "in exists",
        ("-", "--out", "a.gif"): "unknown format 'gif'",
        ("-", "--format", "xyz"): "unknown format 'xyz'",
        ("-", "--jpeg-quality", "0"): "--jpeg-quality 0 is not between 1 and 100",
        ("-", "--samples", "2"): "--samples is for files",
        ("-", "--samples", "0"): "--samples is for files",
        ("-", "--sheet", "s.png"): "--sheet is for files",
        ("-", "--report", "r.csv"): "--report is for files",
        ("b.jpg", "--out", "-", "--skip-existing"): "--skip-existing is for files",
    }.items():
        code, out, err = call(*arguments, stdin=photo)
        assert (code, out, err.count("\n")) == (2, b"", 1), arguments
        assert said in err, arguments
        assert contents() == before
    code, _, _ = call("-", "--out", "there.jpg", "--overwrite", stdin=photo)
    assert code == 0 and contents()["there.jpg"] != before["there.jpg"]
    code, out, err = call("missing.jpg", "--out", "-")
    assert (code, out, err.count("\n")) == (2, b"", 1) and "missing.jpg" in err


def test_a_picture_is_not_written_to_a_terminal(photo, call, monkeypatch):
    import sys

    monkeypatch.setattr(type(sys.stdout), "isatty", lambda self: True)
    code, out, err = call("-", stdin=photo)
    assert (code, out) == (2, b"") and "would go to the terminal" in err
    code, out, _ = call("-", "--out", "a.jpg", stdin=photo)
    assert (code, out) == (0, b"")


def test_bytes_in_python(photo, model):
    colorizer = Colorizer(model)
    content, notes = colorize.colorize_bytes(photo, colorizer)
    assert notes == () and is_painted(Image.open(BytesIO(content)))
    with pytest.raises(RunError, match=r"^cannot read the picture"):
        colorize.colorize_bytes(b"no picture", colorizer)
    for quality in (0, 101):
        with pytest.raises(UsageError, match=f"--jpeg-quality {quality} is not between"):
            colorize.colorize_bytes(photo, colorizer, jpeg_quality=quality)
        refused(f"--jpeg-quality {quality} is not between", "photo.jpg", jpeg_quality=quality)


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_file_that_comes_meanwhile_is_replaced_only_if_that_was_asked_for(tmp_path, overwrite):
    Image.fromarray(noise()).save(tmp_path / "a.png")
    target = tmp_path / "out" / "a.png"

    class Late(Painter):
        def forward(self, L):
            target.parent.mkdir(exist_ok=True)
            target.write_text("precious")
            return super().forward(L)

    colorizer = Colorizer(Late(), working_size=16, quality="fast")
    (outcome,) = colorize_files(
        [tmp_path / "a.png"], colorizer, tmp_path / "out", overwrite=overwrite, progress=False
    )
    kept = target.read_bytes() == b"precious"
    assert (outcome.state, kept) == (("colored", False) if overwrite else ("failed", True))
    assert overwrite or "it was not there when coloring began" in outcome.notes[0]
