"""One request in flight: who was asked, and what came back."""

import threading
from collections.abc import Callable, Mapping

from pipeline.coordination.answers import Answer
from pipeline.coordination.messages import ReplyBody
from pipeline.coordination.vocabulary import ReplyStatus

__all__ = ["Inquiry"]


class Inquiry:
    """Collects the answers to one request; thread-safe.

    Only instances that were live when it was asked count, registered ones before workers. The first
    answer of a system in the order of the topic is its answer; a system that only has abstentions
    and failures has given none.

    Args:
        asked: Instances whose answers count, by system; systems without any are missing.
        unable: Why, of systems without any.
    """

    def __init__(self, asked: Mapping[str, frozenset[str]], unable: Mapping[str, str]) -> None:
        self._lock = threading.Lock()
        self._open = {system: set(instances) for system, instances in asked.items() if instances}
        self._counted = dict(asked)
        self._why = dict(unable)
        self._answers: dict[str, Answer] = {}

    @property
    def settled(self) -> bool:
        """Whether nothing more can come."""
        return not self._open

    @property
    def answers(self) -> dict[str, Answer]:
        """Answers so far, by system."""
        with self._lock:
            return dict(self._answers)

    def missing(self, waited_s: float) -> dict[str, str]:
        """Return why, of each system without an answer."""
        with self._lock:
            silent = dict.fromkeys(self._open, f"no answer within {waited_s:.2f} s")
            return {**self._why, **silent}

    def take(self, system: str, reply: ReplyBody) -> None:
        """Take a reply; of strangers, and after an answer, it does not count."""
        with self._lock:
            if system not in self._open or reply.instance not in self._counted[system]:
                return
            if reply.status is ReplyStatus.ANSWERED and reply.answer is not None:
                self._answers[system] = reply.answer
                self._why.pop(system, None)
                del self._open[system]
            else:
                self._close(system, reply.instance, f"{reply.status}: {reply.reason}")

    def drop_dead(self, live: Callable[[str], frozenset[str]]) -> None:
        """Give up waiting for instances that are gone; `live` returns those of a system."""
        with self._lock:
            for system in list(self._open):
                for instance in self._open[system] - live(system):
                    self._close(system, instance, "disconnected while it was asked")

    def _close(self, system: str, instance: str, why: str) -> None:
        if system not in self._open:
            return
        self._open[system].discard(instance)
        self._why[system] = why
        if not self._open[system]:
            del self._open[system]
