"""Streams: which images come in which order, in which epoch, in which process, after which stop."""

import io
import itertools
import logging
import sys
from types import SimpleNamespace

import pytest
import torch
from fastai.callback.core import Callback
from PIL import Image
from tiny_pictures import SIDE, expected, make, numbered, picture
from tiny_runs import (
    TRAINING,
    call,
    make_data,
    options,
    undrawn,  # noqa: F401
)
from tiny_streams import (
    Numbered,
    encoded,
    seed_of,
    write_parquet,
    write_shards,
    write_tar,
)

from colourgan.bins import bin_centers, bin_counts
from colourgan.color import encode
from colourgan.datasets import (
    color_dataloaders,
    fingerprint,
    fit_square,
    loaders,
    shards,
    streams,
    unpaired_dataloaders,
)
from colourgan.datasets.cache import decode
from colourgan.datasets.streams import Order, Place, Stream
from colourgan.errors import OtherSettings, RunError, UsageError
from colourgan.files import file_hash
from colourgan.hub import Reference
from colourgan.learners import gan_finetune, memory, pretrain, rates, train_generator
from colourgan.learners.classes import count_colors
from colourgan.study import study

ALL = range(40)
TRAINED = set(ALL) - set(ALL[0::3][:4])  # the first tenth of the first shard is held out
KINDS = {"shards": write_shards, "parquet": write_parquet}


@pytest.fixture(autouse=True)
def decoded_here(monkeypatch):
    """No processes but in the tests that are about them: starting some takes longer than these."""
    monkeypatch.setattr(streams, "workers", lambda: 0)


