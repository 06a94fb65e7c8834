"""What fastai's users know works: showing, predicting, exporting, lr_find."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from fastai.learner import load_learner
from PIL import Image
from tiny_pictures import SIDE, expected, make_parts
from torch import Tensor

from colourgan import color
from colourgan.datasets import color_dataloaders, training_parts
from colourgan.learners import color_learner


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return make_parts(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def learn(root, tmp_path_factory):
    plt.switch_backend("agg")
    dls = color_dataloaders(root, SIDE, 7)
    path = tmp_path_factory.mktemp("learner")
    learn = color_learner(dls, "resnet20@none", precision="fp32", path=path)
    with learn.no_bar(), learn.no_logging():
        learn.fit_one_cycle(1)
    return learn


def shown():
    """What the newest figure shows: (H, W, 3) arrays in [0, 1], row by row."""
    arrays = [axes.images[0].get_array() for axes in plt.gcf().axes if axes.images]
    plt.close("all")
    return [np.asarray(array) for array in arrays]


def test_show_batch_draws_grey_beside_color(learn):
    learn.dls.show_batch(max_n=4)
    images = shown()
    assert len(images) == 8 and {image.shape for image in images} == {(SIDE, SIDE, 3)}
    for grey, true in zip(images[::2], images[1::2], strict=True):
        assert np.ptp(grey, axis=2).max() == 0 and np.ptp(true, axis=2).mean() > 0.2
        L = [color.encode(as_batch(image))[0] for image in (grey, true)]
        torch.testing.assert_close(*L, atol=1e-3, rtol=0)


def as_batch(image):
    return torch.tensor(image).permute(2, 0, 1)[None]


def test_show_results_draws_grey_true_and_predicted_side_by_side(learn):
    with learn.no_bar():
        learn.show_results(max_n=3, shuffle=False)
    assert len(plt.get_fignums()) == 1
    images = shown()
    assert len(images) == 9
    files = training_parts(learn.dls.valid.dataset.items[0].parents[2]).valid
    for i, file in enumerate(files[:3]):
        L, ab = (part[None] for part in expected(file))
        with torch.no_grad():
            pred = learn.model.eval()(L)
        wanted = [color.decode(L, part) for part in (torch.zeros_like(ab), ab, pred)]
        for image, rgb in zip(images[3 * i : 3 * i + 3], wanted, strict=True):
            torch.testing.assert_close(as_batch(image), rgb, atol=2e-3, rtol=0)


def test_predict_takes_paths_images_and_arrays(learn, root):
    file = training_parts(root).valid[0]
    L, _ = expected(file)
    with torch.no_grad():
        wanted = learn.model.eval()(L[None])[0]
    with learn.no_bar():
        for source in (file, str(file), Image.open(file), np.array(Image.open(file))):
            rgb, ab, _ = learn.predict(source)
            torch.testing.assert_close(ab, wanted)
            picture = color.decode(L[None], wanted[None])[0]
            torch.testing.assert_close(rgb.as_subclass(Tensor), picture, atol=1e-5, rtol=0)


def test_an_exported_learner_predicts_without_the_data(learn, root, tmp_path):
    path = tmp_path / "export.pkl"
    learn.export(path)
    again = load_learner(path)
    assert path.stat().st_size < 2.6e6  # 0.54 M parameters: no images, no optimizer
    file = training_parts(root).valid[1]
    with learn.no_bar(), again.no_bar():
        torch.testing.assert_close(again.predict(file)[1], learn.predict(file)[1])


def test_lr_find_leaves_the_model_as_it_was(learn):
    before = {name: value.clone() for name, value in learn.model.state_dict().items()}
    with learn.no_bar(), learn.no_logging():
        found = learn.lr_find(num_it=4, show_plot=False)
    assert 0 < found.valley < 10
    after = learn.model.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_get_preds_sees_the_whole_of_a_part(learn):
    with learn.no_bar():
        pred, target = learn.get_preds(ds_idx=1)
    assert pred.shape == target.shape == (4, 2, SIDE, SIDE)
    loss = (pred - target).abs().mean().item()
    with learn.no_bar():
        assert learn.validate()[0] == pytest.approx(loss, rel=1e-4)
