"""What an installation needs: each finding provoked once."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.broker import Cluster
from pipeline.doctor import Finding, State, examine
from pipeline.doctor import installation as doctor
from pipeline.errors import BrokerUnavailable
from pipeline.settings import load_settings
from pipeline.topics import Action, Change, TopicFile

FILE = TopicFile.load()
HERE = load_settings(broker="127.0.0.1:9092")
CLUSTER = HERE.model_copy(update={"topic_profile": "cluster"})


def _answers(brokers: int) -> Callable[..., Cluster]:
    return lambda *_, **__: Cluster("id", brokers)


def _change(action: Action) -> Change:
    return Change("cascade.alerts", "x.cascade.alerts", action, "differs")


NEEDED = {"t": frozenset({"read", "write"})}
FOUND: list[tuple[Finding, State, str, str]] = [
    (doctor.python((3, 12, 1)), State.OK, "3.12.1", ""),
    (doctor.python((3, 9, 0)), State.PROBLEM, "3.11 or later, was 3.9.0", "scripts/install"),
    (doctor.librdkafka("2.16.0", "2.16.1"), State.OK, "2.16.0", ""),
    (doctor.librdkafka("1.9.2", "1.9.2"), State.PROBLEM, "2.6 or later", "scripts/install"),
    (doctor.librdkafka("2.10.1", "2.16.1"), State.WARNING, "one version", "scripts/install"),
    (doctor.broker(HERE, FILE, _answers(1)), State.OK, "1 brokers", ""),
    (doctor.broker(CLUSTER, FILE, _answers(1)), State.WARNING, "Expected 3 brokers", "PROFILE"),
    (
        doctor.broker(load_settings(broker=None), FILE, _answers(1)),
        State.PROBLEM,
        "CASCADE_BROKER",
        "cascade broker up",
    ),
    (doctor.topics([_change(Action.NONE)]), State.OK, "as topics.yaml says", ""),
    (doctor.topics([_change(Action.CREATE)]), State.PROBLEM, "1 missing", "topics apply"),
    (doctor.topics([_change(Action.DRIFT)]), State.PROBLEM, "1 drifted", "topics apply"),
    (doctor.topics([_change(Action.CONFLICT)]), State.PROBLEM, "by hand", "topics diff"),
    (doctor.schemas(list), State.OK, "all that was ever written", ""),
    (doctor.schemas(lambda: ["Bar: Expected"]), State.PROBLEM, "Bar: Expected", "schemas check"),
    (doctor.clock({"risk": (12.0, -3.0)}), State.OK, "risk -3 ms", ""),
    (doctor.clock({"risk": (-400.0, 2.0)}), State.WARNING, "this machine -400 ms", "timedatectl"),
    (doctor.clock({"risk": (5.0, 9000.0)}), State.PROBLEM, "risk +9000 ms", "timedatectl"),
    (doctor.clock({}), State.UNKNOWN, "message of a worker", "cascade run"),
    (doctor.disk(50e9, 100e9, "/home"), State.OK, "50.0 GB free", ""),
    (doctor.disk(0.5e9, 5e9, "/home"), State.PROBLEM, "0.5 GB free", "du -sh /home"),
    (doctor.disk(2e9, 500e9, "/home"), State.PROBLEM, "5 %", "du -sh /home"),
    (doctor.disk(50e9, 100e9, "/home", "read only"), State.PROBLEM, "read only", "CASCADE_HOME"),
    (doctor.rights(NEEDED, NEEDED, "risk"), State.OK, "risk", ""),
    (
        doctor.rights({"t": frozenset({"read"})}, NEEDED, "risk"),
        State.PROBLEM,
        "without: write t",
        "topics apply --acls",
    ),
    (doctor.rights({}, NEEDED, "risk"), State.PROBLEM, "read t, write t", "topics apply --acls"),
]


@pytest.mark.parametrize(("found", "state", "words", "following"), FOUND)
def test_each_finding_says_what_to_do(
    found: Finding, state: State, words: str, following: str
) -> None:
    """What is wrong is named with its figures and a command; what is well has none."""
    assert (state, True) == (found.state, words in found.detail)
    assert following in found.next
    assert (found.next == "") == (state is State.OK)


def test_every_check_was_provoked() -> None:
    """Each of the eight is seen well and not well above."""
    checks = ("python", "librdkafka", "broker", "topics", "schemas", "clock", "disk", "rights")
    for name in checks:
        states = {state for found, state, *_ in FOUND if found.check == name}
        assert State.OK in states
        assert len(states) > 1


def test_without_a_broker_the_rest_is_examined(tmp_path: Path) -> None:
    """A broker that is not there is one finding; what needs it is unknown, and nothing fails."""
    settings = load_settings(broker="127.0.0.1:1", home=tmp_path / "home")
    found = {each.check: each.state for each in examine(settings)}
    unknown = {name for name, state in found.items() if state is State.UNKNOWN}
    assert State.PROBLEM is found["broker"]
    assert {"topics", "clock", "rights"} == unknown
    assert State.OK is found["schemas"]
    assert found["disk"] in (State.OK, State.PROBLEM)  # whatever this machine has left


def test_a_broker_that_is_silent_is_an_error_of_ours() -> None:
    """What asks the broker hands its error on, which becomes the finding."""

    def silent(*_: object, **__: object) -> Cluster:
        raise BrokerUnavailable("Expected a broker, was none")

    with pytest.raises(BrokerUnavailable):
        doctor.broker(HERE, FILE, silent)
