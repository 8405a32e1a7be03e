"""The engine over a model server: what is asked of it, and who it is."""

import hashlib
import json

from sgmri.catalogue import STANDARD
from sgmri.errors import ConfigError
from sgmri.questions import QuestionKind
from sgmri.readings import EngineIdentity
from sgmri.settings import Worker
from sgmri.vocabulary import FINDINGS
from worker.engine.calibration import Calibration
from worker.engine.grounded import Card, GroundedEngine
from worker.engine.profiles import PROFILES, PromptProfile, to_mapping
from worker.engine.served import ServedSpeaker, Server

_VERSION = "1"


def served_engine(settings: Worker, key: str) -> GroundedEngine:
    """Return the grounded engine whose model answers behind a server.

    Parameters
    ----------
    settings
        ``served_url``, ``served_model`` and ``served_profile``.
    key
        Bearer token; empty: none.

    Raises
    ------
    ConfigError
        If the settings name no server or no profile.
    EngineUnavailable, EngineError
        If the server cannot be reached, or has another model.
    """
    if settings.served_profile not in PROFILES:
        raise ConfigError(
            f"worker.served_profile: expected one of {', '.join(PROFILES)}, found {settings.served_profile!r}"
        )
    profile = PROFILES[settings.served_profile]
    server = Server(url=settings.served_url, model=settings.served_model, key=key)
    speaker = ServedSpeaker(server, profile)
    speaker.check()
    return GroundedEngine(speaker, card_of(server, profile))


def card_of(server: Server, profile: PromptProfile) -> Card:
    """Return what is known of a served model: its name, its profile, and every label that the catalogue asks for.

    Its weights are out of sight, so the digest stands for the name and the questions alone, and nothing is calibrated.
    """
    labels = tuple(
        dict.fromkeys(
            label
            for questions in STANDARD.values()
            for question in questions.questions
            if question.kind is QuestionKind.DETECTION
            for label in question.labels
            if label in FINDINGS
        )
    )
    summary = json.dumps([server.model, to_mapping(profile), labels, _VERSION], sort_keys=True)
    # Name and version go into DICOM attributes of at most 64 characters (PS3.5 6.2, LO)
    name = "".join(char if char.isalnum() or char in "._+-" else "-" for char in server.model)[:57]
    return Card(
        identity=EngineIdentity(
            name=f"served-{name}", version=_VERSION, digest=hashlib.sha256(summary.encode()).hexdigest()
        ),
        profile=profile,
        labels=labels,
        question_set_ids=tuple(questions.set_id for questions in STANDARD.values()),
        calibration=Calibration(),
        # models that are served are general ones
        free_text=True,
    )
