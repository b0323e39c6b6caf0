"""Bringing a broker in line with `topics.yaml`: the plan is made once, and carried out as made.

Never: delete a topic or a right, take partitions or replicas away, move data, touch what the file
does not name. A topic whose keys would land elsewhere is grown only where that is allowed by name.
Each step may be done twice, so an `apply` that was interrupted is simply given again.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from pipeline.errors import ConfigurationError
from pipeline.settings import Settings
from pipeline.topics.acls import Binding, bindings, principal, roles
from pipeline.topics.changes import Action, Change, compare
from pipeline.topics.cluster import Cluster
from pipeline.topics.file import TopicFile

__all__ = ["Plan", "Right", "RightAction", "apply", "carry_out", "make_plan", "plan"]

_TIMEOUT_S = 15.0
# Some topics per request: few round trips, and a word about progress in between.
_AT_ONCE = 5


class RightAction(StrEnum):
    """What is to be done about a right.

    GRANT: it is missing. NONE: it is there. SURPLUS: the file does not give it; it is left, since
    nothing is ever taken away here, and reported.
    """

    GRANT = "grant"
    NONE = "none"
    SURPLUS = "surplus"


@dataclass(frozen=True, slots=True)
class Right:
    """What is to be done about a right of a role, or was.

    Attributes:
        action: What is to be done.
        detail: The right, as a sentence.
        binding: The right; None for a surplus of a kind that no role needs.
        done: Whether `apply` did it.
    """

    action: RightAction
    detail: str
    binding: Binding | None = None
    done: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """What stands between a cluster and the file.

    Attributes:
        cluster: Id of the cluster that it was made for.
        namespace: Prefix of the topics.
        profile: Profile of the file.
        topics: One change per topic, in the file's order.
        rights: Rights; None where they were not asked for.
    """

    cluster: str
    namespace: str
    profile: str
    topics: tuple[Change, ...]
    rights: tuple[Right, ...] | None = None

    @property
    def in_sync(self) -> bool:
        """Whether nothing is left to do, by `apply` or by people."""
        return not self.open

    @property
    def open(self) -> tuple[Change | Right, ...]:
        """What is left to do."""
        quiet = (Action.NONE, RightAction.NONE)
        every: tuple[Change | Right, ...] = (*self.topics, *(self.rights or ()))
        return tuple(each for each in every if each.action not in quiet and not each.done)


def plan(settings: Settings, file: TopicFile, *, timeout_s: float = _TIMEOUT_S) -> list[Change]:
    """Return what stands between the broker and the file, one item per topic in its order.

    Raises:
        BrokerUnavailable: If no broker answers within `timeout_s`.
        ConfigurationError: If no broker or no such profile is set.
    """
    return list(_changes(Cluster(settings, timeout_s), settings, file))


def make_plan(
    settings: Settings,
    file: TopicFile,
    *,
    acls: bool = False,
    repartition: Collection[str] = (),
    timeout_s: float = _TIMEOUT_S,
) -> Plan:
    """Return the whole plan.

    Args:
        settings: Broker, namespace, topic profile and pattern of principals.
        file: The topics as they are to be.
        acls: Whether rights are part of it.
        repartition: Topics that may be grown though their records have keys.
        timeout_s: For each request.

    Raises:
        BrokerUnavailable: If no broker answers within `timeout_s`.
        ConfigurationError: If no broker or no such profile is set, rights cannot be seen, or
            `repartition` names a topic that the file has not.
    """
    if unknown := sorted(set(repartition) - file.topics.keys()):
        raise ConfigurationError(f"Expected topics of the file, was {', '.join(unknown)}")
    cluster = Cluster(settings, timeout_s)
    return Plan(
        cluster.identity(),
        settings.namespace,
        settings.topic_profile,
        tuple(_changes(cluster, settings, file, repartition)),
        tuple(_rights(cluster, settings, file)) if acls else None,
    )


def apply(settings: Settings, file: TopicFile, *, timeout_s: float = _TIMEOUT_S) -> list[Change]:
    """Bring the broker's topics in line with the file; return what was done and what is left.

    Several may do so at once. Returns once every partition that was missing answers.

    Args:
        settings: Broker, namespace and topic profile.
        file: The topics as they are to be.
        timeout_s: For each request, and for the topics to appear.

    Raises:
        BrokerUnavailable: If no broker answers in time, or topics do not appear in time.
        ConfigurationError: If the broker refuses a change, or no broker or profile is set.
    """
    made = make_plan(settings, file, timeout_s=timeout_s)
    return list(carry_out(settings, file, made, timeout_s=timeout_s).topics)


def carry_out(
    settings: Settings,
    file: TopicFile,
    made: Plan,
    *,
    tell: Callable[[Change | Right], None] = lambda _: None,
    timeout_s: float = _TIMEOUT_S,
) -> Plan:
    """Carry out a plan, exactly as it was made, and return it with what was done.

    1. Create the topics that are missing, some at a time.
    2. Grow those that may grow.
    3. Set the configuration that drifted, key by key.
    4. Give the rights that are missing.
    5. Look again at topics that somebody else had created meanwhile.

    Args:
        settings: Those that the plan was made with.
        file: The file that it was made from.
        made: The plan.
        tell: Called with each item as soon as it is done.
        timeout_s: For each request, and for the topics to appear.

    Raises:
        BrokerUnavailable: If no broker answers in time, or topics do not appear in time.
        ConfigurationError: If the broker refuses a change; what came before it is done.
    """
    cluster = Cluster(settings, timeout_s)
    done = {each.real: each for each in _create(cluster, settings, file, made.topics, tell)}
    for change in made.topics:
        if change.action is Action.GROW:
            cluster.grow(change.real, change.partitions)
            cluster.wait_for({change.real: change.partitions})
        elif change.action not in (Action.DRIFT, Action.REASSIGN):
            continue
        if change.settings:
            cluster.configure(change.real, change.settings)
        if not change.action.refused:
            done[change.real] = replace(change, done=True)
            tell(done[change.real])
    return replace(
        made,
        topics=tuple(done.get(each.real, each) for each in made.topics),
        rights=None if made.rights is None else _granted(cluster, made.rights, tell),
    )


def _changes(
    cluster: Cluster, settings: Settings, file: TopicFile, repartition: Collection[str] = ()
) -> Iterator[Change]:
    profile = file.profile(settings.topic_profile)
    reals = {name: settings.topic(name) for name in file.topics}
    found = cluster.find(reals.values())
    for name, topic in file.topics.items():
        real = reals[name]
        yield compare(name, real, topic, profile, found.get(real), repartition=repartition)


def _create(
    cluster: Cluster,
    settings: Settings,
    file: TopicFile,
    changes: Sequence[Change],
    tell: Callable[[Change], None],
) -> Iterator[Change]:
    """Create what is missing; yield the changes that this did, and what others' creations left."""
    missing = [each for each in changes if each.action is Action.CREATE]
    replication = file.profile(settings.topic_profile).replication
    others: list[Change] = []
    for start in range(0, len(missing), _AT_ONCE):
        some = missing[start : start + _AT_ONCE]
        created = cluster.create(some, replication)
        for change in some:
            if change.real in created:
                done = replace(change, done=True)
                tell(done)
                yield done
            else:
                others.append(change)
    if missing:
        cluster.wait_for({each.real: each.partitions for each in missing if each not in others})
    if others:
        yield from _made_by_others(cluster, settings, file, others)


