"""Puts a multi-frame header on painted voxels: Enhanced MR with its functional groups.

Every attribute that the IOD demands is there (PS3.3 A.36.2). The frames are stored against their order in space, so
that a reader who takes the frame number for a place is found out.
"""

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import EnhancedMRImageStorage
from pydicom.valuerep import format_number_as_ds

from conformance.phantom_anatomy import Grid
from conformance.phantom_headers import (
    DATE,
    MAKER,
    TIME,
    Protocol,
    derived_uid,
    make_item,
    mr,
    numbers,
    orientation,
    pixels,
    position,
    with_meta,
)


def _frame_type(protocol: Protocol) -> list[str]:
    # value 3 is the image flavor, for which the contrast is a defined term (PS3.3 C.8.16.1.3)
    return ["ORIGINAL", "PRIMARY", protocol.acquisition_contrast, "NONE"]


def enhanced(voxels: NDArray[np.uint16], grid: Grid, protocol: Protocol, uids: tuple[str, int]) -> Dataset:
    """Return one Enhanced MR Image whose frames are stored against the normal (PS3.3 A.36.2).

    Parameters
    ----------
    voxels, grid, protocol, uids
        As for :func:`classic`.
    """
    stored = list(reversed(range(grid.frames)))
    ds = mr(protocol, uids)
    ds.update(pixels(voxels[stored]))
    ds.update(_enhanced_image(protocol))
    organization = derived_uid(*uids, "dimension organization")
    ds.update(
        make_item(
            SOPClassUID=EnhancedMRImageStorage,
            SOPInstanceUID=derived_uid(*uids, "instance"),
            InstanceNumber=1,
            NumberOfFrames=grid.frames,
            DimensionOrganizationSequence=[make_item(DimensionOrganizationUID=organization)],
            DimensionIndexSequence=[
                make_item(
                    DimensionOrganizationUID=organization,
                    DimensionIndexPointer=pointer,
                    FunctionalGroupPointer=0x00209111,  # Frame Content Sequence
                )
                for pointer in (0x00209056, 0x00209057)  # Stack ID, In-Stack Position Number
            ],
            SharedFunctionalGroupsSequence=[_shared_groups(grid, protocol)],
            PerFrameFunctionalGroupsSequence=[_frame_groups(grid, index) for index in stored],
        )
    )
    return with_meta(ds)


def _enhanced_image(protocol: Protocol) -> Dataset:
    # Enhanced MR Image and MR Pulse Sequence modules (PS3.3 C.8.13.1, C.8.13.4)
    return make_item(
        ImageType=_frame_type(protocol),
        ContentTime=TIME,
        AcquisitionNumber=1,
        AcquisitionDateTime=DATE + TIME,
        AcquisitionDuration=240.0,
        ResonantNucleus="1H",
        KSpaceFiltering="NONE",
        ApplicableSafetyStandardAgency="IEC",
        ContentQualification="RESEARCH",
        PixelPresentation="MONOCHROME",
        VolumetricProperties="VOLUME",
        VolumeBasedCalculationTechnique="NONE",
        ComplexImageComponent="MAGNITUDE",
        AcquisitionContrast=protocol.acquisition_contrast,
        PresentationLUTShape="IDENTITY",
        AcquisitionContextSequence=[],
        PulseSequenceName=protocol.sequence_name,
        MRAcquisitionType="2D",
        EchoPulseSequence="SPIN",
        MultipleSpinEcho="YES",
        MultiPlanarExcitation="NO",
        PhaseContrast="NO",
        TimeOfFlightContrast="NO",
        SteadyStatePulseSequence="NONE",
        EchoPlanarPulseSequence="NO",
        SaturationRecovery="NO",
        SpectrallySelectedSuppression="FAT" if protocol.fat_suppressed else "NONE",
        OversamplingPhase="2D",
        GeometryOfKSpaceTraversal="RECTILINEAR",
        SegmentedKSpaceTraversal="PARTIAL",
        RectilinearPhaseEncodeReordering="LINEAR",
        NumberOfKSpaceTrajectories=1,
    )


