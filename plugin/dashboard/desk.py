"""What every page needs: settings, journal, who remembers, and how a page is made."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.templating import Jinja2Templates

from plugin.dashboard import words
from plugin.dashboard.access import Role, csrf_token, user_of
from plugin.listener import outbox_dir, spool_dir
from sgmri import RESEARCH_USE_STATEMENT
from sgmri.audit import Action, AuditEvent, Auditor, Outcome
from sgmri.settings import Settings
from worker.journal import Journal, SeriesRow

_FOLDER = Path(__file__).parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What the pages work with.

    Parameters
    ----------
    settings, journal
        The configuration, and the truth.
    auditor
        Who remembers what was seen and done.
    templates
        The pages.
    """

    settings: Settings
    journal: Journal
    auditor: Auditor
    templates: Jinja2Templates

    @property
    def clock(self) -> Callable[[], float]:
        """Seconds since the epoch."""
        return self.journal.clock

    def paths(self, row: SeriesRow) -> list[Path]:
        """Return the files of a series that are still in the spool."""
        folder = spool_dir(self.settings) / row.series_key
        return [path for name in self.journal.file_names(row.series_key) if (path := folder / name).exists()]

    def results_dir(self, row: SeriesRow, generation: int) -> Path:
        """Return where the results of one reading lie."""
        return outbox_dir(self.settings) / row.series_key / str(generation)

    def remember(
        self, request: Request, action: Action, row: SeriesRow | None = None, *, detail: str = "",
        outcome: Outcome = Outcome.SUCCESS, count: int = 0,
    ) -> None:  # fmt: skip
        """Write who saw or did something into the audit log."""
        key = "" if row is None else row.series_key[:8]
        who = user_of(request).name
        event = AuditEvent(action=action, outcome=outcome, who=who, series_key=key, detail=detail, count=count)
        self.auditor(event)


def make_templates() -> Jinja2Templates:
    """Return the pages; whatever is written into one is escaped."""
    templates = Jinja2Templates(directory=_FOLDER / "templates")
    templates.env.filters.update(words.FILTERS)
    templates.env.globals["research_use"] = RESEARCH_USE_STATEMENT
    return templates


def static_folder() -> Path:
    """Return where scripts and styles lie."""
    return _FOLDER / "static"


def desk_of(request: Request) -> Desk:
    """Return what the pages of this application work with."""
    desk: Desk = request.app.state.desk
    return desk


def page(request: Request, name: str, *, status_code: int = 200, **context: object) -> Response:
    """Return a page.

    Parameters
    ----------
    request
        Of a user who is logged in.
    name
        Its template.
    context
        What the template shows.
    """
    desk, user = desk_of(request), user_of(request)
    common: dict[str, object] = {
        "user": user,
        "may_operate": user.role.covers(Role.OPERATOR),
        "csrf": csrf_token(request),
        "now": desk.clock(),
        "said": words.SAID.get(request.query_params.get("said", "")),
    }
    return desk.templates.TemplateResponse(request, name, {**common, **context}, status_code=status_code)


def back(path: str, said: str) -> Response:
    """Send the browser back to a page, which says what was done (a key of :data:`plugin.dashboard.words.SAID`)."""
    return RedirectResponse(f"{path}?said={said}", status_code=303)


def series_of(request: Request) -> SeriesRow:
    """Return the series that the address names; 404 where the journal does not have it."""
    try:
        return desk_of(request).journal.series(request.path_params["key"])
    except KeyError:
        raise HTTPException(404, "The journal has no series with this key.") from None
