"""What the compose files and the Kubernetes manifests promise (scripts/check-images validates their form)."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from sqlalchemy import text

from sgmri.lifecycle import State
from tests.databases import postgres, postgres_url  # noqa: F401 - fixtures
from tests.worker.test_journal import received
from worker.journal import Journal

ROOT = Path(__file__).resolve().parents[2]
BASE = ROOT / "deploy" / "kubernetes" / "base"


def documents() -> Iterator[dict[str, Any]]:
    for path in sorted(BASE.glob("*.yaml")):
        yield from yaml.safe_load_all(path.read_text(encoding="utf-8"))


COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
WORKLOADS = [one for one in documents() if one["kind"] in ("Deployment", "StatefulSet", "Job")]


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_every_container_of_compose_is_confined(name: str) -> None:
    """Read-only root, no capabilities, no new privileges, a user without rights, limits, a health check of its own."""
    service = COMPOSE["services"][name]
    assert service["read_only"] and service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    limits = service["deploy"]["resources"]["limits"]
    assert {"cpus", "memory", "pids"} <= limits.keys()
    assert not any(word in str(service.get("environment", {})).lower() for word in ("password:", "secret:"))
    if name == "pacs-volume":  # changes an owner, without a network, and ends
        assert service["cap_add"] == ["CHOWN"] and service["network_mode"] == "none"
        return
    assert "cap_add" not in service and service["user"].partition(":")[0] not in ("", "0", "root")
    assert "build" in service or "healthcheck" in service
    assert all(mount.startswith("127.0.0.1:") for mount in service.get("ports", []) if "DICOM" not in mount)


def test_compose_has_no_password_of_its_own() -> None:
    """Each secret is a file that scripts/compose-secrets makes of the machine's randomness; none has a default."""
    assert set(COMPOSE["secrets"]) == {"journal_url", "broker_url", "redis_password", "postgres_password"}
    script = (ROOT / "scripts" / "compose-secrets").read_text(encoding="utf-8")
    assert all(f"secrets/{name}" in script for name in COMPOSE["secrets"]) and "/dev/urandom" in script
    assert not re.search(r"PASSWORD(:|=)\s*\S*[^_]\$\{?\w*:-", (ROOT / "compose.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda one: str(one["metadata"]["name"]))
def test_every_pod_meets_the_restricted_standard(workload: dict[str, Any]) -> None:
    """Pod Security "restricted", a read-only root besides; memory is limited; secrets come by reference."""
    pod = workload["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["runAsUser"] != 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in pod["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert "memory" in container["resources"]["limits"]
        assert all("value" not in variable for variable in container["env"])


def test_scaling_counts_what_can_be_read_and_what_is_read(postgres_url: str) -> None:  # noqa: F811 - the fixture
    """KEDA's query, asked of a journal: waiting and under way count, what waits for later or is done does not."""
    scaled = next(one for one in documents() if one["kind"] == "ScaledObject")
    assert scaled["spec"]["scaleTargetRef"]["name"] in {one["metadata"]["name"] for one in WORKLOADS}
    query = scaled["spec"]["triggers"][0]["metadata"]["query"]
    journal = Journal(postgres_url)
    try:
        for number, way in enumerate(
            [
                [(State.QUEUED, 0.0)],
                [(State.QUEUED, 0.0), (State.READING, 0.0)],
                [(State.QUEUED, journal.clock() + 3600)],
                [(State.SKIPPED, 0.0)],
            ]
        ):
            one = received(number, series_key=f"series{number}", series_instance_uid=f"2.25.6{number}")
            journal.receive(one)
            journal.move(journal.series(one.series_key), State.COMPLETE)
            for state, next_try_at in way:
                journal.move(journal.series(one.series_key), state, next_try_at=next_try_at)
        with journal.look() as connection:
            assert connection.execute(text(query)).scalar() == 2
    finally:
        journal.close()
