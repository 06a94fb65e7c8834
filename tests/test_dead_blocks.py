"""A decoder block whose units have died is noticed and told, once."""

import pytest
import torch

from colourgan.generators import GENERATORS, dynamic_unet
from colourgan.learners import pretrain
from colourgan.learners.color import dead_blocks

L = torch.rand(4, 1, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1


def killed(number: int, share: float = 1.0):
    """A generator in whose block of that number, from 1, so many units never fire."""
    torch.manual_seed(0)
    generator = dynamic_unet("resnet20@none", 32, decoder_channels=20)
    convolution = generator.blocks[number - 1].conv2[0]
    dead = round(20 * share)
    with torch.no_grad():
        convolution.weight[:dead] = 0
        convolution.bias[:dead] = -1
    return generator


def test_living_blocks_are_not_dead():
    assert dead_blocks(killed(1, share=0.0), L) == set()


@pytest.mark.parametrize("number", [1, 2])
def test_a_dead_block_is_found(number):
    generator = killed(number)
    # What follows a dead block sees the image through its own skip connection.
    assert dead_blocks(generator, L) == {number}
    assert not generator.blocks[0].conv2._forward_hooks


def test_half_a_block_lives():
    assert dead_blocks(killed(2, share=0.5), L) == set()


def test_a_generator_without_blocks_has_none():
    assert dead_blocks(GENERATORS["pix2pix_unet"](16, 4), torch.zeros(1, 1, 16, 16)) == set()


def test_it_is_told_once_a_run(tmp_path, caplog, monkeypatch):
    monkeypatch.setenv("FASTAI_HOME", str(tmp_path))
    found = iter([set(), {3}, {2, 3}])
    monkeypatch.setattr("colourgan.learners.color.dead_blocks", lambda *_: next(found))
    pretrain(
        encoder="resnet20@none", data="sample", size=16, limit=8, epochs=3, frozen_epochs=0,
        decoder_channels=4, out=tmp_path / "run",
    )  # fmt: skip
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == 2
    assert "epoch 2: decoder block 3 is dead" in warnings[0] and "--lr" in warnings[0]
    assert "epoch 3: decoder block 2 is dead" in warnings[1]
