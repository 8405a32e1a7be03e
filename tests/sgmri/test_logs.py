"""A log line can be correlated by its series key and quotes nothing that an error quotes."""

import json
import logging
import threading
from datetime import datetime, timedelta

import pytest

from sgmri.logs import JsonFormatter, TextFormatter, add_series_key, series

CANARY = "CANARY^PATIENT"
formatters = pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter()], ids=["text", "json"])


def record_of(message: str, *arguments: object, error: BaseException | None = None) -> logging.LogRecord:
    """Make a record as a handler with our filter sees it."""
    exc_info = (type(error), error, error.__traceback__) if error else None
    record = logging.LogRecord("dicom_io.scp", logging.WARNING, __file__, 1, message, arguments, exc_info)
    assert add_series_key(record)
    return record


def use(header_value: str) -> None:
    """Fail as a parser does: the error and its cause both quote the value."""
    try:
        int(header_value)
    except ValueError as cause:
        raise ValueError(f"cannot use {header_value}") from cause


def raised() -> ValueError:
    """Return an error with its traceback."""
    with pytest.raises(ValueError, match="cannot use") as caught:
        use(CANARY)
    return caught.value


@formatters
def test_an_error_is_logged_by_type_and_place_without_its_text(formatter: logging.Formatter) -> None:
    """The stack names file and function and the error's type; what a peer sent is in neither (ADR 0009)."""
    text = formatter.format(record_of("could not read", error=raised()))
    assert CANARY not in text
    assert "ValueError" in text
    assert "in use" in text
    assert "test_logs.py" in text


@pytest.mark.parametrize(
    "formatter",
    [
        TextFormatter(),
        JsonFormatter(),
    ],
    ids=["text", "json"],
)
def test_a_record_that_another_handler_formatted_first_still_quotes_nothing(formatter: logging.Formatter) -> None:
    """Python caches the first formatter's traceback on the record; ours does not use it (ADR 0009)."""
    record = record_of("could not read", error=raised())
    assert CANARY in logging.Formatter().format(record)
    assert CANARY not in formatter.format(record)


@formatters
def test_the_series_key_is_on_the_line(formatter: logging.Formatter) -> None:
    """Within the context the key is on every line, nested keys give way, and outside there is none."""
    with series("1a2b3c4d"):
        with series("99999999"):
            assert "99999999" in formatter.format(record_of("inner"))
        line = formatter.format(record_of("received %d instances", 12))
        assert "1a2b3c4d" in line
        assert "received 12 instances" in line
    assert "1a2b3c4d" not in formatter.format(record_of("outside"))


def test_a_series_key_does_not_leak_into_another_thread() -> None:
    """Associations run in threads of their own: each has its own key."""
    seen: list[str] = []
    with series("1a2b3c4d"):
        thread = threading.Thread(target=lambda: seen.append(TextFormatter().format(record_of("other"))))
        thread.start()
        thread.join()
    assert "1a2b3c4d" not in seen[0]


def test_a_key_is_released_when_the_work_fails() -> None:
    """An exception within the context does not leave its key behind."""
    with pytest.raises(RuntimeError), series("1a2b3c4d"):
        raise RuntimeError
    assert "1a2b3c4d" not in TextFormatter().format(record_of("later"))


def test_json_is_one_object_a_line() -> None:
    """Line breaks and quotes in a message stay within the one line, and the fields are named."""
    text = JsonFormatter().format(record_of('two\nlines and "quotes"'))
    assert "\n" not in text
    line = json.loads(text)
    assert line["message"] == 'two\nlines and "quotes"'
    assert (line["level"], line["logger"], line["series"]) == ("WARNING", "dicom_io.scp", "-")
    assert "stack" not in line


@formatters
def test_the_time_is_utc(formatter: logging.Formatter) -> None:
    """Several machines' logs can be merged: the time has its zone, and that is UTC."""
    text = formatter.format(record_of("now"))
    stamp = json.loads(text)["at"] if text.startswith("{") else text.split(" ")[0]
    assert datetime.fromisoformat(stamp).utcoffset() == timedelta(0)
