"""One broker that asks for passwords, tokens and certificates, and one ClickHouse with a password."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from streams.settings import Settings
from tests.security.broker import PASSWORD, USER, SecureBroker
from tests.security.certificates import KEY_PASSWORD, Certificates
from tests.sinks.front import ClickHouse, clickhouse_front

CLICKHOUSE_PASSWORD = "cl1ck+h0use?"


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def secure_broker(tmp_path_factory: pytest.TempPathFactory, certificates: Certificates) -> Iterator[SecureBroker]:
    running = SecureBroker(tmp_path_factory.mktemp("secure-kafka"), certificates)
    try:
        running.start()
        yield running
    finally:
        running.stop()
        shutil.rmtree(running.data, ignore_errors=True)


@pytest.fixture(scope="session")
def clickhouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouse]:
    with clickhouse_front(tmp_path_factory.mktemp("clickhouse"), password=CLICKHOUSE_PASSWORD) as running:
        yield running


@pytest.fixture
def secured(secure_broker: SecureBroker, certificates: Certificates, tmp_path: Path) -> Callable[..., Settings]:
    """Makes settings that the broker lets in: ``secured("SASL_SSL", kafka_sasl_mechanism="PLAIN")``."""

    def make(protocol: str, **overrides: Any) -> Settings:
        name = f"t{tmp_path.name[-24:]}-{protocol.lower()}".replace("_", "-")
        values: dict[str, Any] = {
            "kafka_bootstrap": secure_broker.addresses[protocol],
            "kafka_security_protocol": protocol,
            "data_folder": tmp_path / name,
            "topic_prefix": f"{name}-",
            "group_id": name,
            "transactional_id": name,
            "partitions": 2,
            "http_port": 0,
        }
        if protocol.startswith("SASL"):
            values |= {"kafka_sasl_mechanism": "SCRAM-SHA-512"}
            values |= {"kafka_sasl_username": USER, "kafka_sasl_password": PASSWORD}
        if protocol.endswith("SSL"):
            values["kafka_ssl_cafile"] = certificates.authority
        if protocol == "SSL":
            values |= {"kafka_ssl_certfile": certificates.client, "kafka_ssl_keyfile": certificates.client_key}
            values["kafka_ssl_key_password"] = KEY_PASSWORD
        settings = Settings(**{**values, **overrides})
        settings.folder.mkdir(parents=True, exist_ok=True)
        return settings

    return make
