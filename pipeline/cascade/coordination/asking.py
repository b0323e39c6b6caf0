"""Asking systems, and what their answers come to."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import msgspec

from pipeline.cascade.coordination.inquiry import Inquiry
from pipeline.cascade.coordination.results import CoordinationFailure, CoordinationResult
from pipeline.cascade.coordination.status import Figures, StateBook
from pipeline.coordination.answers import Answer, proposal_of
from pipeline.coordination.conflicts import find_conflict, settle_terms
from pipeline.coordination.messages import ReplyBody, RequestBody, payload_of
from pipeline.coordination.resolution import HOLD, Vote, is_verdict, rank, resolve, strictest
from pipeline.coordination.service import CoordinationService
from pipeline.coordination.vocabulary import ConflictStrategy
from pipeline.errors import PipelineError, UsageError
from pipeline.packets.events import CoordinationMessage, MessageType

__all__ = ["Asker", "Question"]

_RISK = "risk"
_DISCOVERY_INTERVALS = 1.5
_Failure = CoordinationFailure


@dataclass(frozen=True, slots=True)
class Question:
    """A decision to be coordinated; see `MARLCoordinationEngine.coordinate_decision`."""

    requesting_system: str
    decision_type: str
    decision_data: dict[str, Any]
    affected_systems: tuple[str, ...]
    priority: int
    strategy: ConflictStrategy
    quorum: int
    timeout_s: float

    def check(self) -> None:
        """Check it.

        Raises:
            UsageError: If it cannot be asked.
        """
        if not self.affected_systems or not all(self.affected_systems):
            raise UsageError("Expected at least one affected system, each with a name, was none")
        if not self.requesting_system:
            raise UsageError("Expected a requesting system, was none")
        if self.priority not in (1, 2, 3):
            raise UsageError(f"Expected a priority of 1, 2 or 3, was {self.priority}")
        if not 1 <= self.quorum <= len(self.affected_systems):
            most = len(self.affected_systems)
            raise UsageError(f"Expected a quorum of 1 to {most}, was {self.quorum}")
        if not self.timeout_s > 0:
            raise UsageError(f"Expected a time-out above 0, was {self.timeout_s}")


@dataclass(slots=True)
class _Course:
    """How far a question has got."""

    question: Question
    started_s: float
    coordination_id: str = ""
    epoch: int = -1
    sent: bool = False


class Asker:
    """Asks questions, at most so many at once.

    Args:
        service: What takes part in the coordination.
        states: State of the engine.
        figures: Its figures.
        most: Most questions at once.
        note: Called when something that the state depends on has changed.
    """

    def __init__(
        self,
        service: CoordinationService,
        states: StateBook,
        figures: Figures,
        most: int,
        note: Callable[[], object],
    ) -> None:
        self._service = service
        self._states = states
        self._figures = figures
        self._note = note
        self._slots = threading.BoundedSemaphore(most)
        self._most = most
        self._inquiries: dict[str, Inquiry] = {}
        self._discovered = False
        service.listen(MessageType.COORDINATION_RESPONSE, self._take)

    def close(self) -> None:
        """Wake up whoever waits; their questions fail."""
        with self._service.changed:
            self._service.changed.notify_all()

    def ask(self, question: Question) -> CoordinationResult:
        """Ask, wait, and return the result."""
        course = _Course(question, self._service.monotonic())
        if not self._slots.acquire(timeout=question.timeout_s):
            why = f"Expected one of {self._most} turns in {question.timeout_s:g} s, was none"
            return self._failed(course, _Failure.BUSY, why, {})
        try:
            with self._flying():
                return self._asked(course)
        finally:
            self._slots.release()

    @contextmanager
    def _flying(self) -> Iterator[None]:
        self._states.flying(1)
        self._note()
        try:
            yield
        finally:
            self._states.flying(-1)
            self._note()

    def _asked(self, course: _Course) -> CoordinationResult:
        self._discover(course)
        epochs = self._service.epochs
        course.epoch = epochs.newest
        if epochs.in_emergency:
            return self._in_emergency(course, {})
        inquiry = self._inquiry(course.question)
        question = course.question
        body = RequestBody(
            decision_type=question.decision_type,
            decision_data=question.decision_data,
            affected_systems=question.affected_systems,
            epoch=course.epoch,
        )
        request = self._service.compose(
            MessageType.COORDINATION_REQUEST, question.requesting_system, body,
            priority=question.priority, response_timeout_s=question.timeout_s,
        )  # fmt: skip
        course.coordination_id = request.message_id
        if not inquiry.settled:
            self._inquiries[request.message_id] = inquiry
            try:
                self._service.post(request).result(self._left_s(course))
                course.sent = True
                self._wait(course, inquiry)
            except (PipelineError, FutureTimeout) as error:
                why = f"the request was not acknowledged: {error!r}"
                return self._failed(course, _Failure.BROKER_UNAVAILABLE, why, {})
            finally:
                del self._inquiries[request.message_id]
        return self._outcome(course, inquiry)

    # -- waiting -----------------------------------------------------------------------------------

    def _discover(self, course: _Course) -> None:
        """Before the first question, give the systems that it asks time to show themselves."""
        if self._discovered:
            return
        service, wanted = self._service, course.question.affected_systems
        limit_s = min(_DISCOVERY_INTERVALS * service.interval_s, self._left_s(course) / 2)
        with service.changed:
            service.changed.wait_for(lambda: all(map(self._counted, wanted)), limit_s)
        self._discovered = True

    def _inquiry(self, question: Question) -> Inquiry:
        asked = {name: self._counted(name) for name in question.affected_systems}
        known = self._service.systems()
        unable = {}
        for name, instances in asked.items():
            if not instances:
                state = known.get(name)
                if state is None:
                    unable[name] = "never heard of"
                elif not state.instances:
                    unable[name] = f"disconnected, last heard of {state.age_s:.1f} s ago"
                else:
                    unable[name] = "live, but nobody there answers requests"
        return Inquiry(asked, unable)

    def _counted(self, system: str) -> frozenset[str]:
        return self._service.directory.answering(system, self._service.monotonic())

    def _live(self, system: str) -> frozenset[str]:
        members = self._service.directory.members(system, self._service.monotonic())
        return frozenset(each.said.instance for each in members)

    def _left_s(self, course: _Course) -> float:
        spent_s = self._service.monotonic() - course.started_s
        return max(0.0, course.question.timeout_s - spent_s)

    def _wait(self, course: _Course, inquiry: Inquiry) -> None:
        service = self._service

        def over() -> bool:
            inquiry.drop_dead(self._live)
            return inquiry.settled or service.closed or self._overtaken(course)

        with service.changed:
            service.changed.wait_for(over, self._left_s(course))

    def _overtaken(self, course: _Course) -> bool:
        return self._service.epochs.emergency_epoch > course.epoch

    def _take(self, message: CoordinationMessage, offset: int) -> None:
        del offset
        inquiry = self._inquiries.get(message.correlation_id)
        if inquiry is not None:
            inquiry.take(message.sender_system, payload_of(message, ReplyBody))

    # -- deciding ----------------------------------------------------------------------------------

    def _outcome(self, course: _Course, inquiry: Inquiry) -> CoordinationResult:
        answers = inquiry.answers
        missing = inquiry.missing(self._service.monotonic() - course.started_s)
        question = course.question
        if self._overtaken(course):
            return self._in_emergency(course, missing, answers)
        if self._service.closed:
            return self._failed(course, _Failure.CLOSED, "the engine was closed", missing, answers)
        gaps = "; ".join(f"{name}: {why}" for name, why in sorted(missing.items()))
        if len(answers) < question.quorum:
            asked = len(question.affected_systems)
            why = f"Expected {question.quorum} answers of {asked}, was {len(answers)} ({gaps})"
            return self._failed(course, _Failure.TOO_FEW_ANSWERS, why, missing, answers)
        if _RISK in missing:
            why = f"Expected an answer of risk, was none ({missing[_RISK]})"
            return self._failed(course, _Failure.RISK_SILENT, why, missing, answers)
        return self._resolved(course, answers, missing)

    def _resolved(
        self, course: _Course, answers: dict[str, Answer], missing: dict[str, str]
    ) -> CoordinationResult:
        question, data = course.question, course.question.decision_data
        votes = [Vote(name, answers[name], self._score(name)) for name in sorted(answers, key=rank)]
        proposed = proposal_of(data)
        asker = question.requesting_system
        proposal = Vote(asker, proposed, self._score(asker)) if proposed else None
        found = resolve(question.strategy, votes, proposal)
        conflict = find_conflict(votes, proposal, data, contested=found.contested)
        result = CoordinationResult(
            coordination_id=course.coordination_id,
            requesting_system=asker,
            decision_type=question.decision_type,
            success=found.resolved,
            decision=found.decision,
            failure=None if found.resolved else _Failure.UNRESOLVED,
            reason=found.reason,
            strategy=question.strategy,
            decided_by=found.decided_by,
            verdict=strictest(vote.decision for vote in votes if is_verdict(vote.decision)),
            terms=settle_terms(votes, proposal, data, found.decided_by),
            conflict=conflict,
            answers={vote.system_id: vote.answer for vote in votes},
            missing=missing,
            quorum=question.quorum,
            epoch=course.epoch,
            response_time_ms=self._spent_ms(course),
        )
        if conflict is not None:
            self._tell(course, result)
        if found.resolved:
            self._states.settled(question.decision_type)
        return self._counted_in(course, result)

    def _score(self, system: str) -> float | None:
        """Return success_rate * (1 - load) as the system announces them; None without the first."""
        state = self._service.systems().get(system)
        rate = state.performance_metrics.get("success_rate") if state and state.instances else None
        if state is None or rate is None or not 0.0 <= rate <= 1.0:
            return None
        return rate * (1.0 - (state.current_load or 0.0))

    def _tell(self, course: _Course, result: CoordinationResult) -> None:
        """Tell everybody how a conflict ended; the result stands whether they hear it or not."""
        self._states.conflict(course.question.decision_type)
        self._note()
        message = self._service.compose(
            MessageType.CONFLICT_RESOLUTION, result.requesting_system, msgspec.to_builtins(result),
            correlation_id=result.coordination_id, priority=course.question.priority,
        )  # fmt: skip
        with suppress(PipelineError, FutureTimeout):
            self._service.post(message).result(max(0.1, self._left_s(course)))

    def _in_emergency(
        self, course: _Course, missing: dict[str, str], answers: dict[str, Answer] | None = None
    ) -> CoordinationResult:
        epoch = self._service.epochs.emergency_epoch
        why = f"an emergency is in force since epoch {epoch}; a synchronisation ends it"
        return self._failed(course, _Failure.EMERGENCY, why, missing, answers)

    def _failed(
        self,
        course: _Course,
        failure: CoordinationFailure,
        why: str,
        missing: dict[str, str],
        answers: dict[str, Answer] | None = None,
    ) -> CoordinationResult:
        question = course.question
        result = CoordinationResult(
            coordination_id=course.coordination_id,
            requesting_system=question.requesting_system,
            decision_type=question.decision_type,
            success=False,
            decision=HOLD,
            failure=failure,
            reason=why,
            strategy=question.strategy,
            answers=answers or {},
            missing=missing,
            quorum=question.quorum,
            epoch=course.epoch,
            response_time_ms=self._spent_ms(course),
        )
        return self._counted_in(course, result)

    def _counted_in(self, course: _Course, result: CoordinationResult) -> CoordinationResult:
        self._figures.note(
            success=result.success,
            resolved=result.success and result.conflict is not None,
            sent=course.sent,
            time_ms=result.response_time_ms,
        )
        return result

    def _spent_ms(self, course: _Course) -> float:
        return (self._service.monotonic() - course.started_s) * 1000
