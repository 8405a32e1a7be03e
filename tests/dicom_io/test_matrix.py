"""Every real series at hand against the table of what it must be taken for."""

import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from dicom_io.instances import inspect
from dicom_io.selection import Choice, choose
from dicom_io.series import SeriesFacts, describe
from sgmri.errors import SeriesError
from sgmri.lifecycle import Reason
from sgmri.volume import ContrastAgent

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"
ROWS: list[dict[str, Any]] = tomllib.loads(Path(__file__).with_name("series_matrix.toml").read_text(encoding="utf-8"))[
    "row"
]

pytestmark = pytest.mark.skipif(not SHARED.is_dir(), reason="the real data folder is not there")


def _files(row: dict[str, Any]) -> list[Path]:
    return sorted(path for pattern in row["files"].split() for path in SHARED.glob(pattern) if path.is_file())


def _sorted(paths: list[Path]) -> tuple[list[SeriesFacts], Counter[Reason]]:
    """Return the series of some files, and the reasons for which others are no instance."""
    series: dict[str, list[Path]] = {}
    refused: Counter[Reason] = Counter()
    for path in paths:
        try:
            series.setdefault(inspect(path).series_instance_uid, []).append(path)
        except SeriesError as error:
            refused[error.reason] += 1
    return [describe(found) for found in series.values()], refused


def _taken_for(facts: SeriesFacts, choice: Choice) -> dict[str, object]:
    seen = choice.sub_volume.facts if choice.sub_volume else facts
    return {
        "anatomy": str(facts.anatomy or "-"),
        "plane": str(seen.plane or "-"),
        "weighting": seen.weighting.value,
        "fat": {True: "yes", False: "no", None: "-"}[seen.fat_suppressed],
        "agent": "-" if seen.contrast_agent is ContrastAgent.UNKNOWN else seen.contrast_agent.value,
        "result": "taken" if choice.taken else choice.reason.value,
        "frames": len(choice.sub_volume.frames) if choice.sub_volume else 0,
    }


@pytest.mark.parametrize("row", ROWS, ids=[row["files"].split()[0] for row in ROWS])
def test_series_is_taken_for_what_it_is(row: dict[str, Any]) -> None:
    """Each series of the table is taken for the anatomy, plane and weighting that it has, or left for its reason."""
    series, refused = _sorted(_files(row))
    assert series or refused, "the pattern finds no file"
    for facts in series:
        found = _taken_for(facts, choose(facts))
        expected = {"frames": 0, "agent": "-", **{key: row[key] for key in found if key in row}}
        assert {key: found[key] for key in expected} == expected
    assert set(refused) <= {Reason(row["result"])} if row["result"] != "taken" else not refused


def test_table_has_every_file_once() -> None:
    """No file of the real data is without a row, and none has two but where a row says that it is shown again."""
    rows = Counter(path for row in ROWS if not row.get("again") for path in _files(row))
    assert {path for path in SHARED.rglob("*") if path.is_file()} == set(rows)
    assert set(rows.values()) == {1}


def test_nothing_is_taken_wrongly() -> None:
    """All files at once, sorted by series as a PACS would send them: taken are the rows that say so, no others."""
    series, _ = _sorted([path for path in SHARED.rglob("*") if path.is_file()])
    taken = {path for row in ROWS if row["result"] == "taken" for path in _files(row)}
    for facts in series:
        if choose(facts).taken:
            assert {instance.path for instance in facts.instances} <= taken
