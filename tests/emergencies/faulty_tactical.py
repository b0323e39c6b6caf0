"""A tactical stage with faults that a file of their name brings about, as a Faust app.

They lie in the folder `faults` below CASCADE_HOME. `wedge`, `leak` and `slow` befall only processes
that were there before the file, so that a new process mends them; `invalid` befalls every one.
"""

import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
from msgspec import structs

from pipeline.policies.windows import BarWindows
from pipeline.settings import load_settings
from pipeline.stages.app import stage_app
from pipeline.stages.contract import Context, Draft, Input
from pipeline.stages.tactical_logic import TacticalLogic

__all__ = ["FAULTS", "LEAKED_MB", "app"]

FAULTS = "faults"
LEAKED_MB = 500
_SLOW_S = 0.1


class FaultyLogic(TacticalLogic):
    """Decides as the tactical stage does, but for the faults."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        self._started_s = psutil.Process(os.getpid()).create_time()
        self._leaked = b""

    def decide(
        self, state: BarWindows, inputs: Sequence[Input], context: Context
    ) -> Iterator[Draft]:
        """Yield a draft per input."""
        if self._befalls("wedge"):
            while True:  # a deadlock: the process lives, its heart beats, nothing is decided
                time.sleep(1.0)
        if self._befalls("leak") and not self._leaked:
            self._leaked = b"x" * (LEAKED_MB << 20)
        drafts: Iterator[Any] = super().decide(state, inputs, context)
        if not (self._folder / "invalid").exists():
            for draft in drafts:
                if self._befalls("slow"):
                    time.sleep(_SLOW_S)
                yield draft
            return
        for draft in drafts:
            yield _spoilt(draft)

    def _befalls(self, fault: str) -> bool:
        try:
            return (self._folder / fault).stat().st_mtime > self._started_s
        except FileNotFoundError:
            return False


def _spoilt(draft: Draft) -> Draft:
    """Return a draft that states another probability than its distribution has."""
    decision = draft.parts.get("tactical")
    if decision is None:
        return draft
    wrong = structs.replace(decision, probability=decision.probability / 2)
    return structs.replace(draft, parts={**draft.parts, "tactical": wrong}, outcome=None)


app = stage_app("tactical", FaultyLogic(load_settings().home / FAULTS))
