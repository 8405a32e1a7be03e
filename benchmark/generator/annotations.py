"""Reads the annotations of fastMRI+ and cleans them; every repair is counted and listed.

Rows of the CSV files are ``file, slice, study_level, x, y, width, height, label``; slices count from 0, boxes lie in
pixels of the row-flipped image (Zhao et al., Sci Data 2022). What is wrong in them is known row by row: boxes
without a size or past an edge, rows that stand twice, labels that are spelled in several ways. What only looks
doubtful (two boxes on nearly the same place, boxes of a few pixels) is noted and kept.
"""

import csv
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import combinations
from pathlib import Path

from benchmark.generator.volumes import NORMAL_LABEL, AnnotatedVolume, Scan
from benchmark.items import TruthBox
from sgmri.errors import ConfigError
from sgmri.geometry import iou
from sgmri.vocabulary import concept
from sgmri.volume import Anatomy

_FIELDS = ("file", "slice", "study_level", "x", "y", "width", "height", "label")
_ASSUMED_SIDE = 320
"""Rows and columns where no image is at hand: no annotation reaches past 320 pixels."""
_ASSUMED_FRAMES: Mapping[Anatomy, int] = {Anatomy.BRAIN: 16, Anatomy.KNEE: 28}
"""Frames where no image is at hand: typical of a brain; the fewest that a knee has, so that each of them exists."""
_SLICES_AT_MOST = 1000
"""A volume without an image is taken for as long as its last box says: a damaged number must not make it endless."""
_SAME, _SIMILAR = 0.7, 0.3
_TINY_PIXELS = 3


