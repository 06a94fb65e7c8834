"""fastai DataLoaders that read whole batches from the cache and compute on the device."""

import random
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from fastai.data.core import DataLoaders, TfmdDL, TfmdLists
from fastai.torch_core import TensorCategory, TensorImage, to_detach
from fastcore.basics import chunked
from fasttransform import ItemTransform, Transform
from PIL import Image
from torch import Tensor

from colourgan import color, processes
from colourgan.datasets.augmentation import Aging, Augment, augmentations
from colourgan.datasets.cache import (
    Cached,
    cached_images,
    fit_square,
    warn_left_out,
    warn_skipped,
)
from colourgan.datasets.parts import VALID_MOST, VALID_SHARE, training_parts
from colourgan.datasets.shards import open_parts
from colourgan.datasets.sources import dataset_root, is_stream
from colourgan.datasets.streams import Stream, decoded, first_images
from colourgan.errors import UsageError
from colourgan.images import read_rgb

RESIDENT = 0.25  # of a GPU's free memory that images may take
FEWEST_UNPAIRED = 4  # training images: two in each half, for batch norm


class OpenRGB(Transform):
    """A path, PIL image or (H, W, 3) uint8 array as a (3, size, size) uint8 tensor."""

    def __init__(self, size: int):
        self.size = size

    def encodes(self, source):
        if isinstance(source, np.ndarray):
            source = Image.fromarray(source)
        pixels = np.array(fit_square(read_rgb(source), self.size))
        return TensorImage(torch.from_numpy(pixels).permute(2, 0, 1))


class Pictures(TfmdLists):
    """Items that OpenRGB opens, whatever they are: learn.predict takes paths, images and arrays."""

    def infer_idx(self, x) -> int:
        """How many transforms an item has behind it already: none."""
        return 0


class ToLab(ItemTransform):
    """A batch of uint8 RGB images as (L, ab); decodes to (grey, color) pictures to show."""

    def encodes(self, rgb):
        return color.encode(rgb.as_subclass(Tensor))

    def decodes(self, batch):
        L, ab = (part.as_subclass(Tensor).float() for part in batch)
        # Of three channels: fastai shows a single one in negative, stretched to black and white.
        grey = color.lightness_to_grey(L).expand(-1, 3, -1, -1)
        return TensorImage(grey), TensorImage(color.decode(L, ab))


