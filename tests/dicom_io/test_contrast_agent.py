from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import UID

from conformance import phantoms
from conformance.phantom_contrast import give_contrast_agent
from conformance.phantom_headers import make_item
from dicom_io.contrast_agent import AgentEvidence
from dicom_io.contrast_words import agent_named, agent_said
from dicom_io.selection import choose
from dicom_io.series import SeriesFacts, describe
from dicom_io.subvolumes import split
from sgmri.lifecycle import Reason
from sgmri.volume import ContrastAgent, Weighting
from tests import series_files

Written = Callable[[Sequence[Dataset]], SeriesFacts]
GIVEN, NOT_GIVEN, UNKNOWN = ContrastAgent.GIVEN, ContrastAgent.NOT_GIVEN, ContrastAgent.UNKNOWN

_GIVEN_TEXTS = """
    AX T1 POST|AX T1 FSPGR +C|t1_mprage_sag_post|SAG T1 postGd|AXT1POST FS|T1 C+|3D T1 CE|Contrast-enhanced T1
    T1 with contrast|T1 W CONTRAST|T1 w/ contrast|T1W GAD|AX T1 POST TRANS|T1_POST_CONTRAST|t1 gadovist
    t1_tse_tra_km|T1 nach KM-Gabe|T1 mit KM|T1 après injection|T1 apres injection de gadolinium|T1 avec gado
    T1 con contraste|Craneo contrastado|T1 con mdc|T1 dopo mdc|T1 c/ contraste|T1 met contrast|T1 med kontrast
    T1 造影後|T1 増強
"""
_NOT_GIVEN_TEXTS = """
    AX T1 PRE|T1 pre contrast|AX T1 W/O|MR-Brain w/o Contrast|T1 without contrast|brain wo contrast|T1 non contrast
    NONCONTRAST T1|no contrast|T1 unenhanced|AX T1 -C|T1 C-|T1 pre-gad
    T1 ohne KM|ohne i.v. KM|t1 nativ|T1 vor KM|T1 sans injection|T1 avant injection de gadolinium|T1 non injecté
    T1 sin contraste|sin medio de contraste|Cráneo simple|T1 senza mdc|T1 prima di mdc|T1 s/ contraste
    T1 zonder contrast
    T1 平扫|非造影 T1
"""
_SILENT_TEXTS = """
    AX T1|T2 POST FOSSA|t2 posterior fossa|post-op brain|T1 post op|preop planning|post treatment T1|sag post horn
    T2 w/o FS|PD ohne FS|Phase contrast|REST1 w SMS|T2W TSE|T2 prep|presat T1|T1 pre sat|C-SPINE|T1-C6|ant post T2
    brain w/wo contrast|BRAIN W & W/O CONTRAST|with and without contrast|brain WWO|T1 pre/post|+/- contrast
    mit und ohne KM|avec et sans injection|con y sin contraste|simple y contrastado|dynamic t1 post|dce gd
"""


def _listed(texts: str) -> list[str]:
    return [text.strip() for line in texts.strip().splitlines() for text in line.split("|")]


@pytest.mark.parametrize(
    ("texts", "expected"), [(_GIVEN_TEXTS, True), (_NOT_GIVEN_TEXTS, False), (_SILENT_TEXTS, None)]
)
def test_descriptions_are_understood(texts: str, expected: bool | None) -> None:
    """Words of several languages say given or not given; what means something else, or both, says nothing."""
    assert [text for text in _listed(texts) if agent_said(text) is not expected] == []


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ("Gadovist|11 ml Omniscan|YES|Dotarem 0.5 mmol/ml|Non-ionic gadolinium|CONTRAST", True),
        (
            "NO|None|No contrast|N|0|0 ml|0.0|without|NONE GIVEN|kein KM|Pre contrast|w/o|no gadolinium|0 ml Gadovist",
            False,
        ),
        (" |UNKNOWN|N/A|-|?|ANONYMIZED|not specified", None),
    ],
)
def test_values_that_name_no_agent_are_no_agent(texts: str, expected: bool | None) -> None:
    """The attribute names an agent, says that there is none, or has no name in it."""
    assert [text for text in texts.split("|") if agent_named(text) is not expected] == []


