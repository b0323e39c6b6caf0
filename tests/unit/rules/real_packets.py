"""Real packets: the sample's bars through stages and gateway in lock-step, each record decoded."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from msgspec.structs import replace

from pipeline.demo.reference import Reference
from pipeline.gateway.paper import PaperBehaviour, PaperVenue
from pipeline.market import SampleFeed
from pipeline.packets.codec import decode, encode
from pipeline.packets.lanes import INGEST_TOPIC
from pipeline.packets.models import ExecutionPlan, Marker, OrderEvent, PortfolioUpdate
from pipeline.packets.vocabulary import OrderEventKind
from pipeline.rules.windows import Logs, LogWindow, PartitionWindow
from pipeline.settings import Settings, load_settings

__all__ = ["entries_of_run", "first", "logs_of", "real_logs", "run", "run_settings"]

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


def real_logs(*, newest: int | None = None) -> Logs:
    """Return the run as it would stand in Kafka: one partition a topic, a marker opens each log.

    Args:
        newest: Keep that many entries at the end of each topic; all where None.
    """
    return logs_of(entries_of_run(), newest=newest)


def logs_of(
    entries: Mapping[str, Sequence[tuple[int, bytes | None]]], *, newest: int | None = None
) -> Logs:
    """Return windows over entries, the newest of each topic."""
    windows = {}
    for topic, found in entries.items():
        kept = list(found if newest is None else found[-newest:])
        whole = len(kept) == len(found)
        window = PartitionWindow(0 if whole else kept[0][0], whole, kept)
        windows[topic] = LogWindow(topic, {0: window}, is_log=topic != INGEST_TOPIC)
    return Logs(windows)


def entries_of_run() -> dict[str, list[tuple[int, bytes | None]]]:
    """Return (offset, value) of each topic of the run, journals as real owners write them."""
    at: dict[str, tuple[str, int]] = {}
    entries: dict[str, list[tuple[int, bytes | None]]] = {
        INGEST_TOPIC: [(offset, encode(each)) for offset, each in enumerate(run()["market"])]
    }
    at.update(
        {each.envelope.packet_id: (INGEST_TOPIC, n) for n, each in enumerate(run()["market"])}
    )
    fills = [each for each in run()["fills"] if each.kind is not OrderEventKind.SUBMITTING]
    offsets = {id(each): n + 1 for n, each in enumerate(run()["fills"])}
    settled = iter(fills)
    for log in ("strategic", "tactical", "risk", "execution", "fills"):
        topic = f"cascade.{log}"
        entries[topic] = [(0, encode(Marker("token", log, 0, "reference", "reference", 0)))]
        for sequence, record in enumerate(run()[log]):
            if isinstance(record, PortfolioUpdate):
                source = ("cascade.fills", offsets[id(next(settled))])
            elif isinstance(record, OrderEvent):
                source = at[record.plan_id]
            else:
                source = at[record.envelope.parent_id]
                at[record.envelope.packet_id] = (topic, sequence + 1)
            entries[topic].append((sequence + 1, encode(_placed(record, sequence, *source))))
    return entries


def _placed(record: Any, sequence: int, topic: str, offset: int) -> Any:
    """Return a record with the journal of its place."""
    above = -1 if topic == INGEST_TOPIC else 0
    journal = replace(
        record.journal,
        log_sequence=sequence,
        epoch=0,
        input_topic=topic,
        input_partition=0,
        input_offset=offset,
        input_epoch=above,
        input_sequence=-1 if topic == INGEST_TOPIC else offset - 1,
        resume_offset=offset + 1,
        resume_epoch=above,
        resume_sequence=-1 if topic == INGEST_TOPIC else offset - 1,
    )
    return replace(record, journal=journal)
