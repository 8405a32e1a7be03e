import pytest
from kombu.exceptions import ContentDisallowed
from kombu.serialization import loads

from worker.app import DELIVER_TASK, READ_TASK, create_app


def test_only_json_is_spoken_on_the_broker() -> None:
    """No pickle: neither written nor accepted (ADR 0004)."""
    app = create_app("redis://127.0.0.1:1/0")
    assert app.conf.accept_content == ["json"]
    assert app.conf.task_serializer == "json"
    with pytest.raises(ContentDisallowed):
        loads(b"", "application/x-python-serialize", "binary", accept=app.conf.accept_content)  # type: ignore[no-untyped-call]  # kombu is untyped


def test_no_message_is_lost_quietly_by_configuration() -> None:
    """Late acknowledgement, back to the queue when a worker dies, one at a time, prefork, a hard limit."""
    conf = create_app("redis://127.0.0.1:1/0", time_limit_s=77.0).conf
    assert conf.task_acks_late
    assert conf.task_reject_on_worker_lost
    assert (conf.worker_prefetch_multiplier, conf.worker_concurrency, conf.worker_pool) == (1, 1, "prefork")
    assert conf.task_time_limit == 77.0
    assert conf.task_soft_time_limit < conf.task_time_limit
    assert conf.result_backend is None


def test_readings_and_deliveries_have_queues_of_their_own() -> None:
    """A slow reading never holds up a delivery."""
    routes = create_app("redis://127.0.0.1:1/0").conf.task_routes
    assert routes[READ_TASK]["queue"] == "reading"
    assert routes[DELIVER_TASK]["queue"] == "delivery"
