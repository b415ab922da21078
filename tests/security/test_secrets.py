"""No secret is in anything that a command says, whether it works or fails, wrong passwords included."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest

from streams.administration import create_topics
from streams.settings import Settings
from tests.broker import command
from tests.cli.commands import as_settings, run
from tests.security.conftest import CLICKHOUSE_PASSWORD
from tests.security.secrets import WRONG_PASSWORD, assert_no_secret, spellings
from tests.sinks.front import ClickHouse

COMMANDS = [
    ["topics", "create"],
    ["topics", "list", "--json"],
    ["migrate"],
    ["doctor"],
    ["doctor", "--json"],
    ["usage", "--json"],
    ["requests", "list"],
    ["catalogue", "export", "-"],
    ["clock", "--once"],
]
# Those that say the most.
FAILING = [["topics", "list"], ["doctor"], ["doctor", "--json"], ["usage"]]


@pytest.fixture
def right(secured: Callable[..., Settings], clickhouse: ClickHouse) -> Settings:
    """Settings that are let in everywhere."""
    return secured("SASL_SSL", clickhouse_dsn=clickhouse.dsn("secrets", password=quote(CLICKHOUSE_PASSWORD, safe="")))


def test_the_search_finds_a_secret_in_every_spelling() -> None:
    for spelling in spellings():
        with pytest.raises(AssertionError):
            assert_no_secret(f"before {spelling} after")


def test_commands_that_work_say_none(right: Settings, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    # What is logged at this level outside of a role goes nowhere, but for the one logger that no role lets speak.
    logging.getLogger("aiokafka.conn").setLevel(logging.ERROR)
    with as_settings(right):
        for arguments in COMMANDS:
            ran = run(*arguments)
            assert ran.code == 0, (arguments, ran)
            assert_no_secret(ran.out, ran.error)
    assert_no_secret(caplog.text)


@pytest.mark.parametrize(
    "wrong",
    [
        {"kafka_sasl_password": WRONG_PASSWORD},
        {"kafka_sasl_mechanism": "PLAIN", "kafka_sasl_password": WRONG_PASSWORD},
        {"kafka_security_protocol": "SASL_PLAINTEXT"},
        {"clickhouse_dsn": f"http://callmeter:{quote(WRONG_PASSWORD, safe='')}@127.0.0.1:1/secrets"},
        {"clickhouse_dsn": f"http://callmeter:{WRONG_PASSWORD}@127.0.0.1:1/secrets"},
        {"clickhouse_dsn": f"nonsense:{WRONG_PASSWORD}"},
    ],
)
def test_commands_that_fail_say_none(
    right: Settings, wrong: dict[str, Any], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streams.administration.ANSWER_TIMEOUT_S", 2.0)
    if "kafka_security_protocol" in wrong:
        wrong = {**wrong, "kafka_ssl_cafile": None}
    settings = Settings(**{**right.model_dump(exclude_unset=True), **wrong})
    failed = 0
    with as_settings(settings):
        for arguments in FAILING:
            ran = run(*arguments)
            failed += ran.code != 0
            assert_no_secret(ran.out, ran.error)
    assert failed
    assert_no_secret(caplog.text)


@pytest.mark.parametrize(
    ("role", "wrong"),
    [
        ("meter", {"kafka_sasl_password": WRONG_PASSWORD}),
        ("sink", {"clickhouse_dsn": f"http://callmeter:{quote(WRONG_PASSWORD, safe='')}@127.0.0.1:1/x"}),
    ],
)
async def test_roles_that_fail_at_their_start_say_none(right: Settings, role: str, wrong: dict[str, Any]) -> None:
    settings = Settings(**{**right.model_dump(exclude_unset=True), **wrong, "log_level": "debug"})
    done = command(settings, role)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) >= 1
    assert_no_secret(done.stdout, done.stderr)


async def test_what_the_doctor_says_of_a_refusal_names_the_setting(right: Settings) -> None:
    await create_topics(right)
    settings = Settings(**{**right.model_dump(exclude_unset=True), "kafka_sasl_password": WRONG_PASSWORD})
    done = command(settings, "doctor", "--json")
    assert done.returncode == 1
    (broker, *_) = json.loads(done.stdout)
    assert broker["status"] == "failed"
    assert "does not let us in" in broker["detail"]
    assert "CALLMETER_KAFKA_SASL" in broker["detail"]
    assert_no_secret(done.stdout, done.stderr)
