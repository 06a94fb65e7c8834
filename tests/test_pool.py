"""The images that a discriminator is shown again."""

import torch
from tiny_training import saved

from colourgan.callbacks import ImagePool


def numbers(start, count):
    values = torch.arange(start, start + count, dtype=torch.float32)
    return values[:, None, None, None].expand(-1, 1, 2, 2)


def test_a_pool_fills_first_and_then_exchanges_half_of_the_images():
    pool, now_and_then, missing = ImagePool(50), [], set(range(50))
    state = torch.get_rng_state()
    for start in range(0, 1050, 7):
        images = numbers(start, 7)
        shown, colors = pool.exchange(images, -images)
        assert torch.equal(shown, -colors) and shown.shape == images.shape
        first = min(7, max(0, 50 - start))  # these find an empty place
        assert torch.equal(shown[:first], images[:first])
        is_new = (shown == images).all(dim=(1, 2, 3))
        now_and_then += is_new[first:].tolist()
        older = shown[~is_new][:, 0, 0, 0].int().tolist()
        assert all(value < start + 7 for value in older)
        missing -= set(older)
    assert len(pool.images) == 50 and 0.45 < sum(now_and_then) / len(now_and_then) < 0.55
    assert len(missing) < 10  # stored images come back
    assert torch.equal(torch.get_rng_state(), state)


def test_no_image_is_shown_from_the_pool_twice():
    pool, shown = ImagePool(5), []
    for start in range(0, 200, 4):
        shown += pool.exchange(numbers(start, 4))[0][5 * (start < 5) :, 0, 0, 0].tolist()
    repeated = [value for value in set(shown) if shown.count(value) > 1]
    assert all(value < 8 for value in repeated)  # those that filled it were shown then too
    stored = {parts[0][0, 0, 0].item() for parts in pool.images}
    assert not stored & set(shown) - set(range(8))


def test_a_pool_goes_on_from_its_state_and_copies_what_it_stores():
    pool, again = ImagePool(3, seed=1), ImagePool(3, seed=2)
    batch = numbers(0, 4).clone()
    pool.exchange(batch)
    batch.zero_()
    assert {parts[0][0, 0, 0].item() for parts in pool.images} - {0.0}
    assert all(parts[0].untyped_storage().nbytes() == 16 for parts in pool.images)
    again.load_state_dict(saved(pool.state_dict()))
    for start in range(4, 40, 4):
        images = numbers(start, 4)
        assert torch.equal(pool.exchange(images)[0], again.exchange(images)[0])


def test_a_seed_is_a_pools_own_and_size_0_shows_all_as_they_are():
    def shown(seed):
        pool = ImagePool(3, seed)
        return torch.cat([pool.exchange(numbers(start, 4))[0] for start in range(0, 80, 4)])

    assert torch.equal(shown(1), shown(1)) and not torch.equal(shown(1), shown(2))
    empty = ImagePool(0)
    assert torch.equal(empty.exchange(numbers(0, 9))[0], numbers(0, 9)) and not empty.images
