"""Damaged input for everything that reads what a peer sent, made from a seed; as a program, many of them.

    scripts/fuzz [--inputs N] [--first SEED]

Each seed takes valid material, damages it in a few places, and gives it to one of: a whole association (PDUs, commands,
data sets), the decoding of an association request, of a command set, of a PS3.10 file's header, or the recovery of a
segment. Anything but the errors that are meant for the peer is a crash, and its seed is printed.
"""

import argparse
import logging
import random
import resource
import shutil
import socket
import sys
import tempfile
import time
import traceback
import warnings
from contextlib import suppress
from pathlib import Path

from dicom_io.callers import Caller
from dicom_io.header_scan import scan
from dicom_io.receiver import commands
from dicom_io.receiver.admission import Admission
from dicom_io.receiver.association import Association, Place
from dicom_io.receiver.negotiation import negotiate, supported_contexts
from dicom_io.receiver.targets import file_meta
from dicom_io.scp import Callbacks
from dicom_io.services import IMAGE_TRANSFER_SYNTAXES, MR_IMAGE, STORAGE_COMMITMENT, VERIFICATION
from dicom_io.spool import Spool
from dicom_io.stored import read_header
from sgmri.errors import AssociationError, MalformedInstance
from sgmri.settings import Listener
from tests.faults import wire
from tests.receivers import SCANNER, mr_instance

_MOST_BYTES = 1 << 16  # a socket pair holds it without a reader
_SPICE = (
    b"\0",
    b"\xff",
    b"\xff\xff\xff\xff",
    b"\0\0\0\0",
    b"\x7f\xff\xff\xff",
    b"SQ\0\0\xff\xff\xff\xff",
    b"../",
    b"UN",
)


