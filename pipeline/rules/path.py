"""The rules in the packets' path: what a stage asks of each packet before it decides on it.

A packet that fails ends as dead_lettered with cause `validation`, its bytes unchanged. Only the
part that the stage before added is looked at, since the others were looked at one stage earlier and
are carried over as bytes; and only what neither the codec nor the stage itself refuses: execution
control and the gateway refuse an order outside risk's envelope by themselves, with a reason.

==================  =====================================================================
record              rules
==================  =====================================================================
MarketData          data.market: bar, ids, deadline (`check_market_data`)
StrategicSignal     flow.hop, data.bar, superposition.strategic
TacticalSignal      flow.hop, data.bar, superposition.tactical
RiskAssessment      flow.hop, data.bar, security.reservation
==================  =====================================================================

flow.hop is data.identity, flow.route and the end of flow.trace at once, to be quick.

Fills and portfolio updates are not stopped here: what happened at the venue has happened, and the
account must know of it. The validation framework looks at them beside the path.
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pipeline.packets import models
from pipeline.rules import checks

__all__ = ["Check", "PathCheck", "compile_path", "failure_of"]

_logger = logging.getLogger(__name__)

Check = Callable[[Any], str | None]
"""Returns what is wrong with a packet, None where nothing is."""

PathCheck = Callable[[Any], str | None]

_BUILT_IN: Mapping[type, tuple[tuple[str, Check], ...]] = {
    models.MarketData: (("data.market", checks.market),),
    models.StrategicSignal: (
        ("flow.hop", checks.hop),
        ("data.bar", checks.bar),
        ("superposition.strategic", checks.strategic),
    ),
    models.TacticalSignal: (
        ("flow.hop", checks.hop),
        ("data.bar", checks.bar),
        ("superposition.tactical", checks.tactical),
    ),
    models.RiskAssessment: (
        ("flow.hop", checks.hop),
        ("data.bar", checks.bar),
        ("security.reservation", checks.reservation),
    ),
}


def compile_path(extra: Iterable[tuple[str, Check]] = ()) -> PathCheck:
    """Return the function that a stage calls with each packet that it is about to decide on.

    It returns "rule: what is wrong" of the first rule that fails, None where all pass or where no
    rule looks at such a record.

    Args:
        extra: (rule id, check) of the user's rules, for every type of packet. One that raises is
            logged and lets the packet go on: a rule's own fault is no verdict on a packet.
    """
    more = tuple((name, _isolated(name, check)) for name, check in extra)
    table = {model: (*rules, *more) for model, rules in _BUILT_IN.items()}

    def failure_of(packet: Any) -> str | None:
        for name, check in table.get(type(packet), ()):
            failure = check(packet)
            if failure is not None:
                return f"{name}: {failure}"
        return None

    return failure_of


def _isolated(name: str, check: Check) -> Check:
    def isolated(packet: Any) -> str | None:
        try:
            return check(packet)
        except Exception:
            _logger.exception("rule_raised rule=%s", name)
            return None

    return isolated


failure_of = compile_path()
"""The rules of this package alone."""
