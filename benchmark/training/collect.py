"""Collect the real volumes that may be trained on into one file, which stays beside the checkout.

    python -m benchmark.training.collect DATA --out FILE [--colin ch2.nii.gz]

DATA is a folder with ``volumes/ms_ljubljana_long`` (Lesjak et al., CC BY), ``classic_mr_brain`` and ``knee``; the
Colin 27 head is in Debian's mricron-data. What is missing is left out and said. Needs nibabel.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmark.training.backgrounds import Background, head_background, knee_background, save
from dicom_io.decode import Limits, decode
from dicom_io.series import describe
from sgmri.errors import ConfigError
from sgmri.volume import Anatomy, Plane, Volume

HELD_OUT_PATIENTS = ("patient01", "patient12")
"""Real patients whose images are only for the examination."""
TRAINING_PATIENT = "patient20"
_WHITE_MATTER = "Nonspecific white matter lesion"
_KNEE_MIDDLE = (11.5, 140.0, 131.0)
"""Frame, row and column of the joint's middle in the one real knee, read off by eye."""


def read_nifti(path: Path) -> tuple[NDArray[np.float32], tuple[float, float, float]]:
    """Read a NIfTI volume in display orientation.

    Parameters
    ----------
    path
        ``.nii`` or ``.nii.gz``.

    Returns
    -------
    voxels : float32 (frames, rows, columns)
        Frames upwards, rows to the back, columns to the patient's left.
    spacing_mm : tuple
        (frames, rows, columns).
    """
    try:
        import nibabel  # only here, and only where real volumes are
    except ImportError:
        raise ConfigError("expected nibabel to read NIfTI, found none; run: pip install 'sgmri[train]'") from None
    image = nibabel.as_closest_canonical(nibabel.load(path))  # type: ignore[no-untyped-call]  # nibabel
    voxels = np.asarray(image.dataobj, dtype=np.float32)[::-1, ::-1, :].transpose(2, 1, 0)
    column_mm, row_mm, slice_mm = (float(mm) for mm in image.header.get_zooms()[:3])
    return np.ascontiguousarray(voxels), (slice_mm, row_mm, column_mm)


def collect(data: Path, colin: Path | None) -> Iterator[Background]:
    """Yield every real volume that may be trained on and is at hand."""
    flair = data / "volumes" / "ms_ljubljana_long" / f"{TRAINING_PATIENT}_study2_FLAIR.nii.gz"
    if flair.is_file():
        yield head_background(
            "MS patient 20, FLAIR", *read_nifti(flair), planes=(Plane.AXIAL,), unknown=(_WHITE_MATTER,)
        )
    if colin is not None and colin.is_file():
        voxels, spacing_mm = read_nifti(colin)
        yield head_background(
            "Colin 27, T1 turned", voxels[::2], (2 * spacing_mm[0], *spacing_mm[1:]), planes=(Plane.AXIAL,), bends=True
        )
    brain = data / "classic_mr_brain" / "ge_signa_fse_pd_ax"
    if brain.is_dir():
        volume = _volume(brain, Anatomy.BRAIN)
        spacing = (volume.slice_spacing_mm, *volume.orientation.pixel_spacing_mm)
        yield head_background("GE Signa, PD", volume.voxels, spacing, planes=(Plane.AXIAL,), unknown=(_WHITE_MATTER,))
    knee = data / "knee" / "ge_mr750_mese_sag_te19"
    if knee.is_dir():
        volume = _volume(knee, Anatomy.KNEE)
        row_mm, column_mm = volume.orientation.pixel_spacing_mm
        linear = np.array([[-volume.slice_spacing_mm, 0, 0], [0, 0, column_mm], [0, -row_mm, 0]])
        yield knee_background("GE MR750 knee", volume.voxels, linear, -linear @ np.array(_KNEE_MIDDLE))


def _volume(folder: Path, anatomy: Anatomy) -> Volume:
    return decode(describe(sorted(folder.iterdir())), anatomy, Limits())


def main() -> None:
    """Collect and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--colin", type=Path, default=Path("/usr/share/mricron/templates/ch2.nii.gz"))
    arguments = parser.parse_args()
    found = tuple(collect(arguments.data, arguments.colin))
    save(found, arguments.out)
    print(f"{len(found)} backgrounds: {', '.join(item.name for item in found) or 'none'}")


if __name__ == "__main__":
    main()
