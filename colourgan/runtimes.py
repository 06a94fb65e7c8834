"""What runs a generator on arrays: ONNX Runtime, which needs no torch, or torch.

A runtime is called with L (N, 1, H, W) float32 and gives ab (N, 2, H, W) float32, both in network
units and for any H and W, from any thread. Its `size` is the working size that suits it: the side
that it was built for, or what was measured to be better.
"""

import json
import os
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Protocol

import numpy as np

from colourgan.decoding import NO_CLASSES, check_decoding
from colourgan.errors import RunError, UsageError, is_out_of_memory
from colourgan.hub import MODEL, ONNX_MODEL, fetched, is_on_hub, local, naming
from colourgan.lab import AB_SCALE

if TYPE_CHECKING:
    from torch import nn

PACKAGED = "packaged"
# The packaged model was trained at up to 128 pixels; on photographs of 300 to 800 pixels its L1 is
# 6 % lower at 160 (bench/quality.py).
PACKAGED_SIZE = 160
ONNX = ".onnx"


class Runtime(Protocol):
    """See the module. Both kinds raise RunError for ab that is not finite."""

    size: int

    def __call__(self, L: np.ndarray) -> np.ndarray: ...

    def samples(self, L: np.ndarray, count: int, seed: int) -> np.ndarray:
        """ab (count, 2, H, W) of one L (1, 1, H, W) that differ by the generator's dropout.

        The k-th sample of a seed is the same however many are drawn. Raises UsageError for a
        generator without dropout, as `check_samples` does before any work.
        """

    def check_samples(self) -> None: ...


def open_runtime(
    model: "Path | str | nn.Module" = PACKAGED,
    device: str = "auto",
    temperature: float | None = None,
    vivid: float | None = None,
    trust_pickle: bool = False,
) -> Runtime:
    """A generator, a run folder, a model file or hf:USER/NAME as a runtime.

    The packaged model, those of the Hub and files that end in .onnx are run by ONNX Runtime on the
    CPU; the first two by torch if another device than "auto" or "cpu" is named. temperature, vivid:
    how a model of color classes decodes them, its own values by default. Raises UsageError if there
    is no such file, it is no model, or it cannot do what was asked; RunError if it is damaged or
    the Hub cannot be reached.
    """
    check_decoding(temperature, vivid)
    if not isinstance(model, str | os.PathLike):
        return TorchRuntime(model, device, temperature, vivid)
    packaged = str(model) == PACKAGED and not os.path.exists(model)
    if packaged and device in ("auto", "cpu"):
        own = Path(__file__).parent / "weights" / "photographs.onnx"
        return _at(PACKAGED_SIZE, OnnxRuntime(own, temperature, vivid))
    on_hub = is_on_hub(model)
    if on_hub and device in ("auto", "cpu"):
        # As for the packaged model: it starts at once, and its colors are the same with torch
        # installed and without.
        file = fetched(model, ONNX_MODEL, MODEL)
        if file.suffix == ONNX:
            return HubRuntime(model, file, temperature, vivid)
    if not (packaged or on_hub) and Path(model).suffix == ONNX:
        if device not in ("auto", "cpu"):
            raise UsageError(f"{model} runs on the CPU here: leave --device {device} out")
        return OnnxRuntime(model, temperature, vivid)
    if not (packaged or on_hub):
        local(model)  # what is not there is told without torch, too
    from colourgan.models import load_model

    runtime = TorchRuntime(load_model(model, trust_pickle), device, temperature, vivid)
    return _at(PACKAGED_SIZE, runtime) if packaged else runtime


def _at(size: int, runtime: Runtime) -> Runtime:
    runtime.size = size
    return runtime


