from pathlib import Path

import numpy as np
import pytest
from archives import files, md5, tar_gz, write
from PIL import Image
from torchvision.datasets import STL10

from colourgan.datasets import sources
from colourgan.datasets.archives import unpack_tar
from colourgan.datasets.sources import dataset_root, read_stl10
from colourgan.errors import RunError

rng = np.random.default_rng(0)
STL_NAMES = b"airplane\nbird\ncar\ncat\ndeer\ndog\nhorse\nmonkey\nship\ntruck\n"
STL = {
    "train_X.bin": rng.integers(0, 256, 3 * 27648, np.uint8).tobytes(),
    "train_y.bin": bytes([1, 10, 2]),
    "test_X.bin": rng.integers(0, 256, 2 * 27648, np.uint8).tobytes(),
    "test_y.bin": bytes([4, 4]),
    "class_names.txt": STL_NAMES,
}
STL_PICTURES = [
    "test/cat/00000.png",
    "test/cat/00001.png",
    "train/airplane/00000.png",
    "train/bird/00002.png",
    "train/truck/00001.png",
]


@pytest.fixture
def small_stl10(monkeypatch):
    for name, body in STL.items():
        monkeypatch.setitem(sources.STL10_MD5, name, md5(body))


def stl10_archive() -> bytes:
    unlabeled = {"stl10_binary/unlabeled_X.bin": b"large"}
    return tar_gz({f"stl10_binary/{name}": body for name, body in STL.items()} | unlabeled)


def by_torchvision(folder: Path, part: str) -> np.ndarray:
    """(N, 96, 96, 3) as torchvision's own loader reads a file, its hash check passed over."""
    reader = STL10.__new__(STL10)
    reader.root = folder
    images, _ = reader._STL10__loadfile(f"{part}_X.bin", f"{part}_y.bin")
    return images.transpose(0, 2, 3, 1)


def test_stl10_hashes_are_those_torchvision_checks():
    assert sources.ARCHIVES["stl10_binary.tar.gz"] == (STL10.url, f"md5:{STL10.tgz_md5}")
    known = dict(STL10.train_list[:2] + STL10.test_list)
    assert {**known, STL10.class_names_file: None} == sources.STL10_MD5


def test_stl10_is_read_as_torchvision_reads_it(tmp_path):
    write(tmp_path / "stl10_binary", STL)
    for part in ("train", "test"):
        images = read_stl10(tmp_path / f"stl10_binary/{part}_X.bin")
        assert images.dtype == np.uint8
        assert (images == by_torchvision(tmp_path, part)).all()


def test_stl10_file_that_is_not_whole(tmp_path):
    for body in (b"", b"123"):
        write(tmp_path, {"train_X.bin": body})
        with pytest.raises(RunError, match="not a whole file"):
            read_stl10(tmp_path / "train_X.bin")


def test_stl10_becomes_png_files_by_class(small_stl10, tmp_path):
    write(tmp_path / "stl10_binary", STL)
    root = dataset_root("stl10", tmp_path)
    assert list(files(root)) == STL_PICTURES
    truck = np.asarray(Image.open(root / "train/truck/00001.png"))
    assert (truck == by_torchvision(tmp_path, "train")[1]).all()


def test_stl10_is_downloaded_once_and_its_large_rest_left_out(
    small_stl10, web, tmp_path, monkeypatch
):
    body = stl10_archive()
    entry = (web.add("stl10.tar.gz", body), f"md5:{md5(body)}")
    monkeypatch.setitem(sources.ARCHIVES, "stl10_binary.tar.gz", entry)
    for _ in range(2):
        root = dataset_root("stl10", tmp_path)
    assert web.requests == ["stl10.tar.gz"]
    assert [p for p in files(root) if not p.endswith(".txt")] == STL_PICTURES
    assert {path.name for path in tmp_path.iterdir()} == {"stl10", "stl10_binary.tar.gz"}
    assert not (root / "binary").exists()


def test_what_is_not_needed_is_not_unpacked(tmp_path):
    write(tmp_path, {"a.tar.gz": tar_gz({"top/large": b"1", "top/wanted": b"2", "top/more": b"3"})})
    wanted = {"top/wanted": "wanted", "top/more": "more"}
    assert unpack_tar(tmp_path / "a.tar.gz", tmp_path / "folder", wanted.get, most=1) == 1
    assert files(tmp_path / "folder") == {"wanted": b"2"}


def test_stl10_with_a_damaged_file(small_stl10, tmp_path):
    write(tmp_path / "stl10_binary", {**STL, "test_X.bin": STL["test_X.bin"][:-1] + b"?"})
    with pytest.raises(RunError, match=r"test_X\.bin is missing or damaged: delete .*stl10_binary"):
        dataset_root("stl10", tmp_path)
    assert not (tmp_path / "stl10").exists()


def test_stl10_without_a_network_says_where_to_put_the_archive(web, tmp_path, monkeypatch):
    entry = (web.address + "/gone.tar.gz", "md5:0")
    monkeypatch.setitem(sources.ARCHIVES, "stl10_binary.tar.gz", entry)
    with pytest.raises(RunError, match=rf"404.*put it at {tmp_path}/stl10_binary\.tar\.gz"):
        dataset_root("stl10", tmp_path)
