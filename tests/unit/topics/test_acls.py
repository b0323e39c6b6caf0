import pytest

from pipeline.errors import ConfigurationError
from pipeline.settings import Settings, load_settings
from pipeline.topics.acls import Binding, Operation, Pattern, Resource, bindings, principal, roles
from pipeline.topics.file import TopicFile

FILE = TopicFile.load()


def _settings(namespace: str = "", **more: str) -> Settings:
    return load_settings(namespace=namespace, **more)


def _named(role: str, operation: Operation, resource: Resource) -> set[str]:
    found = bindings(FILE, _settings(), role)
    return {each.name for each in found if (each.operation, each.resource) == (operation, resource)}


def test_a_role_may_write_and_read_what_the_file_says_and_no_more() -> None:
    """Of each role but the operator, topics and rights are exactly those of the file."""
    for role in set(roles(FILE)) - {"operator"}:
        written = {name for name, topic in FILE.topics.items() if role in topic.producers}
        read = {name for name, topic in FILE.topics.items() if role in topic.consumers}

        assert written == _named(role, Operation.WRITE, Resource.TOPIC)
        assert read == _named(role, Operation.READ, Resource.TOPIC)
        assert set() == _named(role, Operation.DESCRIBE_CONFIGS, Resource.TOPIC)


def test_a_strategic_credential_neither_plans_orders_nor_commands() -> None:
    """Strategic may write to none of execution's topics, and not to the control log."""
    written = _named("strategic", Operation.WRITE, Resource.TOPIC)

    assert not [name for name in written if "execution" in name or "control" in name]
    assert "cascade.strategic" in written


def test_the_operator_reads_everything_and_writes_what_the_file_says() -> None:
    """Commands that look back read each topic; logs are none of the operator's to write."""
    assert set(FILE.topics) == _named("operator", Operation.READ, Resource.TOPIC)
    assert set(FILE.topics) == _named("operator", Operation.DESCRIBE_CONFIGS, Resource.TOPIC)
    written = _named("operator", Operation.WRITE, Resource.TOPIC)
    assert {n for n, t in FILE.topics.items() if "operator" in t.producers} == written
    assert not [name for name in written if FILE.topics[name].kind == "log"]


def test_groups_are_a_roles_own() -> None:
    """A role joins groups of its own name, and only looks at others."""
    found = [each for each in bindings(FILE, _settings("prod"), "risk") if each.resource == "group"]

    assert [
        Binding("User:prod.risk", Resource.GROUP, Pattern.PREFIXED, "prod.", Operation.DESCRIBE),
        Binding(
            "User:prod.risk", Resource.GROUP, Pattern.PREFIXED, "prod.cascade.risk", Operation.READ
        ),
    ] == found


def test_nothing_outside_the_namespace_is_touched() -> None:
    """With a namespace every right is on names of that namespace, and so is every principal."""
    for each in bindings(FILE, _settings("prod")):
        assert each.name.startswith("prod.")
        assert each.principal.startswith("User:prod.")


def test_all_roles_together_are_each_of_them() -> None:
    """Without a role the rights of all are returned, sorted and once each."""
    settings = _settings()
    together = bindings(FILE, settings)

    assert sorted({e for role in roles(FILE) for e in bindings(FILE, settings, role)}) == together
    assert len(set(together)) == len(together)


def test_principals_follow_the_pattern() -> None:
    """A pattern names principals of certificates too; one without a role is refused."""
    settings = _settings("prod", acl_principal="User:CN={role},O=Desk")
    assert "User:CN=prod.risk,O=Desk" == principal("risk", settings)
    for wrong in ("User:all", "{role}", "User:*{role}"):
        with pytest.raises(ConfigurationError, match="acl_principal"):
            _settings(acl_principal=wrong)


def test_a_right_reads_as_a_sentence() -> None:
    """For people a right is a sentence, with a star behind a prefix."""
    each = Binding("User:risk", Resource.GROUP, Pattern.PREFIXED, "cascade.risk", Operation.READ)
    assert "User:risk may read group cascade.risk*" == str(each)
