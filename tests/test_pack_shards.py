"""data_scripts/pack_shards.py: the same images in the same parts, as whole shards with an index."""

import json
import os
import runpy
import sys
import tarfile
from pathlib import Path

import pytest
from tiny_pictures import SIDE, make, make_parts, numbered

from colourgan import datasets
from colourgan.datasets import color_dataloaders, training_parts
from colourgan.errors import RunError, UsageError
from colourgan.files import file_hash

SCRIPT = Path(__file__).parents[1] / "data_scripts" / "pack_shards.py"
pack = runpy.run_path(str(SCRIPT))["pack"]


def members(shard):
    with tarfile.open(shard) as tar:
        return {entry.name: tar.extractfile(entry).read() for entry in tar}


def packed(out):
    """part → the bytes of its images."""
    index, found = json.loads((out / "index.json").read_text()), {}
    for shard in index["shardlist"]:
        content = members(out / shard["url"])
        images = [each for name, each in content.items() if not name.endswith(".cls")]
        assert len(images) == shard["nsamples"]
        assert (out / shard["url"]).stat().st_size == shard["filesize"]
        found.setdefault(shard["url"].partition("-")[0], []).extend(images)
    return found


@pytest.fixture
def folder(tmp_path):
    return make(tmp_path / "folder", numbered("a/", 30) + numbered("b.c/", 30), side=20)


def test_parts_and_bytes_are_those_of_the_folder(folder, tmp_path):
    pack(folder, tmp_path / "out", 1)
    (train, valid), test = training_parts(folder), datasets.test_files(folder)
    for part, files in {"train": train, "valid": valid, "test": test}.items():
        images = packed(tmp_path / "out")[part]
        assert sorted(images) == sorted(file.read_bytes() for file in files)
        assert images != [file.read_bytes() for file in sorted(files)] or part != "train"
    dls = color_dataloaders(tmp_path / "out", 20, 8)
    assert (dls.train.n, dls.valid.n) == (len(train), len(valid))
    cached = color_dataloaders(folder, 20, 8)
    assert sorted(map(bytes, dls.valid.images)) == sorted(map(bytes, cached.valid.images))


def test_the_same_seed_gives_the_same_bytes(folder, tmp_path):
    for name, seed in {"a": 0, "b": 0, "c": 1}.items():
        pack(folder, tmp_path / name, 1, seed=seed)
    one, same, other = (file_hash(tmp_path / n / "train-00000.tar") for n in "abc")
    assert one == same != other


def test_shards_end_at_their_size_and_classes_are_numbers(tmp_path):
    folder = make(tmp_path / "folder", numbered("train/a/", 9) + numbered("train/b/", 9), 200)
    index = pack(folder, tmp_path / "out", 1, classes=True)
    train = [shard for shard in index["shardlist"] if shard["url"].startswith("train")]
    assert [shard["nsamples"] for shard in train] == [9, 8] and index["classes"] == ["a", "b"]
    for name, content in members(tmp_path / "out" / "train-00001.tar").items():
        if name.endswith(".cls"):
            assert ["a", "b"][int(content)] == name.split("/")[1]
        else:
            assert (folder / name).read_bytes() == content


def test_names_that_would_be_one_sample_stay_apart(tmp_path):
    names = ["x.1.png", "x.2.png", "x_1.png", "x.1.bmp", "x_1_.png", *numbered("y", 5)]
    folder = make(tmp_path / "folder", [f"train/{name}" for name in names], SIDE)
    pack(folder, tmp_path / "out", 1)
    dls = color_dataloaders(tmp_path / "out", SIDE, 2)
    assert dls.train.n + dls.valid.n == len(names)
    pictures = [rgb for batch in dls.train.create_batches(None) for rgb in batch]
    assert len({rgb.numpy().tobytes() for rgb in pictures}) == dls.train.n // 2 * 2


def test_what_is_there_is_left_alone(folder, tmp_path):
    pack(folder, tmp_path / "out", 1)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    for wrong in (lambda: pack(folder, tmp_path / "out", 1), lambda: pack(folder, tmp_path, 0)):
        with pytest.raises(UsageError):
            wrong()
    with pytest.raises(UsageError, match="holds shards already"):
        pack(tmp_path / "out", tmp_path / "again", 1)
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}


def test_a_packing_that_fails_leaves_whole_shards_and_no_index(folder, tmp_path, monkeypatch):
    replace, out = os.replace, tmp_path / "out"

    def failing(source, target):
        if "valid" in str(target):
            raise OSError(28, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", failing)
    with pytest.raises(RunError, match="no space left"):
        pack(folder, out, 1)
    assert [path.name for path in out.iterdir()] == ["train-00000.tar"]
    assert members(out / "train-00000.tar")


def test_the_script_counts_what_it_packed(tmp_path, monkeypatch, capsys):
    make_parts(tmp_path / "folder")
    arguments = [str(SCRIPT), str(tmp_path / "folder"), str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", arguments)
    runpy.run_path(str(SCRIPT), run_name="__main__")
    told = f"{tmp_path / 'out'}: train 21, valid 4 images in 2 shards\n"
    assert capsys.readouterr() == (told, "")
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(SCRIPT), run_name="__main__")
    assert ended.value.code == 2
    out, err = capsys.readouterr()
    assert not out and err.startswith("error: ") and err.count("\n") == 1
