"""Broken samples: good result objects with one fault each, to prove that a check, or a receiver, sees it.

The other objects of the set stay whole and lie beside the broken one, so that what is held together can be.
"""

import shutil
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydicom import dcmread
from pydicom.dataset import Dataset

from conformance.faults import document, marks, report, segmentation
from conformance.faults.fault import Fault, NotApplicable
from dicom_io.objects.sources import leniently

FAULTS: Final[tuple[Fault, ...]] = (*report.FAULTS, *document.FAULTS, *segmentation.FAULTS, *marks.FAULTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutation:
    """A broken sample on disk.

    Parameters
    ----------
    fault
        What was done.
    directory
        The whole set of objects.
    broken
        The one of them that was broken.
    """

    fault: Fault
    directory: Path
    broken: Path


def mutate(objects: Sequence[Path], out: Path, faults: Sequence[Fault] = FAULTS) -> Iterator[Mutation]:
    """Write the objects once for each fault that applies to one of them, and yield what was written.

    Parameters
    ----------
    objects
        Good result objects of one reading: a TID 1500 report, a segmentation and others.
    out
        Where a folder a fault is made, under the fault's name.
    faults
        Those that are made.
    """
    with leniently():
        good = {path: dcmread(path) for path in objects}
    for fault in faults:
        for path, ds in good.items():
            broken = _broken(ds, fault)
            if broken is None:
                continue
            directory = out / fault.name.replace(" ", "-").replace("'", "")
            directory.mkdir(parents=True)
            for other in good:
                shutil.copyfile(other, directory / other.name)
            with leniently():
                broken.save_as(directory / path.name)  # as it is: no file meta information is mended
            yield Mutation(fault=fault, directory=directory, broken=directory / path.name)
            break


def _broken(ds: Dataset, fault: Fault) -> Dataset | None:
    if ds.get("Modality") != fault.kind or (fault.kind == "SR" and "ContentTemplateSequence" not in ds):
        return None
    broken = deepcopy(ds)
    try:
        with leniently():
            fault.apply(broken)
    except NotApplicable:
        return None
    return broken
