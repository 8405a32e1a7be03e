"""Log lines that can be correlated and that name no patient.

One event is one line; the short series key comes from the context, never a UID, header value, name, date of the
study or model text (ADR 0009). Pure functions of a record: the roof decides where the lines go.
"""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime

_series_key: ContextVar[str] = ContextVar("series_key", default="-")


@contextmanager
def series(series_key: str) -> Iterator[None]:
    """Bind the short series key to every line logged within."""
    token = _series_key.set(series_key)
    try:
        yield
    finally:
        _series_key.reset(token)


def add_series_key(record: logging.LogRecord) -> bool:
    """Put the series key on a record that has none yet (a logging filter that lets everything pass)."""
    if not hasattr(record, "series_key"):
        record.series_key = _series_key.get()
    return True


class TextFormatter(logging.Formatter):
    """``time level [series key] logger: message``, one line; tracebacks follow without exception texts."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s [%(series_key)s] %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; what another handler's formatter cached of an exception is not repeated."""
        add_series_key(record)
        cached, record.exc_text = record.exc_text, None
        try:
            return super().format(record)
        finally:
            record.exc_text = cached

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        """Return the UTC time in ISO 8601."""
        return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")

    def formatException(self, ei: object) -> str:
        """Return the stack without the exception's text, which may quote a header value."""
        return _stack_of(ei)


class JsonFormatter(logging.Formatter):
    """The same as one JSON object a line, for log collectors."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line of JSON."""
        line = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "series": getattr(record, "series_key", "-"),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info and record.exc_info[1] is not None:
            line["stack"] = _stack_of(record.exc_info)
        return json.dumps(line)


def _stack_of(exc_info: object) -> str:
    # file, line and function of each step, and the error's type; its message may hold what a peer sent
    if not isinstance(exc_info, tuple) or exc_info[1] is None:
        return ""
    lines = []
    step = exc_info[2]
    while step is not None:
        code = step.tb_frame.f_code
        lines.append(f"  {code.co_filename}:{step.tb_lineno} in {code.co_name}")
        step = step.tb_next
    return "\n".join([*lines, f"  {type(exc_info[1]).__name__}"])
