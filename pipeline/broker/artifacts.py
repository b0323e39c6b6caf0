"""Java, and the jars of Apache Kafka: found, or copied once by Maven into a cache."""

import hashlib
import json
import os
import re
import shutil
from pathlib import Path

import psutil

from pipeline.broker.machine import Machine
from pipeline.broker.model import Notice, WayAbsent, refused
from pipeline.errors import ConfigurationError

__all__ = ["default_cache", "java", "kafka_jars", "kafka_version"]

_LEAST_JAVA = 17
_FETCH_TIMEOUT_S = 600
_MANIFEST = "complete.json"


def default_cache() -> Path:
    """Return the folder for jars: one per user, so that each is fetched only once."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "marl-cascade"


def kafka_version(pom: Path) -> str:
    """Return the version of Kafka that a `pom.xml` names."""
    found = re.search(r"<kafka\.version>([^<]+)</kafka\.version>", pom.read_text())
    if found is None:
        raise ConfigurationError(f"Expected <kafka.version> at {pom}, was missing. Restore it.")
    return found[1]


def java(machine: Machine) -> str:
    """Return the path of a Java of at least version 17.

    Raises:
        WayAbsent: There is none.
    """
    path = machine.which("java")
    if path is None:
        raise WayAbsent("there is no java on PATH: install Java 17 or later")
    said = machine.run([path, "-version"], timeout_s=20)
    found = re.search(r'version "(\d+)(?:\.(\d+))?', said.output)
    if said.code != 0 or found is None:
        raise WayAbsent(f"{path} does not run ({_last_line(said.output)}): reinstall it")
    # Up to Java 8 versions read 1.8.
    major = int(found[2] or 0) if found[1] == "1" else int(found[1])
    if major < _LEAST_JAVA:
        raise WayAbsent(f"{path} is Java {major}: install Java {_LEAST_JAVA} or later")
    return path


def kafka_jars(machine: Machine, pom: Path, cache: Path, notice: Notice) -> Path:
    """Return a folder with the jars that a `pom.xml` names, all complete.

    Steps:
        1. A folder whose manifest fits its files is used as it is.
        2. Else Maven copies the jars into a folder of another name.
        3. The manifest is written, then the folder renamed: what is half done is never used.

    Raises:
        WayAbsent: The jars are not there and Maven is missing or cannot fetch them.
        ConfigurationError: The cache cannot be written.
    """
    version = kafka_version(pom)
    digest = hashlib.sha256(pom.read_bytes()).hexdigest()[:8]
    jars = cache / f"kafka-{version}-{digest}"
    # Step 1
    if _complete(jars):
        return jars
    maven = machine.which("mvn")
    if maven is None:
        raise WayAbsent("there is no mvn on PATH: install Maven")
    try:
        part = _clean_part(cache, jars)
        # Step 2
        notice(f"Fetching Apache Kafka {version} with Maven, about 45 MB, once, into {jars} ...")
        fetch = [
            *(maven, "-q", "-B", "--strict-checksums", "-f", str(pom)),
            *("dependency:copy-dependencies", f"-DoutputDirectory={part}"),
        ]
        done = machine.run(fetch, timeout_s=_FETCH_TIMEOUT_S)
        if done.code != 0 or not list(part.glob("*.jar")):
            shutil.rmtree(part, ignore_errors=True)
            raise WayAbsent(f"Maven could not fetch Kafka {version}: {_first_error(done.output)}")
        # Step 3
        _seal(part)
        return _install(part, jars)
    except OSError as error:
        raise refused(cache, error) from error


def _clean_part(cache: Path, jars: Path) -> Path:
    """Return a fresh folder to fetch into; what interrupted runs left behind is gone."""
    part = cache / f"{jars.name}.part-{os.getpid()}"
    cache.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(part, ignore_errors=True)
    for old in cache.glob(f"{jars.name}.part-*"):
        if not psutil.pid_exists(int(old.name.rpartition("-")[2])):
            shutil.rmtree(old, ignore_errors=True)
    part.mkdir()
    return part


def _install(part: Path, jars: Path) -> Path:
    if not _complete(jars):  # another process may have been faster
        shutil.rmtree(jars, ignore_errors=True)
        part.rename(jars)
    shutil.rmtree(part, ignore_errors=True)
    return jars


def _seal(folder: Path) -> None:
    files = {path.name: _sha256(path) for path in sorted(folder.glob("*.jar"))}
    (folder / _MANIFEST).write_text(json.dumps({"sha256": files}, indent=1))


def _complete(folder: Path) -> bool:
    try:
        files = json.loads((folder / _MANIFEST).read_text())["sha256"]
        return bool(files) and all(_sha256(folder / name) == sha for name, sha in files.items())
    except (OSError, ValueError, KeyError):
        return False


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _first_error(output: str) -> str:
    errors = [line for line in output.splitlines() if "ERROR" in line]
    return (errors or [_last_line(output)])[0].replace("[ERROR]", "").strip()[:300]


def _last_line(output: str) -> str:
    return (output.splitlines() or ["no output"])[-1].strip()[:300]
