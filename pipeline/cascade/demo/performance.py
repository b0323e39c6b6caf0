"""Part 3, performance monitoring: what the packets' own traces say, and who is told of limits."""

from pipeline.cascade import CascadePerformanceMonitor
from pipeline.cascade.demo.checks import Checks, wait_for
from pipeline.cascade.demo.running import Running
from pipeline.cascade.performance import LatencyFigures, MetricType, PerformanceThreshold
from pipeline.packets.events import Alert, PerformanceAlert

__all__ = ["show"]

_STAGES = ("strategic", "tactical", "risk", "execution")
_WINDOW_S = 120.0
_COUNTED_S = 10.0
_ALERT_S = 10.0
_NEVER_MET_MS = 0.001
_SUBJECT = (MetricType.LATENCY, "execution")


def show(running: Running, checks: Checks) -> None:
    """See what the monitor measured of the flows so far, and have it raise an alert.

    Broken means a monitor that saw none of them.
    """
    monitor = CascadePerformanceMonitor(running.bus) if running.broken else running.monitor
    try:
        _show_figures(monitor, running, checks)
        _show_trace(monitor, running, checks)
        _show_alert(monitor, checks)
    finally:
        if monitor is not running.monitor:
            monitor.close()


def _show_figures(monitor: CascadePerformanceMonitor, running: Running, checks: Checks) -> None:
    flows = len(running.outcomes)
    wait_for(lambda: monitor.get_real_time_metrics(_WINDOW_S).packets >= flows, _COUNTED_S)
    metrics = monitor.get_real_time_metrics(_WINDOW_S)
    checks.holds("packets measured", f"{flows} > 0", metrics.packets, metrics.packets >= flows > 0)
    systems = metrics.latency.systems
    measured = [name for name in _STAGES if name in systems and systems[name].processing_ms]
    checks.equal("stages with a breakdown of their own", list(_STAGES), measured)
    # Whether the target is met depends on the machine; what follows from the figures does not.
    target_ms, found = metrics.latency_target_ms, metrics.latency.end_to_end_ms
    met = found is not None and found.p99 <= target_ms
    checks.holds(
        f"end to end, against the target of {target_ms:g} ms for p99",
        "figures of every packet, and the verdict that they give",
        f"{_text(found)}: {metrics.latency_verdict}",
        found is not None
        and found.count >= flows
        and metrics.latency_verdict == ("met" if met else "missed"),
    )
    report = monitor.generate_performance_report(_WINDOW_S)
    checks.holds(
        "report",
        "a score from 0 to 1",
        "no data" if report.performance_score is None else f"{report.performance_score:.2f}",
        report.performance_score is not None and 0.0 <= report.performance_score <= 1.0,
    )


def _show_trace(monitor: CascadePerformanceMonitor, running: Running, checks: Checks) -> None:
    packet_id = running.outcomes[-1].packet_id if running.outcomes else ""
    trace = monitor.get_packet_trace(packet_id)
    way = [each.system for each in trace.systems] if trace else []
    checks.equal("way of the last packet", list(_STAGES), way)


def _show_alert(monitor: CascadePerformanceMonitor, checks: Checks) -> None:
    """Set a limit that every latency is beyond; put the one before in force again."""
    heard: list[Alert] = []
    monitor.add_alert_callback(heard.append)
    before = [
        status.threshold
        for status in monitor.get_thresholds()
        if (status.threshold.metric_type, status.threshold.subject) == _SUBJECT
    ]
    metric, system = _SUBJECT
    monitor.set_threshold(
        PerformanceThreshold(
            metric, emergency_threshold=_NEVER_MET_MS, window_size=_WINDOW_S, subject=system
        )
    )
    raised = wait_for(
        lambda: any(each.level is PerformanceAlert.EMERGENCY for each in heard), _ALERT_S
    )
    checks.equal("alert at a limit set at run time", True, raised)
    monitor.remove_threshold(metric, system)
    for threshold in before:
        monitor.set_threshold(threshold)


def _text(found: LatencyFigures | None) -> str:
    if found is None:
        return "nothing measured"
    return f"p50 {found.p50:.1f} ms, p99 {found.p99:.1f} ms (n = {found.count})"
