"""The local broker: Java, jars, ports, data, and a process that fails."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.broker import Broker, Cluster, Completed
from pipeline.broker.local import LocalBroker
from pipeline.errors import BrokerUnavailable, ConfigurationError
from pipeline.resources import resource
from tests.unit.broker.fakes import FakeMachine, java, maven

Make = Callable[[FakeMachine], LocalBroker]


@pytest.fixture
def notices() -> list[str]:
    """What the broker told."""
    return []


@pytest.fixture
def make(tmp_path: Path, notices: list[str]) -> Make:
    """Return a factory of local brokers that share one folder and one cache."""

    def _make(machine: FakeMachine) -> LocalBroker:
        return LocalBroker(
            tmp_path / "broker",
            resource("docker/kafka/pom.xml"),
            machine=machine,
            probe=machine.probe,
            notice=notices.append,
            cache=tmp_path / "cache",
        )

    return _make


def start_and_stop(make: Make) -> Broker:
    """Leave a formatted folder without a process behind."""
    local = make(FakeMachine(java=java, mvn=maven))
    started = local.start()
    local.stop()
    return started


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (Completed(0, 'openjdk version "11.0.2" 2019-01-15'), "Java 11"),
        (Completed(0, 'java version "1.8.0_392"'), "Java 8"),
        (Completed(1, "error while loading shared libraries"), "does not run"),
        (Completed(124, "no answer within 20 s"), "does not run"),
    ],
)
def test_java_that_cannot_run_kafka_is_absent(make: Make, said: Completed, expected: str) -> None:
    """A Java that is too old or broken bars the way and is named."""
    with pytest.raises(ConfigurationError, match=expected):
        make(FakeMachine(java=lambda _: said, mvn=maven)).start()


def test_jars_are_fetched_once(make: Make) -> None:
    """A second start uses the jars of the first, and needs no Maven."""
    start_and_stop(make)
    machine = FakeMachine(java=java)

    make(machine).start()

    assert not [line for line in machine.commands if "dependency:copy-dependencies" in line]


def test_half_finished_download_is_fetched_again(make: Make, tmp_path: Path) -> None:
    """Jars without manifest, as an interrupted copy leaves them, are not used."""
    start_and_stop(make)
    jars = next((tmp_path / "cache").iterdir())
    (jars / "complete.json").unlink()
    abandoned = jars.with_name(f"{jars.name}.part-999999999")
    abandoned.mkdir()
    machine = FakeMachine(java=java, mvn=maven)

    make(machine).start()

    assert [jars] == list((tmp_path / "cache").iterdir())
    assert (jars / "complete.json").exists()


def test_damaged_jar_is_fetched_again(make: Make, tmp_path: Path) -> None:
    """A jar whose checksum differs from the manifest's makes the folder worthless."""
    start_and_stop(make)
    jar = next((tmp_path / "cache").glob("*/kafka.jar"))
    jar.write_bytes(b"cut")

    make(FakeMachine(java=java, mvn=maven)).start()

    assert b"jar" == jar.read_bytes()


def test_cache_that_cannot_be_written_says_what_to_do(make: Make, tmp_path: Path) -> None:
    """A cache below a file is an error that names the path."""
    (tmp_path / "cache").touch()

    with pytest.raises(ConfigurationError, match=r"Expected to write to .*cache"):
        make(FakeMachine(java=java, mvn=maven)).start()


def test_taken_ports_are_passed_over(make: Make, tmp_path: Path) -> None:
    """Ports in use, the controller's too, are replaced by free ones, each its own."""
    machine = FakeMachine(java=java, mvn=maven)
    machine.taken_ports = {9092, 9093}

    started = make(machine).start()

    properties = (tmp_path / "broker/server.properties").read_text()
    assert "127.0.0.1:40001" == started.bootstrap
    assert "controller.quorum.voters=1@127.0.0.1:40002\n" in properties


def test_broker_listens_on_this_machine_only(make: Make, tmp_path: Path) -> None:
    """Every listener is bound to 127.0.0.1, and no topic is made unasked."""
    make(FakeMachine(java=java, mvn=maven)).start()

    properties = dict(
        line.split("=", 1)
        for line in (tmp_path / "broker/server.properties").read_text().splitlines()
    )
    for listener in properties["listeners"].split(","):
        assert "://127.0.0.1:" in listener
    assert "false" == properties["auto.create.topics.enable"]
    assert "1" == properties["transaction.state.log.min.isr"]


@pytest.mark.parametrize("lines_after", [0, 20])
def test_port_taken_meanwhile_is_chosen_again(make: Make, lines_after: int) -> None:
    """Where somebody takes the port after it was chosen, other ports are tried."""
    machine = FakeMachine(java=java, mvn=maven)
    words = "java.net.BindException: Address already in use\n" + "ERROR Another\n" * lines_after
    machine.deaths = [words]

    started = make(machine).start()

    assert started.pid in machine.processes
    assert 2 == len([line for line in machine.commands if "kafka.Kafka" in line])


