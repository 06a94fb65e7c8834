"""Evaluation against models whose colors, and so whose rows and comparisons, are known."""

import errno
import gc
import json
import re

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, is_tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from colourgan import evaluate as module
from colourgan import metrics
from colourgan.color import decode, encode
from colourgan.distances import DISTANCES, Pictures, distances_of
from colourgan.errors import RunError, UsageError
from colourgan.evaluate import as_json, evaluate, table
from colourgan.evaluate.text import NAME_WIDTH
from colourgan.metrics import METRICS

SIZE, COUNT = 32, 12


def photo(seed: int) -> np.ndarray:
    """(32, 32, 3) uint8, smooth; of middling lightness, so that colors fit into sRGB."""
    small = np.random.default_rng(seed).integers(90, 160, (4, 5, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize((SIZE, SIZE)))


def save(folder, pictures: list[np.ndarray]):
    for part in ("train", "test"):
        (folder / part).mkdir(parents=True)
    for number, pixels in enumerate(pictures):
        Image.fromarray(pixels).save(folder / "test" / f"{number:02d}.png")
    (folder / "train" / "broken.png").write_text("only test images are opened")
    return folder


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    return save(tmp_path_factory.mktemp("photos"), [photo(seed) for seed in range(COUNT)])


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLOURGAN_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


class Paint(nn.Module):
    """The true ab of the images in a folder, found by their L: times `factor`, and mirrored for the
    images that `mirrored` names by their number: as colorful, but elsewhere."""

    def __init__(self, folder, factor: float = 1.0, mirrored=(), size: int = SIZE):
        super().__init__()
        files = sorted((folder / "test").iterdir())
        pixels = np.stack([np.asarray(Image.open(file)) for file in files])
        self.L, self.ab = encode(torch.from_numpy(pixels).permute(0, 3, 1, 2))
        for number in mirrored:
            self.ab[number] = self.ab[number].flip(-1)
        self.ab *= factor
        self.arguments = {"size": size}
        self.dropout = nn.Dropout(0.9)
        self.batches, self.inference = [], []

    def forward(self, L):
        assert torch.is_inference_mode_enabled()
        distances = torch.cdist(L.flatten(1), self.L.flatten(1))
        assert distances.amin(1).max() < 1e-3
        self.batches.append(distances.argmin(1).tolist())
        return self.dropout(self.ab[distances.argmin(1)])

    def seen(self) -> list[int]:
        return [number for batch in self.batches for number in batch]


class Plain(nn.Module):
    """The same ab everywhere."""

    def __init__(self, value: float):
        super().__init__()
        self.value = value
        self.arguments = {"size": SIZE}

    def forward(self, L):
        return torch.full((len(L), 2, *L.shape[2:]), self.value)


ALL = range(COUNT)


def run(models, data, **options):
    return evaluate(models, data, progress=False, **{"distances": (), **options})


def rows_of(evaluation) -> dict:
    return {row["name"]: row for row in evaluation.rows}


def last_line(evaluation) -> str:
    return table(evaluation).splitlines()[-1]


def test_rows_of_grey_a_perfect_and_a_pale_model(photos):
    truth = Paint(photos)
    evaluation = run({"perfect": truth, "pale": Paint(photos, 0.5)}, photos)
    rows = rows_of(evaluation)
    assert list(rows) == ["grey", "perfect", "pale", "pale ×2.00 (as colorful as perfect)"]
    assert set(rows["grey"]) == {
        *("name", "l1", "psnr", "ssim", "delta_e", "within_5"),
        *("colorfulness", "colorfulness_true", "delta_colorfulness"),
    }
    l1 = truth.ab.abs().mean().item()
    assert rows["grey"]["l1"] == pytest.approx(l1, rel=1e-4)
    assert rows["pale"]["l1"] == pytest.approx(l1 / 2, rel=1e-4)
    assert rows["grey"]["colorfulness"] == pytest.approx(0, abs=0.02)
    perfect = rows["perfect"]
    assert perfect["l1"] == pytest.approx(0, abs=1e-6)
    assert perfect["psnr"] == pytest.approx(100)
    assert perfect["ssim"] == pytest.approx(1)
    assert perfect["within_5"] == 1
    assert perfect["delta_colorfulness"] == pytest.approx(0, abs=1e-3)
    assert len({row["colorfulness_true"] for row in rows.values()}) == 1
    assert (evaluation.count, evaluation.size, evaluation.picture) == (COUNT, SIZE, None)


def test_the_matched_row_is_as_colorful_as_its_model(photos):
    evaluation = run({"vivid": Paint(photos, 0.9), "pale": Paint(photos, 0.3, ALL)}, photos)
    (comparison,) = evaluation.comparisons
    rows = rows_of(evaluation)
    vivid, rival = rows["vivid"], rows[comparison["against"]]
    assert comparison["against"] == f"pale ×{comparison['factor']:.2f} (as colorful as vivid)"
    assert comparison["factor"] == pytest.approx(3, rel=0.1)
    assert rival["colorfulness"] == pytest.approx(vivid["colorfulness"], rel=1e-3)
    assert comparison["l1_difference"] == pytest.approx(rival["l1"] - vivid["l1"], abs=1e-6)
    assert comparison["relative"] == pytest.approx(1 - vivid["l1"] / rival["l1"], abs=1e-4)
    low, high = comparison["interval"]
    assert low < comparison["l1_difference"] < high
    assert comparison["relative_interval"] == pytest.approx([low / rival["l1"], high / rival["l1"]])


def test_the_interval_is_the_bootstraps_of_the_differences(photos, monkeypatch):
    drawn = []

    def interval(differences, seed):
        drawn.append((differences, seed))
        return -0.25, 0.5

    monkeypatch.setattr(module, "bootstrap_interval", interval)
    models = {"vivid": Paint(photos, 0.9), "pale": Paint(photos, 0.3, ALL)}
    (comparison,) = run(models, photos, seed=7).comparisons
    (differences, seed), _ = drawn  # of L1, then of ΔE
    assert comparison["interval"] == [-0.25, 0.5]
    assert (len(differences), seed) == (COUNT, 7)
    assert differences.mean().item() == pytest.approx(comparison["l1_difference"])


def numbers(line: str) -> list[float]:
    return [float(number) for number in re.findall(r"(-?[\d.]+) %", line.replace("95 %", ""))]


def test_a_better_model_is_said_to_be_under(photos):
    evaluation = run({"pale": Paint(photos, 0.5, ALL), "gan": Paint(photos, 0.9)}, photos)
    (comparison,) = evaluation.comparisons
    assert (comparison["model"], comparison["base"]) == ("gan", "pale")
    line = last_line(evaluation)
    assert line.startswith("gan: L1 ")
    assert " under pale at matched saturation, 95 % interval " in line
    share, low, high = numbers(line)[:3]
    assert 0 < low < share < high
    assert share == pytest.approx(100 * comparison["relative"], abs=0.051)


def test_a_worse_model_is_said_to_be_worse(photos):
    evaluation = run({"gan": Paint(photos, 1.0, ALL), "pale": Paint(photos, 0.5)}, photos)
    assert evaluation.comparisons[0]["relative"] < 0
    assert evaluation.comparisons[0]["interval"][1] < 0
    line = last_line(evaluation)
    assert line.startswith("gan: worse than pale at matched saturation, L1 ")
    assert " over it, " in line
    share, low, high = numbers(line)[:3]
    assert 0 < low < share < high


def test_a_model_better_and_worse_by_turns_is_no_better(photos):
    models = {"gan": Paint(photos, 0.9, range(0, COUNT, 2))}
    models["pale"] = Paint(photos, 0.4, range(1, COUNT, 2))
    evaluation = run(models, photos)
    low, high = evaluation.comparisons[0]["interval"]
    assert low < 0 < high
    assert last_line(evaluation).startswith("gan: no better than pale at matched saturation, L1 ")


def test_more_saturation_alone_is_no_better(photos):
    # The matching is not exact: were its rounding counted, equal models would differ.
    models = {"gan": Paint(photos, 0.91, ALL), "pretrain": Paint(photos, 0.37, ALL)}
    evaluation = run(models, photos)
    (comparison,) = evaluation.comparisons
    assert comparison["factor"] == pytest.approx(0.91 / 0.37, rel=1e-3)
    assert comparison["relative"] == pytest.approx(0, abs=5e-4)
    assert "gan: no better than pretrain" in last_line(evaluation)


def test_a_pair_that_cannot_be_matched_is_left_out_with_its_reason(photos):
    models = {"blank": Plain(0.0), "a": Paint(photos), "b": Paint(photos, 0.5)}
    evaluation = run(models, photos)
    assert [row["name"] for row in evaluation.rows[:4]] == ["grey", "blank", "a", "b"]
    assert [row["name"] for row in evaluation.rows[4:]] == ["b ×2.00 (as colorful as a)"]
    assert len(evaluation.comparisons) == 1
    assert len(evaluation.left_out) == 2
    assert evaluation.left_out[0].startswith("a is not compared with blank: no saturation factor")
    assert table(evaluation).splitlines()[-2:] == evaluation.left_out
    assert json.loads(as_json(evaluation))["left_out"] == evaluation.left_out


def test_every_pair_of_three_models_is_compared(photos):
    models = {str(factor): Paint(photos, factor) for factor in (1.0, 0.5, 0.25)}
    evaluation = run(models, photos)
    pairs = [(each["model"], each["base"]) for each in evaluation.comparisons]
    assert pairs == [("1.0", "0.5"), ("1.0", "0.25"), ("0.5", "0.25")]
    assert len(evaluation.rows) == 1 + 3 + 3


def test_one_image_gives_rows_and_no_comparison(photos):
    evaluation = run({"a": Paint(photos), "b": Paint(photos, 0.5)}, photos, limit=1)
    assert (evaluation.count, len(evaluation.rows), evaluation.comparisons) == (1, 3, [])
    assert evaluation.left_out == ["a is not compared with b: one image gives no interval"]


@pytest.mark.parametrize("darker", [1, 0])
def test_pictures_without_color_count(tmp_path, darker):
    grey = photo(0)[:, :, :1].repeat(3, axis=2) * np.uint8(darker)
    folder = save(tmp_path, [grey, grey // 2])
    evaluation = run({"a": Plain(0.0), "b": Plain(0.0)}, folder)
    assert evaluation.count == 2
    assert [each["relative"] for each in evaluation.comparisons] == [pytest.approx(0, abs=1e-3)]
    assert "no better" in last_line(evaluation)


def test_limit_takes_the_first_of_one_shuffled_order(photos):
    order, again, first, other = (Paint(photos) for _ in range(4))
    run({"order": order, "again": again}, photos, batch_size=5)
    assert [len(batch) for batch in order.batches[:3]] == [5, 5, 2]
    assert sorted(order.seen()[:COUNT]) == list(ALL) != order.seen()[:COUNT]
    assert again.seen()[:COUNT] == order.seen()[:COUNT]
    evaluation = run({"first": first}, photos, limit=4)
    assert evaluation.count == 4
    assert first.seen() == order.seen()[:4]
    run({"other": other}, photos, seed=1)
    assert sorted(other.seen()) == list(ALL) and other.seen() != order.seen()


def test_batches_change_no_number(photos):
    models = {"gan": Paint(photos, 0.9), "pale": Paint(photos, 0.5, ALL)}
    whole, parts = (run(models, photos, batch_size=size) for size in (64, 5))
    for one, other in zip(whole.rows, parts.rows, strict=True):
        assert one.pop("name") == other.pop("name")
        assert one == pytest.approx(other, rel=1e-5)


def test_size_is_the_models_own_unless_given(photos):
    assert run({"a": Paint(photos), "b": Paint(photos)}, photos).size == SIZE
    models = {"a": Plain(0.1), "small": Plain(0.1)}
    models["small"].arguments = {"size": 16}
    with pytest.raises(UsageError, match=r"a 32, small 16.*--size"):
        run(models, photos)
    assert run(models, photos, size=24).size == 24


def test_a_model_that_does_not_know_its_size_needs_one(photos):
    unknown = Plain(0.1)
    del unknown.arguments
    with pytest.raises(UsageError, match=r"x unknown.*--size"):
        run({"x": unknown}, photos)
    assert run({"x": unknown}, photos, size=SIZE).count == COUNT


@pytest.mark.parametrize("option", [{"size": 8}, {"limit": 0}, {"batch_size": 0}, {"limit": -3}])
def test_numbers_too_small_are_refused(photos, option):
    (name, value), *_ = option.items()
    with pytest.raises(UsageError, match=f"{name.replace('_', ' ')} {value} is too small"):
        run({"a": Plain(0.1)}, photos, **option)


def test_a_model_that_predicts_nan_is_named(photos):
    with pytest.raises(RunError, match="broken one predicts values that are not finite"):
        run({"fine": Plain(0.1), "broken one": Plain(float("nan"))}, photos)


def test_json_has_all_that_was_measured(photos):
    evaluation = run({"gan": Paint(photos), "pale": Paint(photos, 0.5)}, photos)
    content = json.loads(as_json(evaluation))
    assert list(content) == ["rows", "comparisons", "left_out", "data", "size", "images"]
    assert content["rows"] == evaluation.rows
    assert content["comparisons"] == evaluation.comparisons
    assert (content["images"], content["data"], content["size"]) == (COUNT, str(photos), SIZE)
    (comparison,) = content["comparisons"]
    named = {"model", "against", "factor", "l1_difference", "interval", "relative"}
    assert named <= set(comparison)


def test_table_is_aligned_and_narrow_for_long_names(photos):
    names = ["runs/cifar10/a-resnet20-pretrained-for-ten-epochs-and-then-some", "b"]
    evaluation = run(dict(zip(names, (Paint(photos), Paint(photos, 0.5)), strict=True)), photos)
    lines = table(evaluation).splitlines()
    assert lines[0] == f"{photos}, test images: 12 of 32×32 pixels"
    numeric = [line for line in lines if re.search(r"\d%$", line)]
    assert len(numeric) == len(evaluation.rows)
    assert {len(line) for line in numeric} == {len(lines[2])}
    assert len(lines[2]) <= 115
    text = "".join(line[:NAME_WIDTH].strip() for line in lines)
    assert names[0] in text
    assert re.search(r"^grey +0\.\d{4} .* 0\.0 .*%$", table(evaluation), re.MULTILINE)


def test_a_new_metric_has_its_column(photos, monkeypatch):
    monkeypatch.setitem(METRICS, "redness", lambda pred, target: pred.lab[:, 1].mean((1, 2)) * 1e5)
    evaluation = run({"a": Plain(0.5)}, photos)
    assert evaluation.rows[1]["redness"] == 55e5
    heading, grey, row = table(evaluation).splitlines()[2:5]
    assert heading.endswith("  redness")
    assert grey.endswith("  0.0000")
    assert row.endswith("  5500000.0000")
    assert len(heading) == len(grey) == len(row)


def test_distances_are_columns_of_all_rows(photos, monkeypatch):
    bluer = lambda pred, target: (pred.rgb / 255.0 - target.rgb / 255.0)[:, 2].mean((1, 2))  # noqa: E731
    monkeypatch.setitem(DISTANCES, "bluer", bluer)
    models = {"perfect": Paint(photos), "pale": Paint(photos, 0.5)}
    evaluation = run(models, photos, distances=["bluer", "frechet"], batch_size=5)
    rows = rows_of(evaluation)
    assert list(rows["grey"])[-2:] == ["bluer", "frechet"]
    apart = [row["frechet"] for row in evaluation.rows]
    assert apart[0] > apart[2] > apart[1] == pytest.approx(apart[3], abs=0.05 * apart[2])
    assert rows["perfect"]["bluer"] == pytest.approx(0, abs=1e-4)
    lines = table(evaluation).splitlines()
    assert lines[2].endswith("  bluer  Fréchet ↓") and lines[3].endswith(f"  {apart[0]:.3f}")
    assert json.loads(as_json(evaluation))["rows"] == evaluation.rows
    assert "distances" not in json.loads(as_json(evaluation))


def test_the_distance_is_that_of_the_pictures_as_files_have_them(photos):
    images = module.load_images(photos, SIZE, progress=False)
    evaluation = run({"pale": Paint(photos, 0.5)}, photos, distances=["frechet"])
    grey = decode(images.L[:], torch.zeros(COUNT, 2, SIZE, SIZE)).mul(255).round()
    numbers, _ = distances_of(["frechet"], grey.to(torch.uint8), images.rgb)
    assert evaluation.rows[0]["frechet"] == pytest.approx(numbers["frechet"], rel=1e-4)


def test_the_table_says_what_a_distance_is_worth(photos):
    options = {"distances": ["frechet"], "feature_encoder": "resnet18@none"}
    notes = run({"a": Plain(0.1)}, photos, **options).notes
    assert (
        notes[0] == "Fréchet: distance in the features of resnet18@none, not comparable with FID."
    )
    assert notes[1] == "Fréchet: larger the fewer images there are; compare at equal numbers."
    assert "12 images are too few to fit 512 features" in notes[2]
    evaluation = run({"a": Plain(0.1)}, photos, distances=["frechet"])
    assert set(evaluation.notes) <= set(table(evaluation).splitlines())
    assert json.loads(as_json(evaluation))["notes"] == evaluation.notes
    assert run({"a": Plain(0.1)}, photos).notes == []


def test_distances_that_cannot_be_had_are_known_before_any_image_is_read(photos, monkeypatch):
    monkeypatch.setattr(module, "load_images", None)
    with pytest.raises(UsageError, match="did you mean 'frechet'"):
        run({"a": Plain(0.1)}, photos, distances=["frechet "])
    with pytest.raises(UsageError, match=r"no encoder weights at missing\.pt"):
        run({"a": Plain(0.1)}, photos, distances=["frechet"], feature_encoder="resnet20@missing.pt")
    with pytest.raises(UsageError, match="lpips needs pictures of at least 31×31 pixels"):
        run({"a": Plain(0.1)}, photos, distances=["lpips"], size=16)
    with pytest.raises(UsageError, match="size 0 is too small"):
        run({"a": Plain(0.1)}, photos, distances=["frechet"], size=0)


def test_out_holds_table_json_and_picture(photos, tmp_path):
    out = tmp_path / "new" / "folder"
    evaluation = run({"a": Paint(photos), "b": Paint(photos, 0.5)}, photos, out=out)
    assert sorted(file.name for file in out.iterdir()) == [
        *("deciles.png", "evaluation.json", "evaluation.png", "evaluation.txt"),
    ]
    assert (out / "evaluation.txt").read_text("utf-8") == table(evaluation) + "\n"
    assert (out / "evaluation.json").read_text("utf-8") == as_json(evaluation) + "\n"
    assert evaluation.picture == out / "evaluation.png"
    with Image.open(evaluation.picture) as picture:
        assert picture.width > 4 * SIZE and picture.height > 8 * SIZE


def test_picture_shows_grey_each_model_and_the_truth(photos, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(module, "grid", lambda *arguments: drawn.append(arguments))
    truth = Paint(photos)
    run({"perfect": truth, "pale": Paint(photos, 0.5)}, photos, out=tmp_path)
    (rows, _, titles, _), _ = drawn
    assert titles == ["grey", "perfect", "pale", "true"]
    assert len(rows) == 8
    for number, (grey, perfect, pale, true) in zip(truth.seen(), rows, strict=False):
        assert torch.equal(true, torch.tensor(photo(number)).permute(2, 0, 1) / 255)
        assert torch.allclose(perfect, true, atol=1e-3)
        assert (grey == grey[:1]).all() and not torch.allclose(grey, true, atol=1e-2)
        assert not torch.allclose(pale, true, atol=1e-2)


def test_deciles_go_from_the_best_to_the_worst_of_the_last_model(photos, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(module, "grid", lambda *arguments: drawn.append(arguments))
    monkeypatch.setattr(module, "RANKED", 4)
    pale = Paint(photos, 0.5, range(3))
    evaluation = run({"perfect": Paint(photos), "pale": pale}, photos, out=tmp_path)
    rows, path, titles, names = drawn[1]
    assert path == tmp_path / "deciles.png" and titles == ["grey", "perfect", "pale", "true"]
    assert [name.partition(":")[0] for name in names] == ["0%", "36%", "64%", "100%"]
    errors = [float(name.rpartition(" ")[2]) for name in names]
    assert errors == sorted(errors) and errors[0] < rows_of(evaluation)["pale"]["delta_e"]
    worst = [(pale - true).abs().mean() for _, _, pale, true in rows]
    assert worst[0] < worst[-1]


def test_delta_e_at_matched_colorfulness_is_said_too(photos):
    evaluation = run({"pale": Paint(photos, 0.5, ALL), "gan": Paint(photos, 0.9)}, photos)
    (comparison,) = evaluation.comparisons
    rows = rows_of(evaluation)
    apart = 1 - rows["gan"]["delta_e"] / rows[comparison["against"]]["delta_e"]
    assert comparison["relative_delta_e"] == pytest.approx(apart, abs=1e-6)
    low, high = comparison["relative_delta_e_interval"]
    assert 0 < low < apart < high
    assert f"; ΔE {apart:.1%} under it".replace("%", " %") in last_line(evaluation)


@pytest.fixture
def labelled(photos, tmp_path):
    """Half of the photos in each of two classes of ImageNet."""
    for part, classes in (("train", ("n01440764", "n01443537")), ("test", ())):
        (tmp_path / part).mkdir()
        for name in classes:
            (tmp_path / part / name).mkdir()
    for number, file in enumerate(sorted((photos / "test").iterdir())):
        name = "n01440764" if number % 2 else "n01443537"
        for part in ("train", "test"):
            folder = tmp_path / part / name
            folder.mkdir(exist_ok=True)
            (folder / file.name).write_bytes(file.read_bytes())
    return tmp_path


def test_accuracy_is_of_the_classes_that_folders_are_named_by(labelled, monkeypatch):
    # As if the classifier called whatever is vivid a goldfish (class 1), and all else a tench.
    seen = []

    def named(pictures):
        seen.append(pictures.rgb.shape)
        rgb = pictures.rgb.float()
        vivid = (rgb.amax(1) - rgb.amin(1)).mean((1, 2)) > 1
        scores = torch.zeros(len(rgb), 1000)
        scores[:, 7] = 9  # a class that none of these images has is never chosen
        scores[torch.arange(len(rgb)), vivid.long()] = 1
        return scores

    monkeypatch.setattr(Pictures, "class_scores", property(named))
    evaluation = run({"a": Plain(0.3)}, labelled, distances=["accuracy"])
    rows = rows_of(evaluation)
    assert rows["grey"]["accuracy"] == pytest.approx(0.5) == rows["a"]["accuracy"]
    note = next(note for note in evaluation.notes if note.startswith("accuracy"))
    assert "true pictures 50.0%" in note
    assert set(evaluation.notes) <= set(table(evaluation).splitlines()) and seen


def test_accuracy_without_classes_is_refused_before_any_prediction(photos):
    model = Plain(0.1)
    model.forward = None
    with pytest.raises(UsageError, match="folders named by ImageNet's classes"):
        run({"a": model}, photos, distances=["accuracy"])


def test_the_share_of_the_way_from_grey_to_true_is_said(labelled, monkeypatch):
    monkeypatch.setattr(Pictures, "class_scores", property(lambda pictures: torch.eye(12, 1000)))
    images = module.load_images(labelled, SIZE, progress=False)
    distant = module.Distant(["accuracy"], "resnet20@none", images, "cpu")
    distant.accuracy = 0.9
    rows = [{"name": "grey", "accuracy": 0.4}, {"name": "a", "accuracy": 0.55}]
    assert distant.notes(rows) == [
        "accuracy: of efficientnet_lite0; true pictures 90.0%; of the way from grey to true: a 30%."
    ]


def test_validation_images_are_measured_if_asked_for(labelled):
    images = module.load_images(labelled, SIZE, progress=False, part="valid")
    assert {file.parts[-3] for file in images.files} == {"train"} and len(images.files) == 1
    with pytest.raises(UsageError, match="unknown part 'train': choices: test, valid"):
        run({"a": Plain(0.1)}, labelled, part="train")


def test_the_working_size_is_that_of_the_prediction(photos):
    sizes = []

    class Noting(Plain):
        def forward(self, L):
            sizes.append(tuple(L.shape[2:]))
            return super().forward(L)

    rows = rows_of(run({"a": Noting(0.1)}, photos, working_size=16))
    assert set(sizes) == {(16, 16)}
    same = rows_of(run({"a": Plain(0.1)}, photos))
    assert rows["a"]["l1"] == pytest.approx(same["a"]["l1"], abs=1e-5)


def most_in_memory(data, count: int, **options) -> tuple[int, int]:
    """(bytes of the largest tensor made, bytes of all floats there are at a prediction)."""
    largest = together = 0

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            nonlocal largest
            given = {t.untyped_storage().data_ptr() for t in tree_leaves(args) if is_tensor(t)}
            out = func(*args, **(kwargs or {}))
            for tensor in filter(is_tensor, tree_leaves(out)):
                if tensor.untyped_storage().data_ptr() not in given:  # no view, such as of a file
                    largest = max(largest, tensor.untyped_storage().nbytes())
            return out

    class Noting(Plain):
        def forward(self, L):
            nonlocal together
            # No kind of Tensor: those of torch.export that another test left have no storage.
            there = [t for t in gc.get_objects() if type(t) is Tensor and t.is_floating_point()]
            sizes = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in there}
            together = max(together, sum(sizes.values()))
            return super().forward(L)

    gc.collect()
    gc.freeze()  # what was there before is not looked at
    try:
        with Watch():
            models = {"a": Noting(0.1), "b": Noting(0.2)}
            evaluation = run(models, data, limit=count, batch_size=4, **options)
    finally:
        gc.unfreeze()
    assert len(evaluation.comparisons) == 1 and evaluation.count == count
    return largest, together


def test_memory_does_not_grow_with_the_number_of_images(tmp_path, monkeypatch):
    monkeypatch.setattr(metrics, "_AT_ONCE", 4 * SIZE * SIZE)
    wide = lambda pred, target: torch.cat([b.mean((1, 2, 3)) for b in pred.batches()])  # noqa: E731
    monkeypatch.setitem(DISTANCES, "wide", wide)
    monkeypatch.setattr(module, "bootstrap_interval", lambda differences, seed: (0.0, 1.0))
    folder = save(tmp_path, [photo(seed) for seed in range(24)])
    few, many = (most_in_memory(folder, count, distances=["wide"]) for count in (12, 24))
    assert many[0] == few[0]
    picture = SIZE * SIZE * 4
    assert many[1] < few[1] + picture  # less than one more channel of one more image


def test_what_is_computed_batch_by_batch_is_that_of_the_whole(photos):
    model = Paint(photos, 0.5)
    images = module.load_images(photos, SIZE, batch_size=5, progress=False)
    L, ab = encode(images.rgb)
    assert torch.equal(images.L[:], L) and torch.equal(images.true_ab(), ab)
    assert len(images) == len(images.L) == COUNT and images.L.shape == L.shape
    mask = torch.arange(COUNT) % 3 == 0
    for rows in (slice(2, 9), [7, 0], torch.tensor([1, 11]), mask):
        assert torch.equal(images.L[rows], L[rows])
        assert torch.equal(images.true_ab(rows), ab[rows])
    further = lambda L, ab, true: {"lightness": L.mean((1, 2, 3)), "b": (true - ab)[:, 1, 0, 0]}  # noqa: E731
    measured = module.measure_model("a", model, images, "cpu", further=further)
    assert torch.allclose(measured.ab[[3, 1]], ab[[3, 1]] / 2, atol=1e-6)
    assert torch.equal(measured.values["lightness"], L.mean((1, 2, 3)))
    assert torch.allclose(measured.values["b"], ab[:, 1, 0, 0] / 2, atol=1e-6)
    assert "lightness" not in measured.row()


def test_a_full_disk_leaves_the_comparison_out(photos, monkeypatch):
    def full(dir):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module.images, "TemporaryFile", full)
    evaluation = run({"a": Paint(photos), "b": Paint(photos, 0.5)}, photos)
    (left_out,) = evaluation.left_out
    assert left_out.startswith("a is not compared with b: cannot store predictions in ")
    assert left_out.endswith("No space left on device")


def test_frechet_is_measured_unless_something_else_is_asked_for(photos):
    rows = evaluate({"a": Plain(0.1)}, photos, progress=False).rows
    assert "frechet" in rows[0]
    assert "frechet" not in evaluate({"a": Plain(0.1)}, photos, limit=1, progress=False).rows[0]


def test_progress_is_shown_on_stderr_if_wanted(photos, capsys):
    evaluate({"some model": Plain(0.1)}, photos)
    shown = capsys.readouterr()
    assert "some model: predicting and measuring" in shown.err
    evaluate({"some model": Plain(0.1)}, photos, progress=False)
    assert shown.out == "" and capsys.readouterr() == ("", "")