def _made_by_others(
    cluster: Cluster, settings: Settings, file: TopicFile, changes: Sequence[Change]
) -> Iterator[Change]:
    """Yield how topics stand that others created meanwhile: they may differ from ours."""
    names = {each.topic: file.topics[each.topic] for each in changes}
    cluster.wait_for_leaders([each.real for each in changes])
    yield from _changes(cluster, settings, file.model_copy(update={"topics": names}))


def _rights(cluster: Cluster, settings: Settings, file: TopicFile) -> Iterator[Right]:
    wanted = bindings(file, settings)
    there, others = cluster.rights({principal(role, settings) for role in roles(file)})
    for each in wanted:
        action = RightAction.NONE if each in there else RightAction.GRANT
        yield Right(action, str(each), each)
    # Another namespace's rights are none of ours, even of the same principal.
    for each in sorted(there - set(wanted)):
        if each.name == "*" or each.name.startswith(settings.group("")):
            yield Right(RightAction.SURPLUS, str(each), each)
    for told in others:
        yield Right(RightAction.SURPLUS, told)


def _granted(
    cluster: Cluster, rights: Sequence[Right], tell: Callable[[Right], None]
) -> tuple[Right, ...]:
    missing = [each for each in rights if each.action is RightAction.GRANT]
    if missing:
        cluster.grant([each.binding for each in missing if each.binding is not None])
    after = tuple(replace(each, done=each.action is RightAction.GRANT) for each in rights)
    for each in after:
        if each.done:
            tell(each)
    return after
