"""A name becomes a folder of pictures: built once, whole, from archives in the real layouts."""

import os
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from archives import files, md5, tar_gz, write, zipped
from PIL import Image
from torchvision.datasets import STL10

from colourgan.datasets import sources
from colourgan.datasets.sources import DATASETS, dataset_root, fingerprint, read_stl10
from colourgan.download import unpack_tar
from colourgan.errors import RunError, UsageError

SCRIPTS = Path(__file__).parents[1] / "data_scripts"


def test_any_folder_is_a_dataset(tmp_path, monkeypatch):
    assert dataset_root(str(tmp_path)) == tmp_path
    monkeypatch.setenv("HOME", str(tmp_path))
    assert dataset_root("~") == tmp_path


def test_neither_a_name_nor_a_folder():
    with pytest.raises(UsageError, match=r"'ciphar10': did you mean 'cifar10'.*folder of images"):
        dataset_root("ciphar10")


def test_a_name_goes_before_a_folder_of_that_name(tmp_path, monkeypatch):
    (tmp_path / "sample").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(DATASETS, "sample", lambda data_dir: data_dir / "prepared")
    assert dataset_root("sample", tmp_path) == tmp_path / "prepared"
    assert dataset_root("./sample", tmp_path) == Path("sample")


def test_a_fingerprint_is_that_of_the_content_wherever_it_lies(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    body = bytes(range(256)) * 64
    content = {"a.png": body, "b/c.jpg": b"small", "d.png": b""}
    write(tmp_path / "photos", content | {"notes.txt": b"1", ".hidden.png": b"1"})
    write(tmp_path / "moved" / "elsewhere", content)
    (tmp_path / "link").symlink_to("photos")
    places = ("photos", "photos/", "./photos", tmp_path / "photos", "moved/elsewhere", "link")
    (known,) = {fingerprint(place) for place in places}
    assert len(known) == 16 and int(known, 16)
    (tmp_path / "photos/broken.png").symlink_to("nowhere")
    assert fingerprint("photos") == known
    changed = [
        content | {"e.png": b"new"},
        {name: content[name] for name in ("a.png", "d.png")},
        {"a.png": body, "b/renamed.jpg": b"small", "d.png": b""},
        content | {"b/c.jpg": b"Small"},
        content | {"a.png": body[:4095] + b"?" + body[4096:]},
        content | {"a.png": body[:-4096] + b"?" + body[-4095:]},
        content | {"a.png": body[:8000] + b"longer" + body[8000:]},
    ]
    for number, each in enumerate(changed):
        write(tmp_path / str(number), each)
    prints = {fingerprint(tmp_path / str(number)) for number in range(len(changed))}
    assert len(prints | {known}) == len(changed) + 1


def test_a_fingerprint_of_a_name_is_the_name_and_of_neither_an_error(tmp_path, monkeypatch):
    (tmp_path / "sample").mkdir()
    monkeypatch.chdir(tmp_path)
    assert fingerprint("sample") == "sample"
    for data in ("./sample", "nowhere", tmp_path / "nowhere"):
        with pytest.raises(UsageError, match=r"no picture in sample|or the path of a folder of im"):
            fingerprint(data)


def test_datasets_live_in_fastais_data_folder(tmp_path, monkeypatch):
    from fastai.data.external import fastai_cfg

    monkeypatch.setenv("FASTAI_HOME", str(tmp_path))
    monkeypatch.setitem(DATASETS, "sample", lambda data_dir: data_dir)
    fastai_cfg.cache_clear()
    try:
        assert dataset_root("sample") == tmp_path / "data"
    finally:
        fastai_cfg.cache_clear()


@pytest.mark.parametrize("name", DATASETS)
def test_a_prepared_dataset_is_taken_as_it_is(name, tmp_path):
    write(tmp_path / name, {"train/a.png": b"1", "test/b.png": b"2"})
    assert dataset_root(name, tmp_path) == tmp_path / name
    assert files(tmp_path) == {f"{name}/train/a.png": b"1", f"{name}/test/b.png": b"2"}


@pytest.mark.parametrize("name", DATASETS)
def test_a_folder_without_parts_is_not_overwritten(name, tmp_path):
    write(tmp_path / name, {"mine.png": b"1"})
    with pytest.raises(RunError, match="lacks train/ or test/"):
        dataset_root(name, tmp_path)
    assert files(tmp_path) == {f"{name}/mine.png": b"1"}


def test_another_process_was_faster(tmp_path):
    def build(folder):
        write(folder, {"train/a.png": b"mine", "test/b.png": b"mine"})
        write(tmp_path / "data", {"train/a.png": b"theirs", "test/b.png": b"theirs"})

    sources.prepared(tmp_path / "data", build)
    assert set(files(tmp_path).values()) == {b"theirs"}


def test_a_failure_half_way_leaves_nothing(tmp_path):
    def build(folder):
        write(folder, {"train/a.png": b"1"})
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sources.prepared(tmp_path / "data", build)
    assert not list(tmp_path.iterdir())


# cifar10

CIFAR = {
    "cifar10/labels.txt": b"airplane\n",
    "cifar10/train/airplane/1_airplane.png": b"one",
    "cifar10/test/airplane/2_airplane.png": b"two",
}


def test_cifar10_is_downloaded_once_in_fastais_layout(web, tmp_path, monkeypatch, capsys):
    from fastai.data.external import URLs

    monkeypatch.setattr(URLs, "CIFAR", web.add("cifar10.tgz", tar_gz(CIFAR)))
    for _ in range(2):
        root = dataset_root("cifar10", tmp_path)
    assert web.requests == ["cifar10.tgz"]
    assert files(root) == {name.removeprefix("cifar10/"): body for name, body in CIFAR.items()}
    assert not capsys.readouterr().out


def test_cifar10_without_a_network(web, tmp_path, monkeypatch):
    from fastai.data.external import URLs

    monkeypatch.setattr(URLs, "CIFAR", web.address + "/cifar10.tgz")
    with pytest.raises(RunError, match=f"put it at {tmp_path}/cifar10.tgz"):
        dataset_root("cifar10", tmp_path)
    assert not list(tmp_path.iterdir())


def test_cifar10_of_another_size_than_fastai_knows(tmp_path):
    write(tmp_path, {"cifar10.tgz": tar_gz(CIFAR)})
    with pytest.raises(RunError, match=r"is not the file of https://.*delete it"):
        dataset_root("cifar10", tmp_path)


@pytest.mark.parametrize(
    ("archive", "reason"),
    [
        (b"<html>no such file</html>", "damaged"),
        (tar_gz(CIFAR)[:-30], "damaged"),
        (tar_gz(CIFAR)[:-8] + b"checksum", "damaged"),
        (tar_gz({**CIFAR, "cifar10/../../evil.png": b"evil"}), "damaged .*outside"),
        (tar_gz({"cifar10/train/1.png": b"one"}), "no train/ and test/ part"),
    ],
    ids=["no archive", "cut off", "changed", "leads out", "no test"],
)
def test_cifar10_from_a_bad_archive(web, tmp_path, monkeypatch, archive, reason):
    from fastai.data.external import URLs

    monkeypatch.setattr(URLs, "CIFAR", web.add("cifar10.tgz", archive))
    with pytest.raises(RunError, match=reason):
        dataset_root("cifar10", tmp_path / "data")
    assert list(files(tmp_path)) == ["data/cifar10.tgz"]


# stl10

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


# tiny-imagenet

TINY_TOP = "tiny-imagenet-200"
TINY = {
    "words.txt": b"n01443537\tgoldfish\nn02124075\tEgyptian cat\n",
    "train/n01443537/n01443537_boxes.txt": b"n01443537_0.JPEG\t0\t0\t63\t63\n",
    "train/n01443537/images/n01443537_0.JPEG": b"fish",
    "train/n02124075/images/n02124075_7.JPEG": b"cat",
    "val/images/val_0.JPEG": b"another cat",
    "val/images/val_1.JPEG": b"another fish",
    "val/val_annotations.txt": (
        b"val_0.JPEG\tn02124075\t0\t32\t44\t62\nval_1.JPEG\tn01443537\t52\t55\t57\t59\n"
    ),
    "test/images/test_0.JPEG": b"nobody knows",
}
TINY_SORTED = {
    "test/n01443537/val_1.JPEG": b"another fish",
    "test/n02124075/val_0.JPEG": b"another cat",
    "train/n01443537/n01443537_0.JPEG": b"fish",
    "train/n02124075/n02124075_7.JPEG": b"cat",
    "words.txt": TINY["words.txt"],
}


@pytest.fixture
def small_tiny_imagenet(monkeypatch):
    monkeypatch.setattr(sources, "TINY_IMAGENET_IMAGES", 4)


def serve_tiny_imagenet(web, monkeypatch, content):
    body = zipped({f"{TINY_TOP}/{name}": body for name, body in content.items()})
    entry = (web.add("tiny.zip", body), f"md5:{md5(body)}")
    monkeypatch.setitem(sources.ARCHIVES, "tiny-imagenet-200.zip", entry)


def test_tiny_imagenet_from_its_unzipped_folder(small_tiny_imagenet, tmp_path):
    write(tmp_path / TINY_TOP, TINY)
    assert files(dataset_root("tiny-imagenet", tmp_path)) == TINY_SORTED


def test_tiny_imagenet_is_downloaded_once(small_tiny_imagenet, web, tmp_path, monkeypatch):
    serve_tiny_imagenet(web, monkeypatch, TINY)
    for _ in range(2):
        root = dataset_root("tiny-imagenet", tmp_path)
    assert web.requests == ["tiny.zip"]
    assert files(root) == TINY_SORTED


def test_tiny_imagenet_from_a_zip_put_there_by_hand(
    small_tiny_imagenet, web, tmp_path, monkeypatch
):
    serve_tiny_imagenet(web, monkeypatch, TINY)
    write(tmp_path, {"tiny-imagenet-200.zip": web.files["tiny.zip"][0]})
    assert files(dataset_root("tiny-imagenet", tmp_path)) == TINY_SORTED
    assert not web.requests


def test_a_zip_member_cannot_lead_out_of_the_folder(
    small_tiny_imagenet, web, tmp_path, monkeypatch
):
    names = (
        "train/../../images/evil.JPEG",
        "train/n1/images/../evil.JPEG",
        "val/images/e.JPEG/../x",
    )
    evil = dict.fromkeys(names, b"evil")
    serve_tiny_imagenet(web, monkeypatch, {**TINY, **evil})
    assert files(dataset_root("tiny-imagenet", tmp_path / "data")) == TINY_SORTED
    assert b"evil" not in files(tmp_path).values()


@pytest.mark.parametrize("gone", ["words.txt", "val/images/val_1.JPEG", "val/val_annotations.txt"])
def test_tiny_imagenet_half_unzipped(small_tiny_imagenet, tmp_path, gone):
    write(tmp_path / TINY_TOP, {name: body for name, body in TINY.items() if name != gone})
    with pytest.raises(RunError, match=r"tiny-imagenet-200 is not whole .* of 4 labelled images"):
        dataset_root("tiny-imagenet", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [TINY_TOP]


def test_a_wrong_zip_is_refused_before_it_is_opened(tmp_path):
    write(tmp_path, {"tiny-imagenet-200.zip": b"not it"})
    with pytest.raises(RunError, match=r"tiny-imagenet-200\.zip is not the file of.*delete"):
        dataset_root("tiny-imagenet", tmp_path)
    assert list(files(tmp_path)) == ["tiny-imagenet-200.zip"]


# data_scripts


def run_script(name, data_dir, monkeypatch):
    script = str(SCRIPTS / f"{name}.py")
    monkeypatch.setattr(sys, "argv", [script, "--data-dir", os.fspath(data_dir)])
    monkeypatch.syspath_prepend(SCRIPTS)
    runpy.run_path(script, run_name="__main__")


@pytest.mark.parametrize("name", DATASETS)
def test_each_dataset_has_a_script_that_counts_its_images(name, tmp_path, monkeypatch, capsys):
    pictures = ["train/a/1.png", "train/b/2.JPEG", "test/3.png"]
    write(tmp_path / name, dict.fromkeys(pictures, b"") | {"train/words.txt": b""})
    run_script(name.replace("-", "_"), tmp_path, monkeypatch)
    assert capsys.readouterr().out == f"{tmp_path / name}: train 2, test 1 images\n"


def test_a_script_fails_with_one_line(tmp_path, monkeypatch):
    write(tmp_path / "stl10", {"mine.png": b""})
    with pytest.raises(SystemExit) as caught:
        run_script("stl10", tmp_path, monkeypatch)
    assert str(caught.value).startswith(f"error: {tmp_path / 'stl10'} lacks")
