"""ONNX that computes with 8-bit integers where that does not show."""

import copy
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from colourgan.color import to_lab
from colourgan.exports.common import copied, first_line, quiet, refused
from colourgan.exports.onnx import onnx_bytes, onnx_runtime
from colourgan.files import replacing
from colourgan.metrics import METRICS, Colors

if TYPE_CHECKING:
    from onnx import ModelProto
    from onnxruntime.quantization import TensorsData

LIMIT = 0.5  # CIEDE2000, mean over pixels, of the float model's colors; 1 is about visible
_RANKING = 8  # pictures that the convolutions are ranked by


@torch.no_grad()
def to_onnx_int8(generator: nn.Module, path: Path | str, L: Tensor) -> None:
    """Writes the ONNX model of `to_onnx` with convolutions that compute with 8-bit integers.

    L: (N, 1, H, W) in network units, lightness of such pictures as it will see: the ranges of
    activations are theirs, and the mean CIEDE2000 difference from the float model's colors is
    measured on them. The convolutions whose integers change the colors most stay in float, as few
    (0, 1, 2, 4, 8, …) as keep the difference within LIMIT. The metadata tell both under "int8":
    {"convolutions", "in_float", "delta_e"}. Raises UsageError, and writes nothing, as `to_onnx`
    does, or if that takes more than half of the convolutions.
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
    names = [node.name for node in model.graph.node if node.op_type == "Conv"]

    def delta_e(convolutions: Iterable[str], count: int) -> tuple[bytes, float]:
        found = _in_integers(model, ranges, list(convolutions))
        return found, _difference(onnx_runtime(found), L[:count], wanted[:count])

    alone = {name: delta_e([name], _RANKING)[1] for name in names}
    harmless = sorted(names, key=alone.get)
    in_float = 0
    while True:
        found, change = delta_e(harmless[: len(names) - in_float], len(L))
        more = 2 * in_float or 1
        if change <= LIMIT or more > len(names) / 2:
            break
        in_float = more
    told = {"convolutions": len(names), "in_float": in_float, "delta_e": round(change, 4)}
    return _described(found, content, told), told


def _calibrated(content: bytes, L: Tensor, folder: Path) -> tuple["ModelProto", "TensorsData"]:
    """The model with batch norm folded into its convolutions, and the ranges of its activations."""
    import onnx
    from onnxruntime import GraphOptimizationLevel, InferenceSession, SessionOptions
    from onnxruntime.quantization import CalibrationDataReader, create_calibrator

    class Pictures(CalibrationDataReader):
        def __init__(self):
            self.pictures = ({"L": one[None].numpy()} for one in L)

        def get_next(self) -> dict | None:
            return next(self.pictures, None)

    options = SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(folder / "folded.onnx")
    InferenceSession(content, options, ["CPUExecutionProvider"])
    calibrator = create_calibrator(
        folder / "folded.onnx", ["Conv"], augmented_model_path=str(folder / "augmented.onnx")
    )
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
