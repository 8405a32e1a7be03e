"""What each viewer needs of an object to show it: named rules, each a pure function of the object.

An object that breaks a rule is valid DICOM all the same; the viewer shows less of it, or nothing. The rules hold for
objects of any product.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from pydicom.dataset import Dataset

from dicom_io.objects.sources import leniently
from dicom_io.viewer_rules import dwv, images_only, ohif, pacs, slicer, weasis
from dicom_io.viewer_rules.rule import Rule

RULES: Final[Mapping[str, tuple[Rule, ...]]] = MappingProxyType(
    {
        "ohif": ohif.RULES,
        "ohif-3.11": ohif.RULES_3_11,
        "slicer": slicer.RULES,
        "weasis": weasis.RULES,
        "generic-pacs": pacs.RULES,
        "images-only": images_only.RULES,
        "dwv": dwv.RULES,
    }
)
"""Viewer -> its rules. "ohif-3.11" adds to "ohif" what versions up to 3.11 need."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """A rule that an object breaks.

    Parameters
    ----------
    viewer, rule
        Whose rule, and its name.
    """

    viewer: str
    rule: str


def violations(ds: Dataset, viewers: Iterable[str]) -> tuple[Violation, ...]:
    """Return the rules of some viewers that an object breaks, in the order of the tables.

    Parameters
    ----------
    ds
        An object of any product; rules for other kinds of object do not apply to it.
    viewers
        Keys of :data:`RULES`.
    """
    with leniently():
        return tuple(
            Violation(viewer=viewer, rule=rule.name)
            for viewer in viewers
            for rule in RULES[viewer]
            if rule.applies_to(ds) and not rule.holds(ds)
        )
