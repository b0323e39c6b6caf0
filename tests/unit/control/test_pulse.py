"""A worker's signs of life, and which of them are bad."""

import asyncio
import contextlib
from typing import Any

import pytest

from pipeline.control.pulse import JOINING, OWNER, STANDBY, TAKING_OVER, Pulse, PulseReading


@pytest.mark.parametrize(
    ("reading", "dead", "unready"),
    [
        ({}, False, False),
        ({"standing": STANDBY}, False, False),
        ({"loop_age_s": 14.0, "round_age_s": 14.0}, False, False),
        ({"loop_age_s": 16.0}, True, True),
        ({"round_age_s": 16.0}, True, True),
        ({"polling": False}, True, True),
        ({"standing": JOINING}, False, True),
        ({"standing": TAKING_OVER}, False, True),
        ({"control_current": False}, False, True),
    ],
)
def test_what_a_restart_mends_is_dead_and_the_rest_unready(
    reading: dict[str, Any], dead: bool, unready: bool
) -> None:
    """A worker that waits for the group or the broker must not be restarted for it."""
    found = PulseReading(**{"loop_age_s": 0.1, **reading})

    assert dead == bool(found.findings(live=True))
    assert unready == bool(found.findings())


async def test_a_pulse_ages_while_the_loop_stands_and_a_round_lasts() -> None:
    """It is read on another thread, so that a loop that stands keeps nothing from being seen."""
    now = [100.0]
    pulse = Pulse(standing=lambda: OWNER, monotonic=lambda: now[0])
    beating = asyncio.create_task(pulse.beat())
    await asyncio.sleep(0)
    with pulse.round():
        now[0] = 120.0
        found = pulse.read()

    assert (20.0, 20.0) == (found.loop_age_s, found.round_age_s)
    assert 0.0 == pulse.read().round_age_s
    beating.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await beating
