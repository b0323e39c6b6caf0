"""Whom to tell of what now; pure.

A channel is not handed a queue of messages: it is asked what it has not been told yet. So one that
was away for an hour hears how things stand, once, and not what became of each alert in between.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import msgspec

from pipeline.packets.events import PerformanceAlert
from pipeline.settings import AlertChannel
from pipeline.watch.alerting.entry import TEST, Entry, Told, rank
from pipeline.watch.alerting.silences import Orders
from pipeline.watch.channels import Message

__all__ = ["Notice", "due"]

_SECOND_US = 1_000_000
_LISTED = 20


@dataclass(frozen=True, slots=True)
class Notice:
    """What a channel is to be told at once: alerts of one group.

    Attributes:
        group: The group.
        entries: The alerts, most urgent first.
    """

    group: str
    entries: tuple[Entry, ...]

    def told(self, entry: Entry, now_us: int) -> Told:
        """Return the note that an alert of it was told of."""
        level = entry.state.peak if entry.ended else entry.level
        return Told(level, entry.ended, now_us)

    def message(self, cascade: str) -> Message:
        """Return it in words, and as a document.

        Args:
            cascade: Name of the cascade, for whoever has several.
        """
        levels = [each.level for each in self.entries if not each.ended]
        worst = max(levels, key=rank, default=None)
        said = worst.value if worst is not None else "RESOLVED"
        first = self.entries[0]
        more = f" and {len(self.entries) - 1} more" if len(self.entries) > 1 else ""
        title = f"[{said}] {cascade}: {first.state.subject}{more}"
        lines = [_line(each) for each in self.entries[:_LISTED]]
        if len(self.entries) > _LISTED:
            lines.append(f"... {len(self.entries) - _LISTED} more: see `cascade alerts list`")
        document = {
            "cascade": cascade,
            "level": said,
            "group": self.group,
            "title": title,
            "alerts": [_document(each) for each in self.entries],
        }
        key = "+".join(f"{each.id}:{each.state.state}" for each in self.entries[:_LISTED])
        return Message(key, title, "\n".join(lines), document)


def due(
    channel: AlertChannel,
    entries: Iterable[Entry],
    orders: Orders,
    group_wait_s: float,
    now_us: int,
) -> list[Notice]:
    """Return what a channel is to be told now, most urgent first.

    A raised alert is told of once its group has been waited for, and again when its level rises
    above what was told; an ended one where its beginning was told, or would have been, had the
    channel been within reach. Nobody is told of what is silenced, or explained by another alert.

    Args:
        channel: The channel.
        entries: The alerts that are raised or have ended of late.
        orders: Silences.
        group_wait_s: Seconds that the first alert of a group waits for others.
        now_us: Now, microseconds since the Unix epoch, UTC.
    """
    groups: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        if fnmatchcase(entry.state.group, channel.groups) and _is_due(
            channel, entry, orders, now_us
        ):
            groups[entry.state.group].append(entry)
    wait_us = int(group_wait_s * _SECOND_US)
    ripe = {
        name: found
        for name, found in groups.items()
        if min(each.alert.timestamp for each in found) + wait_us <= now_us
    }
    notices = [
        Notice(name, tuple(sorted(found, key=lambda each: -rank(each.level))))
        for name, found in ripe.items()
    ]
    return sorted(notices, key=lambda notice: -rank(notice.entries[0].level))


def _is_due(channel: AlertChannel, entry: Entry, orders: Orders, now_us: int) -> bool:
    state, told = entry.state, entry.state.told.get(channel.name)
    if entry.ended:
        if told is not None:
            return not told.ended
        wanted = rank(state.peak) >= rank(channel.least_level) or state.rule == TEST
        return wanted and not state.withheld
    if state.inhibited_by or orders.silence_of(state.subject, now_us) is not None:
        return False
    if rank(entry.level) < rank(channel.least_level) and state.rule != TEST:
        return False
    return told is None or rank(entry.level) > rank(told.level)


def _line(entry: Entry) -> str:
    if not entry.ended:
        return f"{entry.level.value} {entry.alert.message} (id {entry.id[:12]})"
    peak = PerformanceAlert(entry.state.peak).value
    lasted_s = entry.lasted_s(entry.state.ended_us)
    return f"RESOLVED {entry.alert.message} (was {peak} for {lasted_s:.0f} s, id {entry.id[:12]})"


def _document(entry: Entry) -> dict[str, Any]:
    state: dict[str, Any] = msgspec.to_builtins(entry.state)
    state.pop("told", None)
    return {
        "id": entry.id,
        "level": entry.level.value,
        "message": entry.alert.message,
        "acknowledged": entry.alert.acknowledged,
        "timestamp": entry.alert.timestamp,
        **state,
    }
