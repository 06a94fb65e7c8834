"""Pretraining: each reconstruction, what is kept of it, and going on from a model that exists."""

import io
import json
import logging
import sys

import pytest
import torch
from fastai.callback.core import Callback
from tiny_runs import (
    TRAINING,
    call,
    make_data,
    options,
    undrawn,  # noqa: F401
)

from colourgan.bins import bin_centers, bin_counts
from colourgan.color import decode
from colourgan.datasets import color_dataloaders
from colourgan.errors import OtherSettings, RunError, UsageError
from colourgan.files import file_hash
from colourgan.generators import dynamic_unet, pix2pix_unet
from colourgan.learners import gan_finetune, pretrain
from colourgan.learners.classes import TEMPERATURES, VIVID, choose_decoding
from colourgan.learners.export import to_fastai
from colourgan.metrics import colorfulness
from colourgan.models import load_model, safe_model_file, save_model

FROZEN_TOY = {**TRAINING, "epochs": 0, "decoder_channels": 8, "lr": 0.01}
TOY = {**FROZEN_TOY, "epochs": 1, "encoder_lr_ratio": 1.0}
RESNET20 = "resnet20@none"


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return str(make_data(tmp_path_factory.mktemp("data")))


@pytest.fixture(scope="module")
def runs(data, tmp_path_factory):
    """A run on classes of color, and one with L1."""
    folder = tmp_path_factory.mktemp("runs")
    pretrain(encoder=RESNET20, data=data, **TOY, reconstruction="bins", out=folder / "bins")
    pretrain(encoder=RESNET20, data=data, **TOY, out=folder / "l1")
    return folder


def config_of(run):
    return json.loads((run / "config.json").read_text())


def weights(run):
    return load_model(run).state_dict()


def same(one, other, *names):
    return all(torch.equal(one[name], other[name]) for name in names or one)


# Reconstructions


def test_the_prior_is_counted_from_the_training_images(runs, data):
    dls = color_dataloaders(data, 16, 8, augmentation="none")
    counts = sum(bin_counts(ab) for _, ab in dls.train)
    wanted = (counts / counts.sum()).float()
    prior = weights(runs / "bins")["classes.prior"]
    assert len(prior) == len(bin_centers()) and dls.train.n == 18
    torch.testing.assert_close(prior, wanted, atol=1e-6, rtol=1e-4)


def test_the_decoding_chosen_after_training_is_in_the_model_and_in_its_description(runs):
    chosen, state = config_of(runs / "bins")["decoding"], weights(runs / "bins")
    assert chosen.keys() == {"temperature", "vivid", "saturation", "l1"}
    assert chosen["temperature"] in TEMPERATURES and chosen["vivid"] in VIVID
    for name in ("temperature", "vivid", "saturation"):
        assert state[f"classes.{name}"].item() == pytest.approx(chosen[name], rel=1e-6)
    assert "decoding" not in config_of(runs / "l1")


def test_the_decoding_is_as_colorful_as_asked_for(runs, data):
    dls = color_dataloaders(data, 16, 8)
    generator, shares = load_model(runs / "bins"), {}
    for wanted in (0.4, 0.9):
        chosen = choose_decoding(generator, dls, wanted)
        pairs = [(generator(L), ab, L) for L, ab in dls.valid]
        L1 = sum((pred - ab).abs().mean() for pred, ab, _ in pairs) / len(pairs)
        own, true = (
            torch.cat([colorfulness(decode(pair[2], pair[i])) for pair in pairs]).mean()
            for i in (0, 1)
        )
        shares[wanted] = (own / true).item()
        assert L1.item() == pytest.approx(chosen["l1"], rel=0.05)
    assert shares == {wanted: pytest.approx(wanted, rel=0.05) for wanted in shares}


def test_a_model_of_grey_alone_cannot_be_decoded_colorfully(runs, data):
    generator = load_model(runs / "bins")
    grey = (bin_centers() == 0).all(1)
    with torch.no_grad():
        generator.classes.logits.weight.zero_()
        generator.classes.logits.bias.copy_(torch.where(grey, 500.0, -500.0))
    with pytest.raises(RunError, match="predicts no color: train longer"):
        choose_decoding(generator, color_dataloaders(data, 16, 8), 0.8)


