"""Landscape Pictures and the COCO sample, from small archives in the layout of the real ones."""

import errno
import io
import os
import re

import numpy as np
import pytest
from archives import files, tar_gz, write, zipped
from brought import left_out_by_a_bare_folder, names, refused
from PIL import Image

from colourgan.datasets import color_dataloaders, dataset_root, native_size, photos

rng = np.random.default_rng(0)


def jpeg(size: int = 16) -> bytes:
    pixels = rng.integers(0, 256, (size, size, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "jpeg")
    return buffer.getvalue()


@pytest.mark.parametrize("name", ["landscape-pictures", "places365", "coco-sample"])
def test_they_are_used_at_256_pixels(name):
    assert native_size(name) == 256


# landscape-pictures

LANDSCAPES = {f"0000{number:04}_({number % 9}).jpg": jpeg() for number in range(12)}


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(photos, "LANDSCAPE_FEWEST", 11)
    monkeypatch.setattr(photos, "COCO_FEWEST", 3)


@pytest.mark.parametrize("archive", ["landscape-pictures.zip", "archive.zip"])
def test_landscapes_from_an_archive_of_kaggle(archive, tmp_path):
    hidden = {"__MACOSX/._0.jpg": b"resource fork", "license.txt": b"CC0"}
    data_dir = tmp_path / "data"
    write(data_dir, {archive: zipped(LANDSCAPES | hidden)})
    root = dataset_root("landscape-pictures", data_dir)
    test = left_out_by_a_bare_folder(tmp_path / "bare", LANDSCAPES)
    assert test
    assert names(root) == {"train": LANDSCAPES.keys() - test, "test": test}
    assert set(files(root).values()) == set(LANDSCAPES.values())
    assert {path.name for path in data_dir.iterdir()} == {archive, "landscape-pictures"}


@pytest.mark.parametrize("top", ["", "landscapes/"])
def test_landscapes_from_their_unpacked_folder_take_no_space(top, tmp_path):
    write(tmp_path / "landscape_pictures", {top + name: LANDSCAPES[name] for name in LANDSCAPES})
    root = dataset_root("landscape-pictures", tmp_path)
    for path in root.rglob("*.jpg"):
        assert path.samefile(tmp_path / "landscape_pictures" / top / path.name)
    assert len(files(root)) == 12


def test_landscapes_are_copied_where_there_are_no_links(tmp_path, monkeypatch):
    def link(*names):
        raise OSError(errno.EXDEV, "another disk")

    monkeypatch.setattr(os, "link", link)
    write(tmp_path / "landscape_pictures", LANDSCAPES)
    root = dataset_root("landscape-pictures", tmp_path)
    assert set(files(root).values()) == set(LANDSCAPES.values())


def test_landscapes_can_be_trained_on(tmp_path):
    write(tmp_path, {"archive.zip": zipped(LANDSCAPES)})
    dls = color_dataloaders("landscape-pictures", 16, 4, data_dir=tmp_path)
    L, ab = dls.one_batch()
    assert (L.shape, ab.shape) == ((4, 1, 16, 16), (4, 2, 16, 16))


def test_a_broken_landscape_is_left_out_and_told(tmp_path, capsys):
    broken = min(LANDSCAPES)
    write(tmp_path, {"archive.zip": zipped({**LANDSCAPES, broken: LANDSCAPES[broken][:-200]})})
    root = dataset_root("landscape-pictures", tmp_path)
    assert broken not in {path.name for path in root.rglob("*.jpg")}
    warning = rf"^warning: left out 1 of 12 images: 1 broken \(such as .*{re.escape(broken)}\)$"
    assert re.search(warning, capsys.readouterr().err, re.MULTILINE)


def test_a_broken_landscape_of_the_users_folder_stays_there(tmp_path):
    write(tmp_path / "landscape_pictures", {**LANDSCAPES, "1.jpg": b"no picture"})
    root = dataset_root("landscape-pictures", tmp_path)
    assert len(files(root)) == 12
    assert (tmp_path / "landscape_pictures/1.jpg").read_bytes() == b"no picture"


def test_landscapes_that_nobody_brought(tmp_path):
    wanted = rf"get landscape-pictures\.zip .*{photos.LANDSCAPE_PAGE}.* put it into {tmp_path}$"
    refused("landscape-pictures", tmp_path, wanted)


few = dict(list(LANDSCAPES.items())[:10])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"archive.zip": b"<html>sign in</html>"}, r"archive\.zip is damaged"),
        ({"archive.zip": zipped(LANDSCAPES)[:-30]}, r"archive\.zip is damaged"),
        ({"archive.zip": zipped(LANDSCAPES).replace(b"\xff\xd9", b"\xff\xd8", 1)}, "Bad CRC-32"),
        ({"archive.zip": zipped(few)}, r"not Landscape Pictures \(10 JPEG .* 1 folders"),
        ({"archive.zip": zipped({f"{n[:8]}/{n}": b"" for n in LANDSCAPES})}, "in 12 folders"),
        ({f"landscape_pictures/{n}.csv": b"1" for n in range(20)}, r"\(0 JPEG .* 0 folders"),
        ({"landscape_pictures/readme": b""}, r"\(0 JPEG .* 0 folders"),
        ({f"landscape_pictures/{n}.jpg": b"text" for n in range(20)}, r"not whole \(0 images"),
        ({f"landscape-pictures/{n}": b"1" for n in LANDSCAPES}, "rename it to landscape_pict"),
    ],
    ids=["html", "cut", "changed", "few", "classes", "csv", "other", "text", "misplaced"],
)
def test_what_is_not_landscape_pictures(content, reason, tmp_path):
    write(tmp_path, content)
    refused("landscape-pictures", tmp_path, reason)


