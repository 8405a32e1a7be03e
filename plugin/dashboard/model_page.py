"""The model that reads: what it is, what was measured of it, and whether this machine reads its golden cases as sealed.

The model stack is no part of the dashboard: to verify, ``sgmri model verify`` is run as a process of its own.
"""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from plugin.dashboard.desk import back, desk_of, page
from sgmri.audit import Action
from sgmri.audit import Outcome as Ending
from sgmri.readings import MeasuredAccuracy
from sgmri.settings import Settings
from worker.engine import measured
from worker.engine.bundle import Bundle, find_bundles
from worker.engine.places import embedded_bundle

_CARD = "MODEL_CARD.md"
_MAX_CARD_BYTES = 256 << 10
_VERIFY_S = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """When the model was last verified from here, whether it was as sealed, and what was said."""

    at: float
    is_good: bool
    said: str


def show(request: Request) -> Response:
    """Show the model that the settings name."""
    desk = desk_of(request)
    worker = desk.settings.worker
    if worker.engine != "grounded":
        return page(request, "model.html", worker=worker, bundle=None, problem="", verified=None)
    found = find_bundles([_directory(desk.settings)])[0]
    bundle = found.claim
    expected = worker.model_digest
    problem = found.problem or ""
    if bundle is not None and expected and bundle.digest != expected:
        problem = "Its digest is not the one that worker.model_digest demands."
    return page(
        request,
        "model.html",
        worker=worker,
        bundle=bundle,
        problem=problem,
        card="" if bundle is None else _card(bundle),
        accuracy=() if bundle is None else _accuracy(bundle),
        has_golden=bundle is not None and "golden.npz" in bundle.files,
        verified=request.app.state.verified,
    )


def verify(request: Request) -> Response:
    """Hash every file of the model and have it read its golden cases; takes as long as a few readings."""
    desk = desk_of(request)
    if desk.settings.worker.engine != "grounded":
        raise HTTPException(409, "The engine that reads has no bundle to be verified.")
    if not request.app.state.verifying.acquire(blocking=False):
        raise HTTPException(409, "The model is being verified already; look again in a minute.")
    try:
        request.app.state.verified = verified = _verify(desk.settings, desk.clock())
    finally:
        request.app.state.verifying.release()
    outcome = Ending.SUCCESS if verified.is_good else Ending.FAILURE
    desk.remember(request, Action.OPERATE, detail="model verified", outcome=outcome)
    return back("/model", "verified")


def _verify(settings: Settings, now: float) -> Verified:
    command = [sys.executable, "-m", "plugin.cli", "model", "verify", str(_directory(settings))]
    command += ["--device", settings.worker.device]
    try:
        done = subprocess.run(  # noqa: S603 - our own command, no shell
            command, capture_output=True, text=True, timeout=_VERIFY_S, check=False
        )
    except subprocess.TimeoutExpired:
        return Verified(at=now, is_good=False, said=f"It took longer than {_VERIFY_S:.0f} s and was given up.")
    return Verified(at=now, is_good=done.returncode == 0, said=done.stdout)


def _directory(settings: Settings) -> Path:
    return Path(settings.worker.model) if settings.worker.model else embedded_bundle()


def _card(bundle: Bundle) -> str:
    if _CARD not in bundle.files:
        return ""
    with bundle.path(_CARD).open(encoding="utf-8", errors="replace") as stream:
        return stream.read(_MAX_CARD_BYTES)


def _accuracy(bundle: Bundle) -> tuple[MeasuredAccuracy, ...]:
    if measured.FILE_NAME not in bundle.files:
        return ()
    return measured.read(bundle.path(measured.FILE_NAME), bundle.manifest.model_id)
