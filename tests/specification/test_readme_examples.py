"""The README's Python runs, block after block, against a real cascade."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from pipeline.packets.vocabulary import OutcomeKind
from pipeline.settings import Settings
from tests.cluster import cluster, variables
from tests.kafka_workers import wait_until
from tests.specification.blocks import ROOT

__all__ = ["cluster"]

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def names(cluster: Settings) -> Iterator[dict[str, Any]]:
    """All names that the README's blocks leave, in the order in which they stand."""
    found: dict[str, Any] = {"__name__": "readme"}
    with pytest.MonkeyPatch.context() as patch:
        for name, text in variables(cluster).items():
            patch.setenv(name, text)
        for block in BLOCKS:
            exec(compile(block, "<README.md>", "exec"), found)  # noqa: S102  # the point of it
        yield found
        for name in ("engine", "monitor", "framework", "protocols", "event_bus"):
            found[name].close()


def test_a_flow_is_decided_by_the_policy_of_the_readme(names: dict[str, Any]) -> None:
    """The bar's flow comes to an end that the cascade knows."""
    assert names["outcome"].kind in set(OutcomeKind)
    assert names["packet_id"] == names["outcome"].packet_id


def test_the_desk_of_the_readme_is_asked(names: dict[str, Any]) -> None:
    """A system of the user's own answers, and its HOLD stands against the proposal."""
    assert {"desk": "HOLD"} == {
        name: answer.decision for name, answer in names["result"].answers.items()
    }


def test_the_readme_measures_and_validates(names: dict[str, Any]) -> None:
    """The monitor counts packets, and the user's rule is one of those that are asked."""
    assert names["metrics"].latency_verdict in {"met", "missed", "no_data"}
    assert 0 < names["report"].summary["rules_run"]
    assert "no_penny_stocks" in {rule.rule_id for rule in names["framework"].rules}


def test_the_emergency_of_the_readme_ends(names: dict[str, Any]) -> None:
    """What was declared is resolved, and the system is let back in."""
    protocols = names["protocols"]
    emergency = protocols.get_emergency(names["emergency_id"])
    assert not emergency.active
    wait_until(
        lambda: protocols.get_emergency_status().system_health["tactical"] == "active",
        "tactical active again",
    )


def test_a_stage_of_the_readme_has_an_app(names: dict[str, Any]) -> None:
    """The last block makes a Faust app of a stage of the user's own."""
    assert names["app"].conf.id.endswith("cascade.tactical")
