from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmark.generator import plans
from benchmark.generator.images import Picture, frame_path
from benchmark.generator.phantoms import phantom_volumes
from benchmark.items import Counted, Level, Split, Task
from sgmri.errors import ConfigError


@pytest.mark.parametrize("count", [0, -1])
def test_a_benchmark_of_no_phantoms_is_refused(tmp_path: Path, count: int) -> None:
    """At least one volume is asked about."""
    with pytest.raises(ConfigError, match="--phantoms"):
        list(phantom_volumes(tmp_path, count, seed=0, split=Split.TEST))


def test_boxes_of_phantoms_lie_on_what_was_painted(tmp_path: Path) -> None:
    """Bright lesions stand out from the ring around their boxes on the frame that the item names."""
    (brain,) = phantom_volumes(tmp_path, 1, seed=3, split=Split.TEST)
    items = list(plans.exhaustive([brain]))
    white = "Nonspecific white matter lesion"
    asked = [item for item in items if item.label == white and item.level is Level.VOLUME]
    (where,) = (item for item in asked if item.task is Task.LOCALIZATION)
    for box in where.boxes:
        path = frame_path(tmp_path, Picture.PUBLISHED, brain.volume_id, box.frame_number)
        frame = np.asarray(Image.open(path)).astype(float)
        inside = frame[box.y : box.y + box.height, box.x : box.x + box.width]
        around = frame[box.y - 4 : box.y + box.height + 4, box.x - 4 : box.x + box.width + 4]
        ring = (around.sum() - inside.sum()) / (around.size - inside.size)
        assert inside.mean() > 1.2 * ring
    assert (where.rows, where.columns) == (256, 256)
    (count,) = (item for item in asked if item.counted is Counted.LESIONS)
    assert count.count == 3  # as planted, however their boxes overlap
