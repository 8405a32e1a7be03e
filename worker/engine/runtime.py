"""Open onnxruntime sessions on the device that was asked for, with one of the two packages installed."""

import importlib.metadata
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from sgmri.errors import ConfigError

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

# onnxruntime's packages report their use to their maker from the moment they are imported, and keep an identifier on
# the disk; nothing of this product may leave the machine unasked
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_OPTIONS = {"CUDAExecutionProvider": {"use_tf32": "0"}}
"""Without it, CUDA rounds the factors of a float32 encoder to ten bits; a half-precision one is as fast either way."""
_RUNTIMES = ("onnxruntime", "onnxruntime-gpu")


def check_runtime(installed: Callable[[str], str] = importlib.metadata.version) -> None:
    """Check that exactly one onnxruntime package is installed: both write into one folder and break each other.

    Parameters
    ----------
    installed
        Returns the version of an installed distribution or raises ``PackageNotFoundError``.

    Raises
    ------
    ConfigError
        If both are installed, or none.
    """
    found = [name for name in _RUNTIMES if _is_installed(name, installed)]
    if len(found) == 2:
        raise ConfigError(
            "expected one of onnxruntime and onnxruntime-gpu, found both, which break each other; run: "
            "pip uninstall --yes onnxruntime onnxruntime-gpu, then install the one that this machine needs"
        )
    if not found:
        raise ConfigError(
            "expected onnxruntime or onnxruntime-gpu, found neither; run: pip install 'sgmri[worker-cpu]'"
        )


def _is_installed(name: str, installed: Callable[[str], str]) -> bool:
    try:
        installed(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def open_session(path: Path, provider: str, threads: int | None) -> "InferenceSession":
    """Open a model; with ``cuda``, onnxruntime may still have chosen the CPU (:func:`provider_in_use` tells).

    Parameters
    ----------
    path
        The file; its external data, if any, beside it.
    provider
        ``cpu`` or ``cuda``.
    threads
        Threads of one run on the CPU; None leaves it to onnxruntime.

    Raises
    ------
    ConfigError
        If the provider is neither, or the file cannot be opened.
    """
    if provider not in _PROVIDERS:
        raise ConfigError(f"expected a provider of {', '.join(_PROVIDERS)}, found {provider!r}")
    # Not at the top: a worker with another engine needs no onnxruntime, and the packages are checked first
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as native

    options = onnxruntime.SessionOptions()
    # Spinning threads take the cores from the language model's
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    if threads is not None:
        options.intra_op_num_threads = threads
    wanted = [_PROVIDERS[provider]] if _PROVIDERS[provider] in onnxruntime.get_available_providers() else []
    if provider == "cuda" and wanted:
        onnxruntime.preload_dlls()
    try:
        providers = list(dict.fromkeys([*wanted, "CPUExecutionProvider"]))
        return onnxruntime.InferenceSession(
            str(path), options, providers=providers, provider_options=[_OPTIONS.get(name, {}) for name in providers]
        )
    except (
        native.NoSuchFile,
        native.InvalidProtobuf,
        native.InvalidGraph,
        native.Fail,
        native.NotImplemented,
    ) as error:
        raise ConfigError(
            f"{path.name} cannot be opened ({type(error).__name__}); expected an encoder with its data file beside it; "
            "make it again with: sgmri model export"
        ) from error


def provider_in_use(session: "InferenceSession") -> str:
    """Return ``cuda`` or ``cpu``: what a session really runs on."""
    return "cuda" if _PROVIDERS["cuda"] in session.get_providers() else "cpu"
