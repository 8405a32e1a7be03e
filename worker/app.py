"""The Celery application: JSON only, two queues, and settings under which no message is lost quietly.

The journal is the truth; Celery only wakes workers (ADR 0004). A message for a reading says that there is one to do,
not which; one for a delivery carries a series key and a generation.
"""

from celery import Celery

READING_QUEUE = "reading"
DELIVERY_QUEUE = "delivery"
READ_TASK = "sgmri.read"
DELIVER_TASK = "sgmri.deliver"

ALONE = ("--without-gossip", "--without-mingle", "--without-heartbeat")
"""Options of a worker, to whom nobody listens: a heartbeat would stop all else while the broker is away."""

_VISIBILITY_TIMEOUT_S = 60.0
_LOADING_S = 600.0  # a process that loads its model takes no task meanwhile, and is not dead


def create_app(broker_url: str, *, time_limit_s: float = 900.0, processes: int = 1) -> Celery:
    """Make the application.

    Parameters
    ----------
    broker_url
        Redis URL.
    time_limit_s
        Hard limit of one task.
    processes
        How many tasks a worker runs at a time, each in a process of its own.

    Returns
    -------
    An application without tasks: the listener only rings; :func:`worker.tasks.register` adds the work.
    """
    app = Celery("sgmri", broker=broker_url, set_as_current=False)
    app.conf.update(
        accept_content=["json"],
        task_serializer="json",
        # state is in the journal, so nothing is kept in Redis but the bell
        task_ignore_result=True,
        result_backend=None,
        task_routes={READ_TASK: {"queue": READING_QUEUE}, DELIVER_TASK: {"queue": DELIVERY_QUEUE}},
        task_create_missing_queues=True,
        # A worker that dies gives its message back at once; a task that fails has told the journal
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_acks_on_failure_or_timeout=True,
        worker_prefetch_multiplier=1,
        worker_concurrency=processes,
        worker_pool="prefork",  # solo loses the task in hand on SIGQUIT
        worker_proc_alive_timeout=_LOADING_S,
        task_time_limit=time_limit_s,
        task_soft_time_limit=time_limit_s * 0.9,
        worker_soft_shutdown_timeout=30.0,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_send_task_events=False,
        worker_enable_remote_control=False,
        broker_connection_retry_on_startup=True,
        broker_transport_options={
            "visibility_timeout": _VISIBILITY_TIMEOUT_S,
            "unacked_restore_interval": 5,
            "unacked_restore_throttle": 1,
            "socket_timeout": 30,
            "socket_connect_timeout": 5,
            "socket_keepalive": True,
        },
        task_publish_retry_policy={"max_retries": 2, "interval_max": 0.2},
        broker_transport="redis",
    )
    return app


def ring_reading(app: Celery) -> None:
    """Wake a worker for the next reading.

    Raises
    ------
    kombu.exceptions.OperationalError
        If the broker is down; the sweeper rings again.
    """
    app.send_task(READ_TASK, queue=READING_QUEUE)


def ring_delivery(app: Celery, series_key: str, generation: int) -> None:
    """Wake a worker for a delivery; raises as :func:`ring_reading`."""
    app.send_task(DELIVER_TASK, args=[series_key, generation], queue=DELIVERY_QUEUE)
