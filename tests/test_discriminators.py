import pytest
import torch
from torch import nn

from colourgan.convolutions import ToOneChannel
from colourgan.discriminators import (
    DISCRIMINATORS,
    NORMS,
    imagegan,
    patch_strides,
    patchgan,
    patchgan94,
    receptive_field,
)
from colourgan.errors import UsageError

DOCUMENTED = {32: (16, 14), 64: (16, 30), 96: (34, 22), 128: (34, 30), 256: (70, 30)}


def pictures(size, count=1):
    return torch.randn(count, 1, size, size), torch.randn(count, 2, size, size)


def is_conv(layer):
    return isinstance(layer, nn.Conv2d)


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


@pytest.mark.parametrize("name", DISCRIMINATORS)
@pytest.mark.parametrize("size", [*range(16, 97, 5), 32, 35, 64, 96, 128, 256])
def test_every_discriminator_fits_every_size(name, size):
    logits = DISCRIMINATORS[name](size, width=2)(*pictures(size))
    assert logits.shape[:2] == (1, 1) and logits.isfinite().all()
    small = name == "patchgan94" and size < 32
    assert (logits.shape[2:] == (1, 1)) == (name == "imagegan" or small)


@pytest.mark.parametrize("name", DISCRIMINATORS)
def test_a_discriminator_can_judge_lightness_alone(name):
    discriminator = DISCRIMINATORS[name](16, width=2, in_channels=1)
    L, _ = pictures(16)
    assert not torch.equal(discriminator(L), discriminator(-L))


@pytest.mark.parametrize("norm", ["none", "batch"])
@pytest.mark.parametrize("name", ["patchgan", "pixelgan"])
def test_the_same_seed_gives_the_weights_that_it_always_gave(name, norm):
    torch.manual_seed(5)
    convolutions = [m for m in DISCRIMINATORS[name](32, norm, width=4).layers if is_conv(m)]
    torch.manual_seed(5)
    for old in convolutions:  # torch's own first, of weights and biases; then the normal ones
        nn.Conv2d(old.in_channels, old.out_channels, old.kernel_size, bias=old.bias is not None)
    for i, old in enumerate(convolutions):
        torch.testing.assert_close(old.weight, 0.02 * torch.randn(old.weight.shape))
        if norm == "batch" and i == 1:
            torch.randn(old.out_channels)  # its scale


@pytest.mark.parametrize("name", DISCRIMINATORS)
def test_the_first_weights_can_be_chosen(name):
    (first, *_) = filter(is_conv, DISCRIMINATORS[name](32, width=16, init="orthogonal").layers)
    matrix = first.weight.flatten(1)
    gram = matrix @ matrix.T if len(matrix) <= matrix.shape[1] else matrix.T @ matrix
    torch.testing.assert_close(gram, torch.eye(len(gram)), atol=1e-5, rtol=0)


def test_imagegan_enlarges_32_to_35_and_sees_every_pixel():
    inputs = []
    discriminator = imagegan(32, norm="none", width=4)
    for layer in filter(is_conv, discriminator.layers):
        layer.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
    L, ab = pictures(32, 2)
    L.requires_grad_()
    logits = discriminator(L, ab)
    assert [x.shape[-1] for x in inputs] == [35, 32, 16, 8, 4] and logits.shape == (2, 1, 1, 1)
    enlarged = nn.functional.interpolate(torch.cat([L, ab], 1), (35, 35), mode="bilinear")
    assert torch.equal(inputs[0], enlarged)
    logits[0].sum().backward()
    assert L.grad[0].all() and not L.grad[1].any()


def test_imagegan_at_32_is_the_published_one():
    layers = list(imagegan(32).layers)
    convolutions = list(filter(is_conv, layers))
    assert [c.out_channels for c in convolutions] == [64, 128, 256, 512, 1]
    assert [(c.stride[0], c.padding[0]) for c in convolutions] == [(1, 0), *[(2, 1)] * 3, (1, 0)]
    assert {c.kernel_size for c in convolutions} == {(4, 4)}
    block = [nn.Conv2d, nn.BatchNorm2d, nn.LeakyReLU]
    kinds = [nn.Upsample, nn.Conv2d, nn.LeakyReLU, *block * 3, nn.Conv2d]
    assert [type(layer) for layer in layers] == kinds
    assert {layer.negative_slope for layer in layers if isinstance(layer, nn.LeakyReLU)} == {0.2}
    assert sum(p.numel() for p in imagegan(32).parameters()) == 2_765_633  # 2.77 M


def test_imagegan_widens_to_8_times_its_width():
    convolutions = list(filter(is_conv, imagegan(256).layers))
    assert [c.out_channels for c in convolutions] == [64, 128, 256, *[512] * 4, 1]
    assert [c.stride[0] for c in convolutions] == [1, *[2] * 6, 1]
    assert convolutions[-1].kernel_size == (4, 4)
    assert list(filter(is_conv, imagegan(112, width=2).layers))[-1].kernel_size == (7, 7)


