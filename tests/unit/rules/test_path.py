"""The rules in the packets' path: real packets pass, each rule stops the packet that breaks it."""

import timeit
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from msgspec.structs import replace

from pipeline.packets.codec import decode, encode
from pipeline.packets.models import Trace
from pipeline.packets.vocabulary import Action
from pipeline.rules.path import compile_path, failure_of
from tests.unit.rules.real_packets import first, run

_LOGS = ("market", "strategic", "tactical", "risk")


@pytest.mark.parametrize("log", _LOGS)
def test_real_packets_pass(log: str) -> None:
    """No packet of a real run is stopped."""
    assert len(run()[log]) >= 600
    assert [] == [failure for each in run()[log] if (failure := failure_of(each))]


def _with(log: str, part: str, **changes: Any) -> Any:
    """Return a real packet of a log, one of its parts changed."""
    packet = first(log, part)
    return replace(packet, **{part: replace(getattr(packet, part), **changes)})


def _shifted(log: str, part: str, by: float) -> Any:
    """Return a real packet whose chosen action is less or more probable, the rest as it was."""
    found = getattr(first(log, part), part)
    chances = dict(found.distribution)
    chances[str(found.action)] += by
    return _with(log, part, distribution=chances)


def _other_action(log: str, part: str) -> Any:
    """Return a real packet whose decision names another action than the most probable."""
    found = getattr(first(log, part), part)
    return _with(log, part, action=Action.SELL if found.action is Action.BUY else Action.BUY)


def _unbacked() -> Any:
    reserved = first("risk", "risk").risk.reserved
    return _with("risk", "risk", reserved=reserved * 0.9)


def _changes(**changes: Any) -> dict[str, Any]:
    return changes


_BROKEN: dict[str, tuple[str, Callable[[], Any]]] = {
    "market: bar upside down": ("data.market", lambda: _with("market", "bar", low=1e9)),
    "market: another flow's id": ("data.market", lambda: _with("market", "envelope", flow_id="x")),
    "market: deadline first": ("data.market", lambda: _with("market", "envelope", deadline=1)),
    "strategic: bar": ("data.bar", lambda: _with("strategic", "bar", high=1e-9)),
    "tactical: bar": ("data.bar", lambda: _with("tactical", "bar", high=1e-9)),
    "risk: bar": ("data.bar", lambda: _with("risk", "bar", close=1e9)),
    "strategic: sum": ("superposition.strategic", lambda: _shifted("strategic", "strategic", 0.01)),
    "strategic: choice": (
        "superposition.strategic",
        lambda: _other_action("strategic", "strategic"),
    ),
    "strategic: confidence": (
        "superposition.strategic",
        lambda: _with("strategic", "strategic", confidence=0.999),
    ),
    "strategic: strength": (
        "superposition.strategic",
        lambda: _with("strategic", "strategic", signal_strength=-1.0),
    ),
    "tactical: sum": ("superposition.tactical", lambda: _shifted("tactical", "tactical", -0.01)),
    "tactical: choice": ("superposition.tactical", lambda: _other_action("tactical", "tactical")),
    "tactical: probability": (
        "superposition.tactical",
        lambda: _with("tactical", "tactical", probability=0.999),
    ),
    "tactical: entry": ("superposition.tactical", lambda: _with("tactical", "tactical", entry=0.0)),
    "risk: reservation": ("security.reservation", _unbacked),
    **{
        f"{log}: {what}": ("flow.hop", partial(_with, log, "envelope", **changes))
        for log in ("strategic", "tactical", "risk")
        for what, changes in {
            "source": _changes(source_system="market"),
            "id": _changes(packet_id="x"),
            "no trace": _changes(trace=()),
            "foreign trace": _changes(trace=(Trace("execution", 1, 1, 1),)),
        }.items()
    },
}


@pytest.mark.parametrize("name", _BROKEN)
def test_a_packet_that_breaks_a_rule_is_stopped(name: str) -> None:
    """Each real packet, one field of it changed, fails under the rule that is about that field."""
    rule, mutated = _BROKEN[name]
    failure = failure_of(mutated())
    assert failure is not None
    assert (rule, True) == (failure.split(": ")[0], "Expected" in failure)


def test_a_user_s_rule_runs_too() -> None:
    """A check handed in stops a packet that passes all built-in ones."""

    def no_apple(packet: Any) -> str | None:
        return "Expected no AAPL, was AAPL" if packet.envelope.symbol == "AAPL" else None

    checked = compile_path([("house.symbols", no_apple)])
    apple = _with("strategic", "envelope", symbol="AAPL")
    other = _with("strategic", "envelope", symbol="IBM")
    assert ("house.symbols: Expected no AAPL, was AAPL", None) == (checked(apple), checked(other))


def test_a_user_s_rule_that_raises_stops_nothing() -> None:
    """A rule's own fault lets packets through, and the others still run."""

    def broken(packet: Any) -> str | None:
        raise ZeroDivisionError

    checked = compile_path([("house.broken", broken)])
    assert checked(first("tactical", "tactical")) is None
    assert checked(_other_action("tactical", "tactical")) is not None


def test_a_packet_costs_little() -> None:
    """On real packets the rules of a stage cost less than decoding them.

    A ratio, since times say nothing on a busy machine.
    """
    packet = first("strategic", "strategic")
    value = encode(packet)
    rules, codec = (
        min(timeit.repeat(each, number=500, repeat=7))
        for each in (partial(failure_of, packet), partial(decode, value))
    )
    assert rules < codec
