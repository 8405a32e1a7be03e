"""Whether a contrast agent had been given when images were taken: by attributes and by descriptions.

Attributes are filled for a whole examination and descriptions by hand, so both are asked, and a contradiction means
*unknown*. Only the frames' own Contrast/Bolus Agent Administered = NO stands above the rest: the scanner writes it,
frame by frame. The study is asked where nothing else speaks, and only whether it excludes an agent: a study "with
contrast" has images from before it.

References
----------
PS3.3 C.7.6.4 (Contrast/Bolus), C.7.6.4b (Enhanced Contrast/Bolus), C.7.6.16.2.12 (Contrast/Bolus Usage)
"""

from collections.abc import Iterable, Sequence
from enum import StrEnum

from dicom_io.contrast_words import agent_named, agent_said
from dicom_io.instances import InstanceFacts
from sgmri.volume import ContrastAgent


class AgentEvidence(StrEnum):
    """What it was taken from whether a contrast agent had been given; of several images the last one counts."""

    USAGE = "usage"
    """Contrast/Bolus Agent Administered or Detected of the frames."""
    AGENT = "agent"
    """Contrast/Bolus Agent or its sequence."""
    SERIES_TEXT = "series text"
    """Series Description or Protocol Name."""
    STUDY_TEXT = "study text"
    """Study Description or the requested procedure, which exclude an agent."""
    NONE = "none"
    """No source says anything."""
    OVERRULED = "usage against other sources"
    """The frames say that none had been administered; something else says the contrary."""
    CONTRADICTION = "contradiction"
    """The sources, or the images, contradict each other."""


Found = tuple[ContrastAgent, AgentEvidence]


def contrast_agent_of(images: Sequence[InstanceFacts]) -> Found:
    """Tell whether a contrast agent had been given when some images were taken, and by what.

    Parameters
    ----------
    images
        With the frames that are meant.

    Returns
    -------
    UNKNOWN where the images do not agree, also where some of them say nothing.
    """
    found = [_of_image(image) for image in images]
    if len({agent for agent, _ in found}) > 1:
        return ContrastAgent.UNKNOWN, AgentEvidence.CONTRADICTION
    return max(found, key=lambda one: list(AgentEvidence).index(one[1]), default=_NOTHING)


_NOTHING: Found = (ContrastAgent.UNKNOWN, AgentEvidence.NONE)


def _of_image(image: InstanceFacts) -> Found:
    sources = (
        ({frame.agent_administered for frame in image.frames}, AgentEvidence.USAGE),
        ({agent_named(text) for text in image.agent_texts}, AgentEvidence.AGENT),
        ({_first(agent_said(text) for text in image.series_texts)}, AgentEvidence.SERIES_TEXT),
    )
    said = [(answer, evidence) for answers, evidence in sources for answer in answers - {None}]
    if not said:
        excluded = {agent_said(text) for text in image.study_texts} - {None} == {False}
        return (ContrastAgent.NOT_GIVEN, AgentEvidence.STUDY_TEXT) if excluded else _NOTHING
    if len({answer for answer, _ in said}) == 1:
        return (ContrastAgent.GIVEN if said[0][0] else ContrastAgent.NOT_GIVEN), said[0][1]
    if [answer for answer, evidence in said if evidence is AgentEvidence.USAGE] == [False]:
        return ContrastAgent.NOT_GIVEN, AgentEvidence.OVERRULED
    return ContrastAgent.UNKNOWN, AgentEvidence.CONTRADICTION


def _first(answers: Iterable[bool | None]) -> bool | None:
    """Return the first answer that is one: the description of a series speaks before the name of its protocol."""
    return next((answer for answer in answers if answer is not None), None)
