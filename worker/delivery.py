"""Deliver results: store them at every destination, then ask each for proof that it keeps them.

SEG before SR, because the SR refers to it. What a destination took is recorded object by object, so a delivery
that broke goes on where it stopped; the bytes come from the outbox and are the same each time. Each destination is
tried under a lease and with a patience of its own; one that cannot be reached is left alone (:mod:`worker.breakers`).
"""

import hashlib
import logging
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from dicom_io.commitment import request
from dicom_io.scu import deliverable
from sgmri.audit import Action, AuditEvent, Auditor, Outcome, forget
from sgmri.errors import (
    AuditUnavailable,
    DeliveryError,
    PeerBusy,
    PeerRejects,
    PeerUnavailable,
    StoreRefused,
    Undeliverable,
)
from sgmri.lifecycle import Reason, State
from sgmri.outlets import Outlet
from sgmri.settings import Settings
from worker.breakers import Breakers, Gate
from worker.deliveries import Deliveries, DeliveryRow, ObjectRow
from worker.destinations import Sender, Senders, peer, targets
from worker.journal import Journal, SeriesRow
from worker.leases import kept_alive, this_worker
from worker.outbox import Outbox

_log = logging.getLogger(__name__)


def breakers(journal: Journal, settings: Settings) -> Breakers:
    """Return the circuit breakers of the destinations."""
    return Breakers(
        journal=journal,
        max_failures=settings.delivery.max_connection_failures,
        probe_interval_s=settings.delivery.probe_interval_s,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Deliverer:
    """Delivers readings; every outcome ends in the journal.

    Parameters
    ----------
    journal, settings
        The truth, and where to.
    senders
        Who sends.
    audit
        Who remembers what was sent.
    """

    journal: Journal
    settings: Settings
    senders: Senders
    audit: Auditor = forget

    @property
    def _outbox(self) -> Outbox:
        return Outbox(journal=self.journal, targets=targets(self.settings))

    @property
    def _deliveries(self) -> Deliveries:
        return self._outbox.deliveries

    @property
    def _breakers(self) -> Breakers:
        return breakers(self.journal, self.settings)

    def deliver(self, row: SeriesRow, directory: Path) -> None:
        """Deliver the objects of a series wherever they are due.

        Parameters
        ----------
        row
            The series, READ or STORED.
        directory
            Where its objects lie.
        """
        if not self._deliveries.of(row):
            self._deliveries.begin_late(row)
        for delivery, outlet in self._due(row):
            lease_s = self.settings.worker.lease_s
            taken = self._deliveries.take_lease(delivery, this_worker(), lease_s)
            if taken is None:
                continue
            with kept_alive(partial(self._deliveries.renew_lease, taken), lease_s):
                self._deliver(_Errand(delivery=taken, outlet=outlet, row=row, directory=directory))

    def _due(self, row: SeriesRow) -> Iterator[tuple[DeliveryRow, Outlet]]:
        """Yield what is due, the destinations that were reached last time first: they wait for no other."""
        failures = self._breakers.failures()
        outlets = {target.outlet.name: target.outlet for target in targets(self.settings)}
        waiting = [one for one in self._deliveries.of(row) if self._deliveries.goes_on(one)]
        for delivery in sorted(waiting, key=lambda one: failures.get(one.destination, 0)):
            outlet = outlets[delivery.destination]
            gate = self._breakers.gate(outlet.name)
            is_due = delivery.next_try_at <= self.journal.clock()
            if (gate is Gate.CLOSED and is_due) or (gate is Gate.PROBE and self._answers(delivery, outlet)):
                yield self._deliveries.one(row.series_key, row.generation, outlet.name) or delivery, outlet

    def _answers(self, delivery: DeliveryRow, outlet: Outlet) -> bool:
        """Probe a destination that was left alone."""
        try:
            with self.senders.to(self.settings, outlet) as sender:
                sender.probe()
        except PeerUnavailable as error:
            _log.warning("%s is still away: %s", outlet.name, error)
            self._gave_up(delivery)
            return False
        self._reached(outlet)
        return True

    def _reached(self, outlet: Outlet) -> None:
        if self._breakers.answered(outlet.name):
            _log.warning("%s is there again; what waits for it is sent", outlet.name)

    def _deliver(self, errand: "_Errand") -> None:
        delivery, outlet = errand.delivery, errand.outlet
        try:
            with self.senders.to(self.settings, outlet) as sender:
                overdue = delivery.state is State.STORED
                stored = overdue or self._store(errand, sender)
                self._reached(outlet)
                if stored:
                    self._prove(errand, sender, overdue=overdue)
        except DeliveryError as error:
            self._failed(errand, error)
        except AuditUnavailable as error:
            _log.error("%s", error)
            later = self.journal.clock() + self.settings.worker.sweep_period_s
            self._move(errand, None, reason=delivery.reason, next_try_at=later)
        except Exception as error:  # noqa: BLE001 - border: a bug at one destination must not hold back the others
            _log.error("delivery to %s failed by a bug; it is tried again", outlet.name, exc_info=error)
            later = self.journal.clock() + self.settings.delivery.retry_max_s
            self._move(errand, None, reason=Reason.INTERNAL, next_try_at=later)

    # -- storing ------------------------------------------------------------------------------------------------

    def _store(self, errand: "_Errand", sender: Sender) -> bool:
        """Store what is not stored yet; return whether all of it is now. A refusal holds back no other object."""
        begin = self.journal.clock()
        waiting = {
            one.sop_instance_uid: one for one in self._deliveries.objects(errand.delivery) if one.stored_at is None
        }
        refusals: list[DeliveryError] = []
        taken = 0
        sendables = [deliverable(errand.directory / one.file_name) for one in waiting.values()]
        self._remember(errand, Action.BEGIN_SEND, len(waiting))
        try:
            for instance, refusal in sender.store(sendables):
                this = waiting[instance.sop_instance_uid]
                if refusal is None or self._is_held(errand, sender, this, refusal):
                    self._mark(errand, this, stored_at=self.journal.clock(), reason=Reason.NONE)
                    taken += 1
                elif isinstance(refusal, PeerBusy):
                    raise refusal
                else:
                    self._mark(errand, this, reason=_reason_of(refusal))
                    refusals.append(refusal)
        finally:
            # one event for what was taken, one for what was not (PS3.15 A.5.2)
            if taken:
                self._remember(errand, Action.SEND, taken)
            if taken < len(waiting):
                self._remember(errand, Action.SEND, len(waiting) - taken, Outcome.FAILURE)
        self.journal.log(errand.row, "store", duration_s=self.journal.clock() - begin)
        if refusals:
            raise refusals[0]
        return self._move(errand, State.STORED, keeps_lease=True, stored_at=self.journal.clock())

    def _is_held(self, errand: "_Errand", sender: Sender, this: ObjectRow, refusal: DeliveryError) -> bool:
        """Return whether an object was refused because it is there already: some say so with other statuses."""
        if isinstance(refusal, Undeliverable) or (isinstance(refusal, PeerBusy) and not errand.delivery.tries):
            return False
        try:
            return this.sop_instance_uid in sender.held(errand.row.study_instance_uid, this.series_instance_uid)
        except DeliveryError:
            return False

    def _remember(self, errand: "_Errand", action: Action, count: int, outcome: Outcome = Outcome.SUCCESS) -> None:
        key, name = errand.row.series_key, errand.outlet.name
        self.audit(
            AuditEvent(action=action, who="worker", outcome=outcome, series_key=key, detail=f"to {name}", count=count)
        )

    def _mark(self, errand: "_Errand", this: ObjectRow, **change: float | str | None) -> None:
        self._deliveries.mark(errand.delivery, [this.sop_instance_uid], **change)

    # -- proof --------------------------------------------------------------------------------------------------

    def _prove(self, errand: "_Errand", sender: Sender, *, overdue: bool) -> None:
        objects = self._deliveries.objects(errand.delivery)
        if not errand.outlet.proves:
            self._move(errand, State.STORED)
        elif all(one.committed_at is not None for one in objects):
            self._move(errand, State.COMMITTED, committed_at=self.journal.clock())
        elif errand.outlet.commitment == "query":
            self._look(errand, sender, objects)
        else:
            self._ask_for_commitment(errand, objects, overdue=overdue)

    def _ask_for_commitment(self, errand: "_Errand", objects: tuple[ObjectRow, ...], *, overdue: bool) -> None:
        reason = Reason.COMMITMENT_LATE if overdue and not errand.delivery.tries else Reason.NONE
        if reason is Reason.COMMITMENT_LATE:
            _log.error("no commitment result in time; asking again. Can %s reach us?", errand.outlet.name)
        transaction_uid = f"2.25.{uuid.uuid4().int}"
        self._outbox.expect_commitment(errand.delivery, transaction_uid)
        wanted = [(one.sop_class_uid, one.sop_instance_uid) for one in objects]
        request(peer(self.settings, errand.outlet), transaction_uid, wanted)
        # The answer comes to the listener; until then nobody is rung for this delivery
        overdue_at = self.journal.clock() + self.settings.delivery.commitment_timeout_s
        self._move(errand, State.STORED, reason=reason, next_try_at=overdue_at, tries=0)

    def _look(self, errand: "_Errand", sender: Sender, objects: tuple[ObjectRow, ...]) -> None:
        """Look whether the destination lists every object; send those again that it does not list in time."""
        study, now = errand.row.study_instance_uid, self.journal.clock()
        series = {one.series_instance_uid for one in objects}
        held = frozenset[str]().union(*(sender.held(study, uid) for uid in series))
        there = [one.sop_instance_uid for one in objects if one.sop_instance_uid in held]
        missing = [one.sop_instance_uid for one in objects if one.sop_instance_uid not in held]
        self._deliveries.mark(errand.delivery, there, committed_at=now)
        delivery = errand.now(self._deliveries)
        if delivery is None:
            return
        if not missing:
            self._move(errand, State.COMMITTED, committed_at=now)
        elif now - (delivery.stored_at or now) < self.settings.delivery.commitment_timeout_s:
            later = now + self._backoff_s(delivery)
            self._move(errand, State.STORED, tries=delivery.tries + 1, next_try_at=later)
        else:
            _log.error(
                "%s does not list %d objects that it took; they are sent again", errand.outlet.name, len(missing)
            )
            self._deliveries.mark(errand.delivery, missing, stored_at=None)
            self._move(errand, State.READ, reason=Reason.COMMITMENT_LATE, tries=0, next_try_at=now)

    # -- trying again -------------------------------------------------------------------------------------------

    def _failed(self, errand: "_Errand", error: DeliveryError) -> None:
        name = errand.outlet.name
        _log.log(logging.WARNING if error.transient else logging.ERROR, "%s: %s", name, error)
        if isinstance(error, PeerUnavailable) and not isinstance(error, PeerBusy):
            if self._breakers.failed(name):
                _log.error("%s cannot be reached; it is left alone and probed from time to time", name)
        else:
            self._reached(errand.outlet)
        delivery = errand.now(self._deliveries)
        if delivery is None or self._gave_up(delivery, _reason_of(error)):
            return
        wait_s = self._backoff_s(delivery) if error.transient else self.settings.delivery.retry_max_s
        later = self.journal.clock() + wait_s
        self._move(errand, None, reason=_reason_of(error), tries=delivery.tries + 1, next_try_at=later)

    def _gave_up(self, delivery: DeliveryRow, reason: Reason | None = None) -> bool:
        """Give a delivery up that was tried for as long as is allowed; return whether it was."""
        if self.journal.clock() - delivery.since <= self.settings.delivery.give_up_after_s:
            return False
        return self._deliveries.move(delivery, State.FAILED, reason=reason or delivery.reason)

    def _backoff_s(self, delivery: DeliveryRow) -> float:
        """Return how long to wait before the next try: three times as long each time, spread by a tenth."""
        patience = self.settings.delivery
        wait_s = min(patience.retry_first_s * 3.0 ** min(delivery.tries, 20), patience.retry_max_s)
        word = f"{delivery.series_key} {delivery.destination} {delivery.tries}"
        return wait_s * (1 + 0.1 * hashlib.sha256(word.encode()).digest()[0] / 255)

    def _move(
        self,
        errand: "_Errand",
        after: State | None,
        *,
        reason: Reason = Reason.NONE,
        keeps_lease: bool = False,
        **change: float,
    ) -> bool:
        """Change the state of the delivery in hand (None: it stays); False if it is another's by now."""
        delivery = errand.now(self._deliveries)
        if delivery is None:
            return False
        return self._deliveries.move(
            delivery, after or delivery.state, reason=reason, keeps_lease=keeps_lease, **change
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Errand:
    """One delivery in hand: its row as the lease was taken, where to, and what."""

    delivery: DeliveryRow
    outlet: Outlet
    row: SeriesRow
    directory: Path

    def now(self, deliveries: Deliveries) -> DeliveryRow | None:
        """Return the delivery as it now is; None if it is no longer in hand: the destination's answer was faster."""
        one = deliveries.one(self.delivery.series_key, self.delivery.generation, self.delivery.destination)
        return one if one is not None and one.lease_owner == self.delivery.lease_owner else None


def _reason_of(error: DeliveryError) -> Reason:
    if isinstance(error, Undeliverable):
        return Reason.UNDELIVERABLE
    if isinstance(error, StoreRefused):
        return Reason.STORE_REFUSED
    return Reason.PEER_REJECTS if isinstance(error, PeerRejects) else Reason.PEER_UNAVAILABLE