@pytest.mark.parametrize("norm", sorted(set(NORMS) - {"none"}))
def test_every_norm_of_imagegan_spares_the_first_and_the_last_convolution(norm):
    layers = list(imagegan(32, norm, width=4).layers)
    if norm == "spectral":
        normed = [hasattr(layer, "parametrizations") for layer in filter(is_conv, layers)]
    else:
        kind = type(NORMS[norm](4))
        after = [*layers[1:], None]
        normed = [isinstance(b, kind) for a, b in zip(layers, after, strict=True) if is_conv(a)]
    assert normed == [False, True, True, True, False]


def test_patchgan94_is_the_published_one():
    layers = list(patchgan94(32, "layer").layers)
    convolutions = list(filter(is_conv, layers))
    assert [c.out_channels for c in convolutions] == [64, 128, 256, 256, 512, 1]
    assert [c.stride[0] for c in convolutions] == [2, 2, 2, 1, 1, 1]
    assert [c.bias is not None for c in convolutions] == [*[False] * 3, True, False, True]
    assert {c.kernel_size for c in convolutions} == {(4, 4)}
    block = [nn.Conv2d, nn.GroupNorm, nn.LeakyReLU]  # the first layer is normalized, too
    kinds = [*block * 3, nn.ZeroPad2d, nn.Conv2d, *block, ToOneChannel]
    assert [type(layer) for layer in layers] == kinds
    assert layers[9].padding == (1, 2, 1, 2)
    assert {layer.negative_slope for layer in layers if isinstance(layer, nn.LeakyReLU)} == {0.3}


@pytest.mark.parametrize(
    ("size", "sides"), [(32, [16, 8, 4, 4, 3, 2]), (96, [48, 24, 12, 12, 11, 10])]
)
def test_patchgan94_has_the_published_maps(size, sides):
    discriminator, seen = patchgan94(size, "none", width=2), []
    for layer in filter(is_conv, discriminator.layers):
        layer.register_forward_hook(lambda layer, x, y: seen.append(y.shape[-1]))
    discriminator(*pictures(size))
    assert seen == sides


def test_a_logit_of_patchgan94_sees_94_pixels():
    assert pixels_seen(patchgan94(256, "none", width=2), 256) == 94


@pytest.mark.parametrize("norm", NORMS)
def test_patchgan94_of_one_small_image_has_a_norm_with_something_to_normalize(norm):
    for size in (16, 23, 24, 31):
        assert patchgan94(size, norm, width=2)(*pictures(size)).shape == (1, 1, 1, 1)


def test_only_batch_norm_makes_a_logit_depend_on_the_other_images():
    def changed(norm):
        torch.manual_seed(0)
        discriminator = patchgan(32, norm, width=4)
        L, ab = pictures(32, 3)
        others = torch.cat([ab[:1], 3 * ab[1:] + 1])
        return (discriminator(L, ab)[0] - discriminator(L, others)[0]).abs().max().item()

    changes = {norm: changed(norm) for norm in set(NORMS) - {"spectral"}}  # whose forwards differ
    assert {norm for norm, change in changes.items() if change > 1e-6} == {"batch"}


def test_layer_norm_is_over_all_of_a_sample_with_a_scale_and_shift_a_channel():
    norm = NORMS["layer"](3)
    assert norm.weight.shape == norm.bias.shape == (3,)
    values = torch.randn(2, 3, 5, 5) * torch.tensor([1.0, 5, 9]).view(1, 3, 1, 1) + 4
    expected = torch.nn.functional.layer_norm(values, values.shape[1:])
    torch.testing.assert_close(norm(values), expected)


@pytest.mark.parametrize("name", DISCRIMINATORS)
def test_spectral_norm_bounds_every_convolution(name):
    torch.manual_seed(0)
    discriminator = DISCRIMINATORS[name](64, "spectral", width=8, init="orthogonal")
    convolutions = list(filter(is_conv, discriminator.layers))
    if name == "imagegan":
        convolutions = convolutions[1:-1]
    with torch.no_grad():
        for convolution in convolutions:
            convolution.parametrizations.weight.original.mul_(50)  # as if training had blown it up
    for _ in range(10):  # power iterations
        discriminator(*pictures(64))
    largest = [torch.linalg.matrix_norm(c.weight.flatten(1), 2).item() for c in convolutions]
    assert min(largest) > 0.95 and max(largest) < 1.05


def test_norms_are_where_they_belong():
    kinds = {norm: [type(layer) for layer in patchgan(64, norm).layers] for norm in NORMS}
    assert nn.BatchNorm2d in kinds["batch"] and nn.InstanceNorm2d in kinds["instance"]
    assert kinds["none"] == [nn.Conv2d, nn.LeakyReLU] * 2 + [ToOneChannel]
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
    with pytest.raises(
        UsageError, match=r"'bach'.*'batch'.*batch, instance, layer, spectral, none"
    ):
        DISCRIMINATORS[name](32, norm="bach")
    with pytest.raises(UsageError, match="initialization 'normall': did you mean 'normal'"):
        DISCRIMINATORS[name](32, init="normall")
