"""Pictures are decoded once; what cannot be used is left out and counted."""

import errno
import hashlib
import io
import json
import multiprocessing
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_pictures import SIDE, make, names, numbered, picture

from colourgan.datasets import cache, cached_images, color_dataloaders
from colourgan.errors import RunError, UsageError


@pytest.fixture(autouse=True)
def cache_dir(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("COLOURGAN_CACHE", str(folder))
    return folder


def stored(cached):
    return np.asarray(cached.images)


def no_decoding(monkeypatch):
    def decode(*_):
        raise AssertionError("decoded again")

    monkeypatch.setattr(cache, "_decode", decode)


def test_images_are_stored_as_they_are_in_order(tmp_path):
    make(tmp_path, numbered("", 5))
    files = sorted(tmp_path.iterdir())[::-1]
    cached = cached_images(files, SIDE)
    assert cached.files == files and cached.images.shape == (5, SIDE, SIDE, 3)
    assert isinstance(cached.images, np.memmap) and not cached.images.flags.writeable
    for row, file in zip(stored(cached), files, strict=True):
        assert (row == np.asarray(Image.open(file))).all()


def test_the_centre_square_is_resized(tmp_path):
    wide = Image.new("RGB", (90, 30), "red")
    wide.paste((0, 200, 40), (30, 0, 60, 30))
    wide.save(tmp_path / "wide.png")
    wide.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "tall.png")
    for row in stored(cached_images(sorted(tmp_path.iterdir()), 16)):
        inside = row[4:-4, 4:-4]  # the filter looks a little over the edge of the square
        assert (inside == (0, 200, 40)).all()


def test_what_is_stored_is_not_decoded_again(tmp_path, monkeypatch, cache_dir):
    files = sorted(make(tmp_path, numbered("", 4)).iterdir())
    before = cached_images(files, 16)
    no_decoding(monkeypatch)
    again = cached_images(files, 16)
    assert (stored(again) == stored(before)).all() and again.files == before.files
    assert len(list(cache_dir.iterdir())) == 2


def test_other_files_sizes_limits_and_rules_are_stored_apart(tmp_path):
    files = sorted(make(tmp_path, numbered("", 4)).iterdir())
    assert stored(cached_images(files, 16)).shape == (4, 16, 16, 3)
    assert stored(cached_images(files, 8)).shape == (4, 8, 8, 3)
    assert stored(cached_images(files[:3], 16)).shape == (3, 16, 16, 3)
    assert stored(cached_images(files, 16, wanted=2)).shape == (2, 16, 16, 3)
    assert (stored(cached_images(files[::-1], 16)) == stored(cached_images(files, 16))[::-1]).all()


def test_a_changed_file_is_decoded_again(tmp_path):
    files = sorted(make(tmp_path, numbered("", 3)).iterdir())
    before = stored(cached_images(files, SIDE)).copy()
    status = files[1].stat()
    picture(99).save(files[1])
    after = stored(cached_images(files, SIDE))
    assert (after[[0, 2]] == before[[0, 2]]).all() and (after[1] == np.asarray(picture(99))).all()
    picture(98).save(files[1])
    os.utime(files[1], ns=(status.st_atime_ns, status.st_mtime_ns + 1000))
    assert (stored(cached_images(files, SIDE))[1] == np.asarray(picture(98))).all()


@pytest.mark.parametrize("damage", ["no array", "cut array", "cut index", "no index"])
def test_a_damaged_cache_is_built_again(tmp_path, cache_dir, damage):
    files = sorted(make(tmp_path, numbered("", 3)).iterdir())
    before = stored(cached_images(files, 16)).copy()
    path = next(cache_dir.glob("*.json" if "index" in damage else "*.uint8"))
    path.write_bytes(path.read_bytes()[:-7])
    if "no" in damage:
        path.unlink()
    assert (stored(cached_images(files, 16)) == before).all()


def test_a_limit_takes_the_first_usable_files_and_decodes_no_others(tmp_path, monkeypatch):
    files = sorted(make(tmp_path, numbered("", 9)).iterdir())
    files[1].write_bytes(b"broken")
    decoded = []
    real = cache._decode
    monkeypatch.setattr(cache, "_decode", lambda file, *a: decoded.append(file) or real(file, *a))
    cached = cached_images(files, 16, wanted=3)
    assert cached.files == [files[0], files[2], files[3]]
    assert len(decoded) <= 6
    assert len(cached_images(files, 16, wanted=100).files) == 8


def build_together(files, barrier, results):
    """In a process of its own: builds the cache at the same moment as another one does."""
    real = cache._build

    def build(*arguments):
        barrier.wait(30)
        real(*arguments)
        barrier.wait(30)

    cache._build = build
    results.put(hashlib.sha256(stored(cached_images(files, 16))).hexdigest())


def test_two_processes_may_build_the_same_cache_at_once(tmp_path, cache_dir, monkeypatch):
    files = sorted(make(tmp_path, numbered("", 40)).iterdir())
    fork = multiprocessing.get_context("fork")
    barrier, results = fork.Barrier(2), fork.SimpleQueue()
    processes = [fork.Process(target=build_together, args=(files, barrier, results)) for _ in "12"]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    no_decoding(monkeypatch)
    wanted = hashlib.sha256(stored(cached_images(files, 16))).hexdigest()
    assert results.get() == results.get() == wanted
    assert len(list(cache_dir.iterdir())) == 2


