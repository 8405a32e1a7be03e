"""From a reading to result files: written, read back, and compared before anything is sent.

Nothing that differs from the reading leaves the machine; and what comes back from a PACS can be compared with the
same functions.
"""

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from dicom_io import identity, viewer_rules
from dicom_io.kinds import FILE_NAME, ResultKind
from dicom_io.objects import seg, sr
from dicom_io.objects.sources import leniently, read_sources
from dicom_io.profiles import DEFAULT, Profile
from dicom_io.source_pixels import SourcePixels
from dicom_io.writers import WRITERS, Context, writers_for
from sgmri.errors import EngineError, MalformedInstance, UnsupportedSeries, ViewerRuleBroken
from sgmri.questions import QuestionSet
from sgmri.readings import Reading

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultObject:
    """One result on disk.

    Parameters
    ----------
    kind
        Which of the kinds.
    sop_class_uid, sop_instance_uid, series_instance_uid
        What the object is.
    path
        Its file, in PS3.10 form.
    """

    kind: ResultKind
    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    path: Path


def write_results(
    reading: Reading,
    source_paths: Sequence[Path],
    directory: Path,
    *,
    questions: QuestionSet | None = None,
    profile: Profile = DEFAULT,
) -> tuple[ResultObject, ...]:
    """Write the result objects of a reading, and read them back.

    The second time gives the same bytes.

    Parameters
    ----------
    reading
        The reading.
    source_paths
        Files of the series that was read; files of other instances are passed over.
    directory
        Where the objects go, under the names of :data:`dicom_io.kinds.FILE_NAME`; exists.
    questions
        The set that was asked; None for the standard set of the reading's ``question_set_id``.
    profile
        Which objects, in which shape.

    Returns
    -------
    In the order in which they are sent: what is referred to before what refers to it. None at all where the profile
    holds no kind that has something to say of this reading.

    Raises
    ------
    SeriesError
        If the sources are incomplete, malformed, or not those of the reading.
    EngineError
        If what was read back differs from the reading, or the reading holds an unknown label or question.
    ViewerRuleBroken
        If an object breaks a rule of one of the profile's viewers; it is written, but not to be sent.
    """
    questions = questions or sr.question_set_of(reading)
    made = _make(reading, source_paths, questions, profile)
    for kind in ResultKind:
        if kind not in made:
            # An earlier attempt may have left one that no longer belongs to the others
            (directory / FILE_NAME[kind]).unlink(missing_ok=True)
    results = tuple(_written(ds, kind, directory) for kind, ds in made.items())
    read_back = {result.kind: read_object(result.path) for result in results}
    _prove(reading, read_back, questions)
    _hold_against_viewers(read_back, profile)
    return results


def _make(
    reading: Reading, source_paths: Sequence[Path], questions: QuestionSet, profile: Profile
) -> Mapping[ResultKind, Dataset]:
    writers = writers_for(profile)
    sources = read_sources(reading, source_paths)
    made: dict[ResultKind, Dataset] = {}
    left_out: dict[ResultKind, str] = {}
    context = Context(
        questions=questions,
        profile=profile,
        pixels=SourcePixels(reading, source_paths),
        made=made,
        left_out=left_out,
    )
    for kind, row in writers.items():
        try:
            ds = row.encode(reading, sources, context)
        except UnsupportedSeries as refusal:
            if kind is ResultKind.SR or len(writers) == 1:
                raise
            _log.info("no %s is written: %s", kind, refusal)
            left_out[kind] = str(refusal)
            continue
        if ds is not None:
            made[kind] = ds
    return made


def _written(ds: Dataset, kind: ResultKind, directory: Path) -> ResultObject:
    path = directory / FILE_NAME[kind]
    write_object(ds, path)
    return ResultObject(
        kind=kind,
        sop_class_uid=str(ds.SOPClassUID),
        sop_instance_uid=str(ds.SOPInstanceUID),
        series_instance_uid=str(ds.SeriesInstanceUID),
        path=path,
    )


def write_object(ds: Dataset, path: Path) -> None:
    """Write an object under a temporary name, make it durable, then give it its name."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    with leniently(), temporary.open("wb") as stream:
        ds.save_as(stream, enforce_file_format=True)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)
    handle = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _prove(reading: Reading, objects: Mapping[ResultKind, Dataset], questions: QuestionSet) -> None:
    found = differences(reading, objects, questions=questions)
    if found:
        raise EngineError(
            f"expected the written objects to say what the reading says, found {len(found)} differences, the first: "
            f"{found[0]}; nothing was sent, report this with the engine's name"
        )


def _hold_against_viewers(objects: Mapping[ResultKind, Dataset], profile: Profile) -> None:
    broken = [
        (kind, violation) for kind, ds in objects.items() for violation in viewer_rules.violations(ds, profile.rules_of)
    ]
    if broken:
        named = ", ".join(f"{violation.rule} by {kind} (viewer {violation.viewer})" for kind, violation in broken)
        raise ViewerRuleBroken(
            f"expected results that the destination's viewers show, found broken rules: {named}; nothing was sent, "
            "report this, and take the viewer out of delivery.viewers to send all the same",
            tuple(violation.rule for _, violation in broken),
        )


def differences_in_files(
    reading: Reading, paths: Mapping[ResultKind, Path], *, questions: QuestionSet | None = None
) -> tuple[str, ...]:
    """Return how result files differ from their reading; see :func:`differences`.

    Raises
    ------
    MalformedInstance
        If a file is no object of this product.
    """
    return differences(reading, {kind: read_object(path) for kind, path in paths.items()}, questions=questions)


def read_object(path: Path, *, only: Sequence[str] | None = None) -> Dataset:
    """Read a result object from its file.

    Parameters
    ----------
    path
        The file.
    only
        Keywords of the attributes that are wanted; None for all of them.

    Raises
    ------
    MalformedInstance
        If it is no file in PS3.10 form.
    """
    try:
        with leniently():
            return dcmread(path, specific_tags=None if only is None else list(only))
    except (InvalidDicomError, EOFError) as error:
        raise MalformedInstance(
            f"expected a result object in PS3.10 form, found a file that fails with {type(error).__name__}; write it "
            "again"
        ) from None


def differences(
    reading: Reading, objects: Mapping[ResultKind, Dataset], *, questions: QuestionSet | None = None
) -> tuple[str, ...]:
    """Return how result objects differ from the reading that they were made of.

    Parameters
    ----------
    reading
        The truth.
    objects
        The objects by kind, for instance as they came back from a PACS.
    questions
        The set that was asked; None for the standard set.

    Returns
    -------
    One sentence a difference, without header values (see :mod:`dicom_io.proof`); empty where there is none.

    Raises
    ------
    MalformedInstance
        If an object is none of this product.
    """
    questions = questions or sr.question_set_of(reading)
    found: list[str] = []
    for kind, ds in objects.items():
        with leniently():
            found += WRITERS[kind].differences(reading, ds, questions)
        if not _bears_uid_of(reading, kind, ds):
            found.append(f"{kind}: its SOP Instance UID is not the reading's")
    return tuple(found)


def _bears_uid_of(reading: Reading, kind: ResultKind, ds: Dataset) -> bool:
    if kind in (ResultKind.SEG, ResultKind.LABELMAP):
        return seg.has_uids_of(ds, reading)
    return bool(ds.get("SOPInstanceUID") == identity.result_uids(reading).instance(kind))
