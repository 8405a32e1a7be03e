"""What stands around the content tree of a report: its SOP class, its evidence and who observed.

References
----------
PS3.3 C.17.2 (SR Document General), PS3.16 TID 1001, TID 1004 (observer)
"""

from collections.abc import Sequence
from dataclasses import dataclass

from highdicom.sr import (
    Comprehensive3DSR,
    DeviceObserverIdentifyingAttributes,
    EnhancedSR,
    ObservationContext,
    ObserverContext,
)
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes as dictionary
from pydicom.uid import ExplicitVRLittleEndian

from dicom_io import identity
from dicom_io.objects import envelope, tree
from dicom_io.objects.sources import leniently
from sgmri.readings import EngineIdentity, Reading


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """Which report is made.

    Parameters
    ----------
    sop_class
        highdicom's class of it.
    series_instance_uid, sop_instance_uid, series_number
        Its own.
    """

    sop_class: type[Comprehensive3DSR] | type[EnhancedSR]
    series_instance_uid: str
    sop_instance_uid: str
    series_number: int

    def around(
        self, root: Dataset, reading: Reading, sources: Sequence[Dataset], segmentation: Dataset | None = None
    ) -> Dataset:
        """Return the report around a content tree.

        Parameters
        ----------
        root
            The root container.
        reading
            The reading.
        sources
            Headers of all instances of the reading's frames, in order.
        segmentation
            The segmentation that the tree refers to; None where there is none.
        """
        # highdicom copies the tree and walks it three times, only to hold what it refers to against the evidence, which
        # here is everything that was read: it is shown the bare root
        bare = Dataset({element.tag: element for element in root if element.keyword != "ContentSequence"})
        bare.ContentSequence = []
        with leniently():
            shown = self.sop_class(
                evidence=_evidence(reading, sources, segmentation),
                content=bare,
                series_instance_uid=self.series_instance_uid,
                series_number=self.series_number,
                sop_instance_uid=self.sop_instance_uid,
                instance_number=1,
                manufacturer=identity.MANUFACTURER,
                is_complete=all(answer.unanswered is None for answer in reading.answers),
                is_final=False,
                is_verified=False,
                previous_versions=envelope.predecessors(reading) or None,
                transfer_syntax_uid=ExplicitVRLittleEndian,
                contributing_equipment=[envelope.contributing_equipment(reading)],
            )
            ds = Dataset(shown)
            ds.file_meta = shown.file_meta
            ds.ContentSequence = root.ContentSequence
            envelope.seal(ds, reading, sources[0], texts=tree.texts(root))
        return ds


def _evidence(reading: Reading, sources: Sequence[Dataset], segmentation: Dataset | None) -> list[Dataset]:
    """Return what was read and made of it, images first: a viewer looks for the image series in the first place."""
    class_of = {ref.sop_instance_uid: ref.sop_class_uid for ref in reading.frames}
    evidence = []
    for source in sources:
        shown = envelope.stand_in(source)
        shown.SOPClassUID = class_of[str(source.SOPInstanceUID)]
        evidence.append(shown)
    made = [] if segmentation is None else [segmentation]
    # The earlier report answers to the same request: evidence of the current procedure (PS3.3 C.17.2.3)
    return [*evidence, *made, *envelope.predecessors(reading)]


def device_observer(engine: EngineIdentity) -> ObserverContext:
    """Return the item that says which device observed (PS3.16 TID 1002, TID 1004)."""
    device = DeviceObserverIdentifyingAttributes(
        uid=identity.device_uid(engine),
        name=f"{identity.MODEL_NAME} {engine.name} {engine.version}",
        manufacturer_name=identity.MANUFACTURER,
        model_name=identity.MODEL_NAME,
        serial_number=engine.digest,
    )
    return ObserverContext(observer_type=dictionary.DCM.Device, observer_identifying_attributes=device)


def observer(reading: Reading) -> ObservationContext:
    """Return who observed: a device, never a person."""
    return ObservationContext(observer_device_context=device_observer(reading.engine))