def _shared_groups(grid: Grid, protocol: Protocol) -> Dataset:
    value, meaning = protocol.region
    region = make_item(CodeValue=value, CodingSchemeDesignator="SCT", CodeMeaning=meaning)
    groups = make_item(
        PixelMeasuresSequence=[
            make_item(
                PixelSpacing=numbers(np.array(grid.orientation.pixel_spacing_mm)),
                SliceThickness=format_number_as_ds(grid.slice_thickness_mm),
                SpacingBetweenSlices=format_number_as_ds(grid.slice_spacing_mm),
            )
        ],
        PlaneOrientationSequence=[make_item(ImageOrientationPatient=orientation(grid))],
        FrameAnatomySequence=[make_item(FrameLaterality=protocol.laterality or "U", AnatomicRegionSequence=[region])],
        MRImageFrameTypeSequence=[
            make_item(
                FrameType=_frame_type(protocol),
                PixelPresentation="MONOCHROME",
                VolumetricProperties="VOLUME",
                VolumeBasedCalculationTechnique="NONE",
                ComplexImageComponent="MAGNITUDE",
                AcquisitionContrast=protocol.acquisition_contrast,
            )
        ],
        PixelValueTransformationSequence=[make_item(RescaleIntercept="0", RescaleSlope="1", RescaleType="US")],
        FrameVOILUTSequence=[make_item(WindowCenter="400", WindowWidth="900")],
    )
    groups.update(_physics_groups(grid, protocol))
    return groups


def _physics_groups(grid: Grid, protocol: Protocol) -> Dataset:
    # PS3.3 C.8.13.5
    modes = [
        make_item(OperatingModeType=kind, OperatingMode="IEC_NORMAL") for kind in ("STATIC FIELD", "RF", "GRADIENT")
    ]
    modifier = make_item(
        InversionRecovery="NO" if protocol.inversion_time_ms is None else "YES",
        FlowCompensation="NONE",
        Spoiling="NONE",
        T2Preparation="NO",
        SpectrallySelectedExcitation="NONE",
        SpatialPresaturation="NONE",
        PartialFourier="NO",
        ParallelAcquisition="NO",
    )
    if protocol.inversion_time_ms is not None:
        modifier.InversionTimes = [protocol.inversion_time_ms]
    return make_item(
        MRTimingAndRelatedParametersSequence=[
            make_item(
                RepetitionTime=protocol.repetition_time_ms,
                FlipAngle="150",
                EchoTrainLength=protocol.echo_train_length,
                RFEchoTrainLength=protocol.echo_train_length,
                GradientEchoTrainLength=0,
                SpecificAbsorptionRateSequence=[
                    make_item(SpecificAbsorptionRateDefinition="IEC_HEAD", SpecificAbsorptionRateValue=0.5)
                ],
                GradientOutputType="PER_NERVE_STIM",
                GradientOutput=0.5,
                OperatingModeSequence=modes,
            )
        ],
        MRFOVGeometrySequence=[
            make_item(
                InPlanePhaseEncodingDirection="ROW",
                MRAcquisitionFrequencyEncodingSteps=grid.rows,
                MRAcquisitionPhaseEncodingStepsInPlane=grid.columns,
                PercentSampling="100",
                PercentPhaseFieldOfView="100",
            )
        ],
        MREchoSequence=[make_item(EffectiveEchoTime=protocol.echo_time_ms)],
        MRModifierSequence=[modifier],
        MRImagingModifierSequence=[
            make_item(
                MagnetizationTransfer="NONE",
                BloodSignalNulling="NO",
                Tagging="NONE",
                TransmitterFrequency=63.87,
                PixelBandwidth="130",
            )
        ],
        MRReceiveCoilSequence=[
            make_item(
                ReceiveCoilName=protocol.coil,
                ReceiveCoilManufacturerName=MAKER,
                ReceiveCoilType="VOLUME",
                QuadratureReceiveCoil="YES",
            )
        ],
        MRTransmitCoilSequence=[
            make_item(TransmitCoilName="BODY", TransmitCoilManufacturerName=MAKER, TransmitCoilType="BODY")
        ],
        MRAveragesSequence=[make_item(NumberOfAverages=1)],
    )


def _frame_groups(grid: Grid, frame_index: int) -> Dataset:
    return make_item(
        FrameContentSequence=[
            make_item(
                FrameReferenceDateTime=DATE + TIME,
                FrameAcquisitionDateTime=DATE + TIME,
                FrameAcquisitionDuration=240.0,
                FrameAcquisitionNumber=1,
                StackID="1",
                InStackPositionNumber=frame_index + 1,
                DimensionIndexValues=[1, frame_index + 1],
            )
        ],
        PlanePositionSequence=[make_item(ImagePositionPatient=position(grid, frame_index))],
    )
