"""ONNX, by torch's exporter."""

import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from colourgan.errors import UsageError
from colourgan.exports.common import (
    LARGE,
    copied,
    decoding,
    equal,
    first_line,
    metadata,
    quiet,
    refused,
)
from colourgan.exports.program import exported
from colourgan.files import replacing

if TYPE_CHECKING:
    from onnx import ModelProto
    from onnxruntime import InferenceSession

OPSET = 18  # of ONNX: the one that torch's exporter writes natively; runtimes read it since 2023
_IN_PLACE = ("relu_", "hardtanh_", "hardswish_", "hardsigmoid_", "silu_")


@torch.no_grad()
def to_onnx(generator: nn.Module, path: Path | str, half: bool = False) -> None:
    """Writes a generator as an ONNX model of opset 18, for L of any size (N, 1, H, W).

    Input `L` and output `ab` (N, 2, H, W) are float32 in network units. A model of color classes
    also has the scalar inputs `temperature` and `vivid`, with the generator's own as defaults. The
    metadata "colourgan" are, as JSON, what a model file says of itself, "opset", and "decoding":
    these defaults, or null. half: weights in half precision, so half as large a file; they are
    computed with in single precision. Raises UsageError, and writes nothing, if ONNX Runtime
    computes something else than torch or a package is missing, RunError for a weight that half
    precision cannot hold.
    """
    content = onnx_bytes(copied(generator, half), half)
    with replacing(path) as part:
        part.write_bytes(content)


def onnx_bytes(generator: nn.Module, half: bool = False) -> bytes:
    """The content of `to_onnx`'s file, of a generator in evaluation mode on the CPU."""
    need("onnx", "onnxscript", "onnxruntime")
    try:
        with quiet():
            model = _onnx_model(generator)
        if half:
            _store_in_half(model)
        content = model.SerializeToString(deterministic=True)
        del model  # of a large generator every copy counts
        run = onnx_runtime(content)
    except Exception as error:  # of torch, ONNX Script and ONNX Runtime, which share no class
        raise refused(generator, f"export to ONNX: {first_line(error)}") from error
    if not equal(run, generator, 1e-4):
        raise refused(generator, "export to ONNX: its colors would be others than torch's")
    return content


def need(*packages: str) -> None:
    """Raises UsageError if a package is not installed."""
    if missing := [name for name in packages if not find_spec(name)]:
        raise UsageError(
            f"an ONNX model needs {' and '.join(missing)} to be written: "
            "pip install 'colourgan[train]'"
        )


class _Decoded(nn.Module):
    """A generator of color classes whose temperature and vivid are inputs."""

    def __init__(self, generator: nn.Module):
        super().__init__()
        self.generator = generator

    def forward(self, L: Tensor, temperature: Tensor, vivid: Tensor) -> Tensor:
        buffers = {"classes.temperature": temperature, "classes.vivid": vivid}
        return torch.func.functional_call(self.generator, buffers, (L,))


def _onnx_model(generator: nn.Module) -> "ModelProto":
    from onnx.numpy_helper import from_array
    from onnx_ir.passes import common
    from onnxscript import optimizer

    defaults = decoding(generator) or {}
    scalars = [torch.tensor(value) for value in defaults.values()]
    program = exported(_Decoded(generator) if defaults else generator, *scalars)
    _replace_in_place(program)
    program = torch.onnx.export(
        program, dynamo=True, opset_version=OPSET, optimize=False, verbose=False,
        input_names=["L", *defaults], output_names=["ab"],
    )  # fmt: skip
    # Not the exporter's own optimization, which folds batch norm into the convolutions: their
    # weights would no longer be those of the generator, nor fit into half precision.
    optimizer.inline(program.model)
    optimizer.fold_constants(program.model)
    for make_pass in (
        common.RemoveUnusedNodesPass, common.DeduplicateInitializersPass,
        common.CommonSubexpressionEliminationPass, common.ClearMetadataAndDocStringPass,
    ):  # fmt: skip
        make_pass()(program.model)
    model = program.model_proto
    del model.graph.value_info[:]
    for value in (model.graph.input[0], model.graph.output[0]):
        sizes = value.type.tensor_type.shape.dim
        sizes[0].dim_param, sizes[2].dim_param, sizes[3].dim_param = "batch", "height", "width"
    for name, value in defaults.items():  # an initializer named as an input is its default
        model.graph.initializer.append(from_array(np.array(value, np.float32), name))
    text = json.dumps(metadata(generator) | {"opset": OPSET}, sort_keys=True)
    model.metadata_props.add(key="colourgan", value=text)
    return model


def _replace_in_place(program: torch.export.ExportedProgram) -> None:
    """Activations in place become others, which torch needs a quarter of the time to take apart."""
    order = {node: i for i, node in enumerate(program.graph.nodes)}
    for node in program.graph.nodes:
        name = getattr(node.target, "_opname", "")
        if node.op == "call_function" and name in _IN_PLACE:
            for user in [user for user in node.args[0].users if order[user] > order[node]]:
                user.replace_input_with(node.args[0], node)
            node.target = getattr(torch.ops.aten, name[:-1]).default
    program.graph_module.recompile()


def _store_in_half(model: "ModelProto") -> None:
    """Large initializers that float16 holds exactly become float16, cast back when loaded."""
    from onnx import TensorProto, helper
    from onnx.numpy_helper import from_array, to_array

    casts = []
    for tensor in model.graph.initializer:
        values = to_array(tensor)
        if values.dtype != np.float32 or values.size < LARGE:
            continue
        with np.errstate(over="ignore"):
            halved = values.astype(np.float16)
        if not np.array_equal(halved, values):
            continue  # computed at export from several weights
        name = f"{tensor.name}_half"
        casts.append(helper.make_node("Cast", [name], [tensor.name], to=TensorProto.FLOAT))
        tensor.CopyFrom(from_array(halved, name))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def onnx_runtime(content: bytes) -> Callable[[Tensor], Tensor]:
    """An ONNX model as a function of L."""
    session = onnx_session(content)
    return lambda L: torch.from_numpy(session.run(["ab"], {"L": L.numpy()})[0])


def onnx_session(content: bytes, **options) -> "InferenceSession":
    """An ONNX model in ONNX Runtime; options: attributes of its SessionOptions."""
    from onnxruntime import InferenceSession, SessionOptions

    chosen = SessionOptions()
    chosen.log_severity_level = 4  # it writes to stderr by itself; errors are raised
    for name, value in options.items():
        setattr(chosen, name, value)
    return InferenceSession(content, chosen, ["CPUExecutionProvider"])
