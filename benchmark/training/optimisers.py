"""One learning rate for two optimisers: Muon for matrices, AdamW for everything else."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

_COEFFICIENTS = (3.4445, -4.775, 2.0315)
"""Of the quintic Newton-Schulz iteration (Jordan 2024)."""
_ITERATIONS = 5
_MOMENTUM = 0.95


class StackedMuon(torch.optim.Optimizer):
    """torch's Muon (``match_rms_adamw``, Nesterov), all matrices of one shape at once.

    It launches a fraction of the kernels, which is most of what a small model's step costs on a large GPU.

    Parameters
    ----------
    groups
        Parameter groups; every parameter is a matrix.
    lr
        Learning rate, scaled to AdamW's size of step (Liu et al. 2025, "Muon is scalable for LLM training").
    weight_decay
        Decoupled.
    """

    def __init__(self, groups: Iterable[dict[str, Any]], *, lr: float, weight_decay: float) -> None:
        super().__init__(groups, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]  # no closure here
        """Go one step."""
        assert closure is None
        for group in self.param_groups:
            alike: dict[torch.Size, list[nn.Parameter]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    alike.setdefault(parameter.shape, []).append(parameter)
            for shape, members in alike.items():
                self._step(members, group, 0.2 * math.sqrt(max(shape)))

    def _step(self, members: list[nn.Parameter], group: Mapping[str, Any], scale: float) -> None:
        grads: list[Tensor] = [member.grad for member in members if member.grad is not None]
        for member in members:
            self.state[member].setdefault("momentum_buffer", torch.zeros_like(member))
        buffers: list[Tensor] = [self.state[member]["momentum_buffer"] for member in members]
        torch._foreach_lerp_(buffers, grads, 1 - _MOMENTUM)
        ahead = torch._foreach_lerp(grads, buffers, _MOMENTUM)
        updates = orthogonal(torch.stack(list(ahead)))
        weights: list[Tensor] = [*members]
        torch._foreach_mul_(weights, 1 - group["lr"] * group["weight_decay"])
        torch._foreach_add_(weights, list(updates.to(members[0].dtype).unbind()), alpha=-group["lr"] * scale)


def orthogonal(matrices: Tensor) -> Tensor:
    """Return about the nearest orthogonal matrices, bfloat16 (matrices, rows, columns), singular values about 1."""
    a, b, c = _COEFFICIENTS
    is_tall = matrices.shape[1] > matrices.shape[2]
    near = (matrices.mT if is_tall else matrices).bfloat16()
    near = near / near.norm(dim=(1, 2), keepdim=True).clamp_min(1e-7)
    for _ in range(_ITERATIONS):
        gram = near @ near.mT
        near = torch.baddbmm(near, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), near, beta=a)
    return near.mT if is_tall else near


class Optimisers:
    """Muon (Jordan 2024) for matrices between layers, AdamW for embeddings, vectors and the patch embedding.

    Parameters
    ----------
    parameters
        Name -> parameter.
    rate
        Highest rate of Muon's, scaled to AdamW's size of step; AdamW's own is six tenths of it.
    slow, share
        Starts of names that learn at this share of the rate.
    """

    def __init__(
        self, parameters: Mapping[str, nn.Parameter], rate: float, *, slow: tuple[str, ...] = (), share: float = 1.0
    ) -> None:
        self._rate = rate
        groups: dict[tuple[bool, bool, bool], list[nn.Parameter]] = {}
        for name, parameter in parameters.items():
            is_matrix = parameter.ndim == 2 and "embed" not in name and "lm_head" not in name
            key = (is_matrix, name.startswith(slow) if slow else False, parameter.ndim > 1)
            groups.setdefault(key, []).append(parameter)
        muon, adam = [], []
        for (is_matrix, is_slow, decays), members in groups.items():
            group = {"params": members, "share": share if is_slow else 1.0, "slow": is_slow}
            if is_matrix:
                muon.append(group)
            else:
                adam.append({**group, "weight_decay": 0.03 if decays else 0.0})
        self._all: list[tuple[torch.optim.Optimizer, float]] = []
        if muon:
            self._all.append((StackedMuon(muon, lr=rate, weight_decay=0.03), 1.0))
        if adam:
            fused = next(iter(parameters.values())).is_cuda or None
            self._all.append((torch.optim.AdamW(adam, lr=rate, betas=(0.9, 0.98), fused=fused), 0.6))
        self._parameters = [parameter for members in groups.values() for parameter in members]

    def set_part(self, part: float, *, thawed: bool = True) -> None:
        """Set the rates for a part of the way, 0 to 1: up over the first three per cent, then down along a cosine.

        Parameters
        ----------
        part
            Of the way.
        thawed
            Whether the slow ones learn at all.
        """
        part = min(max(part, 0.0), 1.0)
        shape = part / 0.03 if part < 0.03 else 0.01 + 0.99 * (1 + math.cos(math.pi * (part - 0.03) / 0.97)) / 2
        for optimiser, own in self._all:
            for group in optimiser.param_groups:
                share = 0.0 if group["slow"] and not thawed else group["share"]
                group["lr"] = self._rate * own * shape * share

    def step(self, loss: torch.Tensor) -> None:
        """Go one step down; a loss that is no number is left out."""
        if not bool(torch.isfinite(loss.detach())):
            return
        for optimiser, _ in self._all:
            optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]  # torch
        nn.utils.clip_grad_norm_([p for p in self._parameters if p.grad is not None], 1.0)
        for optimiser, _ in self._all:
            optimiser.step()
