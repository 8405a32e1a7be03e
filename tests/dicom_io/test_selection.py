from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import SecondaryCaptureImageStorage

from conformance import phantoms
from dicom_io.selection import Choice, choose
from dicom_io.series import describe, scan_folder
from dicom_io.stacking import Limits
from sgmri.lifecycle import Reason
from sgmri.volume import Anatomy
from tests.series_files import written

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"
CANARIES = ("PHANTOM", "SYNTHETIC", "CANARY", "NIGHTINGALE", "2.25.")


def _small(name: str = "brain-normal") -> list[Dataset]:
    """Return a phantom's data sets along the normal, with frames of 64 x 64 zeros."""
    datasets = sorted(phantoms.make(name).datasets, key=lambda ds: float(ds.get("ImagePositionPatient", [0, 0, 0])[2]))
    for ds in datasets:
        ds.Rows = ds.Columns = 64
        ds.PixelData = np.zeros((int(ds.get("NumberOfFrames", 1)), 64, 64), np.uint16).tobytes()
    return datasets


def _chosen(datasets: list[Dataset], folder: Path, limits: Limits | None = None) -> Choice:
    choice = choose(describe(written(datasets, folder)), limits)
    assert not any(canary in choice.explanation for canary in CANARIES)
    assert choice.taken is (choice.reason is Reason.NONE)
    return choice


@pytest.mark.parametrize(
    ("name", "anatomy", "set_id"),
    [
        ("brain", Anatomy.BRAIN, "brain-1"),
        ("brain-enhanced", Anatomy.BRAIN, "brain-1"),
        ("knee-oblique", Anatomy.KNEE, "knee-1"),
        ("knee-enhanced", Anatomy.KNEE, "knee-1"),
    ],
)
def test_phantoms_are_taken(tmp_path: Path, name: str, anatomy: Anatomy, set_id: str) -> None:
    """Brain and knee, classic and Enhanced, are taken with their question set."""
    choice = _chosen(_small(name), tmp_path)
    assert choice.taken
    assert (choice.anatomy, choice.question_set_id) == (anatomy, set_id)


Edit = Callable[[list[Dataset]], object]


def _each(**attributes: object) -> Edit:
    """Set attributes of every instance; None deletes."""

    def edit(datasets: list[Dataset]) -> None:
        for ds in datasets:
            for keyword, value in attributes.items():
                if value is None:
                    delattr(ds, keyword)
                else:
                    setattr(ds, keyword, value)

    return edit


def _one(number: int, **attributes: object) -> Edit:
    return lambda datasets: _each(**attributes)(datasets[number : number + 1])


def _three_planes(datasets: list[Dataset]) -> None:
    del datasets[9:]
    for number, ds in enumerate(datasets):
        ds.ImageOrientationPatient = ([1, 0, 0, 0, 1, 0], [1, 0, 0, 0, 0, -1], [0, 1, 0, 0, 0, -1])[number % 3]


def _side_by_side(datasets: list[Dataset]) -> None:
    for ds in datasets[11:]:
        x, y, z = (float(value) for value in ds.ImagePositionPatient)
        ds.ImagePositionPatient = [x + 8, y, z]


def _sheared(datasets: list[Dataset]) -> None:
    for number, ds in enumerate(datasets):
        x, y, z = (float(value) for value in ds.ImagePositionPatient)
        ds.ImagePositionPatient = [x + 2 * number, y, z]


