"""A flow found in the topics of a running cascade."""

import json
import re
from collections.abc import Iterator

import pytest
from click.testing import CliRunner, Result

from pipeline.cli import main
from pipeline.packets.codec import decode, encode
from pipeline.packets.identity import flow_id
from pipeline.packets.models import OrderEvent
from pipeline.packets.vocabulary import FlowState
from pipeline.settings import Settings
from tests.cluster import cluster, variables
from tests.kafka_workers import market_data, read_topic, send, wait_until

__all__ = ["cluster"]

SYMBOLS = tuple(f"SYN{number:05d}" for number in range(8))


@pytest.fixture(scope="module")
def running(cluster: Settings) -> Iterator[Settings]:
    """A cluster through which data has gone, some of it to the venue."""
    with pytest.MonkeyPatch.context() as patch:
        for name, text in variables(cluster).items():
            patch.setenv(name, text)
        arguments = "publish --source synthetic --symbols 8 --rate 400 --seconds 4"
        done = CliRunner().invoke(main, arguments.split())
        assert done.exit_code == 0, done.output
        wait_until(lambda: _filled(cluster), "a flow that is filled")
        yield cluster


def _filled(settings: Settings) -> list[OrderEvent]:
    found = [
        record
        for messages in read_topic(settings, "cascade.fills").values()
        for message in messages
        if isinstance(record := decode(message.value()), OrderEvent)
    ]
    return [each for each in found if each.flow_state is FlowState.FILLED]


def _flow(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["flow", *arguments])


def test_a_filled_flow_is_shown_from_market_data_to_fill(running: Settings) -> None:
    """Each stage's record, the orders and what risk made of them are found by an order's id."""
    event = _filled(running)[0]
    found = json.loads(_flow(event.client_order_id, "--json").output)
    topics = [step["topic"] for step in found["steps"]]
    stages = ["strategic", "tactical", "risk", "execution"]
    assert ["cascade.market", *(f"cascade.{stage}" for stage in stages)] == topics[:5]
    assert {"cascade.fills", "cascade.risk"} == set(topics[5:])
    assert ("FILLED", [], "executed") == (
        found["order_state"], found["unknown"], found["outcome"]["kind"],
    )  # fmt: skip
    # A worker that lost sight of the control log for a moment says so in what does not trade.
    assert ["ACTIVE", "ACTIVE"] == [
        step["control"]["trading_state"] for step in found["steps"][3:5]
    ]


def test_times_bound_the_search(running: Settings) -> None:
    """A flow that ended after the time given is not found."""
    flow = _filled(running)[0].flow_id
    shown = _flow(flow, "--until", "2020-01-01")
    assert shown.exit_code == 1
    assert f"Expected a record of flow {flow}" in shown.output


def test_a_dead_letter_of_the_flow_is_found(running: Settings) -> None:
    """What a stage gave up is shown with its letter; the bytes are named by their place."""
    spoilt = market_data("SYN00000", 1, running)
    send(running, "cascade.market", [(b"SYN00000", encode(spoilt)[:-3])])
    wait_until(lambda: "1 of cascade.market" in CliRunner().invoke(main, ["dlq", "list"]).output,
               "a dead letter")  # fmt: skip
    (packet,) = re.findall(r'"packet_id": "(\w+-[\w-]+)"', _dead_letters())
    found = _flow(packet)
    assert found.exit_code == 0, found.output
    assert "dead_lettered by strategic (MALFORMED)" in found.output
    assert "MALFORMED at strategic, attempt 1" in found.output


def _dead_letters() -> str:
    return str(CliRunner().invoke(main, ["dlq", "list", "--json"]).output)


def test_a_flow_that_never_was_is_an_error(running: Settings) -> None:
    """One sentence says what was searched, and the exit code is 1."""
    found = _flow(flow_id("market", "NONE", 1), "--symbol", "NONE")
    assert found.exit_code == 1
    assert "in the partition of NONE" in found.output