class FullDisk:
    """A file on a disk that has room for two images."""

    def __init__(self, path, mode):
        self.file, self.left = io.FileIO(path, mode), 2

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    def write(self, body):
        self.left -= 1
        if self.left < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.file.write(body)


def test_a_full_disk_leaves_nothing_behind(tmp_path, cache_dir, monkeypatch):
    files = sorted(make(tmp_path, numbered("", 5)).iterdir())
    with monkeypatch.context() as patch:
        patch.setattr(cache, "open", FullDisk, raising=False)
        with pytest.raises(RunError, match=rf"no space left to write {cache_dir}.*free some space"):
            cached_images(files, 16)
    assert not list(cache_dir.iterdir())

    def full(self, text):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full)
        with pytest.raises(RunError, match="no space left"):
            cached_images(files, 16)
    assert not list(cache_dir.glob("*.json")) and not list(cache_dir.glob(".*"))
    assert len(cached_images(files, 16).files) == 5


def test_the_cache_is_where_the_environment_says(tmp_path, monkeypatch):
    assert cache.default_cache_dir() == Path(os.environ["COLOURGAN_CACHE"])
    monkeypatch.setenv("COLOURGAN_CACHE", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache.default_cache_dir() == tmp_path / ".cache" / "colourgan"


# Files that are left out


def add_useless(folder):
    """Files of every kind that cannot train; how many of each."""
    (folder / "text.jpg").write_text("no picture")
    (folder / "cut.png").write_bytes((folder / "00.png").read_bytes()[:-300])
    os.mkfifo(folder / "pipe.png")  # opening it would wait for ever
    picture(1, 7, 40).save(folder / "tiny.png")
    picture(2).convert("L").save(folder / "stored_grey.png")
    Image.fromarray(np.zeros((SIDE, SIDE), np.uint16)).save(folder / "deep_grey.png")
    picture(2).convert("L").convert("RGB").save(folder / "no_color.png")
    picture(3, 90).save(folder / "huge.png")
    picture(4, 300).save(folder / "bomb.png")
    return {"broken": 3, "tiny": 1, "grey": 3, "huge": 2}


@pytest.fixture
def useless(tmp_path, monkeypatch):
    folder = make(tmp_path / "pictures", numbered("", 12))
    counts = add_useless(folder)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5000)
    return folder, counts


def warning(caplog):
    (line,) = caplog.messages
    caplog.clear()
    return line


def test_useless_files_are_left_out_and_counted_in_one_line(useless, caplog, recwarn):
    folder, counts = useless
    cached = cached_images(sorted(folder.iterdir()), SIDE)
    assert names(cached.files, folder) == numbered("", 12)
    assert {reason: len(files) for reason, files in cached.skipped.items()} == counts
    line = warning(caplog)
    assert line.startswith("left out 9 of 21 images: 3 broken, 3 grey, 2 huge, 1 tiny (")
    assert str(folder) in line
    assert not recwarn.list  # PIL has its own to say of large pictures
    cached_images(sorted(folder.iterdir()), SIDE)
    assert warning(caplog) == line


def test_colorless_pictures_are_evaluated_but_not_trained_on(useless, caplog):
    folder, _ = useless
    cached = cached_images(sorted(folder.iterdir()), SIDE, skip_colorless=False)
    assert "no_color.png" in names(cached.files, folder) and len(cached.files) == 13
    assert "2 grey" in warning(caplog)


def test_one_line_counts_for_training_and_validation(useless, caplog):
    folder, _ = useless
    (folder / "train").mkdir()
    (folder / "valid").mkdir()
    (folder / "pipe.png").unlink()  # list_images skips and counts it
    for number, file in enumerate(sorted(folder.glob("*.*"))):
        file.rename(folder / ("train", "valid")[number % 2] / file.name)
    dls = color_dataloaders(folder, 16, 4)
    assert dls.train.n + dls.valid.n == 12
    assert "left out 8 of 20 images" in warning(caplog)


def test_without_a_limit_of_pil_nothing_is_huge(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    files = list(make(tmp_path, ["large.png"], side=200).iterdir())
    assert len(cached_images(files, 16).files) == 1


def test_a_folder_of_useless_files(tmp_path):
    for number in range(10):
        picture(number).convert("L").save(tmp_path / f"{number}.png")
    with pytest.raises(UsageError, match=rf"no usable color image near {tmp_path}: \d grey") as e:
        color_dataloaders(tmp_path, 16)
    assert "\n" not in str(e.value)


def test_the_index_of_the_cache_says_what_was_left_out(useless, cache_dir):
    folder, counts = useless
    cached_images(sorted(folder.iterdir()), SIDE)
    entry = json.loads(next(cache_dir.glob("*.json")).read_text())
    assert {reason: len(files) for reason, files in entry["skipped"].items()} == counts
    assert len(entry["kept"]) == 12
