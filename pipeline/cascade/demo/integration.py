"""Part 6, everything together: flows, and what each component says of the same ones."""

from collections import Counter

from pipeline.cascade import CascadeState
from pipeline.cascade.demo.checks import Checks, wait_for
from pipeline.cascade.demo.flow import inject
from pipeline.cascade.demo.running import Running
from pipeline.cascade.manager.health import HOLD_S, WINDOW_S

__all__ = ["show"]

_FLOWS = 30
_SETTLED_S = 15.0
# What the parts before it spoilt leaves the score with its window, and then the state holds on.
_SOUND_S = WINDOW_S + HOLD_S + _SETTLED_S
_STAGES = ("strategic", "tactical", "risk", "execution")


def show(running: Running, checks: Checks) -> None:
    """Inject flows and ask every component; broken means that the workers have ended before."""
    manager = running.manager
    up = wait_for(lambda: manager.get_cascade_status().state in _UP, _SOUND_S)
    status = manager.get_cascade_status()
    checks.holds("state before", "READY or FLOWING", status.state, up)
    measured = running.monitor.get_real_time_metrics().packets
    if running.broken:
        running.workers.stop()
    outcomes = inject(running, _FLOWS)
    kinds = Counter(each.kind.value for each in outcomes)
    checks.equal("flows injected, and outcomes of the manager", _FLOWS, kinds.total())
    seen = wait_for(
        lambda: running.monitor.get_real_time_metrics().packets - measured >= _FLOWS, _SETTLED_S
    )
    packets = running.monitor.get_real_time_metrics().packets - measured
    checks.holds("the same flows, as the monitor measured them", str(_FLOWS), packets, seen)
    report = running.framework.run_comprehensive_validation()
    checks.equal("critical issues of a validation after them", 0, len(report.critical_issues))
    states = running.engine.get_system_states()
    live = [name for name in _STAGES if name in states and states[name].instances]
    checks.equal("live systems, as the coordination knows them", list(_STAGES), live)
    emergencies = running.protocols.get_emergency_status().active_emergencies
    checks.equal("emergencies still active", 0, len(emergencies))


_UP = (CascadeState.READY, CascadeState.FLOWING)
