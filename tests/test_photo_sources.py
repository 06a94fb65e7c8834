"""Data sets that the user brings, and the COCO sample, from small archives in the real layouts."""

import errno
import gzip
import io
import os
import re
import tarfile
from pathlib import Path

import numpy as np
import pytest
from archives import files, md5, tar_gz, write, zipped
from PIL import Image
from torchvision.datasets import Places365

from colourgan import datasets
from colourgan.datasets import color_dataloaders, dataset_root, native_size, photos
from colourgan.errors import RunError

rng = np.random.default_rng(0)


def names(root: Path) -> dict[str, set[str]]:
    """The parts of a data set and the names below them."""
    parts = {}
    for name in files(root):
        part, _, rest = name.partition("/")
        parts.setdefault(part, set()).add(rest)
    return parts


def refused(name: str, data_dir: Path, reason: str) -> None:
    """Preparing fails with one line, and leaves what was there, and only that."""
    before = files(data_dir)
    with pytest.raises(RunError, match=reason) as caught:
        dataset_root(name, data_dir)
    assert "\n" not in str(caught.value)
    assert files(data_dir) == before
    assert not [path.name for path in data_dir.iterdir() if ".part" in path.name]


def left_out_by_a_bare_folder(folder: Path, content: dict[str, bytes]) -> set[str]:
    """The names of the test images when --data is given the folder of images itself."""
    write(folder, content)
    return {path.relative_to(folder).as_posix() for path in datasets.test_files(folder)}


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


def test_a_broken_landscape_is_left_out_and_told(tmp_path, caplog):
    broken = min(LANDSCAPES)
    write(tmp_path, {"archive.zip": zipped({**LANDSCAPES, broken: LANDSCAPES[broken][:-200]})})
    root = dataset_root("landscape-pictures", tmp_path)
    assert broken not in {path.name for path in root.rglob("*.jpg")}
    (told,) = caplog.messages
    assert re.fullmatch(
        rf"left out 1 of 12 images: 1 broken \(such as .*{re.escape(broken)}\)", told
    )


@pytest.mark.parametrize("folder", ["landscape_pictures", "coco_sample/train_sample"])
def test_what_is_no_regular_file_in_an_unpacked_folder_is_skipped(folder, tmp_path, caplog):
    content = LANDSCAPES if folder == "landscape_pictures" else {f"{n}.jpg": jpeg() for n in "123"}
    write(tmp_path / folder, content)
    os.mkfifo(tmp_path / folder / "8.jpg")  # opening it would wait for ever
    (tmp_path / folder / "9.jpg").symlink_to("nowhere")
    name = "landscape-pictures" if folder == "landscape_pictures" else "coco-sample"
    assert len(files(dataset_root(name, tmp_path))) == len(content)
    (told,) = caplog.messages
    assert f"{folder}: skipped 2 entries" in told


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


# places365

EASY, TRAIN, VAL = photos.PLACES_ARCHIVES
VAL_IMAGES = {f"val_256/Places365_val_{n:08}.jpg": b"val %d" % n for n in range(1, 21)}
TRAIN_IMAGES = {f"data_256/a/airfield/{n:08}.jpg": b"air %d" % n for n in range(1, 21)}
TRAIN_IMAGES |= {f"data_256/a/arena/hockey/{n:08}.jpg": b"puck %d" % n for n in range(1, 21)}
EASY_IMAGES = {
    "places365_standard/train.txt": b"train/airfield/00000001.jpg\n",
    "places365_standard/train/airfield/00000001.jpg": b"air 1",
    "places365_standard/train/arena-hockey/00000001.jpg": b"puck 1",
    "places365_standard/val/airfield/Places365_val_00000435.jpg": b"val 435",
}


def tar(content: dict[str, bytes]) -> bytes:
    return gzip.decompress(tar_gz(content))


@pytest.fixture
def bring(tmp_path, monkeypatch):
    """Puts an archive of Places365 into the data folder and makes it the published one."""

    def put(name, content, fewest=None):
        body = content if isinstance(content, bytes) else tar(content)
        write(tmp_path, {name: body})
        known = photos.PLACES_ARCHIVES[name][0] and md5(body)
        fewest = len(content) if fewest is None else fewest
        monkeypatch.setitem(photos.PLACES_ARCHIVES, name, (known, fewest))

    return put


