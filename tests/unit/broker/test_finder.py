"""`up`, `down` and `status`: the order of the ways, and what happens where one is barred."""

import json
from pathlib import Path

import pytest

from pipeline import broker
from pipeline.broker import Broker, Cluster, Completed
from pipeline.errors import BrokerUnavailable, ConfigurationError, UsageError
from pipeline.settings import Settings, load_settings
from tests.unit.broker.fakes import FakeMachine, java, maven


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings without a broker, with a home of the test's own."""
    return load_settings(broker=None, home=tmp_path / "home")


def up(settings: Settings, machine: FakeMachine, tmp_path: Path) -> Broker:
    """Call `up` with the pretended machine."""
    return broker.up(settings, machine=machine, ask=machine.probe, cache=tmp_path / "cache")


def test_set_broker_wins(settings: Settings, tmp_path: Path) -> None:
    """CASCADE_BROKER comes before everything else, with its TLS properties."""
    asked: list[object] = []

    def ask(bootstrap: str, *, timeout_s: float, properties: object) -> Cluster:
        asked.extend([bootstrap, timeout_s > 0, properties])
        return Cluster("abc", 3)

    given = settings.model_copy(update={"broker": "h:1", "kafka": {"security.protocol": "SSL"}})

    actual = broker.up(given, machine=FakeMachine(java=java, mvn=maven), ask=ask)

    assert Broker("h:1", "external", cluster_id="abc") == actual
    assert ["h:1", True, {"security.protocol": "SSL"}] == asked
    assert not (tmp_path / "home").exists()


def test_set_broker_that_is_silent_is_an_error(settings: Settings, tmp_path: Path) -> None:
    """A broker that is set and does not answer is never replaced by another."""
    machine = FakeMachine(java=java, mvn=maven)

    with pytest.raises(BrokerUnavailable):
        up(settings.model_copy(update={"broker": "127.0.0.1:9092"}), machine, tmp_path)

    assert {} == machine.processes


def test_java_and_maven_come_before_docker(settings: Settings, tmp_path: Path) -> None:
    """With Java and Maven at hand a local process is started and Docker is not asked to."""
    machine = FakeMachine(java=java, mvn=maven, docker=lambda _: Completed(1, "no such object"))

    actual = up(settings, machine, tmp_path)

    assert ("local", "127.0.0.1:9092", "4.3.0") == (
        actual.kind,
        actual.bootstrap,
        actual.kafka_version,
    )
    assert actual.pid in machine.processes
    assert not [line for line in machine.commands if line[:2] == ["docker", "run"]]


def test_up_twice_starts_one(settings: Settings, tmp_path: Path) -> None:
    """A second `up` returns the broker that runs."""
    machine = FakeMachine(java=java, mvn=maven)

    expected = up(settings, machine, tmp_path)
    actual = up(settings, machine, tmp_path)

    assert expected == actual
    assert 1 == len(machine.processes)


def test_no_way_names_all_three(settings: Settings, tmp_path: Path) -> None:
    """Where no way leads to a broker the error names each way and what bars it."""
    machine = FakeMachine(docker=lambda _: Completed(1, "Cannot connect to the Docker daemon"))

    with pytest.raises(ConfigurationError) as caught:
        up(settings, machine, tmp_path)

    text = str(caught.value)
    for part in ("CASCADE_BROKER", "there is no java on PATH", "Cannot connect to the Docker"):
        assert part in text


def test_docker_without_image_counts_as_absent(settings: Settings, tmp_path: Path) -> None:
    """An engine that has no image and can pull none says so and is passed over."""

    def docker(command: list[str]) -> Completed:
        answers = {"version": Completed(0, "28.0"), "pull": Completed(1, "no route to registry")}
        return answers.get(command[1], Completed(1, "No such image"))

    machine = FakeMachine(docker=docker)

    with pytest.raises(ConfigurationError, match=r"cannot pull it \(no route to registry\)"):
        up(settings, machine, tmp_path)


