"""Decoding steps of a fixed shape: the form that a CUDA graph replays, without the launches of a thousand kernels.

A step takes up to a fixed number of tokens, of whatever questions; what is left over is padding, which writes to a
column that nobody sees. On the CPU the same step runs without a graph, so that it can be compared anywhere.
"""

from collections.abc import Callable, Sequence

import torch

from worker.engine.packing import Workspace

WIDTHS = (4, 8, 16, 32, 64)
"""Tokens of a step; the smallest that fits is taken."""

Forward = Callable[..., torch.Tensor]
"""(ids, positions, mask, workspace) -> float32 (tokens, vocabulary)."""


def capacity_for(columns: int) -> int:
    """Return how many columns a workspace needs for static steps: rounded up, with one for padding."""
    return -(-(columns + 1) // 64) * 64


class StaticSteps:
    """The steps of one run, one captured graph a width; ends with the run.

    Parameters
    ----------
    workspace
        Of the run, with a capacity of :func:`capacity_for`.
    forward
        The model: token ids (1, tokens), positions (3, 1, tokens), mask and workspace to logits of every token.
    """

    def __init__(self, workspace: Workspace, forward: Forward) -> None:
        self._workspace = workspace
        self._forward = forward
        self._steps: dict[int, _Step] = {}

    def fits(self, tokens: int) -> bool:
        """Tell whether so many tokens fit into a step."""
        return tokens <= WIDTHS[-1]

    def run(
        self, ids: Sequence[int], positions: Sequence[int], owners: torch.Tensor, groups: torch.Tensor
    ) -> torch.Tensor:
        """Feed tokens and return float32 (tokens, vocabulary).

        Parameters
        ----------
        ids, positions
            One a token.
        owners, groups
            As for :meth:`worker.engine.packing.Workspace.claim`.
        """
        width = next(width for width in WIDTHS if width >= len(ids))
        step = self._steps.get(width)
        if step is None:
            step = self._steps[width] = _Step(self._workspace, self._forward, width)
        return step.run(ids, positions, owners, groups)[: len(ids)]


class _Step:
    """One width: its buffers, and its graph where the device has such."""

    def __init__(self, workspace: Workspace, forward: Forward, width: int) -> None:
        device = workspace.owners.device
        self._workspace = workspace
        self._forward = forward
        self._ids = torch.zeros((1, width), dtype=torch.long, device=device)
        self._positions = torch.zeros((3, 1, width), dtype=torch.long, device=device)
        self._columns = torch.full((width,), workspace.capacity - 1, dtype=torch.long, device=device)
        self._mask = torch.zeros((1, 1, width, workspace.capacity), dtype=torch.bool, device=device)
        self._graph: torch.cuda.CUDAGraph | None = None
        self._logits: torch.Tensor | None = None

    def run(
        self, ids: Sequence[int], positions: Sequence[int], owners: torch.Tensor, groups: torch.Tensor
    ) -> torch.Tensor:
        workspace, count = self._workspace, len(ids)
        start, last = workspace.length, workspace.capacity - 1
        device = owners.device
        self._mask.zero_()
        self._mask[:, :, :count] = workspace.claim(owners, groups, seen=workspace.capacity)
        self._mask[:, :, count:, last] = True
        self._ids[0, :count] = torch.tensor(ids, device=device)
        self._positions[:, 0, :count] = torch.tensor(positions, device=device)
        self._columns.fill_(last)
        self._columns[:count] = torch.arange(start, start + count, device=device)
        workspace.columns = self._columns
        try:
            if self._ids.is_cuda:
                return self._replayed()
            return self._call()
        finally:
            workspace.columns = None

    def _call(self) -> torch.Tensor:
        return self._forward(self._ids, self._positions, self._mask, self._workspace)

    def _replayed(self) -> torch.Tensor:
        if self._graph is None:
            self._capture()
        assert self._graph is not None and self._logits is not None
        self._graph.replay()
        return self._logits

    def _capture(self) -> None:
        # Libraries choose and set up their kernels on the first call, which a graph must not hold; a step may be
        # done again, for it writes the same keys to the same columns
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # torch
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            self._call()
        torch.cuda.current_stream().wait_stream(stream)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._logits = self._call()
