"""Is everything installed that sgmri needs, and is nothing in its way."""

import importlib.metadata
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from plugin.doctor.check import Check, fault, good, note

PACKAGES = ("sgmri", "dicom_io", "worker", "conformance", "benchmark", "plugin")
_LIBRARIES = ("pydicom", "pynetdicom", "highdicom", "celery", "redis", "sqlalchemy")
_TOOLS = (
    ("redis-server", "a broker of the machine's own"),
    ("Orthanc", "the demo's PACS"),
    ("dciodvfy", "the validator of the tests"),
)


def machine() -> Iterator[Check]:
    """Check the machine."""
    version = ".".join(str(part) for part in sys.version_info[:3])
    yield good("Python", version)
    yield good("libraries", ", ".join(f"{name} {importlib.metadata.version(name)}" for name in _LIBRARIES))
    yield _names()
    yield _runtimes()
    for tool, use in _TOOLS:
        found = shutil.which(tool, path=f"{Path(sys.executable).parent}:/usr/bin:/usr/sbin:/usr/local/bin")
        yield good(tool, "found") if found else note(tool, f"not installed; only needed as {use}")


def _names() -> Check:
    """Ask that our six top-level names belong to nobody else (ADR 0001): others exist publicly."""
    owners = importlib.metadata.packages_distributions()
    strangers = {name: set(owners.get(name, ())) - {"sgmri"} for name in PACKAGES}
    clashes = [f"{name} of {', '.join(sorted(others))}" for name, others in strangers.items() if others]
    if clashes:
        return fault(
            "package names",
            f"expected our package names to be ours alone, found {'; '.join(clashes)}; install sgmri into an "
            "environment of its own",
        )
    return good("package names", "ours alone")


def _runtimes() -> Check:
    installed = {name for name in ("onnxruntime", "onnxruntime-gpu") if _installed(name)}
    if len(installed) == 2:
        return fault(
            "model runtime",
            "expected onnxruntime or onnxruntime-gpu, found both, and they break each other; pip uninstall both, "
            "then install one",
        )
    text = ", ".join(sorted(installed))
    return good("model runtime", text) if text else note("model runtime", "none (fine without a model)")


def _installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
