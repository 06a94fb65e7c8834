"""A generator for other runtimes. Each way out writes one file, and tests first what it computes.

torchscript  a traced module
program      an exported program of torch
onnx         ONNX, in single or half precision
int8         ONNX that computes with 8-bit integers where that does not show
common       what they share
"""

from colourgan.exports.int8 import LIMIT, to_onnx_int8
from colourgan.exports.onnx import OPSET, to_onnx
from colourgan.exports.program import to_exported_program
from colourgan.exports.torchscript import to_torchscript

__all__ = [
    "LIMIT", "OPSET", "to_exported_program", "to_onnx", "to_onnx_int8", "to_torchscript",
]  # fmt: skip