def test_a_landscape_cannot_lead_out_of_the_folder(tmp_path):
    evil = {f"../../{name}": body for name, body in LANDSCAPES.items()}
    write(tmp_path / "data", {"archive.zip": zipped(evil)})
    root = dataset_root("landscape-pictures", tmp_path / "data")
    assert len(files(root)) == 12
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


# coco-sample

COCO = {f"coco_sample/train_sample/{n:012}.jpg": b"photo %d" % n for n in (9, 25, 30, 34)}
COCO_EXTRA = {"coco_sample/annotations/train_sample.json": b"{}"}


def test_coco_is_downloaded_once(web, tmp_path, monkeypatch):
    from fastai.data.external import URLs

    url = web.add("coco_sample.tgz", tar_gz(COCO_EXTRA | COCO))
    monkeypatch.setattr(URLs, "COCO_SAMPLE", url)
    for _ in range(2):
        root = dataset_root("coco-sample", tmp_path)
    assert web.requests == ["coco_sample.tgz"]
    bare = {name.rpartition("/")[2]: body for name, body in COCO.items()}
    test = left_out_by_a_bare_folder(tmp_path / "bare", bare)
    assert names(root) == {"train": bare.keys() - test, "test": test}


def test_coco_that_fastai_has_unpacked_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr(photos, "fastai_archive", None)
    write(tmp_path, COCO_EXTRA | COCO | {"coco_sample/train_sample/list.csv": b"1"})
    before = files(tmp_path / "coco_sample")
    root = dataset_root("coco-sample", tmp_path)
    assert {path.name for path in root.rglob("*.*")} == {name[-16:] for name in COCO}
    assert all(path.stat().st_nlink == 2 for path in root.rglob("*.jpg"))
    assert files(tmp_path / "coco_sample") == before


def test_coco_of_another_size_than_fastai_knows(tmp_path):
    write(tmp_path, {"coco_sample.tgz": tar_gz(COCO)})
    refused("coco-sample", tmp_path, r"is not the file of https://.*coco_sample\.tgz: delete it")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"coco_sample/train_sample/list.csv": b"1"}, r"coco_sample is not whole \(0 images"),
        (dict(list(COCO.items())[:2]), r"not whole \(2 images, at least 3 expected\): delete"),
    ],
    ids=["no images", "half"],
)
def test_coco_folder_that_is_not_whole(content, reason, tmp_path):
    write(tmp_path, content)
    refused("coco-sample", tmp_path, reason)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"<html>no such file</html>", "damaged"),
        (tar_gz(COCO)[:-30], "damaged"),
        (tar_gz({"coco_tiny/train/1.jpg": b"1"}), r"not whole \(0 images"),
    ],
    ids=["html", "cut", "another"],
)
def test_coco_of_a_bad_archive(body, reason, web, tmp_path, monkeypatch):
    from fastai.data.external import URLs

    monkeypatch.setattr(URLs, "COCO_SAMPLE", web.address + "/never asked for")
    write(tmp_path, {"coco_sample.tgz": body})
    refused("coco-sample", tmp_path, rf"coco_sample\.tgz is {reason}.*: delete it and run again")
    assert not web.requests
