"""`cascade dlq replay` and `discard` on a real Kafka: all gates again, and a note of who did it."""

import json
from typing import Any

from click.testing import CliRunner, Result
from confluent_kafka import Message
from msgspec.structs import replace

from pipeline.cli import main
from pipeline.packets.codec import encode
from pipeline.packets.models import Journal, Outcome, StrategicSignal
from pipeline.packets.vocabulary import OutcomeKind
from pipeline.replay import DeadRecord, collect
from pipeline.settings import Settings
from pipeline.stages.fates import Fate
from tests.kafka_workers import (
    StartWorker,
    as_bytes,
    end_offsets,
    market_data,
    read_topic,
    send,
    wait_until,
)

_KEY = b"one key"
_WHO = ("--author", "mary", "--reason", "schema mended")


class _Dlq:
    """The command, and what stands in the topics."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._env = {
            "CASCADE_BROKER": settings.broker or "",
            "CASCADE_NAMESPACE": settings.namespace,
            "CASCADE_HOME": str(settings.home),
        }

    def run(self, *arguments: str) -> Result:
        return CliRunner().invoke(main, ["dlq", *arguments], env=self._env)

    def json(self, *arguments: str) -> Any:
        return json.loads(self.run(*arguments, "--json").stdout)

    def letters(self, topic: str = "cascade.market.dead") -> dict[str, DeadRecord]:
        messages = [m for ms in read_topic(self.settings, topic).values() for m in ms]
        return {str(each.coordinates): each for each in collect(messages).records}

    def market(self) -> dict[str, tuple[bytes | None, bytes | None, dict[str, bytes]]]:
        """Return key, value and headers of the records of market data, by coordinates."""
        return {
            f"cascade.market:{partition}:{message.offset()}": (
                as_bytes(message.key()),
                as_bytes(message.value()),
                _headers(message),
            )
            for partition, messages in read_topic(self.settings, "cascade.market").items()
            for message in messages
        }


def _headers(message: Message) -> dict[str, bytes]:
    found = message.headers() or []
    assert isinstance(found, list)
    return {name: as_bytes(value) or b"" for name, value in found}


def test_letters_pass_all_gates_again(run_settings: Settings, start_worker: StartWorker) -> None:
    """Poison stays poison and a duplicate a duplicate, with bytes unchanged and a note behind."""
    dlq = _Dlq(run_settings)
    packet = encode(market_data("IBM", 0, run_settings))
    send(run_settings, "cascade.market", [(_KEY, packet), (_KEY, b"poison"), (_KEY, packet)])
    start_worker("strategic", run_settings)
    wait_until(lambda: len(dlq.letters()) == 2, "two dead letters")
    causes = {each.letter.error_class: name for name, each in dlq.letters().items()}
    assert causes.keys() == {Fate.MALFORMED, Fate.DUPLICATE}

    before = dlq.market()
    rehearsed = dlq.json("replay", "--stage", "strategic")
    assert {each["origin"] for each in rehearsed["letters"]} == set(causes.values())
    assert "dry run" in dlq.run("replay", "--stage", "strategic").stdout
    assert dlq.run("replay", "--stage", "strategic", "--execute").exit_code == 2  # by whom?
    assert before == dlq.market()

    done = dlq.json("replay", "--stage", "strategic", "--execute", *_WHO)
    targets = {each["coordinates"]: each["target"] for each in done["letters"]}
    sent = dlq.market()
    for source, target in targets.items():
        assert sent[target][:2] == before[source][:2]
        assert sent[target][2]["__cascade.replay.dead_letter"] == source.encode()
        assert sent[target][2]["__cascade.replay.author"] == b"mary"
    wait_until(lambda: len(dlq.letters()) == 4, "both dead-lettered again")
    letters = dlq.letters()
    for source, target in targets.items():
        assert letters[target].letter.error_class == letters[source].letter.error_class
        (note,) = letters[source].dispositions
        assert (note.kind, note.author, note.target) == ("replayed", "mary", target)
    assert dlq.json("list", "--limit", "0")["total"] == 2
    assert dlq.json("list", "--limit", "0", "--all")["total"] == 4


def test_a_letter_that_was_discarded_stays_and_is_not_sent(
    run_settings: Settings, start_worker: StartWorker
) -> None:
    """It is noted who discarded it and why; nothing is deleted."""
    dlq = _Dlq(run_settings)
    send(run_settings, "cascade.market", [(_KEY, b"poison")])
    start_worker("strategic", run_settings)
    wait_until(dlq.letters, "a dead letter")
    (place,) = dlq.letters()
    assert "dry run" in dlq.run("discard", place).stdout
    assert dlq.letters()[place].open
    assert dlq.run("discard", place, "--execute", *_WHO).exit_code == 0
    letter = dlq.letters()[place]
    assert (letter.discarded, letter.value) == (True, b"poison")
    assert "discarded  by mary" in dlq.run("show", place).stdout
    refused = dlq.run("replay", place, "--execute", *_WHO)
    assert (refused.exit_code, "it was discarded" in refused.stdout) == (1, True)
    assert sum(end_offsets(run_settings, "cascade.market").values()) == 1
    assert dlq.run("discard", "cascade.market:0:77", "--execute", *_WHO).exit_code == 1
    assert dlq.run("replay").exit_code == 1  # nothing named


def test_a_later_stage_s_letter_goes_back_to_its_market_data(run_settings: Settings) -> None:
    """A log has one writer: what is sent again is the record that the flow began with."""
    dlq = _Dlq(run_settings)
    data = market_data("IBM", 0, run_settings)
    send(run_settings, "cascade.market", [(_KEY, encode(data))])
    ((source, (_, value, _)),) = dlq.market().items()
    partition, offset = (int(part) for part in source.split(":")[1:])
    journal = Journal(
        0, 1, "cascade.market", partition, offset, -1, -1, offset + 1, -1, -1, 5, 0, "o", "b"
    )
    outcome = Outcome(OutcomeKind.DEAD_LETTERED, "tactical", (Fate.POLICY_FAILED,))
    signal = StrategicSignal(journal, replace(data.envelope, outcome=outcome), data.bar)
    fields = {
        "topic": "cascade.strategic", "partition": "0", "offset": "3", "timestamp": "1",
        "group": "cascade.tactical", "stage": "tactical", "class": "POLICY_FAILED",
        "message": "no", "attempt": "1", "first_seen": "1", "packet_id": "p",
    }  # fmt: skip
    headers: list[tuple[str, str | bytes | None]] = [
        (f"__cascade.errors.{name}", text.encode()) for name, text in fields.items()
    ]
    send(run_settings, "cascade.strategic.dead", [(b"k", encode(signal))], headers)
    (letter,) = dlq.json("replay", "cascade.strategic:0:3", "--execute", *_WHO)["letters"]
    assert letter["origin"] == source
    assert dlq.market()[letter["target"]][:2] == (_KEY, value)
    assert dlq.letters("cascade.strategic.dead")["cascade.strategic:0:3"].attempts == 1
