"""The whole check: files found, read, checked one by one on all cores, then together; one report at the end.

What one object holds that no check foresaw ends the checks of that object, as a finding, and no other's.
"""

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Final, TypeVar

from pydicom.dataset import Dataset

from conformance.objects import (
    air,
    codes,
    content,
    files,
    geometry,
    header,
    identity,
    masks,
    profile,
    references,
    segmentation,
    templates,
    validators,
    viewers,
)
from conformance.objects.corpus import PRESENTATION_STATE, WANTED, Corpus, Instance, instance_of
from conformance.objects.findings import ORDER, Check, Finding, Group, Severity
from conformance.objects.subject import Subject, subject_of, text
from dicom_io.objects.sources import leniently
from dicom_io.parallel import permitted_cores
from sgmri.errors import ConfigError

FAILED: Final = Check(
    name="file-checkable",
    group=Group.FILE,
    says="an object that every check can look at",
    source="a limit of this program",
)
CHECKS: Final[tuple[Check, ...]] = (
    *(files.READABLE, files.BOUNDED, FAILED, *header.CHECKS, validators.IOD, validators.ENTITY, *content.CHECKS),
    *(*templates.CHECKS, *references.CHECKS, *geometry.CHECKS, *masks.CHECKS, *segmentation.CHECKS, *codes.CHECKS),
    *(*identity.CHECKS, *air.CHECKS, *profile.CHECKS),
)
"""Every check but the rules of viewers, which :data:`dicom_io.viewer_rules.RULES` lists."""
_ALONE: Final = 12
"""Up to so many files are not worth other processes."""
_MOST_TOGETHER: Final = 4000
"""Files that dcentvfy is given at once."""
_MOST_REPORTS: Final = 4
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What is checked.

    Parameters
    ----------
    groups
        The groups of checks.
    asked
        Groups that were asked for by name: points of AIR are warnings there, else notes.
    viewers
        Names of viewers whose rules are checked.
    require_validators
        Whether a validator that is not installed is an error.
    workers
        Processes.
    """

    groups: frozenset[Group] = frozenset(Group)
    asked: frozenset[Group] = frozenset()
    viewers: tuple[str, ...] = ()
    require_validators: bool = False
    workers: int = field(default_factory=permitted_cores)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What was found.

    Parameters
    ----------
    objects
        The objects that were checked, in order; files that cannot be read among them.
    sources
        How many source instances they were held against.
    findings
        Of all objects, by object, the bad ones first.
    corpus
        What is known of all instances.
    """

    objects: tuple[Path, ...]
    sources: int
    findings: tuple[Finding, ...]
    corpus: Corpus

    def count(self, severity: Severity) -> int:
        """Return how many findings are of some severity."""
        return sum(finding.severity is severity for finding in self.findings)


def check(paths: Sequence[Path], sources: Sequence[Path] = (), options: Options | None = None) -> Report:
    """Check the result objects among some files against the standard, each other and their sources.

    Parameters
    ----------
    paths
        Files and folders, of objects and of sources.
    sources
        Files and folders of sources only: results among them are known, but not checked.
    options
        What is checked; None for everything but rules of viewers.

    Raises
    ------
    ConfigError
        If a path is not there, or no path holds a result object.
    """
    options = options or Options()
    wanted = list(files.find(paths))
    beside = [path for path in files.find(sources) if path not in set(wanted)] if sources else []
    known = _run(_index, [*wanted, *beside], _Known(options, Corpus(())))
    instances = [one for one in known if isinstance(one, Instance)]
    corpus = Corpus(instances)
    objects = [one for one in known[: len(wanted)] if isinstance(one, Finding) or one.is_result]
    if not objects:
        raise ConfigError(
            f"{paths[0]}: expected result objects such as SR or SEG, found none; hand over the objects too"
        )
    findings = [one for one in objects if isinstance(one, Finding)]
    todo = [one.path for one in objects if isinstance(one, Instance)]
    for found in _run(_check_one, todo, _Known(options, corpus)):
        findings += found
    findings += _together(corpus, set(todo), options)
    paths_in_order = tuple(one.path for one in objects)
    place = {path: index for index, path in enumerate(paths_in_order)}
    return Report(
        objects=paths_in_order,
        sources=sum(not one.is_result for one in instances),
        findings=tuple(sorted(findings, key=lambda one: (place.get(one.path, len(place)), ORDER.index(one.severity)))),
        corpus=corpus,
    )


@dataclass(frozen=True, slots=True)
class _Known:
    """What a process needs to know to check an object."""

    options: Options
    corpus: Corpus


_held: list[_Known] = []
"""The one thing that a process holds: it is handed over once, not with each of thousands of files."""


def _hold(known: _Known) -> None:
    _held[:] = [known]
    _loaded.cache_clear()


def _run(work: Callable[[Path], T], paths: Sequence[Path], known: _Known) -> list[T]:
    """Run a function over files: here where they are few, else on all cores."""
    workers = known.options.workers
    if len(paths) <= _ALONE or workers == 1:
        _hold(known)
        return [work(path) for path in paths]
    # spawn: a fork of a process that has threads may hang
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_hold, initargs=(known,)) as pool:
        return list(pool.map(work, paths, chunksize=4))