@pytest.fixture(scope="module", params=KINDS)
def data(request, tmp_path_factory):
    """The 40 pictures in 3 shards of each kind, by the name that --data takes."""
    folder = KINDS[request.param](tmp_path_factory.mktemp(request.param), ALL)
    return f"hf:{folder}" if request.param == "parquet" else str(folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_shards(tmp_path_factory.mktemp("folder"), ALL)


def epoch(dls, seeds=ALL):
    """The numbers of the pictures of an epoch, batch by batch."""
    return [[seed_of(rgb, seeds) for rgb in batch] for batch in dls.train.create_batches(None)]


def flat(batches):
    return list(itertools.chain.from_iterable(batches))


def given(order, count):
    return [int(sample.image) for sample in itertools.islice(order, count)]


def order_of(source, seed=0, held=None):
    return Order(source, held or {}, seed, Place(), 0)


# The order


@pytest.mark.parametrize("window", [4, 7, 12, 100])
def test_each_turn_gives_every_sample_once_in_another_order(window, monkeypatch):
    monkeypatch.setattr(streams, "WINDOW", window)
    order = order_of(Numbered(5, 0, 9, 3))
    turns = [given(order, 17) for _ in range(4)]
    assert all(sorted(turn) == list(range(17)) for turn in turns)
    assert len({tuple(turn) for turn in [*turns, range(17)]}) == 5
    again, other = order_of(Numbered(5, 0, 9, 3)), order_of(Numbered(5, 0, 9, 3), seed=1)
    assert given(again, 17) == turns[0] != given(other, 17)


@pytest.mark.parametrize("window", [1, 4, 7, 100])
def test_the_order_goes_on_from_any_place(window, monkeypatch):
    monkeypatch.setattr(streams, "WINDOW", window)
    lengths, held = (5, 0, 9, 3), {0: 5, 2: 2}
    whole = given(order_of(Numbered(*lengths), held=held), 50)
    assert not set(whole) & {0, 1, 2, 3, 4, 5, 6}
    for count in range(40):
        order = order_of(Numbered(*lengths), held=held)
        given(order, count)
        resumed = Order(Numbered(*lengths), held, 0, order.place, order.given)
        assert given(resumed, 10) == whole[count : count + 10]


def test_no_more_than_two_windows_are_in_memory(monkeypatch):
    monkeypatch.setattr(streams, "WINDOW", 10)
    source = Numbered(*[25] * 8)
    order = order_of(source)
    for count in range(150):
        next(order)
        order.next.join()
        kept = sum(sample is not None for sample in order.window)
        assert source.reads - (count + 1) <= 20 and kept <= 9


def test_a_window_of_large_files_ends_early(monkeypatch):
    monkeypatch.setattr(streams, "WINDOW_BYTES", 12)  # six numbers of two digits
    order = order_of(Numbered(90))
    given(order, 30)
    assert len(order.window) <= 12


def test_a_source_without_images_is_an_error_and_no_endless_search():
    with pytest.raises(RunError, match="numbers has no image to train on"):
        next(order_of(Numbered(0, 0)))


# Epochs


def test_an_epoch_is_every_image_once_and_none_of_validation(data):
    dls = color_dataloaders(data, SIDE, 8)
    first, second = epoch(dls), epoch(dls)
    assert sorted(flat(first)) == sorted(flat(second)) == sorted(TRAINED)
    assert flat(first) != flat(second) != sorted(TRAINED)
    assert [len(batch) for batch in first] == [8, 8, 8, 8, 4] and len(dls.train) == 5
    held = [seed_of(torch.from_numpy(rgb).permute(2, 0, 1), ALL) for rgb in dls.valid.images]
    assert set(held) == set(ALL) - TRAINED and (dls.train.n, dls.valid.n) == (36, 4)


def test_the_networks_see_what_they_see_of_files(data, tmp_path):
    dls = color_dataloaders(data, SIDE, 8, augmentation="none")
    picture(0).save(tmp_path / "0.png")
    L, ab = next(iter(dls.valid))
    torch.testing.assert_close((L[0], ab[0]), expected(tmp_path / "0.png"))
    torch.manual_seed(0)
    L, ab = next(iter(dls.train))
    assert (L.shape, ab.shape) == ((8, 1, SIDE, SIDE), (8, 2, SIDE, SIDE))
    dls.show_batch(max_n=2)
    dls.train.show_batch(max_n=2)


def test_an_epoch_of_a_limit_goes_on_where_the_last_one_ended(data):
    dls = color_dataloaders(data, SIDE, 8, limit=12)
    assert (dls.train.n, len(dls.train), dls.valid.n) == (12, 2, 4)
    epochs = [flat(epoch(dls)) for _ in range(4)]
    assert sorted(flat(epochs[:3])) == sorted(TRAINED)
    assert len(set(epochs[3])) == 12


def test_validation_images_lie_apart_if_there_is_such_a_part(tmp_path):
    for name, write in KINDS.items():
        write(tmp_path / name, range(20))
        write(tmp_path / name, range(30, 36), 1, "validation")
    write_shards(tmp_path / "shards", range(36, 40), 1, "test")
    for data in (tmp_path / "shards", f"hf:{tmp_path / 'parquet'}"):
        dls = color_dataloaders(data, SIDE, 5, limit=20)
        assert sorted(flat(epoch(dls))) == list(range(20)) and dls.valid.n == 6
    dls = color_dataloaders(f"{tmp_path}/shards/{{train-{{0..1}},validation-0}}.tar", SIDE, 5, 14)
    assert sorted(flat(epoch(dls))) == sorted([*range(0, 20, 3), *range(1, 20, 3)])
    assert color_dataloaders(f"hf:{tmp_path}/parquet::validation", SIDE, 2).train.n == 6 - 1


def test_what_is_broken_off_begins_again(data):
    dls = color_dataloaders(data, SIDE, 8, limit=12)
    twin = color_dataloaders(data, SIDE, 8, limit=12)
    batches = dls.train.create_batches(None)
    started = [seed_of(rgb, ALL) for rgb in next(batches)]
    batches.close()
    dls.train.one_batch()
    next(iter(dls.train.new()))
    first = epoch(dls)
    assert first == epoch(twin) and first[0] == started
    next(dls.train.create_batches(None))
    assert epoch(dls) == epoch(twin) != first


def test_colors_are_counted_without_moving_the_stream(data):
    dls, twin = (color_dataloaders(data, SIDE, 8, limit=12) for _ in range(2))
    found = SimpleNamespace(prior=torch.zeros(len(bin_centers())), rebalancing=torch.zeros(()))
    count_colors(found, dls, 0.5)
    rgb = torch.cat(list(dls.train.new().create_batches(None)))
    counts = bin_counts(encode(rgb)[1])
    torch.testing.assert_close(found.prior, (counts / counts.sum()).float())
    assert epoch(dls) == epoch(twin)


# What cannot be used


@pytest.fixture
def spoiled(tmp_path):
    """31 good pictures among six that cannot be used."""
    bad = {
        "broken": b"broken", "empty": b"", "grey": encoded(0, mode="L"), "tiny": encoded(1, side=4),
        "alike": encoded(2, mode="L", kind="BMP"), "short": encoded(3)[:200],
    }  # fmt: skip
    files = {f"{seed:03d}.png": encoded(seed) for seed in range(31)}
    for i, (name, content) in enumerate(bad.items()):
        files |= {f"{5 * i + 4:03d}{name}.png": content}
    return write_tar(tmp_path / "x.tar", dict(sorted(files.items())))


def test_unusable_images_are_left_out_and_counted_in_one_warning(spoiled, caplog):
    with caplog.at_level(logging.WARNING, "colourgan"):
        dls = color_dataloaders(spoiled, SIDE, 8)
        epoch(SimpleNamespace(train=dls.train.new()), range(31))  # a look ahead warns of nothing
        epochs = [epoch(dls, range(31)) for _ in range(2)]
    for batches in epochs:
        assert [len(batch) for batch in batches] == [8, 8, 8, 8, 2] and len(dls.train) == 5
        assert len(set(flat(batches))) == 31 - dls.valid.n
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 1 and said[0].startswith("left out 6 of 34 images: ")
    assert "3 broken" in said[0] and "2 grey" in said[0] and "1 tiny" in said[0]


def test_earlier_images_in_turn_take_the_places_of_unusable_ones():
    stream = Stream(Numbered(9), {}, SIDE, 9, 0)
    images = ["broken", 0, 1, 2, "grey", "grey", "grey", 3, "tiny"]
    filled = list(stream._filled((str(image), image) for image in images))
    assert filled[:4] == [0, 0, 1, 2] and set(filled[4:7]) == {0, 1, 2}
    assert filled[7] == 3 and len(filled) == len(images)


def test_a_stream_without_usable_images_is_an_error(tmp_path):
    files = {f"{i:02d}.png": b"broken" for i in range(20)}
    bad = write_tar(tmp_path / "a" / "bad.tar", files)
    with pytest.raises(UsageError, match=r"bad\.tar has no usable color image to validate on"):
        color_dataloaders(bad, SIDE, 8)
    write_tar(tmp_path / "a" / "valid-0.tar", {"a.png": encoded(1)})
    dls = color_dataloaders(tmp_path / "a", SIDE, 8, limit=20)
    with pytest.raises(RunError, match=r"no usable color image in an epoch: 20 broken"):
        next(iter(dls.train))


def test_a_large_jpeg_is_drafted_and_hardly_differs():
    image = picture(5, 40).resize((640, 480), Image.Resampling.BICUBIC)
    image.save(file := io.BytesIO(), "JPEG", quality=95)
    draft = torch.from_numpy(decode(io.BytesIO(file.getvalue()), SIDE, True)).float()
    whole = torch.tensor(list(fit_square(Image.open(file), SIDE).tobytes())).reshape(SIDE, SIDE, 3)
    assert 0 < (whole - draft).abs().mean() < 3
    image.resize((3 * SIDE, 3 * SIDE)).save(file := io.BytesIO(), "JPEG")
    small = torch.from_numpy(decode(io.BytesIO(file.getvalue()), SIDE, True)).float()
    whole = torch.tensor(list(fit_square(Image.open(file), SIDE).tobytes())).reshape(SIDE, SIDE, 3)
    assert torch.equal(small, whole.float())


# Processes


@pytest.mark.parametrize("world", [2, 3])
def test_each_process_has_its_share_of_the_same_order(world, data):
    whole = flat(epoch(color_dataloaders(data, SIDE, 4, limit=20)))
    parts = [color_dataloaders(data, SIDE, 4, 20, rank=rank, world=world) for rank in range(world)]
    seen = [flat(epoch(dls)) for dls in parts]
    share = 20 // world
    assert all(len(each) == share == dls.train.n for each, dls in zip(seen, parts, strict=True))
    assert [seed for turn in zip(*seen, strict=True) for seed in turn] == whole[: share * world]
    states = [dls.train.state_dict() for dls in parts]
    assert all(state == states[0] for state in states)


def test_the_number_of_decoding_processes_changes_nothing(spoiled, monkeypatch):
    found = []
    for count in (0, 1, 3):
        monkeypatch.setattr(streams, "workers", lambda count=count: count)
        monkeypatch.setattr(streams, "CHUNK", 3)
        dls = color_dataloaders(spoiled, SIDE, 8)
        found.append([epoch(dls, range(31)) for _ in range(2)])
    assert found[0] == found[1] == found[2]


# Resuming


def test_a_state_goes_on_with_the_same_images(data, monkeypatch):
    monkeypatch.setattr(streams, "WINDOW", 7)
    dls = color_dataloaders(data, SIDE, 4, limit=10, seed=3)
    epochs, states = [], []
    for _ in range(8):
        states.append(dls.train.state_dict())
        epochs.append(epoch(dls))
    for state, images in zip(states, epochs, strict=True):
        other = color_dataloaders(data, SIDE, 4, limit=10)
        other.train.load_state_dict(state)
        assert epoch(other) == images


def stopping(batch):
    count = itertools.count(1)

    def after_batch(self):
        if self.training and next(count) == batch:
            raise KeyboardInterrupt

    return Callback(after_batch=after_batch)


STREAMED = {**TRAINING, "encoder": "resnet20@none", "limit": 17, "epochs": 3, "frozen_epochs": 0}


def test_a_resumed_training_equals_one_that_was_not_interrupted(data, tmp_path, monkeypatch):
    monkeypatch.setattr(streams, "WINDOW", 11)
    whole = pretrain(**STREAMED, data=data, out=tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        pretrain(**STREAMED, data=data, out=tmp_path / "half", cbs=stopping(5))  # of 3 an epoch
    half = pretrain(**STREAMED, data=data, out=tmp_path / "half", resume=True)
    assert file_hash(whole / "model.safetensors") == file_hash(half / "model.safetensors")
    columns = [
        [line.split(",")[:3] for line in (run / "history.csv").read_text().splitlines()]
        for run in (whole, half)
    ]
    assert columns[0] == columns[1] and len(columns[0]) == 4


def test_a_run_does_not_go_on_with_other_images(tmp_path):
    data = write_shards(tmp_path / "data", range(20), 1)
    out = pretrain(**STREAMED | {"epochs": 1}, data=data, out=tmp_path / "run")
    data.rename(tmp_path / "moved")
    pretrain(**STREAMED | {"epochs": 1}, data=tmp_path / "moved", out=out, resume=True)
    write_shards(tmp_path / "moved", range(1, 21), 1)
    with pytest.raises(OtherSettings, match="--data"):
        pretrain(**STREAMED | {"epochs": 1}, data=tmp_path / "moved", out=out, resume=True)


def test_generators_from_scratch_and_gans_stream_too(folder, tmp_path):
    small = {"epochs": 1, "batch_size": 8, "device": "cpu", "limit": 16, "d_width": 4}
    data = f"{folder}/train-{{0..2}}.tar"
    run = train_generator(**small, data=data, size=16, width=4, out=tmp_path / "scratch")
    assert (run / "model.safetensors").exists()
    run = pretrain(**STREAMED | {"epochs": 1}, data=data, out=tmp_path / "pretrained")
    assert (gan_finetune(model=run, **small, out=tmp_path / "gan") / "model.safetensors").exists()


# How long an epoch is


def test_a_stream_of_unknown_length_needs_a_limit(folder, monkeypatch):
    monkeypatch.setattr(loaders, "VALID_MOST", 6)
    with pytest.raises(UsageError, match=r"does not say how many images it has: add --limit"):
        color_dataloaders(folder, SIDE, 8)
    dls = color_dataloaders(folder, SIDE, 8, limit=10)
    assert (dls.train.n, dls.valid.n) == (10, 6)
    seen = {seed for _ in range(5) for seed in flat(epoch(dls))}
    assert seen == set(ALL) - set(ALL[0::3][:6])


def test_a_shard_of_another_size_than_the_index_says_is_refused(tmp_path):
    data = write_shards(tmp_path, range(12), 2)
    index = {"shardlist": [{"url": f"train-{i}.tar", "nsamples": 6, "filesize": 9} for i in "01"]}
    (tmp_path / shards.INDEX).write_text(str(index).replace("'", '"'))
    with pytest.raises(RunError, match=r"train-0\.tar is not whole \(\d+ of 9 bytes\)"):
        color_dataloaders(data, SIDE, 8)


# Errors


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("x-{0..2}.tar", "3 of 3 shards are missing, such as x-0.tar"),
        ("x-{0..2.tar", "x-{0..2.tar has unbalanced braces"),
        ("x.tar", "1 of 1 shards are missing, such as x.tar"),
        ("hf:./nothing", "there is no folder ./nothing"),
        ("hf:a b", "'hf:a b' names no data set: write hf:NAME, hf:NAME:CONFIG"),
        ("hf:a:b:c:d", "'hf:a:b:c:d' names no data set"),
        ("hf:./empty", "hf:./empty cannot be read as a data set: "),
        ("hf:./parquet::test", "has no split 'test': write hf:NAME:CONFIG:SPLIT with one of train"),
        ("hf:./parquet:other", "BuilderConfig 'other' not found"),
        ("hf:./parquet@main", "a folder has no revisions"),
        ("hf:./texts", "hf:./texts has no column of images"),
    ],
)
def test_a_wrong_name_is_one_line(data, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "train.csv").write_text("a\n1\n")
    if "parquet" in data:
        write_parquet(tmp_path / "parquet", range(4), 1)
    code = call(monkeypatch, "pretrain", "--data", data, *options(TRAINING), "--limit", 4)
    out, err = capsys.readouterr()
    assert (code, out, err.count("\n")) == (2, "", 1) and said in err


