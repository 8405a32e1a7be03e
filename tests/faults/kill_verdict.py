"""What is left when everything is quiet: of every instance, series, reading and object, counted."""

import shutil
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from pydicom import dcmread
from pynetdicom.dsutils import encode
from sqlalchemy import select

from dicom_io.network import Destination
from dicom_io.query import Level, find, get
from dicom_io.services import Role, Use, for_use
from dicom_io.spool import Spool
from dicom_io.stored import read_file_header
from sgmri.lifecycle import FINAL_STATES, State
from worker.journal import Journal, SeriesRow
from worker.journal_tables import RESULTS


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How many of each went wrong; all zero is good."""

    instances_missing: int
    instances_changed: int
    series_without_final_state: int
    series_not_committed: int
    readings_lost: int
    duplicate_instances: int
    second_results: int
    objects_changed: int

    @property
    def is_good(self) -> bool:
        """Whether nothing was lost and nothing doubled."""
        return not any(asdict(self).values())


def judge(
    journal: Journal, state_dir: Path, acknowledged: Iterable[Path], reviewer: Destination, scratch: Path
) -> Verdict:
    """Compare what was acknowledged with what spool, journal and PACS have.

    Parameters
    ----------
    journal, state_dir
        Of the installation.
    acknowledged
        Files of the instances that were answered with Success.
    reviewer
        The PACS.
    scratch
        Directory for what is fetched from it.
    """
    missing, changed = _received(journal, Spool(state_dir / "spool"), acknowledged)
    rows = journal.all_series()
    lost = duplicates = second = differing = 0
    for row in rows:
        kinds, of_series = _results(journal, row)
        at_pacs = _at_pacs(reviewer, row, scratch)
        counted = Counter(uid for uid, _ in at_pacs)
        duplicates += sum(counted.values()) - len(counted)
        second += len(counted.keys() - of_series.keys()) + sum(count > 1 for count in kinds.values())
        lost += not of_series or bool(_newest(of_series, row) - counted.keys())
        for uid, path in at_pacs:
            if uid in of_series:
                generation, name = of_series[uid]
                original = state_dir / "outbox" / row.series_key / str(generation) / name
                differing += _content(original) != _content(path)
    return Verdict(
        instances_missing=missing,
        instances_changed=changed,
        series_without_final_state=sum(row.state not in FINAL_STATES for row in rows),
        series_not_committed=sum(row.state is not State.COMMITTED for row in rows),
        readings_lost=lost,
        duplicate_instances=duplicates,
        second_results=second,
        objects_changed=differing,
    )


def _received(journal: Journal, spool: Spool, acknowledged: Iterable[Path]) -> tuple[int, int]:
    missing = changed = 0
    for path in acknowledged:
        instance = read_file_header(path)
        stored = spool.path(instance.series_key, instance.file_name)
        if not stored.exists() or instance.file_name not in journal.file_names(instance.series_key):
            missing += 1
        elif not stored.read_bytes().endswith(_content(path)):
            changed += 1
    return missing, changed


def _results(journal: Journal, row: SeriesRow) -> tuple[Counter[tuple[int, str]], dict[str, tuple[int, str]]]:
    """Return how many results of each kind a generation has, and where each result lies, by SOP Instance UID."""
    with journal.look() as connection:
        found = connection.execute(select(RESULTS).where(RESULTS.c.series_key == row.series_key)).all()
    kinds = Counter((result.generation, result.kind) for result in found)
    return kinds, {result.sop_instance_uid: (result.generation, result.file_name) for result in found}


def _newest(of_series: dict[str, tuple[int, str]], row: SeriesRow) -> set[str]:
    newest = {uid for uid, (generation, _) in of_series.items() if generation == row.generation}
    return newest or {""}  # a series without results of its present generation has lost its reading


def _at_pacs(reviewer: Destination, row: SeriesRow, scratch: Path) -> list[tuple[str, Path]]:
    """Fetch everything that the PACS has of a study, and ask it for what it lists."""
    keys = {"StudyInstanceUID": row.study_instance_uid, "SeriesInstanceUID": ""}
    classes = [service.sop_class_uid for service in for_use(Use.DELIVER, role=Role.SCU)]
    listed: list[tuple[str, Path]] = []
    for match in find(reviewer, Level.SERIES, keys):
        series = match["SeriesInstanceUID"]
        shutil.rmtree(scratch, ignore_errors=True)
        keep = scratch.parent / "fetched"
        keep.mkdir(exist_ok=True)
        fetched = {}
        for path in get(reviewer, row.study_instance_uid, series, classes, scratch):
            uid = str(dcmread(path, specific_tags=["SOPInstanceUID"]).SOPInstanceUID)
            fetched[uid] = path.rename(keep / f"{uid}.dcm")
        one = {"StudyInstanceUID": row.study_instance_uid, "SeriesInstanceUID": series, "SOPInstanceUID": ""}
        for instance in find(reviewer, Level.IMAGE, one):
            uid = instance["SOPInstanceUID"]
            listed.append((uid, fetched[uid]))
    return listed


def _content(path: Path) -> bytes:
    """Return a file's data set, encoded the same way for all."""
    content = encode(dcmread(path), is_implicit_vr=False, is_little_endian=True)
    assert content is not None
    return content
