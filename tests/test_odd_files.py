"""Folders of files that break readers: a picture or a line for each, in bounded memory, and nothing
half written when the process is killed.
"""

import csv
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import odd_files
import pytest
from PIL import Image

from colourgan.colorize import Colorizer
from colourgan.files import shown

GB, ORIENTATION = 10**9, 0x112
COLORIZE = [sys.executable, "-m", "colourgan", "colorize"]
QUICK = ["--quality", "fast", "--working-size", "32", "--jobs", "2"]
# A process of its own asks for the memory: a child begins with the peak of the one it comes from.
MEASURE = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:]).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)
"""
SAID = (
    r"warning: in: skipped \d+ entries that are no regular files or cannot be read \(.+\)",
    r"(\d+ pictures|(in|others)/.+): (only the first of its pages|its transparency was laid|"
    "its EXIF is broken|its metadata could not|converted from its color profile|written with 8).+",
    r"\d+ colored: out/.+, report.csv",
    r"colourgan: \d+ of \d+ pictures failed: .+; all are in report.csv",
)


class Row(NamedTuple):
    picture: str
    colored: str
    state: str
    notes: str


class Run(NamedTuple):
    """code, stderr, peak: in bytes, of a colorization in `folder`; rows: its report."""

    folder: Path
    code: int
    stderr: str
    peak: int
    rows: list[Row]


def colorize(folder: Path, *arguments: str) -> Run:
    """`in` → `out` in a folder."""
    options = ["--out", "out", "--report", "report.csv", *QUICK, *arguments]
    command = [sys.executable, "-c", MEASURE, *COLORIZE, "in", *options]
    started = subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )
    try:
        stdout, stderr = started.communicate(timeout=240)
    finally:
        if started.returncode is None:
            os.killpg(started.pid, signal.SIGKILL)
    peak = int(stdout) * (1 if sys.platform == "darwin" else 1024)
    report = folder / "report.csv"
    with open(report, newline="", encoding="utf-8", errors="surrogateescape") as file:
        header, *lines = csv.reader(file)
    assert header == list(Row._fields)
    rows = [Row(*line) for line in lines]
    return Run(folder, started.returncode, stderr.decode(), peak, rows)


@pytest.fixture(scope="module")
def names(tmp_path_factory) -> dict[str, list[str]]:
    """The odd files by what should become of them; they lie in `folder`."""
    folder = tmp_path_factory.mktemp("odd")
    made = {
        kind.__name__: [f"in/{name}" for name in odd_files.write(folder / "in", kind())]
        for kind in (odd_files.pictures, odd_files.no_pictures, odd_files.bombs, odd_files.damaged)
    }
    others = odd_files.write(folder / "others", odd_files.elsewhere())
    odd_files.put_what_is_no_file(folder / "in" / "no files")
    return {"folder": folder, **made, "elsewhere": [f"others/{name}" for name in others]}


@pytest.fixture(scope="module")
def run(names) -> Run:
    return colorize(names["folder"], "others/*")


def test_each_odd_file_is_one_line_of_the_report(names, run):
    expected = [name for kind, found in names.items() if kind != "folder" for name in found]
    assert len(expected) > 600
    assert Counter(row.picture for row in run.rows) == Counter(expected)
    for row in run.rows:
        assert row.state in ("colored", "failed")
        assert "\n" not in row.notes and "Traceback" not in row.notes
        if row.state == "failed":
            assert re.match(
                f"cannot (read|write) .*{re.escape(shown(Path(row.picture).stem))}.*: .", row.notes
            )
            assert not row.colored


def test_what_can_be_colored_is_and_nothing_else(names, run):
    states = {row.picture: (row.state, row.notes) for row in run.rows}

    def told(kind: str, state: str) -> dict[str, str]:
        return {name: states[name][1] for name in names[kind] if states[name][0] == state}

    assert not told("pictures", "failed")
    assert not told("elsewhere", "failed")
    assert not told("no_pictures", "colored")
    assert not told("bombs", "colored")
    assert told("damaged", "failed") and told("damaged", "colored")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_colored_pictures_are_whole_upright_and_all_there_is(run):
    written = [row for row in run.rows if row.state == "colored"]
    for row in written:
        with Image.open(run.folder / row.colored) as image:
            if "large/" not in row.picture:
                image.load()
            assert image.size == upright(run.folder / row.picture), row
    there = [path for path in (run.folder / "out").rglob("*") if not path.is_dir()]
    assert sorted(there) == sorted(run.folder / row.colored for row in written)


def upright(path: Path) -> tuple[int, int]:
    """The size of a picture as a viewer shows it."""
    with Image.open(path) as image:
        orientation = 1
        with suppress(Exception):  # PIL raises nearly everything for EXIF that is broken
            orientation = image.getexif().get(ORIENTATION, 1)
        if path.parent.name == "flipped":
            image.load()  # only then the size is known
        if orientation in (5, 6, 7, 8) and image.format != "TIFF":  # which PIL turns by itself
            return image.height, image.width
        return image.size


def test_the_run_says_nothing_else_and_stays_within_memory(run):
    assert run.code == 1  # as some pictures failed
    for line in run.stderr.splitlines():
        assert any(re.fullmatch(each, line) for each in SAID), line
    assert len(run.stderr.splitlines()) < 12
    assert run.peak < 1.5 * GB, f"{run.peak / GB:.2f} GB"


@pytest.mark.skipif(not os.getuid(), reason="root may read everything")
def test_a_file_that_may_not_be_read_is_a_line(tmp_path):
    odd_files.write(tmp_path / "in", [("a.png", odd_files.png_of(8, 8, whole=True))])
    (tmp_path / "in" / "a.png").chmod(0)
    (row,) = colorize(tmp_path).rows
    assert row.notes == "cannot read in/a.png: Permission denied"


@pytest.mark.parametrize("mode", odd_files.MODES)
def test_pictures_of_every_mode_can_be_colored_without_a_file(mode, colorizer):
    picture = odd_files.picture(mode)
    assert picture.mode == mode
    colored = colorizer(picture)
    assert colored.size == odd_files.SIZE
    assert colored.mode == ("RGBA" if picture.has_transparency_data else "RGB")


@pytest.fixture(scope="module")
def colorizer() -> Colorizer:
    return Colorizer(quality="fast", working_size=16)


# Killed


PICTURES = 60


def test_a_killed_run_leaves_whole_pictures_and_another_goes_on(tmp_path):
    """Killed while a picture is being written, several times, each time going on."""
    formats = {".png": "PNG", ".jpg": "JPEG", ".tif": "TIFF", ".webp": "WEBP"}
    endings = list(formats) * (PICTURES // len(formats))
    out, size = tmp_path / "out", (400, 300)
    expected = {f"{i % 3}/{i}{ending}" for i, ending in enumerate(endings)}
    contents = {e: odd_files.saved(odd_files.picture("RGB", size), formats[e]) for e in formats}
    odd_files.write(tmp_path / "in", ((name, contents[Path(name).suffix]) for name in expected))
    command = [*COLORIZE, "in", "--out", "out", "--skip-existing", *QUICK]
    left = []
    for kills in range(1, 5):
        started = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL)
        wait_until(lambda n=8 * kills: len(files(out)) >= n and parts(out), started)
        started.kill()
        started.wait()
        left += parts(out)
        for name in files(out):
            with Image.open(out / name) as image:
                image.load()
                assert image.size == size
    assert files(out) < expected
    assert left  # or nothing was tested
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr.count("\n")) == (0, 1), done.stderr
    assert files(out) == expected and not parts(out)


def wait_until(true, started: subprocess.Popen) -> None:
    end = time.monotonic() + 60
    while not true():
        assert started.poll() is None and time.monotonic() < end
        time.sleep(0.001)


def files(folder: Path) -> set[str]:
    """Names of what is no part of a picture."""
    found = (Path(here, name) for here, _, names in os.walk(folder) for name in names)
    return {file.relative_to(folder).as_posix() for file in found if not file.name.startswith(".")}


def parts(folder: Path) -> list[Path]:
    return [
        Path(here, name) for here, _, names in os.walk(folder) for name in names if name[0] == "."
    ]


def test_memory_does_not_grow_with_the_number_of_pictures(tmp_path):
    photo = odd_files.saved(odd_files.picture("RGB", (600, 450)), "JPEG")
    peaks = []
    for count in (30, 150):
        folder = tmp_path / str(count)
        odd_files.write(folder / "in", ((f"{i}.jpg", photo) for i in range(count)))
        run = colorize(folder)
        assert [row.state for row in run.rows] == ["colored"] * count
        peaks.append(run.peak / 10**6)
    assert peaks[1] - peaks[0] < 20, peaks  # one colored picture takes 1.1 MB
