"""The manifest of a model bundle: what it says of itself and of each of its files, as one canonical JSON text."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NoReturn

from sgmri import RESEARCH_USE_STATEMENT
from sgmri.catalogue import by_id
from sgmri.errors import EngineError
from sgmri.vocabulary import FINDINGS

MANIFEST_NAME = "bundle.json"
PARTIAL_NAME = MANIFEST_NAME + ".partial"
SCHEMA = 1
KINDS = ("qwen3-vl",)
REQUIRED = ("config.json", "tokenizer.json", "encoder.onnx", "MODEL_CARD.md")
"""Without these, and a ``model.safetensors`` or its index, there is nothing to run or to judge."""
WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
AGAIN = "fetch or build the bundle again"

_SUFFIXES = (".safetensors", ".json", ".onnx", ".data", ".jinja", ".txt", ".md", ".npz")
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
# At most 64 characters: name and version go into DICOM attributes of that length (PS3.5 6.2, LO)
_IDENTIFIER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_TEXTS = ("model_id", "version", "kind", "profile_name", "intended_use", "licence")


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a bundle says of itself, its files apart.

    Parameters
    ----------
    model_id, version
        Name and version of the model, such as "sgmri-tiny" and "1.0"; at most 64 of ``A-Z a-z 0-9 . _ + -``.
    kind
        Architecture; one of :data:`KINDS`.
    profile_name, profile
        How the model is asked: prompt, coordinate space, frame naming, pixel budget. A JSON object that the prompt
        code reads; opaque here.
    labels
        Finding labels that the model knows, each of :data:`sgmri.vocabulary.FINDINGS`.
    question_set_ids
        Question sets that it answers, each of :mod:`sgmri.catalogue`.
    intended_use
        What it may be used for; contains :data:`sgmri.RESEARCH_USE_STATEMENT`.
    licence
        Licence of the weights.
    versions
        Library -> version that the weights and the graph were made with.
    free_text
        Whether it was taught to answer questions in a person's own words, beside the catalogue's.

    Raises
    ------
    EngineError
        If one of them is none of these.
    """

    model_id: str
    version: str
    kind: str
    profile_name: str
    profile: Mapping[str, object]
    labels: tuple[str, ...]
    question_set_ids: tuple[str, ...]
    intended_use: str
    licence: str
    versions: Mapping[str, str]
    free_text: bool = False

    def __post_init__(self) -> None:
        for name in ("model_id", "version", "profile_name"):
            if _IDENTIFIER.fullmatch(getattr(self, name)) is None:
                _refuse(name, "1 to 64 letters, digits or . _ + -", repr(getattr(self, name)))
        if self.kind not in KINDS:
            _refuse("kind", f"one of {', '.join(KINDS)}", repr(self.kind))
        _require_known("labels", self.labels, FINDINGS)
        for set_id in self.question_set_ids:
            try:
                by_id(set_id)
            except KeyError:
                _refuse("question_set_ids", "question sets of the catalogue", repr(set_id))
        if not self.question_set_ids or len(set(self.question_set_ids)) != len(self.question_set_ids):
            _refuse("question_set_ids", "at least one, each once", str(list(self.question_set_ids)))
        if RESEARCH_USE_STATEMENT not in self.intended_use:
            _refuse("intended_use", f"a text with the sentence {RESEARCH_USE_STATEMENT!r}", "none")
        if not self.licence.strip():
            _refuse("licence", "the licence of the weights", "an empty text")
        # What cannot be written as JSON and read back the same would not be the same bundle
        object.__setattr__(self, "profile", MappingProxyType(_plain("profile", self.profile)))
        object.__setattr__(self, "versions", MappingProxyType(_plain("versions", self.versions)))


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedFile:
    """What a file of a bundle must be.

    Parameters
    ----------
    sha256
        64 hexadecimal digits, lower case.
    size_bytes
        Its length.
    """

    sha256: str
    size_bytes: int


def parse(text: bytes) -> tuple[Manifest, dict[str, SealedFile]]:
    """Read a manifest.

    Raises
    ------
    EngineError
        If the text is none, of another schema, or names a file that no bundle may hold.
    """
    try:
        document = json.loads(text.decode())
        schema = document["schema"]
        if schema != SCHEMA:
            raise EngineError(f"{MANIFEST_NAME}: expected schema {SCHEMA}, found {schema!r}; use the sgmri it is for")
        files = {name: _sealed_file(name, entry) for name, entry in document["files"].items()}
        manifest = Manifest(
            **{name: _string(document[name]) for name in _TEXTS},
            labels=_strings(document["labels"]),
            question_set_ids=_strings(document["question_set_ids"]),
            profile=document["profile"],
            versions={name: _string(value) for name, value in document["versions"].items()},
            free_text=document.get("free_text") is True,
        )
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise EngineError(
            f"{MANIFEST_NAME}: expected a manifest as 'seal' writes it, found {type(error).__name__}; {AGAIN}"
        ) from None
    require_files(files)
    return manifest, files