class CachedDL(TfmdDL):
    """A TfmdDL that takes whole batches from an array instead of opening files one by one.

    images: (N, S, S, 3) uint8, row i holding item i of `dataset`, an array or a tensor on the
    device; labels: (N,) class numbers, or None. A loader that fastai derives from this one
    (test_dl, export) opens its items instead.

    part: (i, n) to yield the i-th part of n of every batch, which `bs` counts as a whole. Training
    batches are shortened to n equal parts; a last one of which only an image each would be left is
    dropped. Of validation batches nothing is left out, and the parts may differ by an image.
    """

    _n_inp = 1
    part = 0, 1

    def __init__(self, dataset=None, images=None, labels=None, **kwargs):
        self.images, self.labels = images, labels
        super().__init__(dataset, **kwargs)

    def show_results(self, b, out, **kwargs):
        import fastai.vision.learner  # noqa: F401 registers how pictures are drawn side by side

        return super().show_results(b, out, **kwargs)

    def same_images(self) -> dict:
        """Arguments for `new`: of a loader that takes the same images, with another `dataset`."""
        return {"images": self.images}

    def create_batches(self, samps: Iterable[int]) -> Iterator:
        if self.images is None:
            yield from super().create_batches(samps)
            return
        for rows in chunked(samps, self.bs, self.drop_last):
            if len(rows := self._own(rows)) == 0:
                continue
            if isinstance(self.images, Tensor):
                rgb = self.images[torch.tensor(rows).to(self.images.device, non_blocking=True)]
            else:
                rgb = torch.from_numpy(self.images[np.asarray(rows)])
            rgb = TensorImage(rgb.permute(0, 3, 1, 2))
            yield rgb if self.labels is None else (rgb, TensorCategory(self.labels[rows]))

    def _own(self, rows: list[int]) -> list[int]:
        i, n = self.part
        if self.shuffle and n > 1:
            rows = rows[: self._shared(len(rows))]
        return rows[i * len(rows) // n : (i + 1) * len(rows) // n]

    def _shared(self, count: int) -> int:
        """How many images of a training batch are trained on."""
        n = self.part[1]
        alone = count // n == 1 < self.bs // n
        return 0 if alone else count // n * n

    def __len__(self) -> int:
        count = super().__len__()
        if self.part[1] > 1 and self.shuffle and self.images is not None:
            last = self.n - (count - 1) * self.bs
            count -= self._shared(last) == 0
        return count

    def to_detach(self, b, cpu: bool = True, gather: bool = True):
        """As fastai's, but of this process alone: `Distributed` puts the metrics together."""
        return to_detach(b, cpu, gather=False)


class StreamedDL(CachedDL):
    """A CachedDL that takes its images from a `Stream`, whose state it saves and loads.

    n: images that this process takes an epoch. A loader derived from this one (get_preds) reads the
    next epoch without moving the stream, one with other items (test_dl) opens them instead.
    """

    def __init__(self, dataset=None, stream: Stream | None = None, **kwargs):
        self.stream = stream
        super().__init__(dataset, **kwargs)

    def get_idxs(self) -> range:
        return range(self.n)  # a list of them would grow with the stream

    def create_batches(self, samps: Iterable[int]) -> Iterator:
        if self.stream is None:
            yield from super().create_batches(samps)
            return
        for images in chunked(self.stream.epoch(), self.bs, self.drop_last):
            yield TensorImage(torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2))

    def same_images(self) -> dict:
        return {"cls": type(self), "stream": self.stream and self.stream.afresh(), "n": self.n}

    def new(self, dataset=None, cls=None, **kwargs):
        more = self.same_images() if dataset is None else {"cls": type(self)}
        return super().new(dataset, **(more | ({"cls": cls} if cls else {}) | kwargs))

    def state_dict(self) -> dict:
        return self.stream.state_dict()

    def load_state_dict(self, state: dict) -> None:
        self.stream.load_state_dict(state)


def color_dataloaders(
    data: str | Path,
    size: int = 64,
    batch_size: int = 32,
    limit: int | None = None,
    augmentation: str = "flip+crop",
    device: str | torch.device = "cpu",
    data_dir: Path | None = None,
    seed: int = 0,
    rank: int | None = None,
    world: int | None = None,
) -> DataLoaders:
    """fastai DataLoaders of (L, ab) batches: training images augmented, validation images not.

    data: a name of DATASETS, a folder or a stream (see `open_parts`); size: side of the square
    images in pixels; limit: training images (and at most as many for validation; None: all); L:
    (N, 1, size, size), ab: (N, 2, size, size), in the networks' units (see `colourgan.color`).
    Of a stream, `limit` is images an epoch, the next epoch goes on with those that follow; seed: of
    its order; rank, world: the number of this process and how many share each epoch's images and
    its batches, by default as they train together.
    Raises UsageError for an unknown name, an empty folder or fewer than 2 training images.
    """
    tfms = [Augment(augmentation), ToLab()]
    if "aging" in augmentations(augmentation):
        tfms.append(Aging())
    if is_stream(data):
        rank = processes.rank() if rank is None else rank
        world = processes.world() if world is None else world
        loaders = streamed_loaders(data, size, batch_size, limit, tfms, device, seed, rank, world)
    else:
        train, valid = cached_parts(data, size, batch_size, limit, data_dir)
        loaders = (
            cached_loader(part, size, batch_size, tfms, device, training=part is train)
            for part in (train, valid)
        )
    dls = DataLoaders(*loaders, device=torch.device(device))
    dls.size = size  # the generator is built for it
    return dls


