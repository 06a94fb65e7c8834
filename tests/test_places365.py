"""Places365, from small archives in the layout of the real ones."""

import errno
import gzip
import tarfile

import pytest
from archives import files, md5, tar_gz, write
from brought import left_out_by_a_bare_folder, names, refused
from torchvision.datasets import Places365

from colourgan.datasets import dataset_root, photos
from colourgan.errors import RunError

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