def _small(name: str = "brain-normal", description: str = "AX", **attributes: object) -> list[Dataset]:
    """Return a phantom as a T1 of 64 x 64 zeros, with one description."""
    datasets = sorted(phantoms.make(name).datasets, key=lambda ds: -int(ds.InstanceNumber))
    for ds in datasets:
        ds.Rows = ds.Columns = 64
        ds.PixelData = np.zeros((int(ds.get("NumberOfFrames", 1)), 64, 64), np.uint16).tobytes()
        ds.SeriesDescription = ds.ProtocolName = description
        if "RepetitionTime" in ds:
            ds.RepetitionTime, ds.EchoTime, ds.ScanningSequence, ds.InversionTime = "500", "10", "SE", ""
        for keyword, value in attributes.items():
            setattr(ds, keyword, value)
    return datasets


@pytest.fixture
def written(tmp_path: Path) -> Written:
    """Write a series and describe it."""
    return lambda datasets: describe(series_files.written(datasets, tmp_path))


@pytest.mark.parametrize(
    ("description", "agent", "study", "expected"),
    [
        ("AX T1", "Gadovist", "Brain", (GIVEN, AgentEvidence.AGENT)),
        ("AX T1", "NONE", "Brain", (NOT_GIVEN, AgentEvidence.AGENT)),
        ("AX T1", "", "Brain", (UNKNOWN, AgentEvidence.NONE)),
        ("AX T1 POST", "", "Brain", (GIVEN, AgentEvidence.SERIES_TEXT)),
        ("AX T1 POST", "Gadovist", "Brain w/o contrast", (GIVEN, AgentEvidence.AGENT)),
        ("AX T1 PRE", "Gadovist", "Brain", (UNKNOWN, AgentEvidence.CONTRADICTION)),
        ("AX T1 POST", "NO", "Brain", (UNKNOWN, AgentEvidence.CONTRADICTION)),
        ("AX T1", "", "MR-Brain w/o Contrast", (NOT_GIVEN, AgentEvidence.STUDY_TEXT)),
        ("AX T1", "", "MR brain with contrast", (UNKNOWN, AgentEvidence.NONE)),
        ("AX T1", "", "Brain w/wo contrast", (UNKNOWN, AgentEvidence.NONE)),
    ],
)
def test_sources_are_weighed(
    written: Written, description: str, agent: str, study: str, expected: tuple[ContrastAgent, AgentEvidence]
) -> None:
    """The attribute and the description must agree; the study is asked last, and only whether it excludes an agent."""
    facts = written(_small(description=description, ContrastBolusAgent=agent, StudyDescription=study))
    assert (facts.contrast_agent, facts.agent_evidence) == expected
    assert facts.weighting is Weighting.T1


def test_description_speaks_before_the_protocol(written: Written) -> None:
    """A protocol for the whole examination does not contradict the description of one series of it."""
    facts = written(_small(description="AX T1 PRE", ProtocolName="Brain with contrast"))
    assert (facts.contrast_agent, facts.agent_evidence) == (NOT_GIVEN, AgentEvidence.SERIES_TEXT)


@pytest.mark.parametrize("first", [0, 11, 21])
def test_every_instance_is_asked(written: Written, first: int) -> None:
    """An agent in the header of the first instances only, or of all but one, is no agent of the series."""
    datasets = _small()
    for ds in datasets[: first + 1] if first < 21 else datasets[1:]:
        give_contrast_agent(ds)
    facts = written(datasets)
    assert (facts.contrast_agent, facts.agent_evidence) == (UNKNOWN, AgentEvidence.CONTRADICTION)