def test_the_run_of_classes_learns_and_its_columns_compare_with_those_of_l1(runs):
    rows = [(runs / name / "history.csv").read_text().splitlines() for name in ("bins", "l1")]
    assert rows[0][0] == rows[1][0]
    last = dict(zip(rows[0][0].split(","), map(float, rows[0][-1].split(",")), strict=True))
    first = dict(zip(rows[0][0].split(","), map(float, rows[0][1].split(",")), strict=True))
    assert 1 < last["train_loss"] < first["train_loss"]  # cross-entropy of 261 classes
    assert last["valid_loss"] < 0.5  # L1 of ab


@pytest.mark.parametrize("reconstruction", ["l2", "feature", "bins"])
def test_reconstructions_by_the_command_line(
    data, runs, tmp_path, capsys, monkeypatch, reconstruction
):
    run = tmp_path / "run"
    arguments = {**TOY, "encoder": RESNET20, "data": data, "reconstruction": reconstruction}
    assert call(monkeypatch, "pretrain", *options({**arguments, "out": run})) == 0
    err = capsys.readouterr().err
    assert config_of(run)["arguments"]["reconstruction"] == reconstruction
    header = (run / "history.csv").read_text().splitlines()[0]
    assert ("feature_loss" in header) == (reconstruction == "feature")
    assert ("decoding with temperature" in err) == (reconstruction == "bins")
    if reconstruction == "bins":  # as by the function: the same seed
        assert file_hash(run / "model.safetensors") == file_hash(runs / "bins/model.safetensors")
        assert "at 80 % of their colorfulness" in err
    else:
        assert not same(weights(run), weights(runs / "l1"))


def test_without_an_average_the_decoding_is_saved_too(data, tmp_path):
    few = {**FROZEN_TOY, "ema": 0.0, "reconstruction": "bins", "colorfulness": 0.3}
    run = pretrain(encoder=RESNET20, data=data, **few, rebalancing=0.9, out=tmp_path / "run")
    chosen, state = config_of(run)["decoding"], weights(run)
    assert state["classes.saturation"].item() == pytest.approx(chosen["saturation"])
    assert state["classes.temperature"].item() == pytest.approx(chosen["temperature"])
    assert state["classes.rebalancing"].item() == pytest.approx(0.9)


def test_the_average_is_what_is_decoded_and_saved(runs):
    state = torch.load(runs / "bins" / "state.pt", weights_only=True)
    average, saved = state["extra"]["ema"]["average"], weights(runs / "bins")
    names = [n for n in saved if not n.startswith("classes.") or "logits" in n]
    assert same(saved, average, *names)
    assert not torch.equal(saved["classes.logits.weight"], state["model"]["classes.logits.weight"])


def test_resuming_a_finished_run_of_classes_changes_nothing(runs, data):
    before = file_hash(runs / "bins" / "model.safetensors"), config_of(runs / "bins")["decoding"]
    pretrain(
        encoder=RESNET20, data=data, **TOY, reconstruction="bins", out=runs / "bins", resume=True
    )
    after = file_hash(runs / "bins" / "model.safetensors"), config_of(runs / "bins")["decoding"]
    assert before == after


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"reconstruction": "bin"}, "unknown reconstruction 'bin': did you mean 'bins'"),
        ({"reconstruction": "bins", "rebalancing": 2.0}, "--rebalancing must be 0 or more and at"),
        ({"reconstruction": "bins", "colorfulness": 0.0}, "--colorfulness must be above 0 and at"),
        ({"colorfulness": 0.9}, "--colorfulness has no effect without --reconstruction bins"),
        ({"encoder": "resnt20"}, "did you mean 'resnet20'"),
    ],
)
def test_wrong_use_makes_no_run_folder(data, tmp_path, arguments, reason):
    with pytest.raises(UsageError, match=reason) as caught:
        pretrain(**{"encoder": RESNET20, "data": data, **TOY, **arguments}, out=tmp_path / "run")
    assert "\n" not in str(caught.value) and not (tmp_path / "run").exists()


@pytest.mark.parametrize("terminal", [False, True])
def test_by_itself_a_training_shows_its_bar_on_a_terminal_and_nothing_else(
    data, tmp_path, monkeypatch, capfd, terminal
):
    log, stderr = logging.getLogger("colourgan"), io.StringIO()
    monkeypatch.setattr(log, "handlers", [])  # those of a command line that ran in this process
    stderr.isatty = lambda: terminal
    monkeypatch.setattr(sys, "stderr", stderr)
    pretrain(encoder=RESNET20, data=data, **FROZEN_TOY, out=tmp_path / "run")
    bars = [line for line in stderr.getvalue().replace("\n", "\r").split("\r") if line.strip()]
    assert bool(bars) == terminal and all(bar.startswith("run:") for bar in bars)
    assert capfd.readouterr() == ("", "")