class Fuzz:
    """Takes damaged input, seed by seed.

    Parameters
    ----------
    directory
        Where the spool is made; nothing else may appear there.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._settings = Listener(
            peers=(SCANNER,), network_timeout_s=5.0, request_timeout_s=5.0, max_instance_bytes=1 << 20
        )
        self._supported = supported_contexts()
        contexts = wire.CONTEXTS + wire.context(5, STORAGE_COMMITMENT, "1.2.840.10008.1.2")
        self._body = wire.request_body(contexts)
        data_set = wire.data_set(pixel_bytes=300)
        self._request = wire.pdu(1, self._body)
        self._messages = (
            wire.c_store() + wire.data(data_set),
            wire.c_store("2.25.102") + wire.data(wire.data_set(mr_instance("2.25.102"), pixel_bytes=5000)),
            wire.p_data(3, 3, wire.command(sop_class=VERIFICATION, field=0x30, message_id=1, data_set=0x101)),
            wire.p_data(
                5,
                3,
                wire.command(
                    sop_class=STORAGE_COMMITMENT, field=0x100, message_id=7, data_set=0, instance="2.25.9", event_type=1
                ),
            )
            + wire.p_data(5, 2, b"\x08\x00\x95\x11\x06\0\0\x002.25.9"),
            wire.RELEASE_RQ,
            wire.pdu(7, bytes(4)),
        )
        self._file = file_meta(MR_IMAGE, "2.25.101", "1.2.840.10008.1.2.1") + data_set
        self._data_set = data_set
        self._command = wire.command(sop_class=MR_IMAGE, field=1, message_id=1, data_set=0, instance="2.25.101")
        self._fresh_spool()

    def _fresh_spool(self) -> None:
        shutil.rmtree(self._directory / "spool", ignore_errors=True)
        self._spool = Spool(self._directory / "spool", synced=False)
        self._place = Place(
            settings=self._settings,
            spool=self._spool,
            callbacks=Callbacks(stored=lambda instance: None, committed=lambda result: None),
            admission=Admission(self._settings),
            supported=self._supported,
        )

    def one(self, seed: int) -> None:
        """Take the input of a seed; raises what nobody should."""
        if seed % 1000 == 0:
            self._fresh_spool()
        luck = random.Random(seed)  # noqa: S311 - reproducible, not secret
        with suppress(AssociationError, MalformedInstance):
            match luck.randrange(8):
                case 0:
                    negotiate(damaged(self._body, luck), self._settings, Caller(address="127.0.0.1"), self._supported)
                case 1:
                    commands.response(commands.decode(damaged(self._command, luck)), 0)
                case 2:
                    read_header(damaged(self._file, luck))
                case 3:
                    content = damaged(self._data_set, luck)
                    syntax = luck.choice(IMAGE_TRANSFER_SYNTAXES)
                    scan(lambda offset, count: content[offset : offset + count], len(content), syntax)
                case 4:
                    self._recover(luck)
                case _:
                    self._associate(luck)
        assert [path.name for path in self._directory.iterdir()] == ["spool"], "something was written elsewhere"

    def _recover(self, luck: random.Random) -> None:
        segments = self._spool.root / "segments"
        segments.mkdir(exist_ok=True)
        size = len(self._file).to_bytes(8, "little")
        record = luck.choice((b"SGR1", b"SGR2")) + size + self._file + b"END1" + size + bytes(4)
        (segments / "0.segment").write_bytes(damaged(record * 2, luck))
        self._spool.recover()

    def _associate(self, luck: random.Random) -> None:
        request = damaged(self._request, luck) if luck.random() < 0.2 else self._request
        messages = [luck.choice(self._messages) for _ in range(luck.randrange(1, 5))]
        content = request + b"".join(damaged(one, luck) if luck.random() < 0.6 else one for one in messages)
        ours, theirs = socket.socketpair()
        with ours, theirs:
            theirs.sendall(content[:_MOST_BYTES])
            theirs.shutdown(socket.SHUT_WR)
            Association(self._place, ours, Caller(address="127.0.0.1"), lambda: None).run()


def damaged(content: bytes, luck: random.Random) -> bytes:
    """Damage content in up to four places: change, cut, double, insert."""
    changed = bytearray(content)
    for _ in range(luck.randrange(1, 5)):
        place = luck.randrange(len(changed) + 1)
        length = luck.randrange(1, 1 + min(64, max(1, len(changed))))
        match luck.randrange(6):
            case 0:
                changed[place : place + 1] = bytes([luck.randrange(256)])
            case 1:
                del changed[place : place + length]
            case 2:
                changed[place:place] = changed[place : place + length]
            case 3:
                changed[place : place + length] = luck.randbytes(length)
            case 4:
                del changed[place:]
            case _:
                spice = luck.choice(_SPICE)
                changed[place : place + len(spice)] = spice
    return bytes(changed)


def main() -> int:
    """Run many seeds; 1 if any of them crashed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--first", type=int, default=1, help="the first seed")
    options = parser.parse_args()
    logging.disable()  # every input is refused with a line
    warnings.simplefilter("ignore")
    crashed: list[int] = []
    with tempfile.TemporaryDirectory() as directory:
        fuzz = Fuzz(Path(directory))
        for seed in range(1, 1000):  # what is loaded and kept once is no growth
            with suppress(Exception):
                fuzz.one(seed)
        start_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        started = time.monotonic()
        for seed in range(options.first, options.first + options.inputs):
            try:
                fuzz.one(seed)
            except Exception:  # noqa: BLE001 - whatever it is, it is what is looked for
                crashed.append(seed)
                traceback.print_exc()
        peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        took_s = time.monotonic() - started
    print(  # noqa: T201 - its output
        f"{options.inputs} inputs in {took_s:.0f} s, {len(crashed)} crashes {crashed[:20]}, peak memory "
        f"{peak_kib / 1024:.0f} MiB, of which {(peak_kib - start_kib) / 1024:.1f} MiB after the first thousand"
    )
    return 1 if crashed else 0


if __name__ == "__main__":
    sys.exit(main())