@pytest.mark.parametrize(
    ("description", "administered", "expected"),
    [
        ("AX T1", True, (GIVEN, AgentEvidence.USAGE)),
        ("AX T1 POST", True, (GIVEN, AgentEvidence.USAGE)),
        ("AX T1 PRE", True, (UNKNOWN, AgentEvidence.CONTRADICTION)),
        # the sequence of the instance names the agent of the examination: the frames say that it was not there yet
        ("AX T1", False, (NOT_GIVEN, AgentEvidence.OVERRULED)),
        ("AX T1 POST", False, (NOT_GIVEN, AgentEvidence.OVERRULED)),
    ],
)
def test_enhanced_frames_say_whether_it_was_administered(
    written: Written, description: str, administered: bool, expected: tuple[ContrastAgent, AgentEvidence]
) -> None:
    """Contrast/Bolus Agent Administered = NO stands above names; YES does not stand above a description."""
    (ds,) = _small("brain-enhanced", description)
    give_contrast_agent(ds, administered=administered)
    facts = written([ds])
    assert (facts.contrast_agent, facts.agent_evidence) == expected


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ([{"Detected": "YES"}], GIVEN),
        ([{"Administered": "NO"}, {"Administered": "YES"}], GIVEN),
        ([{"Administered": "NO", "Detected": "NO"}], NOT_GIVEN),
        ([{}], UNKNOWN),
        ([], UNKNOWN),
    ],
)
def test_usage_of_several_agents(written: Written, said: list[dict[str, str]], expected: ContrastAgent) -> None:
    """One of several agents is enough; Detected counts where Administered is missing; an empty group says nothing."""
    (ds,) = _small("brain-enhanced")
    items = [make_item(**{f"ContrastBolusAgent{name}": value for name, value in one.items()}) for one in said]
    ds.SharedFunctionalGroupsSequence[0].ContrastBolusUsageSequence = items
    assert written([ds]).contrast_agent is expected


def test_frames_before_and_after_are_parted(written: Written) -> None:
    """Of an Enhanced T1 with every slice before and after the agent, the frames before it are read, and it is said."""
    (ds,) = _small("brain-enhanced")
    shared = ds.SharedFunctionalGroupsSequence[0]
    shared.MRTimingAndRelatedParametersSequence[0].RepetitionTime = 500.0
    shared.MREchoSequence[0].EffectiveEchoTime = 10.0
    shared.MRModifierSequence[0].InversionRecovery = "NO"
    del shared.MRModifierSequence[0].InversionTimes
    frames = []
    for groups in ds.PerFrameFunctionalGroupsSequence:
        for administered in ("YES", "NO"):
            frames.append(deepcopy(groups))
            frames[-1].ContrastBolusUsageSequence = [make_item(ContrastBolusAgentAdministered=administered)]
    ds.PerFrameFunctionalGroupsSequence, ds.NumberOfFrames = frames, len(frames)
    ds.PixelData = np.zeros((len(frames), 64, 64), np.uint16).tobytes()
    facts = written([ds])
    assert (facts.contrast_agent, facts.weighting) == (UNKNOWN, Weighting.T1)
    assert {part.facts.contrast_agent for part in split(facts)} == {GIVEN, NOT_GIVEN}
    choice = choose(facts)
    assert choice.sub_volume is not None
    assert choice.sub_volume.facts.contrast_agent is NOT_GIVEN
    assert [frame.frame_number for frame in choice.sub_volume.frames] == list(range(2, 45, 2))
    assert "its contrast agent is preferred by the question set" in choice.explanation
    assert "weighting T1, contrast agent not given" in choice.explanation


def test_classic_images_before_and_after_are_parted(written: Written) -> None:
    """So are classic images of one series that differ in nothing but the agent."""
    before, after = _small(), _small()
    for ds in after:
        give_contrast_agent(ds)
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = UID(f"{ds.SOPInstanceUID[:60]}.9")
        ds.InstanceNumber = int(ds.InstanceNumber) + 100
    choice = choose(written([*after, *before]))
    assert choice.sub_volume is not None, choice.explanation
    assert len(choice.sub_volume.frames) == 22
    assert all(not image.agent_texts for image in choice.sub_volume.facts.images)


def test_knee_after_an_agent_is_left(written: Written) -> None:
    """The knee set is not made for a joint with an agent in it; that the headers say so is in the explanation."""
    datasets = _small("knee-normal", "KNEE COR")
    for ds in datasets:
        give_contrast_agent(ds)
    choice = choose(written(datasets))
    assert choice.reason is Reason.NOT_APPLICABLE
    assert "expected contrast agent not given, unknown, found given" in choice.explanation
