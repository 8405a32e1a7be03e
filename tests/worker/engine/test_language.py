import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Qwen3VLForConditionalGeneration

from sgmri.errors import ConfigError, EngineError, EngineUnavailable
from sgmri.interfaces import ReadingControl
from sgmri.questions import Question, QuestionKind
from tests.worker.engine.tiny_language import TinyLanguage, TinyVolume, build, save
from worker.engine.checkpoint import memory_guard
from worker.engine.grammar import Grammars
from worker.engine.grammar_schema import AnswerLimits, answer_schema
from worker.engine.language import LanguageModel
from worker.engine.packing import Ending, PrefixSession
from worker.engine.profiles import PROFILES

_NEW = 20


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """The machine is shared: several threads would wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyLanguage:
    return build(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def questions(tiny: TinyLanguage) -> list[list[int]]:
    return [tiny.question(number) for number in range(20)]


@pytest.fixture
def volume(tiny: TinyLanguage) -> TinyVolume:
    return tiny.volume(1)


@pytest.fixture
def session(tiny: TinyLanguage, volume: TinyVolume) -> PrefixSession:
    return tiny.open(volume)


def _answers(
    tiny: TinyLanguage, session: PrefixSession, questions: list[list[int]], new: int = _NEW
) -> list[list[int]]:
    decoding = tiny.language.run(session, questions, max_new_tokens=new)
    return [list(answer.token_ids) for answer in decoding.answers]


def _state(session: PrefixSession) -> list[torch.Tensor]:
    return [tensor.clone() for tensor in (*session.keys, *session.values)]


@pytest.mark.parametrize(("seed", "frames", "grid"), [(1, 3, (4, 6)), (2, 1, (8, 8)), (3, 6, (6, 2))])
def test_packed_answers_are_those_of_transformers(
    tiny: TinyLanguage, questions: list[list[int]], seed: int, frames: int, grid: tuple[int, int]
) -> None:
    """Twenty questions packed behind one prefix: every token equals transformers' generate for each alone."""
    volume = tiny.volume(seed, frames=frames, grid=grid)
    naive = [tiny.naive(volume, question, _NEW) for question in questions]
    assert _answers(tiny, tiny.open(volume), questions) == naive
    assert len({tuple(answer) for answer in naive}) > 10  # else equality would say little


def test_answers_end_where_transformers_ends_them(
    tiny: TinyLanguage, volume: TinyVolume, session: PrefixSession, questions: list[list[int]]
) -> None:
    """With end tokens that occur early, finished answers leave and the others go on as if alone."""
    free = _answers(tiny, session, questions)
    ends = sorted({answer[place] for answer, place in zip(free, [2, 5, 9, 14], strict=False)})
    directory = tiny.directory
    config = json.loads((directory / "generation_config.json").read_text())
    peer = tiny.peer
    before = peer.generation_config
    assert before is not None
    peer.generation_config = type(before).from_dict({**config, "eos_token_id": ends})
    try:
        ending = replace(tiny, language=LanguageModel(peer))
        decoding = ending.language.run(session, questions, max_new_tokens=_NEW)
        naive = [ending.naive(volume, question, _NEW) for question in questions]
    finally:
        peer.generation_config = before
    assert [list(answer.token_ids) for answer in decoding.answers] == naive
    lengths = {len(answer) for answer in naive}
    assert len(lengths) > 2
    for answer in decoding.answers:
        assert answer.ending is (Ending.LENGTH if len(answer.token_ids) == _NEW else Ending.END)


def test_frames_matter(tiny: TinyLanguage, questions: list[list[int]]) -> None:
    """Another volume behind the same questions gives other answers, so equality is no accident of blind weights."""
    first, second = (_answers(tiny, tiny.open(tiny.volume(seed)), questions) for seed in (1, 2))
    assert sum(a != b for a, b in zip(first, second, strict=True)) > 10


def test_order_and_company_do_not_matter(
    tiny: TinyLanguage, session: PrefixSession, questions: list[list[int]]
) -> None:
    """Shuffled, or alone, a question gets the same answer."""
    expected = _answers(tiny, session, questions)
    order = [(7 * place + 3) % 20 for place in range(20)]
    shuffled = _answers(tiny, session, [questions[place] for place in order])
    assert shuffled == [expected[place] for place in order]
    for place in (0, 7, 19):
        assert _answers(tiny, session, [questions[place]]) == [expected[place]]


def test_session_is_unchanged_and_can_be_used_again(
    tiny: TinyLanguage, session: PrefixSession, questions: list[list[int]]
) -> None:
    """Runs and scores leave every key and value as it was; a second run says the same."""
    before = _state(session)
    first = _answers(tiny, session, questions)
    tiny.language.score(session, questions, (5, 6))
    assert _answers(tiny, session, questions) == first
    assert all(torch.equal(a, b) for a, b in zip(before, _state(session), strict=True))


