"""Rules, alerts and dashboards speak of metrics that the code exposes, by the naming rules."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml
from prometheus_client import GCCollector, ProcessCollector
from prometheus_client.core import CollectorRegistry, Metric

from pipeline.control.state import ControlView, TradingState
from pipeline.gateway.figures import GatewayFigures
from pipeline.metrics import ROLES
from pipeline.metrics.server import ProcessFigures
from pipeline.policies.breaker import Breaker
from pipeline.stages.tally import StageFigures, Tally
from pipeline.watch.exposition import families
from tests.unit.watch.monitor_rig import MonitorRig

DOCKER = Path(__file__).resolve().parents[3] / "docker"
RULES = sorted((DOCKER / "prometheus" / "rules").glob("*.yaml"))
DASHBOARDS = sorted((DOCKER / "grafana" / "dashboards").glob("*.json"))
UNITS = (
    "seconds", "bytes", "ratio", "total", "info", "state", "records", "packets", "partitions",
    "per_second", "per_minute", "workers", "breakers", "trips", "retries", "requests", "flows",
    "fences", "active",
)  # fmt: skip
"""What a name may end in: a base unit, or what is counted."""

_AS_THE_LAG_EXPORTER = ("kafka_consumergroup_", "kafka_partition_")
_NAME = re.compile(r"\b(?:cascade|kafka|process|python)_[a-z0-9_]+|\bcascade:[a-z0-9_:]+")


def _exposed() -> list[Metric]:
    """Return all families that workers expose, those of prometheus-client among them."""
    host: Any = SimpleNamespace(build="b", owned={})
    gateway: Any = SimpleNamespace(written=Counter[str](), flows=0)
    view = ControlView(TradingState.ACTIVE, 0, current=True)
    registry = CollectorRegistry()
    collectors: Iterable[Any] = (
        StageFigures("risk", host, lambda: view, Tally(), Breaker(1, 1.0)),
        GatewayFigures(host, lambda: view, gateway),
        ProcessFigures(),
        ProcessCollector(registry=registry),
        GCCollector(registry=registry),
    )
    found = [family for each in collectors for family in each.collect()]
    return [*found, *families(MonitorRig().view())]


EXPOSED = _exposed()


def _sample_names() -> set[str]:
    names = {sample.name for family in EXPOSED for sample in family.samples}
    # Not measured in this rig, or without a sample yet, but told all the same.
    names |= {
        f"{family.name}_total" if family.type == "counter" else family.name for family in EXPOSED
    }
    return names


def _rules() -> Iterator[dict[str, Any]]:
    for path in RULES:
        for group in yaml.safe_load(path.read_text())["groups"]:
            yield from group["rules"]


def _expressions() -> Iterator[tuple[str, str]]:
    for rule in _rules():
        yield rule.get("alert") or rule["record"], rule["expr"]
    for path in DASHBOARDS:
        board = json.loads(path.read_text())
        for panel in board["panels"]:
            for target in panel["targets"]:
                yield f"{path.name}: {panel['title']}", target["expr"]
        for variable in board["templating"]["list"]:
            if isinstance(variable["query"], dict):
                yield f"{path.name}: {variable['name']}", variable["query"]["query"]


def test_every_metric_that_is_used_is_exposed() -> None:
    """No rule and no panel asks for a metric that nobody has."""
    known = _sample_names() | {rule["record"] for rule in _rules() if "record" in rule}
    unknown = {
        (where, name)
        for where, expression in _expressions()
        for name in _NAME.findall(expression)
        if name not in known
    }
    assert set() == unknown
    assert len(list(_expressions())) > 80


def test_every_metric_has_help_and_a_unit() -> None:
    """Names end in a unit or what they count, and say what they mean; the exporter's excepted."""
    ours = [family for family in EXPOSED if family.name.startswith("cascade_")]
    assert [] == [family.name for family in ours if not family.documentation.endswith(".")]
    endings = tuple(f"_{unit}" for unit in UNITS)
    without = {
        name
        for family in ours
        for name in [
            f"{family.name}_{family.type}".replace("_counter", "_total").replace("_gauge", "")
        ]
        if not name.replace("_histogram", "").endswith(endings)
    }
    assert set() == without
    foreign = {family.name for family in EXPOSED} - {family.name for family in ours}
    known = (*_AS_THE_LAG_EXPORTER, "process_", "python_")
    assert all(name.startswith(known) for name in foreign)


def test_labels_are_bounded() -> None:
    """No label says which packet, flow or order it was."""
    labels = {key for family in EXPOSED for sample in family.samples for key in sample.labels}
    assert labels <= {
        "stage", "system", "state", "kind", "outcome", "path", "quantile", "le", "version", "build",
        "cluster_name", "group", "topic", "partition", "generation",
    }  # fmt: skip


def test_dashboards_are_provisioned_as_grafana_wants_them() -> None:
    """Fixed ids, the data source by variable, no panel twice, and none across another."""
    for path in DASHBOARDS:
        board = json.loads(path.read_text())
        assert path.stem == board["uid"]
        assert "id" not in board
        panels = board["panels"]
        assert len(panels) == len({panel["id"] for panel in panels})
        assert {"${datasource}"} == {panel["datasource"]["uid"] for panel in panels}
        taken = [
            (x, y)
            for panel in panels
            for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
            for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
        ]
        assert len(taken) == len(set(taken))
        assert max(x for x, _ in taken) <= 23


def test_prometheus_looks_for_each_role_at_its_port() -> None:
    """In containers a role listens at 9400 and its place; the dashboard serves its own page."""
    config = yaml.safe_load((DOCKER / "prometheus" / "prometheus.yml").read_text())
    (job,) = config["scrape_configs"]
    found = {each["names"][0]: each["port"] for each in job["dns_sd_configs"]}
    assert {role: 9400 + place for place, role in enumerate(ROLES) if role != "dashboard"} == found


def test_every_alert_is_tested() -> None:
    """`scripts/check` runs `promtool test rules`; no alert is left out there."""
    tests = (DOCKER / "prometheus" / "tests").glob("*.yaml")
    tested = "".join(path.read_text() for path in tests)
    alerts = {rule["alert"] for rule in _rules() if "alert" in rule}
    assert set() == {name for name in alerts if name not in tested}
    assert len(alerts) > 10
