"""All checks together: raw records in, findings and counts out; pure, one namespace."""

import logging
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Final

from pipeline.audit import accounts
from pipeline.audit.accounts import FlowAccounts, Tallies
from pipeline.audit.conservation import Conservation
from pipeline.audit.content import Place, Places
from pipeline.audit.disagreements import Disagreements
from pipeline.audit.findings import Finding, FindingKind
from pipeline.audit.hops import HOPS, Agreement, Disagreement, HopAudit, expects_answer
from pipeline.audit.ordering import Counted, Entry, LogOrder, Lost
from pipeline.errors import PoisonError
from pipeline.packets.codec import decode
from pipeline.packets.events import ValidationLevel
from pipeline.packets.identity import unreadable_flow_id
from pipeline.packets.lanes import INGEST_TOPICS
from pipeline.packets.models import ExecutionPlan, MarketData
from pipeline.rules.context import ValidationContext
from pipeline.rules.model import NoData, ValidationResult, ValidationRule, rank
from pipeline.rules.windows import STAGE_LOGS
from pipeline.settings import Settings

__all__ = ["FlowAudit"]

_logger = logging.getLogger(__name__)

_STEP_MS: Final = 500
_MARGIN_MS: Final = 2000


class FlowAudit:
    """Judges the records of the ingest topic and of all logs.

    Entries of a partition come in order of offset; partitions may be read at any pace, since what
    depends on another log waits for it. Time is that of the records: `advance` says up to when all
    topics were read.

    Args:
        rules: Rules about one packet.
        settings: The settings that the cascade runs under.
        patience_s: How long a record may be overtaken by others before it counts as missing.
        open_limit_s: For how long a flow that has not ended is remembered.
    """

    def __init__(
        self,
        rules: Callable[[], Sequence[ValidationRule]],
        settings: Settings,
        *,
        patience_s: float,
        open_limit_s: float,
    ) -> None:
        self._rules = rules
        self._asked = rules()
        self._asked_about: dict[type, tuple[ValidationRule, ...]] = {}
        self._settings = settings
        self._patience_s = patience_s
        self._orders: dict[tuple[str, int], LogOrder] = {}
        self._hops = [HopAudit(hop, patience_s) for hop in HOPS]
        self._above: dict[str, list[HopAudit]] = defaultdict(list)
        self._below: dict[str, list[HopAudit]] = defaultdict(list)
        for each in self._hops:
            self._above[each.hop.above].append(each)
            self._below[each.hop.below].append(each)
        self._accounts = FlowAccounts(patience_s, open_limit_s)
        self._disagreements = Disagreements(patience_s)
        self._conservation = Conservation(patience_s, open_limit_s)
        self._steps: dict[tuple[str, int], deque[tuple[int, Place]]] = defaultdict(deque)
        self._ends: dict[tuple[str, int], Place] = {}
        self.tallies = Tallies()

    def begin(self, places: Places) -> None:
        """Say where reading begins; once, before the first entry."""
        for (topic, partition), place in places.items():
            self._ends[topic, partition] = place
            self._steps[topic, partition].append((0, place))
            floor = place.offset - 1
            if topic in STAGE_LOGS:
                order = LogOrder(topic, partition, place, self._patience_s)
                self._orders[topic, partition] = order
                floor = place.sequence
            for each in self._hops:
                if each.hop.above == topic:
                    each.begin(partition, floor)
        self._accounts.begin(whole=all(each.offset == 0 for each in places.values()))

    def take(self, entry: Entry, now_us: int, *, fresh: bool = True) -> list[Finding]:
        """Take the next entry of a partition; return what is found wrong.

        Args:
            entry: The entry.
            now_us: Clock.
            fresh: Whether it is counted; not where it was before and is read again.
        """
        context = ValidationContext(self._settings, now_us)
        if entry.topic in INGEST_TOPICS:
            found = list(self._market(entry, fresh=fresh))
            place = Place(entry.offset + 1)
        else:
            order = self._orders[entry.topic, entry.partition]
            found = list(self._settle(order.take(entry), context, fresh=fresh))
            place = order.place
        self._note(entry, place)
        return found

    def advance(self, read_until_us: int, now_us: int) -> list[Finding]:
        """Say that all appended before `read_until_us` was taken; return what that settles."""
        until_ms = read_until_us // 1000
        if (asked := self._rules()) != self._asked:
            self._asked, self._asked_about = asked, {}
        context = ValidationContext(self._settings, now_us)
        found: list[Finding] = []
        for order in self._orders.values():
            found += self._settle(order.advance(until_ms), context, fresh=True)
        for hop in self._hops:
            found += hop.advance(until_ms)
        found += self._accounts.advance(until_ms)
        found += self._disagreements.advance(until_ms)
        found += self._conservation.advance(until_ms)
        for where, order in self._orders.items():
            self._ends[where] = order.place
        return found

    @property
    def open_flows(self) -> int:
        """Flows that were approved and have not ended."""
        return self._accounts.open

    @property
    def under_way(self) -> int:
        """Packets that went in and have not come out."""
        return self._conservation.under_way

    @property
    def places(self) -> Places:
        """Where each partition is read on."""
        return dict(self._ends)

    def settled(self) -> Places:
        """Return from where to read again to know all that is under way."""
        waiting = [
            *(each.waiting_since_ms for each in self._orders.values()),
            *(each.waiting_since_ms for each in self._hops),
            self._accounts.waiting_since_ms,
            self._disagreements.waiting_since_ms,
        ]
        oldest_ms = min((each for each in waiting if each is not None), default=None)
        return {where: self._step(where, oldest_ms) for where in self._ends}

    # -- parts -----------------------------------------------------------------------------------

    def _market(self, entry: Entry, *, fresh: bool) -> Iterator[Finding]:
        self.tallies.packets_in += fresh
        (hop,), record = self._above[entry.topic], None
        with suppress(PoisonError):
            record = decode(entry.value)
        if not isinstance(record, MarketData):
            # The first stage dead-letters it; that is its record.
            hop.lost(Lost(entry.topic, entry.partition, 0, entry.offset))
            flow = unreadable_flow_id(entry.topic, entry.partition, entry.offset)
            self._conservation.entered(flow, entry.timestamp_ms)
            return
        self._conservation.entered(record.envelope.flow_id, entry.timestamp_ms)
        yield from self._compared(hop.read(Counted(entry, record)))

    def _settle(
        self,
        items: Iterable[Counted | Lost | Finding],
        context: ValidationContext,
        *,
        fresh: bool,
    ) -> Iterator[Finding]:
        for item in items:
            if isinstance(item, Finding):
                yield item
            elif isinstance(item, Lost):
                self._accounts.lost(item.topic)
                for hop in self._hops:
                    if item.topic in hop.hop:
                        hop.lost(item)
            else:
                yield from self._counted(item, context, fresh=fresh)

    def _counted(
        self, one: Counted, context: ValidationContext, *, fresh: bool
    ) -> Iterator[Finding]:
        if fresh:
            self.tallies.records[one.entry.topic] += 1
            if (ended := accounts.ended_packets(one)) is not None:
                self.tallies.outcomes[ended[0]] += ended[1]
        broken = list(self._ruled(one, context, fresh=fresh))
        yield from broken
        if broken or not one.sound:
            one = Counted(one.entry, one.record, sound=False)
        for hop in self._below[one.entry.topic]:
            yield from self._compared(hop.written(one))
        for hop in self._above[one.entry.topic]:
            if expects_answer(hop.hop, one):
                yield from self._compared(hop.read(one))
        yield from self._accounts.take(one)
        if one.sound:
            self._conservation.ended(one)

    def _ruled(self, one: Counted, context: ValidationContext, *, fresh: bool) -> Iterator[Finding]:
        asked = ValidationContext(context.settings, context.now_us, one.record)
        for rule in self._rules_about(type(one.record)):
            worst = self._worst(rule, asked)
            if worst is None:
                continue
            if rank(worst.level) < rank(ValidationLevel.ERROR):
                self.tallies.warnings[rule.rule_id] += fresh
                continue
            topic, partition, _, sequence = one.key
            yield Finding(  # one names the record
                FindingKind.CORRUPTED, topic, partition, sequence, one.entry.offset,
                f"{topic}[{partition}]@{one.entry.offset}: {rule.rule_id}: {worst.message}",
                getattr(getattr(one.record, "envelope", None), "flow_id", ""), worst.packet_id,
                rule_id=rule.rule_id, validation_type=rule.validation_type,
            )  # fmt: skip
            return

    def _rules_about(self, kind: type) -> tuple[ValidationRule, ...]:
        found = self._asked_about.get(kind)
        if found is None:
            found = tuple(each for each in self._asked if each.concerns(kind))
            self._asked_about[kind] = found
        return found

    def _worst(self, rule: ValidationRule, context: ValidationContext) -> ValidationResult | None:
        """Return the worst of what a rule finds; asked one by one, since every record is."""
        try:
            return rule.worst(context)
        except NoData:
            return None
        except Exception as error:  # noqa: BLE001  # a user's rule may fail in any way
            _logger.warning("rule_raised rule=%s why=%r", rule.rule_id, error)
            self.tallies.warnings[rule.rule_id] += 1
            return None

    def _compared(self, items: Iterable[Agreement | Disagreement | Finding]) -> Iterator[Finding]:
        for item in items:
            if isinstance(item, Finding):
                yield item
            elif isinstance(item, Disagreement):
                self._disagreements.add(item)
            else:
                if item.above.entry.topic not in INGEST_TOPICS:  # there nothing has a fate yet
                    yield from accounts.fate(item.above, item.below)
                if isinstance(item.below.record, ExecutionPlan):
                    yield from accounts.approved(item.above, item.below)

    def _note(self, entry: Entry, place: Place) -> None:
        where = (entry.topic, entry.partition)
        self._ends[where] = place
        steps = self._steps[where]
        if entry.timestamp_ms - steps[-1][0] >= _STEP_MS:
            steps.append((entry.timestamp_ms, place))

    def _step(self, where: tuple[str, int], oldest_ms: int | None) -> Place:
        """Return the newest known place of a partition that lies before a time."""
        steps = self._steps[where]
        if oldest_ms is None:
            newest = steps[-1]
            steps.clear()
            steps.append(newest)
            return self._ends[where]
        while len(steps) > 1 and steps[1][0] < oldest_ms - _MARGIN_MS:
            steps.popleft()
        return steps[0][1]