def test_two_sessions_do_not_mix(tiny: TinyLanguage, questions: list[list[int]]) -> None:
    """Two readings that take turns, token by token, answer as each would alone."""
    one, two = tiny.open(tiny.volume(1)), tiny.open(tiny.volume(2, frames=5))
    expected = _answers(tiny, one, questions), _answers(tiny, two, questions)
    inner: list[list[list[int]]] = []

    def other_reading() -> float:
        if len(inner) < 3:
            inner.append(_answers(tiny, two, questions))
        return 60.0

    outer = tiny.language.run(one, questions, max_new_tokens=_NEW, control=ReadingControl(remaining_s=other_reading))
    assert [list(answer.token_ids) for answer in outer.answers] == expected[0]
    assert inner == [expected[1]] * 3


def test_module_holds_no_state(tmp_path: Path) -> None:
    """Opening, scoring and running leave attributes, M-RoPE state and weights of all modules as they were loaded."""
    tiny = build(tmp_path)
    language = LanguageModel(tiny.peer)
    weights = {name: tensor.clone() for name, tensor in tiny.peer.state_dict().items()}
    attributes = {name: sorted(vars(module)) for name, module in tiny.peer.named_modules()}
    session = replace(tiny, language=language).open(tiny.volume(1))
    language.run(session, [tiny.question(0)], max_new_tokens=4)
    language.score(session, [tiny.question(0)], (5, 6))
    assert tiny.peer.model.rope_deltas is None
    assert {name: sorted(vars(module)) for name, module in tiny.peer.named_modules()} == attributes
    assert all(torch.equal(weights[name], tensor) for name, tensor in tiny.peer.state_dict().items())


def test_score_is_the_naive_next_token_in_one_pass(
    tiny: TinyLanguage, volume: TinyVolume, session: PrefixSession, questions: list[list[int]]
) -> None:
    """The scores of all questions come from one forward pass and equal transformers' logits for each alone."""
    choices = tuple(tiny.encode(word)[0] for word in ("Yes", "No"))
    passes: list[int] = []
    hook = tiny.language.decoder.inner.register_forward_hook(lambda *_: passes.append(1))
    try:
        scores = tiny.language.score(session, questions, choices)
    finally:
        hook.remove()
    assert len(passes) == 1
    assert scores.shape == (20, 2)
    assert scores.dtype == np.float32
    with torch.inference_mode():
        naive = [
            tiny.peer(**tiny.inputs(volume, question)).logits[0, -1].log_softmax(0)[list(choices)].numpy()
            for question in questions
        ]
    np.testing.assert_allclose(scores, np.stack(naive), rtol=1e-4, atol=1e-4)
    assert np.std(scores) > 0.1


def test_memory_is_reported_and_bounded(tiny: TinyLanguage, session: PrefixSession, questions: list[list[int]]) -> None:
    """The figures are those of the tensors; a tight limit parts the questions into groups with the same answers."""
    assert session.bytes == 2 * 3 * 2 * 16 * 4 * session.length  # keys, values; layers; heads; head size; float32
    free = tiny.language.run(session, questions, max_new_tokens=_NEW)
    columns = session.length + sum(len(question) + _NEW for question in questions)
    assert free.working_bytes == session.bytes // session.length * columns
    limit = (session.bytes + free.working_bytes) // 3
    tight = LanguageModel.load(tiny.directory, kv_limit_bytes=limit)
    grouped = tight.run(session, questions, max_new_tokens=_NEW)
    assert grouped.answers == free.answers
    assert session.bytes + grouped.working_bytes <= limit
    assert grouped.passes > free.passes
    scores = tight.score(session, questions, (5, 6))
    np.testing.assert_allclose(scores, tiny.language.score(session, questions, (5, 6)), atol=1e-4)
    with pytest.raises(EngineError, match="at most 1000 bytes"):
        replace(tiny, language=LanguageModel.load(tiny.directory, kv_limit_bytes=1000)).open(tiny.volume(1))


def test_cancelled_run_raises_and_leaves_the_session(
    tiny: TinyLanguage, session: PrefixSession, questions: list[list[int]]
) -> None:
    """Cancelling in the middle is a transient error; the same session then answers in full."""
    expected = _answers(tiny, session, questions)
    asked = iter(range(100))
    with pytest.raises(EngineUnavailable, match="cancelled"):
        tiny.language.run(
            session, questions, max_new_tokens=_NEW, control=ReadingControl(is_cancelled=lambda: next(asked) == 6)
        )
    assert next(asked) == 7  # it stopped at once
    assert _answers(tiny, session, questions) == expected


