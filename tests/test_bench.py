"""What bench/speed.py compares: the peer's loop, the figures made of turns, a run of the whole."""

import json
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_pictures import expected, make, numbered
from tiny_runs import undrawn  # noqa: F401
from tiny_training import changed, make_learner, weights
from torch import nn

sys.path.append(str(Path(__file__).parents[1] / "bench"))  # where its scripts find each other
peer, ratios, speed, usage = map(import_module, ("peer", "ratios", "speed", "usage"))

CPU, SIZE = torch.device("cpu"), 16


def batch(count=4):
    random = torch.Generator().manual_seed(0)
    L = torch.rand(count, 1, SIZE, SIZE, generator=random) * 2 - 1
    return L, 0.4 * torch.cat([L, -L], 1)  # colors that can be told from lightness


@pytest.mark.parametrize("method", ["l1", "bins", "gan"])
def test_the_peers_steps_train(method):
    torch.manual_seed(0)
    trained = peer.METHODS[method]("resnet20", SIZE, CPU)
    networks = [getattr(trained, n) for n in ("generator", "discriminator") if hasattr(trained, n)]
    before = [weights(network) for network in networks]
    losses = [trained.step(*batch()) for _ in range(12)]
    assert losses[-1].keys() == losses[0].keys()
    name = "l1" if method == "gan" else "loss"
    assert losses[-1][name] < 0.96 * losses[0][name]
    for network, weight in zip(networks, before, strict=True):
        trainable = {name for name, _ in network.named_parameters()}
        assert trainable <= set(changed(network, weight))


def test_the_peers_discriminator_learns_nothing_from_the_generators_step():
    trained = peer.Gan("resnet20", SIZE, CPU)
    D, seen = trained.discriminator, {}

    def gradients():
        return [p.grad.clone() for p in D.parameters()]

    trained.d_optimizer.register_step_post_hook(
        lambda *_: seen.update(weights=weights(D), gradients=gradients())
    )
    trained.step(*batch())
    parameters = dict(D.named_parameters())
    assert not set(changed(D, seen["weights"])) & set(parameters)
    assert all(map(torch.equal, seen["gradients"], gradients()))
    assert any(gradient.any() for gradient in seen["gradients"])


def test_the_peers_losses_are_those_of_pix2pix():
    trained = peer.Gan("resnet20", SIZE, CPU)
    (L, ab), bce = batch(), nn.functional.binary_cross_entropy_with_logits
    with torch.no_grad():  # in training mode: batch norm of this batch
        fake = trained.generator(L)
        on_fake, on_real = trained.discriminator(L, fake), trained.discriminator(L, ab)
    losses = trained.step(L, ab)
    assert losses["l1"] == pytest.approx(float((fake - ab).abs().mean()), rel=1e-4)
    assert losses["d_fake"] == pytest.approx(float(bce(on_fake, 0 * on_fake)), rel=1e-4)
    assert losses["d_real"] == pytest.approx(float(bce(on_real, 0 * on_real + 1)), rel=1e-4)


def test_the_peer_sees_the_colors_that_colourgan_sees(tmp_path):
    root = make(tmp_path, ["a.png"])
    dataset = peer.Pictures([root / "a.png"], 32)
    L, ab = expected(root / "a.png", 32)
    flipped = set()
    for seed in range(6):
        torch.manual_seed(seed)
        mine, others = torch.cat(dataset[0]), torch.cat([L, ab])
        mirrored = bool((mine - others).abs().max() > 0.1)
        flipped.add(mirrored)
        torch.testing.assert_close(mine, others.flip(-1) if mirrored else others, atol=1e-4, rtol=0)
    assert flipped == {True, False}


def test_the_peer_resizes_and_takes_every_picture_once_an_epoch(tmp_path, monkeypatch):
    monkeypatch.setattr(peer, "cores", lambda: 1)
    make(tmp_path, numbered("", 5), 40, 36)
    loader = peer.make_loader(sorted(tmp_path.iterdir()), SIZE, 2, CPU)
    taken = []

    class Counting:
        def step(self, L, ab):
            taken.append(L)
            return {"loss": float(len(taken))}

    assert peer.train_epoch(Counting(), loader, CPU) == {"loss": 2.0}
    assert [tuple(L.shape) for L in taken] == [(2, 1, SIZE, SIZE)] * 2 + [(1, 1, SIZE, SIZE)]
    assert len(torch.cat(taken).mean((1, 2, 3)).unique()) == 5
    assert loader.num_workers == 1 and loader.persistent_workers


