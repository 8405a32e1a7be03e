"""Score the run in a folder: read its card, its questions and its answers; write scores and the certainty plot."""

from pathlib import Path

from benchmark.running.card import ANSWERS_FILE, Benchmark, RunCard
from benchmark.running.ledger import read_answers
from benchmark.running.profiles import profile_named
from benchmark.scoring.answers import TextOptions, score_answers
from benchmark.scoring.certainty import plot
from benchmark.scoring.report import RunScores, report
from sgmri.errors import ConfigError

PLOT_FILE = "certainty.png"


def score_run(folder: Path, benchmark: Benchmark, options: TextOptions, *, rounds: int = 1000) -> RunScores:
    """Score a run, whole or not, and write ``scores.json`` and ``certainty.png`` into its folder.

    Parameters
    ----------
    folder
        The run's.
    benchmark
        The one that it was asked.
    options
        What texts are compared with.
    rounds
        Of the bootstrap.

    Raises
    ------
    ConfigError
        If one of them is not there, or they do not belong together.
    """
    card = RunCard.read(folder)
    asked = benchmark.asked(card)
    said = read_answers(folder / ANSWERS_FILE)
    unknown = sorted(said.keys() - {item.item_id for item in asked})
    if unknown:
        raise ConfigError(
            f"{folder}: expected answers to the run's questions only, found {len(unknown)} to others, such as "
            f"{unknown[0]}; name items as items.parquet does"
        )
    answers = score_answers(asked, said, profile_named(card.profile), options)
    scores = report(card, asked, answers, rounds=rounds)
    scores.write(folder)
    plot(scores.certainty, card.name, folder / PLOT_FILE)
    return scores
