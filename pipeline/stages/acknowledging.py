"""The worker's voice about control: acknowledgements to `cascade.coordination`.

On a thread of its own, so that no round waits for the connection.
"""

import logging
import queue
import threading

from pipeline.control.acknowledgement import TOPIC, Acknowledgement
from pipeline.errors import PipelineError
from pipeline.events import EventBus

__all__ = ["Acknowledger"]

_logger = logging.getLogger(__name__)


class Acknowledger:
    """Publishes acknowledgements, in order; call it with each.

    Args:
        bus: Connection to Kafka, opened at the first acknowledgement.
    """

    def __init__(self, bus: EventBus) -> None:
        self._bus = bus
        self._waiting: queue.SimpleQueue[Acknowledgement | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def __call__(self, acknowledgement: Acknowledgement) -> None:
        """Publish soon; never waits."""
        self._waiting.put(acknowledgement)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="acknowledger", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Publish what waits, and end the thread."""
        if self._thread is not None:
            self._waiting.put(None)
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        while (each := self._waiting.get()) is not None:
            try:
                self._bus.publish_soon(TOPIC, each.message(), key=each.stage.encode())
            except PipelineError as error:
                # Whoever gave the command sees that this worker did not answer.
                _logger.warning("unacknowledged epoch=%d why=%s", each.epoch, error)
