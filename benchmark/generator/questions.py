"""Makes the items of one sample: question, true answer, reasoning and boxes, all from the annotations alone.

A sample is a whole volume or one frame of it. What is written here follows from the boxes by rule; which form of a
question is taken, and which labels stand as wrong options, is a choice of :mod:`benchmark.generator.chance`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from benchmark.generator.chance import one_of
from benchmark.generator.options import Options
from benchmark.generator.volumes import AnnotatedVolume, side
from benchmark.generator.wording import WORDS, fill, forms, sequence_name, sign
from benchmark.items import AnswerType, Counted, Item, Level, Split, Task, TruthBox
from sgmri.errors import StateError
from sgmri.findings import frames_as_text
from sgmri.questions import NONE_OF_THESE
from sgmri.vocabulary import concept
from sgmri.volume import Anatomy

NOTHING_TO_LOCALIZE = "No findings to localize."
"""The published answer where nothing is there."""
_THIRDS = {
    Anatomy.BRAIN: ("lower", "middle", "upper"),  # frames run from inferior to superior
    Anatomy.KNEE: ("anterior", "middle", "posterior"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A volume, or one frame of it, that is asked about.

    Parameters
    ----------
    volume
        Which.
    frame_number
        From 1; None for the whole volume.
    """

    volume: AnnotatedVolume
    frame_number: int | None = None

    @property
    def level(self) -> Level:
        """Image or volume."""
        return Level.VOLUME if self.frame_number is None else Level.IMAGE

    @property
    def split(self) -> Split:
        """Where its volume belongs."""
        if self.volume.scan.split is None:
            raise StateError(f"volume {self.volume.volume_id} was asked about before it had a split")
        return self.volume.scan.split

    @property
    def boxes(self) -> tuple[TruthBox, ...]:
        """Its boxes, of every label."""
        if self.frame_number is None:
            return self.volume.boxes
        return self.volume.by_frame.get(self.frame_number, ())

    @property
    def findings(self) -> tuple[str, ...]:
        """Labels that name a finding in it, in alphabetical order; those of a study count for the whole volume."""
        study = self.volume.findings_of_study if self.frame_number is None else ()
        return tuple(sorted({box.label for box in self.boxes} | set(study)))

    @property
    def name(self) -> str:
        """What its items' names begin with."""
        return f"{self.volume.volume_id}/{self.frame_number or 'volume'}"

    def of(self, label: str) -> tuple[TruthBox, ...]:
        """Return its boxes of one label."""
        return tuple(box for box in self.boxes if box.label == label)


def detection(sample: Sample, label: str = "") -> Item:
    """Ask whether a label, or anything abnormal, is there."""
    if label:
        boxes, found = sample.of(label), label in (*sample.findings, *sample.volume.study_labels)
    else:
        boxes, found = sample.boxes, bool(sample.findings)
    labels = (label,) if label else sample.findings
    parts = [_opening(sample), *(_seen(sample, one) for one in labels if found)]
    if not found:
        parts.append(f"No {WORDS[label].noun if label else 'abnormality'} is marked on any frame that is asked about.")
    answer = "Yes" if found else "No"
    return _item(sample, Task.DETECTION, label=label, boxes=boxes, answer=answer, reasoning=parts)


def localization(sample: Sample, label: str = "") -> Item:
    """Ask where a label, or everything that is marked, lies; the answer lists every box of it in frame order."""
    labels = (label,) if label else tuple(sorted({box.label for box in sample.boxes}))
    boxes = sample.of(label) if label else sample.boxes
    told = [
        (f"{_capital(WORDS[one].noun)}: " if not label else "") + _located(sample, one)
        for one in labels
        if sample.of(one)
    ]
    parts = [_opening(sample)]
    parts += [f"{_seen(sample, one)} This is suggestive of {WORDS[one].noun}." for one in labels if sample.of(one)]
    if not boxes:
        parts.append(f"No box of {WORDS[label].noun if label else 'any finding'} lies on what is shown.")
    answer = " ".join(told) or NOTHING_TO_LOCALIZE
    return _item(sample, Task.LOCALIZATION, label=label, boxes=boxes, answer=answer, reasoning=parts)