_TEXTS = dict.fromkeys(("SeriesDescription", "ProtocolName", "StudyDescription", "BodyPartExamined"), None)


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (_each(SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0), Reason.COLOUR),
        (_each(PhotometricInterpretation="PALETTE COLOR"), Reason.COLOUR),
        (_each(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]), Reason.LOCALISER),
        (_each(SeriesDescription="AAHead_Scout"), Reason.LOCALISER),
        (_each(SeriesDescription="3-plane loc"), Reason.LOCALISER),
        (_three_planes, Reason.LOCALISER),
        (_each(SeriesDescription="ASSET calibration"), Reason.NOT_APPLICABLE),
        (_each(ImageType=["DERIVED", "PRIMARY", "DIFFUSION", "ADC"]), Reason.DERIVED),
        (_each(ImageType=["DERIVED", "SECONDARY", "MPR"]), Reason.DERIVED),
        (_each(ImageType=["DERIVED", "PRIMARY", "MPR"]), Reason.DERIVED),
        (_each(ImageType=["ORIGINAL", "PRIMARY", "P", "ND"]), Reason.DERIVED),
        (_each(ImageType=["ORIGINAL", "PRIMARY", "SUBTRACTION"]), Reason.DERIVED),
        (_each(ImageType=["ORIGINAL", "PRIMARY", "MIP"]), Reason.DERIVED),
        (_each(SeriesDescription="dADC map"), Reason.DERIVED),
        (_each(SeriesDescription="mIP_Images(SW)"), Reason.DERIVED),
        (_one(5, ImageType=["DERIVED", "SECONDARY", "OTHER"]), Reason.DERIVED),
        (_each(ImageType=["ORIGINAL", "PRIMARY", "M", "MOSAIC"]), Reason.MIXED_GEOMETRY),
        (_one(3, PhotometricInterpretation="MONOCHROME1"), Reason.MIXED_GEOMETRY),
        (_one(3, ImageOrientationPatient=[1, 0, 0, 0, 0.99, 0.141]), Reason.MIXED_GEOMETRY),
        (_one(3, PixelSpacing=[0.8, 0.8]), Reason.MIXED_GEOMETRY),
        (_one(3, Rows=128, Columns=32), Reason.MIXED_GEOMETRY),
        (_one(3, FrameOfReferenceUID="1.2.3"), Reason.MIXED_GEOMETRY),
        (_side_by_side, Reason.MIXED_GEOMETRY),
        (lambda datasets: datasets.__delitem__(slice(3, None)), Reason.TOO_FEW_FRAMES),
        (_one(3, ImagePositionPatient=None), Reason.MALFORMED_INSTANCE),
        (_one(3, PixelSpacing=[0, 0.9]), Reason.MALFORMED_INSTANCE),
        (_one(3, ImageOrientationPatient=[1, 0, 0, 1, 0, 0]), Reason.MALFORMED_INSTANCE),
        (lambda datasets: datasets.__delitem__(slice(1, 21)), Reason.TOO_FEW_FRAMES),
        (lambda datasets: datasets.__delitem__(slice(4, 12)), Reason.INCOMPLETE_SERIES),
        (_each(**_TEXTS, ReceiveCoilName="Body"), Reason.ANATOMY_UNKNOWN),
        (_each(BodyPartExamined="KNEE"), Reason.ANATOMY_UNKNOWN),
        (_each(SeriesDescription="t2 sag C-SPINE"), Reason.NOT_APPLICABLE),
        (_each(SOPClassUID=SecondaryCaptureImageStorage), Reason.NOT_MR),
    ],
)
def test_series_not_taken_has_its_reason(tmp_path: Path, edit: Edit, reason: Reason) -> None:
    """What is no brain or knee volume is refused with its own coded reason."""
    datasets = _small()
    edit(datasets)
    for ds in datasets:
        ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    choice = _chosen(datasets, tmp_path)
    assert choice.reason is reason, choice.explanation
    assert (choice.anatomy, choice.question_set_id) == (None, None)


def test_image_type_in_small_letters_counts(tmp_path: Path) -> None:
    """What a careless writer puts into small letters is a localiser all the same."""
    datasets = _small()
    _each(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])(datasets)
    paths = written(datasets, tmp_path)
    for path in paths:
        path.write_bytes(path.read_bytes().replace(b"LOCALIZER", b"localizer"))
    assert choose(describe(paths)).reason is Reason.LOCALISER


