"""The monitor worker on a real Kafka: it writes down what it measures, and knows it when restarted.

What each metric measures is tested in `tests/unit/watch/test_catalogue.py`.
"""

import json
import os
import uuid
from contextlib import closing
from urllib.request import urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families

from pipeline.settings import Settings, load_settings
from pipeline.watch.catalogue import spelled
from pipeline.watch.history import HistoryReader, MetricsHistory
from pipeline.watch.worker import MonitorWorker
from tests.cluster import prepare
from tests.kafka_workers import LIMIT_S, StartWorker, start_worker, wait_until

__all__ = ["start_worker"]  # a fixture

pytestmark = pytest.mark.integration

_SERIES = "cascade_host_memory_ratio"


@pytest.fixture
def settings(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings of a cascade of this test's own."""
    made = load_settings(
        broker=kafka,
        namespace=f"test-{uuid.uuid4().hex[:10]}",
        home=tmp_path_factory.mktemp("home"),
        metrics_interval_s=0.2,
    )
    prepare(made)
    return made


def test_history_survives_the_monitor(settings: Settings, start_worker: StartWorker) -> None:
    """After kill -9 the next monitor knows what the one before it measured, and goes on."""
    first = start_worker("pipeline.watch.monitor", settings)
    history = MetricsHistory()
    with closing(HistoryReader(lambda: settings, history)) as reader:
        reader.start()
        wait_until(lambda: len(history.points(_SERIES)[1]) >= 3, "three snapshots")
        first.kill()
    known = history.points(_SERIES)[0]
    with closing(MonitorWorker(settings)) as second:
        second.start()
        wait_until(
            lambda: second.history.points(_SERIES)[0].tolist()[: len(known)] == known.tolist(),
            "the history of the first monitor",
        )
        wait_until(
            lambda: known[0] in second.monitor.core.samples.points("memory_usage", 0)[0],
            "trends to go on from it",
        )
        # The group gives the log's partition on when the session of the first has ended.
        wait_until(
            lambda: (
                second.history.latest is not None
                and len(second.history.points(_SERIES, int(known[-1]) + 2_000_000)[0]) >= 2
            ),
            "snapshots of the second monitor",
            LIMIT_S,
        )


def test_of_two_monitors_one_speaks(settings: Settings) -> None:
    """Both read back the same history, and only one of them writes to it."""
    with closing(MonitorWorker(settings)) as one, closing(MonitorWorker(settings)) as other:
        one.start()
        other.start()
        wait_until(lambda: one._source.connected and other._source.connected, "both")
        wait_until(lambda: one._source.assigned != other._source.assigned, "one to be assigned")
        # A snapshot that was made before the group shared out may still be on its way.
        before = len(other.history) + 2
        wait_until(lambda: len(other.history) >= before, "the snapshots before")
        spoke: set[str] = set()

        def spoken() -> bool:
            latest = other.history.latest
            spoke.add(latest.instance if latest else "")
            return len(other.history) >= before + 5

        wait_until(spoken, "five snapshots", every_s=0.05)
        assert 1 == len(spoke)


def test_workers_tell_prometheus_and_the_monitor_how_they_are(
    settings: Settings, start_worker: StartWorker
) -> None:
    """Each worker has its port and its figures; the monitor has those of all by heartbeats."""
    watcher = start_worker("pipeline.watch.monitor", settings)
    worker = start_worker("pipeline.stages.strategic", settings)
    folder = settings.home / "metrics" / settings.namespace
    wait_until(lambda: len(list(folder.glob("*.json"))) == 2, "two workers to listen")
    targets = {}
    for path in folder.glob("*.json"):
        (found,) = json.loads(path.read_text())
        targets[found["labels"]["role"]] = found["targets"][0]
    assert {"monitor", "strategic"} == targets.keys()
    # Who watches lets the path go first where processors are short, with each of its threads.
    niceness = [os.getpriority(os.PRIO_PROCESS, each.process.pid) for each in (watcher, worker)]
    assert niceness[0] >= niceness[1] + 10
    assert _scraped(targets["strategic"])["process_resident_memory_bytes"] > 0.0
    active = 'cascade_stage_trading_state{stage="strategic",state="ACTIVE"}'
    wait_until(
        lambda: _scraped(targets["strategic"])[active] == 1.0, "strategic to be active", every_s=0.5
    )
    wanted = {
        'cascade_worker_memory_bytes{system="strategic"}',
        'cascade_live_workers{system="monitor"}',
        'cascade_trading_state{state="ACTIVE"}',
        "cascade_monitor_active",
    }
    wait_until(
        lambda: all(_scraped(targets["monitor"]).get(each, 0.0) > 0.0 for each in wanted),
        "the monitor to know how the workers are",
        every_s=0.5,
    )
    wait_until(
        lambda: any(
            name.startswith("kafka_consumergroup_group_lag{")
            for name in _scraped(targets["monitor"])
        ),
        "the lag of groups",
        every_s=0.5,
    )


def _scraped(target: str) -> dict[str, float]:
    with urlopen(f"http://{target}/metrics", timeout=30) as answer:  # loopback
        text = answer.read().decode()
    return {
        spelled(sample.name, sample.labels): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
