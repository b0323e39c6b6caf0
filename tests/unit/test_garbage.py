"""Cycles are looked for rarely."""

import gc

from pipeline.garbage import collecting_rarely

OFTEN = (700, 10, 10)


def test_collection_is_rare_within_the_block_only() -> None:
    """And what is alive at its begin is not gone through."""
    before = gc.get_threshold()
    gc.unfreeze()  # a worker that ran in this process may have left its own behind
    gc.set_threshold(*OFTEN)
    try:
        with collecting_rarely():
            assert gc.get_threshold()[0] > OFTEN[0]
            assert gc.get_freeze_count() > 0
        assert (OFTEN, 0) == (gc.get_threshold(), gc.get_freeze_count())
    finally:
        gc.set_threshold(*before)
