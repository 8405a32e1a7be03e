"""The rule tester: what a rule file would make of some DICOM files, before it is anybody's rule file.

The files come with the request, lie in a directory of their own for as long as they are looked at, and are deleted.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from dicom_io.rulings import Rules
from dicom_io.selection import choose
from dicom_io.series import scan_folder
from dicom_io.syncing import make_directory
from plugin import choices
from plugin.dashboard.desk import desk_of, page
from plugin.rules import MAX_BYTES, load_rules
from sgmri.audit import Action
from sgmri.errors import ConfigError
from sgmri.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a test.

    Parameters
    ----------
    series
        Documents of :mod:`plugin.choices`.
    refused
        Files that are no instance: their place in the upload, from 1, and why.
    """

    series: tuple[dict[str, object], ...]
    refused: tuple[tuple[int, str], ...]


def show(request: Request) -> Response:
    """Show the form, with the site's rules in it."""
    rules = desk_of(request).settings.selection.rules
    try:
        text = Path(rules).read_text(encoding="utf-8") if rules else ""
    except (OSError, UnicodeDecodeError):
        text = ""
    return page(request, "rules.html", rules=text, **_limits(request))


async def test(request: Request) -> Response:
    """Show what the rules of the form make of its files."""
    desk = desk_of(request)
    table = desk.settings.dashboard
    async with request.form(max_files=table.max_test_files, max_fields=8, max_part_size=MAX_BYTES) as form:
        rules = str(form.get("rules", ""))
        files = [one for one in form.getlist("files") if isinstance(one, UploadFile) and one.size]
        if sum(one.size or 0 for one in files) > table.max_test_bytes:
            raise HTTPException(413, f"Expected files of at most {table.max_test_bytes >> 20} MB together.")
        if not files:
            raise HTTPException(422, "Expected at least one DICOM file, found none.")
        with TemporaryDirectory(dir=_place(desk.settings)) as name:
            outcome, problem = await run_in_threadpool(_try, Path(name), files, rules)
    await run_in_threadpool(desk.remember, request, Action.OPERATE, detail="rule test", count=len(files))
    return page(request, "rules.html", rules=rules, outcome=outcome, problem=problem, **_limits(request))


def _limits(request: Request) -> dict[str, int]:
    table = desk_of(request).settings.dashboard
    return {"max_files": table.max_test_files, "max_megabytes": table.max_test_bytes >> 20}


def _place(settings: Settings) -> Path:
    """Return where the files of tests lie: beside the spool, so that they are as well protected."""
    place = Path(settings.storage.state_dir) / "rule-tests"
    make_directory(place)
    return place


def clear(settings: Settings) -> None:
    """Delete what the tests of a killed process left."""
    shutil.rmtree(_place(settings), ignore_errors=True)


def _try(directory: Path, files: Sequence[UploadFile], text: str) -> tuple[Outcome | None, str]:
    """Return what the rules make of the files, or what is wrong with the rules."""
    try:
        rules = _rules(directory / "rules.toml", text)
    except ConfigError as error:
        return None, str(error)
    folder = directory / "files"
    folder.mkdir()
    for number, upload in enumerate(files, start=1):
        with (folder / f"{number:05d}").open("xb") as stream:  # our own names: what the browser says is no path of ours
            shutil.copyfileobj(upload.file, stream)
    found = scan_folder(folder)
    return Outcome(
        series=tuple(choices.series_document(facts, choose(facts, rules=rules)) for facts in found.series),
        refused=tuple((int(file.name), explanation) for file, _, explanation in found.refused),
    ), ""


def _rules(path: Path, text: str) -> Rules:
    if not text.strip():
        return load_rules(None)
    path.write_text(text, encoding="utf-8")
    try:
        return load_rules(path)
    except ConfigError as error:
        raise ConfigError(str(error).replace(f"{path}: ", "")) from None
