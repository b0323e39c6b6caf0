"""The whole demo on a secured broker, each process with its own login."""

import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from typing import Any

import psutil

from pipeline.control.log import fold
from pipeline.control.state import TradingState
from pipeline.events import EventBus
from pipeline.packets.events import Alert, SecurityEvent
from pipeline.run.workers import child_environment
from pipeline.transport.clients import log_consumer, watermarks
from tests.security.attempts import Finding, forged_halt
from tests.security.ground import Ground

__all__ = ["SecuredDemo"]

_LIMIT_S = 420.0
_TOLD_S = 60.0
_LOOK_S = 0.2
_FORGE_S = 5.0
_ROLES = ("strategic", "tactical", "risk", "execution", "gateway", "market")


class SecuredDemo:
    """Runs `cascade demo` as the operator, and looks at its processes meanwhile.

    Args:
        ground: Where it runs.
        seconds: Of counted data.
        rate: Records a second.
    """

    def __init__(self, ground: Ground, seconds: float, rate: float) -> None:
        self._ground = ground
        self._json = ground.folder / "demo.json"
        self._output = ground.folder / "demo.out"
        self._command = [
            sys.executable, "-m", "pipeline.cli", "demo", "--apart",
            "--namespace", ground.namespace, "--partitions", str(ground.partitions),
            "--seconds", f"{seconds:g}", "--rate", f"{rate:g}", "--warm-up", "4",
            "--json", str(self._json), "--report", str(ground.folder / "demo.html"),
        ]  # fmt: skip
        self._forged: list[int | None] = []
        self._forge_at_s = 0.0
        self._arguments: set[str] = set()
        self._logins: dict[str, str] = {}

    def run(self) -> Finding:
        """Run it to its end; its own checks are the verdict."""
        settings = self._ground.of("operator")
        environment = child_environment(settings, os.environ)
        with self._output.open("ab") as output:
            demo = subprocess.Popen(
                self._command, env=environment, stdout=output, stderr=output,
                stdin=subprocess.DEVNULL,
            )  # fmt: skip
            try:
                self._look_on(demo)
            finally:
                if demo.poll() is None:
                    demo.terminate()
                    demo.wait(60.0)
        said = self._output.read_text(errors="replace").strip().splitlines()[-8:]
        if not self._json.exists():
            return False, " | ".join(said)
        figures: dict[str, Any] = json.loads(self._json.read_text())
        return demo.returncode == 0, _summary(figures) or " | ".join(said)

    def forged_halt(self) -> Finding:
        """See that the halt forged meanwhile did nothing, and was told to people and the audit."""
        operator = self._ground.of("operator")
        machine = fold(operator, timeout_s=_TOLD_S)
        alerts = _read(self._ground, "cascade.alerts", Alert)
        events = _read(self._ground, "cascade.security", SecurityEvent)
        alerted = sum(each.id.startswith("command-refused-") for each in alerts)
        audited = sum("in the name of operator" in each.subject for each in events)
        kept = set(self._forged) == {None} and machine.trading_state is TradingState.ACTIVE
        seen = f"{machine.trading_state}, {alerted} alert, {audited} security event"
        return kept and alerted > 0 and audited > 0, seen

    def secrets(self) -> Finding:
        """Look for passwords and keys in arguments, logs, figures, report and shown settings."""
        secrets = {*self._ground.broker.passwords.values(), "PRIVATE KEY"}
        texts = {"arguments": " ".join(self._arguments)}
        folder = self._ground.folder
        files = [each for each in folder.rglob("*") if each.is_file()]
        for file in files:
            if folder / "credentials" not in file.parents:
                texts[str(file.relative_to(folder))] = file.read_text(errors="replace")
        shown = subprocess.run(
            [sys.executable, "-m", "pipeline.cli", "config", "show", "--json"],
            env=child_environment(self._ground.of("operator"), os.environ),
            capture_output=True, text=True, check=True, timeout=120,
        )  # fmt: skip
        texts["config show"] = shown.stdout + shown.stderr
        found = [name for name, text in texts.items() if any(each in text for each in secrets)]
        seen = f"{len(secrets)} secrets looked for in {len(texts)} places, found in {len(found)}"
        return not found and len(texts) > len(_ROLES), seen + "".join(f"; {name}" for name in found)

    def logins(self) -> Finding:
        """See that each worker had its own role's login and no other."""
        expected = set(_ROLES)
        seen = set(self._logins.values())
        return seen == expected, f"{len(self._logins)} processes as {', '.join(sorted(seen))}"

    def _look_on(self, demo: "subprocess.Popen[bytes]") -> None:
        """Note arguments and roles of its processes, and forge a halt once orders may flow."""
        deadline_s = time.monotonic() + _LIMIT_S
        while demo.poll() is None and time.monotonic() < deadline_s:
            with suppress(psutil.Error):
                for process in psutil.Process(demo.pid).children(recursive=True):
                    self._note(process)
            # Again and again: what comes before the gateway has read the log is not told.
            if time.monotonic() > self._forge_at_s and self._gateway_owns():
                self._forged.append(forged_halt(self._ground.of("operator", signed=False)))
                self._forge_at_s = time.monotonic() + _FORGE_S
            time.sleep(_LOOK_S)

    def _note(self, process: psutil.Process) -> None:
        with suppress(psutil.Error):
            arguments = process.cmdline()
            self._arguments.update(arguments)
            worker = [each for each in arguments if each.startswith("pipeline.")]
            if worker and worker[0] != "pipeline.cli":  # as it is until it runs its own program
                self._logins[worker[0]] = process.environ().get("CASCADE_ROLE", "")

    def _gateway_owns(self) -> bool:
        """Say whether the gateway has taken its log over, and so reads the control log."""
        if len(self._logins) < len(_ROLES):
            return False
        consumer = log_consumer(self._ground.of("operator"), "looking-on")
        try:
            topic = f"{self._ground.namespace}.cascade.fills"
            return watermarks(consumer, topic, 0, 30.0)[1] > 0
        finally:
            consumer.close()


def _summary(figures: dict[str, Any]) -> str:
    kept = {
        name: value
        for name, value in figures.items()
        if isinstance(value, int | float | str) and not isinstance(value, bool)
    }
    return ", ".join(f"{name} {value}" for name, value in list(kept.items())[:8])


def _read(ground: Ground, topic: str, model: type[Any]) -> list[Any]:
    """Return the records of a topic so far, waiting for the first for a while."""
    found: list[Any] = []
    with (
        EventBus(settings=ground.of("operator")) as bus,
        bus.subscribe(topic, lambda each: found.append(each.packet), start="earliest"),
    ):
        deadline_s = time.monotonic() + _TOLD_S
        while not found and time.monotonic() < deadline_s:
            time.sleep(_LOOK_S)
        time.sleep(1.0)
    return [each for each in found if isinstance(each, model)]
