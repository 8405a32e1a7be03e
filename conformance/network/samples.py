"""What is sent to a peer: phantoms and the result objects made of them, all synthetic.

A run's seed decides pixels and UIDs: another seed is another study, so that nothing of an earlier run is there yet.
"""

import tempfile
from collections.abc import Mapping
from copy import deepcopy
from datetime import UTC, datetime
from functools import cached_property
from io import BytesIO
from itertools import count
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom.dsutils import decode, encode

from conformance import phantoms
from conformance.phantom_headers import derived_uid
from dicom_io.headers import LIBRARY_ERRORS
from dicom_io.kinds import ResultKind
from dicom_io.objects.sources import leniently
from dicom_io.profiles import Profile
from dicom_io.results import read_object, write_results
from sgmri import catalogue
from sgmri.errors import ProtocolViolation
from sgmri.findings import Tracklet
from sgmri.questions import Answer, QuestionSet, Unanswered
from sgmri.readings import EngineIdentity, Reading
from sgmri.volume import FrameRef

_SMALL = 64
_ENGINE = EngineIdentity(name="conformance", version="1", digest="00" * 32)
_MADE_AT = datetime(2026, 1, 2, tzinfo=UTC)
_KINDS = frozenset(ResultKind) - {ResultKind.LABELMAP}  # a destination gets one form of segmentation


class Samples:
    """The objects of one run.

    Parameters
    ----------
    seed
        0 or more.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._numbers = count(1)

    @cached_property
    def _phantom(self) -> phantoms.Phantom:
        return phantoms.make("brain", seed=self.seed)

    @property
    def study_instance_uid(self) -> str:
        """The study of all classic images."""
        return str(self._phantom.datasets[0].StudyInstanceUID)

    def uid(self) -> str:
        """Return a UID that nothing else has."""
        return str(derived_uid("conformance", self.seed, next(self._numbers)))

    def small(self, *, size: int = _SMALL) -> Dataset:
        """Return a classic MR image of size x size pixels with a new SOP Instance UID."""
        whole = self._phantom.datasets[len(self._phantom.datasets) // 2]
        ds = deepcopy(whole)
        pixels: NDArray[np.uint16] = np.frombuffer(whole.PixelData, np.uint16).reshape(whole.Rows, whole.Columns)
        ds.Rows = ds.Columns = size
        ds.PixelData = pixels[96 : 96 + size, 96 : 96 + size].tobytes()
        ds.SOPInstanceUID = self.uid()
        return ds

    def big(self, size_bytes: int) -> Dataset:
        """Return a classic MR image whose pixel data have about this size."""
        ds = self.small()
        columns = 4096
        rows = max(1, min(65_535, size_bytes // (2 * columns)))
        ds.Rows, ds.Columns = rows, columns
        ds.PixelData = np.arange(rows * columns, dtype=np.uint32).astype(np.uint16).tobytes()
        return ds

    @cached_property
    def kinds(self) -> Mapping[str, Dataset]:
        """One object of each kind by its name: images of the phantoms, and results made of them."""
        (enhanced,) = phantoms.make("brain-enhanced", seed=self.seed).datasets
        made = {"MR": self._phantom.datasets[0], "Enhanced MR": enhanced}
        with tempfile.TemporaryDirectory() as name:
            directory = Path(name)
            paths = phantoms.write(self._phantom, directory)
            results = write_results(_reading(self._phantom), paths, directory, profile=Profile(kinds=_KINDS))
            made.update({str(result.kind): read_object(result.path) for result in results})
        return made


def encoded(ds: Dataset, transfer_syntax: str) -> bytes:
    """Encode a data set, native or already compressed, in a transfer syntax."""
    syntax = UID(transfer_syntax)
    content = encode(ds, syntax.is_implicit_VR, syntax.is_little_endian, syntax.is_deflated)
    assert content is not None
    return bytes(content)


def decoded(content: bytes, transfer_syntax: str) -> Dataset:
    """Decode a data set that came.

    Raises
    ------
    ProtocolViolation
        If it cannot be decoded.
    """
    syntax = UID(transfer_syntax)
    try:
        with leniently():
            ds = decode(BytesIO(content), syntax.is_implicit_VR, syntax.is_little_endian, syntax.is_deflated)
            ds.walk(lambda *_: None)  # pydicom parses a value when it is first looked at
    except LIBRARY_ERRORS as error:
        raise ProtocolViolation(f"expected a data set that can be decoded, found {type(error).__name__}") from None
    return ds


def _reading(phantom: phantoms.Phantom) -> Reading:
    images = sorted(phantom.datasets, key=lambda ds: float(ds.ImagePositionPatient[2]))
    lesion = phantom.lesions[0]
    questions = catalogue.STANDARD[phantom.anatomy]
    return Reading(
        study_instance_uid=str(images[0].StudyInstanceUID),
        series_instance_uid=str(images[0].SeriesInstanceUID),
        anatomy=phantom.anatomy,
        question_set_id=questions.set_id,
        engine=_ENGINE,
        started_at=_MADE_AT,
        frames=tuple(_frame(ds) for ds in images),
        rows=int(images[0].Rows),
        columns=int(images[0].Columns),
        answers=_unanswered(questions),
        tracklets=(Tracklet(tracklet_id="lesion-1", findings=lesion.findings[:1]),),
    )


def _frame(ds: Dataset) -> FrameRef:
    x, y, z = (float(value) for value in ds.ImagePositionPatient)
    return FrameRef(
        sop_class_uid=str(ds.SOPClassUID),
        sop_instance_uid=str(ds.SOPInstanceUID),
        frame_number=None,
        position_mm=(x, y, z),
    )


def _unanswered(questions: QuestionSet) -> tuple[Answer, ...]:
    answers: dict[str, Answer] = {}
    while asked := questions.next_round(answers):
        for question in asked:
            answers[question.question_id] = Answer(
                question_id=question.question_id, kind=question.kind, unanswered=Unanswered.OUTSIDE_ENGINE_SCOPE
            )
    return questions.in_order(answers.values())
