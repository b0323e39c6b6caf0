"""Autoscaling under load: `scripts/test autoscale [--low N] [--high N] [--target SHARE] [--json]`.

`cascade run --autoscale` on a Kafka of its own gets a low load, a high one, the low one again; and
the same once more, with kill -9 of the stage's first worker in the moment in which another one is
added. Exit code 0: under the high load a worker was added and took part, under the low one all that
were added ended, and the oracle finds nothing lost, doubled or otherwise wrong.

What a worker is to be busy with, and for how long something must hold, is set low here: two cores
carry no load that would fill a worker, and nobody wants to wait two minutes for each change.
"""

import argparse
import os
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

from pipeline import broker
from pipeline.bench.lab import Check, at_least, at_most
from pipeline.settings import ScalingSettings, Settings, load_settings
from tests.autoscale.rig import Autoscaled
from tests.faults.rig import now_ms
from tests.suites import tell_checks, tell_notice

__all__ = ["checks", "main", "ramp"]

_LOW, _HIGH = 5.0, 300.0
_TARGET = 0.12
_UP_S, _DOWN_S, _PAUSE_S = 3.0, 12.0, 6.0
_TIMEOUT_MS = 60_000
_CALM_S = 5.0
_LISTED = 20


def ramp(cascade: Autoscaled, low: float, high: float, *, kill: bool) -> dict[str, Any]:
    """Offer a low, a high and a low load; return what scaling made of it.

    Args:
        cascade: The cascade.
        low: Packets a second.
        high: Packets a second.
        kill: Kill the stage's first worker as soon as another is added.
    """
    with cascade.load(low):
        cascade.seen.pass_time(_CALM_S)
    calm = len(cascade.surplus())
    risen_s, risen_us = time.monotonic(), now_ms() * 1000
    with cascade.load(high):
        added = cascade.wait_added(risen_s)
        if kill:
            cascade.kill(added.stage)
        cascade.wait_works(added)
        cascade.seen.pass_time(_CALM_S)
    fallen_s, fallen_us = time.monotonic(), now_ms() * 1000
    with cascade.load(low):
        alone_s = cascade.wait_alone()
    return {
        "killed": added.stage if kill else None,
        "restarted": cascade.restarted(added.stage) if kill else None,
        "surplus_before": calm,
        "busy_before": cascade.busy(added.stage, risen_us - int(_CALM_S * 1e6), risen_us),
        "busy_risen": cascade.busy(added.stage, risen_us, added.at_ms * 1000),
        "busy_after": cascade.busy(added.stage, fallen_us + int(_CALM_S * 1e6), now_ms() * 1000),
        "added": added.worker,
        "added_after_s": round(added.at_s - risen_s, 1),
        "added_workers": len(cascade.added(risen_s)),
        "ended_after_s": round(max(0.0, alone_s - fallen_s), 1),
        "left": sorted(cascade.surplus()),
    }


def checks(found: dict[str, Any]) -> list[Check]:
    """Return what is asked of autoscaling, and whether it was so."""
    ramps = found["ramps"]
    added = [each["added_workers"] for each in ramps]
    left = [len(each["left"]) for each in ramps]
    back = sum(bool(each["restarted"]) for each in ramps)
    return [
        at_most("packets lost", found["lost"], 0),
        at_most("packets or orders doubled", found["doubled"], 0),
        at_most("all that the oracle objects to", len(found["violations"]), 0),
        at_least("workers added under load, fewest of a ramp", min(added), 1),
        at_most("added workers left after it, most of a ramp", max(left), 0),
        at_least("killed workers that came back", back, 1),
    ]


def scaled(settings: Settings, low: float, high: float) -> dict[str, Any]:
    """Run both ramps on a broker; return what came of them."""
    cascade = Autoscaled(settings)
    try:
        cascade.wait_ready()
        ramps = [ramp(cascade, low, high, kill=kill) for kill in (False, True)]
        findings = cascade.findings()
    finally:
        cascade.close()
    return {
        "low_per_s": low,
        "high_per_s": high,
        "packets": cascade.seen.count("strategic"),
        "ramps": ramps,
        "lost": sum(each.lost for each in findings),
        "doubled": sum(each.doubled for each in findings),
        "violations": [f"{each.checker}: {each.text}" for each in findings[:_LISTED]],
        "said": cascade.said(),
    }


def main(arguments: list[str]) -> int:
    """Run it on a broker of its own; return the exit code."""
    parser = argparse.ArgumentParser(prog="scripts/test autoscale")
    parser.add_argument("--low", type=float, default=_LOW, help=f"packets a second ({_LOW:g})")
    parser.add_argument("--high", type=float, default=_HIGH, help=f"packets a second ({_HIGH:g})")
    parser.add_argument(
        "--target", type=float, default=_TARGET,
        help=f"share of the time in which workers should be busy ({_TARGET:g})",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="figures alone on standard output")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="cascade-autoscale-") as name:
        folder = Path(name)
        own = load_settings(broker=None, home=folder / "broker")
        try:
            settings = load_settings(
                broker=broker.up(own, notice=tell_notice).bootstrap,
                namespace=f"autoscale-{uuid.uuid4().hex[:8]}",
                home=folder / "home",
                cascade_timeout_ms=_TIMEOUT_MS,
                control_echo_timeout_s=30.0,
                snapshot_interval_s=3.0,
                scaling=ScalingSettings(
                    target=chosen.target, up=_UP_S, down=_DOWN_S, pause=_PAUSE_S
                ),
            )
            found = scaled(settings, chosen.low, chosen.high)
        finally:
            broker.down(own)
    found |= {"target": chosen.target, "cores": os.cpu_count(),
              "load_average": round(os.getloadavg()[1], 1)}  # fmt: skip
    lines = [
        f"{each['added']} added {each['added_after_s']:g} s after the load rose"
        f"{', ' + each['killed'] + ' killed then' if each['killed'] else ''};"
        f" all ended {each['ended_after_s']:g} s after it fell"
        for each in found["ramps"]
    ]
    lines += [*found["said"], *found["violations"]]
    return tell_checks(found, checks(found), lines, as_json=chosen.json)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
