"""A real Kafka with TLS, SASL and ACLs: every way in, and what happens without a right."""

import contextlib
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka import KafkaError, Producer

from pipeline.broker import probe
from pipeline.clock import WallClock
from pipeline.control.log import TOPIC, KafkaControlLog, fold
from pipeline.control.state import TradingState
from pipeline.control.writer import ControlWriter, new_command
from pipeline.errors import AccessDenied, SignatureRefused
from pipeline.events import EventBus
from pipeline.market.publisher import Publisher
from pipeline.packets.codec import encode
from pipeline.packets.events import ControlKind
from pipeline.settings import Settings
from pipeline.stages.routes import ROUTES
from pipeline.transport.admission import check_rights
from tests.kafka_workers import Worker
from tests.security.ground import Ground
from tests.security.secured_broker import ADMIN, SecuredBroker, secured_broker

pytestmark = [pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredBroker]:
    """A secured broker for these tests."""
    with secured_broker(tmp_path_factory.mktemp("secured") / "kafka") as broker:
        yield broker


@pytest.fixture(scope="module")
def ground(secured: SecuredBroker, tmp_path_factory: pytest.TempPathFactory) -> Ground:
    """A namespace on it, trading allowed."""
    ground = Ground(secured, "secured", tmp_path_factory.mktemp("ground"))
    _give(ground.of("operator"), ControlKind.BOOTSTRAP)
    return ground


def _give(settings: Settings, kind: ControlKind) -> int:
    command = new_command(kind, author=settings.role, reason="test", clock=WallClock())
    return ControlWriter(settings).issue(command)


Login = Callable[[SecuredBroker], tuple[str, dict[str, str]]]
_LOGINS: dict[str, Login] = {
    "PLAIN": lambda broker: (broker.bootstrap, broker.login(ADMIN, "PLAIN")),
    "SCRAM": lambda broker: (broker.bootstrap, broker.login("alice")),
    "OAUTHBEARER": lambda broker: (broker.bootstrap, broker.bearer("alice")),
    "mTLS": lambda broker: (broker.mtls, broker.certificate("alice")),
}


@pytest.mark.parametrize("name", list(_LOGINS))
def test_every_kind_of_client_comes_in(ground: Ground, name: str) -> None:
    """Admin, producer, consumer and group of the project, each by settings alone."""
    broker = ground.broker
    if "alice" not in broker.passwords:
        broker.add_users("alice")
        topic, group = f"{ground.namespace}.cascade.", ground.namespace
        for operation in ("read", "write", "describe"):
            broker.allow(("User:alice", "topic", "prefixed", topic, operation))
        broker.allow(("User:alice", "group", "prefixed", group, "read"))
    bootstrap, login = _LOGINS[name](broker)
    settings = ground.settings(broker=bootstrap, kafka=login)
    assert probe(bootstrap, timeout_s=30.0, properties=settings.connection()).brokers == 1
    check_rights(settings, ROUTES["risk"].spec, timeout_s=60.0)
    assert fold(settings, timeout_s=60.0).epoch >= -1
    with (
        EventBus(settings=settings, connect_timeout_s=60.0) as bus,
        bus.subscribe("cascade.emergency", lambda _: None) as subscription,
    ):
        subscription.ready(60.0)
    Publisher(settings)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"sasl.password": "hunter2"}, "SASL_SSL SCRAM-SHA-512"),
        ({"ssl.ca.location": "other"}, "certificate"),
    ],
)
def test_a_login_that_is_refused_is_named_and_its_secret_is_not(
    ground: Ground, tmp_path: Path, changes: dict[str, str], what: str
) -> None:
    """Protocol, principal and reason; nobody waits for a broker that will never answer."""
    if "ssl.ca.location" in changes:
        from tests.security.certificates import Authority

        changes = {"ssl.ca.location": str(Authority(tmp_path).file)}
    settings = ground.of("operator", kafka=changes)
    with pytest.raises(AccessDenied, match=what) as caught:
        probe(ground.broker.bootstrap, timeout_s=20.0, properties=settings.connection())
    assert settings.principal in str(caught.value)
    assert "hunter2" not in str(caught.value)
    with pytest.raises(AccessDenied, match=what):
        check_rights(settings, ROUTES["risk"].spec, timeout_s=20.0)


