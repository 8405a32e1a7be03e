"""From the settings to destinations that can be used: who gets which objects, and the one who sends them."""

import base64
import hashlib
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from dicom_io.network import Destination
from dicom_io.profiles import Profile, profile_for
from dicom_io.scu import StoreScu
from sgmri.errors import ConfigError
from sgmri.outlets import Outlet
from sgmri.settings import Settings
from worker.secret_files import secret_of

if TYPE_CHECKING:
    from dicom_io.stow import StowUserAgent

Sender: TypeAlias = "StoreScu | StowUserAgent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One destination and what it gets.

    Parameters
    ----------
    outlet
        What the settings say of it.
    form
        Key of its profile (:attr:`sgmri.readings.Reading.form`): destinations with equal profiles share their objects.
    """

    outlet: Outlet
    form: str = ""


def targets(settings: Settings) -> tuple[Target, ...]:
    """Return every destination of the settings."""
    profiles = [profile_for(outlet) for outlet in settings.outlets]
    return tuple(
        Target(outlet=outlet, form="" if profile == profiles[0] else _key(profile))
        for outlet, profile in zip(settings.outlets, profiles, strict=True)
    )


def further_profiles(settings: Settings) -> Mapping[str, Profile]:
    """Return form -> profile for every profile but the first."""
    return {target.form: profile_for(target.outlet) for target in targets(settings) if target.form}


def first_profile(settings: Settings) -> Profile:
    """Return the profile of the first destination; that of ``[delivery]`` where there is none."""
    return profile_for(next(iter(settings.outlets), settings.delivery))


def _key(profile: Profile) -> str:
    words = [
        *sorted(profile.viewers),
        *sorted(profile.kinds),
        str(profile.cornerstone_tracking),
        str(profile.refined_masks),
    ]
    return hashlib.sha256(" ".join(words).encode()).hexdigest()[:8]


def peer(settings: Settings, outlet: Outlet) -> Destination:
    """Return whom to call for a destination of kind "dimse"."""
    return Destination(
        ae_title=outlet.ae_title,
        host=outlet.host,
        port=outlet.port,
        calling_ae_title=settings.listener.ae_title,
        timeout_s=settings.delivery.timeout_s,
        tls=outlet.tls,
    )


def open_sender(settings: Settings, outlet: Outlet, environment: Mapping[str, str] = os.environ) -> Sender:
    """Return who sends to a destination; nothing is sent yet.

    Raises
    ------
    ConfigError
        If its secret, a certificate or a key cannot be read, or the library for STOW-RS is not installed.
    """
    if outlet.kind == "dimse":
        destination = peer(settings, outlet)
        destination.context()  # what is wrong with its files is said now
        return StoreScu(destination, idle_timeout_s=settings.delivery.idle_timeout_s)
    return open_web(outlet, settings.delivery.timeout_s, environment)


def open_web(outlet: Outlet, timeout_s: float, environment: Mapping[str, str] = os.environ) -> "StowUserAgent":
    """Return a user agent for a destination of kind "stow", or for an archive in this form; raises as above."""
    try:
        from dicom_io.stow import StowUserAgent  # needs the extra
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"expected {error.name} for the destination {outlet.name}, found none; pip install 'sgmri[stow]'"
        ) from None
    secret = _authorisation(outlet, environment)
    return StowUserAgent(outlet.url, authorisation=secret, timeout_s=timeout_s, tls=outlet.tls)


def _authorisation(outlet: Outlet, environment: Mapping[str, str]) -> str:
    if outlet.authentication == "none":
        return ""
    variable = f"SGMRI_SECRET_{outlet.name.upper().replace('-', '_')}"
    secret = secret_of(f"the destination {outlet.name}", variable, outlet.secret_file, environment)
    if outlet.authentication == "bearer":
        return f"Bearer {secret}"
    return f"Basic {base64.b64encode(secret.encode()).decode()}"


class Senders:
    """The senders of one process, each opened when it is first needed and used by one thread at a time."""

    def __init__(self) -> None:
        self._senders: dict[str, Sender] = {}
        self._locks: dict[str, threading.Lock] = {}
        self._guard = threading.Lock()

    @contextmanager
    def to(self, settings: Settings, outlet: Outlet) -> Iterator[Sender]:
        """Lend the sender of a destination; raises ConfigError as :func:`open_sender`."""
        with self._guard:
            lock = self._locks.setdefault(outlet.name, threading.Lock())
        with lock:
            if outlet.name not in self._senders:
                self._senders[outlet.name] = open_sender(settings, outlet)
            yield self._senders[outlet.name]

    def close(self) -> None:
        """Release what is open; what is sent afterwards opens it anew."""
        for name, lock in self._locks.items():
            with lock:
                sender = self._senders.pop(name, None)
                if sender is not None:
                    sender.close()
