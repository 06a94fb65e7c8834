import errno
import hashlib
import os
import secrets
import shutil
import stat
import subprocess
import sys
import time
from collections import namedtuple

import pytest
from archives import files, write

from colourgan.errors import RunError
from colourgan.files import file_hash, remove, remove_parts, replacing


def test_a_file_appears_only_when_it_is_whole(tmp_path):
    path = tmp_path / "new" / "folder" / "file.txt"
    with replacing(path) as part:
        part.write_text("half")
        assert not path.exists() and part.parent == path.parent
        part.write_text("whole")
    assert files(tmp_path) == {"new/folder/file.txt": b"whole"}


def test_the_part_keeps_the_ending_by_which_writers_choose_a_format(tmp_path):
    with replacing(str(tmp_path / "picture.png")) as part:
        assert part.suffix == ".png" and part.name.startswith(".")
        part.write_bytes(b"")


def test_a_folder_is_replaced_as_a_file_is(tmp_path):
    with replacing(tmp_path / "folder") as part:
        write(part, {"a/b.txt": b"1"})
        assert not (tmp_path / "folder").exists()
    assert files(tmp_path) == {"folder/a/b.txt": b"1"}


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, RunError, RuntimeError])
def test_an_error_leaves_what_was_there(tmp_path, error):
    write(tmp_path, {"file.txt": b"old"})
    with pytest.raises(error, match="mine"), replacing(tmp_path / "file.txt") as part:
        part.write_text("half")
        raise error("mine")
    assert files(tmp_path) == {"file.txt": b"old"}


def test_an_error_leaves_no_half_folder(tmp_path):
    with pytest.raises(ValueError), replacing(tmp_path / "folder") as part:
        write(part, {"a/b.txt": b"1"})
        raise ValueError
    assert not list(tmp_path.iterdir())


def test_no_two_writers_share_a_part(tmp_path):
    with replacing(tmp_path / "a.json") as one, replacing(tmp_path / "a.json") as other:
        one.write_text("one")
        other.write_text("other")
    assert files(tmp_path) == {"a.json": b"one"}


def test_content_is_on_disk_before_it_has_its_name(tmp_path, monkeypatch):
    calls = []

    def fsync(descriptor):
        kind = "folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file"
        calls.append((kind, (tmp_path / "a").exists()))

    monkeypatch.setattr(os, "fsync", fsync)
    with replacing(tmp_path / "a") as part:
        part.write_text("new")
    assert calls == [("file", False), ("folder", True)]
    monkeypatch.setattr(os, "sync", lambda: calls.append(("all", (tmp_path / "b").exists())))
    with replacing(tmp_path / "b") as part:
        part.mkdir()
    assert calls[2:] == [("all", False), ("folder", True)]


def test_a_system_that_cannot_sync_folders(tmp_path, monkeypatch):
    real = os.fsync

    def fsync(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EACCES, "Permission denied")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.delattr(os, "sync")
    for name in ("file/x", "folder"):
        with replacing(tmp_path / name) as part:
            write(part.parent if name == "file/x" else part, {part.name: b"1"})
    assert (tmp_path / "file/x").read_bytes() == b"1" and (tmp_path / "folder").is_dir()


def test_parts_that_killed_processes_left_are_removed_after_a_day(tmp_path):
    part = f"{secrets.token_hex(8)}.part"
    kept = {f".new.{part}.json": b"1", f".live.{part}/a/b": b"1", ".mine.1.part.rar": b"1"}
    write(tmp_path, kept | {f".old.{part}.json": b"1", f".dead.{part}/a/b": b"1"})
    for path in tmp_path.rglob("*"):
        if not path.match(".new.*") and path != tmp_path / f".live.{part}/a/b":
            os.utime(path, (0, time.time() - 25 * 3600))
    with replacing(tmp_path / "file.json") as beside:
        beside.write_text("2")
    assert files(tmp_path) == kept | {"file.json": b"2"}
    assert not (tmp_path / f".dead.{part}").exists()


