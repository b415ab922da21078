"""Settings of connections are checked at the start: each mistake is one line that names key and fix."""

from __future__ import annotations

import importlib.util
from typing import Any
from urllib.parse import quote

import pytest

from sinks.clickhouse import parse_dsn, target_of
from streams.errors import ClickHouseUnreachable, SettingsError
from streams.settings import load_settings
from tests.security.certificates import KEY_PASSWORD, Certificates
from tests.security.conftest import CLICKHOUSE_PASSWORD
from tests.security.secrets import WRONG_PASSWORD, assert_no_secret

SASL = {"kafka_security_protocol": "SASL_SSL", "kafka_sasl_username": "me", "kafka_sasl_password": WRONG_PASSWORD}
TLS = {"kafka_security_protocol": "SSL", "kafka_ssl_cafile": "authority"}
HTTPS = {"clickhouse_dsn": "https://u:p@host/db"}


@pytest.mark.parametrize(
    ("given", "key", "says"),
    [
        ({"kafka_sasl_password": WRONG_PASSWORD}, "KAFKA_SASL_PASSWORD", "no effect with .*=PLAINTEXT; .* SASL_SSL"),
        ({"kafka_ssl_cafile": "authority"}, "KAFKA_SSL_CAFILE", "no effect with .*=PLAINTEXT; .* SSL or SASL_SSL"),
        ({**TLS, "kafka_sasl_username": "me"}, "KAFKA_SASL_USERNAME", "no effect with .*=SSL"),
        ({**SASL, "kafka_sasl_username": None}, "KAFKA_SASL_USERNAME", "is not set; PLAIN needs it"),
        ({**SASL, "kafka_sasl_password": None}, "KAFKA_SASL_PASSWORD", "is not set; PLAIN needs it"),
        ({**SASL, "kafka_sasl_mechanism": "OAUTHBEARER"}, "KAFKA_SASL_OAUTH_TOKEN_FILE", "or .*_OAUTH_TOKEN_URL"),
        (
            {**SASL, "kafka_sasl_mechanism": "OAUTHBEARER", "kafka_sasl_oauth_token_file": "/nowhere"},
            "KAFKA_SASL_OAUTH_TOKEN_FILE",
            "/nowhere cannot be read: No such file",
        ),
        (
            {**SASL, "kafka_sasl_mechanism": "OAUTHBEARER", "kafka_sasl_oauth_token_url": "https://a:b@host/"},
            "KAFKA_SASL_OAUTH_TOKEN_URL",
            "without user or password",
        ),
        ({**TLS, "kafka_ssl_cafile": "/nowhere"}, "KAFKA_SSL_CAFILE", "/nowhere cannot be read: No such file"),
        ({**TLS, "kafka_ssl_cafile": "client_key"}, "KAFKA_SSL_CAFILE", "no certificates in .*client.encrypted.key"),
        ({**TLS, "kafka_ssl_keyfile": "client_key"}, "KAFKA_SSL_CERTFILE", "a key needs its certificate"),
        ({**TLS, "kafka_ssl_key_password": WRONG_PASSWORD}, "KAFKA_SSL_KEY_PASSWORD", "no effect without"),
        (
            {**TLS, "kafka_ssl_certfile": "client", "kafka_ssl_keyfile": "client_key"},
            "KAFKA_SSL_CERTFILE",
            "cannot be used .*CALLMETER_KAFKA_SSL_KEY_PASSWORD",
        ),
        (
            {
                **TLS,
                "kafka_ssl_certfile": "client",
                "kafka_ssl_keyfile": "client_key",
                "kafka_ssl_key_password": WRONG_PASSWORD,
            },
            "KAFKA_SSL_CERTFILE",
            "cannot be used .*CALLMETER_KAFKA_SSL_KEY_PASSWORD",
        ),
        ({**TLS, "kafka_ssl_certfile": "client"}, "KAFKA_SSL_CERTFILE", "which should hold the key too"),
        (
            {"clickhouse_dsn": "http://u:p@host/db", "clickhouse_ssl_cafile": "authority"},
            "CLICKHOUSE_SSL_CAFILE",
            "DSN has to begin with https",
        ),
        ({"clickhouse_ssl_verify": False}, "CLICKHOUSE_SSL_VERIFY", "DSN has to begin with https"),
        ({**HTTPS, "clickhouse_ssl_cafile": "client_key"}, "CLICKHOUSE_SSL_CAFILE", "no certificates in"),
        ({**HTTPS, "clickhouse_ssl_keyfile": "client_key"}, "CLICKHOUSE_SSL_CERTFILE", "a key needs its certificate"),
        ({**HTTPS, "clickhouse_ssl_certfile": "client"}, "CLICKHOUSE_SSL_CERTFILE", "cannot be used"),
        (
            {**HTTPS, "clickhouse_ssl_cafile": "authority", "clickhouse_ssl_verify": False},
            "CLICKHOUSE_SSL_CAFILE",
            "no effect with CALLMETER_CLICKHOUSE_SSL_VERIFY=false",
        ),
    ],
)
def test_a_mistake_is_one_line(certificates: Certificates, given: dict[str, Any], key: str, says: str) -> None:
    values = {
        name: getattr(certificates, value) if isinstance(value, str) and hasattr(certificates, value) else value
        for name, value in given.items()
    }
    with pytest.raises(SettingsError, match=f"^CALLMETER_{key}: .*{says}") as raised:
        load_settings(**values)
    assert "\n" not in str(raised.value)
    assert_no_secret(str(raised.value))


