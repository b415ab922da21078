"""Settings: ``CALLMETER_*`` variables, or a TOML file named by ``CALLMETER_CONFIG``.

Variables win over the file. Everything is checked at the start; each error names its key. Settings that change
money are not here: they are facts in the log (``rules.set``), so that a replay finds them.
"""

from __future__ import annotations

import difflib
import json
import os
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from streams.errors import SettingsError
from streams.units import parse_units

PREFIX = "CALLMETER_"
CONFIG_VARIABLE = "CALLMETER_CONFIG"
# Settings of connections that need a look at how they fit together.
SECURE = ("kafka_security_", "kafka_sasl_", "kafka_ssl_", "clickhouse_ssl_")


class Settings(BaseSettings):
    """All settings of all roles. Durations in seconds, sizes in records unless the name says otherwise."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True)

    data_folder: Path = Field(Path("~/.callmeter"), description="Where the local broker, engine and indexes keep data")
    kafka_bootstrap: str | None = Field(None, description="host:port[,host:port]; default: the local broker's")
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "GSSAPI", "OAUTHBEARER"] = "PLAIN"
    kafka_sasl_username: str | None = Field(None, description="User, or the client of the token server")
    kafka_sasl_password: SecretStr | None = None
    kafka_sasl_kerberos_service: str = "kafka"
    kafka_sasl_kerberos_domain: str | None = Field(None, description="Default: the broker's host name")
    kafka_sasl_oauth_token_file: Path | None = Field(None, description="Read for each connection")
    kafka_sasl_oauth_token_url: str | None = Field(None, description="Token endpoint, for client credentials")
    kafka_sasl_oauth_scope: str | None = None
    kafka_ssl_cafile: Path | None = Field(None, description="Certificates to trust; default: the machine's")
    kafka_ssl_certfile: Path | None = Field(None, description="Our own certificate, if the brokers ask for one")
    kafka_ssl_keyfile: Path | None = Field(None, description="Its key; default: in the certificate's file")
    kafka_ssl_key_password: SecretStr | None = None

    topic_prefix: str = Field("", description="Put before every topic's name")
    partitions: int = Field(12, ge=1, le=10_000, description="Partitions of every topic, fixed when it is created")
    replication: int = Field(1, ge=1, le=32_767)
    min_insync_replicas: int = Field(1, ge=1, le=32_767)
    group_id: str = Field("callmeter", min_length=1, description="Prefix of the consumer groups")
    transactional_id: str = Field(
        "callmeter", min_length=1, description="Prefix of the transactional ids; fences zombies"
    )

    # Where records are counted, one of more than 2 KiB counts for as many as it has of them, see `streams.flight`.
    batch_records: int = Field(10_000, ge=1, description="Most records in one transaction of the meter, of 2 KiB each")
    flight_records: int = Field(
        40_000, ge=1, description="Most records fetched and not yet committed, per worker, of 2 KiB each"
    )
    session_timeout_s: float = Field(6.0, gt=0)
    transaction_timeout_s: float = Field(30.0, gt=0)

    clickhouse_dsn: SecretStr | None = Field(
        None, description="chdb:///folder or http(s)://user:password@host:port/database"
    )
    clickhouse_ssl_cafile: Path | None = Field(None, description="Certificates to trust; default: the client's own")
    clickhouse_ssl_certfile: Path | None = None
    clickhouse_ssl_keyfile: Path | None = None
    clickhouse_ssl_verify: bool = Field(True, description="False: take any server for ours")
    sink_rows: int = Field(100_000, ge=1, le=500_000, description="Most rows in one insert, of 2 KiB each")
    sink_interval_s: float = Field(1.0, ge=0, description="From an insert of a partition to its next")

    units: Annotated[dict[str, int], NoDecode, BeforeValidator(parse_units)] = Field(
        {}, description="Units of money beyond ISO 4217 and their decimal places, such as USDT:6,POINTS:0"
    )
    stripe_key: SecretStr | None = Field(None, description="The platform's secret key at Stripe, sk_...")
    stripe_webhook_secret: SecretStr | None = Field(None, description="Of the endpoint of Stripe's webhooks, whsec_...")
    stripe_api_base: str | None = Field(None, description="Where Stripe is; default: its own address")
    stripe_timeout_s: float = Field(30.0, gt=0, description="Longest wait for an answer of Stripe's")
    tick_interval_s: float = Field(1.0, gt=0, description="Pause between two ticks of the clock")
    http_host: str = "127.0.0.1"
    http_port: int = Field(
        6066, ge=0, le=65_535, description="/metrics, /health and /ready of a role; 0: any free port"
    )
    api_host: str = "127.0.0.1"
    api_port: int = Field(8080, ge=0, le=65_535, description="What `callmeter api` serves; 0: any free port")
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["console", "json"] = "console"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments first, then variables, then the TOML file."""
        sources: tuple[PydanticBaseSettingsSource, ...] = (init_settings, env_settings)
        if path := os.environ.get(CONFIG_VARIABLE):
            sources += (TomlConfigSettingsSource(settings_cls, Path(path)),)
        return sources

    def topic(self, name: str) -> str:
        """The broker's name of one of our topics."""
        return self.topic_prefix + name

    @cached_property
    def folder(self) -> Path:
        """The data folder, absolute."""
        return self.data_folder.expanduser().absolute()

    @property
    def broker_run_file(self) -> Path:
        """Written by the local broker while it runs (JSON with ``bootstrap`` and ``pid``)."""
        return self.folder / "kafka" / "run.json"

    @property
    def clickhouse_run_file(self) -> Path:
        """Written by ``callmeter up`` while it serves the embedded engine (JSON with ``url`` and ``pid``)."""
        return self.folder / "clickhouse.json"

    @property
    def bootstrap(self) -> str:
        """Where the brokers are: the setting, else the local broker that runs, else Kafka's usual port."""
        if self.kafka_bootstrap:
            return self.kafka_bootstrap
        try:
            return str(json.loads(self.broker_run_file.read_text())["bootstrap"])
        except (OSError, ValueError, KeyError):
            return "127.0.0.1:9092"

    def kafka_client(self) -> dict[str, Any]:
        """Connection arguments that every aiokafka client takes."""
        from streams.security import kafka_arguments

        return {"bootstrap_servers": self.bootstrap, **kafka_arguments(self)}


