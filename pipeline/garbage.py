"""Reference cycles are looked for rarely where records are worked off: they have none.

What rounds and records make is freed by counting references, as soon as nobody has it. A search
for cycles goes through all that is alive, so it costs most where much is remembered.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

__all__ = ["collect_rarely", "collecting_rarely"]

_ALLOCATIONS: Final = 50_000


def collect_rarely() -> None:
    """Look for cycles rarely from now on, and not among what is alive now."""
    gc.freeze()
    gc.set_threshold(_ALLOCATIONS, 20, 20)


@contextmanager
def collecting_rarely() -> Iterator[None]:
    """Do so until the block ends."""
    before = gc.get_threshold()
    collect_rarely()
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
