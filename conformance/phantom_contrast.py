"""Puts a contrast agent into the headers of phantoms, which show none: what is looked at is how headers are read."""

from pydicom.dataset import Dataset

from conformance.phantom_headers import make_item


def give_contrast_agent(ds: Dataset, *, administered: bool = True) -> None:
    """Say in the header of an instance that it belongs to an examination with a contrast agent.

    Parameters
    ----------
    ds
        Classic MR gets the Contrast/Bolus module (PS3.3 C.7.6.4), Enhanced MR the Enhanced Contrast/Bolus module
        (C.7.6.4b) and a shared Contrast/Bolus Usage functional group (C.7.6.16.2.12).
    administered
        Whether it had been given before the frames of an Enhanced instance; the classic module cannot say.
    """
    if "SharedFunctionalGroupsSequence" not in ds:
        ds.ContrastBolusAgent, ds.ContrastBolusRoute = "Gadobutrol", "INTRAVENOUS"
        return
    ds.ContrastBolusAgentSequence = [
        make_item(
            **_code("407976008", "Gadobutrol"),
            ContrastBolusAgentNumber=1,
            ContrastBolusAdministrationRouteSequence=[make_item(**_code("47625008", "Intravenous route"))],
            ContrastBolusIngredientCodeSequence=[make_item(**_code("58281002", "Gadolinium"))],
            ContrastBolusVolume="7.5",
            ContrastBolusIngredientConcentration=157.25,
        )
    ]
    said = "YES" if administered else "NO"
    usage = make_item(ContrastBolusAgentNumber=1, ContrastBolusAgentAdministered=said, ContrastBolusAgentDetected=said)
    ds.SharedFunctionalGroupsSequence[0].ContrastBolusUsageSequence = [usage]


def _code(value: str, meaning: str) -> dict[str, str]:
    return {"CodeValue": value, "CodingSchemeDesignator": "SCT", "CodeMeaning": meaning}
