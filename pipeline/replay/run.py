"""The run of a replay: range by range through the stages' own code, beside history."""

import hashlib
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.garbage import collecting_rarely
from pipeline.replay.control_history import ControlHistory
from pipeline.replay.progress import Checkpoint, Tally
from pipeline.replay.range_replay import RangeReplay
from pipeline.replay.reading import TopicReader
from pipeline.replay.sandbox import Sandbox
from pipeline.replay.selection import Selection
from pipeline.replay.variants import Changes
from pipeline.settings import Settings

__all__ = ["Replay", "ReplayOptions", "checkpoint_path", "question"]

_SAVE_S = 2.0
_SLICE_S = 0.1
_MICRO = 1_000_000


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """How to replay.

    Attributes:
        changes: What to change; nothing to check that history comes out again.
        speed: Times as fast as history; None: as fast as it goes.
        sandbox: Whether to write what comes out into a sandbox namespace.
    """

    changes: Changes = field(default_factory=Changes)
    speed: float | None = None
    sandbox: bool = True


def question(settings: Settings, asked: Sequence[str], changed: Changes) -> str:
    """Return what is asked for, so that the same question goes on where it was left."""
    return "\x1f".join((settings.broker or "", settings.namespace, *asked, str(changed)))


def checkpoint_path(settings: Settings, asked: str) -> Path:
    """Return where the checkpoint of a question lies."""
    digest = hashlib.sha256(asked.encode()).hexdigest()[:16]
    return settings.home / "replay" / f"{digest}.json"


class Replay:
    """A replay; `run` carries it out, and can be interrupted and called again by another process.

    Args:
        settings: Settings as the stages' workers have them.
        selection: What to replay; not looked at where there is a checkpoint of the same question.
        options: How.
        asked: The question, from `question`.
        on_progress: Told how many offsets are done, after each chunk.
    """

    def __init__(
        self,
        settings: Settings,
        selection: Callable[[], Selection],
        options: ReplayOptions,
        asked: str,
        on_progress: Callable[[int, int], None] = lambda _done, _total: None,
    ) -> None:
        self._settings = settings
        self._options = options
        self._path = checkpoint_path(settings, asked)
        self._on_progress = on_progress
        found = Checkpoint.load(self._path)
        self.resumed = found is not None and found.asked == asked and not found.finished
        if found is None or not self.resumed:
            found = Checkpoint(secrets.token_hex(4), asked, selection(), Tally())
        self.checkpoint = found
        self._saved_s = time.monotonic()

    @property
    def tally(self) -> Tally:
        """What was found so far."""
        return self.checkpoint.tally

    def run(self) -> Tally:
        """Replay what is left; return what was found.

        Raises:
            PipelineError: If logs or snapshots cannot be read, or the sandbox cannot be written.
        """
        settings, ranges = self._settings, self.checkpoint.selection.ranges
        history = ControlHistory.read(settings)
        with collecting_rarely(), TopicReader(settings, "replay-inputs") as inputs:
            sandbox = self._sandbox(inputs) if self._options.sandbox else None
            tasks = [
                RangeReplay(settings, each, self.checkpoint, self._options.changes, history,
                             inputs, sandbox)
                for each in ranges
                if self.checkpoint.next_offset(each) < each.end
            ]  # fmt: skip
            try:
                if self._options.speed is None:
                    self._at_once(tasks, sandbox)
                else:
                    self._paced(tasks, sandbox, self._options.speed)
            finally:
                for task in tasks:
                    task.close()
            self._save(sandbox)
        return self.tally

    def _sandbox(self, reader: TopicReader) -> Sandbox:
        topics = {each.topic for each in self.checkpoint.selection.ranges}
        counts = {topic: len(reader.partitions(topic)) for topic in topics}
        return Sandbox(self._settings, self.checkpoint.replay_id, counts)

    def _at_once(self, tasks: Sequence[RangeReplay], sandbox: Sandbox | None) -> None:
        started_s = time.monotonic()
        for task in tasks:
            while not task.advance(None):
                started_s = self._note(started_s, sandbox)
            task.close()
            started_s = self._note(started_s, sandbox)

    def _paced(self, tasks: Sequence[RangeReplay], sandbox: Sandbox | None, speed: float) -> None:
        """Go along time, all stages together; within a slice of it, each stage before the next."""
        started_s = noted_s = time.monotonic()
        starts = [now for task in tasks if (now := task.next_now()) is not None]
        first_us, left = min(starts, default=0), list(tasks)
        while left:
            elapsed_s = time.monotonic() - started_s
            until_us = first_us + int(elapsed_s * speed * _MICRO)
            left = [task for task in left if not task.advance(until_us)]
            noted_s = self._note(noted_s, sandbox)
            if left:
                time.sleep(_SLICE_S)

    def _note(self, since_s: float, sandbox: Sandbox | None) -> float:
        now_s = time.monotonic()
        self.tally.seconds += now_s - since_s
        ranges = self.checkpoint.selection.ranges
        done = sum(self.checkpoint.next_offset(each) - each.start for each in ranges)
        self._on_progress(done, self.checkpoint.selection.records)
        if now_s - self._saved_s > _SAVE_S:
            self._save(sandbox)
        return now_s

    def _save(self, sandbox: Sandbox | None) -> None:
        if sandbox is not None:
            sandbox.flush()  # what a checkpoint calls done is there
        self.checkpoint.save(self._path)
        self._saved_s = time.monotonic()