# Going on from a model


FROZEN = {"epochs": 1, "frozen_epochs": 0, "batch_size": 8, "device": "cpu"}
STILL = {**FROZEN, "lr": 0.0, "weight_decay": 0.0, "ema": 0.0}


def test_a_run_goes_on_at_another_size_with_its_own_encoder_and_decoder(runs, data, tmp_path):
    run = pretrain(data=data, size=24, **STILL, start=runs / "l1", out=tmp_path / "run")
    config, before = config_of(run), config_of(runs / "l1")
    for name in ("self_attention", "blur", "decoder_width", "decoder_channels", "lightness"):
        assert config["arguments"][name] == before["arguments"][name]
    assert config["arguments"]["decoder_channels"] == 8
    assert config["arguments"]["encoder"] == "resnet20"
    assert config["arguments"]["reconstruction"] == "l1"
    assert config["arguments"]["start"] == str(runs / "l1")
    assert config["contents"]["start"] == file_hash(runs / "l1" / "model.safetensors")
    model, start = load_model(run), load_model(runs / "l1")
    assert model.arguments == {**start.arguments, "size": 24}
    assert model.origin == start.origin
    learnt = [name for name, _ in start.named_parameters()]
    assert same(model.state_dict(), start.state_dict(), *learnt)  # the rate was 0


def test_it_trains_on_from_there(runs, data, tmp_path):
    options = {"data": data, "size": 16, **FROZEN, "ema": 0.0}
    run = pretrain(**options, start=runs / "l1" / "model.safetensors", out=tmp_path / "a")
    again = pretrain(**options, start=runs / "l1" / "model.safetensors", out=tmp_path / "b")
    name = "blocks.0.conv1.0.weight"
    moved = (weights(run)[name] - weights(runs / "l1")[name]).abs()
    assert 0 < moved.max() < 0.02
    assert file_hash(run / "model.safetensors") == file_hash(again / "model.safetensors")


def test_classes_go_on_as_classes_with_the_prior_of_the_new_images(runs, tmp_path):
    other = str(make_data(tmp_path / "other", train=12))
    run = pretrain(data=other, size=24, **STILL, start=runs / "bins", out=tmp_path / "run")
    config, state, before = config_of(run), weights(run), weights(runs / "bins")
    assert config["arguments"]["reconstruction"] == "bins" and "decoding" in config
    assert same(state, before, "classes.logits.weight")
    assert not same(state, before, "classes.prior")


