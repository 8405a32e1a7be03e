"""From a sealed bundle to an engine that may work: verified, loaded, and held against its golden cases."""

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sgmri.errors import EngineError
from worker.engine import auxiliary, calibration, golden, measured
from worker.engine.bundle import Bundle, load
from worker.engine.fitting import fit
from worker.engine.grounded import Card, GroundedEngine
from worker.engine.local import Device, LocalSpeaker
from worker.engine.profiles import from_mapping

_log = logging.getLogger(__name__)


def card_of(bundle: Bundle) -> Card:
    """Return what a verified bundle says of its model.

    Raises
    ------
    EngineError
        If its calibration or its examination cannot be used.
    ConfigError
        If its profile cannot be used.
    """
    has_calibration = calibration.FILE_NAME in bundle.files
    identity = bundle.identity()
    if measured.FILE_NAME in bundle.files:
        accuracy = measured.read(bundle.path(measured.FILE_NAME), bundle.manifest.model_id)
        identity = replace(identity, accuracy=accuracy)
    return Card(
        identity=identity,
        profile=from_mapping(bundle.manifest.profile),
        labels=bundle.manifest.labels,
        question_set_ids=bundle.manifest.question_set_ids,
        calibration=(
            calibration.read(bundle.path(calibration.FILE_NAME)) if has_calibration else calibration.Calibration()
        ),
        free_text=bundle.manifest.free_text,
    )


def open_engine(directory: Path, device: Device, *, expect_digest: str | None = None) -> GroundedEngine:
    """Verify a bundle, load it, and let it work only if it reads its golden cases as sealed.

    Parameters
    ----------
    directory
        Of the bundle.
    device
        Where it runs.
    expect_digest
        The digest that the caller trusts; None takes the bundle's own word.

    Raises
    ------
    EngineError
        If the bundle is not as sealed, or a golden case is read otherwise.
    ConfigError, EngineUnavailable
        If it cannot be loaded on this machine.
    """
    bundle = load(directory, expect_digest=expect_digest)
    engine, speaker = load_engine(bundle, device)
    problems = golden_problems(bundle, engine, speaker)
    if problems:
        engine.close()
        raise EngineError(
            f"expected the golden cases of {bundle.manifest.model_id} to be read as sealed, found: "
            f"{'; '.join(problems[:4])}; this machine's libraries or device compute otherwise, so no work is taken"
        )
    return engine


def load_engine(bundle: Bundle, device: Device) -> tuple[GroundedEngine, LocalSpeaker]:
    """Load a verified bundle without looking at its golden cases."""
    card = card_of(bundle)
    if card.calibration.needs_head and auxiliary.FILE_NAME not in bundle.files:
        raise EngineError(
            f"expected {auxiliary.FILE_NAME} in the bundle, since its calibration counts on an auxiliary head, found "
            "none; build the bundle again"
        )
    speaker = LocalSpeaker.load(bundle, card.profile, device)
    return GroundedEngine(speaker, card), speaker


def golden_problems(bundle: Bundle, engine: GroundedEngine, speaker: LocalSpeaker) -> tuple[str, ...]:
    """Replay a bundle's golden cases and return what differs."""
    if golden.FILE_NAME not in bundle.files:
        _log.warning("the model bundle has no golden cases: nothing proves that this machine computes as it should")
        return ()
    return golden.replay(engine, encode_with(speaker), golden.read(bundle.path(golden.FILE_NAME)))


def encode_with(speaker: LocalSpeaker) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    """Return what makes embeddings of frames with a speaker's own encoder and fitting."""

    def encode(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        encoder = speaker.encoder
        if encoder is None:
            raise EngineError("the encoder is closed; open the engine again")
        block = encoder.spec.patch * encoder.spec.merge
        patches = encoder.spec.preprocess(fit(pixels, speaker.profile.pixel_budget, block=block))
        return encoder.encode(patches.values, patches.grid).embeds

    return encode
