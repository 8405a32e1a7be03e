"""Make a sealed bundle of a checkpoint: its files, a proven encoder, golden cases, a card that says what it is."""

import importlib.metadata
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sgmri import RESEARCH_USE_STATEMENT
from sgmri.errors import EngineError
from sgmri.interfaces import Frames
from worker.engine import golden
from worker.engine.bundle import Bundle, load, seal
from worker.engine.export import export_encoder
from worker.engine.loading import encode_with, load_engine
from worker.engine.local import Device
from worker.engine.manifest import MANIFEST_NAME, Manifest
from worker.engine.profiles import PromptProfile, to_mapping

_TAKEN = (".safetensors", ".json", ".jinja", ".txt")
_LIBRARIES = ("torch", "transformers", "onnx", "onnxruntime", "onnxscript", "tokenizers")
_CARD = "MODEL_CARD.md"
_LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)
"""Time of the golden readings: a bundle of the same files is the same bundle."""


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What a bundle says of its model.

    Parameters
    ----------
    model_id, version, licence, intended_use, free_text
        See :class:`worker.engine.manifest.Manifest`.
    labels, question_set_ids
        What it knows and answers.
    card
        The model card, Markdown.
    """

    model_id: str
    version: str
    licence: str
    intended_use: str
    labels: tuple[str, ...]
    question_set_ids: tuple[str, ...]
    card: str
    free_text: bool = False


def make_bundle(  # noqa: PLR0913 - what a bundle is made of, all but two keyword-only
    checkpoint: Path,
    directory: Path,
    about: About,
    profile: PromptProfile,
    *,
    precision: str = "fp16",
    golden_frames: Iterable[Frames] = (),
    extra: Mapping[str, str] | None = None,
    device: Device | None = None,
) -> Bundle:
    """Make a bundle in a new directory.

    Parameters
    ----------
    checkpoint
        Hugging Face layout; its files are copied as they are.
    directory
        New; there is a bundle in the end or nothing.
    about, profile
        What it says of itself, and how it is asked.
    precision
        Of the encoder.
    golden_frames
        Volumes whose readings become its golden cases.
    extra
        Further text files by name (calibration, evaluation).
    device
        Where the golden cases are read; None: the CPU.

    Raises
    ------
    EngineError
        If the encoder does not compute what the checkpoint computes.
    ConfigError
        If the checkpoint cannot be used.
    """
    directory.mkdir(parents=True)
    try:
        for path in sorted(checkpoint.iterdir()):
            if path.is_file() and path.suffix in _TAKEN and path.name != MANIFEST_NAME:
                shutil.copyfile(path, directory / path.name)
        report = export_encoder(directory, directory / "encoder.onnx", precision=precision)
        if not report.is_good:
            raise EngineError(
                f"expected an encoder that computes what the checkpoint does, found: {report.lines()[-1]}"
            )
        (directory / _CARD).write_text(about.card, encoding="utf-8")
        for name, text in (extra or {}).items():
            (directory / name).write_text(text, encoding="utf-8")
        manifest = _manifest(about, profile)
        frames = list(golden_frames)
        if frames:
            _add_golden(directory, manifest, frames, device or Device())
        return seal(directory, manifest)
    except BaseException:
        shutil.rmtree(directory, ignore_errors=True)
        raise


def _manifest(about: About, profile: PromptProfile) -> Manifest:
    if RESEARCH_USE_STATEMENT not in about.intended_use:
        raise EngineError(f"expected an intended use with the sentence {RESEARCH_USE_STATEMENT!r}, found another")
    return Manifest(
        model_id=about.model_id,
        version=about.version,
        kind="qwen3-vl",
        profile_name=profile.name,
        profile=to_mapping(profile),
        labels=about.labels,
        question_set_ids=about.question_set_ids,
        intended_use=about.intended_use,
        licence=about.licence,
        free_text=about.free_text,
        versions={name: importlib.metadata.version(name) for name in _LIBRARIES if _is_installed(name)},
    )


def _add_golden(directory: Path, manifest: Manifest, frames: list[Frames], device: Device) -> None:
    """Seal once without golden cases, read them, and unseal: the reading's engine is the model that will be sealed."""
    seal(directory, manifest)
    engine, speaker = load_engine(load(directory), device)
    try:
        encode = encode_with(speaker)
        cases = [golden.case_of(engine, encode, one, _LONG_AGO) for one in frames]
    finally:
        engine.close()
    (directory / MANIFEST_NAME).unlink()
    golden.write(cases, directory / golden.FILE_NAME)


def _is_installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
