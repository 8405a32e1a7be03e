import json
from typing import Any

from benchmark.scoring.judge import Judge
from benchmark.scoring.published_text import Opinion
from tests.worker.engine.model_server import ModelServer, Reply, completion, serving
from worker.engine.served import Server


def _marks(body: dict[str, Any]) -> Reply:
    prompt = body["messages"][0]["content"]
    said = prompt.split("Answer to be marked:\n")[1]
    if said == "broken":
        return 500, {}
    marks = {"accuracy": 9, "relevance": 8, "helpfulness": 10} if said == "right" else {"accuracy": 2}
    if said == "wrong":
        marks = {"accuracy": 2, "relevance": 3, "helpfulness": 1}
    return 200, completion(f"Here: {json.dumps(marks)}")


def test_a_judge_marks_output_and_reference() -> None:
    """Marks come from the model; one that fails, or gives two of three marks, gives none."""
    with serving(ModelServer(reply=_marks)) as state:
        judge = Judge(Server(url=state.url, model="recorded-8b"))
        pairs = [("right", "right"), None, ("wrong", "right"), ("broken", "right"), ("half", "right")]
        opinions = judge.opinions(pairs)
    full = (9, 8, 10)
    assert opinions == [
        Opinion(candidate=full, reference=full),
        None,
        Opinion(candidate=(2, 3, 1), reference=full),
        Opinion(candidate=None, reference=full),
        Opinion(candidate=None, reference=full),
    ]
    # the image is never shown, and the reference is marked once
    assert len(state.bodies) == 4
