import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from dicom_io import identity
from dicom_io.kinds import ResultKind
from sgmri.readings import EngineIdentity, Reading

MakeCase = Callable[[str], tuple[Reading, tuple[Dataset, ...]]]


@given(st.lists(st.text(alphabet=st.characters(exclude_characters="\x1f"), max_size=8), min_size=1, max_size=4))
def test_derived_uid_is_a_valid_uid(parts: list[str]) -> None:
    """A derived UID is well formed and at most 64 characters (PS3.5 9.1), whatever the words."""
    try:
        uid = identity.derived_uid(*parts)
    except UnicodeEncodeError:
        assert any("\ud800" <= character <= "\udfff" for part in parts for character in part)
        return
    assert re.fullmatch(r"2\.25\.(0|[1-9]\d*)", uid)
    assert len(uid) <= 64


def test_derived_uid_keeps_its_words_apart() -> None:
    """Words cannot run into each other, and their order counts."""
    assert identity.derived_uid("a", "bc") != identity.derived_uid("ab", "c")
    assert identity.derived_uid("a", "b") != identity.derived_uid("b", "a")


def test_derived_uid_is_the_same_in_another_process() -> None:
    """No process-wide randomness (hash seed) gets into a UID."""
    code = "from dicom_io.identity import derived_uid; print(derived_uid('box', 'x', '3'))"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == identity.derived_uid("box", "x", "3")


def test_reading_key_ignores_order_and_time(make_case: MakeCase) -> None:
    """The key of a reading depends neither on the order of its frames nor on when it was read."""
    reading, _ = make_case("brain")
    again = replace(
        reading,
        frames=tuple(reversed(reading.frames)),
        tracklets=(),
        answers=(),
        started_at=reading.started_at + timedelta(days=1),
    )
    assert identity.reading_key(again) == identity.reading_key(reading)


def test_reading_key_tells_engine_questions_and_frames_apart(make_case: MakeCase) -> None:
    """Another engine version, digest, question set, or one frame less gives other UIDs."""
    reading, _ = make_case("brain")
    variants = [
        reading,
        replace(reading, engine=replace(reading.engine, version="2")),
        replace(reading, engine=replace(reading.engine, digest="cd" * 32)),
        replace(reading, engine=replace(reading.engine, name="other")),
        replace(reading, question_set_id="brain-2"),
        replace(reading, frames=reading.frames[1:], answers=(), tracklets=()),
        replace(reading, frames=tuple(replace(ref, frame_number=1) for ref in reading.frames)),
    ]
    assert len({identity.result_uids(variant).instance(ResultKind.SR) for variant in variants}) == len(variants)


def test_all_uids_of_a_reading_differ(make_case: MakeCase) -> None:
    """No two objects, boxes or segments of one reading share a UID."""
    reading, _ = make_case("brain")
    uids = identity.result_uids(reading)
    all_uids = [uid for kind in ResultKind for uid in (uids.series(kind), uids.instance(kind))]
    for tracklet in reading.tracklets:
        all_uids.append(uids.segment_uid(tracklet))
        all_uids += [uids.box_uid(tracklet, finding) for finding in tracklet.findings]
    assert len(set(all_uids)) == len(all_uids) > 10


def test_device_uid_changes_with_the_model() -> None:
    """The Device UID follows the weights digest."""
    engine = EngineIdentity(name="vlm", version="1", digest="00" * 32)
    assert identity.device_uid(engine) != identity.device_uid(replace(engine, digest="01" * 32))
    assert identity.device_uid(engine) == identity.device_uid(replace(engine))


def test_implementation_version_name_fits() -> None:
    """The Implementation Version Name has 1 to 16 characters (PS3.7 D.3.3.2.3)."""
    assert 1 <= len(identity.IMPLEMENTATION_VERSION_NAME) <= 16
