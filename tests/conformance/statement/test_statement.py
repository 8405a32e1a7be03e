"""The whole statement: its order, its formats, and that it follows the settings."""

import io
import json
import platform
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import docx
import pytest

from conformance.statement.assembly import statement
from conformance.statement.configuration import COVERED, LEFT_OUT
from conformance.statement.document import SCHEMA_VERSION, Document, Table
from conformance.statement.formats import FORMATS
from plugin.cli.main import main
from plugin.settings import admitted_peers
from sgmri import RESEARCH_USE_STATEMENT
from sgmri.settings import Settings, documented_keys, parse

CHAPTERS = {
    "1": "Overview",
    "2": "Table of Contents",
    "3": "Introduction",
    "4": "Implementation Model",
    "5": "Service and Interoperability Description",
    "6": "Configuration",
    "7": "Network and Media Communication Details",
    "8": "Security",
    "A.A": "Information Object Definitions",
    "A.B": "Structured Report Content Encoding",
    "A.C": "Security Details",
    "A.D": "Mapping of Attributes",
    "A.E": "Code Set Usage",
}
"""PS3.2 Annex N."""
SITE = """
[listener]
ae_title = "READER"
port = 4242
receiver = "pynetdicom"
max_associations = 7
[[listener.peers]]
ae_title = "SCANNER"
host = "10.1.2.3"
[series]
quiet_period_s = 33.0
[delivery]
ae_title = "ARCHIVE"
host = "10.1.2.4"
port = 4243
viewers = ["weasis"]
label_map = true
commitment = false
[[destination]]
name = "second"
ae_title = "SECOND"
host = "10.1.2.5"
port = 4244
commitment = "query"
[[destination]]
name = "web"
kind = "stow"
url = "https://web.example/dicom-web?token=s3cret"
authentication = "bearer"
secret_file = "/run/s3cret"
commitment = "query"
question_sets = ["knee"]
"""


@pytest.fixture(scope="module")
def default() -> Document:
    return statement(Settings())


def tables(document: Document) -> list[Table]:
    return [block for _, section in document.walk() for block in section.blocks if isinstance(block, Table)]


def text_of(document: Document) -> str:
    return FORMATS["md"](document).decode()


def test_chapters_and_order_are_those_of_annex_n(default: Document) -> None:
    """Chapters 1 to 8 and the annexes stand in the order of the template, sections are numbered within theirs."""
    assert {section.number: section.title for section in default.sections} == CHAPTERS
    for chapter in default.sections:
        numbers = [section.number for _, section in chapter.walk()]
        assert all(number.startswith(chapter.number) for number in numbers)
        assert len(set(numbers)) == len(numbers)
    keys = [table.key for table in tables(default)]
    assert len(set(keys)) == len(keys)
    assert all(len(row) == len(table.columns) for table in tables(default) for row in table.rows)


@pytest.mark.parametrize("ending", FORMATS)
def test_the_same_configuration_gives_the_same_bytes(ending: str, default: Document) -> None:
    """Twice the same, and without this machine's name, a path, or a date (scripts/generate --check: in any process)."""
    content = FORMATS[ending](default)
    assert content == FORMATS[ending](statement(Settings()))
    if ending != "docx":
        assert platform.node() not in content.decode()
        assert str(Path.cwd()) not in content.decode()
        assert not re.search(r"\b20[23]\d-\d\d-\d\d", content.decode())


def test_every_format_says_the_same(default: Document) -> None:
    """Every cell of every table is in JSON, HTML and Word; HTML needs no other file."""
    cells = [[list(row) for row in table.rows] for table in tables(default)]
    machine: Mapping[str, Any] = json.loads(FORMATS["json"](default))
    assert (machine["schema"], machine["schema_version"]) == ("sgmri-conformance-statement", SCHEMA_VERSION)
    assert [block["rows"] for block in _blocks(machine["sections"]) if isinstance(block, dict)] == cells
    word = docx.Document(io.BytesIO(FORMATS["docx"](default)))
    assert len(word.tables) == len(cells)
    for grid, rows in zip(word.tables, cells, strict=True):
        found = [
            ["".join(run.text for run in cell.p_lst[0].r_lst) for cell in line.tc_lst] for line in grid._tbl.tr_lst
        ]
        assert found[1:] == rows
    page = FORMATS["html"](default).decode()
    assert page.count("<tr>") == sum(len(rows) + 1 for rows in cells if rows)
    assert not re.search(r"<(script|link|img)|src=|href=", page)
    assert RESEARCH_USE_STATEMENT in page


