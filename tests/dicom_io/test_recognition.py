from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import UID

from conformance import phantoms
from dicom_io.anatomy import Evidence
from dicom_io.appearance import measure
from dicom_io.decode import decode
from dicom_io.recognition import judge, learnt, recognise
from dicom_io.selection import Choice, choose
from dicom_io.series import describe, scan_folder
from dicom_io.stacking import Limits
from sgmri.lifecycle import Reason
from sgmri.volume import Anatomy, Orientation
from tests.series_files import written

AXIAL = Orientation(row_cosines=(1.0, 0.0, 0.0), column_cosines=(0.0, 1.0, 0.0), pixel_spacing_mm=(0.9, 0.9))


def _nameless(datasets: Sequence[Dataset]) -> list[Dataset]:
    """Take away what names the anatomy, as de-identification does."""
    for ds in datasets:
        for keyword in ("BodyPartExamined", "ProtocolName", "StudyDescription", "SeriesDescription", "ReceiveCoilName"):
            ds.pop(keyword, None)
        ds.pop("AnatomicRegionSequence", None)
    return list(datasets)


def _chosen(name: str, folder: Path) -> Choice:
    return choose(describe(written(_nameless(phantoms.make(name).datasets), folder)))


def _seen(voxels: NDArray[np.float32], orientation: Orientation = AXIAL, coverage_mm: float = 100.0) -> Anatomy | None:
    return judge(measure(voxels, orientation, coverage_mm=coverage_mm), learnt()).anatomy


@pytest.mark.parametrize("name", ["brain", "brain-normal", "brain-oblique", "brain-nonsquare", "knee-nonsquare"])
def test_phantom_without_a_name_is_what_it_is_or_left(tmp_path: Path, name: str) -> None:
    """A phantom that nothing was learnt from is taken for its own anatomy by its image, or left as unknown."""
    choice = _chosen(name, tmp_path)
    if choice.taken:
        assert choice.anatomy is Anatomy(name.partition("-")[0])
        assert "by its image, certainty" in choice.explanation
    else:
        assert choice.reason is Reason.ANATOMY_UNKNOWN
        assert "with certainty" in choice.explanation


def test_nameless_brain_is_taken_by_its_image(tmp_path: Path) -> None:
    """The brain phantom without a word about the anatomy is read, and says by what and how certainly."""
    choice = _chosen("brain-normal", tmp_path)
    assert (choice.anatomy, choice.question_set_id) == (Anatomy.BRAIN, "brain-1"), choice.explanation
    assert choice.sub_volume is not None
    facts = choice.sub_volume.facts
    assert facts.evidence is Evidence.IMAGE
    assert facts.certainty is not None
    assert facts.certainty >= learnt().least_certainty[0]
    assert f"by its image, certainty {facts.certainty:.2f}" in choice.explanation
    assert decode(facts, Anatomy.BRAIN).anatomy_certainty == facts.certainty


@pytest.mark.parametrize("named", ["SPINE", "WRIST", "NECK"])
def test_another_body_part_is_never_overruled_by_the_image(tmp_path: Path, named: str) -> None:
    """A brain that its header calls otherwise is left: the image is not asked."""
    datasets = _nameless(phantoms.make("brain-normal").datasets)
    for ds in datasets:
        ds.BodyPartExamined = named
    assert choose(describe(written(datasets, tmp_path))).reason is Reason.NOT_APPLICABLE


def test_image_that_cannot_be_decoded_has_its_reason(tmp_path: Path) -> None:
    """Pixels that end too early are that, not an unknown anatomy."""
    datasets = _nameless(phantoms.make("brain-normal").datasets)
    for ds in datasets:
        ds.PixelData = ds.PixelData[:1000]
    choice = choose(describe(written(datasets, tmp_path)))
    assert choice.reason is Reason.TRUNCATED_INSTANCE
    assert "its image cannot be looked at" in choice.explanation


def test_look_respects_the_limits(tmp_path: Path) -> None:
    """What is too large is refused before a pixel is decoded."""
    paths = written(_nameless(phantoms.make("brain-normal").datasets), tmp_path)
    assert choose(describe(paths), Limits(max_voxels=1000)).reason is Reason.TOO_LARGE


@pytest.mark.parametrize(
    "voxels",
    [
        np.zeros((9, 200, 200), np.float32),
        np.full((9, 200, 200), 700.0, np.float32),
        np.random.default_rng(0).rayleigh(80, (9, 256, 256)).astype(np.float32),
        np.zeros((4, 1, 1), np.float32),
        np.indices((9, 64, 64)).sum(axis=0).astype(np.float32),
    ],
    ids=["empty", "constant", "noise", "one pixel", "ramp"],
)
def test_what_shows_nothing_is_neither(voxels: NDArray[np.float32]) -> None:
    """An image without a body is no brain and no knee, in any plane."""
    for cosines in (((1.0, 0.0, 0.0), (0.0, 1.0, 0.0)), ((0.0, 1.0, 0.0), (0.0, 0.0, -1.0))):
        assert _seen(voxels, replace(AXIAL, row_cosines=cosines[0], column_cosines=cosines[1])) is None