def test_a_data_set_that_cannot_be_reached(monkeypatch):
    import datasets

    def unreachable(*args, **kwargs):
        raise ConnectionError("no network")

    monkeypatch.setattr(datasets, "load_dataset_builder", unreachable)
    with pytest.raises(RunError, match="hf:user/name@main is not in the cache and the Hub cannot"):
        color_dataloaders("hf:user/name:conf@main", SIDE, 8)


def test_a_hub_that_fails_meanwhile_repeats_none_of_its_words(tmp_path, monkeypatch):
    def failing():
        raise ConnectionError("bearer of a secret")
        yield

    folder = write_parquet(tmp_path, ALL)
    source = shards.open_parts(f"hf:{folder}").train
    source.remote = Reference("user/name")
    monkeypatch.setattr(source.dataset, "shard", lambda **given: failing())
    with pytest.raises(RunError, match=r"hf:user/name .*the Hub cannot be reached") as caught:
        list(source.read(0, 0))
    assert "secret" not in str(caught.value)


def test_a_name_runs_no_command(tmp_path):
    with pytest.raises(UsageError, match="shards are missing, such as pipe:"):
        color_dataloaders(f"pipe:touch {tmp_path}/here://x.tar", SIDE, 8)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("data", "package"),
    [("x.tar", "webdataset"), ("x.tar", "braceexpand"), ("hf:a/b", "datasets")],
)
def test_a_missing_package_says_how_to_get_it(data, package, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UsageError, match=rf"{package}: pip install 'colourgan\[streaming\]'"):
        color_dataloaders(data, SIDE, 8)


