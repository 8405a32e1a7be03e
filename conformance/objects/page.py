"""The report as one HTML page that needs no other file: findings by object, with marked frames."""

import base64
import io
from collections.abc import Mapping
from html import escape
from typing import Final

import numpy as np
from PIL import Image, ImageDraw
from pydicom.pixels.utils import pixel_array

from conformance.objects.checking import Report
from conformance.objects.corpus import Corpus
from conformance.objects.findings import ORDER, Finding, Mark
from dicom_io.objects.sources import leniently

_MOST_PICTURES: Final = 40
_WIDTH_PX: Final = 480
_STYLE: Final = (
    "body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;color:#222}"
    "h2{font-size:1.05rem;margin:2rem 0 .3rem;word-break:break-all}table{border-collapse:collapse;width:100%}"
    "td,th{border-top:1px solid #ddd;padding:.35rem .6rem;text-align:left;vertical-align:top}"
    ".error{color:#a40000;font-weight:600}.warning{color:#8a5a00}.note{color:#555}"
    "code{font-size:.92em;word-break:break-all}img{margin:.5rem 0;max-width:100%}"
)


def as_html(report: Report) -> str:
    """Return the report as a page; every text is escaped, and no script, font or picture is fetched."""
    pictures = _pictures(report)
    counts = ", ".join(f"{report.count(severity)} {severity}s" for severity in ORDER)
    body = [
        "<h1>Result objects</h1>",
        f"<p>{len(report.objects)} objects against {report.sources} source instances: {counts}.</p>",
    ]
    for path in report.objects:
        found = [finding for finding in report.findings if finding.path == path]
        body.append(f"<h2>{escape(str(path))}</h2>")
        body.append(_table(found, pictures) if found else "<p>Nothing found.</p>")
    rest = [finding for finding in report.findings if finding.path not in set(report.objects)]
    if rest:
        body += ["<h2>The check itself</h2>", _table(rest, pictures)]
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>Result objects</title>'
        f"<style>{_STYLE}</style></head><body>\n" + "\n".join(body) + "\n</body></html>\n"
    )


def _table(found: list[Finding], pictures: Mapping[Mark, str]) -> str:
    rows = "\n".join(_row(finding, pictures) for finding in found)
    heads = "<tr><th></th><th>check</th><th>part</th><th>expected</th><th>found</th><th>source</th></tr>"
    return f"<table>{heads}\n{rows}</table>"


def _row(finding: Finding, pictures: Mapping[Mark, str]) -> str:
    picture = pictures.get(finding.mark, "") if finding.mark is not None else ""
    shown = f'<br><img alt="the frame, with what is marked" src="{picture}">' if picture else ""
    cells = (
        f"<code>{escape(finding.check)}</code>",
        f"<code>{escape(finding.part)}</code>",
        escape(finding.expected),
        escape(finding.found) + shown,
        escape(finding.source),
    )
    severity = str(finding.severity)
    return f'<tr><td class="{severity}">{severity}</td>' + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _pictures(report: Report) -> dict[Mark, str]:
    found: dict[Mark, str] = {}
    for finding in report.findings:
        mark = finding.mark
        if mark is not None and mark not in found and len(found) < _MOST_PICTURES:
            picture = picture_of(mark, report.corpus)
            if picture is not None:
                found[mark] = picture
    return found


def picture_of(mark: Mark, corpus: Corpus) -> str | None:
    """Return a frame with what is marked on it, as a data URL; None where its pixels are not there or not readable."""
    instance = corpus.image(mark.sop_instance_uid)
    number = mark.frame_number or 1
    if instance is None or not 1 <= number <= instance.frame_count or not mark.points:
        return None
    try:
        with leniently():
            pixels = np.asarray(pixel_array(instance.path, index=number - 1), dtype=np.float64)
    except Exception:  # noqa: BLE001 -- the border to hostile input: a picture is a courtesy, the finding stands
        return None
    if pixels.ndim != 2 or not pixels.size:
        return None
    low, high = np.percentile(pixels, (1, 99))
    grey = np.clip((pixels - low) / max(float(high - low), 1e-9) * 255, 0, 255).astype(np.uint8)
    scale = _WIDTH_PX / grey.shape[1]
    image = Image.fromarray(grey).convert("RGB").resize((_WIDTH_PX, max(1, round(grey.shape[0] * scale))))
    points = [(x * scale, y * scale) for x, y in mark.points]
    ImageDraw.Draw(image).line([*points, points[0]], fill=(255, 60, 60), width=2)
    stream = io.BytesIO()
    image.save(stream, format="PNG")
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode("ascii")
