"""Random changes of training batches, on their device: of the picture, and of its lightness."""

import math

import torch
from fastai.torch_core import TensorImage
from fastai.vision.augment import RandTransform
from fasttransform import ItemTransform
from torch.nn.functional import affine_grid, avg_pool2d, grid_sample, pad

from colourgan.errors import UsageError

AUGMENTATIONS = ("flip", "crop", "zoom", "aging")
LEAST_ZOOM = 0.4  # of the area of an image that "zoom" leaves


def augmentations(mode: str) -> set[str]:
    """What a mode such as "flip+zoom" asks for; UsageError for words that are not AUGMENTATIONS."""
    words = set() if mode == "none" else set(mode.split("+"))
    if not words <= set(AUGMENTATIONS):
        choices = f"none, or with + between: {', '.join(AUGMENTATIONS)}"
        raise UsageError(f"unknown augmentation '{mode}': choices: {choices}")
    return words


class Augment(RandTransform):
    """Random flips, shifts and crops, drawn anew for each image of a training batch, on its device.

    mode: words of AUGMENTATIONS joined by +, or "none". "crop" shifts by up to an eighth of the
    side with reflection padding; "zoom" resizes a random crop, of LEAST_ZOOM to 1 of the area and
    an aspect ratio of 3:4 to 4:3, to the whole.
    """

    split_idx = 0

    # Drawn on the CPU, so that a seed means the same on every device; moved without waiting for it.
    def __init__(self, mode: str):
        self.mode = augmentations(mode)
        super().__init__(p=1.0)

    def encodes(self, rgb: TensorImage):  # uint8 (N, 3, H, W)
        count = len(rgb)
        if "zoom" in self.mode:
            area = torch.empty(count).uniform_(LEAST_ZOOM, 1)
            ratio = torch.empty(count).uniform_(-math.log(4 / 3), math.log(4 / 3)).exp()
            width, height = ((area * r).sqrt().clamp(max=1) for r in (ratio, 1 / ratio))
            x, y = ((1 - side) * torch.empty(count).uniform_(-1, 1) for side in (width, height))
            theta = torch.zeros(count, 2, 3)
            theta[:, 0, 0], theta[:, 1, 1], theta[:, 0, 2], theta[:, 1, 2] = width, height, x, y
            grid = affine_grid(theta, list(rgb.shape), align_corners=False)
            grid = grid.to(rgb.device, non_blocking=True)
            part = grid_sample(rgb.float(), grid, padding_mode="reflection", align_corners=False)
            rgb = part.round().clamp(0, 255).to(torch.uint8)
        if "crop" in self.mode:
            most, last = rgb.shape[-1] // 8, rgb.shape[-1] - 1  # images are square
            shown = torch.arange(last + 1) + torch.randint(-most, most + 1, (2, count, 1))
            # Reflected at the borders.
            y, x = (last - (last - shown.abs()).abs()).to(rgb.device, non_blocking=True)
            image = torch.arange(count, device=rgb.device)[:, None, None]
            # Indexing with the channel slice in between gives (N, H, W, 3), channels last.
            rgb = rgb[image, :, y[:, :, None], x[:, None, :]].permute(0, 3, 1, 2)
        if "flip" in self.mode:
            flip = (torch.rand(count) < 0.5).to(rgb.device, non_blocking=True)
            rgb = torch.where(flip[:, None, None, None], rgb.flip(-1), rgb)
        return rgb


class Aging(ItemTransform):
    """Makes the lightness of training batches that of older photographs; colors stay the true ones.

    Each applied to about half of the images: contrast changed by up to a fifth, brightness by up to
    10 of 100 units of L, grain with a standard deviation of up to 3, blur.
    """

    split_idx = 0

    def encodes(self, batch):
        L, ab = batch
        shape = (len(L), 1, 1, 1)
        # Uniform in (0, 1] for about half of the images, 0 for the others.
        strengths = [torch.rand(shape) * (torch.rand(shape) < 0.5) for _ in range(4)]
        contrast, brightness, grain, blur = (
            each.to(L.device, non_blocking=True) for each in strengths
        )
        # These two uniform in -1 to 1 for that half.
        contrast, brightness = (2 * each - each.sign() for each in (contrast, brightness))
        L = L * (1 + 0.2 * contrast) + 0.2 * brightness
        soft = avg_pool2d(pad(L, (1, 1, 1, 1), mode="replicate"), 3, 1)
        noise = torch.randn(L.shape).to(L.device, non_blocking=True)
        return (torch.lerp(L, soft, blur) + 0.06 * grain * noise).clamp(-1, 1), ab
