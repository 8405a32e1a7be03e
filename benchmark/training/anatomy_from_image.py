"""Learn to tell brain, knee and neither by the image, and write the weights that travel with the product.

    python -m benchmark.training.anatomy_from_image --out dicom_io/recognition.json [--seed N] [--batches N]

Needs nothing but the checkout: every volume is synthetic (:mod:`benchmark.training.anatomy_cases`), so that all real
series stay an examination. The same seed and number of batches give the same weights on the same kind of machine.
Each case is judged once by weights that never saw it; by these judgements certainties are calibrated and the least
certainty is chosen, and the printed table is made of them.
"""

import argparse
import json
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from benchmark.training.anatomy_cases import BATCH, Case, cases
from dicom_io.recognition import CLASSES, Weights, chances, judge, standardised, strangeness
from sgmri.volume import Anatomy

UNITS = 24
FOLDS = 5
_STEPS = 2500
_CASES_A_STEP = 256
_BLUR = 0.3
"""Deviation of the noise on every measure, in its own deviations: real bodies differ from painted ones."""
_LOST = 0.15
"""Part of the measures that are hidden at each step, so that no single one decides."""
_WRONG_SHARE = 1e-3
"""Part of the held-out cases that may be taken wrongly at the least certainty."""
_LEAST = 0.95
"""Less is never sure, whatever the cases say."""
_FAMILIAR_SHARE = 0.999
"""Part of the brains, and of the knees, that the guard lets through."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class School:
    """The cases in columns.

    Parameters
    ----------
    names
        Of their kinds.
    measures
        float64 (cases, measures).
    truth
        int64 (cases,): places in :data:`dicom_io.recognition.CLASSES`.
    """

    names: NDArray[np.str_]
    measures: NDArray[np.float64]
    truth: NDArray[np.int64]

    @classmethod
    def of(cls, found: Sequence[Case]) -> "School":
        """Put cases into columns."""
        return cls(
            names=np.array([case.name for case in found]),
            measures=np.stack([case.measures for case in found]),
            truth=np.array([CLASSES.index(case.anatomy) for case in found]),
        )

    def only(self, chosen: NDArray[np.bool_]) -> "School":
        """Return a part of the cases."""
        return School(names=self.names[chosen], measures=self.measures[chosen], truth=self.truth[chosen])


def enrol(*, seed: int, batches: int, processes: int) -> School:
    """Make the cases; how many processes paint them makes no difference."""
    with ProcessPoolExecutor(processes, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        return School.of(
            [case for batch in pool.map(partial(cases, seed), range(batches), chunksize=4) for case in batch]
        )


def fit(school: School, *, seed: int) -> Weights:
    """Fit network and guard; certainties are not calibrated yet.

    Parameters
    ----------
    school
        What to learn from.
    seed
        Of the first weights and of every draw.
    """
    blank = _guard(school)
    torch.manual_seed(seed)
    shown = torch.tensor(standardised(school.measures, blank), dtype=torch.float32)
    truth = torch.tensor(school.truth)
    first, last = nn.Linear(shown.shape[1], UNITS), nn.Linear(UNITS, len(CLASSES))
    optimiser = torch.optim.AdamW([*first.parameters(), *last.parameters()], lr=3e-3, weight_decay=0.05)
    for _ in range(_STEPS):
        drawn = torch.randint(len(shown), (_CASES_A_STEP,))
        seen = (shown[drawn] + _BLUR * torch.randn(len(drawn), shown.shape[1])) * (
            torch.rand(len(drawn), shown.shape[1]) > _LOST
        )
        loss = functional.cross_entropy(last(torch.tanh(first(seen))), truth[drawn], label_smoothing=0.02)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch
        optimiser.step()
    layers = (first.weight.T, first.bias, last.weight.T, last.bias)
    hidden, hidden_bias, output, output_bias = (layer.detach().numpy().astype(np.float64) for layer in layers)
    return replace(blank, hidden=hidden, hidden_bias=hidden_bias, output=output, output_bias=output_bias)


def _guard(school: School) -> Weights:
    """Return weights with the guard alone: what brains and knees are like, and how far they lie from that."""
    none = np.zeros(0)
    weights = Weights(
        centre=school.measures.mean(axis=0),
        scale=school.measures.std(axis=0) + 1e-3,
        hidden=none,
        hidden_bias=none,
        output=none,
        output_bias=none,
        typical=none,
        spread=none,
        farthest=none,
        least_certainty=none,
    )
    bodies = [standardised(school.measures[school.truth == place], weights) for place in (0, 1)]
    weights = replace(
        weights,
        typical=np.stack([body.mean(axis=0) for body in bodies]),
        spread=np.stack([body.std(axis=0) + 0.1 for body in bodies]),
    )
    away = [[strangeness(one, weights)[place] for one in body] for place, body in enumerate(bodies)]
    return replace(weights, farthest=np.array([np.quantile(one, _FAMILIAR_SHARE) for one in away]))


def examine(school: School, *, seed: int) -> NDArray[np.float64]:
    """Return the chances of each class, float64 (cases, 3), by weights that never saw the case or its batch."""
    # four batches in turn are brains, knees and strangers
    folds = np.arange(len(school.truth)) // (4 * BATCH) % FOLDS
    found = np.empty((len(school.truth), len(CLASSES)))
    for fold in range(FOLDS):
        weights = fit(school.only(folds != fold), seed=seed)
        chosen = folds == fold
        found[chosen] = [chances(standardised(one, weights), weights) for one in school.measures[chosen]]
    return found


def calibrate(weights: Weights, held_out: NDArray[np.float64], truth: NDArray[np.int64]) -> Weights:
    """Make certainties probabilities on cases that were held out, and choose the least one that counts.

    Parameters
    ----------
    weights
        From :func:`fit`.
    held_out
        float64 (cases, 3), from :func:`examine`.
    truth
        int64 (cases,), places in :data:`dicom_io.recognition.CLASSES`.
    """
    places = np.arange(len(truth))
    sharpened = {power: _sharpened(held_out, power) for power in np.linspace(0.4, 2.5, 43)}
    best = min(sharpened, key=lambda power: -float(np.log(sharpened[power][places, truth] + 1e-9).mean()))
    found = sharpened[best]
    allowed = int(_WRONG_SHARE * len(truth) / 2)
    wrong = [np.sort(found[truth != place, place])[-1 - allowed] for place in (0, 1)]
    return replace(
        weights,
        output=weights.output * best,
        output_bias=weights.output_bias * best,
        least_certainty=np.maximum(_LEAST, np.ceil(np.array(wrong) * 1000) / 1000),
    )


def _sharpened(held_out: NDArray[np.float64], power: float) -> NDArray[np.float64]:
    raised = held_out**power
    sharpened: NDArray[np.float64] = raised / raised.sum(axis=1, keepdims=True)
    return sharpened


def to_mapping(weights: Weights) -> dict[str, object]:
    """Return what :meth:`dicom_io.recognition.Weights.from_mapping` takes, in four digits."""
    return {field.name: _rounded(np.asarray(getattr(weights, field.name))) for field in fields(weights)}


def _rounded(values: NDArray[np.float64]) -> object:
    return [_rounded(value) for value in values] if values.ndim else float(f"{values:.4g}")


def table(school: School, weights: Weights) -> str:
    """Return how many of fresh cases of each kind are taken for what."""
    seen = [judge(one, weights).anatomy for one in school.measures]
    lines = [f"{'shown':30} {'count':>6} {'brain':>6} {'knee':>6}   (the rest is not sure, or neither)"]
    for name in sorted(set(school.names)):
        taken = [anatomy for anatomy, own in zip(seen, school.names, strict=True) if own == name]
        lines.append(f"{name:30} {len(taken):6} {taken.count(Anatomy.BRAIN):6} {taken.count(Anatomy.KNEE):6}")
    return "\n".join(lines)


def main() -> None:
    """Make cases, learn, examine, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--batches", type=int, default=1600, help=f"of {BATCH} volumes each")
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # the order of sums must not depend on the machine's cores
    seed, batches, processes = arguments.seed, arguments.batches, arguments.processes
    school = enrol(seed=seed, batches=batches, processes=processes)
    weights = calibrate(fit(school, seed=seed), examine(school, seed=seed), school.truth)
    arguments.out.write_text(json.dumps(to_mapping(weights)) + "\n", encoding="utf-8")
    fresh = enrol(seed=seed + 1, batches=max(4, batches // 8), processes=processes)
    print(table(fresh, weights))
    print(f"{len(school.truth)} cases learnt; least certainty {weights.least_certainty}")


if __name__ == "__main__":
    main()
