"""The HTML report of a demo."""

from pipeline.demo.runner import DemoRun
from pipeline.demo.summary import Summary

__all__ = ["write_report"]


def write_report(run: DemoRun, summary: Summary) -> str:
    """Return the report."""
    return f"<!doctype html><title>{run.rig.settings.namespace}</title>{summary.to_dict()}"
