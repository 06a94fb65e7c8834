"""What 8 bits cost and bring the packaged model: python bench/int8.py CALIBRATION PHOTOS…

CALIBRATION: photographs that the ranges of activations are taken from, the name of a data set or a
folder; PHOTOS: folders of those to measure with. The model is quantized by ONNX Runtime in several
ways, the last as `colourgan export --to onnx-int8` does; of each the table has the file's size, the
CIEDE2000 difference of its colors from the float model's (mean and 95th percentile over all pixels,
at a working size of 128), and milliseconds a picture of 128×168 with one thread, the median of 40
turns that the models take.
"""

import argparse
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import torch
from onnxruntime import GraphOptimizationLevel, InferenceSession, SessionOptions
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from PIL import Image
from skimage.color import deltaE_ciede2000

from colourgan.color import encode, to_lab
from colourgan.datasets import dataset_root, fit_square, training_parts
from colourgan.exports import to_onnx, to_onnx_int8
from colourgan.images import list_images, read_rgb
from colourgan.models import load_model

SIZE = 128


def lightness(path: Path, square: bool = False) -> np.ndarray:
    """L (1, 1, H, W) of a photograph whose shorter side is SIZE."""
    image = read_rgb(path)
    scale = SIZE / min(image.size)
    size = [round(side * scale) for side in image.size]
    image = fit_square(image, SIZE) if square else image.resize(size, Image.Resampling.BICUBIC)
    return encode(torch.from_numpy(np.array(image)).permute(2, 0, 1)[None])[0].numpy()


class Reader(CalibrationDataReader):
    def __init__(self, inputs: list[np.ndarray]):
        self.inputs = iter(inputs)

    def get_next(self) -> dict | None:
        L = next(self.inputs, None)
        return None if L is None else {"L": L}


def session(path: Path, optimized: Path | None = None) -> InferenceSession:
    options = SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    if optimized:  # batch norm folded into the convolutions, and no more
        options.graph_optimization_level = GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(optimized)
    return InferenceSession(path, options, ["CPUExecutionProvider"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("calibration")
    parser.add_argument("photos", type=Path, nargs="+")
    parser.add_argument("--count", type=int, default=100, help="of each folder, evenly chosen")
    asked = parser.parse_args()
    files = training_parts(dataset_root(asked.calibration)).train[:100]
    calibration = [lightness(file, square=True) for file in files]
    found = [list_images(folder) for folder in asked.photos]
    test = [
        lightness(file)
        for files in found
        for file in files[:: max(1, len(files) // asked.count)][: asked.count]
    ]
    with TemporaryDirectory() as folder:
        models = quantized(Path(folder), calibration)
        measure(models, test)


def quantized(folder: Path, calibration: list[np.ndarray]) -> dict[str, Path]:
    generator = load_model("packaged")
    chosen = "as few in float as keep ΔE < .5"
    models = {name: folder / f"{name}.onnx" for name in ("float", "half")}
    to_onnx(generator, models["float"])
    to_onnx(generator, models["half"], half=True)
    folded = folder / "folded.onnx"
    session(models["float"], folded)
    graph = onnx.load(folded).graph
    convolutions = [node.name for node in graph.node if node.op_type == "Conv"]
    # name → the convolutions that stay in float, and how ranges are found
    static = {
        "static": ([], CalibrationMethod.MinMax),
        "static, percentile": ([], CalibrationMethod.Percentile),
        "static, but first and classes": ([0, -1], CalibrationMethod.MinMax),
        "static, but first 5 and classes": ([0, 1, 2, 3, 4, -1], CalibrationMethod.MinMax),
    }
    for name, (floats, method) in static.items():
        models[name] = folder / f"{name}.onnx"
        quantize_static(
            folded, models[name], Reader(calibration), per_channel=True, calibrate_method=method,
            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
            op_types_to_quantize=["Conv"], nodes_to_exclude=[convolutions[i] for i in floats],
        )  # fmt: skip
    models["dynamic"] = folder / "dynamic.onnx"
    quantize_dynamic(folded, models["dynamic"], per_channel=True, op_types_to_quantize=["Conv"])
    models["weights only"] = folder / "weights only.onnx"
    weights_only(folded, models["weights only"])
    models[chosen] = folder / "chosen.onnx"
    to_onnx_int8(generator, models[chosen], torch.from_numpy(np.concatenate(calibration)))
    return models


def weights_only(source: Path, target: Path) -> None:
    """Kernels as int8, one scale for each output channel, made float again when computed with."""
    model = onnx.load(source)
    added, kept = [], []
    for tensor in model.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.ndim != 4:
            kept.append(tensor)
            continue
        scale = (np.abs(values).max((1, 2, 3)) / 127).clip(1e-12).astype(np.float32)
        rounded = np.rint(values / scale[:, None, None, None]).astype(np.int8)
        names = [f"{tensor.name}_{part}" for part in ("int8", "scale")]
        arrays = zip((rounded, scale), names, strict=True)
        kept += [onnx.numpy_helper.from_array(array, name) for array, name in arrays]
        added.append(onnx.helper.make_node("DequantizeLinear", names, [tensor.name], axis=0))
    nodes = [*added, *model.graph.node]
    del model.graph.initializer[:], model.graph.node[:]
    model.graph.initializer.extend(kept)
    model.graph.node.extend(nodes)
    onnx.save(model, target)


def measure(models: dict[str, Path], test: list[np.ndarray]) -> None:
    sessions = {name: session(path) for name, path in models.items()}
    wanted = [lab(L, sessions["float"]) for L in test]
    L = np.linspace(-1, 1, 128 * 168, dtype=np.float32).reshape(1, 1, 128, 168)
    times = {name: [] for name in models}
    for _ in range(40):
        for name, each in sessions.items():
            start = time.perf_counter()
            each.run(["ab"], {"L": L})
            times[name].append(time.perf_counter() - start)
    print(f"{len(test)} photographs\n{'':34}  MB    ΔE   95 %    ms")
    for name, each in sessions.items():
        pairs = zip(wanted, (lab(L, each) for L in test), strict=True)
        found = np.concatenate([deltaE_ciede2000(a, b).ravel() for a, b in pairs])
        size, ms = models[name].stat().st_size / 1e6, 1e3 * np.median(times[name])
        print(f"{name:34}{size:5.1f}{found.mean():6.2f}{np.percentile(found, 95):6.2f}{ms:7.1f}")


def lab(L: np.ndarray, run: InferenceSession) -> np.ndarray:
    """(H, W, 3) in CIE units."""
    (ab,) = run.run(["ab"], {"L": L})
    return to_lab(torch.from_numpy(L), torch.from_numpy(ab))[0].permute(1, 2, 0).numpy()


if __name__ == "__main__":
    main()
