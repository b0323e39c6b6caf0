"""Rights on the broker, derived from `producers` and `consumers` of the topics file.

A role is a name that stands there: `strategic`, `operator`, `market`. Each role has one principal,
and of the standard authorizer's rights those alone that its code uses:

- WRITE on each topic that it produces to, READ on each that it consumes; either lets it look the
  topic up. Idempotent producers need nothing beside WRITE, and there are no transactions.
- READ on the consumer groups that bear its name.
- DESCRIBE on every group of the namespace: a client that reads by plain assignment looks the
  coordinator of its (unused) group up all the same, and lags are read from other groups' offsets.
- The operator reads every topic and its configuration, since `cascade flow`, `metrics`, `validate`,
  `doctor` and `topics plan` do. What it may write is what the file says.

Nobody may create, change or delete a topic by these: that is for whoever runs
`cascade topics apply`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from pipeline.settings import Settings
from pipeline.topics.file import TopicFile

__all__ = ["Binding", "Operation", "Pattern", "Resource", "bindings", "principal", "roles"]

_OPERATOR = "operator"
_ROLES_OWN_GROUPS = {
    # `cascade metrics` and `cascade demo` read ends of flows as the monitor does.
    _OPERATOR: ("operator", "monitor"),
}


class Resource(StrEnum):
    """What a right is on."""

    TOPIC = "topic"
    GROUP = "group"


class Pattern(StrEnum):
    """How a right names it: in full, or by what its name begins with."""

    LITERAL = "literal"
    PREFIXED = "prefixed"


class Operation(StrEnum):
    """What a right allows."""

    READ = "read"
    WRITE = "write"
    DESCRIBE = "describe"
    DESCRIBE_CONFIGS = "describe_configs"


@dataclass(frozen=True, slots=True, order=True)
class Binding:
    """One right of one principal, from any host.

    Attributes:
        principal: Who has it, as the broker names it: `User:strategic`.
        resource: What it is on.
        pattern: How `name` is meant.
        name: Real name, or what it begins with; `*` for all.
        operation: What it allows.
    """

    principal: str
    resource: Resource
    pattern: Pattern
    name: str
    operation: Operation

    def __str__(self) -> str:
        name = f"{self.name}*" if self.pattern is Pattern.PREFIXED else self.name
        return f"{self.principal} may {self.operation} {self.resource} {name}"


def principal(role: str, settings: Settings) -> str:
    """Return a role's principal, by the pattern `CASCADE_ACL_PRINCIPAL`."""
    return settings.acl_principal.replace("{role}", settings.group(role))


def roles(file: TopicFile) -> list[str]:
    """Return every role that the file names, sorted."""
    return sorted(
        {role for topic in file.topics.values() for role in (*topic.producers, *topic.consumers)}
    )


def bindings(file: TopicFile, settings: Settings, role: str | None = None) -> list[Binding]:
    """Return the rights of a role, or of all roles, sorted.

    Args:
        file: The topics.
        settings: Namespace, and pattern of the principals.
        role: Whose; None: all.
    """
    chosen = roles(file) if role is None else [role]
    return sorted({each for name in chosen for each in _of(name, file, settings)})


def _of(role: str, file: TopicFile, settings: Settings) -> Iterator[Binding]:
    who = principal(role, settings)

    def right(
        operation: Operation, resource: Resource, name: str, pattern: Pattern = Pattern.LITERAL
    ) -> Binding:
        return Binding(who, resource, pattern, name, operation)

    for name, topic in file.topics.items():
        real = settings.topic(name)
        if role in topic.producers:
            yield right(Operation.WRITE, Resource.TOPIC, real)
        if role in topic.consumers or role == _OPERATOR:
            yield right(Operation.READ, Resource.TOPIC, real)
        if role == _OPERATOR:
            yield right(Operation.DESCRIBE_CONFIGS, Resource.TOPIC, real)
    for owner in _ROLES_OWN_GROUPS.get(role, (role,)):
        group = settings.group(f"cascade.{owner}")
        yield right(Operation.READ, Resource.GROUP, group, Pattern.PREFIXED)
    if settings.namespace:
        prefix = settings.group("")
        yield right(Operation.DESCRIBE, Resource.GROUP, prefix, Pattern.PREFIXED)
    else:
        yield right(Operation.DESCRIBE, Resource.GROUP, "*")