def render(manifest: Manifest, files: Mapping[str, SealedFile]) -> str:
    """Write the manifest as text; its own digest stands in it, so that a changed field is noticed without another."""
    document = {**_document(manifest, files), "digest": digest_of(manifest, files)}
    return json.dumps(document, indent=2, sort_keys=True, ensure_ascii=True, allow_nan=False) + "\n"


def digest_of(manifest: Manifest, files: Mapping[str, SealedFile]) -> str:
    """Return the bundle's digest: sha256 over the sorted names and hashes, then the canonical manifest."""
    listing = "".join(f"{name}\0{file.sha256}\n" for name, file in sorted(files.items()))
    canonical = json.dumps(_document(manifest, files), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256((listing + canonical).encode()).hexdigest()


def name_problem(name: str) -> str | None:
    """Return why a bundle may hold no file of this name, and what to do; None where it may."""
    if _FILE_NAME.fullmatch(name) is None or name in (MANIFEST_NAME, PARTIAL_NAME):
        return "expected a plain file name of letters, digits or . _ -; rename or remove it"
    if not name.endswith(_SUFFIXES):
        return (
            f"expected one of {', '.join(_SUFFIXES)}; a pickle or code can run anything when loaded, so convert "
            "weights to safetensors and remove the rest"
        )
    return None


def require_files(names: Iterable[str]) -> None:
    """Refuse a bundle that lacks a file.

    Raises
    ------
    EngineError
        If one of :data:`REQUIRED`, or every one of :data:`WEIGHTS`, is not among the names.
    """
    known = set(names)
    missing = [name for name in REQUIRED if name not in known]
    if missing:
        raise EngineError(f"expected a bundle with {', '.join(REQUIRED)}, found none of {', '.join(missing)}; add them")
    if known.isdisjoint(WEIGHTS):
        raise EngineError(f"expected a bundle with {' or '.join(WEIGHTS)}, found neither; export the weights to it")


def _sealed_file(name: str, entry: Mapping[str, object]) -> SealedFile:
    problem = name_problem(name)
    if problem:
        raise EngineError(f"{MANIFEST_NAME}: files: {name!r}: {problem}")
    size_bytes = entry["bytes"]
    if type(size_bytes) is not int or size_bytes < 0 or _SHA256.fullmatch(_string(entry["sha256"])) is None:
        raise EngineError(f"{MANIFEST_NAME}: files: {name}: expected sha256 and bytes, found something else; {AGAIN}")
    return SealedFile(sha256=_string(entry["sha256"]), size_bytes=size_bytes)


def _string(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(type(value).__name__)
    return value


def _strings(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise TypeError(type(value).__name__)
    return tuple(_string(item) for item in value)


def _document(manifest: Manifest, files: Mapping[str, SealedFile]) -> dict[str, object]:
    return {
        "schema": SCHEMA,
        **{name: getattr(manifest, name) for name in _TEXTS},
        "profile": dict(manifest.profile),
        "labels": list(manifest.labels),
        "question_set_ids": list(manifest.question_set_ids),
        "versions": dict(manifest.versions),
        # only where it is so: bundles that were sealed before it was noted keep their digest
        **({"free_text": True} if manifest.free_text else {}),
        "files": {name: {"sha256": file.sha256, "bytes": file.size_bytes} for name, file in sorted(files.items())},
    }


def _require_known(name: str, values: tuple[str, ...], known: Mapping[str, object]) -> None:
    for value in values:
        if value not in known:
            _refuse(name, "labels of the vocabulary", repr(value))
    if not values or len(set(values)) != len(values):
        _refuse(name, "at least one, each once", str(list(values)))


def _refuse(field: str, expected: str, found: str) -> NoReturn:
    raise EngineError(f"{MANIFEST_NAME}: {field}: expected {expected}, found {found}; correct the field and seal again")


def _plain(name: str, value: Mapping[str, Any]) -> dict[str, Any]:
    try:
        plain: dict[str, Any] = json.loads(json.dumps(dict(value), allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise EngineError(f"{MANIFEST_NAME}: {name}: expected plain JSON, found {type(error).__name__}") from None
    return plain