def test_a_reconstruction_that_is_asked_for_is_taken(runs, data, tmp_path):
    run = pretrain(
        data=data, size=16, **STILL, start=runs / "bins", reconstruction="l1", out=tmp_path / "run"
    )
    assert config_of(run)["arguments"]["reconstruction"] == "l1"
    learnt = ["classes.logits.weight", "classes.prior", "classes.temperature"]
    assert same(weights(run), weights(runs / "bins"), *learnt)
    with pytest.raises(UsageError, match="bins needs a generator that predicts classes"):
        options = {**STILL, "start": runs / "l1", "reconstruction": "bins"}
        pretrain(data=data, size=16, **options, out=tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_run_that_goes_on_is_resumed_to_the_same_model(runs, data, tmp_path, monkeypatch):
    options = {"data": data, "size": 16, **FROZEN, "epochs": 2}
    whole = pretrain(**options, start=runs / "bins", out=tmp_path / "whole")
    run = tmp_path / "run"

    def stop_in_the_second_epoch(self):
        if self.training and (run / "state.pt").exists():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop = Callback(after_batch=stop_in_the_second_epoch)
        pretrain(**options, start=runs / "bins", cbs=stop, out=run)
    assert len((run / "history.csv").read_text().splitlines()) == 2
    assert "decoding" not in config_of(run)
    assert call(monkeypatch, "pretrain", "--resume", "--out", run) == 0
    hashes = {file_hash(run / "model.safetensors") for run in (whole, run)}
    assert len(hashes) == 1 and config_of(run)["decoding"] == config_of(whole)["decoding"]
    with pytest.raises(OtherSettings, match=r"other\.safetensors is not what .*: see --start"):
        other = other_bins(tmp_path)
        pretrain(**options, start=other, reconstruction="bins", out=run, resume=True)


def other_bins(folder):
    """A model of the same kind as the run of classes, with other weights; its file."""
    torch.manual_seed(5)
    generator = dynamic_unet(RESNET20, 16, decoder_channels=8, bins=True)
    save_model(generator, folder / "other.safetensors")
    return folder / "other.safetensors"


@pytest.mark.parametrize("schema", [1, 2])
def test_a_run_without_a_start_is_not_resumed_with_one(data, tmp_path, schema):
    run = pretrain(encoder="resnet20@packaged", data=data, **STILL, size=16, out=tmp_path / "run")
    config = config_of(run)
    config["arguments"]["encoder"] = "resnet20"  # as of a run that has a start
    if schema == 1:
        del config["contents"], config["schema"]
    (run / "config.json").write_text(json.dumps(config))
    with pytest.raises(OtherSettings, match=r"was started with --start None"):
        pretrain(data=data, **STILL, size=16, start=run, out=run, resume=True)


def test_a_finetuned_model_can_be_gone_on_from(runs, data, tmp_path):
    gan_finetune(
        model=runs / "l1", epochs=1, batch_size=8, device="cpu", out=tmp_path / "g", d_width=4
    )
    run = pretrain(data=data, size=16, **STILL, start=tmp_path / "g", out=tmp_path / "run")
    assert config_of(run)["arguments"]["reconstruction"] == "l1"


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"encoder": "mobilenet_v2@none"}, "has --encoder resnet20: what goes on from it keeps it"),
        ({"decoder_channels": 16}, "has --decoder-channels 8"),
        ({"self_attention": True}, "has --self-attention False"),
        ({"lightness": "summed"}, "has --lightness folded"),
    ],
)
def test_an_option_that_contradicts_the_start_is_refused(runs, data, tmp_path, options, reason):
    with pytest.raises(UsageError, match=reason) as caught:
        pretrain(data=data, size=16, **FROZEN, **options, start=runs / "l1", out=tmp_path / "run")
    assert "\n" not in str(caught.value) and not (tmp_path / "run").exists()
    pretrain(
        data=data, size=16, **STILL, start=runs / "l1", decoder_channels=8, out=tmp_path / "same"
    )


def test_what_cannot_be_gone_on_from_is_one_line(runs, data, tmp_path):
    to_fastai(load_model(runs / "l1"), tmp_path / "model.pkl")
    save_model(pix2pix_unet(16, 4), tmp_path / "pix2pix.safetensors")
    (tmp_path / "empty").mkdir()
    refusals = {
        "model.pkl": "model.pkl is a pickle: colourgan export .*model.pkl --to safetensors",
        "pix2pix.safetensors": "is a pix2pix_unet: pretrain trains U-Nets",
        "gone.safetensors": "no file .*gone.safetensors",
        "empty": "holds no model.safetensors yet",
    }
    for name, reason in refusals.items():
        with pytest.raises(UsageError, match=reason) as caught:
            pretrain(data=data, size=16, **FROZEN, start=tmp_path / name, out=tmp_path / "run")
        assert "\n" not in str(caught.value) and not (tmp_path / "run").exists()
    for name in ("gone.safetensors", "model.pkl"):
        with pytest.raises(UsageError):
            safe_model_file(tmp_path / name)
    assert safe_model_file(runs / "l1") == runs / "l1" / "model.safetensors"


def test_a_size_at_which_the_generator_is_another_is_refused(data, tmp_path):
    # At 16 pixels its last two stages have one size, at 64 each has its own.
    torch.manual_seed(0)
    start = tmp_path / "start.safetensors"
    small = dynamic_unet("efficientnet_lite0@none", 16, decoder_channels=8)
    large = dynamic_unet("efficientnet_lite0@none", 64, decoder_channels=8)
    assert len(small.blocks) != len(large.blocks)
    save_model(small, start)
    with pytest.raises(UsageError, match=r"at size 64 .* other layers than at 16: choose another"):
        pretrain(data=data, size=64, **FROZEN, start=start, out=tmp_path / "run")


def test_equal_seeds_give_equal_models(data, runs, tmp_path):
    again = pretrain(
        encoder=RESNET20, data=data, **TOY, reconstruction="bins", out=tmp_path / "again"
    )
    other = pretrain(
        encoder=RESNET20, data=data, **TOY, reconstruction="bins", seed=1, out=tmp_path / "other"
    )
    one = file_hash(runs / "bins" / "model.safetensors")
    assert file_hash(again / "model.safetensors") == one
    assert file_hash(other / "model.safetensors") != one