@pytest.mark.parametrize("name", ["brain-normal", "knee-normal"])
@pytest.mark.parametrize("factor", [0.4, 2.2])
def test_body_of_another_size_is_not_recognised(tmp_path: Path, name: str, factor: float) -> None:
    """The same pixels at the size of a mouse, or of a trunk, are no brain and no knee."""
    volume = decode(describe(phantoms.write(phantoms.make(name), tmp_path)), Anatomy.BRAIN)
    row_mm, column_mm = volume.orientation.pixel_spacing_mm
    orientation = replace(volume.orientation, pixel_spacing_mm=(row_mm * factor, column_mm * factor))
    assert _seen(volume.voxels[::3], orientation, 110 * factor) is None


def test_signs_and_order_of_the_axes_do_not_matter(tmp_path: Path) -> None:
    """Rows, columns and their cosines mirrored or exchanged together are the same body, number for number."""
    volume = decode(describe(phantoms.write(phantoms.make("knee-normal"), tmp_path)), Anatomy.KNEE)
    voxels, orientation = volume.voxels[::3], replace(volume.orientation, pixel_spacing_mm=(0.7, 0.6))
    rows, columns = orientation.column_cosines, orientation.row_cosines
    opposite = (-columns[0], -columns[1], -columns[2])
    expected = measure(voxels, orientation, coverage_mm=90)
    for turned, other in (
        (voxels[:, :, ::-1], replace(orientation, row_cosines=opposite)),
        (
            voxels.transpose(0, 2, 1),
            replace(orientation, row_cosines=rows, column_cosines=columns, pixel_spacing_mm=(0.6, 0.7)),
        ),
    ):
        np.testing.assert_allclose(measure(turned, other, coverage_mm=90), expected, atol=1e-6)


def test_more_than_one_sub_volume_is_looked_at_once(tmp_path: Path) -> None:
    """Of several echoes the largest speaks for the series, and each is then judged by its own."""
    datasets = _nameless(phantoms.make("brain-normal").datasets)
    second = _nameless(phantoms.make("brain-normal").datasets)
    for number, ds in enumerate(second):
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = UID(f"2.25.77{number}")
        ds.EchoTime, ds.EchoNumbers = 20, 2
    choice = choose(describe(written([*datasets, *second], tmp_path)))
    assert choice.anatomy is Anatomy.BRAIN, choice.explanation
    assert {verdict.sub_volume.facts.evidence for verdict in choice.verdicts} == {Evidence.IMAGE}


def test_real_knee_without_a_name(shared_series: Callable[[str], list[Path]]) -> None:
    """The real GE knee, its coil's name taken away as well, is taken for a knee or left, never for a brain."""
    facts = describe(shared_series("knee/ge_mr750_mese_sag_te19"))
    choice = choose(replace(facts, anatomy=None, evidence=Evidence.NONE))
    assert choice.anatomy in (Anatomy.KNEE, None)
    assert choice.taken or "with certainty" in choice.explanation


def test_real_brain_without_a_name_is_taken(shared_series: Callable[[str], list[Path]]) -> None:
    """The real GE brain, nothing of which was learnt from, is taken for a brain by its image."""
    facts = describe(shared_series("classic_mr_brain/ge_signa_fse_pd_ax"))
    assert choose(replace(facts, anatomy=None, evidence=Evidence.NONE)).anatomy is Anatomy.BRAIN


@pytest.mark.parametrize("file", ["d2n_noise_hyperfine.dcm", "d2n_noise_philips_enhanced.dcm"])
def test_real_header_over_noise_is_neither(shared_series: Callable[[str], list[Path]], file: str) -> None:
    """Noise is nothing, however good its header is."""
    (path,) = (path for path in shared_series("enhanced_mr") if path.name == file)
    assert recognise(describe([path])).anatomy is None


def test_nothing_of_the_real_data_is_taken_wrongly(shared_series: Callable[[str], list[Path]]) -> None:
    """Every real series at hand as if it named nothing: whatever its image is taken for, it is that."""
    root = shared_series("knee/ge_mr750_mese_sag_te19")[0].parents[2]
    for facts in scan_folder(root).series:
        choice = choose(replace(facts, anatomy=None, evidence=Evidence.NONE))
        if choice.taken:
            expected = Anatomy.KNEE if facts.instances[0].path.is_relative_to(root / "knee") else Anatomy.BRAIN
            assert choice.anatomy is expected, choice.explanation
            assert not facts.instances[0].path.is_relative_to(root / "enhanced_mr"), "noise, maps, a test object"