def test_younger_parts_are_removed_on_request_unless_somebody_writes(tmp_path):
    left = {f".new.{secrets.token_hex(8)}.part.png": b"1", f".x.{secrets.token_hex(8)}.part/a": b""}
    kept = {".hidden.png": b"1", ".mine.1.part.png": b"1", "a.part": b"1"}
    write(tmp_path, left | kept)
    with replacing(tmp_path / "file") as part:
        part.write_bytes(b"2")
        remove_parts(tmp_path)
        assert files(tmp_path) == left | kept | {part.name: b"2"}
    remove_parts(tmp_path)
    assert files(tmp_path) == kept | {"file": b"2"}
    remove_parts(tmp_path / "nothing")


WRITER = """
import sys, time
from colourgan.files import replacing
with replacing(sys.argv[1]) as part:
    part.write_bytes(b"half")
    print(flush=True)
    time.sleep(60)
"""


def test_parts_of_a_process_are_removed_once_it_was_killed(tmp_path):
    writing = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path / "a.png")], stdout=subprocess.PIPE
    )
    with writing:
        writing.stdout.readline()
        remove_parts(tmp_path)
        assert list(files(tmp_path).values()) == [b"half"]
        writing.kill()
    remove_parts(tmp_path)
    assert not files(tmp_path)


def test_without_locks_young_parts_stay(tmp_path, monkeypatch):
    monkeypatch.setattr("colourgan.files.fcntl", None)  # as on Windows
    part = {f".new.{secrets.token_hex(8)}.part.png": b"1"}
    write(tmp_path, part)
    with replacing(tmp_path / "file") as beside:
        beside.write_bytes(b"2")
    remove_parts(tmp_path)
    assert files(tmp_path) == part | {"file": b"2"}


@pytest.mark.parametrize("name", ["x" * 251 + ".png", "é" * 125 + ".png", "x" * 255])
def test_names_may_be_as_long_as_the_disk_allows(name, tmp_path):
    with replacing(tmp_path / name) as part:
        part.write_bytes(b"1")
        assert part.name.startswith(".") and part.name.endswith((tmp_path / name).suffix)
    assert files(tmp_path) == {name: b"1"}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_called_that(tmp_path, number):
    write(tmp_path, {"file.txt": b"old"})
    message = rf"^no space left to write {tmp_path}/file\.txt: free some space or"
    with pytest.raises(RunError, match=message), replacing(tmp_path / "file.txt") as part:
        part.write_text("half")
        raise OSError(number, os.strerror(number))
    assert files(tmp_path) == {"file.txt": b"old"}


def test_a_full_disk_is_found_behind_the_errors_of_torch(tmp_path, monkeypatch):
    def save():
        with replacing(tmp_path / "state.pt") as part:
            part.write_bytes(b"half")
            raise RuntimeError("unexpected pos 523584 vs 523480")

    with pytest.raises(RuntimeError, match="unexpected pos"):
        save()
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(4096))
    with pytest.raises(RunError, match="no space left to write"):
        save()
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    write(tmp_path, {"file.txt": b"old", "folder/x": b""})
    for path in (tmp_path / "file.txt" / "inside.txt", tmp_path / "folder", tmp_path / ("x" * 256)):
        with pytest.raises(RunError) as caught, replacing(path) as part:
            part.write_text("new")
        assert str(caught.value).startswith(f"cannot write {path}: ")
        assert "\n" not in str(caught.value)
    assert files(tmp_path) == {"file.txt": b"old", "folder/x": b""}


def test_other_errors_of_the_system_stay_what_they_are(tmp_path):
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "file.txt"):
        (tmp_path / "nothing").read_text()


def test_removing_files_folders_links_and_nothing(tmp_path):
    write(tmp_path, {"file": b"1", "folder/a/b": b"1", "kept/c": b"1"})
    (tmp_path / "link").symlink_to(tmp_path / "kept")
    for name in ("file", "folder", "link", "nothing"):
        remove(tmp_path / name)
    assert files(tmp_path) == {"kept/c": b"1"} and len(list(tmp_path.iterdir())) == 1


def test_hashes_are_those_of_the_bytes(tmp_path):
    body = bytes(range(256)) * 5000
    write(tmp_path, {"file": body})
    assert file_hash(tmp_path / "file") == hashlib.sha256(body).hexdigest()
    assert file_hash(str(tmp_path / "file"), "md5") == hashlib.md5(body).hexdigest()
