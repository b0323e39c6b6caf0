"""A stage whose policy is a user's callback."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from msgspec.structs import replace

from pipeline.cascade.manager.asking import (
    Callback,
    CallbackLoop,
    answers_of_round,
    is_coroutine,
    is_whole_round,
    source_of,
)
from pipeline.cascade.manager.decisions import translate
from pipeline.control.trips import Trips
from pipeline.control.tripwire import Tripped
from pipeline.packets.models import PolicyStamp
from pipeline.stages.contract import CanTrip, Context, Draft, Input, Note, StageLogic

__all__ = ["RegisteredLogic"]

# These work a round out at once, and what they yield does not depend on records of the round.
_EAGER = frozenset({"strategic", "tactical"})


@dataclass(frozen=True, slots=True)
class _Failed:
    error: BaseException


class RegisteredLogic:
    """The built-in stage, its state and its measurements, with a callback's decisions.

    State, records and snapshots are the built-in's, so that either may take over from the other.
    The callback is asked about each packet that the stage is to decide: not about packets whose
    fate is sealed, nor about duplicates. What it raises counts as a failure of the policy.

    After a failure the rest of the round is decided anew, without asking again what has been
    answered already. After a take-over packets may be asked about again that were asked about
    before it: only what stands in the log was decided.

    Args:
        built_in: The built-in stage.
        callback: The callback; see `pipeline.cascade.manager.asking`.
        name: Name of the policy, in the packets' stamps.
        version: Its version.
        timeout_s: How long a coroutine may take, seconds.
    """

    def __init__(
        self,
        built_in: StageLogic[Any],
        callback: Callback,
        *,
        name: str,
        version: str,
        timeout_s: float,
    ) -> None:
        self._built_in = built_in
        self._callback = callback
        self._round = is_whole_round(callback)
        self._name, self._version = name[:128], version[:128]
        self.policy_sha256 = source_of(callback)
        asynchronous = is_coroutine(callback)
        loop_name = f"callback-{built_in.stage}"
        self._loop = CallbackLoop(loop_name, timeout_s) if asynchronous else None
        self._known: dict[tuple[str, int, int], Any] = {}

    @property
    def stage(self) -> str:
        """Name of the stage."""
        return self._built_in.stage

    def initial(self) -> Any:
        """Return the state before the first record."""
        return self._built_in.initial()

    def apply(self, state: Any, record: Any) -> None:
        """Fold a record into the state."""
        self._built_in.apply(state, record)

    def tripped(self, state: Any, trips: Trips) -> Iterator[Tripped]:
        """Yield what has tripped in the built-in stage's state."""
        if isinstance(self._built_in, CanTrip):
            yield from self._built_in.tripped(state, trips)

    def dump(self, state: Any) -> bytes:
        """Return the state as bytes."""
        return self._built_in.dump(state)

    def load(self, data: bytes) -> Any:
        """Return the state that `data` is the dump of."""
        return self._built_in.load(data)

    def close(self) -> None:
        """End the callback's event loop, if it has one."""
        if self._loop is not None:
            self._loop.close()

    def decide(
        self, state: Any, inputs: Sequence[Input], context: Context
    ) -> Iterator[Draft | Note | None]:
        """Yield one item per input, in order; see `StageLogic.decide`."""
        drafts = self._built_in.decide(state, inputs, context)
        if self.stage in _EAGER:
            known = list(drafts)
            asked = [_is_decided(draft) for draft in known]
            drafts = iter(known)
        else:
            asked = [each.fate is None and hasattr(each.packet, "envelope") for each in inputs]
        self._ask_at_once([each for each, wanted in zip(inputs, asked, strict=True) if wanted])
        for each, wanted, draft in zip(inputs, asked, drafts, strict=True):
            if wanted and isinstance(draft, Draft):
                yield self._decided(each, draft)
            else:
                yield draft

    def _decided(self, each: Input, built_in: Draft) -> Draft:
        answer = self._answer(each)
        draft = translate(self.stage, answer, each.packet, built_in, self._name)
        if draft is built_in:
            return draft  # the built-in limits refused, whatever the callback says
        stamp = built_in.policy
        sequence = stamp.state_sequence if stamp is not None else -1
        policy = PolicyStamp(self._name, self._version, self.policy_sha256, sequence)
        return replace(draft, policy=policy)

    def _answer(self, each: Input) -> Any:
        where = (each.topic, each.partition, each.offset)
        if where in self._known:
            found = self._known.pop(where)
            if isinstance(found, _Failed):
                raise found.error
            return found
        if self._round:
            (answer,) = self._ask_round([each])
            return answer
        return self._call(each.packet)

    def _ask_at_once(self, asked: Sequence[Input]) -> None:
        """Ask about all, where the callback takes a round or can be awaited for many."""
        offsets = [(each.topic, each.partition, each.offset) for each in asked]
        self._known = {where: self._known[where] for where in offsets if where in self._known}
        new = [each for each, where in zip(asked, offsets, strict=True) if where not in self._known]
        if not new or (self._loop is None and not self._round):
            return
        answers = self._ask_round(new) if self._round else self._ask_each(new)
        self._known.update(
            ((each.topic, each.partition, each.offset), answer)
            for each, answer in zip(new, answers, strict=True)
        )

    def _ask_round(self, asked: Sequence[Input]) -> list[Any]:
        answers = self._call([each.packet for each in asked])
        return answers_of_round(answers, len(asked))

    def _ask_each(self, asked: Sequence[Input]) -> list[Any]:
        if self._loop is None:
            return [self._call(each.packet) for each in asked]
        calls = [partial(self._callback, each.packet) for each in asked]
        return [
            _Failed(answer) if isinstance(answer, BaseException) else answer
            for answer in self._loop.gather(calls)
        ]

    def _call(self, argument: Any) -> Any:
        if self._loop is not None:
            return self._loop.run(partial(self._callback, argument))
        answer = self._callback(argument)
        if asyncio.iscoroutine(answer):
            answer.close()
            raise TypeError(
                "Expected an answer, was a coroutine of a function that is not `async def`; wrap"
                " it in one"
            )
        return answer


def _is_decided(draft: Draft | Note | None) -> bool:
    return isinstance(draft, Draft) and draft.policy is not None
