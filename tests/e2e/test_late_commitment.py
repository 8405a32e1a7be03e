"""Storage commitment crosses processes (ADR 0007): the answer may come late, never, or as a refusal."""

import pytest

from conformance.pacs import PacsBehaviour, SmallPacs
from conformance.phantoms import Phantom
from sgmri.lifecycle import Reason, State
from tests.e2e.system import System

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("e2e")]


def small_pacs(system: System, behaviour: PacsBehaviour) -> SmallPacs:
    return SmallPacs(
        "SMALLPACS",
        directory=system.state_dir / "small",
        peers={ae: ("127.0.0.1", port) for ae, port in system.peers().items()},
        behaviour=behaviour,
    )


def test_a_result_is_committed_only_when_the_answer_has_come(system: System, brain: Phantom) -> None:
    """The N-EVENT-REPORT is four seconds late and comes on its own association: STORED until then."""
    with small_pacs(system, PacsBehaviour(commitment_delay_s=4.0)) as pacs:
        system.configure("SMALLPACS", pacs.port)
        system.start("listener", "worker-reading", "worker-delivery")
        system.send(brain)
        system.wait(State.STORED)
        row = system.wait(State.COMMITTED)
        at = {event.stage: event.at for event in system.journal.timeline(row.series_key)}
        assert at["COMMITTED"] - at["STORED"] >= 4.0


def test_an_answer_finds_a_restarted_listener(system: System, brain: Phantom) -> None:
    """The listener is killed after the request and restarted before the answer: the journal knows the transaction."""
    with small_pacs(system, PacsBehaviour(commitment_delay_s=5.0)) as pacs:
        system.configure("SMALLPACS", pacs.port)
        system.start("listener", "worker-reading", "worker-delivery")
        system.send(brain)
        system.wait(State.STORED)
        system.processes.kill(system.children["listener"])
        system.start("listener")
        system.wait(State.COMMITTED)


def test_an_answer_that_never_comes_is_asked_for_again(system: System, brain: Phantom) -> None:
    """A PACS that keeps silent is asked again after the time limit; the series is never called committed."""
    system.settings["commitment_timeout_s"] = "1.0"
    with small_pacs(system, PacsBehaviour(answers_commitment=False)) as pacs:
        system.configure("SMALLPACS", pacs.port)
        system.start("listener", "worker-reading", "worker-delivery")
        system.send(brain)
        system.wait(State.STORED)
        system.wait_for(lambda: asked(system) >= 2, "a second request")
        assert system.journal.all_series()[0].state is State.STORED


def asked(system: System) -> int:
    from sqlalchemy import func, select

    from worker.journal_tables import COMMITMENTS

    with system.journal.look() as connection:
        return int(connection.execute(select(func.count()).select_from(COMMITMENTS)).scalar_one())


def test_a_refused_commitment_is_no_commitment(system: System, brain: Phantom) -> None:
    """A PACS that says it cannot find the objects sends the series back into delivery with the coded reason."""
    with small_pacs(system, PacsBehaviour(commitment_failures=True)) as pacs:
        system.configure("SMALLPACS", pacs.port)
        system.start("listener", "worker-reading", "worker-delivery")
        system.send(brain)
        system.wait_for(
            lambda: [row.reason for row in system.journal.all_series()] == [Reason.COMMITMENT_REFUSED], "the refusal"
        )
        assert system.journal.all_series()[0].state is State.READ
