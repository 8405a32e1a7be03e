from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

from conformance import phantoms
from dicom_io.anatomy import Evidence, anatomy_of, words
from dicom_io.contrast import fat_suppressed_of, weighting_of
from dicom_io.instances import InstanceFacts, inspect
from dicom_io.series import describe, scan_folder
from sgmri.errors import ConfigError, IncompleteSeries, MalformedInstance
from sgmri.lifecycle import Reason
from sgmri.volume import Anatomy, Plane, Weighting
from tests.series_files import written

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"


def _small(name: str = "brain-normal", *, seed: int = 0) -> list[Dataset]:
    """Return a phantom's data sets with frames of 4 x 4 zeros."""
    datasets = list(phantoms.make(name, seed=seed).datasets)
    for ds in datasets:
        ds.Rows = ds.Columns = 4
        ds.PixelData = np.zeros((int(ds.get("NumberOfFrames", 1)), 4, 4), np.uint16).tobytes()
    return datasets


def _asked(**texts: str) -> tuple[Anatomy | None, Evidence]:
    sources = {name: (texts[name],) if name in texts else () for name in ("region_codes", "coil_texts")}
    named = {name: (texts[name],) if name in texts else () for name in ("region_texts", "series_texts", "study_texts")}
    return anatomy_of(**sources, **named)


@pytest.mark.parametrize(
    "text",
    (
        *(
            "t2_tse_tra_BRAIN",
            "MRT Schädel nativ",
            "IRM cérébrale",
            "IRM tête",
            "Cráneo simple",
            "RM encéfalo",
            "cabeza",
        ),
        *("RM testa", "cervello", "MR hoofd", "Neuro^Routine", "Kopf", "MR HJÄRNA", "Głowa", "Head^General", "頭部MRI"),
    ),
)
def test_brain_is_named_in_many_languages(text: str) -> None:
    """Brain and head are found as whole words, with accents, underscores and capitals."""
    assert _asked(series_texts=text) == (Anatomy.BRAIN, Evidence.SERIES_TEXT)


@pytest.mark.parametrize(
    "text", ["PD FS SAG KNEE", "Kniegelenk re.", "genou droit", "Rodilla", "ginocchio dx", "Joelho", "KNEE_R", "膝関節"]
)
def test_knee_is_named_in_many_languages(text: str) -> None:
    """The knee is found as a whole word."""
    assert _asked(series_texts=text) == (Anatomy.KNEE, Evidence.SERIES_TEXT)


@pytest.mark.parametrize(
    "text", ["headfirst supine", "HEAD FIRST", "feet first", "Ahead of time", "t2_tse_sag", "kneel"]
)
def test_parts_of_words_and_positions_name_no_anatomy(text: str) -> None:
    """Neither "headfirst" nor the patient position "head first" is evidence."""
    assert _asked(series_texts=text) == (None, Evidence.NONE)


@pytest.mark.parametrize(
    "text",
    [
        "C-SPINE sag",
        "HWS",
        "T2 wrist",
        "femoral head",
        "HeadNeck",
        "neck",
        "LWS",
        "Schulter",
        "épaule",
        "brain and neck",
    ],
)
def test_other_body_parts_block(text: str) -> None:
    """Naming another body part speaks against brain and knee, also beside them and above a head coil."""
    assert _asked(series_texts=text, coil_texts="HEAD") == (None, Evidence.OTHER_ANATOMY)


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ({"region_texts": "BRAIN"}, (Anatomy.BRAIN, Evidence.REGION)),
        ({"region_codes": "SCT:72696002"}, (Anatomy.KNEE, Evidence.REGION)),
        ({"region_codes": "SRT:T-A0100"}, (Anatomy.BRAIN, Evidence.REGION)),
        ({"study_texts": "MRT Knie"}, (Anatomy.KNEE, Evidence.STUDY_TEXT)),
        ({"coil_texts": "HD TR Knee PA"}, (Anatomy.KNEE, Evidence.COIL)),
        ({"coil_texts": "8HRBRAIN"}, (Anatomy.BRAIN, Evidence.COIL)),
        ({"coil_texts": "HeadNeck_64"}, (None, Evidence.NONE)),
        ({"coil_texts": "Body"}, (None, Evidence.NONE)),
        # strong evidence for another part wins over the coil
        ({"region_texts": "CSPINE", "coil_texts": "HEAD"}, (None, Evidence.OTHER_ANATOMY)),
        ({"region_texts": "KNEE", "coil_texts": "HEAD"}, (Anatomy.KNEE, Evidence.REGION)),
        # a left-over default of the scanner against what somebody typed
        ({"region_texts": "BRAIN", "series_texts": "sag pd knee"}, (None, Evidence.CONTRADICTION)),
        ({"region_texts": "BRAIN", "series_texts": "t2 sag cspine"}, (None, Evidence.OTHER_ANATOMY)),
        ({"region_texts": "BRAIN", "study_texts": "MR knee"}, (None, Evidence.CONTRADICTION)),
        # a study of several regions: the series says which
        ({"series_texts": "ax t2 brain", "study_texts": "brain and c-spine"}, (Anatomy.BRAIN, Evidence.SERIES_TEXT)),
        ({"study_texts": "brain and c-spine", "coil_texts": "HEAD"}, (None, Evidence.CONTRADICTION)),
        ({"study_texts": "brain and knee"}, (None, Evidence.CONTRADICTION)),
        ({}, (None, Evidence.NONE)),
    ],
)
def test_sources_are_weighed(texts: dict[str, str], expected: tuple[Anatomy | None, Evidence]) -> None:
    """The specific source decides, contradictions mean unknown, the coil is asked last."""
    assert _asked(**texts) == expected


