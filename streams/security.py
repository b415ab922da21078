"""How we show who we are to Kafka, and how we know that it is Kafka: arguments of its clients, checked at the start.

Every mechanism of the client library passes through: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, GSSAPI and OAUTHBEARER, with
TLS or without. A setting that would have no effect is an error: whoever names a certificate does not want to find out
later that the connection was in the clear.
"""

from __future__ import annotations

import base64
import importlib.util
import ssl
import time
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from aiohttp import ClientError, ClientSession, ClientTimeout
from aiokafka import conn
from aiokafka.abc import AbstractTokenProvider
from aiokafka.errors import KafkaError
from aiokafka.helpers import create_ssl_context

from streams.errors import SettingsError

if TYPE_CHECKING:
    from streams.settings import Settings

TOKEN_TIMEOUT_S = 5.0
# A token is replaced that long before it expires; where nobody says when, it is asked for each time.
TOKEN_MARGIN_S = 30.0


class Connection(conn.AIOKafkaConnection):
    """The library's connection, whose end by TLS is not waited for.

    uvloop waits up to 30 s for the other side's farewell while data of it is on its way, which it does not read
    (https://github.com/MagicStack/uvloop/issues/471). Nothing of ours is lost: every request has had its answer.
    """

    def close(self, reason: Any = None, exc: Any = None) -> Any:
        """Close at once."""
        transport = self._writer.transport if self._writer is not None and self._ssl_context is not None else None
        closed = super().close(reason, exc)
        if transport is not None:
            transport.abort()
        return closed


# Every client of the library makes its connections there.
conn.AIOKafkaConnection = Connection


class TokenUnavailable(KafkaError):
    """There is no token now; there may be one later."""

    retriable = True


class FileTokens(AbstractTokenProvider):
    """Tokens from a file that somebody else keeps fresh, read for each connection."""

    def __init__(self, file: Path) -> None:
        """Read from a file."""
        self._file = file

    async def token(self) -> str:
        """The token as of now.

        Raises:
            TokenUnavailable: the file cannot be read, or is empty.
        """
        try:
            token = self._file.read_text("utf-8").strip()
        except (OSError, ValueError) as error:
            raise TokenUnavailable(f"{self._file} cannot be read ({type(error).__name__})") from None
        if not token:
            raise TokenUnavailable(f"{self._file} is empty")
        return token


class ClientCredentials(AbstractTokenProvider):
    """Tokens from an OAuth 2 server, by the client credentials grant (RFC 6749, 4.4); kept while they are good."""

    def __init__(self, url: str, client: str, secret: str, scope: str | None) -> None:
        """Ask a token endpoint, as a client with a secret."""
        self._url = url
        basic = f"{quote(client, safe='')}:{quote(secret, safe='')}"
        self._headers = {"Authorization": "Basic " + base64.b64encode(basic.encode()).decode()}
        self._form = {"grant_type": "client_credentials", **({"scope": scope} if scope else {})}
        self._token = ""
        self._good_until = 0.0

    async def token(self) -> str:
        """A token that has not expired.

        Raises:
            TokenUnavailable: the server gives none.
        """
        if time.monotonic() < self._good_until:
            return self._token
        asked = time.monotonic()
        try:
            async with (
                ClientSession(timeout=ClientTimeout(total=TOKEN_TIMEOUT_S), headers=self._headers) as session,
                session.post(self._url, data=self._form) as answer,
            ):
                if answer.status != 200:
                    raise TokenUnavailable(f"{self._url} refuses a token with status {answer.status}")
                given = await answer.json(content_type=None)
            self._token = str(given["access_token"])
            self._good_until = asked + float(given.get("expires_in", 0)) - TOKEN_MARGIN_S
        except (ClientError, TimeoutError) as error:
            raise TokenUnavailable(f"{self._url} gives no token ({type(error).__name__})") from None
        except (ValueError, KeyError, TypeError, AttributeError):
            raise TokenUnavailable(f"{self._url} answers with something else than a token") from None
        return self._token


