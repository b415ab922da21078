"""A real Kafka broker that lets in only who shows a password, a token or a certificate."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deploy.kafka.broker import KafkaBroker
from deploy.kafka.process import HOST, free_port
from tests.security.certificates import Certificates

USER = "callmeter"
# With characters that mean something in addresses, quoting and patterns.
PASSWORD = "s3cr3t/p@ss:w%rd"
MODULES = "org.apache.kafka.common.security"


class SecureBroker(KafkaBroker):
    """Beside the usual listener, which tests use for themselves: one with SASL, one with TLS, one with both."""

    def __init__(self, folder: Path, certificates: Certificates) -> None:
        super().__init__(folder, port=0)
        self._certificates = certificates
        self.addresses = {protocol: f"{HOST}:{free_port()}" for protocol in ("SASL_PLAINTEXT", "SSL", "SASL_SSL")}

    def more_properties(self, client: str, controller: int) -> Sequence[str]:
        listeners = ",".join(f"{protocol}://{address}" for protocol, address in self.addresses.items())
        protocols = ",".join(f"{protocol}:{protocol}" for protocol in self.addresses)
        lines = [
            f"listeners={client},CONTROLLER://{HOST}:{controller},{listeners}",
            f"advertised.listeners={client},{listeners}",
            f"listener.security.protocol.map=CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT,{protocols}",
            "sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER",
        ]
        for protocol in self.addresses:
            name = f"listener.name.{protocol.lower()}"
            if protocol.startswith("SASL"):
                lines += [
                    f"{name}.plain.sasl.jaas.config={MODULES}.plain.PlainLoginModule required "
                    f'user_{USER}="{PASSWORD}";',
                    f"{name}.scram-sha-256.sasl.jaas.config={MODULES}.scram.ScramLoginModule required;",
                    f"{name}.scram-sha-512.sasl.jaas.config={MODULES}.scram.ScramLoginModule required;",
                    f"{name}.oauthbearer.sasl.jaas.config={MODULES}.oauthbearer.OAuthBearerLoginModule required;",
                ]
            if protocol.endswith("SSL"):
                lines += [
                    f"{name}.ssl.keystore.type=PEM",
                    f"{name}.ssl.keystore.location={self._certificates.server}",
                    f"{name}.ssl.truststore.type=PEM",
                    f"{name}.ssl.truststore.location={self._certificates.authority}",
                    f"{name}.ssl.client.auth={'required' if protocol == 'SSL' else 'none'}",
                ]
        return lines

    def format_options(self) -> Sequence[str]:
        return [
            word
            for kind in ("SCRAM-SHA-256", "SCRAM-SHA-512")
            for word in ("--add-scram", f"{kind}=[name={USER},password={PASSWORD}]")
        ]


def token(**claims: Any) -> str:
    """A token that the broker's default validator takes: unsigned, and good for an hour."""
    now = int(time.time())
    parts = [{"alg": "none"}, {"sub": USER, "iat": now, "exp": now + 3600, **claims}]
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts) + "."
