"""One reading: its answers beside the images that they rest on.

The page holds the answers; the boxes come as JSON and each frame as 16-bit values, so that window and level are set in
the browser.
"""

from collections.abc import Iterator
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from plugin.answers import answer_text, box_text
from plugin.dashboard.desk import Desk, desk_of, page, series_of
from plugin.dashboard.frames import Frames, Shown, as_bytes
from sgmri.audit import Action
from sgmri.catalogue import by_id
from sgmri.errors import SeriesError
from sgmri.findings import frames_as_text
from sgmri.questions import Answer, QuestionKind
from sgmri.readings import Reading
from worker.journal import SeriesRow
from worker.outbox import Outbox
from worker.revisions import readings
from worker.sheet import COLOURS


def show(request: Request) -> Response:
    """Show the answers of a reading; the images follow."""
    desk, row = desk_of(request), series_of(request)
    shown = _shown(request, row)
    generation: int = request.path_params["generation"]
    desk.remember(request, Action.VIEW, row, detail=f"reading {generation}")
    known = {one.generation: one for one in readings(desk.journal, row.series_key)}
    return page(
        request,
        "reading.html",
        row=row,
        generation=generation,
        standing=known.get(generation),
        reading=shown.reading,
        answers=list(_answers(shown.reading)),
        tracklets=[(one.tracklet_id, box_text(one)) for one in shown.reading.tracklets],
        viewer=_viewer_link(desk, row, shown.reading),
        may_ask=request.app.state.asking is not None,
    )


def _answers(reading: Reading) -> Iterator[dict[str, Any]]:
    questions = by_id(reading.question_set_id)
    for answer in reading.answers:
        yield {
            "question_id": answer.question_id,
            "question": questions[answer.question_id].text,
            "text": answer_text(answer).removeprefix("-> "),
            "reasoning": answer.reasoning,
            "calibrated": answer.calibrated,
            "has_certainty": answer.certainty is not None,
            "accuracy": reading.engine.accuracy_of(answer.kind),
            "frames": frames_as_text(_frame_indices(answer)),
            "tracklets": " ".join(one.tracklet_id for one in answer.evidence),
            "is_caption": answer.kind is QuestionKind.CAPTIONING,
        }


def _frame_indices(answer: Answer) -> list[int]:
    return sorted({index for tracklet in answer.evidence for index in tracklet.frame_indices})


def _viewer_link(desk: Desk, row: SeriesRow, reading: Reading) -> str:
    """Return where OHIF shows the reading's report, or else its images; nothing where no viewer is set."""
    from plugin.viewer.web import deep_link  # needs httpx, which only a linked viewer does

    url = desk.settings.dashboard.viewer_url.rstrip("/")
    if not url:
        return ""
    reports = [one for one in Outbox(journal=desk.journal).results(row) if one.kind == "SR"]
    opened = reports[0].series_instance_uid if reports else reading.series_instance_uid
    return deep_link(url, reading.study_instance_uid, opened)


def boxes(request: Request) -> Response:
    """Return what the viewer draws: the matrix, the first window, and the boxes of each tracklet in source pixels."""
    shown = _shown(request, series_of(request))
    reading = shown.reading
    try:
        low, high = shown.window(len(reading.frames) // 2)
        aspect = shown.pixel_aspect
    except SeriesError as error:
        return JSONResponse({"problem": str(error)}, status_code=409)
    return JSONResponse(
        {
            "frames": len(reading.frames),
            "rows": reading.rows,
            "columns": reading.columns,
            "pixel_aspect": aspect,
            "window": [low, high],
            "tracklets": [
                {
                    "id": tracklet.tracklet_id,
                    "label": tracklet.label,
                    "colour": "rgb({}, {}, {})".format(*COLOURS[place % len(COLOURS)]),
                    "boxes": [[one.frame_index + 1, *one.box.as_tuple()] for one in tracklet.findings],
                }
                for place, tracklet in enumerate(reading.tracklets)
            ],
        }
    )


def frame(request: Request) -> Response:
    """Return the values of a frame, and in the header which values 0 and 65535 stand for."""
    shown = _shown(request, series_of(request))
    number: int = request.path_params["frame_number"]
    if not 1 <= number <= len(shown.reading.frames):
        raise HTTPException(404, f"The reading has the frames 1 to {len(shown.reading.frames)}.")
    content, low, high = as_bytes(shown.pixels(number - 1))
    headers = {"X-Frame-Low": repr(low), "X-Frame-High": repr(high)}
    return Response(content, media_type="application/octet-stream", headers=headers)


def _shown(request: Request, row: SeriesRow) -> Shown:
    desk, frames = desk_of(request), request.app.state.frames
    assert isinstance(frames, Frames)
    directory = desk.results_dir(row, request.path_params["generation"])
    try:
        return frames.of(directory, desk.paths(row))
    except FileNotFoundError:
        raise HTTPException(404, "There is no such reading, or retention has removed it.") from None
