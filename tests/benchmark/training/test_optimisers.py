"""The optimisers: stacked matrices step as torch's own Muon steps them one by one."""

import copy

import pytest
import torch
from torch import nn

from benchmark.training.optimisers import Optimisers, StackedMuon, orthogonal


def test_stacked_matrices_step_as_torchs_muon_does() -> None:
    """Tall, wide and square matrices, several of a shape, ten steps: the same weights to bfloat16's rounding."""
    torch.manual_seed(3)
    ours = nn.ModuleList([nn.Linear(*size, bias=False) for size in ((24, 8), (24, 8), (8, 24), (16, 16), (16, 16))])
    theirs, start = copy.deepcopy(ours), copy.deepcopy(ours)
    muon = StackedMuon([{"params": list(ours.parameters())}], lr=0.01, weight_decay=0.03)
    reference = torch.optim.Muon(theirs.parameters(), lr=0.01, weight_decay=0.03, adjust_lr_fn="match_rms_adamw")
    for _ in range(10):
        for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            mine.grad = torch.randn_like(mine)
            other.grad = mine.grad.clone()
        muon.step()
        reference.step()  # type: ignore[no-untyped-call]  # torch
    for mine, other, first in zip(ours.parameters(), theirs.parameters(), start.parameters(), strict=True):
        moved = (other - first).abs().max()
        assert moved > 0.03
        assert (mine - other).abs().max() < 0.02 * moved


def test_a_matrix_becomes_about_orthogonal() -> None:
    """Whatever the singular values were, afterwards they are near one."""
    torch.manual_seed(5)
    values = torch.linalg.svdvals(orthogonal(torch.randn(3, 40, 12)).float())
    assert values.min() > 0.5
    assert values.max() < 1.4


def test_a_loss_that_is_no_number_changes_nothing() -> None:
    """One bad batch must not spoil hours of training."""
    layer = nn.Linear(4, 4)
    before = copy.deepcopy(layer.state_dict())
    optimisers = Optimisers(dict(layer.named_parameters()), 0.01)
    optimisers.set_part(0.2)
    optimisers.step(layer(torch.full((1, 4), torch.inf)).sum() * 0)
    assert all(torch.equal(before[name], value) for name, value in layer.state_dict().items())
    optimisers.step(layer(torch.ones(1, 4)).sum())
    assert not torch.equal(before["weight"], layer.weight)


def test_parameters_that_are_not_thawed_stay() -> None:
    """The slow ones wait until they are thawed, then learn at their share of the rate."""
    layers = nn.ModuleDict({"slow": nn.Linear(4, 4), "quick": nn.Linear(4, 4)})
    before = copy.deepcopy(layers.state_dict())
    optimisers = Optimisers(dict(layers.named_parameters()), 0.01, slow=("slow",), share=0.5)
    moved = {}
    for thawed in (False, True):
        optimisers.set_part(0.5, thawed=thawed)
        optimisers.step(layers["quick"](layers["slow"](torch.ones(1, 4))).square().sum())
        moved[thawed] = (layers["slow"].weight - before["slow.weight"]).abs().max().item()
    assert moved[False] == pytest.approx(0.0)
    assert moved[True] > 0
