"""Passwords, tokens and certificates: every part connects with them, and who has none is told so in one line."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
import uvloop
from aiohttp import web

from jobs.reading import TopicReader
from sinks.clickhouse import ClickHouseUnreachable, Store, open_store, target_of
from streams.administration import create_topics, find_topics
from streams.errors import BrokerUnreachable
from streams.settings import Settings
from streams.topics import LEDGER
from tests.broker import Process, command, process, wait_until
from tests.rating.builders import call, subscription
from tests.security.broker import SecureBroker, token
from tests.security.certificates import Certificates
from tests.security.conftest import CLICKHOUSE_PASSWORD
from tests.security.secrets import assert_no_secret
from tests.security.tls import tls_front
from tests.sinks.front import ClickHouse
from tests.streams.meters import ask

Make = Callable[..., Settings]


@pytest.fixture(params=[False, True], ids=["password", "password and certificate"])
def secure_clickhouse(
    request: pytest.FixtureRequest, clickhouse: ClickHouse, certificates: Certificates
) -> Iterator[dict[str, object]]:
    """Settings of a ClickHouse behind TLS, with or without certificates of clients."""
    with tls_front(clickhouse, certificates, ask_client=request.param) as address:
        user = f"callmeter:{quote(CLICKHOUSE_PASSWORD, safe='')}"
        settings: dict[str, object] = {
            "clickhouse_dsn": f"https://{user}@{address}/secured",
            "clickhouse_ssl_cafile": certificates.authority,
        }
        if request.param:
            settings["clickhouse_ssl_certfile"] = certificates.client_plain
        yield settings


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["SASL_PLAINTEXT", "SSL"])
async def test_the_whole_chain_connects_and_says_no_secret(
    secured: Make, protocol: str, clickhouse: ClickHouse, certificates: Certificates
) -> None:
    with tls_front(clickhouse, certificates, ask_client=True) as address:
        settings = secured(
            protocol,
            clickhouse_dsn=f"https://callmeter:{quote(CLICKHOUSE_PASSWORD, safe='')}@{address}/{protocol.lower()}",
            clickhouse_ssl_cafile=certificates.authority,
            clickhouse_ssl_certfile=certificates.client_plain,
            log_level="debug",
        )
        facts = [subscription(price_micros=9_000_000), *(call(number) for number in range(3))]
        said = [
            command(settings, *arguments, stdin="\n".join(map(json.dumps, facts)))
            for arguments in (["topics", "create"], ["migrate"], ["send", "-"])
        ]
        assert [done.returncode for done in said] == [0, 0, 0], said
        pages = []
        with (
            process(settings, "meter") as meter,
            process(settings, "sink") as sink,
            process(settings, "billing") as job,
        ):
            with Store(target_of(settings)) as store:

                def stored(table: str) -> int:
                    count: int = store.value(f"SELECT count() FROM {table}")
                    return count

                # The billing job's request goes round by the meter.
                await wait_until(
                    lambda: (stored("rated_calls"), stored("payment_requests_current")) == (3, 1), timeout=90
                )
            for role in (meter, sink, job):
                await wait_until(lambda role=role: ask(role, "/ready")[0] == 200)
                pages += [ask(role, page)[1] for page in ("/ready", "/metrics", "/health")]
                assert role.stop() == 0
        said += [command(settings, "requests", "list", "--json"), command(settings, "usage", "--json")]
        assert said[-1].returncode == 0, said[-1]
        assert_no_secret(*pages, *(text for done in said for text in (done.stdout, done.stderr)))
        assert_no_secret(*(Process.output.fget(role) for role in (meter, sink, job)))


@pytest.mark.parametrize("protocol", ["SASL_PLAINTEXT", "SASL_SSL"])
@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
async def test_every_mechanism_with_a_password_is_let_in(secured: Make, protocol: str, mechanism: str) -> None:
    assert isinstance(await find_topics(secured(protocol, kafka_sasl_mechanism=mechanism)), dict)


def oauth(secured: Make, **where: object) -> Settings:
    nothing = {"kafka_sasl_username": None, "kafka_sasl_password": None}
    return secured("SASL_SSL", **{**nothing, "kafka_sasl_mechanism": "OAUTHBEARER", **where})


async def test_a_token_from_a_file_is_let_in_and_read_for_each_connection(secured: Make, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(token(exp=1) + "\n")
    settings = oauth(secured, kafka_sasl_oauth_token_file=file)
    with pytest.raises(BrokerUnreachable, match="it refuses the token"):
        await find_topics(settings)
    file.write_text(token() + "\n")
    assert isinstance(await find_topics(settings), dict)
    file.unlink()
    with pytest.raises(BrokerUnreachable, match=f"no token for the Kafka broker .*{file} cannot be read"):
        await find_topics(settings)


async def test_a_token_from_a_server_is_let_in_and_kept_while_it_is_good(secured: Make) -> None:
    asked: list[tuple[str | None, str]] = []
    status = 200

    async def give(request: web.Request) -> web.Response:
        asked.append((request.headers.get("Authorization"), await request.text()))
        return web.json_response({"access_token": token(), "expires_in": 3600}, status=status)

    app = web.Application()
    app.router.add_post("/token", give)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/token"
    try:
        client = {"kafka_sasl_username": "me", "kafka_sasl_password": "p:ä", "kafka_sasl_oauth_scope": "kafka"}
        settings = oauth(secured, kafka_sasl_oauth_token_url=url, **client)
        for _ in range(3):
            assert isinstance(await find_topics(settings), dict)
        assert asked == [("Basic bWU6cCUzQSVDMyVBNA==", "grant_type=client_credentials&scope=kafka")]
        status = 401
        with pytest.raises(BrokerUnreachable, match=r"no token for the Kafka broker .*refuses a token with status 401"):
            await find_topics(oauth(secured, kafka_sasl_oauth_token_url=url, **{**client, "kafka_sasl_username": "x"}))
    finally:
        await runner.cleanup()


async def test_a_certificate_lets_in_with_its_key_in_the_same_file(secured: Make, certificates: Certificates) -> None:
    settings = secured(
        "SSL",
        kafka_ssl_certfile=certificates.client_plain,
        kafka_ssl_keyfile=None,
        kafka_ssl_key_password=None,
    )
    assert isinstance(await find_topics(settings), dict)


@pytest.mark.parametrize(
    ("protocol", "wrong", "says"),
    [
        ("SASL_PLAINTEXT", {"kafka_sasl_password": "wrong"}, r"does not let us in: .*invalid credentials.*KAFKA_SASL"),
        (
            "SASL_PLAINTEXT",
            {"kafka_sasl_mechanism": "PLAIN", "kafka_sasl_username": "x"},
            "Invalid username or password",
        ),
        ("SASL_SSL", {"kafka_ssl_cafile": "stranger"}, r"TLS with .* fails: .*certificate.*CALLMETER_KAFKA_SSL"),
        (
            "SSL",
            {"kafka_ssl_certfile": None, "kafka_ssl_keyfile": None, "kafka_ssl_key_password": None},
            "SSL_CERTFILE",
        ),
    ],
)
async def test_who_is_not_let_in_is_told_why(
    secured: Make, certificates: Certificates, protocol: str, wrong: dict[str, object], says: str
) -> None:
    if wrong.get("kafka_ssl_cafile"):
        wrong = {"kafka_ssl_cafile": certificates.stranger}
    with pytest.raises(BrokerUnreachable, match=says) as raised:
        await find_topics(secured(protocol, **wrong))
    assert_no_secret(str(raised.value))


def test_a_connection_by_tls_is_closed_at_once_under_uvloop(secured: Make) -> None:
    settings = secured("SASL_SSL")

    async def read_often() -> float:
        await create_topics(settings)
        began = time.monotonic()
        for _ in range(4):
            async with TopicReader(settings, LEDGER, 2) as reader:
                reader.seek({0: 0, 1: 0})
                await reader.fetch(0.01)
        return time.monotonic() - began

    # It takes 30 s for each of the four where the other side's farewell is waited for.
    assert uvloop.run(read_often()) < 4 * 30


async def test_plain_text_to_a_listener_that_wants_more_is_refused(secured: Make, secure_broker: SecureBroker) -> None:
    plain = {"kafka_security_protocol": "PLAINTEXT", "kafka_sasl_password": None, "kafka_ssl_cafile": None}
    for protocol in ("SASL_PLAINTEXT", "SASL_SSL"):
        with pytest.raises(BrokerUnreachable, match="no Kafka broker answers at"):
            await find_topics(secured(protocol, **plain))


def test_clickhouse_is_reached_by_https(secured: Make, secure_clickhouse: dict[str, object]) -> None:
    settings = secured("SSL", **secure_clickhouse)
    with Store(target_of(settings), use_database=False) as store:
        assert store.value("SELECT 1") == 1


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"clickhouse_ssl_cafile": None}, "TLS fails: certificate verify failed.*CALLMETER_CLICKHOUSE_SSL"),
        ({"clickhouse_ssl_cafile": "stranger"}, "TLS fails: certificate verify failed"),
        ({"clickhouse_ssl_certfile": None}, "ClickHouse does not answer at https"),
    ],
)
def test_a_clickhouse_that_cannot_be_trusted_or_does_not_trust_us_is_named(
    secured: Make, clickhouse: ClickHouse, certificates: Certificates, wrong: dict[str, object], says: str
) -> None:
    if wrong.get("clickhouse_ssl_cafile"):
        wrong = {"clickhouse_ssl_cafile": certificates.stranger}
    with tls_front(clickhouse, certificates, ask_client=True) as address:
        right = {
            "clickhouse_dsn": f"https://callmeter:{quote(CLICKHOUSE_PASSWORD, safe='')}@{address}/secured",
            "clickhouse_ssl_cafile": certificates.authority,
            "clickhouse_ssl_certfile": certificates.client_plain,
        }
        with pytest.raises(ClickHouseUnreachable, match=says) as raised:
            open_store(secured("SSL", **{**right, **wrong}))
        assert_no_secret(str(raised.value))


def test_any_server_is_taken_only_if_the_settings_say_so(
    secured: Make, clickhouse: ClickHouse, certificates: Certificates
) -> None:
    with tls_front(clickhouse, certificates, ask_client=False) as address:
        dsn = f"https://callmeter:{quote(CLICKHOUSE_PASSWORD, safe='')}@{address}/secured"
        with Store(target_of(secured("SSL", clickhouse_dsn=dsn, clickhouse_ssl_verify=False)), False) as store:
            assert store.value("SELECT 1") == 1
