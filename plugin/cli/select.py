"""``sgmri select``: what would be read of the series below a path, from which frames, and why the rest is left."""

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from dicom_io.preferences import built_in_text
from dicom_io.selection import Choice, Verdict, choose
from dicom_io.series import Folder, SeriesFacts, scan_folder
from dicom_io.stored import series_key
from plugin.choices import named, series_document
from plugin.rules import load_rules
from sgmri.errors import ConfigError
from sgmri.lifecycle import Reason
from sgmri.volume import ContrastAgent

_HEADINGS = ("series", "instances", "frames", "anatomy", "plane", "weighting", "fat suppr.", "contrast agent", "result")
_FORMAT = "sgmri-select-3"
"""Names the shape of the JSON document; another shape gets another name."""

_Chosen = Sequence[tuple[SeriesFacts, Choice]]


def add_parser(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add the subcommand."""
    parser = commands.add_parser("select", help="show what of a folder would be read, and why the rest would not")
    parser.add_argument("path", type=Path, nargs="?", help="a DICOM file or a folder, searched with its subfolders")
    parser.add_argument("--explain", action="store_true", help="say in sentences why, and by what evidence")
    parser.add_argument("--json", action="store_true", help="for machines: everything, explanations included")
    parser.add_argument("--rules", type=Path, metavar="FILE", help="try a rule file of the site (TOML)")
    parser.add_argument(
        "--show-defaults", action="store_true", help="print the built-in preferences, to be copied into a rule file"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print it; 2 where no file is a DICOM instance."""
    if arguments.show_defaults:
        print(built_in_text(), end="")
        return 0
    if arguments.path is None:
        raise ConfigError("expected the path of a DICOM file or folder, found none")
    rules = load_rules(arguments.rules)
    folder = scan_folder(arguments.path)
    chosen = [(facts, choose(facts, rules=rules)) for facts in folder.series]
    if arguments.json:
        print(json.dumps(_document(folder, chosen), indent=2))
    else:
        for line in _lines(folder, chosen, explain=arguments.explain):
            print(line)
    return 0 if folder.series else 2


def _lines(folder: Folder, chosen: _Chosen, *, explain: bool) -> Iterator[str]:
    rows: list[tuple[str, ...]] = [_HEADINGS]
    sentences: list[list[str]] = [[]]
    for facts, choice in chosen:
        rows.append(_series_row(facts, choice))
        facts_said = [_anatomy(named(facts, choice)), _contrast_agent(facts)]
        if len(choice.verdicts) > 1:
            sentences.append([choice.explanation, *facts_said])
            rows += [_sub_volume_row(verdict) for verdict in choice.verdicts]
            sentences += [_sub_volume_sentences(verdict) for verdict in choice.verdicts]
        else:
            alone = [sentence for verdict in choice.verdicts for sentence in _rule_sentences(verdict)]
            sentences.append([choice.explanation, *facts_said, *alone])
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS))]
    for row, said in zip(rows, sentences, strict=True):
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        if explain:
            yield from (f"    {sentence}" for sentence in said)
    for file, reason, explanation in folder.refused:
        yield f"{file}: left ({reason})" + (f": {explanation}" if explain else "")
    count = sum(choice.taken for _, choice in chosen)
    yield f"{count} of {len(chosen)} series would be read; files that are no DICOM instance: {len(folder.refused)}."


def _anatomy(facts: SeriesFacts) -> str:
    sure = "" if facts.certainty is None else f", certainty: {facts.certainty:.2f}"
    return f"Anatomy: {facts.anatomy or 'unknown'}, by: {facts.evidence}{sure}."


def _contrast_agent(facts: SeriesFacts) -> str:
    return f"Contrast agent: {facts.contrast_agent}, by: {facts.agent_evidence}."


def _sub_volume_sentences(verdict: Verdict) -> list[str]:
    return [verdict.explanation, _contrast_agent(verdict.sub_volume.facts), *_rule_sentences(verdict)]


def _rule_sentences(verdict: Verdict) -> list[str]:
    """Say which rules do not match, and which one decides; nothing where only the built-in one was asked."""
    ruling = verdict.ruling
    if ruling is None or not (ruling.rule or ruling.not_matching):
        return []
    decides = f"The rule {ruling.rule!r} decides." if ruling.rule else "No rule of the file matches."
    return [*ruling.not_matching, decides]


def _series_row(facts: SeriesFacts, choice: Choice) -> tuple[str, ...]:
    seen = facts if choice.sub_volume is None else choice.sub_volume.facts
    return (
        series_key(facts.study_instance_uid, facts.series_instance_uid)[:8],
        str(len(facts.instances)),
        str(facts.frame_count),
        str(named(facts, choice).anatomy or "-"),
        *_look(seen),
        _result(choice.reason),
    )


def _sub_volume_row(verdict: Verdict) -> tuple[str, ...]:
    facts, frames = verdict.sub_volume.facts, verdict.sub_volume.frames
    name = f"  {verdict.sub_volume.name}"
    return (name, str(len(facts.images)), str(len(frames)), "", *_look(facts), _result(verdict.reason))


def _look(facts: SeriesFacts) -> tuple[str, str, str, str]:
    fat = {True: "yes", False: "no", None: "-"}[facts.fat_suppressed]
    agent = "-" if facts.contrast_agent is ContrastAgent.UNKNOWN else facts.contrast_agent.value
    return str(facts.plane or "-"), facts.weighting.value, fat, agent


def _result(reason: Reason) -> str:
    return "taken" if reason is Reason.NONE else f"left ({reason})"


def _document(folder: Folder, chosen: _Chosen) -> dict[str, object]:
    return {
        "format": _FORMAT,
        "series": [series_document(facts, choice) for facts, choice in chosen],
        "refused": [
            {"file": str(file), "reason": reason.value, "explanation": explanation}
            for file, reason, explanation in folder.refused
        ],
    }
