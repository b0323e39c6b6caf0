"""CPU and memory of process trees."""

import subprocess
import sys
import time

from pipeline.bench.cost import CostMeter

_BURN = "import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass\n"
_DEADLINE_S = 60.0


def test_children_count_with_their_parent() -> None:
    """What a child of the process uses is its parent's cost."""
    code = (
        f"import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', {_BURN + 'input()'!r}])"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code + "\ninput()"], stdin=subprocess.PIPE
    ) as parent:
        meter = CostMeter({"worker": [parent.pid], "other": []})
        deadline_s = time.monotonic() + _DEADLINE_S
        while meter.cpu_s()["worker"] < 0.3:
            assert time.monotonic() < deadline_s
            time.sleep(0.05)
        assert meter.rss_mb()["worker"] > 1.0
        assert 0.0 == meter.cpu_s()["other"]
        before = meter.cpu_s()["worker"]
        assert parent.stdin is not None
        parent.stdin.close()
    assert meter.cpu_s()["worker"] >= before


def test_a_process_that_never_was_costs_nothing() -> None:
    """A pid that is gone is no error."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pass
    assert {"worker": 0.0} == CostMeter({"worker": [process.pid]}).cpu_s()