def test_another_kafka_on_the_port_is_waited_out(tmp_path: Path) -> None:
    """Another Kafka that answers at the port just chosen makes ours end, and choose again."""
    machine = FakeMachine(java=java, mvn=maven)
    output = tmp_path / "broker/kafka.out"
    answers = [Cluster("another", 1), Cluster("another", 1)]

    def probe(bootstrap: str, *, timeout_s: float, properties: object = None) -> Cluster:
        if not answers:
            return machine.probe(bootstrap, timeout_s=timeout_s, properties=properties)
        if len(answers) == 1:
            machine.processes.clear()
            output.write_text("java.net.BindException: Address already in use")
        return answers.pop()

    local = LocalBroker(
        tmp_path / "broker", resource("docker/kafka/pom.xml"), machine=machine, probe=probe,
        notice=lambda _: None, cache=tmp_path / "cache",
    )  # fmt: skip

    started = local.start()

    assert started.pid in machine.processes
    assert 2 == len([line for line in machine.commands if "kafka.Kafka" in line])


def test_broker_that_dies_shows_its_last_words(make: Make) -> None:
    """A process that ends at start is an error that quotes what it printed, and is not retried."""
    machine = FakeMachine(java=java, mvn=maven)
    machine.deaths = ["first\nOutOfMemoryError: no room", "second"]

    with pytest.raises(BrokerUnavailable, match="OutOfMemoryError: no room"):
        make(machine).start()

    assert ["second"] == machine.deaths


def test_data_in_use_elsewhere_is_named(make: Make) -> None:
    """Data that another Kafka holds locked is an error that says so."""
    machine = FakeMachine(java=java, mvn=maven)
    machine.deaths = ["KafkaException: Failed to acquire lock on file .lock in /data."]

    with pytest.raises(BrokerUnavailable, match="Another Kafka uses"):
        make(machine).start()


def test_restart_keeps_the_cluster(make: Make) -> None:
    """Data that fits is used again, without formatting it."""
    first = start_and_stop(make)
    machine = FakeMachine(java=java, mvn=maven)

    second = make(machine).start()

    assert first.cluster_id == second.cluster_id
    assert not [line for line in machine.commands if "kafka.tools.StorageTool" in line]


def test_interrupted_format_is_done_again(make: Make, tmp_path: Path, notices: list[str]) -> None:
    """Data without record of its format and without topics is formatted anew."""
    first = start_and_stop(make)
    (tmp_path / "broker/format.json").unlink()
    notices.clear()

    second = make(FakeMachine(java=java, mvn=maven)).start()

    assert first.cluster_id != second.cluster_id
    assert [] == notices


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("format.json", '{"cluster_id": "x", "kafka_version": "4.3.0"}'),
        ("format.json", "{"),
        ("data/meta.properties", "cluster.id=somebody-elses\n"),
        ("data/meta.properties", None),
    ],
)
def test_data_that_does_not_fit_is_moved_aside(
    make: Make, tmp_path: Path, notices: list[str], file: str, content: str | None
) -> None:
    """Data with topics that belongs elsewhere is kept under another name, and that is told."""
    start_and_stop(make)
    data = tmp_path / "broker/data"
    (data / "__cluster_metadata-0").mkdir()
    (data / "topic").write_text("precious")
    if content is None:
        (tmp_path / "broker" / file).unlink()
    else:
        (tmp_path / "broker" / file).write_text(content)

    make(FakeMachine(java=java, mvn=maven)).start()

    assert "precious" == (tmp_path / "broker/data.old-1/topic").read_text()
    assert "data.old-1" in notices[-1]


@pytest.mark.parametrize(
    ("version", "kept"), [("4.3.0", True), ("4.1.2", True), ("4.10.0", False), ("3.9.0", False)]
)
def test_data_of_another_version_is_kept_if_kafka_can_open_it(
    make: Make, tmp_path: Path, version: str, kept: bool
) -> None:
    """Kafka 4.3 opens data of older 4.x; of newer or 3.x it is moved aside."""
    first = start_and_stop(make)
    record = tmp_path / "broker/format.json"
    record.write_text(record.read_text().replace("4.3.0", version))
    (tmp_path / "broker/data/__cluster_metadata-0").mkdir()

    second = make(FakeMachine(java=java, mvn=maven)).start()

    assert kept == (first.cluster_id == second.cluster_id)
    assert kept != (tmp_path / "broker/data.old-1").exists()


def test_refused_format_is_quoted(make: Make) -> None:
    """Where the storage tool fails, the error quotes it."""

    def broken(command: list[str]) -> Completed:
        return java(command) if command[1] == "-version" else Completed(1, "No space left")

    with pytest.raises(ConfigurationError, match="No space left"):
        make(FakeMachine(java=broken, mvn=maven)).start()


def test_other_kafka_on_the_port_is_no_broker_of_ours(make: Make, tmp_path: Path) -> None:
    """A broker that answers under another cluster id is refused."""
    machine = FakeMachine(java=java, mvn=maven)
    local = LocalBroker(
        tmp_path / "broker",
        resource("docker/kafka/pom.xml"),
        machine=machine,
        probe=lambda *_, **__: Cluster("stranger", 1),
        notice=lambda _: None,
        cache=tmp_path / "cache",
    )

    with pytest.raises(BrokerUnavailable, match="was stranger: another Kafka"):
        local.start()


def test_silent_process_is_reported_not_replaced(make: Make, tmp_path: Path) -> None:
    """A broker of ours that runs and does not answer within the time is an error with its pid."""
    machine = FakeMachine(java=java, mvn=maven)
    started = make(machine).start()
    (tmp_path / "broker/data/meta.properties").unlink()

    with pytest.raises(BrokerUnavailable, match=f"process {started.pid}.*cascade broker down"):
        make(machine).find(timeout_s=5)

    assert 5 <= machine.time_s