class OnnxRuntime:
    """A file that `colourgan export --to onnx` wrote."""

    def __init__(
        self, path: Path | str, temperature: float | None = None, vivid: float | None = None
    ):
        if not os.path.isfile(path):
            raise UsageError(f"no file {path}: name a run folder or a model file")
        # It would tell its makers of its use, from version 1.29 on.
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
        from onnxruntime import InferenceSession, SessionOptions

        options = SessionOptions()
        options.log_severity_level = 4  # what it writes to stderr by itself; errors are raised
        # One thread a picture: those of a folder are colored side by side, and every run gives
        # the same numbers.
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        try:
            self.session = InferenceSession(os.fspath(path), options, ["CPUExecutionProvider"])
            text = self.session.get_modelmeta().custom_metadata_map.get("colourgan")
            metadata = None if text is None else json.loads(text)
        except Exception as error:  # ONNX Runtime's own exceptions have no common class
            first = (str(error).splitlines() or [type(error).__name__])[0]
            raise RunError(f"{path} is damaged or no ONNX model ({first[:200]})") from error
        if metadata is None:
            raise UsageError(f"{path} is no colourgan model: it has no description of one")
        if metadata["ab_scale"] != AB_SCALE:
            scale = metadata["ab_scale"]
            raise RunError(f"{path} scales ab by {scale}, this colourgan by {AB_SCALE}")
        self.size = metadata["arguments"]["size"]
        given = {"temperature": temperature, "vivid": vivid}
        self.decoding = {k: np.array(v, np.float32) for k, v in given.items() if v is not None}
        if self.decoding and not metadata["decoding"]:
            raise UsageError(NO_CLASSES)

    def __call__(self, L: np.ndarray) -> np.ndarray:
        try:
            (ab,) = self.session.run(["ab"], {"L": L, **self.decoding})
        except Exception as error:
            if is_out_of_memory(error):
                raise
            first = (str(error).splitlines() or [type(error).__name__])[0]
            raise RunError(f"the model cannot be run ({first[:200]})") from error
        return _finite(ab)

    def samples(self, L: np.ndarray, count: int, seed: int) -> np.ndarray:
        self.check_samples()

    def check_samples(self) -> None:
        raise UsageError(
            "an ONNX model has no dropout, so all its samples are alike: --samples needs a run "
            "folder or a .safetensors file of a generator trained with dropout"
        )


class HubRuntime(OnnxRuntime):
    """The ONNX model of a repository; samples are drawn by torch from its other model file."""

    def __init__(
        self, model: Path | str, file: Path, temperature: float | None, vivid: float | None
    ):
        self.model, self.given = model, (temperature, vivid)
        with naming(model, file):
            super().__init__(file, temperature, vivid)

    @cached_property
    def with_dropout(self) -> "TorchRuntime":
        from colourgan.models import load_model

        return TorchRuntime(load_model(self.model), "cpu", *self.given)

    def samples(self, L: np.ndarray, count: int, seed: int) -> np.ndarray:
        return self.with_dropout.samples(L, count, seed)

    def check_samples(self) -> None:
        self.with_dropout.check_samples()


class TorchRuntime:
    """A generator on a device; it is moved there and put in evaluation mode."""

    def __init__(
        self,
        generator: "nn.Module",
        device: str = "auto",
        temperature: float | None = None,
        vivid: float | None = None,
    ):
        from colourgan.devices import choose_device
        from colourgan.generators import set_decoding

        if temperature is not None or vivid is not None:
            set_decoding(generator, temperature, vivid)
        self.device = choose_device(str(device))
        self.generator = generator.to(self.device).eval()
        self.size = getattr(generator, "arguments", {}).get("size")
        self.lock = Lock()  # sampling changes the modes of the generator's modules

    def __call__(self, L: np.ndarray) -> np.ndarray:
        with self.lock:
            return self._run(L)

    def samples(self, L: np.ndarray, count: int, seed: int) -> np.ndarray:
        import torch

        from colourgan.generators import sampling

        on_gpu = self.device.type == "cuda"
        with (
            self.lock,
            torch.random.fork_rng([self.device] if on_gpu else []),
            sampling(self.generator),
        ):
            torch.manual_seed(seed)
            return np.concatenate([self._run(L) for _ in range(count)])

    def check_samples(self) -> None:
        from colourgan.generators import sampling

        with self.lock, sampling(self.generator):
            pass

    def _run(self, L: np.ndarray) -> np.ndarray:
        import torch

        with torch.inference_mode():
            ab = self.generator(torch.from_numpy(L).to(self.device)).detach().float().cpu()
        return _finite(ab.numpy())


def _finite(ab: np.ndarray) -> np.ndarray:
    if not np.isfinite(ab).all():
        raise RunError("the model predicts values that are not finite: it is broken")
    return ab
