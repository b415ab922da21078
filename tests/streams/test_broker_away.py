"""While the broker is away a role waits, says that it is not ready, and goes on by itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from deploy.kafka.broker import KafkaBroker
from streams.administration import create_topics
from streams.settings import Settings
from tests.broker import process, produce, wait_until
from tests.streams.meters import ask, calls, rated, ready, subscribed


@pytest.mark.slow
async def test_idle_roles_are_not_ready_while_the_broker_does_not_answer_and_go_on_afterwards(
    make_settings: Callable[..., Settings], broker: KafkaBroker
) -> None:
    # Nothing expires meanwhile: this is about a broker that answers nobody, not about a group that has moved on.
    settings = make_settings(partitions=1, session_timeout_s=60.0, tick_interval_s=0.2)
    await produce(settings, subscribed(1) + calls(1, 0, 3))
    with ExitStack() as stack:
        roles = {role: stack.enter_context(process(settings, role)) for role in ("meter", "billing", "clock")}
        for role in roles.values():
            await ready(role)
        await rated(settings, 3)
        broker.freeze()
        try:
            for name, role in roles.items():

                def silent(name: str = name, role: object = role) -> bool:
                    status, body = ask(role, "/ready")
                    reason = json.loads(body)["roles"][name]["waiting_for"]
                    return status == 503 and (reason or "").startswith("Kafka: no answer from the broker for ")

                await wait_until(silent, what=f"{name} to say that the broker is silent")
                assert f'callmeter_ready{{role="{name}"}} 0.0' in ask(role, "/metrics")[1]
        finally:
            broker.thaw()
        for role in roles.values():
            await ready(role)
        await produce(settings, calls(1, 3, 3))
        await rated(settings, 6)
        for role in roles.values():
            assert role.stop() == 0, role.output


@pytest.mark.slow
async def test_roles_end_in_order_though_the_broker_is_gone(tmp_path: Path) -> None:
    """Their fetches stand still before the next try, which must not keep them."""
    gone = KafkaBroker(tmp_path / "kafka", port=0)
    gone.start()
    try:
        settings = Settings(
            kafka_bootstrap=gone.bootstrap, data_folder=tmp_path / "data", partitions=1, http_port=0
        )  # fmt: skip
        await create_topics(settings)
        with ExitStack() as stack:
            roles = [stack.enter_context(process(settings, role)) for role in ("meter", "billing")]
            for role in roles:
                await ready(role)
            gone.kill()
            for role in roles:
                await wait_until(lambda role=role: ask(role, "/ready")[0] == 503, what="a role to miss the broker")
                assert role.stop() == 0, role.output
    finally:
        gone.stop()
