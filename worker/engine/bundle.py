"""A model bundle: one flat, immutable directory with a manifest that holds the sha256 of every file.

``bundle.json`` says what the model is, how it is asked and what it may be used for; nothing of a bundle is loaded
before manifest and files verify. Weights come as safetensors and graphs as ONNX: no file that could hold a pickle or
code is part of a bundle.

The digest covers names and hashes of all files and the manifest; it is the identity that every reading carries.
"""

import hashlib
import os
import stat
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from numpy.lib import format as npy

from sgmri.errors import ConfigError, EngineError
from sgmri.readings import EngineIdentity
from worker.engine.manifest import (
    AGAIN,
    MANIFEST_NAME,
    PARTIAL_NAME,
    Manifest,
    SealedFile,
    digest_of,
    name_problem,
    parse,
    render,
    require_files,
)

_MANIFEST_LIMIT_BYTES = 4 << 20
_CHUNK_BYTES = 4 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A bundle whose files were verified (:func:`load`) or have just been sealed (:func:`seal`).

    Parameters
    ----------
    directory
        Where it lies; absolute, without symbolic links.
    manifest
        What it says of itself.
    files
        Name -> what the file is.
    digest
        sha256 over names and hashes of all files and the manifest.
    """

    directory: Path
    manifest: Manifest
    files: Mapping[str, SealedFile]
    digest: str

    def path(self, name: str) -> Path:
        """Return where a file of the bundle lies.

        Raises
        ------
        EngineError
            If the manifest does not list it: what is not sealed is not read.
        """
        if name not in self.files:
            raise EngineError(f"{name}: expected a file that {MANIFEST_NAME} lists, found none; {AGAIN}")
        return self.directory / name

    def identity(self) -> EngineIdentity:
        """Return who reads with it."""
        return EngineIdentity(name=self.manifest.model_id, version=self.manifest.version, digest=self.digest)

    @property
    def size_bytes(self) -> int:
        """Length of all files together."""
        return sum(file.size_bytes for file in self.files.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class FileCheck:
    """The outcome for one file of a bundle; ``problem`` is None where it is as sealed."""

    name: str
    problem: str | None

    @property
    def shown_name(self) -> str:
        """The name as it can be printed: a stray file may be called anything."""
        return ascii(self.name)[1:-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A bundle that was found, and not verified: for a list, never for loading.

    Parameters
    ----------
    directory
        Where.
    claim
        What it says it is; None where its manifest is refused.
    problem
        Why it would be refused as far as names and lengths tell; None where nothing speaks against it.
    """

    directory: Path
    claim: Bundle | None
    problem: str | None


def seal(directory: Path, manifest: Manifest) -> Bundle:
    """Hash every file of a directory and write its ``bundle.json``, whole or not at all.

    Raises
    ------
    ConfigError
        If the path is no directory.
    EngineError
        If it is sealed already, lacks a required file, or holds something that no bundle may hold.
    """
    place = _directory(directory)
    if (place / MANIFEST_NAME).exists():
        raise EngineError(
            f"{place}: expected a directory without {MANIFEST_NAME}, found one; a bundle never changes, "
            "so build the new one in a directory of its own"
        )
    (place / PARTIAL_NAME).unlink(missing_ok=True)
    names = _present(place)
    require_files(names)
    files = {}
    for name in names:
        problem = name_problem(name) or _kind_problem(place / name) or _content_problem(place / name)
        if problem:
            raise EngineError(f"{ascii(name)[1:-1]}: {problem}")
        files[name] = _hash(place / name)
    bundle = Bundle(
        directory=place, manifest=manifest, files=MappingProxyType(files), digest=digest_of(manifest, files)
    )
    _write(place, render(manifest, files))
    return bundle


def load(directory: Path, *, expect_digest: str | None = None) -> Bundle:
    """Verify a bundle, every byte of it, and return it.

    Files are hashed in pieces of 4 MiB, so that memory stays bounded whatever the weights' size.

    Parameters
    ----------
    directory
        Where it lies.
    expect_digest
        The digest that the caller trusts; None to take the bundle's own word.

    Raises
    ------
    ConfigError
        If the path is no directory.
    EngineError
        If anything is not as sealed.
    """
    bundle = _claimed(directory, expect_digest)
    for check in _checks(bundle):
        if check.problem:
            raise EngineError(f"{check.shown_name}: {check.problem}")
    return bundle


def verify(directory: Path, *, expect_digest: str | None = None) -> Iterator[FileCheck]:
    """Check a bundle as :func:`load` does, and yield the outcome for each file.

    Raises
    ------
    ConfigError
        If the path is no directory.
    EngineError
        If the manifest itself is refused.
    """
    bundle = _claimed(directory, expect_digest)
    yield FileCheck(name=MANIFEST_NAME, problem=None)
    yield from _checks(bundle)


def find_bundles(directories: Iterable[Path]) -> tuple[Found, ...]:
    """Find bundles without reading their weights.

    Parameters
    ----------
    directories
        Each a bundle itself, or a directory of bundles.

    Raises
    ------
    ConfigError
        If one of the paths is no directory.
    """
    found: dict[Path, Found] = {}
    for directory in directories:
        place = _directory(directory)
        inside = [place] if (place / MANIFEST_NAME).exists() else sorted(place.iterdir())
        for candidate in (path.resolve() for path in inside if (path / MANIFEST_NAME).exists()):
            found.setdefault(candidate, _found(candidate))
    return tuple(found.values())


