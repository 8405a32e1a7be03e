"""Passwords: kept as Argon2id digests, and refused where they are easily guessed.

References
----------
RFC 9106 (Argon2); NIST SP 800-63B 3.1.1 (length and blocklist instead of rules of composition)
"""

import unicodedata
from functools import cached_property

from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError
from zxcvbn import zxcvbn

from sgmri.errors import ConfigError

MIN_LENGTH = 12
_MAX_LENGTH = 1024
_MAX_JUDGED = 72  # what zxcvbn takes
_MIN_SCORE = 3  # of 4: "safely unguessable", 10**8 guesses at least
_WORDS_OF_OURS = ("sgmri", "dicom", "pacs", "orthanc", "dashboard", "viewer", "operator", "admin", "radiology")


class Passwords:
    """Digests of passwords.

    Parameters
    ----------
    hasher
        Its parameters are those of new digests.
    """

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        self._hasher = hasher or PasswordHasher()

    @cached_property
    def _nobody(self) -> str:
        return self._hasher.hash("of a user who does not exist")

    def digest(self, password: str) -> str:
        """Return what is kept of a password."""
        return self._hasher.hash(_normal(password))

    def match(self, digest: str | None, password: str) -> bool:
        """Return whether a password is the one of a digest; where there is none, no, after the same work.

        Raises
        ------
        argon2.exceptions.InvalidHashError
            If the digest is none: the table was damaged.
        """
        nobody = self._nobody  # whoever asks first makes it, whether the user exists or not
        try:
            self._hasher.verify(digest or nobody, _normal(password))
        except VerifyMismatchError:
            return False
        return digest is not None


def check_password(password: str, name: str) -> None:
    """Refuse a password that is short, common, or made of the user's name.

    Raises
    ------
    ConfigError
        Saying what to do; the password is not repeated.
    """
    if not MIN_LENGTH <= len(password) <= _MAX_LENGTH:
        raise ConfigError(f"password: expected {MIN_LENGTH} to {_MAX_LENGTH} characters, found {len(password)}")
    judged = zxcvbn(password[:_MAX_JUDGED], user_inputs=[name, *_WORDS_OF_OURS])
    if judged["score"] < _MIN_SCORE:
        why = judged["feedback"]["warning"].rstrip(".") or "it follows a pattern"
        raise ConfigError(
            f"password: expected one that is hard to guess, found one that is not ({why}); take several uncommon words"
        )


def _normal(password: str) -> str:
    return unicodedata.normalize("NFKC", password)  # the same characters from every keyboard (NIST SP 800-63B)