def test_words_are_plain() -> None:
    """Words have neither accents, digits nor capitals."""
    assert words("T2_Schädel3D HeadNeck-64 Fuß") == ("t", "schadel", "d", "head", "neck", "fuss")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> InstanceFacts:
    """One instance without any physics or text."""
    ds = _small()[0]
    for keyword in ("SeriesDescription", "ProtocolName", "StudyDescription", "BodyPartExamined", "ReceiveCoilName"):
        delattr(ds, keyword)
    (path,) = written([ds], tmp_path_factory.mktemp("plain"))
    return replace(
        inspect(path),
        repetition_time_ms=None,
        echo_time_ms=None,
        inversion_time_ms=None,
        scanning_sequence=(),
        sequence_variant=(),
    )


@pytest.mark.parametrize(
    ("times_ms", "sequence", "variant", "text", "expected"),
    [
        ((9000, 120, 2500), ("SE", "IR"), (), "", Weighting.FLAIR),
        ((10002, 159.5, None), ("RM",), (), "FLAIR", Weighting.FLAIR),
        ((10002, 159.5, None), ("RM",), (), "", Weighting.T2),
        ((2000, 2.5, 900), ("GR", "IR"), ("SK", "SP", "MP"), "", Weighting.T1),
        ((2200, 12, 860), ("SE", "IR"), (), "T1 FLAIR", Weighting.T1),
        ((500, 12, None), ("SE",), (), "", Weighting.T1),
        ((300, 2.46, None), ("GR",), ("SP", "OSP"), "", Weighting.T1),
        ((28, 20, None), ("GR",), ("SP",), "", Weighting.UNKNOWN),
        ((6, 3, None), ("GR",), ("SS",), "", Weighting.UNKNOWN),
        ((4000, 90, None), ("SE",), (), "", Weighting.T2),
        ((2450, 18.9, None), ("SE",), (), "", Weighting.PD),
        ((3000, 60, None), ("SE",), (), "", Weighting.UNKNOWN),
        ((3000, 30, None), ("EP", "GR"), (), "", Weighting.UNKNOWN),
        ((4500, 80, 150), ("SE", "IR"), (), "", Weighting.T2),
        ((None, 80, None), ("SE",), (), "", Weighting.UNKNOWN),
    ],
)
def test_weighting_comes_from_physics(  # each column of the table is an argument
    plain: InstanceFacts,
    times_ms: tuple[float | None, float | None, float | None],
    sequence: tuple[str, ...],
    variant: tuple[str, ...],
    text: str,
    expected: Weighting,
) -> None:
    """Repetition, echo and inversion times decide; what they leave open stays unknown."""
    repetition, echo, inversion = times_ms
    image = replace(
        plain,
        repetition_time_ms=repetition,
        echo_time_ms=echo,
        inversion_time_ms=inversion,
        scanning_sequence=sequence,
        sequence_variant=variant,
        series_texts=(text,) if text else (),
    )
    assert weighting_of(image) is expected


@pytest.mark.parametrize(
    ("header", "inversion_ms", "text", "expected"),
    [
        (True, None, "", True),
        (False, None, "", False),
        (None, None, "", None),
        (None, 160.0, "", True),
        (None, None, "PD_FS", True),
        (None, None, "SPAIR ax", True),
        (False, 900.0, "", False),
    ],
)
def test_fat_suppression_is_known_or_not(
    plain: InstanceFacts, header: bool | None, inversion_ms: float | None, text: str, expected: bool | None
) -> None:
    """Header, short inversion time or name say that fat is suppressed; silence is None."""
    sequence = ("SE", "IR") if inversion_ms else ("SE",)
    texts = (text,) if text else ()
    image = replace(
        plain,
        fat_suppressed=header,
        inversion_time_ms=inversion_ms,
        scanning_sequence=sequence,
        series_texts=texts,
    )
    assert fat_suppressed_of(image) is expected