def _found(directory: Path) -> Found:
    try:
        bundle = _claimed(directory, None)
    except EngineError as error:
        return Found(directory=directory, claim=None, problem=str(error))
    problem = next((f"{ascii(name)[1:-1]}: {text}" for name, text in _shape_problems(bundle) if text), None)
    return Found(directory=directory, claim=bundle, problem=problem)


def _checks(bundle: Bundle) -> Iterator[FileCheck]:
    for name, problem in _shape_problems(bundle):
        # Short circuit: bytes are read only where name, kind and length are right
        yield FileCheck(name=name, problem=problem or _hash_problem(bundle, name))


def _shape_problems(bundle: Bundle) -> Iterator[tuple[str, str | None]]:
    present = _present(bundle.directory)
    for name in sorted({*present, *bundle.files}):
        if name not in bundle.files:
            yield name, f"expected only files that {MANIFEST_NAME} lists, found this one besides; remove it"
        elif name not in present:
            yield name, f"expected this file, found none; {AGAIN}"
        else:
            yield name, _kind_problem(bundle.directory / name) or _size_problem(bundle, name)


def _size_problem(bundle: Bundle, name: str) -> str | None:
    expected, found = bundle.files[name].size_bytes, (bundle.directory / name).lstat().st_size
    return None if expected == found else f"expected {expected} bytes, found {found}; {AGAIN}"


def _hash_problem(bundle: Bundle, name: str) -> str | None:
    path = bundle.directory / name
    expected, found = bundle.files[name], _hash(path)
    if expected != found:
        return f"expected sha256 {expected.sha256[:16]}..., found {found.sha256[:16]}...; {AGAIN}"
    return _content_problem(path)


def _kind_problem(path: Path) -> str | None:
    if stat.S_ISREG(path.lstat().st_mode):
        return None
    return "expected a plain file, found a directory, a link or a device; put the file itself here, or remove it"


def _content_problem(path: Path) -> str | None:
    """Refuse an npz that would need a pickle: object arrays, or members that are no arrays at all."""
    if path.suffix != ".npz":
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            plain = all(_is_plain_array(archive, member) for member in archive.infolist())
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError, NotImplementedError, KeyError, RuntimeError) as error:
        return f"expected an npz of plain arrays, found {type(error).__name__}; write it again with numpy.savez"
    return None if plain else "expected arrays of numbers or text, found a pickled object; write it again without"


def _is_plain_array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bool:
    with archive.open(member) as stream:
        # numpy.savez writes version 1.0, or 2.0 where a header is long; 3.0 only for structured names beyond Latin-1
        version = npy.read_magic(stream)
        read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[version]
        return member.filename.endswith(".npy") and not read(stream)[2].hasobject


def _directory(path: Path) -> Path:
    if not path.is_dir():
        raise ConfigError(f"{path}: expected the directory of a model bundle, found none; check the path")
    return path.resolve()


def _present(directory: Path) -> list[str]:
    return sorted(name for name in os.listdir(directory) if name != MANIFEST_NAME)  # noqa: PTH208 (names, no paths)


def _hash(path: Path) -> SealedFile:
    summary, length = hashlib.sha256(), 0
    try:
        # A link or a pipe put here since the look at its kind is not followed, nor waited for
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb", buffering=0) as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                summary.update(chunk)
                length += len(chunk)
    except OSError as error:
        raise EngineError(
            f"{path.name}: expected a file that can be read, found: {error.strerror}; check its rights and the disk"
        ) from None
    return SealedFile(sha256=summary.hexdigest(), size_bytes=length)


def _claimed(directory: Path, expect_digest: str | None) -> Bundle:
    """Read and check the manifest alone; its files are not looked at."""
    place = _directory(directory)
    path = place / MANIFEST_NAME
    if not path.exists():
        raise EngineError(f"{place}: expected {MANIFEST_NAME}, found none; this is no sealed bundle")
    problem = _kind_problem(path)
    if problem or path.stat().st_size > _MANIFEST_LIMIT_BYTES:
        raise EngineError(f"{MANIFEST_NAME}: {problem or 'expected at most 4 MiB, found more'}")
    text = path.read_bytes()
    manifest, files = parse(text)
    # Byte for byte what seal writes: no second key of a name, no strange number, no unknown field, one digest
    if text != render(manifest, files).encode():
        raise EngineError(f"{MANIFEST_NAME}: expected the text that was sealed, found another; {AGAIN}")
    digest = digest_of(manifest, files)
    if expect_digest is not None and digest != expect_digest:
        raise EngineError(
            f"{place}: expected the bundle of digest {expect_digest[:16]}..., found {digest[:16]}...; put the right "
            "bundle there, or correct the digest if this one is meant"
        )
    return Bundle(directory=place, manifest=manifest, files=MappingProxyType(files), digest=digest)


def _write(directory: Path, text: str) -> None:
    partial = directory / PARTIAL_NAME
    with partial.open("w", encoding="ascii") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(directory / MANIFEST_NAME)
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
