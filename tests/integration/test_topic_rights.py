"""Rights of `topics.yaml` on a broker with an authorizer: planned, given, and never taken."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.settings import Settings, load_settings
from pipeline.topics import RightAction, TopicFile, carry_out, make_plan
from pipeline.topics.acls import bindings, principal
from tests.security.secured_broker import ADMIN, SecuredBroker, secured_broker

pytestmark = pytest.mark.integration
FILE = TopicFile.load()


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredBroker]:
    """A broker with TLS, logins and the standard authorizer."""
    with secured_broker(tmp_path_factory.mktemp("secured") / "kafka") as broker:
        yield broker


def _admin(secured: SecuredBroker, namespace: str, folder: Path) -> Settings:
    login = secured.login(ADMIN, "PLAIN")
    return load_settings(broker=secured.bootstrap, namespace=namespace, home=folder, kafka=login)


def test_rights_are_planned_given_once_and_then_in_sync(
    secured: SecuredBroker, tmp_path: Path
) -> None:
    """The plan has each right of each role; after `apply` it is empty."""
    settings = _admin(secured, "rights", tmp_path)
    made = make_plan(settings, FILE, acls=True)
    assert made.rights is not None
    assert set(bindings(FILE, settings)) == {each.binding for each in made.rights}
    assert {RightAction.GRANT} == {each.action for each in made.rights}

    done = carry_out(settings, FILE, made)
    assert done.in_sync
    after = make_plan(settings, FILE, acls=True)
    assert (True, ()) == (after.in_sync, after.open)


def test_a_right_too_many_is_reported_and_left(secured: SecuredBroker, tmp_path: Path) -> None:
    """Whoever gave strategic the control log is told; nothing takes it away."""
    settings = _admin(secured, "surplus", tmp_path)
    carry_out(settings, FILE, make_plan(settings, FILE, acls=True))
    who, real = principal("strategic", settings), settings.topic("cascade.control")
    secured.allow((who, "topic", "literal", real, "write"))

    for _ in range(2):
        made = make_plan(settings, FILE, acls=True)
        assert [RightAction.SURPLUS] == [each.action for each in made.open]
        assert f"{who} may write topic {real}" == made.open[0].detail
        assert not carry_out(settings, FILE, made).in_sync


def test_another_namespace_s_rights_are_none_of_ours(
    secured: SecuredBroker, tmp_path: Path
) -> None:
    """Two namespaces on one broker plan and give beside each other."""
    one, other = (_admin(secured, name, tmp_path) for name in ("left", "right"))
    for settings in (one, other):
        carry_out(settings, FILE, make_plan(settings, FILE, acls=True))
    assert make_plan(one, FILE, acls=True).in_sync
    assert make_plan(other, FILE, acls=True).in_sync