def test_phantoms_are_described(tmp_path: Path) -> None:
    """A brain FLAIR and a fat-suppressed knee PD are described as such."""
    brain = describe(written(_small(), tmp_path / "brain"))
    assert (brain.anatomy, brain.plane, brain.weighting) == (Anatomy.BRAIN, Plane.AXIAL, Weighting.FLAIR)
    assert brain.frame_count == 22
    knee = describe(written(_small("knee-enhanced"), tmp_path / "knee"))
    assert (knee.anatomy, knee.plane, knee.weighting) == (Anatomy.KNEE, Plane.CORONAL, Weighting.PD)
    assert knee.fat_suppressed is True
    assert knee.frame_count == 22


def test_facts_come_from_all_instances(tmp_path: Path) -> None:
    """One deviating instance, whichever it is, takes away what the others agree on."""
    datasets = _small()
    datasets[7].RepetitionTime, datasets[7].EchoTime, datasets[7].InversionTime = "500", "10", ""
    datasets[9].ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    datasets[11].ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
    facts = describe(written(datasets, tmp_path))
    assert facts.weighting is Weighting.UNKNOWN
    assert facts.is_localiser
    assert facts.plane is None


def test_instance_sent_twice_counts_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The same SOP Instance UID is one instance; a different content under it is logged without values."""
    datasets = _small()
    paths = written(datasets, tmp_path / "a") + written(datasets[:3], tmp_path / "b")
    assert describe(paths).frame_count == 22
    assert caplog.records == []
    datasets[0].EchoTime = "99"
    paths += written(datasets[:1], tmp_path / "c")
    assert describe(paths).frame_count == 22
    assert [record.getMessage() for record in caplog.records] == [
        "1 instances share a SOP Instance UID with a different one; the first of each is kept"
    ]


def test_describe_wants_one_series(tmp_path: Path) -> None:
    """Nothing, or instances of two series, is refused."""
    with pytest.raises(IncompleteSeries):
        describe([])
    paths = written(_small()[:2], tmp_path / "a") + written(_small(seed=1)[:2], tmp_path / "b")
    with pytest.raises(MalformedInstance, match="several"):
        describe(paths)


def test_folder_is_sorted_into_series(tmp_path: Path) -> None:
    """Series come out whole although their files are mixed, and what is no instance is listed with a reason."""
    written(_small(), tmp_path / "x" / "a")
    written(_small("knee-enhanced"), tmp_path / "x")
    phantoms.make_non_mr().save_as(tmp_path / "ct.dcm", enforce_file_format=True)
    (tmp_path / "x" / "readme.txt").write_text("hello")
    folder = scan_folder(tmp_path)
    assert sorted(one.frame_count for one in folder.series) == [0, 22, 22]
    assert folder.study_count == 3
    ((path, reason, text),) = folder.refused
    assert path == tmp_path / "x" / "readme.txt"
    assert reason is Reason.MALFORMED_INSTANCE
    assert "hello" not in text


def test_single_file_and_missing_folder(tmp_path: Path) -> None:
    """A single file is a folder of one; a missing path is a wrong call."""
    (path,) = written(_small("knee-enhanced"), tmp_path)
    assert len(scan_folder(path).series) == 1
    with pytest.raises(ConfigError):
        scan_folder(tmp_path / "gone")


def test_real_knee_is_known_by_its_coil(shared_series: Callable[[str], list[Path]]) -> None:
    """The real knee series, all texts emptied, is a sagittal PD knee by its coil's name."""
    facts = describe(shared_series("knee/ge_mr750_mese_sag_te19"))
    assert (facts.anatomy, facts.evidence) == (Anatomy.KNEE, Evidence.COIL)
    assert (facts.plane, facts.weighting, facts.frame_count) == (Plane.SAGITTAL, Weighting.PD, 24)


def test_all_real_data_is_sorted() -> None:
    """The whole collection is sorted without any other error: 26 non-DICOM or unidentifiable files are refused."""
    if not SHARED.is_dir():
        pytest.skip("the real data folder is not there")
    folder = scan_folder(SHARED)
    assert len(folder.series) > 50
    assert all(reason is Reason.MALFORMED_INSTANCE for _, reason, _ in folder.refused)
    assert {path.suffix for path, _, _ in folder.refused} == {".tsv", ".txt", ".gz", ".dcm"}
    files = sum(1 for path in SHARED.rglob("*") if path.is_file())
    assert sum(len(one.instances) for one in folder.series) + len(folder.refused) <= files
