"""What the convolutions of colourgan.convolutions save on this CPU: python bench/convolutions.py

Forward and backward in milliseconds, batches of 16, channels last: as torch computes them and as
colourgan does, in turns, the median of each, and their ratio.
"""

import argparse
import time
from statistics import median

import torch
from torch import nn

from colourgan.convolutions import ToOneChannel, with_fast_depthwise

BATCH = 16
DEPTHWISE = [
    (960, 2, 3, 1), (1152, 2, 5, 1), (672, 7, 5, 2), (576, 4, 3, 2), (192, 8, 3, 2),
    (144, 16, 3, 2), (96, 32, 3, 2), (144, 16, 3, 1),
]  # fmt: skip
TO_ONE = [(128, 31), (128, 15)]


def milliseconds(layer: nn.Module, x: torch.Tensor, dtype: torch.dtype | None) -> float:
    """Of one forward and backward pass."""
    x = x.to(memory_format=torch.channels_last).requires_grad_()
    start = time.perf_counter()
    with torch.autocast("cpu", dtype or torch.bfloat16, enabled=dtype is not None):
        out = layer(x)
    out.backward(torch.ones_like(out))
    return 1000 * (time.perf_counter() - start)


def compare(what: str, plain: nn.Module, fast: nn.Module, channels: int, side: int, turns: int):
    """Prints one line for each precision."""
    for name, dtype in (("bf16", torch.bfloat16), ("fp32", None)):
        x = torch.randn(BATCH, channels, side, side)
        times = [
            [milliseconds(layer, x.clone(), dtype) for layer in (plain, fast)] for _ in range(turns)
        ]
        one, other = (median(each) for each in zip(*times[1:], strict=True))
        print(f"{what:34} {name}  {one:7.2f}  {other:7.2f}  {one / other:5.1f}×")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=9)
    turns = parser.parse_args().turns
    print(f"{torch.get_num_threads()} threads{'':25} torch  colourgan  ratio")
    for channels, side, kernel, stride in DEPTHWISE:
        what = f"depthwise {channels} @{side} {kernel}×{kernel} stride {stride}"
        shape = channels, channels, kernel, stride, kernel // 2
        plain = nn.Conv2d(*shape, groups=channels, bias=False)
        fast = with_fast_depthwise(nn.Sequential(nn.Conv2d(*shape, groups=channels, bias=False)))
        compare(what, plain, fast, channels, side, turns)
    for channels, side in TO_ONE:
        layers = (kind(channels, 1, 4, padding=1) for kind in (nn.Conv2d, ToOneChannel))
        compare(f"{channels} to 1 @{side} 4×4", *layers, channels, side, turns)


if __name__ == "__main__":
    main()
