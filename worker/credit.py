"""A worker that lost the broker in just the wrong moment connects anew, instead of waiting for ever.

Kombu gives a worker credit for so many messages, and takes it back with each acknowledgement. One that fails, because
the broker is away when a task ends, is only logged: the credit stays spent, and with none left the worker asks the
broker for nothing more, so that it does not even notice when it is there again (kombu 5.7.0). The message itself
matters little: the journal knows what is to be done, and rings again (ADR 0004).
"""

import logging
from typing import Any

from celery import bootsteps
from celery.worker import state
from celery.worker.consumer.tasks import Tasks
from redis.exceptions import ConnectionError as ConnectionLost

_log = logging.getLogger(__name__)

_LOOK_S = 5.0


class Credit(bootsteps.StartStopStep):  # type: ignore[misc]  # Celery has no types
    """Compares what the broker's credit is spent on with what is in hand."""

    requires = (Tasks,)

    def __init__(self, consumer: Any, **options: Any) -> None:
        super().__init__(consumer, **options)
        self._timer: Any = None
        self._was_lost = False

    def start(self, consumer: Any) -> None:
        """Look from now on, for as long as this connection lasts."""
        self._was_lost = False
        self._timer = consumer.timer.call_repeatedly(_LOOK_S, self._look, (consumer,))

    def stop(self, consumer: Any) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self, consumer: Any) -> None:
        """Raise what Celery answers with a new connection, if twice in a row credit is spent on nothing."""
        qos = consumer.task_consumer.channel.qos
        spent = qos.prefetch_count - qos.can_consume_max_estimate() if qos.prefetch_count else 0
        is_lost = spent > len(state.reserved_requests)
        if is_lost and self._was_lost:
            _log.warning("an acknowledgement was lost with the broker; connecting anew")
            raise ConnectionLost("expected every message to be in hand or acknowledged")
        self._was_lost = is_lost