def unpaired_dataloaders(
    data: str | Path,
    size: int = 64,
    batch_size: int = 32,
    limit: int | None = None,
    augmentation: str = "flip+crop",
    device: str | torch.device = "cpu",
    data_dir: Path | None = None,
    seed: int = 0,
) -> tuple[DataLoaders, CachedDL]:
    """DataLoaders whose training images are one half, and a loader of the other: CycleGAN's two.

    The training images, `limit` of them for both, are split at random by `seed` into two halves
    without a common file; an odd one is left out. Both halves come as augmented, shuffled batches
    (L, ab) like those of `color_dataloaders`, whose other arguments these are: in the first half,
    the grey pictures, ab only serves to watch the loss. The validation images are not split.
    Raises UsageError as `color_dataloaders` does, and for fewer than 4 training images.
    """
    tfms = [Augment(augmentation), ToLab()]
    needed = f"at least {FEWEST_UNPAIRED} are needed, 2 in each half"
    if limit is not None and 1 < limit < FEWEST_UNPAIRED:
        raise UsageError(f"a limit of {limit} training images is too few: {needed}")
    train, valid = cached_parts(data, size, batch_size, limit, data_dir)
    if (count := len(train.files)) < FEWEST_UNPAIRED:
        raise UsageError(f"{data} has {count} usable training images: {needed}")
    rows, half = random.Random(seed).sample(range(count), count), count // 2
    grey, colored = (
        Cached(Rows(train.images, part), [train.files[row] for row in part], {})
        for part in (rows[:half], rows[half : 2 * half])
    )
    train, colors, valid = (
        cached_loader(part, size, batch_size, tfms, device, training=part is not valid)
        for part in (grey, colored, valid)
    )
    dls = DataLoaders(train, valid, device=torch.device(device))
    dls.size = size
    return dls, colors


class Rows:
    """Some rows of an array of images, in the order of `rows`; read only when indexed."""

    def __init__(self, images: np.ndarray, rows: list[int]):
        self.images, self.rows = images, np.array(rows)

    def __getitem__(self, index) -> np.ndarray:
        return self.images[self.rows[index]]


def blank_dataloaders(size: int) -> DataLoaders:
    """DataLoaders of one black image, for a learner that only predicts: fastai looks at an item."""
    blank = [Image.new("RGB", (size, size))]
    items = (Pictures(blank, OpenRGB(size), split_idx=i) for i in (0, 1))
    loaders = (CachedDL(part, bs=1, num_workers=0, after_batch=[ToLab()]) for part in items)
    dls = DataLoaders(*loaders, device=torch.device("cpu"))
    dls.size = size
    return dls


def labelled_dataloaders(
    data: str | Path,
    size: int,
    batch_size: int,
    limit: int | None,
    tfms: list,
    device: str | torch.device,
    data_dir: Path | None = None,
) -> tuple[DataLoaders, list[str]]:
    """DataLoaders of (rgb, label) and the class names, which are the images' folders."""
    train, valid = cached_parts(data, size, batch_size, limit, data_dir)
    names = sorted({file.parent.name for part in (train, valid) for file in part.files})
    loaders = []
    for part, training in ((train, True), (valid, False)):
        labels = torch.tensor([names.index(file.parent.name) for file in part.files])
        loaders.append(cached_loader(part, size, batch_size, tfms, device, training, labels))
    return DataLoaders(*loaders, device=torch.device(device)), names


def cached_parts(
    data: str | Path, size: int, batch_size: int, limit: int | None, data_dir: Path | None
) -> tuple[Cached, Cached]:
    """The decoded training and validation images of a data set. Raises UsageError."""
    _check_numbers(size, batch_size, limit)
    with processes.in_turn():
        parts = training_parts(dataset_root(str(data), data_dir))
        if not parts.train:
            needed = "at least 3 are needed to train and validate"
            raise UsageError(f"{data} has too few images: {needed}")
        train, valid = (cached_images(files, size, limit, warn=False) for files in parts)
    warn_skipped(train, valid)
    if len(train.files) < 2:
        raise UsageError(f"{data} has one usable training image: at least 2 are needed")
    return train, valid


def _check_numbers(size: int, batch_size: int, limit: int | None) -> None:
    if batch_size < 1:
        raise UsageError(f"batch size {batch_size} is too small: at least 1 is needed")
    if size < 1:
        raise UsageError(f"size {size} is too small: at least 1 pixel is needed")
    if limit is not None and limit < 2:
        raise UsageError(f"a limit of {limit} training images is too few: at least 2 are needed")


