import pytest

from dicom_io.kinds import ResultKind
from dicom_io.profiles import DEFAULT, KINDS, profile_for
from sgmri.errors import ConfigError
from sgmri.settings import Delivery


def test_several_viewers_get_what_any_of_them_shows() -> None:
    """The kinds of a destination are the union over its viewers; each viewer keeps its rules."""
    profile = profile_for(Delivery(viewers=("slicer", "images-only"), cornerstone_tracking=True))
    assert profile.kinds == {ResultKind.SEG, ResultKind.SR, ResultKind.SC}
    assert profile.rules_of == ("slicer", "images-only", "ohif-3.11")


def test_without_viewers_the_default_is_written() -> None:
    """No viewer named: the segmentation and the report, held against no viewer."""
    profile = profile_for(Delivery())
    assert (profile.kinds, profile.rules_of) == (DEFAULT.kinds, ())


def test_a_label_map_takes_the_place_of_the_segmentation() -> None:
    """The switch changes the shape where there is a segmentation, and adds none where there is not."""
    kinds = profile_for(Delivery(viewers=("slicer",), label_map=True)).kinds
    assert kinds == {ResultKind.LABELMAP, ResultKind.SR}
    assert profile_for(Delivery(viewers=("images-only",), label_map=True)).kinds == {ResultKind.SC}


def test_only_displays_of_images_get_burnt_in_boxes() -> None:
    """A secondary capture cannot be switched off: who can show anything better does not get it."""
    assert [viewer for viewer, kinds in KINDS.items() if ResultKind.SC in kinds] == ["images-only"]


def test_an_unknown_viewer_names_the_known_ones() -> None:
    """A misspelt viewer is a configuration error with the choices."""
    with pytest.raises(ConfigError, match="ohif, slicer, weasis, generic-pacs, images-only"):
        profile_for(Delivery(viewers=("ohfi",)))
