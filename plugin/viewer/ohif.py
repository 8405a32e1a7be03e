"""Fetches the prebuilt OHIF from the npm registry, once, and keeps it in the user's cache.

The package holds a complete build, so neither node nor npm is needed. It is pinned by version and by its integrity,
as npm would pin it: what is served are exactly the bytes that the browser tests have run against.
"""

import base64
import hashlib
import os
import shutil
import ssl
import subprocess
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx

from sgmri.errors import ConfigError, PeerUnavailable

VERSION = "3.13.2"
_DEFAULT_REGISTRY = "https://registry.npmjs.org/"
_TIMEOUT_S = 60.0
_DIST = "package/dist/"
_LICENCE = "package/LICENSE"
_NOT_NEEDED = ("ort/", "dicom-microscopy-viewer/")
"""Folders of the build without which MR, SR and SEG are shown just as well: 150 of its 204 MB, with the source maps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """A package of the npm registry.

    Parameters
    ----------
    path
        Of its tarball, below the registry.
    integrity
        Subresource integrity of the tarball: ``sha512-`` and the digest in base 64.
    """

    path: str
    integrity: str


OHIF = Package(
    path=f"@ohif/app/-/app-{VERSION}.tgz",
    integrity="sha512-WZdxmpmG7rqFgW9ZJLcbgr3XCtLi1KDNPoMaeY5PPe6j4G4fjEjjkycZM6C6Zk2F87BKxFfpq+jd5xXZB9E8EA==",
)


def place() -> Path:
    """Return the folder that holds, or will hold, the unpacked viewer: below XDG_CACHE_HOME or ``~/.cache``."""
    cache = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG specification: a path that is not absolute counts as none
    return (Path(cache) if Path(cache).is_absolute() else Path.home() / ".cache") / "sgmri" / f"ohif-{VERSION}"


def fetch(say: Callable[[str], None], *, package: Package = OHIF) -> Path:
    """Return the folder with the viewer's files, after fetching them where they are not there yet.

    Parameters
    ----------
    say
        Told when something is fetched.
    package
        What is fetched.

    Raises
    ------
    PeerUnavailable
        If the registry does not answer, or has no such package.
    ConfigError
        If the registry sends other bytes than those that are expected, or the cache cannot be written.
    """
    target = place()
    if not target.is_dir():
        registry = _registry()
        say(f"fetching OHIF {VERSION} (50 MB, once) from {registry} into {target}")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=target.parent) as work:
                tarball = Path(work) / "package.tgz"
                _download(f"{registry}{package.path}", tarball)
                _check(tarball, package.integrity)
                unpacked = Path(work) / "unpacked"
                _unpack(tarball, unpacked)
                _rename(unpacked, target)
        except OSError as error:
            raise ConfigError(
                f"expected to write the viewer to {target}, found {error.strerror}; free the place, or name another "
                "with XDG_CACHE_HOME"
            ) from None
    return target / "dist"


def _rename(source: Path, target: Path) -> None:
    # Whole or not at all; another process may have been faster
    try:
        source.rename(target)
    except OSError:
        if not target.is_dir():
            raise


def _registry() -> str:
    """Return the registry that npm would ask, with a slash at its end."""
    for name in ("NPM_CONFIG_REGISTRY", "npm_config_registry"):
        if os.environ.get(name):
            return os.environ[name].rstrip("/") + "/"
    npm = shutil.which("npm")
    if npm:
        asked = subprocess.run([npm, "config", "get", "registry"], capture_output=True, text=True, check=False)  # noqa: S603 - npm itself, no shell
        if asked.stdout.startswith("http"):
            return asked.stdout.strip().rstrip("/") + "/"
    return _DEFAULT_REGISTRY


def _download(url: str, target: Path) -> None:
    # The system's certificates: a site's own authority is among them
    context = ssl.create_default_context()
    try:
        with (
            httpx.stream("GET", url, follow_redirects=True, timeout=_TIMEOUT_S, verify=context) as response,
            target.open("wb") as stream,
        ):
            response.raise_for_status()
            for chunk in response.iter_bytes():
                stream.write(chunk)
    except httpx.HTTPStatusError as error:
        found = f"HTTP status {error.response.status_code}"
        raise _not_had(url, found) from None
    except httpx.HTTPError as error:
        raise _not_had(url, type(error).__name__) from None


def _not_had(url: str, found: str) -> PeerUnavailable:
    return PeerUnavailable(
        f"expected the viewer at {url}, found {found}; name a registry that this machine reaches with "
        "NPM_CONFIG_REGISTRY"
    )


def _check(tarball: Path, integrity: str) -> None:
    with tarball.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha512").digest()
    found = f"sha512-{base64.b64encode(digest).decode()}"
    if found != integrity:
        raise ConfigError(
            f"expected the viewer's package with integrity {integrity}, found {found}; the registry does not give "
            "what npm published, ask another with NPM_CONFIG_REGISTRY"
        )


def _unpack(tarball: Path, target: Path) -> None:
    # Not extractall: its filter and TarInfo.replace are not in every Python 3.11 (Debian 12 has 3.11.2)
    with tarfile.open(tarball) as archive:
        for member in archive:
            content = archive.extractfile(member) if _is_needed(member.name) else None  # None: no regular file
            if content is not None:
                path = target / member.name.removeprefix("package/")
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("wb") as stream:
                    shutil.copyfileobj(content, stream)


def _is_needed(name: str) -> bool:
    within = name.removeprefix(_DIST)
    return name == _LICENCE or (
        within != name and not within.startswith(_NOT_NEEDED) and not within.endswith(".map") and ".." not in within
    )