def test_turns_become_a_ratio():
    row = ratios.compared([30.0, 100.0, 36.0], [10.0, 50.0, 9.0], bar=3)
    assert (row["colourgan"], row["peer"], row["ratio"]) == (36, 10, 3)
    assert (row["lowest"], row["highest"], row["met"]) == (2, 4, True)
    assert not ratios.compared([29.9], [10.0], bar=3)["met"]


GPU = {"gpu_idle": 0.25, "launches_per_step": 812.0, "kernels_per_step": 900.0, "data": 0.125}


def test_the_table_has_a_line_for_each_pair():
    row = ratios.compared([120.0], [50.0], bar=2.5)
    text = ratios.table({"gan/resnet20/32": row, "l1/resnet20/32": {**row, "met": True}})
    head, first, second = text.splitlines()
    assert head.split() == ["images/s", "colourgan", "peer", "ratio", "turns", "bar", "met"]
    assert " ".join(first.split()) == "gan/resnet20/32 120.0 50.0 2.40× 2.40 to 2.40 2.5× no"
    assert second.split()[-1] == "yes"
    rows = {"a": {**row, **GPU, "share_of_peak": 0.1}, "b": {**row, **GPU, "share_of_peak": None}}
    head, *lines = ratios.table(rows).splitlines()
    assert head.split()[-5:] == ["of", "peak", "idle", "launches", "data"]
    assert [line.split()[-4:] for line in lines] == [
        ["10.0%", "25%", "812", "12%"], ["?", "25%", "812", "12%"],
    ]  # fmt: skip
    assert {len(line) for line in (head, *lines)} == {len(head)}


def test_results_keep_what_was_measured_the_same_way(tmp_path):
    path, row = tmp_path / "results.json", ratios.compared([1 / 3], [1 / 7], bar=3)
    ratios.write_results(path, {"threads": 1}, {"a": row})
    ratios.write_results(path, {"threads": 1}, {"b": row | {"bar": 2}})
    written = json.loads(path.read_text())
    assert written["threads"] == 1 and set(written["pairs"]) == {"a", "b"}
    assert written["pairs"]["a"] == {
        "colourgan": 0.3333, "peer": 0.1429, "ratio": 2.333, "lowest": 2.333, "highest": 2.333,
        "bar": 3, "met": False, "turns": {"colourgan": [0.3333], "peer": [0.1429]},
    }  # fmt: skip
    ratios.write_results(path, {"threads": 2}, {"b": row})
    assert set(json.loads(path.read_text())["pairs"]) == {"b"}


def test_devices_have_names_for_files():
    assert ratios.slug("NVIDIA H200") == "nvidia-h200"
    assert ratios.slug("NVIDIA A100-SXM4-40GB ") == "nvidia-a100-sxm4-40gb"


def test_a_card_is_known_by_the_longest_name_that_fits():
    assert usage.peak_flops("NVIDIA H200") == usage.peak_flops("NVIDIA H100 80GB HBM3") == 989e12
    assert usage.peak_flops("NVIDIA H200 NVL") == 835e12
    assert usage.peak_flops("NVIDIA A100-SXM4-40GB") == 312e12
    assert usage.peak_flops("GeForce GT 1030") is None


def test_operations_are_counted_forward_and_backward():
    layer = nn.Conv2d(1, 2, 1, bias=False)

    def step(L, ab):
        (layer(L) - ab).abs().mean().backward()

    # 2 · 1 input channel · 2 output channels · pixels, and as much for the kernel's gradient
    assert usage.flops_per_image(step, *batch(3)) == 2 * 4 * SIZE**2


def test_time_on_the_gpu_is_counted_once():
    kernels = [{"ts": t, "dur": d} for t, d in ((0, 10), (5, 10), (6, 2), (30, 5), (15, 1))]
    assert usage.union(kernels) == pytest.approx(21e-6)


