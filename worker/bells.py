"""Ring for readings: as many messages as there are series to read, and no more however often somebody rings."""

import logging

from celery import Celery
from kombu.exceptions import OperationalError
from redis import Redis
from redis.exceptions import RedisError

from worker.app import READING_QUEUE, ring_reading
from worker.worklist import Worklist

_log = logging.getLogger(__name__)


def ring_for_readings(app: Celery, worklist: Worklist, *, most: int) -> bool:
    """Fill up the messages that wait to the number of series that can be read now.

    Parameters
    ----------
    app
        Of :func:`worker.app.create_app`.
    worklist
        What is to be read.
    most
        Messages are of use to as many workers as there are; no more than this are kept waiting.

    Returns
    -------
    Whether the broker was there; if not, the sweeper comes again.
    """
    waiting = depth(app.conf.broker_url, READING_QUEUE)
    if waiting is None:
        return False
    # with enough messages nobody needs to count the series
    missing = worklist.ready(most) - waiting if waiting < most else 0
    for _ in range(missing):
        try:
            ring_reading(app)
        except OperationalError:
            _log.warning("the broker is away; ringing again later")
            return False
    return True


def depth(broker_url: str, queue: str) -> int | None:
    """Return how many messages wait in a queue; None when the broker is away (asked for two seconds, not for ever)."""
    try:
        with Redis.from_url(broker_url, socket_connect_timeout=2, socket_timeout=2, retry=None) as client:
            return int(client.llen(queue))
    except RedisError as error:
        _log.warning("the broker is away (%s)", type(error).__name__)
        return None
