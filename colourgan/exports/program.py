"""torch.export: a program whose sizes are unknowns."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import torch
from torch import Tensor, nn

from colourgan.exports.common import copied, equal, first_line, metadata, quiet, refused
from colourgan.files import replacing


@torch.no_grad()
def to_exported_program(generator: nn.Module, path: Path | str) -> None:
    """Writes a generator as an exported program of torch (.pt2), for L of any size (N, 1, H, W).

    `torch.export.load(path).module()` gives ab (N, 2, H, W), float32 in network units, without
    colourgan; the extra file "colourgan" is the metadata of `to_onnx`, but for the opset. Raises
    UsageError, and writes nothing, if it computes something else than the generator.
    """
    generator, buffer = copied(generator), BytesIO()
    try:
        with quiet():
            program = exported(generator)
            text = json.dumps(metadata(generator), sort_keys=True)
            torch.export.save(program, buffer, extra_files={"colourgan": text})
            run = program.module()
    except Exception as error:  # the exporter's errors share no class
        raise refused(generator, f"export by torch.export: {first_line(error)}") from error
    if not equal(run, generator, 1e-5):
        raise refused(generator, "export by torch.export: it would serve one size only")
    with replacing(path) as part:
        part.write_bytes(buffer.getbuffer())


def exported(module: nn.Module, *scalars: Tensor) -> torch.export.ExportedProgram:
    """A module of L, and of scalars, as a program in which the sizes of L are unknowns."""
    from torch.fx.experimental import _config

    L = torch.zeros(2, 1, 66, 97)
    unknown = dict.fromkeys((0, 2, 3), torch.export.Dim.DYNAMIC)
    shapes = (unknown, *[None for _ in scalars])
    # Oblivious: otherwise a feature of one pixel, in small pictures, would be refused later.
    with _config.patch(backed_size_oblivious=True), _symbolic_padding():
        program = torch.export.export(module, (L, *scalars), dynamic_shapes=shapes, strict=False)
    # torch notes that sizes are as here where that decides how memory is laid out, and would refuse
    # others; whether they get other colors is tested afterwards.
    program._guards_code = []
    for symbol, sizes in program.range_constraints.items():
        program.range_constraints[symbol] = type(sizes)(1, sizes.upper)
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # it names folders of this machine
    return program


@contextmanager
def _symbolic_padding() -> Iterator[None]:
    """Inside the block timm's "same" padding is a short term of an unknown size.

    timm rounds a quotient up, in floating point, which torch.export can neither simplify nor
    compare: with this formula the size after a stride of 2 is (size + 1) // 2.
    """
    from timm.layers import padding

    def same(size: int, kernel: int, stride: int, dilation: int) -> int:
        reach = dilation * (kernel - 1) + 1
        total = ((size + stride - 1) // stride - 1) * stride + reach - size
        return total if reach >= stride else torch.sym_max(total, 0)

    theirs = padding.get_same_padding
    padding.get_same_padding = same
    try:
        yield
    finally:
        padding.get_same_padding = theirs
