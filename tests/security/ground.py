"""A namespace on a secured broker: topics, a user for each role with its rights, keys, settings."""

import dataclasses
from pathlib import Path
from typing import Any

from pipeline import topics
from pipeline.keys import KeyMaker, Purpose
from pipeline.settings import Settings, load_settings
from pipeline.topics import TopicFile
from pipeline.topics.acls import bindings, principal, roles
from tests.security.secured_broker import ADMIN, SecuredBroker

__all__ = ["Ground"]

_PURPOSES = {
    "operator": Purpose.CONTROL,
    "emergency": Purpose.CONTROL,
    "risk": Purpose.RESTRICT,
    "gateway": Purpose.RESTRICT,
    "execution": Purpose.PLANS,
}
_USER = "User:"


@dataclasses.dataclass
class Ground:
    """Everything that the roles of a namespace need on a secured broker.

    Attributes:
        broker: The broker.
        namespace: The namespace.
        folder: Where credentials and keys go.
        partitions: Partitions of what is keyed by symbol.
    """

    broker: SecuredBroker
    namespace: str
    folder: Path
    partitions: int = 1

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.file = TopicFile.load().with_symbol_partitions(self.partitions)
        self.keys = self.folder / "keys.json"
        self.credentials = self.folder / "credentials"
        admin = self.settings(kafka=self.broker.login(ADMIN, "PLAIN"))
        topics.apply(admin, self.file)
        self.users = {role: principal(role, admin).removeprefix(_USER) for role in roles(self.file)}
        self.broker.add_users(*self.users.values())
        self.broker.allow(
            *(
                (each.principal, each.resource, each.pattern, each.name, each.operation)
                for each in bindings(self.file, admin)
            )
        )
        self.broker.credentials(self.credentials, self.users)
        for role, purpose in _PURPOSES.items():
            authors = (role,) if purpose is Purpose.CONTROL else ()
            KeyMaker(self.keys).new(role, purpose, authors, self.credentials / role / "signing.key")

    def settings(self, **changes: Any) -> Settings:
        """Return settings of this namespace."""
        given = {"broker": self.broker.bootstrap, "namespace": self.namespace, **changes}
        return load_settings(home=self.folder / "home", **given)

    def of(self, role: str, *, signed: bool = True, **changes: Any) -> Settings:
        """Return the settings of a role, with its credentials and, where it has one, its key.

        Args:
            role: The role.
            signed: Whether there is a key ring.
            **changes: More settings.
        """
        keys = self.keys if signed else None
        return self.settings(credentials=self.credentials, role=role, keys=keys, **changes)
