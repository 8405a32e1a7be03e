"""Annotations to build a benchmark from: those of fastMRI+ where they lie beside the checkout, and a few of our own."""

from pathlib import Path

import pytest

_HEADER = "file,slice,study_level,x,y,width,height,label\n"
_DIRTY_KNEE = """\
file1,23,No,102,180,15,13,Meniscus Tear
file1,23,No,102,180,15,13,Meniscus Tear
file1,24,No,101,179,21,12,Meniscus Tear
file1,5,No,20,-1,50,100,Joint Effusion\x20
file1,6,No,300,200,18,0,Bone - Lesion
file2,0,Yes,,,,,artifact
"""
_DIRTY_BRAIN = """\
file_brain_AXFLAIR_1,0,No,52,82,111,197,Enlarged ventricles
file_brain_AXFLAIR_1,0,Yes,,,,,Normal for age
file_brain_AXT1_2,0,Yes,,,,,Global label: Small vessel chronic white matter ischemic change
file_brain_AXT1_2,0,Yes,,,,,Global label: Small vessel chronic white matter ischemic change
file_brain_AXT1_3,0,Yes,,,,,Normal for age
"""


@pytest.fixture(scope="session")
def fastmri_plus() -> Path:
    """The annotations of fastMRI+ (MIT), which are never part of the repository."""
    folder = Path(__file__).resolve().parents[3] / "shared" / "fastmri_plus"
    if not (folder / "knee.csv").is_file():
        pytest.skip("the annotations of fastMRI+ do not lie in shared/fastmri_plus beside the checkout")
    return folder


@pytest.fixture
def dirty(tmp_path: Path) -> Path:
    """A few rows in the format of fastMRI+ with one of each of its known faults."""
    folder = tmp_path / "annotations"
    folder.mkdir()
    (folder / "knee.csv").write_text(_HEADER + _DIRTY_KNEE)
    (folder / "brain.csv").write_text(_HEADER + _DIRTY_BRAIN)
    (folder / "knee_file_list.csv").write_text("file1\nfile2\nfile3\n")
    (folder / "brain_file_list.csv").write_text("file_brain_AXFLAIR_1\nfile_brain_AXT1_2\nfile_brain_AXT1_3\n")
    return folder