def test_deadline_gives_what_is_there_and_says_so(
    tiny: TinyLanguage, session: PrefixSession, questions: list[list[int]]
) -> None:
    """At the time limit the run stops; what is not finished is marked, and is the start of the full answer."""
    expected = _answers(tiny, session, questions)
    clock = iter([3.0, 2.0, 1.5, 1.0, 0.5, 0.0, -1.0])
    decoding = tiny.language.run(
        session, questions, max_new_tokens=_NEW, control=ReadingControl(remaining_s=lambda: next(clock))
    )
    assert {answer.ending for answer in decoding.answers} == {Ending.DEADLINE}
    assert decoding.passes == 4
    for answer, full in zip(decoding.answers, expected, strict=True):
        assert len(answer.token_ids) == 4
        assert list(answer.token_ids) == full[:4]
    over = tiny.language.run(session, questions, max_new_tokens=_NEW, control=ReadingControl(remaining_s=lambda: 0.0))
    assert over.passes == 0
    assert {answer.ending for answer in over.answers} == {Ending.DEADLINE}


def _grammars(tiny: TinyLanguage) -> Grammars:
    (end,) = tiny.language.end_ids
    return Grammars(tiny.directory / "tokenizer.json", vocabulary=tiny.language.vocabulary, end_id=end)


def test_grammar_makes_every_answer_parse_and_skips_forced_tokens(
    tiny: TinyLanguage, session: PrefixSession, questions: list[list[int]]
) -> None:
    """Twenty answers of random weights under five grammars parse, in fewer passes than the longest has tokens."""
    limits = AnswerLimits(frame_numbers=(1, 3), rows=64, columns=96, max_boxes=2, max_characters=12)
    grammars, kinds = _grammars(tiny), list(QuestionKind)
    asked = [Question(question_id="q", kind=kinds[n % 5], text="?", options=("Mass", "Cyst")) for n in range(20)]
    progress: list[tuple[int, int]] = []
    decoding = tiny.language.run(
        session,
        questions,
        max_new_tokens=400,
        matchers=[grammars.matcher(answer_schema(question, PROFILES["sgmri-vqa-sft"], limits)) for question in asked],
        control=ReadingControl(progress=lambda done, known: progress.append((done, known))),
    )
    for question, answer in zip(asked, decoding.answers, strict=True):
        assert answer.ending is Ending.END
        parsed = json.loads(tiny.tokens.decode(list(answer.token_ids), skip_special_tokens=False))
        boxed = (QuestionKind.LOCALISATION, QuestionKind.CAPTIONING, QuestionKind.FREE_TEXT)
        assert ("bboxes" in parsed) == (question.kind in boxed)
        assert 0 < answer.forced < len(answer.token_ids)
    longest = max(decoding.answers, key=lambda answer: len(answer.token_ids) - answer.forced)
    assert decoding.passes == len(longest.token_ids) - longest.forced < len(longest.token_ids)
    assert progress[-1] == (20, 20)
    assert progress == sorted(progress)
    assert len(progress) > 2


def test_grammar_and_free_answers_share_a_run(
    tiny: TinyLanguage, session: PrefixSession, questions: list[list[int]]
) -> None:
    """A question without a grammar is answered beside one that has it as if it were alone."""
    limits = AnswerLimits(frame_numbers=(1, 3), rows=64, columns=96, max_characters=12)
    schema = answer_schema(
        Question(question_id="q", kind=QuestionKind.COUNTING, text="?"), PROFILES["sgmri-vqa-sft"], limits
    )
    matcher = _grammars(tiny).matcher(schema)
    mixed = tiny.language.run(session, questions[:2], max_new_tokens=_NEW, matchers=[matcher, None])
    assert list(mixed.answers[1].token_ids) == _answers(tiny, session, [questions[1]])[0]


def test_forced_tokens_stop_at_the_limit(
    tiny: TinyLanguage, session: PrefixSession, questions: list[list[int]]
) -> None:
    """An answer whose start is forced beyond the limit is cut there and says so."""
    limits = AnswerLimits(frame_numbers=(1, 3), rows=64, columns=96)
    schema = answer_schema(
        Question(question_id="q", kind=QuestionKind.COUNTING, text="?"), PROFILES["sgmri-vqa-sft"], limits
    )
    run = tiny.language.run(session, questions[:1], max_new_tokens=3, matchers=[_grammars(tiny).matcher(schema)])
    assert run.answers[0].ending is Ending.LENGTH
    assert len(run.answers[0].token_ids) == run.answers[0].forced == 3
    assert run.passes == 0


