from benchmark.generator.wording import WORDS, fill, forms, sequence_name, sign
from benchmark.items import AnswerType, Counted, Level, Task
from sgmri.vocabulary import FINDINGS
from sgmri.volume import Anatomy


def test_every_label_has_words() -> None:
    """The phrase bank and the vocabulary have the same labels."""
    assert set(WORDS) == set(FINDINGS)


def test_every_question_has_four_forms_and_they_are_complete() -> None:
    """No form leaves a gap, and none stands twice."""
    for task in Task:
        for counted in Counted if task is Task.COUNTING else (None,):
            for label in ("", "Mass"):
                if counted is Counted.LESIONS and not label:
                    continue
                found = forms(task, AnswerType.SINGLE, label=label, counted=counted)
                texts = {fill(form, Anatomy.BRAIN, Level.VOLUME, label) for form in found}
                assert len(texts) == 4
                assert all("{" not in text and "  " not in text for text in texts)


def test_a_sign_is_that_of_the_sequence() -> None:
    """Oedema is dark on T1 and fluid-like elsewhere; names of files tell the sequence."""
    assert sign("Edema", "file_brain_AXT1POST_2") != sign("Edema", "file_brain_AXFLAIR_2")
    assert sequence_name("file_brain_AXT1POST_2", Anatomy.BRAIN).startswith("axial T1-weighted, after")
    assert sequence_name("CORPDFS_FBK", Anatomy.KNEE) == "coronal fat-saturated proton-density"
    assert sequence_name("file1000291", Anatomy.KNEE) == "coronal"
