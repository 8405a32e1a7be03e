"""``sgmri services``: print the table of DICOM services that the listener and the deliveries offer."""

import argparse
from typing import Any

from dicom_io.services import IMAGE_TRANSFER_SYNTAXES, SERVICES, UNCOMPRESSED, Service


def add_parser(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add the subcommand."""
    parser = commands.add_parser("services", help="print the DICOM services: SOP class, role, transfer syntaxes")
    parser.add_argument("--markdown", action="store_true", help="print a Markdown table")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print it."""
    if not arguments.markdown:
        for service in SERVICES:
            print(f"{service.role:4} {service.use:22} {service.name} ({service.sop_class_uid})")
            for syntax in service.transfer_syntaxes:
                print(f"{'':28}{syntax.name} ({syntax})")
        return 0
    print("| role | use | SOP class | UID | transfer syntaxes |")
    print("|---|---|---|---|---|")
    for service in SERVICES:
        print(f"| {service.role} | {service.use} | {service.name} | {service.sop_class_uid} | {_set_of(service)} |")
    for name, syntaxes in _SETS.items():
        listed = ", ".join(f"{syntax.name} ({syntax})" for syntax in syntaxes)
        print(f"\n*{name}*, in order of preference: {listed}.")
    return 0


_SETS = {"uncompressed": UNCOMPRESSED, "images": IMAGE_TRANSFER_SYNTAXES}


def _set_of(service: Service) -> str:
    return next(name for name, syntaxes in _SETS.items() if syntaxes == service.transfer_syntaxes)