def counting(sample: Sample, counted: Counted, label: str = "") -> Item:
    """Ask how many kinds, separate lesions of a label, or boxes over all frames there are."""
    boxes = sample.of(label) if label else sample.boxes
    if counted is Counted.KINDS:
        parts = [f"{_capital(WORDS[one].noun)}: {_boxes(len(sample.of(one)))}." for one in sample.findings]
        total = len(sample.findings)
    elif counted is Counted.LESIONS:
        found = sample.volume.lesions_of(label)
        parts = [f"One on {_frames(lesion)}." for lesion in found]
        total = len(found)
    else:
        parts = [_seen(sample, one) for one in sample.volume.labels]
        total = len(boxes)
    parts = [_opening(sample), *parts, f"Total = {total}."]
    return _item(sample, Task.COUNTING, label=label, counted=counted, boxes=boxes, answer=str(total), reasoning=parts)


def choice(sample: Sample, task: Task, options: Options) -> Item:
    """Ask which of four options there are (classification), or which one is likeliest (diagnosis)."""
    multiple = options.is_multiple
    parts = [_opening(sample)]
    for letter, option in options.lettered:
        if option in options.right and option != NONE_OF_THESE:
            parts.append(f"({letter}) {_capital(WORDS[option].noun)}: {_seen(sample, option)}")
        elif option in options.right:
            parts.append(f"It is ({letter}): none of the other options is marked here.")
        elif option != NONE_OF_THESE:
            parts.append(f"It is not ({letter}) {WORDS[option].noun}: {WORDS[option].sign} is not marked on any frame.")
    return _item(
        sample,
        task,
        answer_type=AnswerType.MULTIPLE if multiple else AnswerType.SINGLE,
        boxes=tuple(box for box in sample.boxes if box.label in options.right),
        options=options.texts,
        answer=", ".join(f"({letter})" for letter, option in options.lettered if option in options.right),
        reasoning=parts,
    )


def captioning(sample: Sample) -> Item:
    """Ask for a summary: kinds, places, extents, and the frame that shows most."""
    if not sample.findings:
        told = [f"No abnormality is marked in this {sample.level}."]
    else:
        kinds = len(sample.findings)
        told = [f"This {sample.level} shows {kinds} {'kind' if kinds == 1 else 'kinds'} of finding."]
        told += [f"{_capital(WORDS[label].noun)}{_extent(sample, label)}." for label in sample.findings]
        if sample.frame_number is None and sample.boxes:
            told.append(f"Frame {_key_frame(sample)} shows most.")
    shown = [_seen(sample, label) for label in sample.findings]
    return _item(
        sample, Task.CAPTIONING, boxes=sample.boxes, answer=" ".join(told), reasoning=[_opening(sample), *shown]
    )


_TYPES = {
    Task.DETECTION: AnswerType.CLOSED,
    Task.COUNTING: AnswerType.CLOSED,
    Task.LOCALIZATION: AnswerType.OPEN,
    Task.CAPTIONING: AnswerType.OPEN,
}


