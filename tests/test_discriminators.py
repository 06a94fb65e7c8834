import pytest
import torch
from torch import nn

from colourgan.discriminators import (
    DISCRIMINATORS,
    NORMS,
    patch_strides,
    patchgan,
    receptive_field,
)
from colourgan.errors import UsageError

DOCUMENTED = {32: (16, 14), 64: (16, 30), 96: (34, 22), 128: (34, 30), 256: (70, 30)}


def pictures(size, count=1):
    return torch.randn(count, 1, size, size), torch.randn(count, 2, size, size)


def pixels_seen(discriminator, size):
    """The side of the square of pixels that the middle logit's gradient reaches."""
    L, ab = pictures(size)
    L.requires_grad_()
    logits = discriminator(L, ab)
    middle = logits.shape[-1] // 2
    logits[0, 0, middle, middle].backward()
    rows, columns = L.grad[0, 0].nonzero().T
    assert rows.max() - rows.min() == columns.max() - columns.min()
    return int(rows.max() - rows.min()) + 1


@pytest.mark.parametrize(("size", "field", "side"), [(s, *v) for s, v in DOCUMENTED.items()])
def test_patchgan_is_as_the_table_says(size, field, side):
    discriminator = patchgan(size, norm="none", width=4)
    assert discriminator(*pictures(size, 2)).shape == (2, 1, side, side)
    assert receptive_field(patch_strides(size)) == pixels_seen(discriminator, size) == field


def test_docstring_has_the_numbers_of_the_table():
    rows = [line.split() for line in patchgan.__doc__.splitlines()]
    rows = {int(row[0]): row for row in rows if row and row[0].isdigit()}
    for size, (field, side) in DOCUMENTED.items():
        assert rows[size][-4:] == [str(field), str(side), "×", str(side)]


def test_receptive_field_is_a_quarter_to_half_of_the_side():
    fields = {size: receptive_field(patch_strides(size)) for size in range(16, 281)}
    assert [s for s, field in fields.items() if not s / 4 <= field <= s / 2] == []


@pytest.mark.parametrize("size", [16, 17, 29, 66, 138])
def test_logit_map_is_at_least_2_by_2(size):
    assert min(patchgan(size, width=2)(*pictures(size)).shape[-2:]) >= 2


def test_patchgan_at_256_is_the_published_one():
    layers = list(patchgan(256).layers)
    convolutions = [layer for layer in layers if isinstance(layer, nn.Conv2d)]
    assert [c.out_channels for c in convolutions] == [64, 128, 256, 512, 1]
    assert [c.stride[0] for c in convolutions] == [2, 2, 2, 1, 1]
    assert {c.kernel_size for c in convolutions} == {(4, 4)}
    assert isinstance(layers[1], nn.LeakyReLU) and layers[1].negative_slope == 0.2
    assert sum(isinstance(layer, nn.BatchNorm2d) for layer in layers) == 3
    assert all(
        abs(c.weight.std() - 0.02) < 0.002 and abs(c.weight.mean()) < 2e-3 for c in convolutions
    )
    assert receptive_field(patch_strides(512)) == 70


@pytest.mark.parametrize("name", DISCRIMINATORS)
@pytest.mark.parametrize("norm", NORMS)
def test_every_discriminator_is_conditional_and_trains_with_every_norm(name, norm):
    discriminator = DISCRIMINATORS[name](32, norm=norm, width=4)
    L, ab = pictures(32, 2)
    assert not torch.equal(discriminator(L, ab), discriminator(-L, ab))
    assert not torch.equal(discriminator(L, ab), discriminator(L, -ab))
    discriminator(L, ab).mean().backward()
    assert all(weight.grad is not None for weight in discriminator.parameters())


def test_norms_are_where_they_belong():
    kinds = {norm: [type(layer) for layer in patchgan(64, norm).layers] for norm in NORMS}
    assert nn.BatchNorm2d in kinds["batch"] and nn.InstanceNorm2d in kinds["instance"]
    assert kinds["none"] == [nn.Conv2d, nn.LeakyReLU] * 2 + [nn.Conv2d]
    discriminator = patchgan(64, "spectral", width=8)
    for _ in range(50):  # power iterations
        discriminator(*pictures(64))
    convolutions = [m for m in discriminator.layers if isinstance(m, nn.Conv2d)]
    largest = [torch.linalg.matrix_norm(c.weight.flatten(1), 2) for c in convolutions]
    torch.testing.assert_close(torch.stack(largest), torch.ones(3), atol=0.05, rtol=0)


def test_pixelgan_judges_every_pixel_alone():
    discriminator = DISCRIMINATORS["pixelgan"](32, norm="none", width=4)
    assert discriminator(*pictures(32)).shape == (1, 1, 32, 32)
    assert pixels_seen(discriminator, 32) == 1


@pytest.mark.parametrize("name", DISCRIMINATORS)
def test_wrong_use_is_one_clear_line(name):
    with pytest.raises(UsageError, match="16 pixels or more: 15"):
        DISCRIMINATORS[name](15)
    with pytest.raises(UsageError, match=r"'bach'.*'batch'.*batch, instance, spectral, none"):
        DISCRIMINATORS[name](32, norm="bach")
