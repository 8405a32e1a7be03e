"""Presentation state, capture, page and key objects as results: written by profile, proven, stored, one study."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from conformance import phantoms
from conformance.pacs import SmallPacs
from dicom_io.kinds import FILE_NAME, ResultKind
from dicom_io.network import Destination
from dicom_io.profiles import profile_for
from dicom_io.results import differences, read_object, write_results
from dicom_io.scu import sendable, store
from sgmri.readings import Reading
from sgmri.settings import Delivery
from tests.dicom_io.forms import MakeCase

ALL = profile_for(Delivery(viewers=("slicer", "weasis", "generic-pacs", "images-only")))
"""Every viewer but OHIF: every form, held against their rules."""
FORMS = (ResultKind.PR, ResultKind.SC, ResultKind.PDF, ResultKind.KO)


@pytest.fixture(scope="module")
def written(make_case: MakeCase, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Reading, Path]]:
    """Write every kind of object of a phantom once; the sources lie in ``sources`` beside them."""
    folders: dict[str, tuple[Reading, Path]] = {}

    def write(name: str) -> tuple[Reading, Path]:
        if name not in folders:
            directory = tmp_path_factory.mktemp(name)
            reading, _ = make_case(name)
            write_results(reading, phantoms.write(phantoms.make(name), directory / "sources"), directory, profile=ALL)
            folders[name] = (reading, directory)
        return folders[name]

    return write


Written = Callable[[str], tuple[Reading, Path]]


@pytest.mark.parametrize("name", ["brain", "knee-enhanced", "brain-normal"])
def test_every_form_belongs_to_the_source_study(
    name: str, written: Written, dcentvfy: Callable[[Sequence[Path]], list[str]]
) -> None:
    """Without boxes only report and page are written; dcentvfy finds sources and objects to agree."""
    reading, directory = written(name)
    made = {path.name for path in directory.glob("*.dcm")}
    expected = {ResultKind.SR, ResultKind.PDF, *((ResultKind.SEG, *FORMS) if reading.tracklets else ())}
    assert made == {FILE_NAME[kind] for kind in expected}
    assert dcentvfy([*(directory / "sources").iterdir(), *directory.glob("*.dcm")]) == []


def _moved(ds: Dataset) -> None:
    outline = ds.GraphicAnnotationSequence[0].GraphicObjectSequence[0]
    outline.GraphicData = [value + 1 for value in outline.GraphicData]


def _other_frame(ds: Dataset) -> None:
    one, two = ds.GraphicAnnotationSequence[0], ds.GraphicAnnotationSequence[1]
    one.ReferencedImageSequence, two.ReferencedImageSequence = two.ReferencedImageSequence, one.ReferencedImageSequence


def _lost_annotation(ds: Dataset) -> None:
    del ds.GraphicAnnotationSequence[0]


def _other_text(ds: Dataset) -> None:
    ds.GraphicAnnotationSequence[0].TextObjectSequence[0].UnformattedTextValue = "Normal"


def _erased(ds: Dataset) -> None:
    ds.PixelData = b"\x40" * len(ds.PixelData)


def _turned(ds: Dataset) -> None:
    frames = ds.pixel_array[::-1]
    ds.PixelData = frames.tobytes()


def _lost_key(ds: Dataset) -> None:
    del ds.ContentSequence[-1]


def _rejected(ds: Dataset) -> None:
    ds.ConceptNameCodeSequence[0].CodeValue = "113001"


def _other_sources(ds: Dataset) -> None:
    ds.SourceInstanceSequence[0].ReferencedSOPInstanceUID = "2.25.1"


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        *((ResultKind.PR, change) for change in (_moved, _other_frame, _lost_annotation, _other_text)),
        *((ResultKind.SC, change) for change in (_erased, _turned)),
        *((ResultKind.KO, change) for change in (_lost_key, _rejected)),
        (ResultKind.PDF, _other_sources),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__.strip("_"),
)
def test_every_falsification_is_noticed(kind: ResultKind, change: Callable[[Dataset], None], written: Written) -> None:
    """What comes back with another box, frame, label, picture, title or source differs, and no header value is told."""
    reading, directory = written("brain")
    ds = read_object(directory / FILE_NAME[kind])
    assert differences(reading, {kind: ds}) == ()
    change(ds)
    found = differences(reading, {kind: ds})
    assert found
    assert not any(word in " ".join(found) for word in ("NIGHTINGALE", "2.25."))


def test_another_readings_page_is_noticed(written: Written) -> None:
    """The page of one reading is not that of another."""
    reading, _ = written("brain")
    _, other = written("brain-normal")
    ds = read_object(other / FILE_NAME[ResultKind.PDF])
    assert {"page: text differs", "page: thumbnails differs"} <= set(differences(reading, {ResultKind.PDF: ds}))


def test_the_small_pacs_stores_every_form(written: Written, tmp_path: Path) -> None:
    """Their presentation contexts are proposed, and each is stored as it is."""
    _, directory = written("brain")
    with SmallPacs("SMALLPACS", directory=tmp_path, peers={"SGMRI": ("127.0.0.1", 1)}) as pacs:
        there = Destination(ae_title="SMALLPACS", host="127.0.0.1", port=pacs.port, calling_ae_title="SGMRI")
        sent = [sendable(directory / FILE_NAME[kind]) for kind in FORMS]
        store(there, sent)
        assert all(pacs.archive.sop_class_of(one.sop_instance_uid) == one.sop_class_uid for one in sent)
