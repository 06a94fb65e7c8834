"""FusedAdam: fastai's Adam, number by number."""

from copy import deepcopy

import pytest
import torch
from fastai.optimizer import Adam
from torch import nn

from colourgan.optimizers import FusedAdam, fused_adam

SETTINGS = {"lr": 1e-2, "mom": 0.8, "sqr_mom": 0.99, "eps": 1e-5, "wd": 0.1}


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2))


def made(kind, net):
    optimizer = kind([list(net[:2].parameters()), list(net[2:].parameters())], **SETTINGS)
    for p in (*net[0].parameters(), net[1].bias):
        optimizer.state[p]["do_wd"] = False
    return optimizer


def train(net, optimizer, steps, start=0):
    for step in range(start, start + steps):
        torch.manual_seed(step)
        optimizer.set_hyper("mom", 0.8 + 0.01 * step)
        optimizer.zero_grad()
        net(torch.randn(8, 3)).square().mean().backward()
        optimizer.step()


def assert_same(one, other):
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("frozen", [False, True])
def test_it_steps_as_fastais_adam(frozen):
    nets = network(), network()
    for net, kind in zip(nets, (Adam, FusedAdam), strict=True):
        optimizer = made(kind, net)
        optimizer.set_hyper("lr", [1e-3, 1e-2])
        if frozen:
            optimizer.freeze()
        train(net, optimizer, 5)
    assert_same(*nets)
    start = network()
    assert torch.equal(nets[1][1].weight, start[1].weight) == frozen
    assert not torch.equal(nets[1][3].weight, start[3].weight)


def test_biases_and_norms_do_not_decay():
    net = network()
    optimizer = made(FusedAdam, net)
    before = deepcopy(net)
    for p in net.parameters():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    assert torch.equal(net[1].bias, before[1].bias) and torch.equal(net[0].weight, before[0].weight)
    torch.testing.assert_close(net[1].weight, before[1].weight * (1 - 1e-2 * 0.1))


def test_it_goes_on_from_its_own_state_and_from_that_of_fastais_adam():
    for kind in (Adam, FusedAdam):
        whole, parts = network(), network()
        train(whole, made(Adam, whole), 6)
        first = made(kind, parts)
        train(parts, first, 3)
        second = made(FusedAdam, parts)
        second.load_state_dict(deepcopy(first.state_dict()))
        train(parts, second, 3, start=3)
        assert_same(whole, parts)


def test_clearing_forgets_the_moments_and_keeps_what_does_not_decay():
    net = network()
    optimizer = made(FusedAdam, net)
    train(net, optimizer, 2)
    optimizer.clear_state()
    assert optimizer.state[net[1].bias] == {"do_wd": False}
    assert optimizer.state[net[1].weight] == {}


def test_the_discriminators_adam_is_fused():
    net = network()
    assert fused_adam(net.parameters(), 1e-3, (0.5, 0.999)).defaults["fused"]
