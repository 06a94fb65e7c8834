"""ImagePool: generated images of earlier batches, shown to a discriminator again."""

import torch
from torch import Tensor

from colourgan.callbacks.gan import refuse_negative


class ImagePool:
    """A store of `size` generated images that keeps a discriminator from chasing the newest ones.

    The first `size` images are stored and shown. After that each image is, by a coin of its own,
    either shown as it is or exchanged: it takes the place of a random stored one, which is shown.
    seed: of the pool's own random generator, which no other draw moves. Size 0 shows all as they
    are. Raises UsageError for a negative size.
    Source: Shrivastava et al., "Learning from Simulated and Unsupervised Images through Adversarial
    Training", CVPR 2017, section 2.3; size 50: Zhu et al. (CycleGAN), ICCV 2017, section 4.
    """

    def __init__(self, size: int = 50, seed: int = 0):
        refuse_negative(pool_size=size)
        self.size = size
        self.images: list[tuple[Tensor, ...]] = []
        self.random = torch.Generator().manual_seed(seed)

    def exchange(self, *images: Tensor) -> tuple[Tensor, ...]:
        """As many images as are handed in, some of them older.

        images: (N, C, H, W), the parts of an image (say L and ab), which stay together; detached.
        """
        shown = [self._exchange(image) for image in zip(*images, strict=True)]
        return tuple(torch.stack(part) for part in zip(*shown, strict=True))

    def _exchange(self, image: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        # Clones: a slice would keep, and save, the whole batch.
        if len(self.images) < self.size:
            self.images.append(tuple(part.clone() for part in image))
            return image
        if not self.size or torch.rand((), generator=self.random) < 0.5:
            return image
        place = int(torch.randint(self.size, (), generator=self.random))
        stored = self.images[place]
        self.images[place] = tuple(part.clone() for part in image)
        return tuple(part.to(image[0].device) for part in stored)

    def state_dict(self) -> dict:
        """The stored images and the state of the random generator."""
        return {"images": list(self.images), "random": self.random.get_state()}

    def load_state_dict(self, state: dict) -> None:
        """Takes over both."""
        self.images = [tuple(parts) for parts in state["images"]]
        self.random.set_state(state["random"].cpu())
