"""fastai's DynamicUnet around any encoder, without its hooks."""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy

import torch
import torch.nn.functional as F
from fastai.layers import BatchNorm, ConvLayer, PixelShuffle_ICNR, ResBlock, SelfAttention
from fastai.vision.models.unet import DynamicUnet, UnetBlock
from torch import Tensor, nn

from colourgan.encoders import build_encoder, up_to_resolution
from colourgan.errors import UsageError
from colourgan.generators.base import GENERATORS, SMALLEST, BoundedAb, recorded
from colourgan.generators.classes import ColorClasses


class ColorUnet(nn.Module):
    """fastai's DynamicUnet around an encoder, its skip connections passed by hand: L → ab.

    L: (N, 1, H, W) in network units, of any size that the encoder can take, odd sizes too; returns
    ab (N, 2, H, W) in network units, inside the range of sRGB. Without hooks it can be copied,
    traced and pickled after any forward. Built for `size`: which stages are joined depends on it,
    so the size belongs to a saved model.

    bins: predict classes of color, at the resolution of the last block, which is half of the
    input's where the encoder begins with a stride; `classes` turns them into ab. Inside
    `giving_classes` a forward pass returns their logits (N, Q, h, w) instead.

    half_resolution: predict ab at half of the input's resolution from the last block that has no
    more, and enlarge it bilinearly: the layers at full resolution, a third or more of the
    arithmetic, are left out.
    """

    classifying = False

    def __init__(
        self,
        encoder: nn.Sequential,
        size: int,
        self_attention: bool = False,
        blur: bool = False,
        decoder_width: float = 1.0,
        decoder_channels: int | None = None,
        bins: bool = False,
        half_resolution: bool = False,
    ):
        super().__init__()
        unet = DynamicUnet(encoder, 2, (size, size), blur=blur, self_attention=self_attention)
        # The stage that each of DynamicUnet's hooks listens to, for its block to join.
        self.skips = [
            next(i for i, stage in enumerate(encoder) if skip.hook.id in stage._forward_hooks)
            for skip in unet.sfs
        ]
        unet.sfs.remove()
        layers = list(unet.layers)
        self.encoder = encoder
        self.middle = nn.Sequential(*layers[1:4])
        self.blocks = nn.ModuleList(m for m in layers if isinstance(m, UnetBlock))
        for block in self.blocks:
            block.hook = None
        rebuilt = decoder_channels is not None or decoder_width != 1
        if decoder_channels:  # DynamicUnet's two convolutions at the lowest resolution, as wide
            widths = self.middle[0].num_features, decoder_channels
            pair = [ConvLayer(wide, decoder_channels, norm_type=None) for wide in widths]
            self.middle = nn.Sequential(BatchNorm(widths[0]), nn.ReLU(), nn.Sequential(*pair))
        channels = self.middle[-1][-1][0].out_channels
        for block in self.blocks if rebuilt else ():
            given, skip = block.conv2[0].out_channels, block.bn.num_features
            wanted = decoder_channels or max(4, round(given * decoder_width))
            attention = any(isinstance(m, SelfAttention) for m in block.conv2)
            has_blur = any(isinstance(m, nn.AvgPool2d) for m in block.shuf)
            block.shuf = PixelShuffle_ICNR(channels, channels // 2, blur=has_blur, norm_type=None)
            block.conv1 = ConvLayer(channels // 2 + skip, wanted, norm_type=None)
            extra = SelfAttention(wanted) if attention else None
            block.conv2 = ConvLayer(wanted, wanted, norm_type=None, xtra=extra)
            channels = wanted
        if self_attention and not any(isinstance(m, SelfAttention) for m in self.modules()):
            # DynamicUnet places it in the third block from the end, if there is one.
            self.blocks[0].conv2.append(SelfAttention(self.blocks[0].conv2[0].out_channels))
        # Where the encoder begins with a stride, DynamicUnet enlarges after the last block.
        enlarges = any(isinstance(m, PixelShuffle_ICNR) for m in layers)
        if half_resolution and not enlarges:
            if len(self.blocks) == 1:
                raise UsageError("half resolution needs an encoder with more stages")
            self.blocks, self.skips = self.blocks[:-1], self.skips[:-1]
        channels = self.blocks[-1].conv2[0].out_channels
        if bins:
            self.classes = ColorClasses(channels)
            return
        if half_resolution:
            self.head = ConvLayer(channels, 2, ks=1, act_cls=None, norm_type=None)
            self.bound = BoundedAb()
            return
        self.enlarge = next((m for m in layers if isinstance(m, PixelShuffle_ICNR)), nn.Identity())
        self.join = next(m for m in layers if isinstance(m, ResBlock))
        self.head = layers[-2]
        # DynamicUnet joins as many channels as the encoder reads, three where L is replicated.
        if rebuilt or self.join.convpath[0][0].in_channels != channels + 1:
            if not isinstance(self.enlarge, nn.Identity):
                self.enlarge = PixelShuffle_ICNR(channels, norm_type=None)
            self.join = ResBlock(1, channels + 1, channels + 1, norm_type=None)
            self.head = ConvLayer(channels + 1, 2, ks=1, act_cls=None, norm_type=None)
        self.bound = BoundedAb()

    def forward(self, L: Tensor) -> Tensor:
        features, x = [], L
        for stage in self.encoder:
            x = stage(x)
            features.append(x)
        x = self.middle(x)
        for block, skip in zip(self.blocks, self.skips, strict=True):
            # UnetBlock.forward, with the skip given instead of taken from a hook.
            skip = features[skip]
            x = torch.cat([_resized(block.shuf(x), skip), block.bn(skip)], dim=1)
            x = block.conv2(block.conv1(block.relu(x)))
        if hasattr(self, "classes"):
            return self.classes.logits(x) if self.classifying else self.classes(x, L.shape[2:])
        if not hasattr(self, "join"):
            ab = self.bound(self.head(x).float())
            return F.interpolate(ab, size=L.shape[-2:], mode="bilinear")
        x = _resized(self.enlarge(x), L)
        x = self.join(torch.cat([x, L.to(x.dtype)], dim=1))
        return self.bound(self.head(x).float())

    @contextmanager
    def giving_classes(self) -> Iterator[None]:
        """Inside the block the generator returns the logits of its classes."""
        self.classifying = True
        try:
            yield
        finally:
            self.classifying = False

    def train(self, mode: bool = True) -> "ColorUnet":
        """As every module's; `eval` too ends what a training that was interrupted left."""
        self.classifying = False
        return super().train(mode)

    def __deepcopy__(self, memo: dict) -> "ColorUnet":
        # Spectral norm, in self-attention, leaves computed weights behind that cannot be copied.
        for module in self.modules():
            if isinstance(weight := vars(module).get("weight"), Tensor):
                module.weight = weight.detach()
        copied = memo[id(self)] = type(self).__new__(type(self))
        vars(copied).update(deepcopy(vars(self), memo))
        return copied

    def parameter_counts(self) -> dict[str, int]:
        """Numbers of parameters of encoder and decoder."""
        encoder = sum(p.numel() for p in self.encoder.parameters())
        total = sum(p.numel() for p in self.parameters())
        return {"encoder": encoder, "decoder": total - encoder}


def _resized(x: Tensor, like: Tensor) -> Tensor:
    # Always resizing, which changes nothing at equal sizes, is safe for every size to come.
    if recorded() or x.shape[-2:] != like.shape[-2:]:
        x = F.interpolate(x, size=like.shape[-2:], mode="nearest")
    return x


@GENERATORS.register("dynamic_unet")
def dynamic_unet(
    encoder: str,
    size: int,
    pretrained: bool = True,
    self_attention: bool = False,
    blur: bool = False,
    decoder_width: float = 1.0,
    decoder_channels: int | None = None,
    encoder_stages: int | None = None,
    lightness: str = "folded",
    bins: bool = False,
    half_resolution: bool = False,
) -> ColorUnet:
    """A ColorUnet around an encoder, ARCH[@WEIGHTS] (see `build_encoder`), for size×size images.

    decoder_width: factor on the decoder's channels, which follow the encoder's; decoder_channels:
    as many in every block instead, so that decoders of different encoders are alike;
    encoder_stages: how many of the encoder's resolutions are used, None for all; lightness: how it
    reads L, see `reading_lightness`; bins, half_resolution: see `ColorUnet`. Its attributes
    `arguments` and `origin` are what a model file needs to build it again. Raises UsageError if the
    encoder cannot take that size or has fewer stages.
    """
    if size < SMALLEST:
        raise UsageError(f"size {size} is too small: at least {SMALLEST} pixels are needed")
    if not 0.1 <= decoder_width <= 4:
        raise UsageError(f"decoder width {decoder_width} is not between 0.1 and 4")
    if decoder_channels is not None and (decoder_width != 1 or not 4 <= decoder_channels <= 1024):
        raise UsageError(
            f"decoder channels {decoder_channels}: give 4 to 1024, and no decoder width besides"
        )
    stages, origin = build_encoder(encoder, pretrained, lightness)
    try:
        if encoder_stages is not None:
            stages = up_to_resolution(stages, encoder_stages, size, origin["arch"])
        model = ColorUnet(
            stages, size, self_attention, blur, decoder_width, decoder_channels, bins,
            half_resolution,
        )  # fmt: skip
    except UsageError:
        raise
    except (RuntimeError, ValueError, IndexError, AssertionError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:160]
        refused = f"encoder {origin['arch']} cannot take {size}×{size} images"
        raise UsageError(f"{refused} ({reason})") from error
    model.arguments = {
        "generator": "dynamic_unet", "encoder": origin["arch"], "size": size,
        "self_attention": self_attention, "blur": blur, "decoder_width": decoder_width,
        "decoder_channels": decoder_channels, "encoder_stages": encoder_stages,
        "lightness": lightness, "bins": bins, "half_resolution": half_resolution,
    }  # fmt: skip
    model.origin = origin
    return model.train()
