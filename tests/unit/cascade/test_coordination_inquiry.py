"""One request in flight: whose replies count."""

from pipeline.cascade.coordination.inquiry import Inquiry
from pipeline.coordination.answers import Answer
from pipeline.coordination.messages import ReplyBody
from pipeline.coordination.vocabulary import ReplyStatus


def answered(instance: str, decision: str = "BUY") -> ReplyBody:
    """Return an answer of an instance."""
    answer = Answer(decision=decision)
    return ReplyBody(instance=instance, status=ReplyStatus.ANSWERED, answer=answer)


def abstained(instance: str) -> ReplyBody:
    """Return an abstention of an instance."""
    return ReplyBody(instance=instance, status=ReplyStatus.ABSTAINED, reason="no view")


def inquiry() -> Inquiry:
    """Return an inquiry to two instances of tactical, one of risk, and to nobody of alpha."""
    asked = {"tactical": frozenset({"a", "b"}), "risk": frozenset({"r"}), "alpha": frozenset[str]()}
    return Inquiry(asked, {"alpha": "never heard of"})


def test_strangers_do_not_count() -> None:
    """Neither instances that were not asked, e.g. a worker beside a registered one, nor others."""
    found = inquiry()
    found.take("tactical", answered("stranger"))
    found.take("alpha", answered("a"))
    found.take("execution", answered("a"))

    assert {} == found.answers
    assert {"alpha", "tactical", "risk"} == set(found.missing(1.0))


def test_the_first_answer_of_a_system_is_its_answer() -> None:
    """Later ones, abstentions among them, change nothing."""
    found = inquiry()
    for reply in (abstained("b"), answered("a", "BUY"), answered("b", "SELL"), abstained("a")):
        found.take("tactical", reply)

    assert {"tactical": Answer(decision="BUY")} == found.answers
    assert "tactical" not in found.missing(1.0)


def test_it_is_settled_when_nothing_more_can_come() -> None:
    """Every asked system has answered, or all its instances have declined or gone."""
    found = inquiry()
    found.take("risk", answered("r"))
    found.take("tactical", abstained("a"))
    before = found.settled
    found.drop_dead(lambda _: frozenset({"a"}))

    assert (False, True) == (before, found.settled)
    expected = {"alpha": "never heard of", "tactical": "disconnected while it was asked"}
    assert expected == found.missing(1.0)


def test_an_open_system_is_silent() -> None:
    """What it costs is said: the time that was waited."""
    found = inquiry()
    found.take("tactical", abstained("a"))

    assert "no answer within 1.50 s" == found.missing(1.5)["tactical"]