def test_each_worker_has_the_rights_that_it_needs(ground: Ground) -> None:
    """What the topics file gives a role is what its code asks for."""
    from pipeline.gateway.worker import GATEWAY_LOG

    for spec in (*(route.spec for route in ROUTES.values()), GATEWAY_LOG):
        check_rights(ground.of(spec.stage), spec, timeout_s=60.0)


def test_a_worker_of_another_role_ends_with_what_it_lacks(ground: Ground) -> None:
    """It names right, topic and principal, and does not wait for partitions for ever."""
    strategic, tactical = ground.of("strategic"), ground.of("tactical")
    with pytest.raises(AccessDenied) as caught:
        check_rights(strategic, ROUTES["tactical"].spec, timeout_s=60.0)
    assert "secured.strategic to have" in str(caught.value)
    assert "secured.cascade.tactical" in str(caught.value)
    worker = Worker("pipeline.stages.strategic", tactical, 1)
    try:
        assert worker.wait_for_end(120.0) != 0
    finally:
        worker.kill()
    assert "Expected the principal secured.tactical to have" in worker.log


def test_a_stolen_strategic_credential_writes_no_plans_and_no_commands(ground: Ground) -> None:
    """The broker refuses both."""
    thief = ground.of("strategic", signed=False)
    assert _written(thief, "cascade.execution") == KafkaError.TOPIC_AUTHORIZATION_FAILED
    assert _written(thief, TOPIC) == KafkaError.TOPIC_AUTHORIZATION_FAILED
    assert _written(thief, "cascade.strategic") is None
    with pytest.raises(AccessDenied, match=r"WRITE on the topic secured\.cascade\.control"):
        _give(thief, ControlKind.HALT)
    assert fold(ground.of("operator"), timeout_s=60.0).trading_state is TradingState.ACTIVE


def test_who_may_write_and_cannot_sign_commands_nothing(ground: Ground) -> None:
    """A halt without a signature is void, and nobody signs one with a key for plans."""
    before = fold(ground.of("operator"), timeout_s=60.0).refused.keys()
    command = new_command(ControlKind.HALT, author="operator", reason="forged", clock=WallClock())
    unsigned = ground.of("operator", signed=False)
    assert _written(unsigned, TOPIC, encode(command)) is None
    wrong = ground.of("operator", signing_key=ground.credentials / "execution" / "signing.key")
    with pytest.raises(SignatureRefused, match="for plans"):
        _give(wrong, ControlKind.HALT)
    machine = fold(ground.of("gateway"), timeout_s=60.0)
    assert machine.trading_state is TradingState.ACTIVE
    (epoch,) = machine.refused.keys() - before
    assert "Expected a signature, was none" in machine.refused[epoch]


def test_a_signed_halt_halts_and_a_copy_of_it_does_not(ground: Ground) -> None:
    """Whoever reads the control log cannot play it again."""
    operator = ground.of("operator")
    epoch = _give(operator, ControlKind.HALT)
    assert fold(operator, timeout_s=60.0).trading_state is TradingState.HALTED
    lifting = new_command(
        ControlKind.RESUME, author="operator", reason="test", clock=WallClock(), lifts_epoch=epoch
    )
    ControlWriter(operator).issue(lifting)
    value, headers = _record(operator, epoch)
    assert _written(operator, TOPIC, value, headers) is None
    machine = fold(operator, timeout_s=60.0)
    assert machine.trading_state is TradingState.ACTIVE
    assert any("once" in why for why in machine.refused.values())


def _written(
    settings: Settings, topic: str, value: bytes | None = None, headers: object = None
) -> int | None:
    """Write a record as anybody can who has the credentials; return the code of its failure."""
    codes: list[int | None] = []
    producer = Producer(settings.client(message_timeout_ms=60_000))
    producer.produce(
        settings.topic(topic), value or uuid.uuid4().bytes, partition=0,
        headers=headers,  # type: ignore[arg-type]  # as they were read
        on_delivery=lambda error, _: codes.append(error.code() if error else None),
    )  # fmt: skip
    producer.flush(70.0)
    return codes[0]


def _record(settings: Settings, epoch: int) -> tuple[bytes, object]:
    """Return value and headers of a record of the control log."""
    log = KafkaControlLog(settings, "test")
    with contextlib.closing(log):
        consumer = log._consumer
        while True:
            message = consumer.poll(60.0)
            assert message is not None, "Expected the record, was none"
            if message.error() is None and message.offset() == epoch:
                return message.value() or b"", message.headers()
