"""What the selection made of series, as a document: for ``sgmri select --json`` and the dashboard alike."""

from dicom_io.selection import Choice, Verdict
from dicom_io.series import SeriesFacts
from dicom_io.stored import series_key
from sgmri.lifecycle import Reason


def named(facts: SeriesFacts, choice: Choice) -> SeriesFacts:
    """Return the facts with the anatomy that was decided by: the sub-volumes have what the image says, too."""
    return choice.verdicts[0].sub_volume.facts if choice.verdicts else facts


def series_document(facts: SeriesFacts, choice: Choice) -> dict[str, object]:
    """Return what became of a series and of each sub-volume, with the explanations; no value of a header.

    Parameters
    ----------
    facts, choice
        The series, and what was decided on it.
    """
    decided = named(facts, choice)
    return {
        "series": series_key(facts.study_instance_uid, facts.series_instance_uid),
        "instances": len(facts.instances),
        "frames": facts.frame_count,
        "taken": choice.taken,
        "reason": choice.reason.value,
        "explanation": choice.explanation,
        "anatomy": decided.anatomy.value if decided.anatomy else None,
        "evidence": decided.evidence.value,
        "certainty": decided.certainty,
        "question_set_id": choice.question_set_id,
        "sub_volume": choice.sub_volume.name if choice.sub_volume else None,
        "sub_volumes": [_sub_volume(verdict) for verdict in choice.verdicts],
    }


def _sub_volume(verdict: Verdict) -> dict[str, object]:
    facts = verdict.sub_volume.facts
    return {
        "name": verdict.sub_volume.name,
        "instances": len(facts.images),
        "frames": len(verdict.sub_volume.frames),
        "duplicates": verdict.sub_volume.duplicates,
        "missing": verdict.missing,
        "plane": facts.plane.value if facts.plane else None,
        "weighting": facts.weighting.value,
        "fat_suppressed": facts.fat_suppressed,
        "contrast_agent": facts.contrast_agent.value,
        "contrast_agent_evidence": facts.agent_evidence.value,
        "taken": verdict.reason is Reason.NONE,
        "reason": verdict.reason.value,
        "explanation": verdict.explanation,
        "rule": (verdict.ruling.rule or "built-in") if verdict.ruling else None,
        "rules_not_matching": list(verdict.ruling.not_matching) if verdict.ruling else [],
    }
