"""Items for the tests of scoring."""

from dataclasses import replace

from benchmark.items import AnswerType, Counted, Item, Level, Split, Task, TruthBox
from sgmri.volume import Anatomy

TEAR = "Meniscus Tear"
BOXES = tuple(TruthBox(label=TEAR, frame_number=frame, x=100, y=180, width=20, height=10) for frame in (23, 24, 25))
WHERE = Item(
    item_id="file1000291/volume/localization",
    anatomy=Anatomy.KNEE,
    level=Level.VOLUME,
    task=Task.LOCALIZATION,
    answer_type=AnswerType.OPEN,
    volume_id="file1000291",
    split=Split.TEST,
    label=TEAR,
    question="Where is the meniscus tear located?",
    answer="Meniscus, left side of the image. "
    + ", ".join(f"Frame {box.frame_number}: {box.published}" for box in BOXES),
    reasoning="A bright line reaches the joint surface.",
    frame_numbers=tuple(range(1, 37)),
    rows=320,
    columns=320,
    boxes=BOXES,
    context=BOXES,
    labels=(TEAR,),
)
WHERE_IN_FRAME = replace(
    WHERE,
    item_id="file1000291/24/localization",
    level=Level.IMAGE,
    frame_numbers=(24,),
    answer=f"Meniscus, left side of the image. {BOXES[1].published}",
    boxes=BOXES[1:2],
    context=BOXES[1:2],
)
IS_THERE = replace(
    WHERE,
    item_id="file1000291/volume/detection",
    task=Task.DETECTION,
    answer_type=AnswerType.CLOSED,
    question="Is there evidence of meniscus tear in this volume?",
    answer="Yes",
)
IS_NOT_THERE = replace(IS_THERE, item_id="file2/volume/detection", volume_id="file2", answer="No", boxes=(), context=())
HOW_MANY = replace(
    IS_THERE, item_id="file1000291/volume/counting", task=Task.COUNTING, counted=Counted.BOXES, answer="3", label=""
)
WHICH = replace(
    IS_THERE,
    item_id="file1000291/volume/classification",
    task=Task.CLASSIFICATION,
    answer_type=AnswerType.MULTIPLE,
    options=(TEAR, "Joint Effusion", "Bone - Lesion", "None of these"),
    answer="(A), (C)",
    label="",
)
WHICH_ONE = replace(
    WHICH, item_id="file1000291/24/diagnosis", task=Task.DIAGNOSIS, answer_type=AnswerType.SINGLE, answer="(A)"
)
CAPTION = replace(
    WHERE,
    item_id="file1000291/volume/captioning",
    task=Task.CAPTIONING,
    label="",
    answer="This volume shows 1 kind of finding. Meniscus tear, 1 separate place on Frames 23-25, on the left side.",
)
EVERY = (WHERE, WHERE_IN_FRAME, IS_THERE, IS_NOT_THERE, HOW_MANY, WHICH, WHICH_ONE, CAPTION)
