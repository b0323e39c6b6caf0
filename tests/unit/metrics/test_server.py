"""`/metrics` of a process: on loopback, on ports that do not clash, where Prometheus finds it."""

import json
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.request import urlopen

import pytest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families

from pipeline.errors import ConfigurationError
from pipeline.metrics import ROLES, Exporter
from pipeline.metrics.families import gauge
from pipeline.settings import Settings, load_settings


class _Figures:
    def __init__(self, number: float) -> None:
        self._number = number

    def collect(self) -> Iterator[Metric]:
        yield gauge("cascade_test_seconds", "For a test.", ("stage",), [(("a",), self._number)])


def _settings(home: Path, **changes: object) -> Settings:
    return load_settings(home=home, **changes)


def _scrape(port: int | None) -> dict[str, float]:
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:  # loopback
        text = answer.read().decode()
    return {
        sample.name: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_figures_are_read_when_they_are_asked_for(tmp_path: Path) -> None:
    """What a collector says, and what is known of the process, is there for Prometheus."""
    with closing(Exporter(_settings(tmp_path))) as exporter:
        exporter.attach("risk", _Figures(2.0))
        found = _scrape(exporter.port)
    assert 2.0 == found["cascade_test_seconds"]
    assert found["process_resident_memory_bytes"] > 0.0
    assert 1.0 == found["cascade_build_info"]


def test_a_role_that_comes_again_takes_the_place_of_itself(tmp_path: Path) -> None:
    """A stage that is made anew in a process does not stand in its own way."""
    with closing(Exporter(_settings(tmp_path))) as exporter:
        exporter.attach("risk", _Figures(2.0))
        exporter.attach("risk", _Figures(3.0))
        assert 3.0 == _scrape(exporter.port)["cascade_test_seconds"]


def test_prometheus_finds_it_by_its_file(tmp_path: Path) -> None:
    """The file is what `file_sd_configs` reads, and is gone with the server."""
    settings = _settings(tmp_path, namespace="n")
    exporter = Exporter(settings)
    exporter.attach("risk")
    exporter.attach("execution")
    (path,) = (tmp_path / "metrics" / "n").glob("*.json")
    assert [
        {
            "targets": [f"127.0.0.1:{exporter.port}"],
            "labels": {"role": "risk-execution", "namespace": "n"},
        }
    ] == json.loads(path.read_text())
    exporter.close()
    assert not path.exists()


def test_what_dead_processes_left_is_taken_away(tmp_path: Path) -> None:
    """A worker that was killed leaves its file; the next one that starts removes it."""
    folder = tmp_path / "metrics" / "default"
    folder.mkdir(parents=True)
    left = folder / "4194305.json"  # beyond the highest process id of Linux
    left.write_text("[]")
    with closing(Exporter(_settings(tmp_path))) as exporter:
        exporter.attach("risk")
        assert not left.exists()


def test_each_role_has_its_port_and_workers_of_one_role_do_not_clash(tmp_path: Path) -> None:
    """With a first port set, a role's place is its port; the second worker is ten further on."""
    first = _free_port() - ROLES.index("risk")
    settings = _settings(tmp_path, metrics_port=first)
    with closing(Exporter(settings)) as one, closing(Exporter(settings)) as other:
        one.attach("risk")
        other.attach("risk")
        assert one.port == first + ROLES.index("risk")
        assert other.port is not None
        assert 0 == (other.port - one.port) % 10
        assert other.port > one.port


def test_it_can_be_off(tmp_path: Path) -> None:
    """With -1 nothing listens, and no file says otherwise."""
    exporter = Exporter(_settings(tmp_path, metrics_port=-1))
    exporter.attach("risk", _Figures(1.0))
    assert exporter.port is None
    assert [] == list(tmp_path.rglob("*.json"))


@pytest.mark.parametrize("port", [-2, 70_000])
def test_a_port_that_cannot_be_is_refused(tmp_path: Path, port: int) -> None:
    """The setting names itself in the error."""
    with pytest.raises(ConfigurationError, match="metrics_port"):
        _settings(tmp_path, metrics_port=port)