class RepairKind(StrEnum):
    """What was wrong and what was done; the kinds that begin with "noted" change nothing."""

    ZERO_SIZE = "box without a size: dropped"
    PAST_EDGE = "box past the edge of its frame: clipped"
    OUTSIDE = "box outside its frame: dropped"
    SAME_BOX = "the same box twice: dropped"
    SAME_STUDY_LABEL = "the same study label twice: dropped"
    NORMAL_WITH_BOXES = "normal for age beside boxes: the label dropped"
    SPELLING = "label spelled otherwise: replaced by the vocabulary's"
    BEFORE_FIRST = "legacy shift leads before the first frame: dropped"
    NEAR_DUPLICATE = "noted: same label on nearly the same box (IoU > 0.7)"
    OVERLAP = "noted: same label on overlapping boxes (IoU 0.3 to 0.7)"
    TWO_LABELS = "noted: two labels on nearly the same box (IoU > 0.7)"
    TINY = "noted: a side of 3 pixels or fewer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Repair:
    """One thing that was repaired or noted.

    Parameters
    ----------
    kind
        What.
    file, line
        Where: name of the CSV file, line from 1 (the header is 1).
    volume_id, label
        Of that row, as repaired.
    detail
        What stood there.
    """

    kind: RepairKind
    file: str
    line: int
    volume_id: str
    label: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotations:
    """All volumes of both anatomies that were reviewed, and what was repaired on the way."""

    volumes: tuple[AnnotatedVolume, ...]
    repairs: tuple[Repair, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    line: int
    volume_id: str
    label: str
    written: str
    box: TruthBox | None


def read_annotations(folder: Path, scans: Mapping[str, Scan], *, legacy_knee_shift: bool = False) -> Annotations:
    """Read ``brain.csv`` and ``knee.csv`` with their file lists, and clean them.

    Parameters
    ----------
    folder
        Holds the four files of fastMRI+.
    scans
        What is known of volumes from their images; the others get the documented assumption.
    legacy_knee_shift
        Number knee frames as the published pipeline did, one too low, for comparison of scores only.

    Raises
    ------
    ConfigError
        If a file is missing or a row cannot be read.
    """
    volumes: list[AnnotatedVolume] = []
    repairs: list[Repair] = []
    for anatomy in (Anatomy.BRAIN, Anatomy.KNEE):
        reader = _Reader(folder, anatomy, scans)
        volumes += reader.volumes(shift=0 if legacy_knee_shift and anatomy is Anatomy.KNEE else 1)
        repairs += sorted(reader.repairs, key=lambda repair: (repair.line, repair.kind, repair.detail))
    return Annotations(volumes=tuple(volumes), repairs=tuple(repairs))


class _Reader:
    """Reads the files of one anatomy."""

    def __init__(self, folder: Path, anatomy: Anatomy, scans: Mapping[str, Scan]) -> None:
        self._anatomy, self._scans = anatomy, scans
        self._path, self._list = folder / f"{anatomy}.csv", folder / f"{anatomy}_file_list.csv"
        self.repairs: list[Repair] = []

    def volumes(self, *, shift: int) -> list[AnnotatedVolume]:
        reviewed = [line.strip() for line in _text(self._list).splitlines() if line.strip()]
        rows: dict[str, list[_Row]] = {volume_id: [] for volume_id in sorted(reviewed)}
        for row in self._rows(shift):
            if row.volume_id not in rows:
                raise ConfigError(
                    f"{self._path.name}, line {row.line}: expected a volume of {self._list.name}, found "
                    f"{row.volume_id}; take both files from one release of fastMRI+"
                )
            rows[row.volume_id].append(row)
        return [self._volume(volume_id, of_volume) for volume_id, of_volume in rows.items()]

    def _rows(self, shift: int) -> Iterator[_Row]:
        reader = csv.DictReader(_text(self._path).splitlines())
        if tuple(reader.fieldnames or ()) != _FIELDS:
            raise ConfigError(f"{self._path}: expected the columns {', '.join(_FIELDS)}, found {reader.fieldnames}")
        for raw in reader:
            try:
                yield _row(raw, reader.line_num, self._anatomy, shift)
            except (ValueError, KeyError, AttributeError, TypeError) as error:
                raise ConfigError(
                    f"{self._path.name}, line {reader.line_num}: expected a known label, a slice from 0 to "
                    f"{_SLICES_AT_MOST - 1} and a box of whole pixels, or Yes and no box; found something else "
                    f"({error})"
                ) from error

    def _volume(self, volume_id: str, rows: Sequence[_Row]) -> AnnotatedVolume:
        for row in rows:
            if row.written != row.label:
                self._note(RepairKind.SPELLING, row, repr(row.written))
        scan = self._scans.get(volume_id) or _assumed(self._anatomy, rows)
        boxes = self._boxes(rows, scan)
        study: dict[str, _Row] = {}
        for row in rows:
            if row.box is None and study.setdefault(row.label, row) is not row:
                self._note(RepairKind.SAME_STUDY_LABEL, row, f"first on line {study[row.label].line}")
        if boxes and NORMAL_LABEL in study:
            self._note(RepairKind.NORMAL_WITH_BOXES, study.pop(NORMAL_LABEL), f"{len(boxes)} boxes")
        return AnnotatedVolume(
            volume_id=volume_id,
            anatomy=self._anatomy,
            boxes=tuple(sorted(boxes, key=_order)),
            study_labels=tuple(sorted(study)),
            scan=scan,
            is_listed=bool(rows),
        )

    def _boxes(self, rows: Sequence[_Row], scan: Scan) -> list[TruthBox]:
        kept: dict[TruthBox, _Row] = {}
        for row in rows:
            if row.box is None:
                continue
            box = self._repaired(row, row.box, scan)
            if box is None:
                continue
            if box in kept:
                self._note(RepairKind.SAME_BOX, row, f"first on line {kept[box].line}")
                continue
            kept[box] = row
            if min(box.width, box.height) <= _TINY_PIXELS:
                self._note(RepairKind.TINY, row, f"{box.width} x {box.height}")
        self._note_pairs(kept)
        return list(kept)

    def _repaired(self, row: _Row, box: TruthBox, scan: Scan) -> TruthBox | None:
        if box.width <= 0 or box.height <= 0:
            self._note(RepairKind.ZERO_SIZE, row, f"{box.width} x {box.height}")
            return None
        if box.frame_number < 1:
            self._note(RepairKind.BEFORE_FIRST, row, f"frame {box.frame_number}")
            return None
        x0, y0 = max(box.x, 0), max(box.y, 0)
        x1, y1 = min(box.x + box.width, scan.columns), min(box.y + box.height, scan.rows)
        where = f"{box.x}, {box.y}, {box.width} x {box.height} on {scan.columns} x {scan.rows}"
        if box.frame_number > scan.frame_count or x0 >= x1 or y0 >= y1:
            self._note(RepairKind.OUTSIDE, row, f"{where}, frame {box.frame_number} of {scan.frame_count}")
            return None
        clipped = replace(box, x=x0, y=y0, width=x1 - x0, height=y1 - y0)
        if clipped != box:
            self._note(RepairKind.PAST_EDGE, row, where)
        return clipped

    def _note_pairs(self, kept: Mapping[TruthBox, _Row]) -> None:
        frames: defaultdict[int, list[TruthBox]] = defaultdict(list)
        for box in kept:
            frames[box.frame_number].append(box)
        for boxes in frames.values():
            for one, other in combinations(boxes, 2):
                overlap, same = iou(one.box, other.box), one.label == other.label
                if overlap > _SAME:
                    kind = RepairKind.NEAR_DUPLICATE if same else RepairKind.TWO_LABELS
                elif same and overlap > _SIMILAR:
                    kind = RepairKind.OVERLAP
                else:
                    continue
                self._note(kind, kept[other], f"{one.label} on line {kept[one].line}, IoU {overlap:.2f}")

    def _note(self, kind: RepairKind, row: _Row, detail: str) -> None:
        self.repairs.append(
            Repair(
                kind=kind,
                file=self._path.name,
                line=row.line,
                volume_id=row.volume_id,
                label=row.label,
                detail=detail,
            )
        )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path}: expected text in UTF-8, found other bytes ({error}); fetch the file again"
        ) from None
    except OSError as error:
        raise ConfigError(
            f"expected the annotations of fastMRI+, found no {path}; clone github.com/microsoft/fastmri-plus and give "
            "its folder Annotations"
        ) from error


