"""The command ``sgmri``: one module a subcommand, each with ``add_parser`` and ``run``.

Exit codes: 0 done, 1 failed, 2 wrong usage or input that is refused.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version

from plugin.cli import (
    alerts,
    ask,
    audit,
    benchmark,
    cancel,
    clean,
    conformance,
    demo,
    doctor,
    drain,
    lane,
    model,
    read,
    reread,
    resume,
    retract,
    retry,
    select,
    send,
    serve,
    services,
    settings,
    show,
    status,
    suspend,
    sweep,
    users,
    viewer,
)
from sgmri import RESEARCH_USE_STATEMENT
from sgmri.errors import ConfigError, SeriesError, SgmriError

_COMMANDS = (
    *(demo, serve, send, read, ask, show, select, status, retry, cancel, reread, retract, clean),
    sweep,
    *(lane, suspend, resume, drain),
    *(model, benchmark, conformance, viewer, users, doctor, alerts, audit, settings, services),
)


def parser() -> argparse.ArgumentParser:
    """Make the argument parser."""
    top = argparse.ArgumentParser(
        prog="sgmri",
        description="Spatially grounded reading of brain and knee MRI, from DICOM to DICOM. " + RESEARCH_USE_STATEMENT,
    )
    top.add_argument("--version", action="version", version=f"sgmri {version('sgmri')}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in _COMMANDS:
        command.add_parser(commands)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments
        Without the program's name; None for the process's own.

    Returns
    -------
    The exit code.
    """
    chosen = parser().parse_args(arguments)
    # Before anything loads OpenMP: threads that spin while they wait make a reading twenty times slower on a machine
    # that has other work
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        return int(chosen.run(chosen))
    except (ConfigError, SeriesError) as error:
        print(f"sgmri: {error}", file=sys.stderr)
        return 2
    except SgmriError as error:
        print(f"sgmri: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # the reader of our output has gone (sgmri status | head): nothing is wrong
        sys.stderr.close()
        return 0
    except KeyboardInterrupt:
        print("sgmri: interrupted", file=sys.stderr)
        return 130
