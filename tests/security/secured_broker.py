"""A Kafka that trusts nobody: TLS, SASL, and the standard authorizer, on one KRaft node.

| listener | who comes in |
|---|---|
| SASL_SSL | PLAIN, SCRAM-SHA-512, OAUTHBEARER; the principal is the user's name |
| MTLS | who has a certificate of the tests' authority; the principal is its common name |
| CONTROLLER | the node itself, by its certificate |

`admin` and the node itself are super users, everybody else may do what an ACL allows.
"""

import secrets
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from pipeline.broker import ThisMachine, probe
from pipeline.broker.artifacts import default_cache, java, kafka_jars
from pipeline.broker.storage import new_cluster_id
from pipeline.errors import PipelineError
from pipeline.resources import resource
from tests.security.certificates import Authority
from tests.security.tokens import AUDIENCE, TokenServer

__all__ = ["ADMIN", "SecuredBroker", "secured_broker"]

ADMIN = "admin"
_START_S = 150.0
_LOGIN = "org.apache.kafka.common.security"
_VALIDATOR = "org.apache.kafka.common.security.oauthbearer.OAuthBearerValidatorCallbackHandler"


class SecuredBroker:
    """The broker while it runs.

    Args:
        folder: Where its files lie.

    Attributes:
        bootstrap: Its SASL_SSL listener.
        mtls: Its listener for certificates.
        authority: Signs certificates that it takes.
        tokens: Gives tokens that it takes.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = Authority(folder)
        self.passwords = {ADMIN: secrets.token_hex(12)}
        self.tokens = TokenServer(folder, self.passwords)
        machine = ThisMachine()
        ports = [machine.free_port(0) for _ in range(3)]
        self.bootstrap, self.mtls = (f"127.0.0.1:{port}" for port in ports[:2])
        self._properties = folder / "server.properties"
        self._write_properties(*ports)
        jars = kafka_jars(machine, resource("docker/kafka/pom.xml"), default_cache(), print)
        self._java = [
            java(machine), "-XX:TieredStopAtLevel=1", "-Xmx512m",
            f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={self.tokens.key_set.as_uri()}",
            "-cp", f"{jars}/*",
        ]  # fmt: skip
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        tool = ["kafka.tools.StorageTool", "format", "-t", new_cluster_id(), "-c"]
        with (self.folder / "kafka.out").open("ab") as output:
            subprocess.run(
                [*self._java, *tool, str(self._properties)],
                check=True, stdout=output, stderr=output, timeout=60,
            )  # fmt: skip
            self._process = subprocess.Popen(
                [*self._java, "kafka.Kafka", str(self._properties)], stdout=output, stderr=output
            )
        try:
            self._await()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.tokens.close()
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    # -- clients -------------------------------------------------------------------------------

    def login(self, user: str, mechanism: str = "SCRAM-SHA-512") -> dict[str, str]:
        """Return the Kafka properties by which a user comes in with a password."""
        return {
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": mechanism,
            "sasl.username": user,
            "sasl.password": self.passwords[user],
            "ssl.ca.location": str(self.authority.file),
        }

    def bearer(self, user: str) -> dict[str, str]:
        """Return the Kafka properties by which a user comes in with a token."""
        return {
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": "OAUTHBEARER",
            "sasl.oauthbearer.method": "oidc",
            "sasl.oauthbearer.client.id": user,
            "sasl.oauthbearer.client.secret": self.passwords[user],
            "sasl.oauthbearer.token.endpoint.url": self.tokens.url,
            "ssl.ca.location": str(self.authority.file),
        }

    def certificate(self, user: str) -> dict[str, str]:
        """Return the Kafka properties by which a user comes in with a certificate."""
        certificate, key = self.authority.issue(user)
        return {
            "security.protocol": "SSL",
            "ssl.certificate.location": str(certificate),
            "ssl.key.location": str(key),
            "ssl.ca.location": str(self.authority.file),
        }

    def admin(self) -> AdminClient:
        """Return a client that may do everything."""
        properties: dict[str, Any] = {
            **self.login(ADMIN, "PLAIN"),
            "bootstrap.servers": self.bootstrap,
        }
        return AdminClient(properties)

    def add_users(self, *users: str) -> None:
        """Make users with passwords, by SCRAM; wait until each can come in."""
        for user in users:
            self.passwords[user] = secrets.token_hex(12)
        scram = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
        admin = self.admin()  # it must live until the answer is there
        made = admin.alter_user_scram_credentials(
            [
                UserScramCredentialUpsertion(user, scram, self.passwords[user].encode())
                for user in users
            ]
        )
        for future in made.values():
            future.result(timeout=60)
        for user in users:
            self._await_login(user)

    def allow(self, *rights: tuple[str, str, str, str, str]) -> None:
        """Grant rights: (principal, resource, pattern, name, operation), as TOPICS words them."""
        admin = self.admin()
        made = admin.create_acls(
            [
                AclBinding(
                    ResourceType[kind.upper()], name, ResourcePatternType[pattern.upper()],
                    who, "*", AclOperation[operation.upper()], AclPermissionType.ALLOW,
                )
                for who, kind, pattern, name, operation in rights
            ]
        )  # fmt: skip
        for future in made.values():
            future.result(timeout=60)

    def credentials(self, folder: Path, users: Mapping[str, str]) -> Path:
        """Write credentials for roles: a folder of files for each; return that of all.

        Args:
            folder: Where to.
            users: The user of each role.
        """
        for role, user in users.items():
            mine = folder / role
            mine.mkdir(parents=True)
            for name, value in self.login(user).items():
                file = mine / name
                file.touch(mode=0o600)
                file.write_text(value + "\n")
        return folder

    # -- its life ------------------------------------------------------------------------------

    def _await(self) -> None:
        self._until(self.login(ADMIN, "PLAIN"))

    def _await_login(self, user: str) -> None:
        self._until(self.login(user))

    def _until(self, login: dict[str, str]) -> None:
        deadline_s = time.monotonic() + _START_S
        while True:
            try:
                probe(self.bootstrap, timeout_s=3.0, properties=login)
            except PipelineError as error:
                ended = self._process is None or self._process.poll() is not None
                if ended or time.monotonic() > deadline_s:
                    said = (self.folder / "kafka.out").read_text()[-3000:]
                    raise AssertionError(
                        f"Expected the broker to answer: {error}\n{said}"
                    ) from error
                time.sleep(0.2)
            else:
                return

    def _write_properties(self, sasl: int, mtls: int, controller: int) -> None:
        certificate, key = self.authority.issue("broker")
        chain = self.folder / "broker.pem"
        chain.write_bytes(key.read_bytes() + certificate.read_bytes())
        password = self.passwords[ADMIN]
        own = "listener.name.sasl_ssl"
        properties = {
            "node.id": 1,
            "process.roles": "broker,controller",
            "listeners": (
                f"SASL_SSL://127.0.0.1:{sasl},MTLS://127.0.0.1:{mtls},"
                f"CONTROLLER://127.0.0.1:{controller}"
            ),
            "advertised.listeners": f"SASL_SSL://127.0.0.1:{sasl},MTLS://127.0.0.1:{mtls}",
            "listener.security.protocol.map": "SASL_SSL:SASL_SSL,MTLS:SSL,CONTROLLER:SSL",
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "MTLS",
            "controller.quorum.voters": f"1@127.0.0.1:{controller}",
            "log.dirs": self.folder / "data",
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": chain,
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": self.authority.file,
            "listener.name.mtls.ssl.client.auth": "required",
            "listener.name.controller.ssl.client.auth": "required",
            "ssl.principal.mapping.rules": "RULE:^CN=(.*?)$/$1/,DEFAULT",
            f"{own}.sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-512,OAUTHBEARER",
            "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-512,OAUTHBEARER",
            f"{own}.plain.sasl.jaas.config": (
                f'{_LOGIN}.plain.PlainLoginModule required user_{ADMIN}="{password}";'
            ),
            f"{own}.scram-sha-512.sasl.jaas.config": f"{_LOGIN}.scram.ScramLoginModule required;",
            f"{own}.oauthbearer.sasl.jaas.config": (
                f"{_LOGIN}.oauthbearer.OAuthBearerLoginModule required;"
            ),
            f"{own}.oauthbearer.sasl.server.callback.handler.class": _VALIDATOR,
            f"{own}.oauthbearer.sasl.oauthbearer.jwks.endpoint.url": self.tokens.key_set.as_uri(),
            f"{own}.oauthbearer.sasl.oauthbearer.expected.audience": AUDIENCE,
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": f"User:{ADMIN};User:broker",
            "allow.everyone.if.no.acl.found": "false",
            "auto.create.topics.enable": "false",
            "group.initial.rebalance.delay.ms": 0,
            "offsets.topic.replication.factor": 1,
            "transaction.state.log.replication.factor": 1,
            "transaction.state.log.min.isr": 1,
            "offsets.topic.num.partitions": 4,
            "num.network.threads": 2,
            "num.io.threads": 2,
        }
        lines = "".join(f"{name}={value}\n" for name, value in properties.items())
        self._properties.touch(mode=0o600)  # it holds the admin's password
        self._properties.write_text(lines)


@contextmanager
def secured_broker(folder: Path) -> Iterator[SecuredBroker]:
    """Run a secured broker whose files lie in `folder`, which is removed at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with SecuredBroker(folder) as broker:
            yield broker
    finally:
        shutil.rmtree(folder, ignore_errors=True)