@pytest.mark.parametrize(
    "edit",
    [
        _each(ImageType=["ORIGINAL", "PRIMARY", "MPR"]),
        _each(SeriesDescription="t1_mpr_ax brain"),
        _each(ImageType=["DERIVED", "PRIMARY", "M", "ND"]),
        _each(ImageType=["ORIGINAL", "PRIMARY", "M_SE", "M", "SE"]),
        _each(**_TEXTS, ReceiveCoilName="8HRBRAIN"),
        _each(FrameOfReferenceUID=None),
        _each(PhotometricInterpretation="MONOCHROME1"),
        _sheared,
        _one(3, ImageOrientationPatient=[0, 1, 0, 0, 0, -1]),
        lambda datasets: datasets.__delitem__(slice(7, 9)),
        lambda datasets: datasets.__delitem__(slice(4, None)),
    ],
)
def test_harmless_oddities_are_taken(tmp_path: Path, edit: Edit) -> None:
    """ORIGINAL reformats, lossy copies, a coil alone, MONOCHROME1, a shear, a stray frame, missing slices are read."""
    datasets = _small()
    edit(datasets)
    choice = _chosen(datasets, tmp_path)
    assert choice.anatomy is Anatomy.BRAIN, choice.explanation


def _slabs(mm: float) -> Edit:
    """Move the slices together or apart."""

    def edit(datasets: list[Dataset]) -> None:
        for number, ds in enumerate(datasets):
            x, y, _ = (float(value) for value in ds.ImagePositionPatient)
            ds.ImagePositionPatient = [x, y, round(number * mm, 3)]

    return edit


def _matrix(side: int) -> Edit:
    return _each(Rows=side, Columns=side, PixelData=np.zeros((side, side), np.uint16).tobytes())


@pytest.mark.parametrize(
    ("edit", "numbers"),
    [
        (_slabs(0.9), "expected a coverage of 20 to 400 mm, found 19.8 mm"),
        (_slabs(15), "expected a slice spacing of 0.3 to 12 mm, found 15 mm"),
        (_each(PixelSpacing=[5, 5]), "expected a pixel spacing of 0.2 to 4 mm, found 5 x 5 mm"),
        (_matrix(32), "expected a matrix of 64 to 1024, found 32 x 32"),
    ],
)
def test_volume_outside_of_the_question_set_is_left_with_numbers(tmp_path: Path, edit: Edit, numbers: str) -> None:
    """A volume that the questions are not made for is left, and the sentence says what was expected and found."""
    datasets = _small()
    edit(datasets)
    choice = _chosen(datasets, tmp_path)
    assert choice.reason is Reason.NOT_APPLICABLE
    assert numbers in choice.explanation


@pytest.mark.parametrize("name", phantoms.NAMES)
def test_own_phantoms_are_within_their_question_set(tmp_path: Path, name: str) -> None:
    """Every phantom of the product, with its true matrix and spacing, is read."""
    choice = choose(describe(list(phantoms.write(phantoms.make(name), tmp_path))))
    assert choice.taken, choice.explanation


@pytest.mark.parametrize(
    "attributes",
    [
        {"SeriesDescription": "ACR T1 axial head"},
        {"StudyDescription": "ACR_QA head"},
        {"StudyDescription": "Weekly QA", "SeriesDescription": "t2 head"},
        {"SeriesDescription": "Phantom head coil"},
        {"ProtocolName": "Fantôme tête"},
        {"StudyDescription": "Test object brain"},
        {"QualityControlImage": "YES"},
        {"PatientSpeciesDescription": "PHANTOM"},
    ],
)
def test_test_objects_are_declined(tmp_path: Path, attributes: dict[str, object]) -> None:
    """What quality assurance scans is left, however the head coil or protocol names the brain."""
    datasets = _small()
    _each(**attributes)(datasets)
    assert _chosen(datasets, tmp_path).reason is Reason.TEST_OBJECT


