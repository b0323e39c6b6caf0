"""Manifests and compose file: valid, and the same names as `topics.yaml` and the code."""

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from pipeline.run.workers import EMERGENCY, STAGES, WATCHERS, log_specs
from pipeline.settings import load_settings
from pipeline.topics import TopicFile

_DOCKER = Path(__file__).resolve().parents[3] / "docker"
_K8S = _DOCKER / "k8s"
_FOREIGN = {"ScaledObject", "Kustomization"}  # not of Kubernetes itself
_VERSION = "1.33"


def documents() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (file, document) of all manifests."""
    for path in sorted(_K8S.glob("*.yaml")):
        for each in yaml.safe_load_all(path.read_text()):
            yield path.name, each


DOCUMENTS = list(documents())
COMPOSE: dict[str, Any] = yaml.safe_load((_DOCKER / "compose.yaml").read_text())
TOPICS = TopicFile.load()
SPECS = log_specs()


def of_kind(*kinds: str) -> dict[str, dict[str, Any]]:
    """Return the manifests of some kinds, by name."""
    return {each["metadata"]["name"]: each for _, each in DOCUMENTS if each["kind"] in kinds}


WORKLOADS = of_kind("StatefulSet", "Deployment")


def container(workload: dict[str, Any]) -> dict[str, Any]:
    """Return the container of a workload."""
    (found,) = workload["spec"]["template"]["spec"]["containers"]
    return dict(found)


def partitions(stage: str) -> int:
    """Return how many workers of a stage can work at once."""
    return TOPICS.topics[SPECS[stage].subscribed].partitions


@pytest.mark.parametrize(
    "document",
    [each for _, each in DOCUMENTS if each["kind"] not in _FOREIGN],
    ids=lambda each: f"{each['kind']}/{each['metadata']['name']}",
)
def test_manifests_are_what_kubernetes_takes(document: dict[str, Any]) -> None:
    """No field that it does not know, and none of the wrong type."""
    kubernetes_validate.validate(document, _VERSION, strict=True)


def test_all_manifests_are_applied() -> None:
    """A file that the kustomization does not name would be forgotten."""
    (found,) = (each for _, each in DOCUMENTS if each["kind"] == "Kustomization")

    assert {path.name for path in _K8S.glob("*.yaml")} - {"kustomization.yaml"} == set(
        found["resources"]
    )


def test_each_stage_has_workers_with_a_name_of_their_own() -> None:
    """Static membership: the pod's name is the member's, so a restart costs no rebalance."""
    assert set(STAGES) == set(of_kind("StatefulSet"))
    for name in STAGES:
        (instance,) = container(WORKLOADS[name])["env"]
        assert "CASCADE_INSTANCE" == instance["name"]
        assert "metadata.name" == instance["valueFrom"]["fieldRef"]["fieldPath"]


def test_scaling_ends_at_the_number_of_partitions() -> None:
    """KEDA looks at the group and topic that the stage really reads."""
    scaled = of_kind("ScaledObject")

    assert {name for name in STAGES if partitions(name) > 1} == set(scaled)
    for name, each in scaled.items():
        (trigger,) = each["spec"]["triggers"]
        assert partitions(name) == each["spec"]["maxReplicaCount"]
        assert 1 <= each["spec"]["minReplicaCount"] <= partitions(name)
        assert SPECS[name].group == trigger["metadata"]["consumerGroup"]
        assert SPECS[name].subscribed == trigger["metadata"]["topic"]
        assert "replicas" not in WORKLOADS[name]["spec"], "Expected the count to be KEDA's"


def test_more_workers_than_partitions_are_one_standby() -> None:
    """Where there is one partition, a second worker waits for the first."""
    for name in STAGES:
        replicas = WORKLOADS[name]["spec"].get("replicas", 1)
        assert replicas <= partitions(name) + 1


def test_disruptions_take_one_worker_of_a_stage_at_a_time() -> None:
    """Each budget selects the pods of its stage."""
    budgets = of_kind("PodDisruptionBudget")

    assert set(STAGES) == set(budgets)
    for name, each in budgets.items():
        assert 1 == each["spec"]["maxUnavailable"]
        assert each["spec"]["selector"] == WORKLOADS[name]["spec"]["selector"]


def test_workers_are_probed_by_their_own_health_and_have_no_rights() -> None:
    """A restart for what it mends, no traffic to speak of, nothing run as root."""
    for name, workload in WORKLOADS.items():
        found = container(workload)
        if name != "dashboard":
            health = ["cascade", "health"]
            assert [*health, "--live"] == found["livenessProbe"]["exec"]["command"]
            assert health == found["readinessProbe"]["exec"]["command"]
        assert found["securityContext"]["readOnlyRootFilesystem"]
        assert not found["securityContext"]["allowPrivilegeEscalation"]
        pod = workload["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"]
        labels = workload["spec"]["template"]["metadata"]["labels"]
        assert workload["spec"]["selector"]["matchLabels"].items() <= labels.items()


def commands() -> Iterator[tuple[str, list[str]]]:
    """Yield the command of each worker, here and there."""
    for name, workload in WORKLOADS.items():
        yield f"k8s {name}", container(workload)["command"]
    for name, service in COMPOSE["services"].items():
        if "command" in service and service["command"][0] in {"faust", "cascade"}:
            yield f"compose {name}", service["command"]


@pytest.mark.parametrize(("where", "command"), list(commands()), ids=lambda each: str(each)[:40])
def test_commands_start_workers_that_there_are(where: str, command: list[str]) -> None:
    """Each module of a Faust app is there."""
    if command[0] == "faust":
        assert command[1:] == ["-A", command[2], "worker", "-l", "info"]
        assert importlib.util.find_spec(command[2]) is not None, where


def test_compose_and_kubernetes_bring_all_workers() -> None:
    """Those that `cascade run` starts, and the dashboard; compose what they need beside them."""
    beside = {"kafka-1", "kafka-2", "kafka-3", "topics", "prometheus", "grafana"}

    workers = {*STAGES, EMERGENCY, *(name for name, _ in WATCHERS), "dashboard"}
    assert workers == set(WORKLOADS) == set(COMPOSE["services"]) - beside
    assert beside <= set(COMPOSE["services"])


def test_settings_of_the_containers_are_those_that_there_are(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A misspelt variable is refused by the worker; so it is here."""
    for service in COMPOSE["services"].values():
        for name, value in service.get("environment", {}).items():
            if name.startswith("CASCADE_"):
                default = re.sub(r"\$\{\w+:-(.*?)\}", r"\1", str(value))
                monkeypatch.setenv(name, default)
    (config,) = of_kind("ConfigMap").values()
    monkeypatch.chdir(tmp_path)
    assert "kafka-1:19092" == load_settings().broker
    for name, value in config["data"].items():
        monkeypatch.setenv(name, value)
    settings = load_settings()
    assert settings.topic_profile in TOPICS.profiles
    assert 9400 == settings.metrics_port


