"""Several stages in one worker process: `python -m pipeline.run.single [STAGE...]`; all by default.

Their Faust apps share one event loop, one interpreter and one set of caches, which costs fewer
wake-ups where cores are few. They share no state: each has its own group, log and position, just as
in processes of their own. When one of them fails for good the process ends, and all start again.
"""

import sys
from collections.abc import Sequence
from importlib import import_module

import faust

from pipeline.settings import load_settings
from pipeline.stages.routes import ROUTES

__all__ = ["main"]


def main(stages: Sequence[str]) -> None:
    """Run a worker of these stages, of all where there are none, until it is told to stop."""
    settings = load_settings()
    apps = [import_module(f"pipeline.stages.{stage}").app for stage in stages or ROUTES]
    for app in apps:
        app.finalize()
    first, *others = apps
    worker = faust.Worker(first, *others, loglevel=settings.log_level.lower(), quiet=True)
    worker.execute_from_commandline()


if __name__ == "__main__":
    main(sys.argv[1:])