@pytest.mark.parametrize(
    "attributes",
    [
        {"StudyDescription": "MRI brain, phantom limb pain"},
        {"SeriesDescription": "QA brain"},
        {"SeriesDescription": "t2 ACR brain"},
        {"StudyDescription": "Brain control"},
        {"QualityControlImage": "NO"},
        {"PatientSpeciesDescription": "Homo sapiens"},
    ],
)
def test_patients_are_no_test_objects(tmp_path: Path, attributes: dict[str, object]) -> None:
    """A lost limb's pain, initials, a follow-up and a human species are not taken for a test object."""
    datasets = _small()
    _each(**attributes)(datasets)
    choice = _chosen(datasets, tmp_path)
    assert choice.taken, choice.explanation


def test_animals_are_not_read(tmp_path: Path) -> None:
    """A brain of another species is none that the questions were made for."""
    datasets = _small()
    _each(PatientSpeciesDescription="Canis lupus familiaris")(datasets)
    assert _chosen(datasets, tmp_path).reason is Reason.NOT_APPLICABLE


@pytest.mark.parametrize(
    "limits", [Limits(max_frames=21), Limits(max_rows_columns=63), Limits(max_voxels=22 * 64 * 64 - 1)]
)
def test_limits_are_kept(tmp_path: Path, limits: Limits) -> None:
    """A series above any limit is refused as too large."""
    assert _chosen(_small(), tmp_path, limits).reason is Reason.TOO_LARGE


def test_monstrous_claim_is_refused_from_the_header(tmp_path: Path) -> None:
    """65535 x 65535 x 100,000 is refused without a pixel (fault 32)."""
    (ds,) = _small("brain-enhanced")
    ds.Rows = ds.Columns = 65535
    ds.NumberOfFrames = 100_000
    assert _chosen([ds], tmp_path).reason is Reason.TOO_LARGE


def test_frames_without_description_are_malformed(tmp_path: Path) -> None:
    """More frames than functional groups is malformed, not a shorter volume."""
    (ds,) = _small("brain-enhanced")
    ds.NumberOfFrames = 23
    assert _chosen([ds], tmp_path).reason is Reason.MALFORMED_INSTANCE


@pytest.mark.parametrize(
    ("folder", "anatomy"),
    [("classic_mr_brain/ge_signa_fse_pd_ax", Anatomy.BRAIN), ("knee/ge_mr750_mese_sag_te19", Anatomy.KNEE)],
)
def test_real_series_are_taken(shared_series: Callable[[str], list[Path]], folder: str, anatomy: Anatomy) -> None:
    """The real GE brain (ORIGINAL, PRIMARY, MPR) and the real GE knee are taken."""
    choice = choose(describe(shared_series(folder)))
    assert choice.anatomy is anatomy, choice.explanation


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        ("enhanced_mr/siemens_xa30_colfa_enhanced_color.dcm", Reason.COLOUR),
        ("enhanced_mr/siemens_xa30_adc_39f.dcm", Reason.DERIVED),
        ("enhanced_mr/philips_achieva_b0_64f.dcm", Reason.NOT_APPLICABLE),
        ("enhanced_mr/pydicom_emri_small.dcm", Reason.MALFORMED_INSTANCE),
        ("knee/ge_mr750_mese_sag_allechoes_slice13", Reason.TOO_FEW_FRAMES),
        ("nasty/transfer_syntaxes_same_image/1.dcm", Reason.MIXED_GEOMETRY),
        ("nasty/dcmjs/invalid-vr-length-test.dcm", Reason.ANATOMY_UNKNOWN),
        ("nasty/siemens_phoenix_zip_report_sr.dcm", Reason.NOT_MR),
        ("nasty/pydicom/examples_overlay.dcm", Reason.DERIVED),
        ("classic_mr_brain/ge_genesis_flair_single.dcm", Reason.TOO_FEW_FRAMES),
    ],
)
def test_real_oddities_are_refused(file: str, reason: Reason) -> None:
    """Colour, maps, a field map, echoes of one slice, mosaics and reports are refused, each for its own reason."""
    if not (SHARED / file).exists():
        pytest.skip("the real data folder is not there")
    (series,) = scan_folder(SHARED / file).series
    assert choose(series).reason is reason
