"""One record in a hundred is spoilt between the stages: the auditor names each, and no others."""

import os
import uuid

import msgspec
import pytest

from pipeline.settings import load_settings
from tests.audit_faults.rig import run_faults


@pytest.mark.timeout(900)
def test_each_planted_fault_is_named_and_no_other(
    kafka: str, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> None:
    """Corrupted, dropped, duplicated, delayed, reordered: by kind and record."""
    settings = load_settings(
        broker=kafka,
        namespace=f"audit-{uuid.uuid4().hex[:10]}",
        home=tmp_path_factory.mktemp("home"),
        cascade_timeout_ms=60_000,
        control_echo_timeout_s=30.0,
    )
    report = run_faults(
        settings,
        seconds=float(os.environ.get("AUDIT_FAULTS_SECONDS", "60")),
        rate=float(os.environ.get("AUDIT_FAULTS_RATE", "50")),
        seed=int(os.environ.get("AUDIT_FAULTS_SEED", "1")),
    )
    request.node.user_properties.append(("audit_faults", report))

    assert report.passed, msgspec.json.format(msgspec.json.encode(report)).decode()