def test_places_hashes_are_those_torchvision_checks():
    known = Places365._IMAGES_META
    assert known["val", True] == (VAL, photos.PLACES_ARCHIVES[VAL][0])
    assert known["train-standard", True] == (TRAIN, photos.PLACES_ARCHIVES[TRAIN][0])


def test_places_of_the_validation_archive_alone(bring, tmp_path):
    bring(VAL, {"val_256/readme.txt": b"", **VAL_IMAGES}, fewest=20)
    root = dataset_root("places365", tmp_path)
    bare = {name.removeprefix("val_256/"): body for name, body in VAL_IMAGES.items()}
    test = left_out_by_a_bare_folder(tmp_path / "bare", bare)
    assert names(root) == {"train": bare.keys() - test, "test": test}


def test_places_of_the_training_archive_alone(bring, tmp_path):
    bring(TRAIN, TRAIN_IMAGES)
    root = dataset_root("places365", tmp_path)
    assert {path.name for path in (root / "train").iterdir()} == {"airfield", "arena-hockey"}
    found = files(root)
    assert sorted(found.values()) == sorted(TRAIN_IMAGES.values())
    assert 0 < len(names(root)["test"]) < 12


def test_places_of_both_archives(bring, tmp_path):
    bring(TRAIN, TRAIN_IMAGES)
    bring(VAL, VAL_IMAGES)
    found = names(dataset_root("places365", tmp_path))
    assert found["test"] == {name.removeprefix("val_256/") for name in VAL_IMAGES}
    assert len(found["train"]) == 40


def test_places_of_the_archive_with_both_parts(bring, tmp_path):
    bring(EASY, EASY_IMAGES, fewest=3)
    bring(VAL, b"is not needed")
    assert files(dataset_root("places365", tmp_path)) == {
        "test/airfield/Places365_val_00000435.jpg": b"val 435",
        "train/airfield/00000001.jpg": b"air 1",
        "train/arena-hockey/00000001.jpg": b"puck 1",
    }


def test_places_that_nobody_brought(tmp_path):
    wanted = (
        rf"get {EASY} or {TRAIN} or {VAL} from {photos.PLACES_PAGE} and put it into {tmp_path}$"
    )
    refused("places365", tmp_path, wanted)


def test_places_of_another_hash_are_refused_before_they_are_opened(tmp_path):
    write(tmp_path, {VAL: tar(VAL_IMAGES)})
    refused("places365", tmp_path, rf"{VAL} is not the published file \(wrong md5:e27b17d8")


def test_places_with_a_name_that_leads_out(bring, tmp_path):
    evil = ["../evil.jpg", "val_256/../../evil.jpg", "/tmp/evil.jpg", "data_256/a/../../e/evil.jpg"]
    bring(VAL, VAL_IMAGES | dict.fromkeys(evil, b"evil"), fewest=20)
    assert b"evil" not in files(dataset_root("places365", tmp_path)).values()
    assert {path.name for path in tmp_path.iterdir()} == {VAL, "places365"}


whole = tar(EASY_IMAGES)
end = len(whole.rstrip(b"\0")) // 512 * 512 + 512  # of the last image: all that follows is zeros


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"<html>no such file</html>", "damaged"),
        (b"", "damaged"),
        (whole[: end - 512], "damaged"),
        (whole[: end - 800], "damaged"),
        (whole[:end], r"damaged \(it ends too early\)"),
        (tar({"photos/1.jpg": b"1"}), r"not whole \(0 images, at least 3"),
    ],
    ids=["html", "empty", "no last image", "half a header", "no end", "another"],
)
def test_places_of_a_bad_archive(body, reason, bring, tmp_path):
    bring(EASY, body, fewest=3)
    refused("places365", tmp_path, rf"{EASY} is {reason}.*: delete it and run again")


@pytest.mark.parametrize(
    ("error", "seen"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), RunError),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
    ids=["full disk", "Ctrl-C"],
)
def test_unpacking_that_stops_half_way_leaves_nothing(error, seen, bring, tmp_path, monkeypatch):
    bring(VAL, VAL_IMAGES)
    makefile = tarfile.TarFile.makefile

    def fail_at_last(self, member, path):
        if path.endswith("20.jpg"):
            raise error
        makefile(self, member, path)

    monkeypatch.setattr(tarfile.TarFile, "makefile", fail_at_last)
    with pytest.raises(seen, match="no space left" if seen is RunError else ""):
        dataset_root("places365", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [VAL]
