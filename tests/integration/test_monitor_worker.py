"""The monitor worker on a real Kafka: it writes down what it measures, and knows it when restarted.

What each metric measures is tested in `tests/unit/watch/test_catalogue.py`.
"""

import uuid
from contextlib import closing

import pytest

from pipeline.settings import Settings, load_settings
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
        spoke: set[str] = set()
        for each in (one, other):
            each.add_snapshot_callback(lambda snapshot: spoke.add(snapshot.instance))
            each.start()
        wait_until(lambda: one._source.connected and other._source.connected, "both")
        wait_until(lambda: one._source.assigned != other._source.assigned, "one to be assigned")
        spoke.clear()
        before = len(other.history)
        wait_until(lambda: len(other.history) >= before + 5, "five snapshots")
        assert 1 == len(spoke)
