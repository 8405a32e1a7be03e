"""Which items a benchmark holds: as many as the published one, or everything that the annotations support.

In the published plan each sampled frame and each volume gets five questions. Two things that gave answers away there
are put right without a change of any count: the finding that is asked for where the answer is no is drawn as where it
is yes, and letters are balanced.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product

from benchmark.generator.chance import drawn, one_of, shuffled
from benchmark.generator.options import OptionMaker
from benchmark.generator.questions import Sample, captioning, choice, counting, detection, localization
from benchmark.generator.splits import is_left_out
from benchmark.generator.volumes import AnnotatedVolume
from benchmark.items import Counted, Item, Split, Task
from sgmri.errors import ConfigError
from sgmri.volume import Anatomy

_QUOTAS: Mapping[Split, tuple[int, int]] = {Split.TRAIN: (2375, 125), Split.TEST: (712, 38)}
"""Frames of the published plan, of each anatomy: with findings, without."""
_CLEARANCE_FRAMES = 2
"""How far from any box a frame lies at least that counts as normal: the annotations are not exhaustive."""


def paper(volumes: Sequence[AnnotatedVolume]) -> Iterator[Item]:
    """Yield the items of the published plan: 32,500 of frames and 9,165 of volumes.

    Raises
    ------
    ConfigError
        If a part of the split has fewer frames than the plan samples.
    """
    maker = OptionMaker(volumes=volumes)
    for part in _parts(volumes):
        yield from _paper_images(part, maker)
    for part in _parts(volumes):
        yield from _paper_volumes(part, maker)


def exhaustive(volumes: Sequence[AnnotatedVolume]) -> Iterator[Item]:
    """Yield everything that the annotations support, with as many normal frames as annotated ones."""
    maker = OptionMaker(volumes=volumes)
    for part in _parts(volumes):
        yield from _every_image(part, maker)
    for part in _parts(volumes):
        yield from _every_volume(part, maker)


def _parts(volumes: Sequence[AnnotatedVolume]) -> Iterator[list[AnnotatedVolume]]:
    """Yield the volumes of each anatomy and split: what is balanced is balanced within them."""
    for anatomy, split in product(Anatomy, Split):
        yield [volume for volume in volumes if volume.anatomy is anatomy and volume.scan.split is split]


def _paper_images(part: Sequence[AnnotatedVolume], maker: OptionMaker) -> Iterator[Item]:
    abnormal = _some(_annotated(part), "paper")
    normal = _some(_clear(volume for volume in part if volume.boxes), "paper")
    if not part:
        raise ConfigError("--mode paper: expected volumes of both anatomies in both splits; use --mode exhaustive")
    sample = Sample(volume=part[0])
    for name, found, quota in zip(("with", "without"), (abnormal, normal), _QUOTAS[sample.split], strict=True):
        if len(found) < quota:
            raise ConfigError(
                f"--mode paper: expected {quota} frames {name} findings of {sample.volume.anatomy} in the "
                f"{sample.split} part, found {len(found)}; use the whole of fastMRI+, or --mode exhaustive"
            )
    with_findings, without = _QUOTAS[sample.split]
    abnormal, normal = abnormal[:with_findings], normal[:without]
    asked = [one_of(sample.findings, "asked", sample.name) for sample in abnormal]
    for sample, label in zip([*abnormal, *normal], [*asked, *asked[: len(normal)]], strict=True):
        yield detection(sample)
        yield localization(sample, label)
        multiple = len(sample.findings) > 1 if sample.findings else drawn("multiple", sample.name) % 3 == 0
        yield _choice(sample, Task.CLASSIFICATION, maker, multiple=multiple)
        yield _choice(sample, Task.DIAGNOSIS, maker, multiple=False)
        yield captioning(sample)


def _paper_volumes(part: Sequence[AnnotatedVolume], maker: OptionMaker) -> Iterator[Item]:
    listed = [volume for volume in part if volume.is_listed and not is_left_out(volume)]
    samples = _some((Sample(volume=volume) for volume in listed), "paper volumes")
    # a knee without a box is here for its artefact: the published knees have no negative
    positive = [sample for sample in samples if _present(sample)]
    negative = [sample for sample in samples if not _present(sample)]
    for task in (Task.DETECTION, Task.LOCALIZATION):
        asked = [one_of(_present(sample), "asked", task, sample.name) for sample in positive]
        turn = shuffled(range(len(asked)), "asked where there is none", task)
        labels = [*asked, *(asked[turn[index % len(turn)]] for index in range(len(negative)))]
        for sample, label in zip([*positive, *negative], labels, strict=True):
            if task is Task.DETECTION:
                yield detection(sample, label)
            else:
                yield localization(sample, label if sample.volume.anatomy is Anatomy.BRAIN else "")
    for sample in samples:
        counted = Counted.BOXES if sample.volume.anatomy is Anatomy.BRAIN else Counted.KINDS
        yield counting(sample, counted)
        yield _choice(sample, Task.CLASSIFICATION, maker, multiple=True)
        yield captioning(sample)


def _present(sample: Sample) -> tuple[str, ...]:
    """Return the labels that a published detection question may ask for with the answer yes."""
    volume = sample.volume
    return volume.labels or (volume.study_labels if volume.anatomy is Anatomy.KNEE else ())


def _every_image(part: Sequence[AnnotatedVolume], maker: OptionMaker) -> Iterator[Item]:
    abnormal = list(_annotated(part))
    clear = _clear(volume for volume in part if volume.boxes or volume.is_normal)
    normal = _some(clear, "exhaustive")[: len(abnormal)]
    for sample in (*abnormal, *normal):
        yield detection(sample)
        for label in sample.findings:
            yield localization(sample, label)
        if sample.findings:
            yield _choice(sample, Task.CLASSIFICATION, maker, multiple=len(sample.findings) > 1)
        yield captioning(sample)


def _every_volume(part: Sequence[AnnotatedVolume], maker: OptionMaker) -> Iterator[Item]:
    samples = [Sample(volume=volume) for volume in part if volume.boxes or volume.is_normal]
    for sample in samples:
        yield detection(sample)
        yield counting(sample, Counted.KINDS)
        yield _choice(sample, Task.CLASSIFICATION, maker, multiple=True)
        yield captioning(sample)
        for label in sample.volume.labels:
            yield detection(sample, label)
            yield localization(sample, label)
            yield counting(sample, Counted.LESIONS, label)
    for sample, label in _absent(samples):
        yield detection(sample, label)


def _absent(samples: Sequence[Sample]) -> Iterator[tuple[Sample, str]]:
    """Yield as many absent labels as there are present ones, each label as often as it is present where it can be.

    A label that most volumes have lacks volumes without it; the rest is made up from the labels of which there are
    the fewest negatives for their positives.
    """
    present = Counter(label for sample in samples for label in sample.volume.labels)
    without = {
        label: _some((s for s in samples if not s.volume.findings_of_study and label not in s.volume.labels), label)
        for label in sorted(present)
    }
    taken = {label: min(count, len(without[label])) for label, count in present.items()}
    for _ in range(present.total() - sum(taken.values())):
        open_labels = [label for label in without if taken[label] < len(without[label])]
        if not open_labels:
            break
        taken[min(open_labels, key=lambda label: taken[label] / present[label])] += 1
    for label, volumes in without.items():
        yield from ((sample, label) for sample in volumes[: taken[label]])


def _choice(sample: Sample, task: Task, maker: OptionMaker, *, multiple: bool) -> Item:
    group = (sample.level, task, sample.volume.anatomy, sample.split)
    name = f"{sample.name}/{task}"
    return choice(sample, task, maker.make(sample.volume, sample.findings, name=name, group=group, multiple=multiple))


def _annotated(part: Iterable[AnnotatedVolume]) -> Iterator[Sample]:
    return (Sample(volume=volume, frame_number=number) for volume in part for number in volume.by_frame)


def _clear(part: Iterable[AnnotatedVolume]) -> Iterator[Sample]:
    """Yield the frames that may be called normal: far from every box, in a volume without a finding of the whole."""
    for volume in part:
        if volume.findings_of_study:
            continue
        for number in range(1, volume.scan.frame_count + 1):
            if all(abs(number - other) >= _CLEARANCE_FRAMES for other in volume.by_frame):
                yield Sample(volume=volume, frame_number=number)


def _some(samples: Iterable[Sample], purpose: str) -> list[Sample]:
    """Return samples in the order in which they are taken for a purpose."""
    return sorted(samples, key=lambda sample: drawn(purpose, sample.name))
