import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pypdf import PdfReader

from conformance.phantoms import CANARIES
from dicom_io.objects.pdf import decode_document, encode_document, expected_document
from dicom_io.objects.sr import encode_report, question_set_of
from sgmri import RESEARCH_USE_STATEMENT
from sgmri.errors import MalformedInstance
from sgmri.findings import Finding, Tracklet
from sgmri.geometry import Box
from sgmri.questions import Answer
from sgmri.readings import Reading
from sgmri.volume import Anatomy
from tests.dicom_io.forms import ALLOWED, MakeCase, pixels_of, saved


def squashed(text: str) -> str:
    return "".join(text.split())


@pytest.mark.parametrize(
    "name", ["brain", "brain-enhanced", "brain-normal", "brain-nonsquare", "knee", "knee-enhanced"]
)
def test_page_is_valid_and_says_what_the_reading_says(
    name: str, make_case: MakeCase, dciodvfy: Callable[[Path], list[str]], tmp_path: Path
) -> None:
    """The validator finds nothing; one page with every question, verdict, certainty, tracklet and the statement."""
    reading, sources = make_case(name)
    pixels = pixels_of(reading, name, tmp_path)
    ds = saved(encode_document(reading, sources, pixels=pixels), tmp_path / "pdf.dcm")
    assert [line for line in dciodvfy(tmp_path / "pdf.dcm") if ALLOWED not in line] == []
    decoded, questions = decode_document(ds), question_set_of(reading)
    assert decoded == expected_document(reading, questions)
    assert decoded.thumbnails == len(reading.tracklets)
    page = squashed(decoded.text)
    for answer in reading.answers:
        said = f"Not assessed: {answer.unanswered}" if answer.unanswered else (answer.presence or answer.text)
        assert squashed(questions[answer.question_id].text) in page
        assert squashed(said) in page
    assert page.count(squashed(RESEARCH_USE_STATEMENT)) == 2
    assert "83%,calibrated" in page or not reading.tracklets
    assert all(tracklet.tracklet_id in page for tracklet in reading.tracklets)
    assert set(decoded.source_uids) == {source.SOPInstanceUID for source in sources}


def test_page_names_no_patient(make_case: MakeCase, tmp_path: Path) -> None:
    """The object is the patient's; the page inside holds nothing of its header."""
    reading, sources = make_case("brain")
    ds = encode_document(reading, sources, pixels=pixels_of(reading, "brain", tmp_path))
    assert ds.PatientName == CANARIES.patient_name
    assert ds.BurnedInAnnotation == "NO"
    reader = PdfReader(io.BytesIO(ds.EncapsulatedDocument))
    said = reader.pages[0].extract_text() + str(reader.metadata)
    for word in (*str(CANARIES.patient_name).split("^"), CANARIES.patient_id, CANARIES.accession_number, "2.25."):
        assert word not in said


def test_second_time_gives_the_same_bytes(make_case: MakeCase, tmp_path: Path) -> None:
    """The same reading and pixels, the same object; the page's date is the reading's."""
    reading, sources = make_case("knee")
    pixels = pixels_of(reading, "knee", tmp_path)
    first = saved(encode_document(reading, sources, pixels=pixels), tmp_path / "1.dcm")
    saved(encode_document(reading, sources, pixels=pixels), tmp_path / "2.dcm")
    assert (tmp_path / "1.dcm").read_bytes() == (tmp_path / "2.dcm").read_bytes()
    metadata = PdfReader(io.BytesIO(first.EncapsulatedDocument)).metadata
    assert metadata is not None
    assert metadata.creation_date == reading.started_at.replace(microsecond=0)


def test_everything_fits_on_one_page(make_case: MakeCase, make_reading: Callable[..., Reading], tmp_path: Path) -> None:
    """Forty findings and long-winded answers are cut to one page, and the page says that more is in the report."""
    _, sources = make_case("brain")
    tracklets = tuple(
        Tracklet(
            tracklet_id=f"lesion-{n}",
            findings=(Finding(label="Mass", frame_index=n % 20, box=Box(x0=n, y0=n, x1=n + 9, y1=n + 9)),),
        )
        for n in range(1, 41)
    )
    reading = make_reading(sources, Anatomy.BRAIN, tracklets)
    talkative = replace(reading, answers=tuple(_at_length(answer) for answer in reading.answers))
    ds = encode_document(talkative, sources, pixels=pixels_of(reading, "brain", tmp_path))
    decoded = decode_document(ds)
    assert decoded == expected_document(talkative, question_set_of(reading))
    assert decoded.thumbnails == 10
    assert "30 more findings: see the structured report." in decoded.text
    assert "..." in decoded.text
    assert "more answers" not in decoded.text


def _at_length(answer: Answer) -> Answer:
    return answer if answer.unanswered else replace(answer, reasoning="brighter than it should be " * 60)


def test_letters_of_many_alphabets_are_set(
    make_case: MakeCase, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """Latin, Greek and Cyrillic letters come back; what the font lacks is a question mark, and no log line names it."""
    reading, sources = make_case("brain-normal")
    first, *others = reading.answers[1:]
    spoken = replace(first, text="Ödem ≥ 5 µm, łagodny α Жук 脑\x07\r\nend")
    reading = replace(reading, answers=(reading.answers[0], spoken, *others))
    ds = encode_document(reading, sources, pixels=pixels_of(reading, "brain-normal", tmp_path))
    assert "Ödem ≥ 5 µm, łagodny α Жук ? end" in " ".join(decode_document(ds).text.split())
    assert not [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")]


def test_notes_stand_on_the_page(make_case: MakeCase, tmp_path: Path) -> None:
    """Lossy sources and an anatomy by image are said on the page, too."""
    reading, sources = make_case("brain-normal")
    noted = replace(reading, is_lossy=True, anatomy_certainty=0.97)
    text = squashed(decode_document(encode_document(noted, sources, pixels=lambda _: pytest.fail("no box"))).text)
    assert "compressedwithloss" in text
    assert "certainty0.97" in text


def _second_page(ds: Dataset) -> None:
    ds.EncapsulatedDocument = b"%PDF-1.7 nothing"


def _sourceless(ds: Dataset) -> None:
    del ds.SourceInstanceSequence


@pytest.mark.parametrize("change", [_second_page, _sourceless], ids=lambda one: one.__name__.strip("_"))
def test_decoder_refuses_what_was_changed(change: Callable[[Dataset], None], make_case: MakeCase) -> None:
    """A broken page and one without its sources are errors; so is another object."""
    reading, sources = make_case("brain-normal")
    ds = encode_document(reading, sources, pixels=lambda _: pytest.fail("no box"))
    change(ds)
    with pytest.raises(MalformedInstance, match="lacks a part"):
        decode_document(ds)
    with pytest.raises(MalformedInstance, match="SOP class"):
        decode_document(encode_report(reading, sources, segmentation=None))