def test_a_profile_becomes_shares():
    profile = usage.Profile(CPU)
    profile.steps, profile.whole, profile.waited = 2, 8.0, 2.0
    events = [
        ("kernel", "conv", 0, 4e5),
        ("kernel", "relu", 2e5, 4e5),
        ("gpu_memcpy", "h", 9e5, 4e5),
    ]
    events += [
        ("cuda_runtime", name, 0, 1) for name in ("cudaLaunchKernel", "cudaStreamSynchronize")
    ]
    events += [("cuda_driver", "cuLaunchKernelEx", 0, 1), ("cpu_op", "LaunchKernel", 0, 1)]
    profile.events = [dict(zip(("cat", "name", "ts", "dur"), e, strict=True)) for e in events]
    profile.events.append({"name": "process_name", "ph": "M"})
    # busy .5 s a step; without the profiler a step takes 1 s
    assert profile.figures(images_a_second=16, batch_size=16) == {
        "gpu_idle": pytest.approx(0.5), "launches_per_step": 1, "kernels_per_step": 1, "data": 0.25,
    }  # fmt: skip


def test_some_steps_of_the_second_epoch_are_profiled(tmp_path, monkeypatch):
    monkeypatch.setattr(usage, "STEPS", 3)
    learn, profile = make_learner(tmp_path, count=8), usage.Profile(CPU)
    for learn.epochs_before in range(3):
        with learn.no_bar():
            learn.fit(1, cbs=profile)
        assert profile.steps == (0 if learn.epochs_before == 0 else 3)
    assert 0 < profile.waited < profile.whole
    found = [event["name"] for event in profile.events if event.get("cat") == "cpu_op"]
    assert found.count("aten::l1_loss") == 3


def test_figures_of_a_gpu_come_from_one_more_training(tmp_path, monkeypatch):
    learn, asked = make_learner(tmp_path, count=8), {}

    class Contender:
        def run(self, cbs, **options):
            asked.update(options)
            for learn.epochs_before in range(2):
                with learn.no_bar():
                    learn.fit(1, cbs=cbs)

    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H200")
    row = speed.gpu_figures(Contender(), 1000.0, 989e8, CPU)
    assert asked == {"limit": speed.PROFILED}
    assert row["share_of_peak"] == pytest.approx(0.1)
    assert row["gpu_idle"] == 1 and row["launches_per_step"] == 0 and 0 < row["data"] < 1
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "another")
    assert speed.gpu_figures(Contender(), 1000.0, 989e8, CPU)["share_of_peak"] is None


def test_the_whole_runs(tmp_path, monkeypatch, capsys):
    pair = speed.Pair("gan", "resnet20", SIZE, 3.0, 32 * speed.QUICK)
    monkeypatch.setattr(speed, "PAIRS", {"cpu": [pair, pair._replace(method="l1")]})
    monkeypatch.setattr(speed, "dataset_root", lambda name: make(tmp_path / "s", numbered("", 20)))
    monkeypatch.setattr(peer, "cores", lambda: 1)
    monkeypatch.setenv("COLOURGAN_CACHE", "restored afterwards")
    out = tmp_path / "results.json"
    speed.main(["--device", "cpu", "--only", "gan/resnet20", "--quick", "--out", str(out)])
    written = json.loads(out.read_text())
    assert written["device"] == "cpu" and written["quick"] and written["batch_size"] == 16
    assert set(written["versions"]) >= {"colourgan", "torch", "fastai", "timm"}
    (row,) = written["pairs"].values()
    assert row["peer"] > 0 and row["ratio"] == pytest.approx(row["colourgan"] / row["peer"], 1e-3)
    assert row["gflop_per_image"] > 0
    assert f"gan/resnet20/{SIZE}" in capsys.readouterr().out


def test_a_pair_that_is_not_there_is_refused(capsys):
    with pytest.raises(SystemExit) as ended:
        speed.main(["--device", "cpu", "--only", "gan/resnet2"])
    assert ended.value.code == 2
    assert "no pair gan/resnet2: choices: gan/resnet20/32" in capsys.readouterr().err


@pytest.mark.parametrize(("size", "ending"), [(32, ".png"), (64, ".jpg")])
def test_pictures_differ_and_have_the_size_of_the_training(size, ending, tmp_path, monkeypatch):
    monkeypatch.setattr(speed, "dataset_root", lambda name: make(tmp_path / "s", numbered("", 4)))
    files = speed.write_pictures(tmp_path / "p", 12, size)
    assert len(files) == 12 and len(list((tmp_path / "p" / "valid").iterdir())) == speed.VALID
    pictures = [np.array(Image.open(file)) for file in files]
    assert {file.suffix for file in files} == {ending}
    assert {p.shape for p in pictures} == {(size, size, 3)}
    assert len({p.tobytes() for p in pictures}) == 12
