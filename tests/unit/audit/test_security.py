"""Who did what, from the topics that tell."""

from pipeline.audit.findings import Finding, FindingKind
from pipeline.audit.security import security_event_of
from pipeline.packets.codec import encode
from pipeline.packets.events import (
    ControlCommand,
    ControlKind,
    SecurityEvent,
    SecurityEventKind,
)
from pipeline.stages.dispositions import Disposition, DispositionKind


def test_a_command_is_told_with_its_author_and_reason() -> None:
    """Halts, resumes and all others: from the control log itself."""
    command = ControlCommand("id", ControlKind.RESUME, "*", "ann", "feed is back", 7, 0, 17)

    event = security_event_of("cascade.control", 0, 5, encode(command), ())

    assert event == SecurityEvent(
        "cascade.control:0:5", SecurityEventKind.CONTROL_COMMAND, "ann", "RESUME *",
        "feed is back; lifts 17", 7, "",
    )  # fmt: skip


def test_what_was_done_about_a_dead_letter_is_told() -> None:
    """By whom and why; the letter itself tells nothing."""
    done = Disposition(DispositionKind.DISCARDED, "cascade.market:2:9", "mary", "a test", 7)

    event = security_event_of("cascade.market.dead", 2, 4, None, done.headers())

    assert isinstance(event, SecurityEvent)
    assert (SecurityEventKind.DEAD_LETTER_DISCARDED, "mary", "cascade.market:2:9", "a test") == (
        event.kind, event.author, event.subject, event.detail,
    )  # fmt: skip
    assert security_event_of("cascade.market.dead", 2, 3, b"bytes", [("reason", b"x")]) is None


def test_what_people_and_tools_tell_is_taken_as_it_is() -> None:
    """An event of `cascade.security` comes through unchanged."""
    event = SecurityEvent("e", SecurityEventKind.REFUSAL, "bob", "/halt", "viewer", 7, "192.0.2.1")

    assert event == security_event_of("cascade.security", 0, 0, encode(event), ())


def test_what_ought_to_tell_and_cannot_be_read_is_a_finding() -> None:
    """In each of the topics; nothing is passed over in silence."""
    odd = encode(SecurityEvent("e", SecurityEventKind.LOGIN, "bob", "x", "", 7, ""))
    found = [
        security_event_of("cascade.security", 0, 1, b"garbage", ()),
        security_event_of("cascade.control", 0, 2, odd, ()),
        security_event_of("cascade.risk.dead", 0, 3, None, [("__cascade.disposition.kind", b"?")]),
    ]

    assert [FindingKind.FOREIGN] * 3 == [each.kind for each in found if isinstance(each, Finding)]
    assert [1, 2, 3] == [each.offset for each in found if isinstance(each, Finding)]