@pytest.mark.skipif(importlib.util.find_spec("gssapi") is not None, reason="gssapi is installed")
def test_kerberos_without_its_package_is_named() -> None:
    with pytest.raises(SettingsError, match=r"^CALLMETER_KAFKA_SASL_MECHANISM: GSSAPI needs the Python package gssapi"):
        load_settings(kafka_security_protocol="SASL_SSL", kafka_sasl_mechanism="GSSAPI")


def test_kerberos_passes_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    settings = load_settings(
        kafka_security_protocol="SASL_SSL",
        kafka_sasl_mechanism="GSSAPI",
        kafka_sasl_kerberos_service="broker",
        kafka_sasl_kerberos_domain="example.org",
    )
    arguments = settings.kafka_client()
    assert arguments["sasl_mechanism"] == "GSSAPI"
    assert arguments["sasl_kerberos_service_name"] == "broker"
    assert arguments["sasl_kerberos_domain_name"] == "example.org"


def test_an_encrypted_key_is_used_with_its_password(certificates: Certificates) -> None:
    settings = load_settings(
        kafka_security_protocol="SSL",
        kafka_ssl_cafile=certificates.authority,
        kafka_ssl_certfile=certificates.client,
        kafka_ssl_keyfile=certificates.client_key,
        kafka_ssl_key_password=KEY_PASSWORD,
    )
    assert settings.kafka_client()["ssl_context"].check_hostname
    assert_no_secret(repr(settings), str(settings), settings.model_dump_json())


def test_a_dsn_shows_its_password_to_nobody() -> None:
    target = parse_dsn(f"https://u:{CLICKHOUSE_PASSWORD.replace('?', '%3F')}@host/db")
    assert target.password == CLICKHOUSE_PASSWORD
    assert_no_secret(repr(target), str(target))
    settings = load_settings(clickhouse_dsn=f"https://u:{quote(WRONG_PASSWORD, safe='')}@host/db")
    assert target_of(settings).password == WRONG_PASSWORD
    assert_no_secret(repr(settings), repr(target_of(settings)), settings.model_dump_json())


@pytest.mark.parametrize("mark", ["/", "?", "#"])
@pytest.mark.parametrize("begins", ["", "8123"])
def test_a_password_that_is_not_escaped_is_not_taken_for_a_host(mark: str, begins: str) -> None:
    password = f"{begins}{mark}{WRONG_PASSWORD}"
    with pytest.raises(ClickHouseUnreachable, match="written as %XX") as raised:
        parse_dsn(f"https://u:{password}@host/db")
    assert_no_secret(str(raised.value))
    assert begins == "" or begins not in str(raised.value)


@pytest.mark.parametrize(
    "given",
    [
        {"CALLMETER_KAFKA_SASL_PASSWORD": WRONG_PASSWORD},
        {"CALLMETER_CLICKHOUSE_DSN": f"postgres://u:{WRONG_PASSWORD}@host"},
        {"CALLMETER_KAFKA_SASL_PASSWRD": WRONG_PASSWORD},
    ],
)
def test_a_command_with_a_bad_setting_does_not_show_it(given: dict[str, str], monkeypatch: Any) -> None:
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    from tests.cli.commands import run

    ran = run("usage")
    assert ran.code > 0
    assert ran.error
    assert_no_secret(ran.error, ran.out)


def test_a_file_of_settings_with_a_secret_that_is_none_does_not_show_it(tmp_path: Any, monkeypatch: Any) -> None:
    file = tmp_path / "callmeter.toml"
    file.write_text(f'kafka_sasl_password = ["{WRONG_PASSWORD}"]\n')
    monkeypatch.setenv("CALLMETER_CONFIG", str(file))
    with pytest.raises(SettingsError, match=r"^CALLMETER_KAFKA_SASL_PASSWORD: ") as raised:
        load_settings()
    assert_no_secret(str(raised.value))
