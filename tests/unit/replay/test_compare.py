"""What differs between a record and the same record made again, and why."""

from typing import Any

import pytest
from msgspec import structs

from pipeline.packets.models import PolicyStamp
from pipeline.packets.vocabulary import OutcomeKind
from pipeline.replay.compare import Agreement, Cause, agreement, cause_of, changes, summary
from pipeline.replay.logs import LogStart
from pipeline.replay.recompute import NOTHING, Made, Recomputer, Recorded, Variant
from pipeline.stages.contract import seal
from pipeline.stages.fates import Fate
from pipeline.stages.routes import ROUTES
from pipeline.stages.strategic_logic import StrategicLogic
from pipeline.transport.log import START
from tests.unit.replay.factories import SETTINGS, history, packets

RECORD = history(StrategicLogic(), packets(60))[-1]
FAILED = seal(OutcomeKind.DEAD_LETTERED, "strategic", Fate.POLICY_FAILED)


def _made(**changes: Any) -> Made:
    return Made(structs.replace(RECORD.record, **changes), b"other bytes")


def _envelope(**changes: Any) -> Any:
    return structs.replace(RECORD.record.envelope, **changes)


def _other_policy() -> PolicyStamp:
    policy: PolicyStamp = RECORD.record.envelope.policy
    return structs.replace(policy, sha256="f" * 64)


def _strategic(**changes: Any) -> Any:
    return structs.replace(RECORD.record.strategic, **changes)


@pytest.mark.parametrize(
    ("made", "wanted"),
    [
        (Made(RECORD.record, RECORD.entry.value), Agreement.IDENTICAL),
        (_made(), Agreement.SAME),
        (_made(envelope=_envelope(policy=_other_policy())), Agreement.RESTAMPED),
        (_made(strategic=_strategic(confidence=0.123)), Agreement.DIFFERENT),
        (NOTHING, Agreement.DIFFERENT),
    ],
)
def test_records_agree_as_far_as_they_do(made: Made, wanted: Agreement) -> None:
    """Bytes first, then fields, then all but the policy's stamp."""
    assert wanted is agreement(RECORD, made)


def test_changes_name_the_fields() -> None:
    """Only what differs is named, with its path, then and now; the stamp is no decision."""
    made = _made(strategic=_strategic(confidence=0.123), envelope=_envelope(policy=_other_policy()))
    (change,) = changes(RECORD, made)
    assert ("strategic.confidence", RECORD.record.strategic.confidence, 0.123) == change


def test_a_summary_says_decision_and_outcome() -> None:
    """A line for people, also where nothing came out."""
    assert "no record" == summary(None)
    assert summary(RECORD.record).startswith(f"{RECORD.record.strategic.action} confidence 0.")
    sealed = _made(strategic=None, envelope=_envelope(outcome=FAILED)).record
    assert "dead_lettered by strategic (POLICY_FAILED)" == summary(sealed)


def _given(recorded: Recorded, settings: Any = SETTINGS) -> Any:
    recomputer = Recomputer(ROUTES["strategic"], settings, [Variant("now", StrategicLogic())])
    recomputer.begin(LogStart(START))
    return recomputer.input(recorded, recorded.source)


OTHER = _made(strategic=_strategic(confidence=0.123))


@pytest.mark.parametrize(
    ("made", "again", "build", "cause", "detail"),
    [
        (_made(envelope=_envelope(policy=_other_policy())), OTHER, "build", Cause.POLICY, "ffff"),
        (OTHER, OTHER, "other", Cause.BUILD, "was build, is other"),
        (OTHER, Made(None, b"third"), "build", Cause.FAILURE, "not deterministic"),
        (_made(envelope=_envelope(outcome=FAILED)), None, "build", Cause.FAILURE, "and did not"),
        (OTHER, OTHER, "build", Cause.STATE, "snapshot"),
    ],
    ids=["policy", "build", "random", "failed", "state"],
)
def test_the_cause_is_found(
    made: Made, again: Made | None, build: str, cause: Cause, detail: str
) -> None:
    """What can be told from stamps and hashes is told before what is left over."""
    attempts = [made if again is None else structs_same(made, again)]
    found, said = cause_of(RECORD, _given(RECORD), made, attempts, build)
    assert (cause, True) == (found, detail in said), said


def structs_same(made: Made, again: Made) -> Made:
    """Return the attempt that a deterministic policy would repeat, or the other one."""
    return made if again.value == made.value else again


def test_another_clock_is_a_cause() -> None:
    """Under the event clock now is the acceptance, which is not when it was decided."""
    event = SETTINGS.model_copy(update={"clock": "event"})
    found, said = cause_of(RECORD, _given(RECORD, event), OTHER, [OTHER], "build")
    assert (Cause.CLOCK, True) == (found, str(RECORD.journal.now) in said)


def test_another_input_is_a_cause() -> None:
    """An input that is not the packet's parent is said to be none."""
    envelope = _envelope(parent_id="somebody-else")
    wrong = Recorded(
        RECORD.entry, structs.replace(RECORD.record, envelope=envelope), RECORD.source, RECORD.view
    )
    found, said = cause_of(wrong, _given(wrong), OTHER, [OTHER], "build")
    assert (Cause.INPUT, True) == (found, "somebody-else" in said)


def test_a_state_from_elsewhere_is_named() -> None:
    """The stamp says on which state the decision was made; the log says which it should be."""
    policy = structs.replace(RECORD.record.envelope.policy, state_sequence=3)
    record = structs.replace(RECORD.record, envelope=_envelope(policy=policy))
    wrong = Recorded(RECORD.entry, record, RECORD.source, RECORD.view)
    made = Made(structs.replace(record, strategic=_strategic(confidence=0.1)), b"x")
    found, said = cause_of(wrong, _given(wrong), made, [made], "build")
    assert (Cause.STATE, True) == (found, "the state after record 3" in said)
