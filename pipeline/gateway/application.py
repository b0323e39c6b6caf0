"""The gateway as a Faust worker: `faust -A pipeline.gateway worker -l info`."""

import re
from pathlib import Path
from typing import Any

from pipeline import __version__
from pipeline.clock import WallClock
from pipeline.control.security_log import SecurityLog
from pipeline.coordination.systems import LocalSystem, Vitals, process_load
from pipeline.coordination.versions import versions_of
from pipeline.coordination.vocabulary import Role
from pipeline.gateway.figures import GatewayFigures
from pipeline.gateway.paper import PaperBehaviour, PaperVenue
from pipeline.gateway.plan_check import PlanCheck
from pipeline.gateway.refusals import Refusals
from pipeline.gateway.state import GatewayFold
from pipeline.gateway.venue import Venue
from pipeline.gateway.worker import GATEWAY_LOG, Gateway
from pipeline.keys import Verifier
from pipeline.settings import Settings, load_settings
from pipeline.stages.app import LogApp, coordinate, log_app, serve
from pipeline.stages.coordinated import WorkerPeer
from pipeline.transport.host import LogHost

__all__ = ["gateway_app", "paper_file"]


def paper_file(settings: Settings) -> Path:
    """Return the file in which the paper broker of a namespace keeps its orders."""
    name = re.sub(r"[^A-Za-z0-9_.-]", "_", settings.namespace) or "default"
    return settings.home / "venue" / f"{name}.sqlite"


def gateway_app(venue: Venue | None = None, settings: Settings | None = None) -> LogApp:
    """Return the Faust app of the gateway.

    Args:
        venue: Where orders go; the paper broker where None.
        settings: Settings; those of the environment where None.
    """
    settings = settings or load_settings()
    if venue is None:
        venue = PaperVenue(paper_file(settings), PaperBehaviour.parse(settings.paper))
    app = log_app(settings, GATEWAY_LOG)
    app.host = LogHost(settings, GATEWAY_LOG, GatewayFold(), WallClock(), prompt=True)
    refusals = Refusals(SecurityLog(settings), app.bus, app.host.clock)
    verifier = Verifier.of(settings)
    check = None if verifier is None else PlanCheck(verifier, app.host.clock, refusals.plan)
    app.control.watch(refusals.command)
    gateway = Gateway(app.host, app.control, venue, settings, check)
    load = process_load()
    figures = GatewayFigures(app.host, app.control.view, gateway)
    serve(app, "gateway_rounds", gateway.work_off, gateway.broken, figures)
    system = LocalSystem(
        GATEWAY_LOG.stage,
        "Gateway",
        role=Role.WORKER,
        configuration={
            "worker": app.host.owner,
            "build": app.host.build,
            **versions_of(settings, app.host.clock.now_us()).announced(),
        },
        version=__version__,
        vitals=lambda: Vitals(load(), figures.vitals()),
    )
    app.peer = WorkerPeer(system, settings, app.bus, app.host.clock)
    coordinate(app)

    @app.task
    async def _compare(_: Any) -> None:
        gateway.start_comparing()

    return app