def test_a_shard_that_ends_too_early_is_one_line(tmp_path, monkeypatch, capsys):
    files = {f"{seed:03d}.png": encoded(seed) for seed in range(30)}
    file = write_tar(tmp_path / "data" / "train-0.tar", files)
    write_tar(tmp_path / "data" / "valid-0.tar", {"a.png": encoded(1)})
    file.write_bytes(file.read_bytes()[:-20_000])
    code = call(monkeypatch, "pretrain", "--data", file.parent, "--encoder", "resnet20@none",
                *options(TRAINING), "--limit", 20, "--out", tmp_path / "run")  # fmt: skip
    err = capsys.readouterr().err.splitlines()
    assert code == 1 and err[-1].endswith(f"cannot read {file}: unexpected end of data")


@pytest.mark.parametrize("command", ["train-cyclegan", "train-encoder", "evaluate packaged"])
def test_other_commands_say_that_they_cannot_stream(command, folder, monkeypatch, capsys):
    size = ["--size", 16, "--device", "cpu"]
    assert call(monkeypatch, *command.split(), "--data", folder, *size) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and f"{folder} is streamed, which only pretrain, gan-fine" in said
    with pytest.raises(UsageError, match="is streamed"):
        unpaired_dataloaders(folder)


def test_a_study_refuses_a_stream_before_it_trains(folder, tmp_path):
    with pytest.raises(UsageError, match="is streamed and has no test images to measure models on"):
        study(
            name="s",
            data=(str(folder),),
            encoders=("resnet20@none",),
            methods=("l1",),
            out=tmp_path / "s",
        )


