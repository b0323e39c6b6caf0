"""From what a demo has seen to its figures."""

import os
import platform
from typing import Any

import psutil

from pipeline import __version__
from pipeline.demo.accounting import account, decisions_sha256, reservation_faults
from pipeline.demo.latency import Latencies
from pipeline.demo.runner import DemoRun
from pipeline.demo.summary import Summary, summarise
from pipeline.errors import PipelineError
from pipeline.gateway.application import paper_file
from pipeline.gateway.paper import PaperVenue
from pipeline.settings import Settings

__all__ = ["accepted_orders", "figures", "machine"]

_LISTED = 20


def figures(run: DemoRun) -> Summary:
    """Return the figures of a run; reads the venue's own account of its orders.

    Raises:
        PipelineError: If the run ended before anything was published.
    """
    published, plan = run.published, run.plan
    if published is None or not run.sent:
        raise PipelineError("Expected a demo with records sent, was none; see the publisher's log")
    counted = [end for end in run.ends if end.flow_id not in run.warm_up]
    due_us: dict[str, int] = {}
    for flow in run.sent:
        due_us.setdefault(flow.flow_id, flow.intended_us)
    finals = {each.flow_id: each.appended_ms for each in run.fills if each.final}
    accepted = accepted_orders(run.rig.settings)
    accounts = account(run.sent, run.warm_up, run.ends, run.fills, accepted)
    moments = [flow.intended_us for flow in run.sent]
    faults = [
        *_undelivered(published.failed, published.first_error),
        *_unreleased(reservation_faults(run.ends, run.fills, run.released)),
        *(f"{kill.stage} did not come back" for kill in run.kills if kill.sign is None),
    ]
    return summarise(
        accounts,
        Latencies.of(counted, finals, due_us.get),
        counted,
        due_us=(min(moments), max(moments)),
        offered_per_second=plan.rate,
        decisions=decisions_sha256(counted),
        kills=run.kills,
        faults=faults,
        about=_about(run),
    )


def accepted_orders(settings: Settings) -> list[str]:
    """Return the client order ids that the paper broker took, in order, repeats included."""
    path = paper_file(settings)
    if not path.exists():
        return []
    with PaperVenue(path) as venue:
        return [each.client_order_id for each in venue.submissions() if each.outcome == "accepted"]


def _undelivered(failed: int, why: str) -> list[str]:
    return [f"{failed} records not delivered: {why or 'no answer in time'}"] if failed else []


def _unreleased(flows: list[str]) -> list[str]:
    if not flows:
        return []
    named = ", ".join(flows[:_LISTED])
    return [f"{len(flows)} flows whose reservation is not open + released: {named}"]


def _about(run: DemoRun) -> dict[str, Any]:
    plan, found, published = run.plan, run.rig.broker, run.published
    return {
        "restarts": run.restarts,
        "worker_exit_codes": {name: list(codes) for name, codes in run.exit_codes.items()},
        "broker": f"{found.kind} {found.bootstrap}",
        "kafka_version": found.kafka_version,
        "namespace": run.rig.settings.namespace,
        "source": published.source if published else plan.source,
        "warm_up_records": len(run.warm_up),
        "publisher_late_ms_p99": round(published.late_ms_p99, 3) if published else None,
        "published": published.kinds if published else {},
        "options": {
            "seconds": plan.seconds,
            "rate": plan.rate,
            "source": plan.source,
            "symbols": plan.symbols,
            "seed": plan.seed,
            "faults": plan.faults,
            "single": plan.single,
            "paired": plan.paired,
            "cascade_timeout_ms": run.rig.settings.cascade_timeout_ms,
        },
        "machine": machine(),
        "version": __version__,
    }


def machine() -> dict[str, Any]:
    """Return what the figures were measured on."""
    load = os.getloadavg() if hasattr(os, "getloadavg") else (0.0, 0.0, 0.0)
    return {
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "load_1_min": round(load[0], 2),
    }
