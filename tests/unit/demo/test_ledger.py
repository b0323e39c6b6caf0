from pathlib import Path

from pipeline.demo.ledger import Ledger, LedgerReader
from tests.unit.demo.factories import sent


def test_is_read_while_it_grows(tmp_path: Path) -> None:
    """A reader gets each entry once, as soon as it was flushed, and none half-written."""
    path = tmp_path / "go.ledger"
    reader = LedgerReader(path)
    assert [] == list(reader.read())
    with Ledger(path) as ledger:
        for number in range(3):
            ledger.add(*sent(number))
        ledger.flush()
        assert [sent(0), sent(1), sent(2)] == list(reader.read())
        assert [] == list(reader.read())
        ledger.add(*sent(3))
    assert [sent(3)] == list(reader.read())


def test_a_torn_entry_waits_for_its_rest(tmp_path: Path) -> None:
    """What is written in part is left for the next call."""
    path = tmp_path / "go.ledger"
    with Ledger(path) as ledger:
        ledger.add(*sent(0))
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    reader = LedgerReader(path)
    assert [] == list(reader.read())
    path.write_bytes(whole)
    assert [sent(0)] == list(reader.read())