def kafka_arguments(settings: Settings) -> dict[str, Any]:
    """What every aiokafka client takes for its connections, beside the addresses.

    Raises:
        SettingsError: see `check_security`.
    """
    protocol, mechanism = settings.kafka_security_protocol, settings.kafka_sasl_mechanism
    arguments: dict[str, Any] = {"security_protocol": protocol}
    if protocol.startswith("SASL"):
        arguments["sasl_mechanism"] = mechanism
        if mechanism == "GSSAPI":
            arguments["sasl_kerberos_service_name"] = settings.kafka_sasl_kerberos_service
            arguments["sasl_kerberos_domain_name"] = settings.kafka_sasl_kerberos_domain
        elif mechanism == "OAUTHBEARER":
            arguments["sasl_oauth_token_provider"] = _tokens(settings)
        else:
            arguments["sasl_plain_username"] = settings.kafka_sasl_username
            arguments["sasl_plain_password"] = _password(settings)
    if protocol.endswith("SSL"):
        arguments["ssl_context"] = _ssl_context(settings)
    return arguments


def check_security(settings: Settings) -> None:
    """See that the settings of connections fit together, and that their files can be used.

    Raises:
        SettingsError: they do not; the message names key and fix, and never a secret.
    """
    protocol, mechanism = settings.kafka_security_protocol, settings.kafka_sasl_mechanism
    sasl, tls = protocol.startswith("SASL"), protocol.endswith("SSL")
    given = settings.model_fields_set
    for name in sorted(given):
        if getattr(settings, name) is None:
            continue
        if (name.startswith("kafka_sasl_") and not sasl) or (name.startswith("kafka_ssl_") and not tls):
            fitting = "SASL_SSL or SASL_PLAINTEXT" if name.startswith("kafka_sasl_") else "SSL or SASL_SSL"
            raise _wrong(
                name, f"has no effect with CALLMETER_KAFKA_SECURITY_PROTOCOL={protocol}; that has to be {fitting}"
            )
    if sasl:
        _check_mechanism(settings, mechanism)
    if tls:
        _check_files(settings, "kafka_ssl_cafile", "kafka_ssl_certfile", "kafka_ssl_keyfile")
        _ssl_context(settings)
    _check_clickhouse(settings, given)


def _check_mechanism(settings: Settings, mechanism: str) -> None:
    if mechanism == "GSSAPI":
        if importlib.util.find_spec("gssapi") is None:
            raise _wrong(
                "kafka_sasl_mechanism", "GSSAPI needs the Python package gssapi; install it, or choose another"
            )
        return
    url, file = settings.kafka_sasl_oauth_token_url, settings.kafka_sasl_oauth_token_file
    if mechanism != "OAUTHBEARER":
        _need(settings, f"{mechanism} needs it", "kafka_sasl_username", "kafka_sasl_password")
    elif url:
        if file:
            raise _wrong("kafka_sasl_oauth_token_file", "tokens come from CALLMETER_KAFKA_SASL_OAUTH_TOKEN_URL already")
        if not url.startswith(("https://", "http://")) or "@" in url:
            raise _wrong("kafka_sasl_oauth_token_url", "has to be https:// or http://, without user or password in it")
        _need(settings, "the token server asks for it", "kafka_sasl_username", "kafka_sasl_password")
    else:
        _need(settings, "or CALLMETER_KAFKA_SASL_OAUTH_TOKEN_URL: OAUTHBEARER needs it", "kafka_sasl_oauth_token_file")
        _check_files(settings, "kafka_sasl_oauth_token_file")


