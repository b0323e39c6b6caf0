"""What peers need beside this project: a Python environment of their own, a Maven build."""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from pipeline.broker import ThisMachine
from pipeline.broker.artifacts import default_cache, java
from pipeline.errors import ConfigurationError
from pipeline.resources import resource

__all__ = ["java_command", "project_root", "python_of"]

_TIMEOUT_S = 600.0
_DONE = "complete"


def project_root() -> Path:
    """Return the folder that `pipeline` is imported from."""
    return Path(__file__).resolve().parents[2]


def python_of(name: str, say: Callable[[str], None]) -> str:
    """Return the interpreter of a peer's environment, made where it is missing.

    Args:
        name: Name of its file under `scripts/bench-requirements/`.
        say: Told in a sentence what takes long.

    Raises:
        ConfigurationError: Outside a checkout, or if the packages cannot be had.
    """
    requirements = project_root() / "scripts" / "bench-requirements" / f"{name}.txt"
    if not requirements.exists():
        raise ConfigurationError(
            f"Expected {requirements}, was not there. Peers are measured from a checkout."
        )
    folder = default_cache() / f"bench-{name}-{_digest([requirements], sys.version)}"
    python = folder / "bin" / "python"
    if not (folder / _DONE).exists():
        say(f"Making an environment for {name} in {folder}, once.")
        shutil.rmtree(folder, ignore_errors=True)
        _run([sys.executable, "-m", "venv", str(folder)])
        pip = [str(python), "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
        _run([*pip, "--requirement", str(requirements)])
        (folder / _DONE).touch()
    return str(python)


def java_command(say: Callable[[str], None]) -> list[str]:
    """Return the command that runs `docker/bench`, built by Maven where that was not done.

    Raises:
        ConfigurationError: Without Java 17 or Maven, or if Maven fails.
    """
    project = resource("docker/bench")
    machine = ThisMachine()
    program = java(machine)
    maven = machine.which("mvn")
    sources = [project / "pom.xml", *sorted(project.rglob("*.java"))]
    folder = default_cache() / f"bench-streams-{_digest(sources, '')}"
    if not (folder / _DONE).exists():
        if maven is None:
            raise ConfigurationError("Expected mvn on PATH, was none: install Maven")
        say(f"Building Kafka Streams with Maven in {folder}, once.")
        shutil.rmtree(folder, ignore_errors=True)
        build = [maven, "-q", "-B", "--strict-checksums", "-f", str(project / "pom.xml")]
        build += ["compile", "dependency:copy-dependencies"]
        _run([*build, f"-DoutputDirectory={folder / 'jars'}", f"-Dbench.directory={folder}"])
        (folder / _DONE).touch()
    return [program, "-Xmx512m", "-cp", f"{folder / 'classes'}{os.pathsep}{folder / 'jars'}/*"]


def _digest(files: Sequence[Path], more: str) -> str:
    found = hashlib.sha256(more.encode())
    for file in files:
        found.update(file.read_bytes())
    return found.hexdigest()[:8]


def _run(command: Sequence[str]) -> None:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConfigurationError(f"Expected {command[0]} to run, was: {error}") from error
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines()[-3:]
        raise ConfigurationError(f"Expected {' '.join(command[:4])} to work, was: {' '.join(said)}")
