"""Convolutions that a CPU computes slowly as they are, computed in another way: the same values.

How much slower, on one core with AVX512_BF16: `python bench/convolutions.py`.
"""

import torch
import torch.nn.functional as F
from timm.layers import Conv2dSame, pad_same
from torch import Tensor, nn
from torch.autograd import Function


class ToOneChannel(nn.Conv2d):
    """A convolution of stride 1 to one channel; on a CPU by one value a pixel and kernel position.

    A matrix product gives each pixel's share in the k × k outputs around it, which are then added
    up. Libraries work on blocks of output channels, of which nearly all would be empty here.
    """

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu" or not torch.is_grad_enabled():
            return super().forward(x)
        (k, _), (padding, _), (height, width) = self.kernel_size, self.padding, x.shape[-2:]
        # In reverse: `fold` adds a share where the kernel would be reflected.
        shares = self.weight[0].flatten(1).flip(1).T.reshape(k * k, -1, 1, 1)
        shares = F.conv2d(x, shares).flatten(2)
        side = 2 * padding - k + 1
        shape = height + side, width + side
        exact = shares.to(torch.promote_types(shares.dtype, torch.float32))
        out = F.fold(exact, shape, k, padding=k - 1 - padding)
        out = out if self.bias is None else out + self.bias.view(1, -1, 1, 1)
        return out.to(shares.dtype)


class _Depthwise(Function):
    """A depthwise convolution in bfloat16 whose gradient is computed in float32."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, *geometry) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.geometry = geometry
        return F.conv2d(x.bfloat16(), weight.bfloat16(), None, *geometry)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple:
        x, weight = ctx.saved_tensors
        stride, padding, dilation, groups = ctx.geometry
        last = {"dtype": torch.float32, "memory_format": torch.channels_last}
        needed = [ctx.needs_input_grad[0], ctx.needs_input_grad[1], False]
        to_x, to_weight, _ = torch.ops.aten.convolution_backward(
            grad.to(**last), x.to(**last), weight.to(**last), None, stride, padding, dilation,
            False, [0, 0], groups, needed,
        )  # fmt: skip
        return to_x if to_x is None else to_x.to(x.dtype), to_weight, *[None] * len(ctx.geometry)


class DepthwiseConv2d(nn.Conv2d):
    """A depthwise convolution; under a CPU's bfloat16 autocast its gradient is float32.

    That is for one with a stride, a kernel above 3×3 or few pixels: oneDNN has no bfloat16 kernel
    for its gradient, and what it falls back to takes many times as long as float32.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not _slow(self, x):
            return super().forward(x)
        return _Depthwise.apply(
            x, self.weight, self.stride, self.padding, self.dilation, self.groups
        )


class DepthwiseConv2dSame(Conv2dSame):
    """The same for timm's convolution with TensorFlow's padding."""

    def forward(self, x: Tensor) -> Tensor:
        if not _slow(self, x):
            return super().forward(x)
        x = pad_same(x, self.kernel_size, self.stride, self.dilation)
        return _Depthwise.apply(x, self.weight, self.stride, (0, 0), self.dilation, self.groups)


DEPTHWISE = {nn.Conv2d: DepthwiseConv2d, Conv2dSame: DepthwiseConv2dSame}


def with_fast_depthwise(network: nn.Module) -> nn.Module:
    """The network, its depthwise convolutions replaced in place; parameters and names stay."""
    for module in network.modules():
        kind = DEPTHWISE.get(type(module))
        plain = kind and module.bias is None and module.padding_mode == "zeros"
        if plain and module.groups == module.in_channels == module.out_channels > 1:
            module.__class__ = kind
    return network


def _slow(layer: nn.Conv2d, x: Tensor) -> bool:
    kernel = max(layer.kernel_size)
    return (
        x.device.type == "cpu"
        and (layer.stride != (1, 1) or kernel > 3 or min(x.shape[-2:]) < kernel)
        and torch.is_grad_enabled()
        and torch.is_autocast_enabled("cpu")
        and torch.get_autocast_dtype("cpu") is torch.bfloat16
    )
