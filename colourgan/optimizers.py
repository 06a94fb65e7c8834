"""Adam in one kernel for all parameters, with fastai's hyperparameters and state."""

from collections import defaultdict

import torch
from fastai.optimizer import Optimizer
from torch import Tensor
from torch.optim.adamw import adamw

FUSED = ("cpu", "cuda", "mps", "xpu")  # where torch has a fused Adam


class FusedAdam(Optimizer):
    """fastai's `Adam` with decoupled weight decay; the same numbers up to rounding, sooner.

    fastai steps in Python, parameter by parameter, with about ten kernels for each; here torch's
    fused kernel steps all at once. Hyperparameters, parameter groups, freezing and `do_wd` (no
    decay of biases and norms) are fastai's, whose state it also takes: a training that was begun
    with the one goes on with the other. Not by `OptimWrapper`, which decays biases and norms too.
    """

    def __init__(
        self,
        params,
        lr: float,
        mom: float = 0.9,
        sqr_mom: float = 0.99,
        eps: float = 1e-5,
        wd: float = 0.01,
    ):
        super().__init__(params, [], lr=lr, mom=mom, sqr_mom=sqr_mom, eps=eps, wd=wd)

    def zero_grad(self) -> None:
        """Frees the gradients: the next backward pass writes new ones instead of adding to 0."""
        for p, *_ in self.all_params():
            p.grad = None

    def step(self, closure=None) -> None:
        """Moves every parameter that has a gradient."""
        if closure is not None:
            raise NotImplementedError("fastai's optimizers take no closure")
        for group, hyper in zip(self.param_lists, self.hypers, strict=True):
            alike: dict[tuple, list[Tensor]] = defaultdict(list)
            for p in group:
                if p.grad is not None:
                    alike[self.state[p].get("do_wd", True), p.device.type].append(p)
            for (decays, device), params in alike.items():
                states = [self._state(p) for p in params]
                adamw(
                    params,
                    [p.grad for p in params],
                    *([state[name] for state in states] for name in ("grad_avg", "sqr_avg")),
                    [],
                    [state["step"] for state in states],
                    fused=device in FUSED or None,
                    amsgrad=False,
                    beta1=float(hyper["mom"]),
                    beta2=float(hyper["sqr_mom"]),
                    lr=float(hyper["lr"]),
                    weight_decay=float(hyper["wd"]) if decays else 0.0,
                    eps=float(hyper["eps"]),
                    maximize=False,
                )

    @torch.no_grad()
    def _state(self, p: Tensor) -> dict:
        """A parameter's moments and its number of steps, as tensors on its device."""
        state = self.state[p]
        if "grad_avg" not in state:
            state |= {"grad_avg": torch.zeros_like(p), "sqr_avg": torch.zeros_like(p), "step": 0}
        # A number in a state of fastai's Adam.
        state["step"] = torch.as_tensor(state["step"], dtype=torch.float32, device=p.device)
        self.state[p] = state
        return state


def fused_adam(params, lr: float, betas: tuple[float, float]) -> torch.optim.Adam:
    """torch's Adam without weight decay, fused where the device of the parameters allows it."""
    params = list(params)
    fused = all(p.device.type in FUSED for p in params) or None
    return torch.optim.Adam(params, lr=lr, betas=betas, fused=fused)
