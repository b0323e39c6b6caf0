"""Records what the monitor measures while the pipeline runs: `python -m tests.recordings.record`.

    python -m tests.recordings.record NAME [OPTION ...] RATE:SECONDS[:POISON] ...

runs the four stages, the gateway and the monitor worker on the broker of CASCADE_BROKER, offers so
many packets a second for so long, a share of them spoilt, step by step. Options, from the second
step on: `isolate=STAGE` isolates a stage, so that its backlog grows; `leak=MEBIBYTES` takes so much
memory each second; `timeout=MS` is the time that packets have, in all steps.

It writes `NAME.csv.gz` and `NAME.json` beside this file: a row for each snapshot on
`cascade.metrics`, a column for each series, empty where it was not measured.
"""

import csv
import gzip
import io
import json
import os
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.clock import WallClock
from pipeline.control.writer import ControlWriter, new_command
from pipeline.events import EventBus, Received
from pipeline.market import FaultPlan, Publisher, open_feed
from pipeline.packets.events import ControlKind, MetricsSnapshot
from pipeline.run import worker_specs
from pipeline.run.session import LocalRun
from pipeline.settings import Settings, load_settings
from pipeline.watch.history import TOPIC, figures_of_snapshot
from tests.cluster import prepare

__all__ = ["FOLDER", "Recording", "load", "main"]

FOLDER = Path(__file__).parent

_KEPT = (
    "cascade_end_to_end_latency_quantile_seconds",
    "cascade_stage_latency_quantile_seconds",
    "cascade_failure_ratio",
    "cascade_backlog_records",
    "cascade_backlog_age_seconds",
    "cascade_stage_utilisation_ratio",
    "cascade_throughput_packets_per_second",
    "cascade_offered_packets_per_second",
    "cascade_host_memory_ratio",
    "cascade_system_load_ratio",
)
_OWNED_S = 120.0
_WARM_S = 15.0
_DRAIN_S = 3.0
_TIMEOUT_MS = 3000
_MEBIBYTE = 1 << 20


@dataclass(frozen=True, slots=True)
class _Step:
    rate_per_s: float
    seconds: float
    poison: float = 0.0

    @classmethod
    def parse(cls, text: str) -> "_Step":
        return cls(*map(float, text.split(":")))


@dataclass(frozen=True, slots=True)
class Recording:
    """What was recorded.

    Attributes:
        name: Its name.
        times_s: Moments of the snapshots, seconds since the first.
        series: Numbers by series, NaN where it was not measured.
        metadata: How it was made.
    """

    name: str
    times_s: NDArray[np.float64]
    series: dict[str, NDArray[np.float64]]
    metadata: dict[str, Any]


def load(name: str) -> Recording:
    """Return a recording of this folder."""
    with gzip.open(FOLDER / f"{name}.csv.gz", "rt", newline="") as file:
        header, *rows = csv.reader(file)
    numbers = np.array([[float(cell) if cell else np.nan for cell in row] for row in rows])
    metadata = json.loads((FOLDER / f"{name}.json").read_text())
    columns = {series: numbers[:, index] for index, series in enumerate(header)}
    return Recording(name, columns.pop("time_s"), columns, metadata)


def main(arguments: Sequence[str]) -> int:
    """Record; return the exit code."""
    name, *texts = arguments
    options = dict(each.split("=") for each in texts if "=" in each)
    steps = [_Step.parse(each) for each in texts if "=" not in each]
    timeout_ms = int(options.get("timeout", _TIMEOUT_MS))
    with tempfile.TemporaryDirectory() as folder:
        settings = load_settings(
            namespace=f"recording-{uuid.uuid4().hex[:8]}",
            home=Path(folder),
            log_level="WARNING",
            cascade_timeout_ms=timeout_ms,
        )
        prepare(settings)
        snapshots = _run(settings, steps, options)
    _write(name, snapshots)
    metadata = {
        "what": "snapshots of cascade.metrics, one a second, while the rate changed in steps",
        "made_by": f"python -m tests.recordings.record {' '.join(arguments)}",
        "made_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "isolated_from_second_step": options.get("isolate", ""),
        "leaked_mib_per_s_from_second_step": float(options.get("leak", 0.0)),
        "steps": [asdict(each) for each in steps],
        "cores": os.cpu_count(),
        "load_average": os.getloadavg()[1],
        "cascade_timeout_ms": timeout_ms,
        "rows": len(snapshots),
    }
    (FOLDER / f"{name}.json").write_text(json.dumps(metadata, indent=2) + "\n")
    return 0


def _run(
    settings: Settings, steps: Sequence[_Step], options: Mapping[str, str]
) -> list[MetricsSnapshot]:
    """Run the cascade under load; return what was measured after it was warm."""
    snapshots: list[MetricsSnapshot] = []

    def take(received: Received) -> None:
        if isinstance(received.packet, MetricsSnapshot):
            snapshots.append(received.packet)

    specs = worker_specs(paired=True, watch=True, log_level="WARNING")
    with LocalRun(settings, specs) as run, EventBus(settings=settings) as bus:
        run.wait_owned(_OWNED_S)
        bus.subscribe(TOPIC, take, start="earliest")
        publisher, feed = Publisher(settings), open_feed("sample", seed=1)

        def publish(step: _Step) -> None:
            faults = FaultPlan({"poison": step.poison} if step.poison else {})
            publisher.publish(feed, rate=step.rate_per_s, seconds=step.seconds, faults=faults)

        publish(_Step(steps[0].rate_per_s, _WARM_S))
        since_us = time.time_ns() // 1000
        publish(steps[0])
        if stage := options.get("isolate"):
            _isolate(settings, stage)
        with _leaking(float(options.get("leak", 0.0))):
            for step in steps[1:]:
                publish(step)
        time.sleep(_DRAIN_S)
    return [each for each in snapshots if each.time >= since_us]


@contextmanager
def _leaking(mebibytes_per_s: float) -> Iterator[None]:
    """Take more memory each second, until the block ends."""
    held: list[bytes] = []
    ended = threading.Event()

    def leak() -> None:
        while not ended.wait(1.0):
            held.append(os.urandom(_MEBIBYTE) * int(mebibytes_per_s))

    thread = threading.Thread(target=leak, daemon=True)
    if mebibytes_per_s:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        if mebibytes_per_s:
            thread.join()


def _isolate(settings: Settings, stage: str) -> None:
    command = new_command(
        ControlKind.ISOLATE, author="operator", reason="recording", clock=WallClock(),
        scope=f"stage:{stage}",
    )  # fmt: skip
    ControlWriter(settings).issue(command)


def _write(name: str, snapshots: Sequence[MetricsSnapshot]) -> None:
    rows = [figures_of_snapshot(each) for each in snapshots]
    kept = sorted({series for row in rows for series in row if series.startswith(_KEPT)})
    assert all(later.time > earlier.time for earlier, later in pairwise(snapshots))
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["time_s", *kept])
    for each, row in zip(snapshots, rows, strict=True):
        since_s = (each.time - snapshots[0].time) / 1e6
        writer.writerow([f"{since_s:.3f}", *(_cell(row.get(series)) for series in kept)])
    # Without a time, so that the same recording is the same file.
    (FOLDER / f"{name}.csv.gz").write_bytes(gzip.compress(text.getvalue().encode(), mtime=0))


def _cell(number: float | None) -> str:
    return "" if number is None else f"{number:.4g}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
