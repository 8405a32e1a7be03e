"""Training on the CPU: it learns, it can be interrupted, and it changes what it may change and nothing else."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from benchmark.finetune.config import FinetuneConfig, Lora, Method, Modules, Part, Schedule
from benchmark.finetune.examples import Batch, collate
from benchmark.finetune.objective import answer_logits, answer_loss
from benchmark.finetune.run import Course, prepare
from benchmark.finetune.student import merged, part_of, trained
from benchmark.finetune.train import LOG_FILE, rate_at, read_log
from sgmri.errors import ConfigError
from tests.benchmark.finetune.conftest import HOLDS_OUT_ONE, SHORT


def _run(config: FinetuneConfig) -> tuple[Course, nn.Module]:
    course = prepare(config)
    return course, course.training.run(course.student)


def _weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: one.detach().clone() for name, one in model.named_parameters()}


def test_a_few_steps_lower_the_loss(config: FinetuneConfig) -> None:
    """The answers become likelier at once, on what was taught, by a clear factor."""
    steps = replace(config, train=replace(SHORT, max_steps=16, save_every=0))
    course, _ = _run(steps)
    losses = [row["loss"] for row in read_log(steps.out / LOG_FILE) if "loss" in row]
    assert len(losses) == course.training.steps == 16
    assert sum(losses[-4:]) < 0.7 * sum(losses[:4])


class Interrupted:
    """An objective that is interrupted after some batches."""

    def __init__(self, batches: int) -> None:
        self._left = batches

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        if not self._left:
            raise KeyboardInterrupt
        self._left -= 1
        return answer_loss(model, batch)


@pytest.mark.parametrize("method", list(Method))
def test_an_interrupted_training_goes_on(config: FinetuneConfig, method: Method) -> None:
    """Stopped behind its checkpoint and begun again, it ends with the same weights and the same log."""
    whole = replace(config, train=replace(SHORT, method=method), out=config.out / "whole")
    broken = replace(whole, out=config.out / "broken")
    _, uninterrupted = _run(whole)
    # Two batches a step: interrupted in step 4, whose checkpoint is that of step 2
    course = prepare(broken, Interrupted(7))
    with pytest.raises(KeyboardInterrupt):
        course.training.run(course.student)
    assert [row["step"] for row in read_log(broken.out / LOG_FILE)] == [1, 2, 3]
    _, resumed = _run(broken)
    wanted = trained(uninterrupted)
    assert wanted and all(torch.equal(one, wanted[name]) for name, one in trained(resumed).items())
    logs = [
        [{key: value for key, value in row.items() if key != "took_s"} for row in read_log(one.out / LOG_FILE)]
        for one in (whole, broken)
    ]
    assert logs[0] == logs[1]


def test_a_finished_training_is_not_repeated(config: FinetuneConfig) -> None:
    """Begun again after its last step, it takes up its weights and does nothing."""
    _, first = _run(config)
    before = read_log(config.out / LOG_FILE)
    _, again = _run(config)
    assert read_log(config.out / LOG_FILE) == before
    assert all(torch.equal(one, trained(first)[name]) for name, one in trained(again).items())


def test_checkpoints_of_another_training_are_refused(config: FinetuneConfig) -> None:
    """Another seed does not go on from here."""
    _run(config)
    with pytest.raises(ConfigError, match="found those of another"):
        _run(replace(config, seed=1))


def test_only_the_latest_checkpoints_stay(config: FinetuneConfig) -> None:
    """A checkpoint holds what learns, not the frozen rest, and old ones go."""
    _run(replace(config, train=replace(SHORT, save_every=1, keep=2)))
    folder = config.out / "checkpoints"
    assert sorted(path.name for path in folder.iterdir()) == ["step-0000003", "step-0000004"]
    assert "model.safetensors" not in {path.name for path in (folder / "step-0000004").iterdir()}


def test_adapters_change_nothing_but_themselves(adapters: FinetuneConfig) -> None:
    """Every weight of the base model stays; adapters lie on language model and merger, and none on the tower."""
    course = prepare(adapters)
    before = {name: one for name, one in _weights(course.student).items() if "lora_" not in name}
    after = course.training.run(course.student)
    now = _weights(after)
    assert all(torch.equal(one, now[name]) for name, one in before.items())
    assert {part_of(name) for name in trained(after)} == {Part.LANGUAGE, Part.MERGER}
    assert all("lora_" in name for name in trained(after))


def test_merged_adapters_answer_as_adapters_do(adapters: FinetuneConfig) -> None:
    """The plain weights say what the base model with its adapters says."""
    course, student = _run(adapters)
    batch = collate([course.training.lessons[place] for place in range(3)])
    student.train(False)
    with torch.no_grad():
        wanted = answer_logits(student, batch)
        plain = merged(student)
        plain.train(False)
        found = answer_logits(plain, batch)
    assert not any("lora" in name for name, _ in plain.named_parameters())
    assert torch.allclose(found, wanted, rtol=1e-3, atol=1e-3)


def test_full_training_leaves_the_tower(config: FinetuneConfig) -> None:
    """Of the whole model, what is not named does not move."""
    course = prepare(config)
    before = _weights(course.student)
    after = _weights(course.training.run(course.student))
    moved = {part_of(name) for name, one in after.items() if not torch.equal(one, before[name])}
    assert moved == {Part.LANGUAGE, Part.MERGER}


@pytest.mark.parametrize(
    ("parts", "modules", "wanted"),
    [
        ((Part.LANGUAGE,), (Modules.ATTENTION,), {"k_proj", "o_proj", "q_proj", "v_proj"}),
        ((Part.LANGUAGE,), (Modules.MLP,), {"down_proj", "gate_proj", "up_proj"}),
        ((Part.MERGER,), tuple(Modules), {"linear_fc1", "linear_fc2"}),
        ((Part.TOWER,), tuple(Modules), {"qkv", "proj", "linear_fc1", "linear_fc2"}),
    ],
)
def test_adapters_lie_where_they_were_asked_for(
    adapters: FinetuneConfig, parts: tuple[Part, ...], modules: tuple[Modules, ...], wanted: set[str]
) -> None:
    """The parts and matrices that are named, and no other."""
    chosen = replace(adapters, train=replace(adapters.train, parts=parts), lora=Lora(rank=2, modules=modules))
    names = list(trained(prepare(chosen).student))
    assert {name.split(".lora_")[0].rsplit(".", 1)[1] for name in names} == wanted
    assert {part_of(name) for name in names} == set(parts)


def test_activations_computed_again_are_the_same(adapters: FinetuneConfig) -> None:
    """To save memory changes no loss."""
    still = replace(adapters, lora=replace(adapters.lora, dropout=0.0))
    _run(replace(still, out=still.out / "kept"))
    _run(replace(still, out=still.out / "again", train=replace(still.train, checkpointing=True)))
    kept, again = (
        [row["loss"] for row in read_log(still.out / name / LOG_FILE) if "loss" in row] for name in ("kept", "again")
    )
    assert again == pytest.approx(kept, rel=1e-4)


def test_no_patient_is_on_both_sides(config: FinetuneConfig) -> None:
    """All items of a patient teach, or none."""
    material = prepare(replace(config, data=replace(config.data, eval_share=HOLDS_OUT_ONE))).material
    taught, held_out = ({item.volume_id for _, item in part} for part in (material.taught, material.held_out))
    assert taught and held_out and not taught & held_out


def test_without_items_there_is_nothing_to_learn(config: FinetuneConfig) -> None:
    """A benchmark of another split is refused with what to do."""
    with pytest.raises(ConfigError, match="expected items of the split train"):
        prepare(replace(config, data=replace(config.data, eval_share=0.999)))


def test_a_base_without_weights_is_refused(config: FinetuneConfig) -> None:
    """A folder that holds no model is named."""
    with pytest.raises(ConfigError, match="base: expected a checkpoint or bundle"):
        prepare(replace(config, base=config.out))


def test_the_rate_rises_and_falls() -> None:
    """Up in a straight line, at its highest behind the rise, nearly 0 at the end."""
    schedule = Schedule(rate=1.0, warmup=0.25)
    rates = [rate_at(schedule, step, 20) for step in range(1, 21)]
    assert rates[:6] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 1.0])
    assert rates[6:] == sorted(rates[6:], reverse=True) and 0 < rates[-1] < 0.02
