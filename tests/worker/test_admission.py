import numpy as np
import pytest

from sgmri.errors import MemoryShort
from worker.admission import Admission


def test_a_reading_begins_only_with_the_memory_that_it_needs() -> None:
    """What a machine has not, no reading gets; the message says both figures and what to do."""
    Admission("cpu", least_bytes=1 << 20).require()
    with pytest.raises(MemoryShort, match=r"expected \d+ MiB of free memory for a reading, found \d+ MiB"):
        Admission("cpu", least_bytes=1 << 60).require()


def test_what_readings_have_needed_is_remembered() -> None:
    """The peak counts, not what is left at the end; a smaller reading later changes nothing."""
    admission = Admission("cpu", least_bytes=1)
    with admission.measured():
        np.ones(200 << 20, dtype=np.uint8)
    most = admission.need_bytes
    assert 190 << 20 < most < 400 << 20
    with admission.measured():
        np.ones(1 << 20, dtype=np.uint8)
    assert admission.need_bytes >= most


@pytest.mark.gpu
def test_on_a_gpu_its_own_memory_counts() -> None:
    """Free is what the driver says and what torch keeps; the peak is torch's."""
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    admission = Admission("cuda", least_bytes=1)
    with admission.measured():
        torch.ones(256 << 20, dtype=torch.uint8, device="cuda")
    assert admission.need_bytes >= 256 << 20
    admission.require()
    with pytest.raises(MemoryShort):
        Admission("cuda", least_bytes=1 << 60).require()
