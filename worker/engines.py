"""Engines by name: what the setting ``worker.engine`` may say, and what each needs."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType

from sgmri.errors import ConfigError
from sgmri.interfaces import AskedEngine
from sgmri.settings import Worker

DEFAULT_ENGINE = "grounded"
_STACK = ("torch", "transformers", "onnxruntime", "llguidance", "tokenizers", "safetensors")


def _classical(_settings: Worker, _served_key: str) -> AskedEngine:
    # Not at the top: listener and delivery read nothing, and need not load scipy
    from worker.engine.classical import ClassicalEngine

    return ClassicalEngine()


def _grounded(settings: Worker, _served_key: str) -> AskedEngine:
    missing = [name for name in _STACK if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"worker.engine: expected the model stack for 'grounded', found no {', '.join(missing)}; run: "
            "pip install 'sgmri[worker-cpu]' (or [worker-gpu]), or take the engine 'classical'"
        )
    # Not at the top: the listener and the other engines need no model stack
    from worker.engine.loading import open_engine
    from worker.engine.local import Device
    from worker.engine.places import embedded_bundle

    return open_engine(
        Path(settings.model) if settings.model else embedded_bundle(),
        Device(
            name=chosen_device(settings.device),
            kv_limit_bytes=settings.max_kv_bytes,
            allow_cpu_encoder=settings.allow_cpu_encoder,
        ),
        expect_digest=settings.model_digest or None,
    )


def _served(settings: Worker, served_key: str) -> AskedEngine:
    if importlib.util.find_spec("httpx") is None:
        raise ConfigError("worker.engine: expected httpx for 'served', found none; run: pip install 'sgmri[served]'")
    from worker.engine.served_card import served_engine

    return served_engine(settings, served_key)


ENGINES: MappingProxyType[str, Callable[[Worker, str], AskedEngine]] = MappingProxyType(
    {"grounded": _grounded, "classical": _classical, "served": _served}
)
"""Name -> how to make one."""


def chosen_device(name: str) -> str:
    """Return ``cpu`` or ``cuda`` for a device setting; ``auto`` is CUDA where torch can use it."""
    if name != "auto":
        return name
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def create_engine(name: str, settings: Worker | None = None, *, served_key: str = "") -> AskedEngine:
    """Make the engine of this name.

    Parameters
    ----------
    name
        One of :data:`ENGINES`.
    settings
        What it is made with; None: the defaults.
    served_key
        Bearer token of a model server.

    Raises
    ------
    ConfigError
        If there is none, or it cannot be made on this machine.
    EngineError
        If its model is not as sealed, or reads its golden cases otherwise.
    """
    if name not in ENGINES:
        raise ConfigError(f"worker.engine: expected one of {', '.join(ENGINES)}, found {name!r}")
    return ENGINES[name](settings or Worker(), served_key)
