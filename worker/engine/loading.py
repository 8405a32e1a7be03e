"""From a sealed bundle to an engine that may work: verified, loaded, and held against its golden cases."""

from pathlib import Path

from sgmri.errors import EngineError
from worker.engine import calibration
from worker.engine.bundle import Bundle, load
from worker.engine.grounded import Card, GroundedEngine
from worker.engine.local import Device, LocalSpeaker
from worker.engine.profiles import from_mapping


def card_of(bundle: Bundle) -> Card:
    """Return what a verified bundle says of its model.

    Raises
    ------
    EngineError
        If its calibration cannot be used.
    ConfigError
        If its profile cannot be used.
    """
    has_calibration = calibration.FILE_NAME in bundle.files
    return Card(
        identity=bundle.identity(),
        profile=from_mapping(bundle.manifest.profile),
        labels=bundle.manifest.labels,
        question_set_ids=bundle.manifest.question_set_ids,
        calibration=(
            calibration.read(bundle.path(calibration.FILE_NAME)) if has_calibration else calibration.Calibration()
        ),
    )
