"""Data sets of one series as files, in the order given."""

from collections.abc import Sequence
from pathlib import Path

from pydicom.dataset import Dataset


def written(datasets: Sequence[Dataset], folder: Path) -> list[Path]:
    """Write PS3.10 files into a folder, which is made if it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number:04d}.dcm" for number in range(len(datasets))]
    for ds, path in zip(datasets, paths, strict=True):
        ds.save_as(path, enforce_file_format=True)
    return paths
