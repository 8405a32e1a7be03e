from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import UID

from conformance import phantoms
from conformance.phantom_contrast import give_contrast_agent
from dicom_io.rulings import BUILT_IN
from dicom_io.selection import Choice, choose
from dicom_io.series import describe
from plugin.rules import FACTS, load_rules
from sgmri.errors import ConfigError
from sgmri.lanes import Lane
from sgmri.lifecycle import Reason
from sgmri.volume import Anatomy
from tests.series_files import written

CANARIES = ("PHANTOM", "SYNTHETIC", "CANARY", "NIGHTINGALE", "2.25.")


def _rules(folder: Path, text: str) -> Path:
    path = folder / "rules.toml"
    path.write_text(text, encoding="utf-8")
    return path


def _chosen(datasets: tuple[Dataset, ...], folder: Path, text: str) -> Choice:
    choice = choose(describe(written(datasets, folder)), rules=load_rules(_rules(folder, text)))
    said = choice.explanation + "".join(" ".join(one.ruling.not_matching) for one in choice.verdicts if one.ruling)
    assert not any(canary in said for canary in CANARIES)
    return choice


LEAVE = """
[[rule]]
name = "knees of room 4 are read elsewhere"
when = 'header.StationName == "ROOM4" and anatomy == "knee"'
leave = true

[[rule]]
name = "no knee with fat saturation"
when = 'anatomy == "knee" and fat_suppressed == "yes" and coverage_mm > 50'
leave = true
"""


def test_first_rule_that_matches_decides(tmp_path: Path) -> None:
    """A rule leaves a series with a reason of its own; those before it say why they do not match."""
    choice = _chosen(phantoms.make("knee-oblique").datasets, tmp_path, LEAVE)
    assert (choice.taken, choice.reason) == (False, Reason.RULE)
    assert choice.explanation == "The rule 'no knee with fat saturation' leaves it."
    (verdict,) = choice.verdicts
    assert verdict.ruling is not None
    assert verdict.ruling.not_matching == (
        "The rule 'knees of room 4 are read elsewhere' does not match: StationName is missing.",
    )


def test_built_in_rule_stands_behind_the_file(tmp_path: Path) -> None:
    """What no rule matches is read as without a file."""
    choice = _chosen(phantoms.make("brain-normal").datasets, tmp_path, LEAVE)
    assert (choice.taken, choice.question_set_id) == (True, "brain-1")
    assert load_rules(None) is load_rules("") is BUILT_IN


LANES = """
[[lane]]
name = "the emergency room's scanner"
when = 'header.StationName == "ER-MR"'
lane = "stat"

[[lane]]
name = "asked for at once"
when = 'word(header.RequestedProcedurePriority, "stat", "high")'
lane = "stat"

[[lane]]
name = "knees may wait"
when = 'anatomy == "knee"'
lane = "off-peak"
"""


@pytest.mark.parametrize(
    ("name", "header", "lane"),
    [
        ("brain-normal", {}, Lane.NORMAL),
        ("brain-normal", {"StationName": "ER-MR"}, Lane.STAT),
        ("knee-normal", {"RequestedProcedurePriority": "STAT"}, Lane.STAT),
        ("knee-normal", {"RequestedProcedurePriority": "LOW"}, Lane.OFF_PEAK),
    ],
)
def test_first_lane_rule_that_matches_gives_the_lane(
    tmp_path: Path, name: str, header: dict[str, str], lane: Lane
) -> None:
    """By station, priority or what the volume is; what is asked of it stays as it was, and no match is normal."""
    datasets = phantoms.make(name).datasets
    for ds in datasets:
        for keyword, value in header.items():
            setattr(ds, keyword, value)
    choice = _chosen(datasets, tmp_path, LANES)
    assert (choice.taken, choice.lane) == (True, lane)
    assert (f"lane {lane}" in choice.explanation) is (lane is not Lane.NORMAL)


TAKE = """
[[rule]]
name = "the knee scanner"
when = 'header.StationName == "KNEE-MR" and word(header.SequenceName, "tse")'
take = "knee-1"
"""


def _nameless(name: str, **attributes: object) -> tuple[Dataset, ...]:
    datasets = phantoms.make(name).datasets
    for ds in datasets:
        for keyword in ("BodyPartExamined", "ProtocolName", "StudyDescription", "SeriesDescription", "ReceiveCoilName"):
            delattr(ds, keyword)
        if "AnatomicRegionSequence" in ds:
            del ds.AnatomicRegionSequence
        ds.StationName = "KNEE-MR"
        for keyword, value in attributes.items():
            setattr(ds, keyword, value)
    return datasets