def _blocks(sections: list[Any]) -> list[Any]:
    found = []
    for section in sections:
        found += [*section["blocks"], *_blocks(section["sections"])]
    return found


def test_the_statement_follows_the_settings(default: Document, tmp_path: Path) -> None:
    """AE title, port, receiver, limits, peers, destination and its objects are those of the configuration file."""
    (tmp_path / "site.toml").write_text(SITE, encoding="utf-8")
    out = tmp_path / "statement.md"
    assert main(["conformance", "statement", "--config", str(tmp_path / "site.toml"), "--out", str(out)]) == 0
    said = out.read_text(encoding="utf-8")
    for line in (
        "- AE title: READER",
        "| both | AE title | READER |",
        "| acceptor | associations at a time | 7 |",
        "| SCANNER | 10.1.2.3 |",
        "| ARCHIVE | any |",
        "| in | 4242 | listener.port |",
        "| out | 4243 | port or url of delivery |",
        "| out | 443 | port or url of web | STOW-RS, QIDO-RS |",
        "| delivery: ARCHIVE | out | Storage | results |",
        "| second: SECOND | out | Query/Retrieve: C-FIND | proof that it has every object;",
        "| web: https://web.example/dicom-web | out | STOW-RS | results |",
        "| web | STOW-RS | https://web.example/dicom-web | web.example:443 | query | knee |",
        "Called AE title: ARCHIVE, SECOND. Calling AE title: READER.",
        "| Kind | For viewers | delivery | second | web |",
        "| SEG | ohif, slicer, weasis | N | Y | Y |",
        "| delivery | C-STORE | ARCHIVE | 10.1.2.4:4243 | none | all |",
        "web: https, authentication bearer",
        "| second: (empty); web: (set) |",
        "no instance has come for 33 s",
        "| delivery.commitment |  | true | false |",
    ):
        assert line in said, line
        assert line not in text_of(default), line
    assert "s3cret" not in said
    assert "A-ABORT" not in said.partition("A-ASSOCIATE-RJ")[2].partition("### 7.3")[0]  # limits of receiver own


def test_every_setting_has_its_place(default: Document) -> None:
    """Each table of the settings is stated, or left out on purpose; each key of a stated one has its present value."""
    assert set(COVERED) | set(LEFT_OUT) == set(Settings.__dataclass_fields__)
    keys = {row["Key"] for row in default.table("parameters").records()}
    for name in COVERED:
        stated = {key.path for key in documented_keys() if key.path.split(".")[0].removesuffix("[]") == name}
        assert stated
        assert {path for path in stated if "peers[]" not in path} <= keys


def test_no_secret_is_stated() -> None:
    """URLs of journal and broker, which may hold passwords, are nowhere in it."""
    settings = parse({"storage": {"journal_url": "postgresql://a:s3cret@db/x"}, "broker": {"url": "redis://:s3cret@b"}})
    assert b"s3cret" not in FORMATS["json"](statement(admitted_peers(settings)))


def test_it_goes_to_standard_output(capfdbinary: pytest.CaptureFixture[bytes], default: Document) -> None:
    """Without --out the statement is printed, byte for byte."""
    assert main(["conformance", "statement", "--format", "html"]) == 0
    assert capfdbinary.readouterr().out == FORMATS["html"](default)


def test_what_cannot_be_written_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that is not there, and Word without python-docx, end with 2 and say what to do."""
    assert main(["conformance", "statement", "--out", str(tmp_path / "nowhere" / "s.md")]) == 2
    assert "name another one" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "docx", None)
    assert main(["conformance", "statement", "--format", "docx", "--out", str(tmp_path / "s.docx")]) == 2
    assert "pip install sgmri[conformance]" in capsys.readouterr().err