# What identifies a stream


@pytest.mark.parametrize("kind", KINDS)
def test_a_fingerprint_follows_the_content_and_not_the_place(kind, tmp_path):
    def name(folder):
        return f"hf:{folder}" if kind == "parquet" else folder

    write = KINDS[kind]
    one = fingerprint(name(write(tmp_path / "a", range(9))))
    assert one == fingerprint(name(write(tmp_path / "b", range(9))))
    assert one != fingerprint(name(write(tmp_path / "c", range(1, 10))))
    assert one != fingerprint(name(write(tmp_path / "d", range(9), 2)))
    assert len(one) == 16


def test_a_folder_with_pictures_is_no_stream(tmp_path):
    make(tmp_path, numbered("", 30))
    write_shards(tmp_path, range(9), 1)
    assert color_dataloaders(tmp_path, SIDE, 8).train.n > 20
    assert not shards.names_stream(make_data(tmp_path / "other"))


def test_a_stream_over_http(web, tmp_path):
    for file in sorted(write_shards(tmp_path, ALL).iterdir()):
        url = web.add(file.name, file.read_bytes())
    dls = color_dataloaders(url.replace("train-2", "train-{0..2}"), SIDE, 8)
    assert sorted(flat(epoch(dls))) == sorted(TRAINED)
    with pytest.raises(RunError, match=r"cannot read http.*none\.tar"):
        color_dataloaders(url.replace("train-2", "none"), SIDE, 8, limit=4)


def test_looking_for_a_rate_leaves_a_stream_at_its_place(folder, tmp_path, monkeypatch):
    given = TRAINING | {"encoder": "resnet20@none", "data": str(folder), "epochs": 1}
    monkeypatch.setattr(memory, "SIZES", (1, 2, 4))
    monkeypatch.setattr(rates, "STEPS", 20)  # of more than one epoch
    monkeypatch.setattr(rates, "suggestion", lambda *_: 1e-3)
    found = pretrain(**given | {"batch_size": "auto", "lr": "auto"}, out=tmp_path / "auto")
    same = pretrain(**given | {"batch_size": 4}, out=tmp_path / "4")
    models = (file_hash(run / "model.safetensors") for run in (found, same))
    assert len(set(models)) == 1
