"""What was measured of a bundle's model, from the ``eval.json`` that is sealed with it."""

import json
from pathlib import Path

from sgmri.errors import EngineError
from sgmri.questions import QuestionKind
from sgmri.readings import MeasuredAccuracy

FILE_NAME = "eval.json"
_MAX_BYTES = 4 << 20
_MEASURES = (
    ("accuracy", QuestionKind.DETECTION, "yes/no questions answered right"),
    ("published_v", QuestionKind.LOCALISATION, "mean overlap V of the boxes with the truth"),
    ("lesions", QuestionKind.COUNTING, "number of lesions exactly right"),
    ("kinds", QuestionKind.COUNTING, "number of kinds of finding exactly right"),
)
"""(score of :class:`benchmark.evaluation.Row`, the kind of question it is about, in words)."""


def read(path: Path, model_id: str) -> tuple[MeasuredAccuracy, ...]:
    """Read what the examination of a bundle found out about its model, one entry a measure.

    Parameters
    ----------
    path
        The file; verified by the bundle, so that only its meaning is checked here.
    model_id
        The bundle's model; the file may hold others' scores beside its own.

    Raises
    ------
    EngineError
        If it is no examination of this model.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ValueError("too long")
        document = json.loads(path.read_text(encoding="utf-8"))
        overall = next(report["overall"] for report in document["reports"] if report["engine"] == model_id)
        # Only the school's own volumes are drawn from seeds: real ones are never called synthetic, nor the reverse
        volumes = "held-out synthetic volumes" if "first_seed" in document else "held-out volumes"
        return tuple(
            MeasuredAccuracy(
                kind=kind,
                measure=words,
                value=overall[score]["value"],
                low=overall[score]["low"],
                high=overall[score]["high"],
                volumes=overall[score]["samples"],
                source=f"{volumes}, {FILE_NAME} of the model",
            )
            for score, kind, words in _MEASURES
            if overall[score]["value"] is not None  # not measured: no volume had such a question
        )
    except (OSError, StopIteration, ValueError, TypeError, KeyError) as error:
        raise EngineError(
            f"{path.name}: expected the examination of {model_id}, found {type(error).__name__}; examine the model "
            "and build the bundle again"
        ) from None