def load_settings(**overrides: Any) -> Settings:
    """Read and check all settings.

    Args:
        overrides: values that win over variables and file (a command's own flags).

    Raises:
        SettingsError: an unknown ``CALLMETER_*`` variable (the nearest known one is named), a bad value, or an
            unreadable file.
    """
    known = {PREFIX + name.upper() for name in Settings.model_fields} | {CONFIG_VARIABLE}
    for variable in os.environ:
        if variable.startswith(PREFIX) and variable not in known:
            near = difflib.get_close_matches(variable, known, 1, 0.5)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise SettingsError(f"{variable} is not a setting of Callmeter{hint}")
    config = os.environ.get(CONFIG_VARIABLE)
    if config and not Path(config).is_file():
        raise SettingsError(f"{CONFIG_VARIABLE}: there is no file {config}")
    try:
        settings = Settings(**overrides)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        nearest = difflib.get_close_matches(key, Settings.model_fields, 1, 0.5)
        hint = f"; did you mean {nearest[0]}?" if first["type"] == "extra_forbidden" and nearest else ""
        secret = SecretStr in get_args(getattr(Settings.model_fields.get(key), "annotation", None))
        got = "" if secret or first["type"] == "extra_forbidden" else f" (got {first['input']!r})"
        raise SettingsError(f"{PREFIX}{key.upper()}: {first['msg']}{got}{hint}") from None
    except ValueError as error:
        raise SettingsError(f"{config}: {error}") from None
    if any(name.startswith(SECURE) for name in settings.model_fields_set):
        from streams.security import check_security

        check_security(settings)
    return settings
