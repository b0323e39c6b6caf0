"""What a replay would do, for the dry run."""

from typing import Any

from pipeline.errors import PositionLost
from pipeline.replay.logs import start_before
from pipeline.replay.reading import TopicReader
from pipeline.replay.run import ReplayOptions
from pipeline.replay.selection import LogRange, Selection
from pipeline.settings import Settings

__all__ = ["plan_of", "plan_text"]


def plan_of(settings: Settings, selection: Selection, options: ReplayOptions) -> dict[str, Any]:
    """Return what a replay would do, as JSON has it; reads the places of snapshots, nothing else.

    Raises:
        BrokerUnavailable: If the broker does not answer.
    """
    with TopicReader(settings, "replay-plan") as reader:
        ranges = [_range(reader, each) for each in selection.ranges]
    return {
        "executed": False,
        "what": selection.what,
        "flows": None if selection.flows is None else len(selection.flows),
        "changes": str(options.changes),
        "speed": options.speed or "max",
        "sandbox": options.sandbox,
        "records_at_most": selection.records,
        "ranges": ranges,
    }


def _range(reader: TopicReader, place: LogRange) -> dict[str, Any]:
    found: dict[str, Any] = {
        "stage": place.stage,
        "topic": place.topic,
        "partition": place.partition,
        "from_offset": place.start,
        "to_offset": place.end,
        "records_at_most": place.end - place.start,
    }
    try:
        start = start_before(reader, place.topic, place.partition, place.start)
    except PositionLost as lost:
        return {**found, "error": str(lost)}
    snapshot = None if start.snapshot is None else start.snapshot.snapshot_id
    return {
        **found,
        "state_from": str(start),
        "snapshot": snapshot,
        "records_to_fold_at_most": place.start - start.position.offset,
    }


def plan_text(planned: dict[str, Any]) -> str:
    """Return it as text."""
    lines = [f"would replay {planned['what']}"]
    if planned["changes"]:
        lines.append(f"with changed {planned['changes']}")
    if planned["flows"] is not None:
        lines.append(f"only records of its {planned['flows']} flows")
    for each in planned["ranges"]:
        lines.append(
            f"  {each['stage']:<10} {each['topic']}[{each['partition']}] offsets"
            f" {each['from_offset']} to {each['to_offset'] - 1}"
        )
        if "error" in each:
            lines.append(f"             impossible: {each['error']}")
        else:
            lines.append(
                f"             state from {each['state_from']}, then"
                f" {each['records_to_fold_at_most']} records to fold at most"
            )
    target = "into a sandbox namespace" if planned["sandbox"] else "nothing is written"
    lines.append(
        f"{planned['records_at_most']} records at most, at speed {planned['speed']}, {target}"
    )
    lines.append("nothing was replayed: add --execute")
    return "\n".join(lines)
