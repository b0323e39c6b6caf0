"""How long recoveries took, by kind of fault, from the JSON of `scripts/test faults --json`."""

from pathlib import Path
from typing import Any

import msgspec

from pipeline.errors import UsageError

__all__ = ["KINDS", "Recoveries", "read_recoveries"]

KINDS = {
    "restart": ("kill-",),
    "take_over": ("zombie-", "rebalance-", "race-"),
    "broker": ("broker-",),
    "network": ("cut-", "partition-", "slow-", "lost-ack-", "silent-ack-", "late-plans-"),
}
"""Kinds of recovery, and how the names of their faults begin.

restart: a worker killed and started again, with no other one. take_over: its partitions given to
another one. broker: the only broker gone and back. network: connections cut and back.
"""


class _Fault(msgspec.Struct):
    fault: str
    recovery_s: float | None = None


class _Report(msgspec.Struct):
    faults: list[_Fault]


class Recoveries(msgspec.Struct, frozen=True):
    """Seconds from a fault to the first new record, as measured.

    Attributes:
        restart: Of a worker that is started again.
        take_over: Of a standby.
        broker: Of the only broker.
        network: Of connections.
    """

    restart: list[float]
    take_over: list[float]
    broker: list[float]
    network: list[float]


def read_recoveries(path: Path) -> Recoveries:
    """Return what a run of the fault suite measured.

    Raises:
        UsageError: If the file is none of its reports, or lacks a kind of fault.
    """
    try:
        report = msgspec.json.decode(path.read_bytes(), type=_Report)
    except (OSError, msgspec.DecodeError) as error:
        raise UsageError(
            f"Expected {path} to be what `scripts/test faults --json` prints, was: {error}"
        ) from error
    found: dict[str, Any] = {kind: [] for kind in KINDS}
    for each in report.faults:
        for kind, openings in KINDS.items():
            if each.recovery_s is not None and each.fault.startswith(openings):
                found[kind].append(each.recovery_s)
    if missing := [kind for kind, times in found.items() if not times]:
        raise UsageError(
            f"Expected recoveries of each kind in {path}, was none of {', '.join(missing)}: run"
            " the whole suite"
        )
    return Recoveries(**found)
