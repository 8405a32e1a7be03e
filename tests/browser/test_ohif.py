"""What OHIF 3.13.2 shows of our results, in a real Chromium, from a real Orthanc.

Asked are OHIF's own services (``window.services``), not pixels: what it holds is what it draws.
"""

from dataclasses import fields
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from dicom_io.kinds import ResultKind
from dicom_io.objects.text_report import as_text
from tests.browser.studies import OVERLAPPING, Archive

CASES = [
    "brain",  # classic, axial
    "brain-enhanced",  # Enhanced, oblique, frames stored against their order in space
    "knee",  # classic, coronal
    "classic_mr_brain/ge_signa_fse_pd_ax",  # real
]
SWAPPED = (
    "OHIF 3.13.2 (Cornerstone 5.6.8, imageToWorldCoords) takes the two pixel spacings for each other when it places "
    "the coordinates of a report: boxes are displaced where pixels are not square"
)
LOST = (
    "OHIF 3.13.2 (its adapters 5.6.8, insertOverlappingPixelDataPlanar) loses frames of segments where segments overlap"
)

MEASUREMENTS = "window.services?.measurementService?.getMeasurements() ?? []"
READ_MEASUREMENTS = """() => window.services.measurementService.getMeasurements().map(one => ({
    label: one.label, tool: one.toolName, points: one.points.map(point => Array.from(point)),
    instance: one.SOPInstanceUID, frame: one.frameNumber }))"""
CURRENT_IMAGE = """(() => {
    const { viewportGridService, cornerstoneViewportService } = window.services;
    const viewport = cornerstoneViewportService.getCornerstoneViewport(viewportGridService.getActiveViewportId());
    return viewport?.getCurrentImageId?.() ?? "";
})()"""
READ_SEGMENTS = """() => window.services.segmentationService.getSegmentations().flatMap(segmentation => {
    const extents = {};
    for (const id of segmentation.representationData.Labelmap.imageIds) {
        const image = window.cornerstone.cache.getImage(id);
        const [, instance, frame] = image.referencedImageId.match(/instances\\/([^/]+)\\/frames\\/(\\d+)/);
        image.voxelManager.getScalarData().forEach((segment, index) => {
            if (!segment) return;
            const x = index % image.columns, y = Math.floor(index / image.columns);
            const one = extents[[segment, instance, frame]] ??=
                { segment, instance, frame: Number(frame), box: [x, y, x + 1, y + 1], pixels: 0 };
            one.box = [Math.min(one.box[0], x), Math.min(one.box[1], y),
                       Math.max(one.box[2], x + 1), Math.max(one.box[3], y + 1)];
            one.pixels += 1;
        });
    }
    return Object.values(extents);
})"""
READ_SEGMENT_LABELS = """() => window.services.segmentationService.getSegmentations().flatMap(
    segmentation => Object.values(segmentation.segments).map(segment => segment.label))"""


def measurements(page: Page, count: int) -> list[dict[str, Any]]:
    """Wait until OHIF holds this many measurements, and return them."""
    page.wait_for_function(f"() => ({MEASUREMENTS}).length === {count}")
    read: list[dict[str, Any]] = page.evaluate(READ_MEASUREMENTS)
    return read


def segments(page: Page, count: int, *, timeout_s: float | None = None) -> list[tuple[object, ...]]:
    """Wait until OHIF's overlay has segments on at least this many frames; return them as a study does."""
    page.wait_for_function(
        f"() => window.services?.segmentationService && ({READ_SEGMENTS})().length >= {count}",
        timeout=None if timeout_s is None else timeout_s * 1000,
    )
    read = page.evaluate(READ_SEGMENTS)
    return sorted((one["segment"], one["instance"], one["frame"], tuple(one["box"]), one["pixels"]) for one in read)


