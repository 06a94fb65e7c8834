"""ONNX that computes with 8-bit integers where that does not show."""

import copy
import json
import math
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from colourgan.color import to_lab
from colourgan.exports.common import copied, first_line, quiet, refused
from colourgan.exports.onnx import onnx_bytes, onnx_runtime, onnx_session
from colourgan.files import replacing
from colourgan.metrics import METRICS, Colors

if TYPE_CHECKING:
    from onnx import ModelProto
    from onnxruntime.quantization import TensorsData

LIMIT = 0.5  # CIEDE2000, mean over pixels, of the float model's colors; 1 is about visible
_RANKING = 8  # pictures that the convolutions are ranked by
_STEPS = 16  # in which convolutions go back to float


@torch.no_grad()
def to_onnx_int8(generator: nn.Module, path: Path | str, L: Tensor) -> None:
    """Writes the ONNX model of `to_onnx` with convolutions that compute with 8-bit integers.

    L: (N, 1, H, W) in network units, lightness of such pictures as it will see: the ranges of
    activations are theirs, and the mean CIEDE2000 difference from the float model's colors is
    measured on them. The convolutions whose integers change the colors most, for the work that they
    save, stay in float: as few as keep the difference within LIMIT. The metadata tell both under
    "int8": {"convolutions", "in_float", "delta_e"}. Raises UsageError, and writes nothing, as
    `to_onnx` does, or if half of the convolutions in float are not enough.
    """
    generator = copied(generator)
    content = onnx_bytes(generator)
    try:
        with quiet():
            content, found = _quantized(content, L)
    except Exception as error:  # ONNX Runtime's errors share no class
        raise refused(generator, f"compute with 8 bits: {first_line(error)}") from error
    if found["delta_e"] > LIMIT:
        raise refused(
            generator,
            f"compute with 8 bits: they change its colors by ΔE {found['delta_e']:.2f}, more than "
            f"{LIMIT}, with half of the convolutions in float",
        )
    with replacing(path) as part:
        part.write_bytes(content)


def _quantized(content: bytes, L: Tensor) -> tuple[bytes, dict]:
    """The model in 8 bits, and what of it stayed in float."""
    wanted = onnx_runtime(content)(L)
    with TemporaryDirectory() as folder:
        model, ranges = _calibrated(content, L, Path(folder))
    work = _multiplications(model, L[:1])
    few = slice(None, None, -(-len(L) // _RANKING))

    def delta_e(convolutions: list[str], some: slice) -> tuple[bytes, float]:
        found = _in_integers(model, ranges, convolutions)
        return found, _difference(onnx_runtime(found), L[some], wanted[some])

    order = sorted(work, key=lambda name: delta_e([name], few)[1] / work[name])
    for in_float in range(0, len(order) // 2 + 1, max(1, len(order) // _STEPS)):
        found, change = delta_e(order[: len(order) - in_float], slice(None))
        if change <= LIMIT:
            break
    told = {"convolutions": len(order), "in_float": in_float, "delta_e": round(change, 4)}
    return _described(found, content, told), told


def _multiplications(model: "ModelProto", L: Tensor) -> dict[str, int]:
    """What each convolution, by name, multiplies for L."""
    from onnx.helper import make_empty_tensor_value_info

    convolutions = {node.name: node for node in model.graph.node if node.op_type == "Conv"}
    weights = {tensor.name: math.prod(tensor.dims) for tensor in model.graph.initializer}
    shown = copy.deepcopy(model)
    outputs = [node.output[0] for node in convolutions.values()]
    shown.graph.output.extend(map(make_empty_tensor_value_info, outputs))
    features = onnx_session(shown.SerializeToString()).run(outputs, {"L": L.numpy()})
    return {
        name: weights[node.input[1]] * math.prod(feature.shape[2:])
        for (name, node), feature in zip(convolutions.items(), features, strict=True)
    }


def _calibrated(content: bytes, L: Tensor, folder: Path) -> tuple["ModelProto", "TensorsData"]:
    """The model with batch norm folded into its convolutions, and the ranges of its activations."""
    import onnx
    from onnxruntime import GraphOptimizationLevel, set_default_logger_severity
    from onnxruntime.quantization import CalibrationDataReader, create_calibrator

    class Pictures(CalibrationDataReader):
        def __init__(self):
            self.pictures = ({"L": one[None].numpy()} for one in L)

        def get_next(self) -> dict | None:
            return next(self.pictures, None)

    onnx_session(
        content, optimized_model_filepath=str(folder / "folded.onnx"),
        graph_optimization_level=GraphOptimizationLevel.ORT_ENABLE_BASIC,
    )  # fmt: skip
    set_default_logger_severity(4)  # the calibrator's session has no options of its own
    try:
        calibrator = create_calibrator(
            folder / "folded.onnx", ["Conv"], augmented_model_path=str(folder / "augmented.onnx")
        )
    finally:
        set_default_logger_severity(2)
    calibrator.collect_data(Pictures())
    return onnx.load(folder / "folded.onnx"), calibrator.compute_data()


def _in_integers(model: "ModelProto", ranges: "TensorsData", convolutions: list[str]) -> bytes:
    """The model with these convolutions, and no others, in 8 bits."""
    from onnxruntime.quantization import QDQQuantizer, QuantType

    # With 7 bits of the weights processors without VNNI instructions add up without overflow, so
    # that a model has the same colors everywhere.
    quantizer = QDQQuantizer(
        copy.deepcopy(model), per_channel=True, reduce_range=True,
        weight_qType=QuantType.QInt8, activation_qType=QuantType.QUInt8, tensors_range=ranges,
        nodes_to_quantize=convolutions, nodes_to_exclude=[], op_types_to_quantize=["Conv"],
        extra_options={},
    )  # fmt: skip
    quantizer.quantize_model()
    quantizer.model.topological_sort()
    return quantizer.model.model.SerializeToString(deterministic=True)


def _difference(run: Callable[[Tensor], Tensor], L: Tensor, wanted: Tensor) -> float:
    found, wanted = (to_lab(L, ab) for ab in (run(L), wanted))
    return METRICS["delta_e"](Colors(found, found), Colors(wanted, wanted)).mean().item()


def _described(content: bytes, source: bytes, told: dict) -> bytes:
    """The model with the metadata of the one it was made of, and `told` under "int8"."""
    import onnx

    model, before = onnx.load_from_string(content), onnx.load_from_string(source)
    del model.metadata_props[:], model.opset_import[:], model.graph.value_info[:]
    model.opset_import.extend(before.opset_import)
    model.producer_name, model.producer_version = before.producer_name, before.producer_version
    (entry,) = before.metadata_props
    text = json.dumps(json.loads(entry.value) | {"int8": told}, sort_keys=True)
    model.metadata_props.add(key="colourgan", value=text)
    return model.SerializeToString(deterministic=True)