def _item(  # noqa: PLR0913 -- the fields in which items differ, each by its name
    sample: Sample,
    task: Task,
    *,
    answer: str,
    reasoning: Sequence[str],
    boxes: tuple[TruthBox, ...],
    label: str = "",
    counted: Counted | None = None,
    answer_type: AnswerType | None = None,
    options: tuple[str, ...] = (),
) -> Item:
    volume, scan = sample.volume, sample.volume.scan
    item_id = "/".join(
        (sample.name, task, *([counted] if counted else []), *([label.replace("/", "-")] if label else []))
    )
    form_type = answer_type or _TYPES[task]
    form = one_of(forms(task, form_type, label=label, counted=counted), "form", item_id)
    frames = tuple(range(1, scan.frame_count + 1)) if sample.frame_number is None else (sample.frame_number,)
    study = volume.study_labels if sample.frame_number is None else ()
    return Item(
        item_id=item_id,
        anatomy=volume.anatomy,
        level=sample.level,
        task=task,
        answer_type=form_type,
        volume_id=volume.volume_id,
        patient_id=scan.patient_id,
        split=sample.split,
        label=label,
        counted=counted,
        question=fill(form, volume.anatomy, sample.level, label),
        options=options,
        answer=answer,
        reasoning=" ".join(reasoning),
        frame_numbers=frames,
        rows=scan.rows,
        columns=scan.columns,
        is_size_known=scan.is_size_known,
        boxes=boxes,
        context=sample.boxes,
        labels=tuple(sorted({box.label for box in sample.boxes} | set(study))),
    )


def _opening(sample: Sample) -> str:
    name = sequence_name(f"{sample.volume.scan.sequence} {sample.volume.volume_id}", sample.volume.anatomy)
    article = "an" if name.startswith("a") else "a"
    return f"This is {article} {name} MRI {sample.level} of the {sample.volume.anatomy}."


def _seen(sample: Sample, label: str) -> str:
    """Say which sign of a label is seen on which frames, with its boxes (first, middle and last in a volume)."""
    text = _capital(sign(label, f"{sample.volume.scan.sequence} {sample.volume.volume_id}"))
    boxes = sample.of(label)
    if not boxes:
        return f"{text} is reported for the whole volume."
    where = side(boxes, sample.volume.scan.columns)
    if sample.frame_number is not None:
        return f"{text} is seen on {where}: {', '.join(box.published for box in boxes)}."
    few = [boxes[index] for index in sorted({0, len(boxes) // 2, len(boxes) - 1})]
    return f"{text} is seen on {_frames(boxes)}, on {where}, as at {_listed(few)}."


def _located(sample: Sample, label: str) -> str:
    boxes = sample.of(label)
    place = f"{concept(label).site.meaning}, {side(boxes, sample.volume.scan.columns)}"
    if sample.frame_number is not None:
        return f"{place}. {', '.join(box.published for box in boxes)}"
    return f"{place}{_third(sample, boxes)}. {_listed(boxes)}."


def _third(sample: Sample, boxes: Sequence[TruthBox]) -> str:
    """Name the third of the stack in which the middle of the boxes lies; nothing where its length is assumed."""
    scan = sample.volume.scan
    if not scan.is_size_known:
        return ""
    middle = (boxes[0].frame_number + boxes[-1].frame_number) / 2 - 0.5
    return f", {_THIRDS[sample.volume.anatomy][min(2, int(3 * middle / scan.frame_count))]} third of the volume"


def _extent(sample: Sample, label: str) -> str:
    boxes = sample.of(label)
    if not boxes:
        return " of the whole volume"
    where = f" on {side(boxes, sample.volume.scan.columns)}"
    if sample.frame_number is not None:
        return f", {_boxes(len(boxes))}{where}"
    separate = len(sample.volume.lesions_of(label))
    return f", {separate} separate {'place' if separate == 1 else 'places'} on {_frames(boxes)},{where}"


def _key_frame(sample: Sample) -> int:
    """Return the frame whose boxes cover most, the first of equal ones."""
    frames = sample.volume.by_frame
    return max(frames, key=lambda number: (sum(box.width * box.height for box in frames[number]), -number))


def _frames(boxes: Sequence[TruthBox]) -> str:
    numbers = sorted({box.frame_number for box in boxes})
    return f"{'Frame' if len(numbers) == 1 else 'Frames'} {frames_as_text([number - 1 for number in numbers])}"


def _listed(boxes: Sequence[TruthBox]) -> str:
    return ", ".join(f"Frame {box.frame_number}: {box.published}" for box in boxes)


def _boxes(count: int) -> str:
    return f"{count} {'box' if count == 1 else 'boxes'}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
