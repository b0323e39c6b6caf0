"""Avro by the letter: what fastavro reads and is none."""

import pytest

from pipeline.errors import MalformedPacket
from pipeline.packets import codec
from pipeline.packets.events import Alert, PerformanceAlert
from pipeline.packets.models import Trace

_TRACE = codec.encode(Trace("risk", 1, 2, 3))
_ALERT = codec.encode(Alert("id", PerformanceAlert.INFO, "m", "{}", 7, acknowledged=True))


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (_TRACE[:-1] + b"\xfe" + b"\xff" * 10 + b"\x01", "an integer of 64 bits"),
        (_TRACE[:-1] + b"\xff" * 9 + b"\x03", "an integer of 64 bits"),
        (_ALERT[:-1] + b"\x02", "a boolean of 0 or 1"),
        (_ALERT[:13] + b"\x01" + _ALERT[14:], "an index below"),
    ],
)
def test_what_is_no_avro_is_refused(value: bytes, why: str) -> None:
    """Numbers that do not fit, other booleans, and indices from the end."""
    with pytest.raises(MalformedPacket, match=why):
        codec.decode(value)


def test_longer_forms_of_a_number_are_read() -> None:
    """A writer may spend more bytes than it must."""
    assert codec.decode(_TRACE[:-1] + b"\x86\x80\x00") == Trace("risk", 1, 2, 3)
