"""Choices of the generator: each follows from what it is for, never from an order or a global state.

A choice is a SHA-256 over the names of what is chosen for, so that it is the same in every process, whatever
PYTHONHASHSEED says and whichever other items are made.
"""

from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import TypeVar

VERSION = "sgmri-vqa-1"
"""Version of the generator: another one makes other choices."""
_Chosen = TypeVar("_Chosen")


def drawn(*names: object) -> int:
    """Return a number of 64 bits that belongs to these names."""
    return int.from_bytes(sha256("/".join((VERSION, *map(str, names))).encode()).digest()[:8])


def one_of(choices: Sequence[_Chosen], *names: object) -> _Chosen:
    """Return one of some choices, each as likely as the others."""
    return choices[drawn(*names) % len(choices)]


def shuffled(choices: Iterable[_Chosen], *names: object) -> list[_Chosen]:
    """Return choices in an order that depends on the names and on each choice's own text only."""
    return sorted(choices, key=lambda choice: drawn(*names, choice))
