"""A sample pack for a Connectathon or an acceptance test: images, objects, pictures, reports and the statement.

The same program makes the same bytes: the manifest's digests can be compared.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path
from typing import Final

from conformance import phantoms
from conformance.objects.checking import Options, check
from conformance.objects.page import as_html
from conformance.objects.reports import as_json, as_junit
from conformance.specimens import planted_reading
from conformance.statement.assembly import statement
from conformance.statement.formats import FORMATS
from dicom_io import identity
from dicom_io.kinds import ResultKind
from dicom_io.objects.key_objects import encode_rejection
from dicom_io.outlines import Mark, outline
from dicom_io.profiles import DEFAULT, KINDS, profile_for
from dicom_io.results import read_object, write_object, write_results
from sgmri import RESEARCH_USE_STATEMENT, readings
from sgmri.errors import ConfigError
from sgmri.lifecycle import Reason
from sgmri.readings import Reading
from sgmri.settings import Delivery, Settings

PHANTOMS: Final = ("brain", "brain-enhanced", "brain-normal", "knee", "knee-enhanced")
"""What is packed unless others are asked for: both anatomies, classic and Enhanced, and one without findings."""
MANIFEST: Final = "MANIFEST.sha256"
"""Digest and path of every other file, as sha256sum takes it."""
_DELIVERIES: Final[Mapping[str, Delivery]] = {
    "results": Delivery(viewers=tuple(KINDS)),
    "results-label-map": Delivery(viewers=("ohif",), label_map=True),
    "results-refined": Delivery(refined_masks=True, cornerstone_tracking=True, viewers=("ohif",)),
}
"""Folder -> the destination whose objects are in it."""

Draw = Callable[[Sequence[Mark], Iterable[Path], Path], tuple[int, int]]
"""Draws marks over source images as PNG, and returns how many frames were drawn and how many marks were not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sample:
    """One phantom in the pack: its folder, images and reading."""

    folder: Path
    sources: tuple[Path, ...]
    reading: Reading


def write_pack(
    out: Path, settings: Settings, draw: Draw, *, names: Sequence[str] = PHANTOMS, say: Callable[[str], None]
) -> tuple[Path, ...]:
    """Write a pack.

    Parameters
    ----------
    out
        An empty folder, or one that is not there.
    settings
        What the statement is made of.
    draw
        Makes the pictures.
    names
        Which phantoms.
    say
        Told each step as a line.

    Returns
    -------
    Every file.

    Raises
    ------
    ConfigError
        If the folder holds something already, or a phantom is unknown.
    """
    if out.exists() and any(out.iterdir()):
        raise ConfigError(f"{out}: expected an empty folder, found one that holds something; name another one")
    for name in names:
        _objects(_sample(out, name), draw)
        say(f"{name}: images, objects, pictures")
    document = statement(settings)
    for ending, render in FORMATS.items():
        _put(out / "statement" / f"conformance-statement.{ending}", render(document))
    say("statement")
    _reports(out, names)
    say("reports")
    (out / "LICENSE").write_text(_licence(), encoding="utf-8")
    (out / "README.md").write_text("\n".join(_readme(names)) + "\n", encoding="utf-8")
    return _manifest(out)


def _sample(out: Path, name: str) -> _Sample:
    phantom = phantoms.make(name)
    folder = out / name
    sources = phantoms.write(phantom, folder / "images")
    reading = planted_reading(phantom, sources)
    _put(folder / "reading.json", readings.to_json(reading).encode())
    return _Sample(folder=folder, sources=sources, reading=reading)


def _objects(sample: _Sample, draw: Draw) -> None:
    for directory, delivery in _DELIVERIES.items():
        results = sample.folder / directory
        results.mkdir()
        written = write_results(sample.reading, sample.sources, results, profile=profile_for(delivery))
        objects = {result.kind: read_object(result.path) for result in written}
        for kind, ds in objects.items():
            marks = outline(ds).marks
            if marks:
                pictures = sample.folder / "pictures"
                pictures.mkdir(exist_ok=True)
                draw(marks, sample.sources, pictures / f"{directory}-{kind.lower()}.png")
        if directory == "results":
            note = encode_rejection(
                sample.reading, list(objects.values()), Reason.REJECTED_QUALITY, rejected_at=sample.reading.started_at
            )
            (sample.folder / "rejection").mkdir()
            write_object(note, sample.folder / "rejection" / "rejection.dcm")


def _reports(out: Path, names: Sequence[str]) -> None:
    """Check the objects of the pack and write what was found, with paths relative to the pack."""
    for name in names:
        for directory in _DELIVERIES:
            beside = [out / name / "rejection"] if directory == "results" else []
            report = check([out / name / directory, *beside], [out / name / "images"], Options(workers=1))
            for ending, render in (("json", as_json), ("xml", as_junit), ("html", as_html)):
                content = render(report).replace(f"{out}/", "")
                _put(out / "reports" / f"{name}-{directory}.{ending}", content.encode())


def _put(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _licence() -> str:
    text = distribution("sgmri").read_text("licenses/LICENSE")
    if text is None:
        raise ConfigError("expected an installed sgmri with its licence, found none; install it with pip")
    return text


def _readme(names: Sequence[str]) -> Iterator[str]:
    yield f"# Samples of sgmri {identity.SOFTWARE_VERSION}"
    yield ""
    yield f"{RESEARCH_USE_STATEMENT} Every image is synthetic: painted by a program, of nobody."
    yield ""
    yield "No model read these images. The objects say what was painted, in the form in which sgmri writes what a model"
    yield "says: they show how to read such objects, and nothing of how well anybody reads."
    yield ""
    yield "| folder | what is in it |"
    yield "|---|---|"
    yield f"| {', '.join(f'`{name}`' for name in names)} | a phantom each: |"
    yield "| `.../images` | the MR images |"
    yield "| `.../reading.json` | what the objects say |"
    yield "| `.../results` | the objects of all viewers together (table below) |"
    yield "| `.../results-label-map` | the objects for OHIF, with a label map instead of a binary segmentation |"
    yield "| `.../results-refined` | the objects for OHIF up to 3.11, with masks inside the boxes |"
    yield "| `.../rejection` | the note that takes the objects of `results` back |"
    yield "| `.../pictures` | what the objects mark, drawn over the images |"
    yield "| `statement` | the DICOM conformance statement in four formats |"
    yield "| `reports` | what `sgmri conformance objects` says of each folder of objects |"
    yield f"| `{MANIFEST}` | SHA-256 of every other file |"
    yield ""
    yield "| destination | objects |"
    yield "|---|---|"
    for viewer, kinds in {"no viewer named": DEFAULT.kinds, **KINDS}.items():
        yield f"| {viewer} | {', '.join(kind for kind in ResultKind if kind in kinds)} |"
    yield ""
    yield "An object is the same for every destination that gets it. Where nothing was found there is no segmentation,"
    yield "presentation state, secondary capture or key object selection."
    yield ""
    yield f"Check the files with `sha256sum -c {MANIFEST}`, the objects with"
    yield "`sgmri conformance objects brain/results --source brain/images`."


def _manifest(out: Path) -> tuple[Path, ...]:
    paths = sorted(path for path in out.rglob("*") if path.is_file())
    digests = (f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(out).as_posix()}" for path in paths)
    (out / MANIFEST).write_text("\n".join(digests) + "\n", encoding="utf-8")
    return (*paths, out / MANIFEST)