def test_features_that_do_not_fit_are_refused(tiny: TinyLanguage, volume: TinyVolume) -> None:
    """Features of another width or number are an error, not a wrong reading."""
    count = int(np.isin(volume.prefix, list(tiny.language.decoder.visual_ids)).sum())
    good, narrow, few = torch.zeros(1, count, 64), torch.zeros(1, count, 32), torch.zeros(1, count - 1, 64)
    for embeds, deepstack in ((narrow, [good]), (few, [good]), (good, [few])):
        with pytest.raises(EngineError, match="features"):
            tiny.language.open(volume.prefix, embeds=embeds, deepstack=deepstack, grids=volume.grids)


def test_bad_calls_are_refused(tiny: TinyLanguage, session: PrefixSession, questions: list[list[int]]) -> None:
    """An empty question, too few matchers, no room, and matchers of another vocabulary are errors."""
    with pytest.raises(EngineError, match="empty question"):
        tiny.language.run(session, [[]], max_new_tokens=3)
    with pytest.raises(EngineError, match="matcher for each"):
        tiny.language.run(session, questions, max_new_tokens=3, matchers=[None])
    with pytest.raises(EngineError, match="room for a token"):
        tiny.language.run(session, questions, max_new_tokens=0)
    foreign = Grammars(tiny.directory / "tokenizer.json", vocabulary=4096, end_id=0).matcher({"type": "boolean"})
    with pytest.raises(EngineError, match="found 4096"):
        tiny.language.run(session, questions[:1], max_new_tokens=3, matchers=[foreign])
    assert tiny.language.run(session, [], max_new_tokens=3).answers == ()
    assert tiny.language.score(session, [], (5, 6)).shape == (0, 2)


def test_lack_of_memory_is_transient() -> None:
    """A real failed allocation becomes EngineUnavailable; any other error of torch stays what it is."""
    with pytest.raises(EngineUnavailable, match="memory"), memory_guard():
        torch.empty(1 << 52)
    with pytest.raises(RuntimeError, match="shape"), memory_guard():
        torch.zeros(2, 3) @ torch.zeros(2, 3)


def test_bfloat16_reads_too(tiny: TinyLanguage, volume: TinyVolume, questions: list[list[int]]) -> None:
    """In bfloat16, memory is half, and the scores stay near those of float32."""
    half = replace(tiny, language=LanguageModel.load(tiny.directory, dtype="bfloat16"))
    session, full = half.open(volume), tiny.open(volume)
    assert session.bytes * 2 == full.bytes
    scores, exact = (
        one.language.score(prefix, questions, range(400)) for one, prefix in ((half, session), (tiny, full))
    )
    assert np.corrcoef(scores.ravel(), exact.ravel())[0, 1] > 0.98


def test_only_a_local_model_is_loaded(tmp_path: Path, tiny: TinyLanguage) -> None:
    """A directory without a model, without safetensors, or an attention without block masks is refused."""
    with pytest.raises(ConfigError, match="Qwen3-VL"):
        LanguageModel.load(tmp_path)
    (tmp_path / "config.json").write_text((tiny.directory / "config.json").read_text())
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ConfigError, match="safetensors"):
        LanguageModel.load(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    with pytest.raises(ConfigError, match="llama"):
        LanguageModel.load(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ConfigError, match="Qwen3-VL"):
        LanguageModel.load(tmp_path)
    eager = Qwen3VLForConditionalGeneration.from_pretrained(tiny.directory, attn_implementation="eager")
    with pytest.raises(ConfigError, match="sdpa"):
        LanguageModel(eager)


@pytest.mark.parametrize("damage", ["missing", "reshaped", "cut"])
def test_a_damaged_checkpoint_is_refused(tmp_path: Path, damage: str) -> None:
    """A tensor that is missing, has another shape, or was cut short is an error, never a random weight."""
    save(tmp_path)
    file = tmp_path / "model.safetensors"
    tensors = load_file(file)
    name = "model.language_model.layers.1.mlp.up_proj.weight"
    if damage == "missing":
        del tensors[name]
    elif damage == "reshaped":
        tensors[name] = tensors[name][:-1].clone()
    save_file(tensors, file, metadata={"format": "pt"})
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(ConfigError):
        LanguageModel.load(tmp_path)


def test_tied_embeddings_load(tmp_path: Path) -> None:
    """A checkpoint whose head is its embedding table, as small models have it, loads and answers as its peer does."""
    tiny = build(tmp_path, tied=True)
    volume = tiny.volume(1)
    asked = [tiny.question(number) for number in range(3)]
    assert _answers(tiny, tiny.open(volume), asked, 8) == [tiny.naive(volume, question, 8) for question in asked]
