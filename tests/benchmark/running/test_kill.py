import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmark.items import ITEMS_FILE, write_items
from benchmark.running.ledger import read_answers
from tests.benchmark.scoring.examples import IS_THERE
from tests.worker.engine.model_server import ModelServer, Reply, completion, serving

_ROOT = Path(__file__).resolve().parents[3]
_ITEMS = [
    replace(
        IS_THERE, item_id=f"v/{number}", question=f"Is finding {number} seen?", frame_numbers=(1,), rows=8, columns=8
    )
    for number in range(40)
]
_AT_A_TIME = 3


def test_a_run_that_is_killed_goes_on_without_repeating_or_losing_an_answer(tmp_path: Path) -> None:
    """Killed in the middle (kill -9): what is in the file was asked once and stays; the second run asks the rest."""
    write_items(_ITEMS, tmp_path / ITEMS_FILE)
    asked = Counter[str]()
    enough = threading.Event()

    def reply(body: dict[str, Any]) -> Reply:
        question = body["messages"][-1]["content"][-1]["text"].strip().removeprefix("Question: ")
        asked[question] += 1
        if asked.total() > 15 and not enough.is_set():
            enough.set()
        return 200, completion(f"Yes. {question}")

    with serving(ModelServer(reply=reply)) as state:
        first = _run(tmp_path, state.url)
        assert enough.wait(120)
        os.killpg(first.pid, signal.SIGKILL)
        first.communicate()
        kept = read_answers(tmp_path / "run" / "answers.jsonl")
        second = _run(tmp_path, state.url)
        printed, _ = second.communicate(timeout=120)
    assert second.returncode == 0, printed
    assert "40 of 40 questions answered" in printed

    answers = read_answers(tmp_path / "run" / "answers.jsonl")  # refuses a question that stands twice
    assert {name: said.text for name, said in answers.items()} == {
        item.item_id: f"Yes. {item.question}" for item in _ITEMS
    }
    assert 0 < len(kept) < len(_ITEMS)
    assert list(answers.values())[: len(kept)] == list(kept.values())
    questions = {item.item_id: item.question for item in _ITEMS}
    assert all(asked[questions[name]] == 1 for name in kept)
    # at most what was under way when the process died was asked again
    assert asked.total() <= len(_ITEMS) + _AT_A_TIME


def _run(folder: Path, url: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "plugin.cli", "benchmark", "run", "--benchmark", str(folder), "--model", url]
    command += ["--model-name", "recorded-8b", "--blank", "--out", str(folder / "run"), "--at-a-time", str(_AT_A_TIME)]
    return subprocess.Popen(
        command,
        cwd=_ROOT,
        env={**os.environ, "PYTHONPATH": str(_ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
