"""A statement as data: numbered sections of paragraphs and tables, the same for every format."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass

NOT_SUPPORTED = "Not supported."
SCHEMA = "sgmri-conformance-statement"
SCHEMA_VERSION = 1
"""Raised when a consumer of the JSON form has to change; new tables and columns at the end do not count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table; every cell is text.

    Parameters
    ----------
    key
        What a machine finds it by; unique in its document.
    title
        Its caption.
    columns, rows
        Headings, and as many cells a row.
    """

    key: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def records(self) -> tuple[Mapping[str, str], ...]:
        """Return the rows as mappings from heading to cell."""
        return tuple(dict(zip(self.columns, row, strict=True)) for row in self.rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A section.

    Parameters
    ----------
    number, title
        As PS3.2 Annex N numbers it, without the leading "N.".
    blocks
        Paragraphs and tables, in order.
    sections
        What is beneath it.
    """

    number: str
    title: str
    blocks: tuple[str | Table, ...] = ()
    sections: tuple["Section", ...] = ()

    def walk(self, depth: int = 0) -> Iterator[tuple[int, "Section"]]:
        """Yield the section and all beneath it with their depth, in the order of reading."""
        yield depth, self
        for section in self.sections:
            yield from section.walk(depth + 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A statement.

    Parameters
    ----------
    title
        What it is.
    cover
        Lines of the cover page.
    sections
        Its chapters and annexes.
    """

    title: str
    cover: tuple[str, ...]
    sections: tuple[Section, ...]

    def walk(self) -> Iterator[tuple[int, Section]]:
        """Yield every section with its depth (0: a chapter), in the order of reading."""
        for section in self.sections:
            yield from section.walk()

    def table(self, key: str) -> Table:
        """Return a table by its key.

        Raises
        ------
        KeyError
            If there is none.
        """
        tables = (block for _, section in self.walk() for block in section.blocks if isinstance(block, Table))
        for table in tables:
            if table.key == key:
                return table
        raise KeyError(key)

    def as_mapping(self) -> Mapping[str, object]:
        """Return the form for machines, of plain types."""
        return {"schema": SCHEMA, "schema_version": SCHEMA_VERSION, **asdict(self)}
