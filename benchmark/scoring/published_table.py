"""The published results (arXiv 2604.15808, tables of image and volume level), in percent, to stand beside ours.

Nothing was re-run: these are the paper's own numbers, scored by its own code on its own items.
"""

from dataclasses import dataclass

from benchmark.items import Level, Task

COLUMNS = {
    Level.IMAGE: (
        (Task.DETECTION, "A"),
        (Task.CLASSIFICATION, "A"),
        (Task.DIAGNOSIS, "A"),
        (Task.LOCALIZATION, "V"),
        (Task.LOCALIZATION, "AR"),
        (Task.CAPTIONING, "AR"),
    ),
    Level.VOLUME: (
        (Task.DETECTION, "A"),
        (Task.COUNTING, "A"),
        (Task.CLASSIFICATION, "A"),
        (Task.LOCALIZATION, "V"),
        (Task.LOCALIZATION, "AR"),
        (Task.CAPTIONING, "AR"),
    ),
}
"""The columns of each table: task and score; the average is the plain mean of the six."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedRow:
    """One model of a published table.

    Parameters
    ----------
    level, model
        Which table, which row.
    percent
        The six columns, and the average as printed.
    """

    level: Level
    model: str
    percent: tuple[float, float, float, float, float, float, float]


def _rows(level: Level, text: str) -> tuple[PublishedRow, ...]:
    rows = []
    for line in text.strip().splitlines():
        model, *cells = (cell.strip() for cell in line.split("|"))
        a, b, c, d, e, f, mean = (float(cell) for cell in cells)
        rows.append(PublishedRow(level=level, model=model, percent=(a, b, c, d, e, f, mean)))
    return tuple(rows)


# The project page prints other detection values for Qwen2.5-VL-7B (12.00) and MedGemma-1.5-4B (26.94)
PUBLISHED_ROWS = _rows(
    Level.IMAGE,
    """
    GPT-4o | 50.74 | 52.49 | 44.71 | 3.41 | 26.22 | 16.90 | 32.41
    Gemini-2.5-Pro | 19.24 | 31.33 | 34.32 | 3.33 | 14.89 | 11.91 | 19.17
    Gemini-2.5-Flash | 67.36 | 86.31 | 89.68 | 5.95 | 27.85 | 21.72 | 49.81
    LLaVA-Video-7B | 52.41 | 65.41 | 71.58 | 2.29 | 23.11 | 13.31 | 38.02
    Eagle2.5-8B | 26.94 | 57.55 | 61.39 | 2.59 | 23.98 | 15.41 | 31.31
    Qwen3-VL-8B | 46.11 | 76.02 | 80.29 | 3.11 | 24.55 | 19.86 | 41.66
    InternVL2.5-8B | 22.25 | 37.33 | 30.43 | 1.82 | 25.78 | 14.37 | 22.00
    Qwen2.5-VL-7B | 5.29 | 50.68 | 39.88 | 1.51 | 26.75 | 18.19 | 23.72
    LLaVA-Med-v1.5 | 6.90 | 85.36 | 59.18 | 0.00 | 23.43 | 12.20 | 31.18
    MedGemma-1.5-4B | 20.11 | 65.98 | 64.61 | 2.77 | 24.93 | 17.24 | 32.61
    Fine-tuned Qwen3-VL-8B | 95.11 | 97.56 | 94.50 | 15.51 | 28.99 | 25.05 | 59.45
    """,
) + _rows(
    Level.VOLUME,
    """
    GPT-4o | 70.57 | 35.97 | 67.51 | 1.20 | 24.83 | 20.19 | 36.71
    Gemini-2.5-Pro | 16.03 | 4.08 | 28.21 | 0.26 | 12.42 | 12.71 | 12.29
    Gemini-2.5-Flash | 54.89 | 17.66 | 56.31 | 1.83 | 23.27 | 22.27 | 29.37
    Qwen3-VL-8B | 62.23 | 30.98 | 64.72 | 0.16 | 21.93 | 19.05 | 33.18
    Eagle2.5-8B | 70.65 | 16.30 | 70.73 | 0.02 | 19.07 | 16.20 | 32.16
    InternVL2.5-8B | 28.80 | 14.95 | 44.01 | 0.41 | 17.66 | 16.29 | 20.35
    LLaVA-Video-7B | 37.23 | 13.59 | 48.94 | 0.06 | 16.26 | 12.36 | 21.41
    Qwen2.5-VL-7B | 24.18 | 25.27 | 62.54 | 0.07 | 15.63 | 16.67 | 24.06
    Fine-tuned Qwen3-VL-8B | 99.18 | 37.77 | 97.70 | 5.97 | 28.24 | 26.54 | 49.23
    """,
)
"""Every row of both tables."""
