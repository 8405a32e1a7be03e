"""The training: steps, evaluations, checkpoints and a log, on one device or on many through accelerate.

What a step sees follows from its number alone, so that an interrupted training goes on as if nothing had happened.
"""

import json
import math
import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from benchmark.finetune.checkpoints import Checkpoints
from benchmark.finetune.config import FinetuneConfig, Schedule
from benchmark.finetune.dataset import Lessons
from benchmark.finetune.examples import Batch, collate
from benchmark.finetune.objective import Measured, Objective, measured, totals
from benchmark.finetune.student import trained

LOG_FILE = "train.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """One fine-tuning under way.

    Parameters
    ----------
    config
        What was asked for.
    accelerator
        The devices.
    lessons, questions
        What is learnt, and what is held out; None where nothing is.
    objective
        What is minimised.
    """

    config: FinetuneConfig
    accelerator: Accelerator
    lessons: Lessons
    questions: Lessons | None
    objective: Objective

    @property
    def _step_size(self) -> int:
        schedule = self.config.train
        return schedule.batch * schedule.accumulation * int(self.accelerator.num_processes)

    @property
    def steps(self) -> int:
        """How many there are."""
        schedule = self.config.train
        return schedule.max_steps or math.ceil(schedule.epochs * len(self.lessons) / self._step_size)

    def run(self, student: nn.Module) -> nn.Module:
        """Train, from the beginning or from the latest checkpoint.

        Parameters
        ----------
        student
            As :func:`benchmark.finetune.student.enrol` returns it.

        Returns
        -------
        The same model, trained.

        Raises
        ------
        ConfigError
            If an example cannot be made, or another training's checkpoints lie in the folder.
        """
        self.lessons[self.lessons.longest()]
        config, accelerator = self.config, self.accelerator
        optimiser = _optimiser(student, config.train)
        model, optimiser = accelerator.prepare(student, optimiser)
        saved = Checkpoints(
            accelerator=accelerator,
            folder=config.out / "checkpoints",
            # With more or fewer devices a step is another one
            digest=f"{config.digest}-{accelerator.num_processes}",
            keep=config.train.keep,
        )
        done = saved.resume()
        log = Log(config.out / LOG_FILE, after=done, is_writing=accelerator.is_main_process)
        if not done:
            self._evaluate(model, 0, log)
        steps = tqdm(
            zip(range(done + 1, self.steps + 1), self._windows(done), strict=False),
            initial=done,
            total=self.steps,
            unit="step",
            disable=not (accelerator.is_main_process and sys.stderr.isatty()),
        )
        for step, window in steps:
            loss = self._step(model, optimiser, window, step, log)
            steps.set_postfix(loss=f"{loss:.3f}")
            if step % config.train.eval_every == 0 or step == self.steps:
                self._evaluate(model, step, log)
            if step == self.steps or (config.train.save_every and step % config.train.save_every == 0):
                saved.save(step)
        plain: nn.Module = accelerator.unwrap_model(model)
        return plain

    def _step(
        self, model: nn.Module, optimiser: torch.optim.Optimizer, window: list[Batch], step: int, log: "Log"
    ) -> float:
        """Go one step down; return the mean loss of an answer token."""
        begin, accelerator, schedule = time.monotonic(), self.accelerator, self.config.train
        rate = rate_at(schedule, step, self.steps)
        for group in optimiser.param_groups:
            group["lr"] = rate
        model.train()
        tokens = float(self._summed(torch.tensor(float(sum(batch.answer_tokens for batch in window)))))
        loss = 0.0
        for place, batch in enumerate(window):
            # Gradients travel once a step. Devices are averaged, and their tokens are not equally many
            waits = accelerator.no_sync(model) if place + 1 < len(window) else nullcontext()
            with waits:
                total = self.objective(model, batch.to(accelerator.device))
                accelerator.backward(total * (accelerator.num_processes / tokens))
            loss += float(total.detach())
        norm = accelerator.clip_grad_norm_(model.parameters(), schedule.clip)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        loss = float(self._summed(torch.tensor(loss, dtype=torch.float64))) / tokens
        took_s = round(time.monotonic() - begin, 3)
        log.say(step, loss=loss, rate=rate, gradient=float(norm or 0.0), answer_tokens=int(tokens), took_s=took_s)
        return loss

    def _evaluate(self, model: nn.Module, step: int, log: "Log") -> Measured | None:
        """Measure on what is held out: each process its share."""
        if self.questions is None:
            return None
        accelerator = self.accelerator
        model.eval()
        sums = torch.zeros(5, dtype=torch.float64, device=accelerator.device)
        for position in range(accelerator.process_index, len(self.questions), accelerator.num_processes):
            sums += totals(model, collate([self.questions[position]]).to(accelerator.device))
        found = measured(self._summed(sums))
        log.say(step, **{f"eval_{name}": value for name, value in asdict(found).items()})
        return found

    def _summed(self, value: torch.Tensor) -> torch.Tensor:
        total: torch.Tensor = self.accelerator.reduce(value.to(self.accelerator.device), reduction="sum")
        return total

    def _windows(self, done: int) -> Iterator[list[Batch]]:
        """Yield what this process sees in each step that is still to go."""
        schedule, size = self.config.train, self._step_size
        rank, processes = self.accelerator.process_index, self.accelerator.num_processes
        batches = [
            list(range(start + rank * schedule.batch, start + (rank + 1) * schedule.batch))
            for start in range(done * size, self.steps * size, processes * schedule.batch)
        ]
        loader = DataLoader(
            self.lessons,
            batch_sampler=batches,
            collate_fn=collate,
            num_workers=self.config.data.workers,
            # Its own source of seeds: the model's random numbers must not depend on when a loader was begun
            generator=torch.Generator(),
        )
        window = []
        for batch in loader:
            window.append(batch)
            if len(window) == schedule.accumulation:
                yield window
                window = []


def _optimiser(student: nn.Module, schedule: Schedule) -> torch.optim.Optimizer:
    parameters = list(trained(student).values())
    return torch.optim.AdamW(
        [
            {"params": [one for one in parameters if one.ndim > 1], "weight_decay": schedule.weight_decay},
            {"params": [one for one in parameters if one.ndim <= 1], "weight_decay": 0.0},
        ],
        lr=schedule.rate,
    )


def rate_at(schedule: Schedule, step: int, steps: int) -> float:
    """Return the learning rate of a step, from 1: up in a straight line, then down to 0 along a cosine."""
    rising = schedule.warmup * steps
    if step <= rising:
        return schedule.rate * step / rising
    return schedule.rate * (1 + math.cos(math.pi * (step - 1 - rising) / (steps - rising))) / 2


class Log:
    """The log: one JSON object a line, those of steps that are gone through again taken out.

    Parameters
    ----------
    path
        The file.
    after
        The step that the training goes on from.
    is_writing
        False in all processes but one.
    """

    def __init__(self, path: Path, *, after: int, is_writing: bool) -> None:
        self._path = path
        self._is_writing = is_writing
        if is_writing:
            path.parent.mkdir(parents=True, exist_ok=True)
            kept = [row for row in read_log(path) if after and row["step"] <= after]
            path.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")

    def say(self, step: int, **values: float) -> None:
        """Write a line."""
        if self._is_writing:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": step, **values}) + "\n")


def read_log(path: Path) -> list[dict[str, float]]:
    """Return the lines of a log; none where there is no log. A last line that was cut off is left out."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]