def test_rule_says_the_anatomy_where_the_headers_do_not(tmp_path: Path) -> None:
    """A site knows what its scanner is for: the question set's anatomy is taken from the rule."""
    choice = _chosen(_nameless("knee-normal"), tmp_path, TAKE)
    assert (choice.anatomy, choice.question_set_id) == (Anatomy.KNEE, "knee-1"), choice.explanation
    assert "by the rule 'the knee scanner'" in choice.explanation


def test_site_can_leave_what_only_the_image_speaks_for(tmp_path: Path) -> None:
    """A rule on the evidence switches the look at the image off."""
    rule = "[[rule]]\nname = 'words only'\nwhen = 'evidence == \"image\"'\nleave = true\n"
    choice = _chosen(_nameless("brain-normal"), tmp_path, rule)
    assert choice.reason is Reason.RULE, choice.explanation


@pytest.mark.parametrize("named", ["BRAIN", "SPINE"])
def test_rule_does_not_overrule_what_the_headers_name(tmp_path: Path, named: str) -> None:
    """A rule that asks the knee set of a brain, or of a spine, is held against the applicability of the set."""
    choice = _chosen(_nameless("knee-normal", BodyPartExamined=named), tmp_path, TAKE)
    assert choice.reason is Reason.NOT_APPLICABLE
    assert "expected a knee, found" in choice.explanation


def test_rule_makes_no_volume_of_what_is_none(tmp_path: Path) -> None:
    """Localisers, maps and test objects are left before a rule is asked."""
    everything = '[[rule]]\nname = "all"\nwhen = "frames > 0"\ntake = "knee-1"\n'
    choice = _chosen(_nameless("knee-normal", ImageType=["DERIVED", "SECONDARY"]), tmp_path, everything)
    assert choice.reason is Reason.DERIVED


def test_earlier_rule_decides_which_sub_volume_is_read(tmp_path: Path) -> None:
    """Of two echoes the one of the first rule is read, though the built-in preference is the other one."""
    datasets = []
    for echo in ("20", "100"):
        for ds in phantoms.make("knee-normal").datasets:
            ds.EchoTime, ds.RepetitionTime = echo, "3000"
            datasets.append(ds)
    for number, ds in enumerate(datasets):
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = UID(f"1.2.3.{number}")
    rules = """
[[rule]]
name = "T2 first"
when = 'anatomy == "knee" and weighting == "T2"'
take = "knee-1"
"""
    choice = _chosen(tuple(datasets), tmp_path, rules)
    assert choice.sub_volume is not None
    assert choice.sub_volume.name == "echo 2 of 2", choice.explanation
    assert "its rule comes first" in choice.explanation


def test_enhanced_frames_have_values_too(tmp_path: Path) -> None:
    """Attributes of the functional groups are asked like those of classic instances."""
    rules = '[[rule]]\nname = "long"\nwhen = "header.EffectiveEchoTime > 100 and count(header.RepetitionTime) == 1"\n'
    choice = _chosen(phantoms.make("brain-enhanced").datasets, tmp_path, rules + "leave = true\n")
    assert choice.reason is Reason.RULE, choice.explanation


PREFER = """
[[prefer]]
question_set = "knee-1"
weighting = ["T2", "T1"]
"""


def test_preferences_of_the_site_replace_the_built_in_ones(tmp_path: Path) -> None:
    """Of two echoes the one that the file prefers is read; other question sets keep what is built in."""
    datasets: list[Dataset] = []
    for echo in ("20", "100"):
        for ds in phantoms.make("knee-normal").datasets:
            ds.EchoTime, ds.RepetitionTime = echo, "3000"
            ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = UID(f"1.2.3.{len(datasets)}")
            datasets.append(ds)
    choice = _chosen(tuple(datasets), tmp_path, PREFER)
    assert choice.sub_volume is not None
    assert choice.sub_volume.name == "echo 2 of 2", choice.explanation
    assert "its weighting is preferred by the question set" in choice.explanation
    own = load_rules(tmp_path / "rules.toml").preferences
    assert [one.question_set_id for one in own].count("knee-1") == 1
    assert {one.question_set_id for one in own} == {"brain-1", "knee-1"}


