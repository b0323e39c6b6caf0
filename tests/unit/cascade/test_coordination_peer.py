"""A system in a process of its own: what its command takes."""

import pytest

from pipeline.cascade.coordination.peer import fixed, load_handler
from pipeline.coordination.answers import Answer, CoordinationRequest, as_answer
from pipeline.errors import InvalidPacket, UsageError

REQUEST = CoordinationRequest(
    coordination_id="c", requesting_system="strategic", decision_type="entry", decision_data={},
    affected_systems=("tactical",), timestamp=0,
)  # fmt: skip


def test_a_fixed_answer_is_checked_once_and_given_always() -> None:
    """What is no answer is refused before anything starts."""
    assert Answer(decision="BUY", confidence=0.5) == fixed({"decision": "buy", "confidence": 0.5})(
        REQUEST
    )
    with pytest.raises(InvalidPacket):
        fixed({"decision": ""})


def test_a_handler_is_found_by_its_name() -> None:
    """module:function is imported, and anything else is refused with what was expected."""
    found: object = load_handler("pipeline.coordination.answers:as_answer")
    assert found is as_answer
    for name in ("nothing", "no_such_module:answer", "pipeline.coordination.answers:none", ":x"):
        with pytest.raises(UsageError, match="Expected a handler"):
            load_handler(name)
    with pytest.raises(UsageError, match="Expected a function"):
        load_handler("pipeline.coordination.answers:__doc__")