def _index(path: Path) -> Instance | Finding:
    """Return what is known of a file."""
    ds = files.read(path, only=WANTED)
    if isinstance(ds, Finding):
        return replace(ds, path=path)
    try:
        with leniently():
            return instance_of(ds, path)
    except Exception as error:  # noqa: BLE001 -- the border to hostile input
        return replace(files.READABLE.found("", f"a header that fails with {type(error).__name__}"), path=path)


def _check_one(path: Path) -> list[Finding]:
    """Return what is found in one object."""
    options = _held[0].options
    found: list[Finding] = []
    validator = validators.program("dciodvfy") if Group.IOD in options.groups else None
    if validator is not None:
        found += validators.check_iod(validator, path)
    ds = files.read(path)
    if isinstance(ds, Finding):
        found.append(ds)
    else:
        with leniently():
            found += _findings(ds, options)
    chosen = (finding for finding in found if finding.group in options.groups or finding.check == FAILED.name)
    return [replace(_as_asked(finding, options), path=path) for finding in chosen]


def _as_asked(finding: Finding, options: Options) -> Finding:
    is_asked = finding.group is Group.AIR and Group.AIR in options.asked
    return replace(finding, severity=Severity.WARNING) if is_asked else finding


def _findings(ds: Dataset, options: Options) -> Iterator[Finding]:
    corpus = _held[0].corpus
    try:
        subject = subject_of(ds)
    except Exception as error:  # noqa: BLE001 -- the border to hostile input
        yield FAILED.found("", f"an object that cannot be walked: {type(error).__name__}")
        return
    steps: tuple[tuple[Group, Callable[[], Iterator[Finding]]], ...] = (
        (Group.FILE, lambda: header.check(subject)),
        (Group.CONTENT, lambda: content.check(subject)),
        (Group.TEMPLATE, lambda: templates.check(subject)),
        (Group.REFERENCE, lambda: references.check(subject, corpus)),
        (Group.GEOMETRY, lambda: geometry.check(subject, corpus)),
        (Group.GEOMETRY, lambda: _against_others(subject, corpus)),
        (Group.SEGMENTATION, lambda: segmentation.check(subject, corpus)),
        (Group.CODE, lambda: codes.check(subject)),
        (Group.IDENTITY, lambda: identity.check(subject, corpus)),
        (Group.VIEWER, lambda: viewers.check(subject, options.viewers)),
        (Group.AIR, lambda: air.check(subject)),
        (Group.PROFILE, lambda: profile.check(subject)),
    )
    for group, step in steps:
        # What holds an object against others serves two groups
        if group in options.groups or (group is Group.GEOMETRY and Group.REFERENCE in options.groups):
            try:
                yield from list(step())
            except Exception as error:  # noqa: BLE001 -- the border to hostile input: this object, these checks only
                yield FAILED.found("", f"one on which the checks of group {group} fail with {type(error).__name__}")


def _against_others(subject: Subject, corpus: Corpus) -> Iterator[Finding]:
    """Yield where a report and its segmentations, or a presentation state and its reports, disagree."""
    if subject.root is not None:
        uids = {link.segmentation_uid for link in masks.links_of(subject)} & corpus.by_uid.keys()
        loaded = {uid: ds for uid in sorted(uids) if (ds := _loaded(corpus.by_uid[uid].path)) is not None}
        yield from masks.check_against(subject, loaded)
    if subject.sop_class_uid == PRESENTATION_STATE:
        study = text(subject.ds, "StudyInstanceUID")
        reports = [one for one in corpus.instances if one.modality == "SR" and one.study_instance_uid == study]
        others = [subject_of(ds) for one in reports[:_MOST_REPORTS] if (ds := _loaded(one.path)) is not None]
        yield from geometry.check_against(subject, others)


@lru_cache(maxsize=4)
def _loaded(path: Path) -> Dataset | None:
    """Return another object that is held against one; None where it cannot be read, which its own checks say."""
    ds = files.read(path)
    return None if isinstance(ds, Finding) else ds


def _together(corpus: Corpus, objects: set[Path], options: Options) -> Iterator[Finding]:
    """Yield what is wrong among the objects rather than in one."""
    if Group.IDENTITY in options.groups:
        for instance, finding in identity.check_together(corpus):
            yield replace(finding, path=instance.path)
    if Group.AIR in options.groups:
        for instance, finding in air.check_together(corpus):
            yield replace(_as_asked(finding, options), path=instance.path)
    for group, check_of, name in (
        (Group.IOD, validators.IOD, "dciodvfy"),
        (Group.ENTITY, validators.ENTITY, "dcentvfy"),
    ):
        if group in options.groups and validators.program(name) is None:
            yield validators.missing(check_of, require=options.require_validators)
    validator = validators.program("dcentvfy") if Group.ENTITY in options.groups else None
    if validator is not None:
        yield from _entities(corpus, objects, validator)


def _entities(corpus: Corpus, objects: set[Path], validator: Path) -> Iterator[Finding]:
    by_study: dict[str, list[Path]] = {}
    for instance in corpus.instances:
        by_study.setdefault(instance.study_instance_uid, []).append(instance.path)
    for paths in by_study.values():
        if objects & set(paths):
            for start in range(0, len(paths), _MOST_TOGETHER):
                yield from validators.check_entities(validator, paths[start : start + _MOST_TOGETHER], objects)