@pytest.mark.parametrize(
    "name",
    [*CASES, "brain-oblique", pytest.param("brain-nonsquare", marks=pytest.mark.xfail(reason=SWAPPED, strict=True))],
)
def test_every_box_stands_on_its_frame(archive: Archive, page: Page, name: str) -> None:
    """A rectangle for each of our boxes, on its instance and frame, with its corners and its label."""
    study = archive.open(page, name, ResultKind.SR)
    shown = measurements(page, len(study.reading.findings))
    assert {one["tool"] for one in shown} == {"RectangleROI"}
    boxes = []
    for one in shown:
        corners = [study.in_pixels(one["instance"], one["frame"], point) for point in one["points"]]
        xs, ys = zip(*corners, strict=True)
        boxes.append((one["instance"], one["frame"], (min(xs), min(ys), max(xs), max(ys))))
    for (instance, frame, box), (of_instance, of_frame, ours) in zip(sorted(boxes), study.boxes(), strict=True):
        assert (instance, frame) == (of_instance, of_frame)
        assert box == pytest.approx(ours, abs=0.05)  # pixels; OHIF keeps millimetres in single precision
    labels = [f"{tracklet.label}, {tracklet.tracklet_id}" for tracklet in study.reading.tracklets]
    assert all(any(one["label"].startswith(label) for label in labels) for one in shown)


@pytest.mark.parametrize("name", ["brain-oblique", "brain-enhanced"])
def test_a_click_on_a_row_shows_its_frame(archive: Archive, page: Page, name: str) -> None:
    """Each row of the list bears the label of its box, and a click on it shows the box's instance and frame."""
    study = archive.open(page, name, ResultKind.SR)
    shown = measurements(page, len(study.reading.findings))
    rows = page.locator('[data-cy="data-row"]')
    page.wait_for_function(f"() => document.querySelectorAll('[data-cy=data-row]').length === {len(shown)}")
    # The last first: no row is clicked whose frame is shown anyway
    for index in (len(shown) - 1, 0, len(shown) // 2):
        assert shown[index]["label"] in rows.nth(index).inner_text()
        rows.nth(index).click()
        wanted = f"/instances/{shown[index]['instance']}/frames/{shown[index]['frame']}"
        page.wait_for_function(f"() => {CURRENT_IMAGE}.endsWith('{wanted}')")


@pytest.mark.parametrize("name", [*CASES, "brain-nonsquare"])
def test_the_overlay_has_the_right_extent(archive: Archive, page: Page, name: str) -> None:
    """Each segment covers exactly its boxes, grown to whole pixels, on their frames, and bears their label."""
    study = archive.open(page, name, ResultKind.SEG)
    assert segments(page, len(study.segments())) == study.segments()
    labels = page.evaluate(READ_SEGMENT_LABELS)
    tracklets = study.reading.tracklets
    assert len(labels) == len(tracklets)
    for label, tracklet in zip(labels, tracklets, strict=True):
        assert label.startswith(f"{tracklet.label} {tracklet.tracklet_id}")


@pytest.mark.xfail(reason=LOST, strict=True)
def test_segments_that_overlap_are_shown_whole(archive: Archive, page: Page) -> None:
    """Two segments that overlap on one frame: each covers its boxes."""
    study = archive.open(page, OVERLAPPING, ResultKind.SEG)
    segments(page, 1)
    assert segments(page, len(study.segments()), timeout_s=5) == study.segments()


def test_a_report_without_boxes_opens_without_error(archive: Archive, page: Page) -> None:
    """OHIF loads the report of a reading that found nothing, holds no measurement, and complains of nothing."""
    study = archive.open(page, "brain-normal", ResultKind.SR)
    assert not study.reading.findings
    page.wait_for_function(
        """() => window.services?.displaySetService?.getActiveDisplaySets()
            .some(one => one.Modality === "SR" && one.isLoaded)"""
    )
    # Its images can be opened beside it
    page.locator('[data-cy="study-browser-thumbnail"]').first.dblclick()
    page.wait_for_function(f"() => {CURRENT_IMAGE}.includes('/instances/')")
    assert page.evaluate(READ_MEASUREMENTS) == []


@pytest.mark.parametrize("name", ["brain", "brain-normal"])
def test_the_text_report_is_a_page_with_every_answer(archive: Archive, page: Page, name: str) -> None:
    """Text, and no black viewport: every line of the report in its order, whether boxes were found or not."""
    study = archive.open(page, name, ResultKind.TEXT_SR)
    said = as_text(study.reading, list(study.sources.values()))
    answers = [[getattr(answer, field.name) for field in fields(answer)] for answer in said.answers]
    lines = [*said.notes, *said.tracklets, *(line for answer in answers for line in answer if line)]
    shown = page.locator('[data-cy="viewport-pane"]')
    expect(shown).to_contain_text(lines[-1])
    text = " ".join(shown.inner_text().split())
    position = 0
    for line in lines:
        position = text.index(" ".join(line.split()), position) + 1
    assert "is not supported" not in text
