"""Convolutions computed in another way give the values of the plain ones."""

import copy

import pytest
import torch
from timm.layers import Conv2dSame
from torch import nn

from colourgan.convolutions import (
    DepthwiseConv2d,
    DepthwiseConv2dSame,
    ToOneChannel,
    with_fast_depthwise,
)
from colourgan.encoders import build_encoder


def gradients(layer, x, dtype=None):
    """The output, and the gradients of input and weight."""
    x = x.clone().requires_grad_()
    with torch.autocast("cpu", dtype or torch.bfloat16, enabled=dtype is not None):
        out = layer(x)
    torch.manual_seed(1)
    out.backward(torch.randn_like(out))
    return out.detach(), x.grad, layer.weight.grad


@pytest.mark.parametrize(("kernel", "padding"), [(4, 1), (3, 1), (3, 0), (4, 3)])
@pytest.mark.parametrize("bias", [True, False])
def test_to_one_channel(kernel, padding, bias):
    plain = nn.Conv2d(6, 1, kernel, padding=padding, bias=bias)
    fast = ToOneChannel(6, 1, kernel, padding=padding, bias=bias)
    fast.load_state_dict(plain.state_dict())
    x = torch.randn(2, 6, 9, 12)
    for value, wanted in zip(gradients(fast, x), gradients(plain, x), strict=True):
        torch.testing.assert_close(value, wanted, rtol=1e-4, atol=1e-5)
    if bias:
        torch.testing.assert_close(fast.bias.grad, plain.bias.grad)
    with torch.autocast("cpu", torch.bfloat16):
        assert fast(x).dtype == plain(x).dtype == torch.bfloat16


def test_to_one_channel_has_a_second_derivative():
    fast = ToOneChannel(2, 1, 4, padding=1).double()
    x = torch.randn(1, 2, 5, 5, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradgradcheck(fast, x)


def depthwise(kind, stride, kernel, **more):
    torch.manual_seed(0)
    return kind(8, 8, kernel, stride=stride, groups=8, bias=False, **more)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(
    ("kind", "fast", "more"),
    [(nn.Conv2d, DepthwiseConv2d, {"padding": 2}), (Conv2dSame, DepthwiseConv2dSame, {})],
    ids=["torch", "timm"],
)
def test_depthwise_gradients_are_those_of_float32(kind, fast, more, stride):
    plain = depthwise(kind, stride, 5, **more)
    network = with_fast_depthwise(nn.Sequential(copy.deepcopy(plain)))
    layer = network[0]
    assert type(layer) is fast and list(network.state_dict()) == ["0.weight"]
    x = torch.randn(2, 8, 7, 7).bfloat16().float()
    with torch.no_grad():
        for each in (plain, layer):
            each.weight.copy_(each.weight.bfloat16())
    out, to_x, to_weight = gradients(layer, x, torch.bfloat16)
    assert torch.equal(out, gradients(copy.deepcopy(plain), x, torch.bfloat16)[0])
    # What comes back is rounded to bfloat16, the arithmetic on the way is not.
    wanted, x = copy.deepcopy(plain), x.clone().requires_grad_()
    torch.manual_seed(1)
    wanted(x).backward(torch.randn(out.shape, dtype=torch.bfloat16).float())
    torch.testing.assert_close(to_x, x.grad, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(to_weight, wanted.weight.grad, rtol=1e-5, atol=1e-5)


def test_in_float32_and_without_gradients_depthwise_is_as_it_was():
    plain, x = depthwise(nn.Conv2d, 2, 3, padding=1), torch.randn(2, 8, 6, 6)
    layer = with_fast_depthwise(nn.Sequential(copy.deepcopy(plain)))[0]
    for value, wanted in zip(gradients(layer, x), gradients(plain, x), strict=True):
        assert torch.equal(value, wanted)
    traced = torch.jit.trace(layer.eval(), x, check_trace=False)
    assert torch.equal(traced(x), plain(x))


def test_where_bfloat16_is_as_fast_the_gradient_is_as_it_was():
    plain, x = depthwise(nn.Conv2d, 1, 3, padding=1), torch.randn(2, 8, 6, 6)
    layer = with_fast_depthwise(nn.Sequential(copy.deepcopy(plain)))[0]
    values = gradients(layer, x, torch.bfloat16), gradients(plain, x, torch.bfloat16)
    for value, wanted in zip(*values, strict=True):
        assert torch.equal(value, wanted)


def test_only_depthwise_convolutions_are_replaced():
    others = [
        nn.Conv2d(4, 4, 3),
        nn.Conv2d(4, 4, 3, groups=2),
        nn.Conv2d(4, 8, 3, groups=4),
        nn.Conv2d(1, 1, 3),
        nn.Conv2d(4, 4, 3, groups=4, bias=True),
        nn.Conv2d(4, 4, 3, groups=4, bias=False, padding=1, padding_mode="reflect"),
    ]
    assert {type(m) for m in with_fast_depthwise(nn.Sequential(*others))} == {nn.Conv2d}


def test_encoders_have_the_fast_ones():
    stages, _ = build_encoder("efficientnet_lite0@none", False)
    kinds = {type(m) for m in stages.modules() if getattr(m, "groups", 1) > 1}
    assert kinds == {DepthwiseConv2d, DepthwiseConv2dSame}
