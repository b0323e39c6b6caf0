"""What the engine does with a round past capacity: which inputs it sheds, which share a record."""

from collections.abc import Iterator, Sequence
from itertools import groupby

from msgspec.structs import replace

from pipeline.packets.models import Outcome
from pipeline.packets.runs import outcome_of_run, run_of
from pipeline.packets.vocabulary import OutcomeKind
from pipeline.stages.contract import Draft, Input, Note, seal
from pipeline.stages.fates import Fate
from pipeline.stages.overload import Forecast, judge, may_share

__all__ = ["runs", "shed", "stretches"]


def shed(inputs: Sequence[Input], forecast: Forecast, stage: str) -> tuple[list[Input], bool, bool]:
    """Return the inputs, the fate of those sealed that cannot make their deadline any more.

    Returns:
        The inputs, whether any was shed, and whether those that are too late share records; see
        `overload.judge`.
    """
    verdict = judge(inputs, forecast)
    found = [
        each if late_us is None else replace(each, fate=_fate(stage, forecast, late_us))
        for each, late_us in zip(inputs, verdict.late_us, strict=True)
    ]
    return found, any(each is not None for each in verdict.late_us), verdict.in_runs


def _fate(stage: str, forecast: Forecast, late_us: float) -> Outcome:
    detail = (
        f"would be {late_us / 1000:.1f} ms late: {forecast.ahead:.0f} under way at"
        f" {forecast.rate:.0f}/s"
    )
    return seal(OutcomeKind.SHED, stage, Fate.OVERLOAD, detail=detail)


def stretches(inputs: Sequence[Input], *, in_runs: bool) -> Iterator[tuple[Sequence[Input], bool]]:
    """Cut a round where what follows must see what came before in the state.

    Args:
        inputs: The round, in the order in which it is worked off.
        in_runs: Whether neighbours that are too late share records.

    Yields:
        Inputs to work off together, and whether they are to share records.
    """
    if in_runs:
        for late, group in groupby(inputs, lambda each: may_share(each.fate)):
            yield list(group), late
        return
    start = 0
    for index, each in enumerate(inputs):
        # A run brings many bars, and the windows of what follows begin with them.
        if each.fate is not None and run_of(each.packet) is not None:
            yield inputs[start : index + 1], False
            start = index + 1
    if start < len(inputs):
        yield inputs[start:], False


def runs(
    inputs: Sequence[Input], drafts: Sequence[Draft | Note | None], most: int
) -> Iterator[tuple[Input, Draft | Note | None, list[int]]]:
    """Join neighbours that ended alike.

    Args:
        inputs: Inputs that are too late, of one partition, in order of offset.
        drafts: What the stage makes of each; it may see more in them than that they are late.
        most: Most packets of a run.

    Yields:
        The last input of a run, its draft, and the offsets of the inputs before it in the run.
    """
    start = 0
    for index, draft in enumerate(drafts):
        here = _outcome(draft)
        after = _outcome(drafts[index + 1]) if index + 1 < len(drafts) else None
        joined = may_share(here) and may_share(after) and _alike(here, after)
        if joined and index + 1 - start < most:
            continue
        members = inputs[start : index + 1]
        start = index + 1
        if len(members) > 1 and here is not None:
            packets = [(each.offset, each.packet) for each in members]
            draft = Draft(outcome=outcome_of_run(here, packets))  # noqa: PLW2901  # the run's
        yield members[-1], draft, [each.offset for each in members[:-1]]


def _outcome(draft: Draft | Note | None) -> Outcome | None:
    return draft.outcome if isinstance(draft, Draft) else None


def _alike(one: Outcome | None, other: Outcome | None) -> bool:
    return (
        one is not None
        and other is not None
        and (one.kind, one.reasons) == (other.kind, other.reasons)
    )
