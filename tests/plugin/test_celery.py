"""The gate of a worker: an engine that may not work here is noticed before any task is taken."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
from celery import signals

from plugin import celery
from plugin.celery import check_engine, run, worker_app
from sgmri.errors import ConfigError, EngineError
from sgmri.settings import Broker, Settings, Storage, Worker
from tests.worker.engine.small_bundle import small_bundle, with_other_features
from worker.engine.bundle import Bundle
from worker.engine.classical import ClassicalEngine


def _settings(**worker: str) -> Settings:
    return replace(Settings(), worker=Worker(device="cpu", **worker))  # type: ignore[arg-type]  # names and paths


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return small_bundle(tmp_path_factory.mktemp("bundle"))


def test_a_model_that_reads_as_sealed_may_work(bundle: Bundle) -> None:
    """The check makes the engine in a process of its own, and says nothing."""
    check_engine(_settings(model=str(bundle.directory)))


def test_a_model_that_reads_otherwise_takes_no_work(bundle: Bundle, tmp_path: Path) -> None:
    """Golden cases that this machine does not meet: the worker does not start, and says why."""
    directory = tmp_path / "other"
    with_other_features(bundle, directory)
    with pytest.raises(EngineError, match=r"golden cases.*no work is taken"):
        run(_settings(model=str(directory)), ["reading"])


def test_wrong_settings_stay_wrong_settings(tmp_path: Path) -> None:
    """What the process of the check finds keeps its type: a setting to be mended is no broken model."""
    with pytest.raises(ConfigError, match="served"):
        check_engine(_settings(engine="served"))
    with pytest.raises(ConfigError, match="expected one of"):
        worker_app(_settings(engine="oracle"))


def test_the_model_is_loaded_in_the_process_that_reads(tmp_path: Path) -> None:
    """A reading worker is a prefork pool of as many processes as settings say, never solo; each loads at its start."""
    settings = replace(
        Settings(),
        storage=Storage(state_dir=str(tmp_path)),
        worker=Worker(engine="classical", readings_per_gpu=2),
        broker=Broker(url="redis://127.0.0.1:1/0"),
    )
    made: list[int] = []

    def engine(*_: object, **__: object) -> ClassicalEngine:
        made.append(os.getpid())
        return ClassicalEngine()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(celery, "create_engine", engine)
        try:
            app = worker_app(settings, ["reading"])
            assert (app.conf.worker_pool, app.conf.worker_concurrency) == ("prefork", 2)
            assert app.conf.worker_proc_alive_timeout >= 60
            assert made == [], "loaded in the parent: CUDA would not survive the fork"
            signals.worker_process_init.send(sender=None)
            assert made == [os.getpid()]
        finally:
            signals.worker_process_shutdown.send(sender=None)
            signals.worker_process_init.disconnect(dispatch_uid="sgmri")
        assert worker_app(settings, ["delivery"]).conf.worker_concurrency == 1
        signals.worker_process_init.send(sender=None)
        signals.worker_process_shutdown.send(sender=None)
        signals.worker_process_init.disconnect(dispatch_uid="sgmri")
        assert len(made) == 1, "who delivers needs no model"
