"""No trading blind: without its auditor a cascade sends no order, and goes on when it is back."""

import json
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from click.testing import CliRunner

from pipeline.cli import main
from pipeline.packets.codec import decode
from pipeline.packets.models import ExecutionPlan, OrderEvent
from pipeline.packets.vocabulary import OrderEventKind
from pipeline.run.session import log_folder
from pipeline.settings import Settings, load_settings
from pipeline.watch.observations import FlowEnd
from tests.cluster import PATIENT_MS, running_cluster, variables
from tests.kafka_workers import StartWorker, read_topic, start_worker, wait_until

__all__ = ["start_worker"]  # a fixture

_AUDITOR = "pipeline.watch.audit"
_LIMIT_S = 3.0


@pytest.fixture
def settings(kafka: str, tmp_path: Path) -> Iterator[Settings]:
    """Settings of a running cascade that does not go on without its auditor."""
    made = load_settings(
        broker=kafka,
        namespace=f"test-{uuid.uuid4().hex[:10]}",
        home=tmp_path,
        cascade_timeout_ms=PATIENT_MS,
        control_echo_timeout_s=30.0,
        audit_max_lag_s=_LIMIT_S,
        audit_window_s=0.2,
        audit_patience_s=1.0,
    )
    with pytest.MonkeyPatch.context() as patch, running_cluster(made):
        for name, text in variables(made).items():
            patch.setenv(name, text)
        patch.setenv("CASCADE_AUDIT_MAX_LAG_S", str(_LIMIT_S))
        yield made


def _publish() -> None:
    source = ["publish", "--source", "synthetic", "--symbols", "8"]
    done = CliRunner().invoke(main, [*source, "--rate", "200", "--seconds", "2"])
    assert done.exit_code == 0, done.output


def _orders(settings: Settings) -> int:
    """Return how many orders were announced, and so may have been sent, until now."""
    found = (
        decode(message.value())
        for messages in read_topic(settings, "cascade.fills").values()
        for message in messages
    )
    return sum(
        isinstance(each, OrderEvent) and each.kind is OrderEventKind.SUBMITTING for each in found
    )


def _refused(settings: Settings) -> list[FlowEnd]:
    """Return the flows that execution did not trade on because trading was halted."""
    return [
        end
        for messages in read_topic(settings, "cascade.execution").values()
        for message in messages
        if isinstance(plan := decode(message.value()), ExecutionPlan)
        for end in FlowEnd.all_of(plan, 0)
        if "TRADING_HALTED" in end.reasons
    ]


def _states(settings: Settings) -> dict[str, str]:
    """Return the trading state of execution and gateway, as their workers tell Prometheus."""
    found: dict[str, str] = {}
    for path in (settings.home / "metrics" / settings.namespace).glob("*.json"):
        (target,) = json.loads(path.read_text())
        if target["labels"]["role"] == "auditor":
            continue  # it may be gone
        with urlopen(f"http://{target['targets'][0]}/metrics", timeout=30) as answer:  # loopback
            text = answer.read().decode()
        named = re.findall(
            r'^cascade_stage_trading_state{stage="(\w+)",state="(\w+)"} 1.0$', text, re.MULTILINE
        )
        found |= {stage: state for stage, state in named if stage in ("execution", "gateway")}
    return found


def _both(state: str) -> dict[str, str]:
    return {"execution": state, "gateway": state}


def _status() -> tuple[dict[str, Any], str]:
    found: dict[str, Any] = json.loads(
        CliRunner().invoke(main, ["control", "status", "--json"]).stdout
    )
    return found, CliRunner().invoke(main, ["control", "status"]).output


def test_a_killed_auditor_halts_trading_until_another_has_caught_up(
    settings: Settings, start_worker: StartWorker
) -> None:
    """Kill -9: no order leaves any more, outcomes say why, and nobody has to resume."""

    def sends(more_than: int) -> bool:
        _publish()
        return _orders(settings) > more_than

    assert _both("HALTED") == _states(settings)  # the auditor has not said a word yet
    auditor = start_worker(_AUDITOR, settings)
    wait_until(lambda: _states(settings) == _both("ACTIVE"), "the auditor's word")
    wait_until(lambda: sends(0), "an order")

    auditor.kill()
    wait_until(lambda: _states(settings) == _both("HALTED"), "execution and gateway to halt")
    sent, before = _orders(settings), len(_refused(settings))

    def refuses() -> bool:
        _publish()
        return len(_refused(settings)) > before

    wait_until(refuses, "a flow that would have had orders")
    assert sent == _orders(settings)
    assert {"execution"} == {each.stage for each in _refused(settings)}
    told, text = _status()
    assert ("ACTIVE", True) == (told["trading_state"], told["audit"]["halts"])
    assert "execution and gateway are HALTED: the auditor is" in text

    start_worker(_AUDITOR, settings)
    wait_until(lambda: _states(settings) == _both("ACTIVE"), "the next auditor to catch up")
    wait_until(lambda: sends(sent), "orders again")
    assert not _status()[0]["audit"]["halts"]
    lines = "".join(each.read_text() for each in log_folder(settings).glob("*.log"))
    assert 2 <= lines.count("halts_without_audit") <= 6
