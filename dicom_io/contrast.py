"""What an image shows by its physics: its weighting, and whether fat is suppressed.

References
----------
PS3.3 C.8.3.1 (MR Image module), C.8.13.3 (MR Image and Spectroscopy Instance Macro: Acquisition Contrast)
"""

from dicom_io.anatomy import words
from dicom_io.instances import InstanceFacts
from sgmri.volume import Weighting


def weighting_of(image: InstanceFacts) -> Weighting:
    """Tell what an image is weighted by, from its repetition, echo and inversion times.

    Names are asked only where physics leaves a gap: FLAIR with the inversion time removed, and Acquisition Contrast
    (0008,9209) of Enhanced frames for unusual field strengths.
    """
    repetition, echo, inversion = image.repetition_time_ms, image.echo_time_ms, image.inversion_time_ms or 0.0
    by_contrast = _weighting_by_contrast(image)
    if repetition is None or echo is None or "EP" in image.scanning_sequence:
        return by_contrast
    flair_by_name = any("flair" in words(text) for text in image.series_texts)
    inverted = "IR" in image.scanning_sequence or inversion > 0
    if repetition > 4000 and echo > 70 and (1500 <= inversion <= 3000 or (flair_by_name and not inversion)):
        return Weighting.FLAIR
    if inverted and 400 <= inversion <= 1300 and echo < 40:
        return Weighting.T1  # MPRAGE and T1 FLAIR
    if inverted and inversion > 300:
        return by_contrast
    return _weighting_by_times(image, repetition, echo) or by_contrast


def _weighting_by_times(image: InstanceFacts, repetition: float, echo: float) -> Weighting | None:
    gradient = "GR" in image.scanning_sequence and "SE" not in image.scanning_sequence
    if gradient:
        # a balanced steady state (SS without spoiling) mixes T1 and T2; a long echo weights by T2*
        balanced = "SS" in image.sequence_variant and "SP" not in image.sequence_variant
        return Weighting.T1 if repetition < 1200 and echo < 15 and not balanced else None
    if repetition < 1200 and echo < 30:
        return Weighting.T1
    if repetition > 1800 and echo > 70:
        return Weighting.T2
    return Weighting.PD if repetition > 1500 and echo < 50 else None


def _weighting_by_contrast(image: InstanceFacts) -> Weighting:
    named = {frame.contrast for frame in image.frames}
    contrast = named.pop() if len(named) == 1 else None
    return {  # PS3.3 C.8.13.3.1.5
        "T1": Weighting.T1,
        "T2": Weighting.T2,
        "PROTON_DENSITY": Weighting.PD,
        "FLUID_ATTENUATED": Weighting.FLAIR,
    }.get(contrast or "", Weighting.UNKNOWN)


def fat_suppressed_of(image: InstanceFacts) -> bool | None:
    """Tell whether fat is suppressed; None where nothing says so."""
    inversion = image.inversion_time_ms or 0.0
    if image.fat_suppressed or ("IR" in image.scanning_sequence and 80 <= inversion <= 300):
        return True
    named = {word for text in image.series_texts for word in words(text)}
    return True if named & {"fs", "fatsat", "spair", "spir", "stir"} else image.fat_suppressed
