"""``sgmri model export --bundle``: a whole bundle of a checkpoint, golden cases of phantoms included."""

import argparse
import tempfile
from pathlib import Path

from conformance.phantoms import make, write
from plugin.checkpoints import count_parameters
from sgmri import RESEARCH_USE_STATEMENT
from sgmri.catalogue import STANDARD
from sgmri.errors import ConfigError
from sgmri.interfaces import Frames
from sgmri.questions import QuestionKind
from worker.engines import chosen_device
from worker.pipeline import load_frames

GOLDEN_PHANTOMS = ("brain", "knee-normal")
"""Whose readings become the golden cases of a bundle that is made here."""
_CARD = """# {name}

{use}

Made by `sgmri model export` of a checkpoint of {parameters:,} parameters, with the prompt profile `{profile}`. Nothing
was measured: its certainties are not calibrated, and its golden cases prove that a machine computes as this one did,
not that the answers are right. Licence of the weights: {licence}.
"""


def export_bundle(arguments: argparse.Namespace) -> int:
    """Make the bundle; there is all of it in the end, or nothing."""
    try:
        from worker.engine.bundling import About, make_bundle  # torch: seconds, and only here
        from worker.engine.local import Device
        from worker.engine.profiles import PROFILES
    except ImportError as error:
        raise ConfigError(
            f"export: expected the model stack, found no {error.name or 'part of it'}; "
            "pip install 'sgmri[worker-cpu,export]'"
        ) from None
    if arguments.profile not in PROFILES:
        raise ConfigError(f"--profile: expected one of {', '.join(PROFILES)}, found {arguments.profile!r}")
    if arguments.bundle.exists():
        raise ConfigError(f"--bundle: expected a directory that does not exist yet, found {arguments.bundle}")
    name, parameters = arguments.bundle.resolve().name, count_parameters(arguments.checkpoint)
    use = f"{RESEARCH_USE_STATEMENT} Not calibrated."
    card = _CARD.format(name=name, use=use, parameters=parameters, profile=arguments.profile, licence=arguments.licence)
    labels = tuple(
        dict.fromkeys(
            label
            for questions in STANDARD.values()
            for question in questions.questions
            if question.kind is QuestionKind.DETECTION
            for label in question.labels
        )
    )
    about = About(
        model_id=name,
        version="1",
        licence=arguments.licence,
        intended_use=use,
        labels=labels,
        question_set_ids=tuple(questions.set_id for questions in STANDARD.values()),
        card=card,
        free_text=arguments.free_text,
    )
    bundle = make_bundle(
        arguments.checkpoint,
        arguments.bundle,
        about,
        PROFILES[arguments.profile],
        precision=arguments.precision,
        golden_frames=[phantom_frames(phantom) for phantom in GOLDEN_PHANTOMS],
        device=Device(name=chosen_device(arguments.device)),
    )
    print(f"{bundle.digest}  {bundle.size_bytes / 1e6:.1f} MB  {bundle.directory}")
    return 0


def phantom_frames(phantom: str) -> Frames:
    """Return what an engine is shown of a phantom."""
    with tempfile.TemporaryDirectory() as scratch:
        return load_frames(list(write(make(phantom), Path(scratch))))