def test_failed_fetch_goes_on_to_docker(settings: Settings, tmp_path: Path) -> None:
    """Where Maven cannot fetch Kafka, Docker is tried, and the reason is told."""
    notices: list[str] = []
    machine = FakeMachine(
        java=java,
        mvn=lambda _: Completed(1, "[INFO] x\n[ERROR] Could not transfer artifact"),
        docker=lambda _: Completed(1, "no daemon"),
    )

    with pytest.raises(ConfigurationError, match="Could not transfer artifact"):
        broker.up(
            settings,
            machine=machine,
            ask=machine.probe,
            cache=tmp_path / "cache",
            notice=notices.append,
        )

    assert "Could not transfer artifact" in notices[-1]
    assert [] == list((tmp_path / "cache").iterdir())


def test_home_that_cannot_be_written_says_what_to_do(settings: Settings, tmp_path: Path) -> None:
    """A home below a file is an error that names the path and CASCADE_HOME."""
    (tmp_path / "file").touch()
    barred = settings.model_copy(update={"home": tmp_path / "file" / "home"})

    with pytest.raises(ConfigurationError, match=r"Expected to write to .*file.*CASCADE_HOME"):
        up(barred, FakeMachine(java=java, mvn=maven), tmp_path)


def test_down_stops_what_runs_and_only_once(settings: Settings, tmp_path: Path) -> None:
    """`down` ends the broker's process and is no error where none runs."""
    machine = FakeMachine(java=java, mvn=maven)
    started = up(settings, machine, tmp_path)

    assert [True, False] == [
        broker.down(settings, machine=machine, ask=machine.probe) for _ in range(2)
    ]
    assert [(started.pid, False)] == machine.signals


def test_down_kills_what_does_not_end(settings: Settings, tmp_path: Path) -> None:
    """A process that ignores SIGTERM gets SIGKILL after a while."""
    machine = FakeMachine(java=java, mvn=maven)
    started = up(settings, machine, tmp_path)
    machine.deaf_to_terminate = True

    assert broker.down(settings, machine=machine, ask=machine.probe)

    assert [(started.pid, False), (started.pid, True)] == machine.signals


def test_down_refuses_a_broker_that_is_not_ours(settings: Settings) -> None:
    """With nothing of ours running, the broker of CASCADE_BROKER is left alone, with an error."""
    given = settings.model_copy(update={"broker": "h:1"})

    with pytest.raises(UsageError, match="h:1"):
        broker.down(given, machine=FakeMachine())


def test_status_starts_nothing(settings: Settings, tmp_path: Path) -> None:
    """`status` says that none runs, and shows the one that does."""
    machine = FakeMachine(java=java, mvn=maven)
    assert broker.status(settings, machine=machine, ask=machine.probe).broker is None
    assert {} == machine.processes

    expected = up(settings, machine, tmp_path)

    assert expected == broker.status(settings, machine=machine, ask=machine.probe).broker


def test_status_of_a_silent_broker_says_why(settings: Settings, tmp_path: Path) -> None:
    """A process that runs and does not answer is no broker, and the detail names its pid."""
    machine = FakeMachine(java=java, mvn=maven)
    started = up(settings, machine, tmp_path)
    (settings.home / "broker/data/meta.properties").rename(tmp_path / "elsewhere")

    actual = broker.status(settings, machine=machine, ask=machine.probe)

    assert actual.broker is None
    assert f"process {started.pid}" in actual.detail


def test_broker_goes_through_json(tmp_path: Path) -> None:
    """A broker's dict holds only what JSON takes."""
    found = Broker("h:1", "local", pid=3, data_dir=tmp_path)

    actual = json.loads(json.dumps(found.to_dict()))

    assert {"bootstrap": "h:1", "kind": "local", "pid": 3, "data_dir": str(tmp_path)} == {
        name: value for name, value in actual.items() if value is not None
    }