def test_rule_can_ask_for_the_contrast_agent(tmp_path: Path) -> None:
    """The fact is one of three words in a condition."""
    datasets = phantoms.make("brain-normal").datasets
    for ds in datasets:
        give_contrast_agent(ds)
    rules = "[[rule]]\nname = 'after'\nwhen = 'contrast_agent == \"given\"'\nleave = true\n"
    assert _chosen(datasets, tmp_path, rules).reason is Reason.RULE


RULE = '[[rule]]\nname = "x"\n'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rule = ", "expected TOML"),
        ("", "at least one [[rule]]"),
        ("rule = 3", "at least one [[rule]]"),
        ("rules = []", "found 'rules'"),
        (RULE + "when = 'frames > 1'", "rule 1 ('x'): expected either take"),
        (RULE + "when = 'frames > 1'\ntake = 'knee-1'\nleave = true", "rule 1 ('x'): expected either take"),
        (RULE + "when = 'frames > 1'\nleave = false", "leave: expected true"),
        (
            RULE + "when = 'frames > 1'\ntake = 'hip-1'",
            "expected a question set (brain-1, knee-1), found 'hip-1'",
        ),
        (
            RULE + "when = 'contrast_agent == \"yes\"'\nleave = true",
            "expected contrast_agent to be given, not given, unknown",
        ),
        (
            "[[lane]]\nname = 'x'\nwhen = 'frames > 1'\nlane = 'fast'",
            "lane 1 ('x'): lane: expected stat, normal, off-peak",
        ),
        ("[[lane]]\nname = 'x'\nwhen = 'frames > 1'\nleave = true", "unknown key 'leave'; expected name, when, lane"),
        ("prefer = 3", "at least one [[prefer]]"),
        ("[[prefer]]\nplane = 'axial'", "preference 1: question_set: expected one of brain-1, knee-1, found None"),
        ("[[prefer]]\nquestion_set = 'knee-1'", "expected at least one of weighting, contrast_agent"),
        ("[[prefer]]\nquestion_set = 'knee-1'\nplane = 'axail'", "plane: expected axial, coronal, sagittal, unknown"),
        ("[[prefer]]\nquestion_set = 'knee-1'\nplane = []", "plane: expected axial"),
        ("[[prefer]]\nquestion_set = 'knee-1'\nfat = 'yes'", "unknown key 'fat'"),
        ("[[prefer]]\nquestion_set = 'knee-1'\nplane = 'axial'\n" * 201, "at most 200 preferences"),
        (RULE + "when = 'frames >'\nleave = true", "rule 1 ('x'): when: expected one condition"),
        (RULE + "leave = true", "when: expected a condition"),
        (RULE + "when = 'frames > 1'\nleave = true\nprio = 3", "unknown key 'prio'"),
        ("[[rule]]\nwhen = 'frames > 1'\nleave = true", "rule 1: name: expected a text"),
        ((RULE + "when = 'frames > 1'\nleave = true\n") * 2, "rule 2 ('x'): name: expected another one"),
        ("".join(f"[[rule]]\nname = 'r{n}'\nwhen = 'frames > 1'\nleave = true\n" for n in range(201)), "at most 200"),
    ],
)
def test_mistakes_name_the_file_and_the_rule(tmp_path: Path, text: str, expected: str) -> None:
    """A rule file is checked as a whole when it is loaded; the message names file, rule and what was expected."""
    path = _rules(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_rules(path)
    assert str(path) in str(caught.value)
    assert expected in str(caught.value)


def test_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """A missing file, one in another encoding and one that is far too large are refused."""
    with pytest.raises(ConfigError, match="expected a readable rule file"):
        load_rules(tmp_path / "gone.toml")
    (tmp_path / "latin.toml").write_bytes(b"# \xe4")
    with pytest.raises(ConfigError, match="expected TOML"):
        load_rules(tmp_path / "latin.toml")
    (tmp_path / "large.toml").write_bytes(b"#" * 300_000)
    with pytest.raises(ConfigError, match="at most 262144 bytes"):
        load_rules(tmp_path / "large.toml")


def test_example_of_the_readme_is_a_rule_file(tmp_path: Path) -> None:
    """The rule file that the README shows loads, and every fact is in the operations manual."""
    root = Path(__file__).resolve().parents[2]
    blocks = (root / "README.md").read_text(encoding="utf-8").split("```toml\n")[1:]
    (shown,) = (block.partition("```")[0] for block in blocks if "[[rule]]" in block)
    assert load_rules(_rules(tmp_path, shown)) is not BUILT_IN
    manual = (root / "docs" / "operations.md").read_text(encoding="utf-8")
    assert [name for name in FACTS if f"`{name}`" not in manual] == []
