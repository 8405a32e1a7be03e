"""The formats of a statement: Markdown, self-contained HTML, Word (docx) and JSON; the same bytes every time."""

import io
import json
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from html import escape
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from conformance.statement.document import Document, Table
from sgmri.errors import ConfigError

if TYPE_CHECKING:
    from docx.document import Document as WordDocument

_EARLIEST: Final = (1980, 1, 1, 0, 0, 0)
"""Date of every file in a docx: the earliest that ZIP has."""
_STYLE: Final = """
body { font: 15px/1.5 sans-serif; max-width: 75em; margin: 2em auto; padding: 0 1em; color: #222 }
table { border-collapse: collapse; margin: 1em 0; font-size: 13px } caption { text-align: left; font-style: italic }
th, td { border: 1px solid #bbb; padding: 2px 6px; text-align: left; vertical-align: top } th { background: #eee }
"""


def as_json(document: Document) -> bytes:
    """Return the form for machines; ``schema_version`` says which."""
    return (json.dumps(document.as_mapping(), indent=1, ensure_ascii=False) + "\n").encode()


def as_markdown(document: Document) -> bytes:
    """Return Markdown."""
    lines = [f"# {document.title}", "", *(f"- {line}" for line in document.cover), ""]
    for depth, section in document.walk():
        lines += [f"{'#' * (depth + 2)} {section.number} {section.title}", ""]
        for block in section.blocks:
            lines += [*_markdown_table(block), ""] if isinstance(block, Table) else [block, ""]
    return "\n".join(lines).rstrip("\n").encode() + b"\n"


def _markdown_table(table: Table) -> Iterator[str]:
    yield f"*{table.title}*"
    yield ""
    if not table.rows:
        yield "(none)"
        return
    yield f"| {' | '.join(table.columns)} |"
    yield f"|{'---|' * len(table.columns)}"
    for row in table.rows:
        yield f"| {' | '.join(_markdown_cell(cell) for cell in row)} |"


def _markdown_cell(cell: str) -> str:
    return cell.replace("\\", "\\\\").replace("|", "\\|").replace(">", "\\>").replace("\n", " ")


def as_html(document: Document) -> bytes:
    """Return one HTML page that needs nothing else."""
    parts = [
        '<!DOCTYPE html>\n<html lang="en">\n<head><meta charset="utf-8">',
        f"<title>{escape(document.title)}</title><style>{_STYLE}</style></head>\n<body>",
        f"<h1>{escape(document.title)}</h1>",
        f"<p>{'<br>'.join(map(escape, document.cover))}</p>",
    ]
    for depth, section in document.walk():
        level = min(depth + 2, 6)
        parts.append(f"<h{level}>{escape(section.number)} {escape(section.title)}</h{level}>")
        parts += [_html_table(block) if isinstance(block, Table) else _html_text(block) for block in section.blocks]
    return ("\n".join([*parts, "</body>\n</html>"]) + "\n").encode()


def _html_text(text: str) -> str:
    return "<p>" + re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text)) + "</p>"


def _html_table(table: Table) -> str:
    if not table.rows:
        return f"<p><em>{escape(table.title)}</em>: (none)</p>"
    head = "".join(f"<th>{escape(column)}</th>" for column in table.columns)
    body = "\n".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in table.rows)
    return f"<table><caption>{escape(table.title)}</caption>\n<tr>{head}</tr>\n{body}\n</table>"


def as_docx(document: Document) -> bytes:
    """Return a Word document.

    Raises
    ------
    ConfigError
        If python-docx is not installed.
    """
    try:
        import docx  # an extra
    except ImportError:
        raise ConfigError(
            "expected python-docx for the format docx, found none; pip install sgmri[conformance]"
        ) from None
    word = docx.Document()
    word.core_properties.title = document.title
    word.core_properties.author = ""
    word.add_heading(document.title, level=0)
    for line in document.cover:
        word.add_paragraph(line)
    for depth, section in document.walk():
        word.add_heading(f"{section.number} {section.title}", level=min(depth + 1, 9))
        for block in section.blocks:
            if isinstance(block, Table):
                _docx_table(word, block)
            else:
                word.add_paragraph(block)
    written = io.BytesIO()
    word.save(written)
    return _undated(written)


def _docx_table(word: "WordDocument", table: Table) -> None:
    word.add_paragraph(table.title, style="Caption")
    grid = word.add_table(rows=1 + len(table.rows), cols=len(table.columns), style="Table Grid")
    for line, row in zip(grid._tbl.tr_lst, (table.columns, *table.rows), strict=True):
        # by way of grid.cell the rows of one table are searched again for every cell: minutes for a statement
        for cell, text in zip(line.tc_lst, row, strict=True):
            cell.p_lst[0].add_r().text = text


def _undated(written: io.BytesIO) -> bytes:
    """Return the docx with the date of every file in it taken away."""
    plain = io.BytesIO()
    with zipfile.ZipFile(written) as dated, zipfile.ZipFile(plain, "w", zipfile.ZIP_DEFLATED) as undated:
        for name in dated.namelist():
            undated.writestr(zipfile.ZipInfo(name, _EARLIEST), dated.read(name), zipfile.ZIP_DEFLATED)
    return plain.getvalue()


FORMATS: Final[Mapping[str, Callable[[Document], bytes]]] = MappingProxyType(
    {"md": as_markdown, "html": as_html, "docx": as_docx, "json": as_json}
)
"""Name of a format, which is its file name's ending -> what writes it."""
