"""The answers of a run, one line each, on the disk before the next question is counted as answered.

Lines are only ever appended, each flushed to the disk (fsync); a line that a killed process left half is cut off when
the run is taken up again, and its question asked anew. So no answer stands twice and none is lost.
"""

import fcntl
import os
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Self

from benchmark.items import Prediction
from sgmri.errors import ConfigError


def read_answers(path: Path) -> dict[str, Prediction]:
    """Return the answers of a file by item id; a last line without its end is no answer.

    Raises
    ------
    ConfigError
        If there is no file, a line is no answer, or an item is answered twice.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"expected the answers of a run, found no {path}; run sgmri benchmark run") from error
    answers: dict[str, Prediction] = {}
    for number, line in enumerate(content[: content.rfind(b"\n") + 1].splitlines(), start=1):
        try:
            said = Prediction.from_line(line.decode("utf-8"))
        except (ConfigError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}, line {number}: {error}") from error
        if said.item_id in answers:
            raise ConfigError(f"{path}, line {number}: expected one answer to {said.item_id}, found a second one")
        answers[said.item_id] = said
    return answers


class Ledger:
    """The file of a run's answers, open for more; of one process at a time.

    Parameters
    ----------
    path
        The file; made where there is none.

    Raises
    ------
    ConfigError
        If another process writes to it, or it holds something else.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._file = path.open("ab")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._answers = read_answers(path)
        except OSError:
            self._file.close()
            raise ConfigError(
                f"{path}: expected no other process at work on this run, found one; wait for it"
            ) from None
        except ConfigError:
            self._file.close()
            raise
        content = path.read_bytes()
        self._file.truncate(content.rfind(b"\n") + 1)

    @property
    def answers(self) -> Mapping[str, Prediction]:
        """What was answered, by item id."""
        return MappingProxyType(self._answers)

    def append(self, said: Prediction) -> None:
        """Keep an answer; on return it is on the disk.

        Raises
        ------
        ConfigError
            If the item has one already.
        """
        self.append_all((said,))

    def append_all(self, said: Iterable[Prediction]) -> None:
        """Keep answers that come at once; on return all of them are on the disk.

        Raises
        ------
        ConfigError
            If an item has one already.
        """
        with self._lock:
            for one in said:
                if one.item_id in self._answers:
                    raise ConfigError(f"expected one answer to {one.item_id}, found a second one")
                self._file.write(f"{one.to_line()}\n".encode())
                self._answers[one.item_id] = one
            self._file.flush()
            os.fsync(self._file.fileno())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
