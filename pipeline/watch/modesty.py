"""Workers beside the path let those of the path go first where processors are short."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

__all__ = ["step_back"]

# A tenth of the processor time of a worker of the path, where both want all of it: what watches
# must not slow down what it watches, and must not starve either.
_NICE: Final = 10
_AUTOGROUP: Final = Path("/proc/self/autogroup")


def step_back(autogroup: Path = _AUTOGROUP) -> None:
    """Make this process, and the threads that it will start, give way to others.

    Linux may schedule sessions as groups (`man 7 sched`, "The autogroup feature"). Then a
    process's own nice value counts only within its session, and the session's counts between them.
    That of a session that others share is left alone: workers of the path may be among them.

    Args:
        autogroup: Where Linux takes the session's nice value; no such file where it has none.
    """
    with suppress(OSError):  # where the machine does not allow it
        os.nice(_NICE)
    if os.getsid(0) == os.getpid() and autogroup.exists():
        with suppress(OSError):
            autogroup.write_text(f"{_NICE}\n", encoding="ascii")