def _row(raw: Mapping[str, str], line: int, anatomy: Anatomy, shift: int) -> _Row:
    """Read one row; slices count from 0 and frames from ``shift``."""
    if None in raw:
        raise ValueError("more cells than columns")
    written = raw["label"]
    known = concept(written)
    if known.anatomy is not anatomy:
        raise ValueError(f"{known.label} of the {known.anatomy}")
    label = known.label
    frame_number = int(raw["slice"]) + shift
    if not 0 <= frame_number - shift < _SLICES_AT_MOST:
        raise ValueError(f"slice {raw['slice']}")
    box = None
    if raw["study_level"] == "No":
        x, y, width, height = (int(raw[name]) for name in ("x", "y", "width", "height"))
        box = TruthBox(label=label, frame_number=frame_number, x=x, y=y, width=width, height=height)
    elif raw["study_level"] != "Yes" or any(raw[name] for name in ("x", "y", "width", "height")):
        raise ValueError(f"study_level {raw['study_level']}")
    return _Row(line=line, volume_id=raw["file"], label=label, written=written, box=box)


def _assumed(anatomy: Anatomy, rows: Sequence[_Row]) -> Scan:
    last = max((row.box.frame_number for row in rows if row.box is not None), default=0)
    return Scan(frame_count=max(_ASSUMED_FRAMES[anatomy], last), rows=_ASSUMED_SIDE, columns=_ASSUMED_SIDE)


def _order(box: TruthBox) -> tuple[int, str, int, int, int, int]:
    return box.frame_number, box.label, box.y, box.x, box.height, box.width
