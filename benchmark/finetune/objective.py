"""What is minimised: by default the cross-entropy of the answer's tokens. Another objective is a function like it.

A reward fits the same seam (docs/finetune.md): a function that lets the model answer the batch's items, scores the
answers, with V* say, and returns the sum whose gradient raises the likely reward.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmark.finetune.examples import IGNORED, Batch

Objective = Callable[[nn.Module, Batch], Tensor]
"""The loss of a batch, summed over its learnt tokens: it is divided by the tokens of a whole step."""


def answer_logits(model: nn.Module, batch: Batch) -> Tensor:
    """Return what the model would say in the place of each answer token: float32 (examples, tokens, vocabulary)."""
    width = batch.labels.shape[1]
    # Only the answers' rows reach the vocabulary: of a whole volume it would be gigabytes
    logits: Tensor = model(**batch.inputs, logits_to_keep=width + 1).logits
    return logits[:, :-1].float()


def answer_loss(model: nn.Module, batch: Batch) -> Tensor:
    """Return the cross-entropy of the answers, summed over their tokens."""
    return _cross_entropy(answer_logits(model, batch), batch.labels)


def _cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    return functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="sum")


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What an evaluation found.

    Parameters
    ----------
    loss
        Mean cross-entropy of an answer token.
    token_accuracy
        Part of the answer tokens that the model would have said, each behind the true ones before it.
    value_accuracy
        The same of the first token of each value: yes or no, the letter, the number. No score: it is told the way.
    examples
        How many were looked at.
    """

    loss: float
    token_accuracy: float
    value_accuracy: float
    examples: int


def totals(model: nn.Module, batch: Batch) -> Tensor:
    """Return float64 (5,): summed loss, right tokens, tokens, right values, examples; sums that can be added up."""
    with torch.no_grad():
        logits = answer_logits(model, batch)
        right = logits.argmax(dim=-1) == batch.labels
        values = right.gather(1, batch.values[:, None])
        counts = (_cross_entropy(logits, batch.labels), right.sum(), batch.answer_tokens, values.sum(), len(values))
        return torch.tensor([float(count) for count in counts], dtype=torch.float64, device=logits.device)


def measured(sums: Tensor) -> Measured:
    """Return the means of :func:`totals`, added up."""
    loss, right, tokens, values, examples = sums.tolist()
    return Measured(
        loss=loss / tokens, token_accuracy=right / tokens, value_accuracy=values / examples, examples=int(examples)
    )
