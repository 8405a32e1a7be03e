"""One learning rate for two optimisers: Muon for matrices, AdamW for everything else."""

import math
from collections.abc import Mapping

import torch
from torch import nn


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
            self._all.append((torch.optim.Muon(muon, lr=rate, weight_decay=0.03, adjust_lr_fn="match_rms_adamw"), 1.0))
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
