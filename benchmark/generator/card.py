"""Writes the dataset card: what a benchmark holds, whose it is, and what may not be concluded from it."""

from collections.abc import Mapping, Sequence

from benchmark.generator.annotations import Repair
from benchmark.generator.tables import Table, as_markdown, repairs
from sgmri import RESEARCH_USE_STATEMENT

_HEAD = """---
pretty_name: {name}
task_categories: [visual-question-answering]
tags: [medical, mri, grounding]
license: mit
---

# {name}

{use}

Questions and answers about brain and knee MRI with frame-indexed boxes and reasoning, made by rule from annotations
alone by `sgmri benchmark build` (after SGMRI-VQA, arXiv 2604.15808). No text was written by a model.
"""
_COLUMNS = """
## Items

`items.parquet`, one row an item; the columns are those of `benchmark.items.Item`. Frames count from 1. A box is
`x, y, width, height` in pixels of the frame as it is shown, origin at the outer corner of the top-left pixel, so that
it covers columns `x` to `x + width - 1`. `boxes` are those of what is asked for, `context` all of the frame or volume.
"""
_FASTMRI = """
## Source and licences

Annotations: fastMRI+ (Zhao et al., Scientific Data 2022), MIT licence, Copyright (c) Microsoft Corporation. Permission
is granted to use and pass them on with this notice; they come without warranty.

**No image is part of this folder unless you made it from your own copy**: fastMRI's images are under NYU's data sharing
agreement, for research and education, and may not be passed on, neither as files nor as pictures or DICOM made of them.

## What it can't show

One radiologist annotated one series at a time; what is not marked is not proven to be absent. Sides are the image's,
not the patient's. Two thirds of the boxes inside a track lie on the line between their neighbours. A choice can partly
be guessed from how frequent its options are: no balancing mends that a tear of the meniscus is in two of three knees.
"""
_PHANTOMS = """
## Source and licences

Every image is synthetic (`conformance.phantoms`), MIT licence. `dicom/VOLUME` holds each series, `frames/published` its
frames as published models saw them, `frames/product` as the product's engines see them (possibly of another size).

## What it can't show

Anything about patients. It proves that an engine can be run and scored from end to end.
"""


def card(about: Mapping[str, object], counts: Table, repaired: Sequence[Repair], missing: Sequence[str]) -> str:
    """Return the card in Markdown.

    Parameters
    ----------
    about
        Source, mode and what else the build was told.
    counts
        Items by level, task, anatomy and split.
    repaired
        What was repaired in the annotations.
    missing
        What was not known.
    """
    is_synthetic = about["source"] == "phantoms"
    name = "SGMRI-VQA, " + ("phantoms" if is_synthetic else f"rebuilt from fastMRI+ ({about['mode']})")
    parts = [_HEAD.format(name=name, use=RESEARCH_USE_STATEMENT), as_markdown(counts) + "\n", _COLUMNS]
    if about.get("legacy_knee_shift"):
        parts.append("\n**Knee frames are numbered as published, one too low: for comparison of scores only.**\n")
    parts.append(_PHANTOMS if is_synthetic else _FASTMRI)
    if missing:
        parts.append("\n## What was not known\n\n" + "".join(f"- {sentence}.\n" for sentence in missing))
    if repaired:
        parts.append("\n## Repairs\n\nRow by row in `repairs.csv`.\n\n" + as_markdown(repairs(repaired)) + "\n")
    return "".join(parts)