def test_what_compose_mounts_is_there() -> None:
    """Prometheus and Grafana read their configuration from this folder."""
    mounted = [
        volume.split(":")[0]
        for service in COMPOSE["services"].values()
        for volume in service.get("volumes", [])
        if volume.startswith(".")
    ]

    assert mounted
    assert [] == [each for each in mounted if not (_DOCKER / each).is_dir()]


def test_compose_publishes_to_this_machine_alone() -> None:
    """Nothing here asks who one is, but the dashboard."""
    ports = [port for each in COMPOSE["services"].values() for port in each.get("ports", [])]

    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_three_brokers_of_compose_hold_what_the_cluster_profile_asks_for() -> None:
    """The file of variables names all of them, as voters and as brokers."""
    lines = (_DOCKER / "cluster.env").read_text().splitlines()
    named = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    brokers = {name for name in COMPOSE["services"] if name.startswith("kafka-")}

    assert brokers == {each.partition(":")[0] for each in named["CASCADE_BROKER"].split(",")}
    assert len(brokers) == len(named["KAFKA_VOTERS"].split(","))
    profile = TOPICS.profiles[named["CASCADE_TOPIC_PROFILE"]]
    assert profile.replication == int(named["KAFKA_REPLICATION"]) == len(brokers)
    assert profile.min_insync_replicas == int(named["KAFKA_MIN_ISR"])
