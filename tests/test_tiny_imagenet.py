import pytest
from archives import files, md5, write, zipped

from colourgan.datasets import sources
from colourgan.datasets.sources import dataset_root
from colourgan.errors import RunError

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
