"""Answers as lines of text, for the command line."""

from dicom_io.objects.sr import question_set_of
from sgmri.findings import Tracklet, frames_as_text
from sgmri.questions import Answer, QuestionKind
from sgmri.readings import Reading


def answer_lines(reading: Reading) -> list[str]:
    """Return each question with its answer, frames and boxes.

    Parameters
    ----------
    reading
        What was answered.
    """
    questions = question_set_of(reading)
    lines = []
    for answer in reading.answers:
        lines.append(f"{questions[answer.question_id].text} {answer_text(answer)}")
        if answer.kind is QuestionKind.LOCALISATION:
            lines += [f"    {box_text(tracklet)}" for tracklet in answer.evidence]
    return lines


def answer_text(answer: Answer) -> str:
    """Return one answer in a few words."""
    if answer.unanswered is not None:
        return f"-> not assessed ({answer.unanswered})"
    value = {
        QuestionKind.DETECTION: answer.presence.value if answer.presence else "",
        QuestionKind.COUNTING: str(answer.count),
        QuestionKind.CLASSIFICATION: ", ".join(answer.chosen),
    }.get(answer.kind, answer.text)
    certainty = "" if answer.certainty is None else f" (certainty {answer.certainty:.0%})"
    return f"-> {value}{certainty}"


def box_text(tracklet: Tracklet) -> str:
    """Return where a tracklet lies: its frames, and the box on the middle one."""
    middle = tracklet.findings[len(tracklet.findings) // 2]
    x0, y0, x1, y1 = (f"{edge:g}" for edge in middle.box.as_tuple())
    side = f", {tracklet.laterality}" if tracklet.laterality else ""
    return (
        f"{tracklet.tracklet_id}: {tracklet.label}{side}, frames {frames_as_text(tracklet.frame_indices)}, "
        f"box on frame {middle.frame_index + 1}: ({x0}, {y0}) to ({x1}, {y1})"
    )
