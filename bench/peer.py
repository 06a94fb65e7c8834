"""A training loop that is widely copied, for bench/speed.py to compare with.

The structure is that of moein-shariatnia/Deep-Learning, "Image Colorization Tutorial", in words of
our own: every image opened, resized, flipped and taken to Lab by itself, by Pillow and
scikit-image, in the workers of a torch DataLoader; float32, batches (N, C, H, W) in torch's default
memory layout, torch's Adam, a number of every loss kept for each batch. Networks, batch size and
the loss of `bins` are colourgan's own, so that both loops compute the same; what makes layers of
them faster in float32 serves this loop, too.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from skimage.color import rgb2lab
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from colourgan.devices import cores
from colourgan.discriminators import DISCRIMINATORS
from colourgan.generators import GENERATORS
from colourgan.reconstructions import ClassLoss

LR, BETAS, L1_WEIGHT = 2e-4, (0.5, 0.999), 100.0


class Pictures(Dataset):
    """(L, ab) of image files, float32 (1, size, size) and (2, size, size) in networks' units."""

    def __init__(self, files: list[Path], size: int):
        bicubic = transforms.InterpolationMode.BICUBIC
        resize = transforms.Resize((size, size), bicubic)
        self.files = files
        self.augment = transforms.Compose([resize, transforms.RandomHorizontalFlip()])

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image = self.augment(Image.open(self.files[index]).convert("RGB"))
        lab = transforms.ToTensor()(rgb2lab(np.array(image)).astype(np.float32))
        return lab[:1] / 50 - 1, lab[1:] / 110


def make_loader(files: list[Path], size: int, batch_size: int, device: torch.device) -> DataLoader:
    """Shuffled batches, made by as many workers as there are cores, which stay between epochs."""
    return DataLoader(
        Pictures(files, size), batch_size, shuffle=True, num_workers=cores(),
        persistent_workers=True, pin_memory=device.type == "cuda",
    )  # fmt: skip


class L1:
    """A generator trained by L1 alone."""

    def __init__(self, encoder: str, size: int, device: torch.device, **options):
        generator = GENERATORS["dynamic_unet"](f"{encoder}@none", size, **options)
        self.generator = generator.to(device)
        self.optimizer = self.adam(self.generator)
        self.l1 = nn.L1Loss()

    def adam(self, network: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.Adam(network.parameters(), lr=LR, betas=BETAS)

    def loss(self, L: Tensor, ab: Tensor) -> Tensor:
        return self.l1(self.generator(L), ab)

    def step(self, L: Tensor, ab: Tensor) -> dict[str, float]:
        """Trains on one batch; the losses, by name."""
        loss = self.loss(L, ab)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return {"loss": loss.item()}


class Bins(L1):
    """A generator of color classes trained by cross-entropy."""

    def __init__(self, encoder: str, size: int, device: torch.device):
        super().__init__(encoder, size, device, bins=True)
        self.cross_entropy = ClassLoss(self.generator.classes)

    def loss(self, L: Tensor, ab: Tensor) -> Tensor:
        with self.generator.giving_classes():
            return self.cross_entropy(self.generator(L), ab)


class Gan(L1):
    """pix2pix: a generator trained by L1 and against a PatchGAN, each with an Adam of its own."""

    def __init__(self, encoder: str, size: int, device: torch.device):
        super().__init__(encoder, size, device)
        self.discriminator = DISCRIMINATORS["patchgan"](size).to(device)
        self.d_optimizer = self.adam(self.discriminator)
        self.bce = nn.BCEWithLogitsLoss()

    def judged(self, L: Tensor, ab: Tensor, real: bool) -> Tensor:
        """The loss of the discriminator's logits for these colors, wanted to say `real`."""
        logits = self.discriminator(L, ab)
        return self.bce(logits, torch.full_like(logits, float(real)))

    def step(self, L: Tensor, ab: Tensor) -> dict[str, float]:
        fake = self.generator(L)
        self.discriminator.requires_grad_(True)
        self.d_optimizer.zero_grad()
        d_fake, d_real = self.judged(L, fake.detach(), False), self.judged(L, ab, True)
        ((d_fake + d_real) / 2).backward()
        self.d_optimizer.step()
        self.discriminator.requires_grad_(False)
        self.optimizer.zero_grad()
        adversarial, l1 = self.judged(L, fake, True), self.l1(fake, ab)
        (adversarial + L1_WEIGHT * l1).backward()
        self.optimizer.step()
        losses = {"d_fake": d_fake, "d_real": d_real, "g_loss": adversarial, "l1": l1}
        return {name: loss.item() for name, loss in losses.items()}


METHODS = {"gan": Gan, "l1": L1, "bins": Bins}


def train_epoch(peer: L1, loader: DataLoader, device: torch.device) -> dict[str, float]:
    """Trains once on all images; the mean of every loss over the batches."""
    sums: dict[str, float] = {}
    with cudnn_benchmark():
        for L, ab in loader:
            L, ab = (part.to(device, non_blocking=True) for part in (L, ab))
            for name, loss in peer.step(L, ab).items():
                sums[name] = sums.get(name, 0.0) + loss
    return {name: total / len(loader) for name, total in sums.items()}


@contextmanager
def cudnn_benchmark() -> Iterator[None]:
    """Inside the block cuDNN tries its algorithms, whatever the rest of the process has set."""
    before, torch.backends.cudnn.benchmark = torch.backends.cudnn.benchmark, True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before
