"""The demo's publisher: a process of its own, so that nothing else disturbs its schedule.

It is steered by lines on its standard input: `warm` sends the warm-up, `go` the counted data. When
the input ends, so does the process. What it sent is in the ledgers of its folder, and at the end
its report.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import IO

import msgspec

from pipeline.demo.ledger import Ledger
from pipeline.errors import PipelineError
from pipeline.market import FaultPlan, Feed, MarketBar, Publisher, PublishReport, open_feed
from pipeline.market.feed import Rejections
from pipeline.run import bound, child_environment
from pipeline.settings import Settings, load_settings

__all__ = ["COUNTED", "WARM_UP", "Publication", "PublisherProcess", "main"]

WARM_UP = "warm-up"
COUNTED = "counted"
_TERMINATE_S = 5.0
_KILL_S = 5.0


class Publication(msgspec.Struct, frozen=True):
    """What to send.

    Attributes:
        source: Name or file of the feed.
        symbols: How many symbols.
        seed: Of feed and faults.
        rate: Records a second.
        seconds: Of counted data.
        warm_up_s: Seconds of data before.
        faults: Faults in the counted data.
        folder: Where ledgers and reports go.
    """

    source: str
    symbols: int | None
    seed: int
    rate: float
    seconds: float
    warm_up_s: float
    faults: str
    folder: str


class _Continued:
    """A feed that goes on where its last reader stopped, so that prices do not jump back."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._bars = iter(feed)

    @property
    def label(self) -> str:
        return self._feed.label

    @property
    def expected_bars(self) -> int | None:
        return None

    @property
    def rejections(self) -> Rejections:
        return self._feed.rejections

    def __iter__(self) -> Iterator[MarketBar]:
        return self._bars


def main(argument: str) -> int:
    """Publish as told; return the exit code."""
    publication = msgspec.json.decode(argument, type=Publication)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    try:
        _publish(publication, sys.stdin, stop)
    except PipelineError as error:
        sys.stderr.write(f"publisher: {error}\n")
        return 1
    return 0


def _publish(publication: Publication, commands: IO[str], stop: threading.Event) -> None:
    feed = _Continued(
        open_feed(publication.source, symbols=publication.symbols, seed=publication.seed)
    )
    publisher = Publisher(load_settings())
    phases = {
        "warm": (WARM_UP, publication.warm_up_s, ""),
        "go": (COUNTED, publication.seconds, publication.faults),
    }
    for line in commands:
        name, seconds, faults = phases[line.strip()]
        folder = Path(publication.folder)
        with Ledger(folder / f"{name}.ledger") as ledger:
            report = publisher.publish(
                feed,
                rate=publication.rate,
                seconds=seconds,
                faults=FaultPlan.parse(faults),
                seed=publication.seed,
                on_sent=ledger.add,
                on_progress=partial(_flush, ledger),
                stop=stop,
            )
        _store(folder / f"{name}.json", msgspec.json.encode(report))
        if name == COUNTED or stop.is_set():
            return


def _flush(ledger: Ledger, bars: int, sent: int) -> None:
    del bars, sent
    ledger.flush()


def _store(path: Path, content: bytes) -> None:
    """Write a file that nobody sees half-written."""
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_bytes(content)
    unfinished.replace(path)


class PublisherProcess:
    """The publisher's process, as the demo sees it; dies with the thread that made it.

    Args:
        settings: Settings.
        publication: What to send.
    """

    def __init__(self, settings: Settings, publication: Publication) -> None:
        self.folder = Path(publication.folder)
        self._log_file = self.folder / "publisher.log"
        argument = msgspec.json.encode(publication).decode()
        command = bound([sys.executable, "-m", "pipeline.demo.publishing", argument])
        with self._log_file.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=child_environment(settings, os.environ, "market"),
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def ledger(self, phase: str) -> Path:
        """Return the ledger file of a phase."""
        return self.folder / f"{phase}.ledger"

    def begin(self, phase: str) -> None:
        """Have it send a phase, WARM_UP or COUNTED.

        Raises:
            PipelineError: If it has ended.
        """
        assert self._process.stdin is not None  # noqa: S101  # it was opened with a pipe
        try:
            self._process.stdin.write(b"warm\n" if phase == WARM_UP else b"go\n")
            self._process.stdin.flush()
        except OSError as error:
            raise self._failure() from error

    def report(self, phase: str) -> PublishReport | None:
        """Return the report of a phase that is over; None while it is not.

        Raises:
            PipelineError: If the publisher ended without one.
        """
        ended = self._process.poll() is not None  # asked first: the report comes before the end
        try:
            content = (self.folder / f"{phase}.json").read_bytes()
        except FileNotFoundError:
            if ended:
                raise self._failure() from None
            return None
        return msgspec.json.decode(content, type=PublishReport)

    def stop(self) -> None:
        """End it, and return when it has ended."""
        if self._process.stdin is not None and not self._process.stdin.closed:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        if self._process.poll() is None:
            self._process.terminate()
        try:
            self._process.wait(_TERMINATE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(_KILL_S)

    def _failure(self) -> PipelineError:
        time.sleep(0.1)
        said = self._log_file.read_text(errors="replace").strip().splitlines()
        return PipelineError(
            f"Expected the publisher to go on, was: {said[-1] if said else 'it ended'}."
            f" See {self._log_file}."
        )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
