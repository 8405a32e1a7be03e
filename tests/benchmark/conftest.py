"""Annotations to build a benchmark from: those of fastMRI+ where they lie beside the checkout, and a few of our own."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

Shape = tuple[int, int, int]
_SHAPE: Shape = (16, 96, 80)
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


_HEADER_XML = """<?xml version="1.0"?>
<ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD">
  <measurementInformation><patientPosition>HFS</patientPosition></measurementInformation>
  <encoding>
    <encodedSpace>
      <matrixSize><x>{twice}</x><y>{columns}</y><z>1</z></matrixSize>
      <fieldOfView_mm><x>{double}</x><y>{across}</y><z>5</z></fieldOfView_mm>
    </encodedSpace>
    <reconSpace>
      <matrixSize><x>{rows}</x><y>{columns}</y><z>1</z></matrixSize>
      <fieldOfView_mm><x>{down}</x><y>{across}</y><z>5</z></fieldOfView_mm>
    </reconSpace>
  </encoding>
  <sequenceParameters><TR>9000</TR><TE>120.5</TE><TI>2500</TI></sequenceParameters>
</ismrmrdHeader>
"""


class FastMri:
    """Writes files as fastMRI's: a bright block in the air, the rows upside down, the header as XML."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(
        self, name: str, *, part: str = "multicoil_train", patient: str = "", header: bool = True, shape: Shape = _SHAPE
    ) -> NDArray[np.float32]:
        """Write a file; return its voxels as they are annotated and shown."""
        frames, rows, columns = shape
        rng = np.random.default_rng(len(name))
        shown = rng.uniform(0, 1e-5, shape).astype(np.float32)
        shown[:, rows // 4 : rows // 2, columns // 4 : columns // 2] += 1e-4
        shown[frames // 2, 2, 3] = 5e-4  # one spike, to tell top from bottom
        (self.folder / part).mkdir(parents=True, exist_ok=True)
        with h5py.File(self.folder / part / f"{name}.h5", "w") as file:
            file["kspace"] = np.zeros((frames, 2, 2 * rows, columns), np.complex64)
            file["reconstruction_rss"] = shown[:, ::-1]
            xml = _HEADER_XML.format(
                twice=2 * rows, rows=rows, columns=columns, double=1.6 * rows, down=0.8 * rows, across=0.7 * columns
            )
            if header:
                file["ismrmrd_header"] = xml.encode()
            file.attrs["acquisition"] = "AXFLAIR" if "brain" in name else "CORPDFS_FBK"
            file.attrs["patient_id"] = patient or f"patient of {name}"
        return shown


@pytest.fixture
def fastmri(tmp_path: Path) -> FastMri:
    return FastMri(tmp_path / "fastmri")
