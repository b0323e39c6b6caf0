from dataclasses import dataclass, field
from pathlib import Path

from pipeline.demo.ledger import Ledger, LedgerReader
from pipeline.demo.pulse import Pulse
from pipeline.watch.observations import FillSeen, FlowEnd
from tests.unit.demo.factories import end, executed, fill, sent


@dataclass
class Seen:
    """What a collector would have seen."""

    ends: list[FlowEnd] = field(default_factory=list)
    fills: list[FillSeen] = field(default_factory=list)


class Logs:
    """Ends of logs and a clock, both set by the test."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.market = self.strategic = self.tactical = self.risk = 4

    def ends(self) -> dict[str, int]:
        names = ("market", "strategic", "tactical", "risk")
        return {f"cascade.{name}": getattr(self, name) for name in names}

    def monotonic(self) -> float:
        return self.now_s


def test_counts_what_came_since_it_began(tmp_path: Path) -> None:
    """The warm-up and the logs' markers are no part of a snapshot."""
    seen, logs = Seen([end(100)], [fill(100)]), Logs()
    path = tmp_path / "go.ledger"
    pulse = Pulse(seen, LedgerReader(path), logs.ends, logs.monotonic)
    with Ledger(path) as ledger:
        for number in range(4):
            ledger.add(*sent(number))
    logs.now_s, logs.market, logs.strategic, logs.tactical, logs.risk = 2.0, 8, 8, 7, 7
    seen.ends += [end(0), executed(1)]
    seen.fills.append(fill(1))

    found = pulse.take()

    assert (2.0, 4, 2) == (found.elapsed_s, found.sent, found.ended)
    assert (1, 1) == (found.orders, found.filled)
    assert (1, 1) == (found.outcomes["executed"], found.outcomes["held"])
    assert found.end_to_end is not None
    assert (2, 4.0) == (found.end_to_end.count, found.end_to_end.max)
    assert [fill(1)] == list(found.last_orders)
    assert 1e6 + 1 == found.equity
    lags = {stage.name: stage.lag for stage in found.stages}
    # Of risk's three records one is what it made of the fill.
    assert {"strategic": 0, "tactical": 1, "risk": 1, "execution": 0, "gateway": 0} == lags


def test_rates_are_of_lately(tmp_path: Path) -> None:
    """A rate is of the last looks, not of the whole run."""
    seen, logs = Seen(), Logs()
    pulse = Pulse(seen, LedgerReader(tmp_path / "none"), logs.ends, logs.monotonic)
    assert 0.0 == pulse.take().ended_per_second
    for second in range(1, 11):
        logs.now_s = float(second)
        seen.ends += [end(10 * second + n) for n in range(10)]
        last = pulse.take()
    assert 10.0 == last.ended_per_second
    for second in range(11, 17):
        logs.now_s = float(second)
        last = pulse.take()
    assert 0.0 == last.ended_per_second