def cached_loader(
    cached: Cached, size: int, batch_size: int, tfms: list, device: str | torch.device,
    training: bool, labels: Tensor | None = None,
) -> CachedDL:  # fmt: skip
    """The images of one part, for training shuffled and with `split_idx` 0, else in order."""
    items = Pictures(cached.files, OpenRGB(size), split_idx=0 if training else 1)
    count = len(cached.files)
    device = torch.device(device)
    images = cached.images
    if device.type == "cuda" and fits(count * size * size * 3, torch.cuda.mem_get_info(device)[0]):
        images = torch.from_numpy(np.array(images[:])).to(device)
    drop_last = training and _ends_alone(count, batch_size)
    return CachedDL(
        items, images=images, labels=labels, bs=min(batch_size, count), shuffle=training,
        drop_last=drop_last, num_workers=0, after_batch=tfms, device=device,
    )  # fmt: skip


def fits(size: int, free: int) -> bool:
    """Whether images of so many bytes may stay on a GPU that has so many left for all."""
    return size <= RESIDENT * free


def streamed_loaders(
    data: str | Path, size: int, batch_size: int, limit: int | None, tfms: list,
    device: str | torch.device, seed: int = 0, rank: int = 0, world: int = 1,
) -> tuple[StreamedDL, CachedDL]:  # fmt: skip
    """Loaders of a stream's training images, which come when asked for, and validation images.

    The latter, VALID_MOST and `limit` at most, stay in memory. They are the first of the validation
    part; without one a tenth of the stream, its first images, which are never trained on:
    VALID_MOST of a stream of unknown length that has more. Raises UsageError for such a stream
    without a limit, and for too few images.
    """
    _check_numbers(size, batch_size, limit)
    parts, held, length = open_parts(data), {}, None
    if parts.valid is not None:
        samples, _ = first_images(parts.valid, min(VALID_MOST, limit or VALID_MOST))
        length = parts.train.length
    else:
        total = parts.train.length
        if total is None:
            first, _ = first_images(parts.train, VALID_MOST + 1)
            total = found if (found := sum(1 for _ in first)) <= VALID_MOST else None
        share = VALID_MOST
        if total is not None:
            share = min(VALID_MOST, max(1, int(total * VALID_SHARE)))
            length = total - share
        samples, held = first_images(parts.train, share)
    if length is None and limit is None:
        raise UsageError(
            f"{data} does not say how many images it has: add --limit, the images of an epoch"
        )
    count = min(each for each in (length, limit) if each is not None)
    if count // world < 2:
        raise UsageError(f"{data} has {count} training images: at least 2 are needed")
    images, reasons, such_as = [], Counter(), ""
    for place, image in decoded(samples, size):
        if isinstance(image, str):
            reasons[image] += 1
            such_as = such_as or place
        elif limit is None or len(images) < limit:
            images.append(image)
    if not images:
        raise UsageError(f"{data} has no usable color image to validate on")
    if reasons:
        warn_left_out(reasons, len(images), such_as)
    valid = cached_loader(
        Cached(np.stack(images), images, {}), size, batch_size, tfms, device, training=False
    )
    stream = Stream(parts.train, held, size, count, seed, rank, world)
    bs = min(max(1, batch_size // world), stream.share)
    items = Pictures(images[:1], OpenRGB(size), split_idx=0)  # fastai looks at an item
    train = StreamedDL(
        items, stream, n=stream.share, bs=bs, num_workers=0,
        drop_last=stream.share > bs and stream.share % bs == 1, after_batch=tfms,
        device=torch.device(device),
    )  # fmt: skip
    return train, valid


def _ends_alone(count: int, batch_size: int) -> bool:
    """Whether the last batch has one image, on which batch norm cannot train."""
    return count > batch_size and count % batch_size == 1


def set_batch_size(dls: DataLoaders, batch_size: int, accumulate: int = 1) -> None:
    """Changes the batch size of loaders that exist; training batches are `accumulate` times it."""
    whole, count = batch_size * accumulate, dls.train.n
    if isinstance(dls.train, StreamedDL):  # counts this process's share alone
        whole //= dls.train.stream.world
    dls.train.bs, dls.train.drop_last = min(whole, count), _ends_alone(count, whole)
    dls.valid.bs = min(batch_size, dls.valid.n)