def _check_clickhouse(settings: Settings, given: set[str]) -> None:
    dsn = settings.clickhouse_dsn.get_secret_value() if settings.clickhouse_dsn else ""
    for name in sorted(given):
        if name.startswith("clickhouse_ssl_") and getattr(settings, name) is not None and not dsn.startswith("https:"):
            raise _wrong(name, "has no effect; CALLMETER_CLICKHOUSE_DSN has to begin with https://")
    _check_files(settings, "clickhouse_ssl_cafile", "clickhouse_ssl_certfile", "clickhouse_ssl_keyfile")
    if settings.clickhouse_ssl_cafile:
        if not settings.clickhouse_ssl_verify:
            raise _wrong(
                "clickhouse_ssl_cafile", "has no effect with CALLMETER_CLICKHOUSE_SSL_VERIFY=false; leave one out"
            )
        try:
            ssl.create_default_context(cafile=settings.clickhouse_ssl_cafile)
        except (ssl.SSLError, OSError):
            raise _wrong("clickhouse_ssl_cafile", f"no certificates in {settings.clickhouse_ssl_cafile}") from None
    if settings.clickhouse_ssl_keyfile and not settings.clickhouse_ssl_certfile:
        raise _wrong("clickhouse_ssl_certfile", "a key needs its certificate; set it too")
    if settings.clickhouse_ssl_certfile:
        _load_chain(
            ssl.create_default_context(),
            settings.clickhouse_ssl_certfile,
            settings.clickhouse_ssl_keyfile,
            "",
            "clickhouse_ssl_certfile",
        )


def _ssl_context(settings: Settings) -> ssl.SSLContext:
    password = settings.kafka_ssl_key_password
    if not settings.kafka_ssl_certfile and settings.kafka_ssl_keyfile:
        raise _wrong("kafka_ssl_certfile", "a key needs its certificate; set it too")
    if not settings.kafka_ssl_certfile and password:
        raise _wrong("kafka_ssl_key_password", "has no effect without CALLMETER_KAFKA_SSL_CERTFILE")
    return _make_ssl_context(
        settings.kafka_ssl_cafile,
        settings.kafka_ssl_certfile,
        settings.kafka_ssl_keyfile,
        password.get_secret_value() if password else "",
    )


@lru_cache(maxsize=8)
def _make_ssl_context(cafile: Path | None, cert: Path | None, key: Path | None, password: str) -> ssl.SSLContext:
    """Made once: it reads hundreds of certificates, and connections are many."""
    try:
        context: ssl.SSLContext = create_ssl_context(cafile=cafile)
    except (ssl.SSLError, OSError):
        raise _wrong("kafka_ssl_cafile", f"no certificates in {cafile}; it has to be a PEM file") from None
    if cert:
        _load_chain(context, cert, key, password, "kafka_ssl_certfile")
    return context


def _load_chain(context: ssl.SSLContext, cert: Path, key: Path | None, password: str, name: str) -> None:
    try:
        # Always with a password, or OpenSSL would ask for it at the terminal.
        context.load_cert_chain(cert, key, password)
    except (ssl.SSLError, OSError) as error:
        reason = getattr(error, "reason", None) or "unreadable"
        where = f"{cert} with its key {key}" if key else f"{cert}, which should hold the key too,"
        hint = "" if name.startswith("clickhouse") else ", and CALLMETER_KAFKA_SSL_KEY_PASSWORD if it is encrypted"
        raise _wrong(
            name, f"{where} cannot be used ({reason}); they have to be PEM files that belong together{hint}"
        ) from None


def _tokens(settings: Settings) -> AbstractTokenProvider:
    if settings.kafka_sasl_oauth_token_file:
        return FileTokens(settings.kafka_sasl_oauth_token_file)
    return _client_credentials(
        settings.kafka_sasl_oauth_token_url or "",
        settings.kafka_sasl_username or "",
        _password(settings),
        settings.kafka_sasl_oauth_scope,
    )


# One for all connections, so that they share its tokens.
_client_credentials = lru_cache(maxsize=8)(ClientCredentials)


def _password(settings: Settings) -> str:
    return settings.kafka_sasl_password.get_secret_value() if settings.kafka_sasl_password else ""


def _need(settings: Settings, why: str, *names: str) -> None:
    for name in names:
        if not getattr(settings, name):
            raise _wrong(name, f"is not set; {why}")


def _check_files(settings: Settings, *names: str) -> None:
    for name in names:
        file: Path | None = getattr(settings, name)
        if file is None:
            continue
        try:
            with file.open("rb"):
                pass
        except OSError as error:
            raise _wrong(name, f"{file} cannot be read: {error.strerror}") from None


def _wrong(name: str, what: str) -> SettingsError:
    return SettingsError(f"CALLMETER_{name.upper()}: {what}")
