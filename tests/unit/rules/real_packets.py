"""Real packets: the sample's bars through stages and gateway in lock-step, each record decoded."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pipeline.demo.reference import Reference
from pipeline.gateway.paper import PaperBehaviour, PaperVenue
from pipeline.market import SampleFeed
from pipeline.packets.codec import decode, encode
from pipeline.packets.models import ExecutionPlan
from pipeline.settings import Settings, load_settings

__all__ = ["first", "run", "run_settings"]

_BARS = 600


def run_settings() -> Settings:
    """Return the settings of the run: now is the time of the bar."""
    return load_settings(clock="event", broker=None)


@lru_cache(maxsize=1)
def run() -> Mapping[str, Sequence[Any]]:
    """Return the records of a run by log: market, strategic, tactical, risk, execution, fills."""
    records: dict[str, list[Any]] = defaultdict(list)
    with (
        TemporaryDirectory() as folder,
        PaperVenue(Path(folder) / "paper.sqlite", PaperBehaviour.parse("")) as venue,
    ):
        reference = Reference(run_settings(), venue)
        for bar in islice(SampleFeed(), _BARS):
            made = reference._maker.make(reference._item(bar), bar.time_us)
            _take(reference, decode(made.value), records)
    return {log: [decode(encode(each)) for each in found] for log, found in records.items()}


def _take(reference: Reference, market: Any, records: dict[str, list[Any]]) -> None:
    packets = [market]
    records["market"] += packets
    for stage in ("strategic", "tactical", "risk", "execution"):
        packets = getattr(reference, f"_{stage}").work_off(packets)
        records[stage] += packets
    for plan in packets:
        if isinstance(plan, ExecutionPlan):
            fills = reference._gateway.carry_out(plan)
            updates = reference._risk.work_off(fills)
            records["fills"] += fills
            records["risk"] += updates
            reference._execution.work_off(updates)


def first(log: str, part: str) -> Any:
    """Return the first packet of a log that got as far as to an order, with a decision of `part`.

    For "market" any packet does.
    """
    traded = {
        each.envelope.flow_id
        for each in run()["execution"]
        if each.execution is not None and each.execution.orders
    }
    return next(
        each
        for each in run()[log]
        if getattr(each, "envelope", None) is not None
        and each.envelope.flow_id in traded
        and getattr(each, part, None) is not None
    )
