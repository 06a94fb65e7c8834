import os
import runpy
import sys
from pathlib import Path

import pytest
from archives import files, tar_gz, write

from colourgan.datasets import sources
from colourgan.datasets.sources import DATASETS, dataset_root
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
