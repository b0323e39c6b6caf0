"""Cycles are looked for rarely."""

import gc

from pipeline.garbage import collecting_rarely


def test_collection_is_rare_within_the_block_only() -> None:
    """And what is alive at its begin is not gone through."""
    before, frozen = gc.get_threshold(), gc.get_freeze_count()
    with collecting_rarely():
        assert gc.get_threshold()[0] > before[0]
        assert gc.get_freeze_count() > frozen
    assert before == gc.get_threshold()
    assert gc.get_freeze_count() == 0
