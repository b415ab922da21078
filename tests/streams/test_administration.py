"""Topics are created once, as specified, never changed, and what is missing or differs is said."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable
from typing import Any

import pytest
from aiokafka.admin import NewTopic
from aiokafka.cluster import ClusterMetadata

from deploy.kafka.broker import KafkaBroker
from streams import administration as module
from streams.administration import administration, check_topics, create_topics, find_topics
from streams.errors import BrokerUnreachable, CallmeterError, TopicMissing
from streams.settings import Settings
from streams.topics import (
    ACCESS_EVENTS,
    ACCOUNT_EVENTS,
    ALERTS,
    CATALOGUE,
    DEAD_LETTERS,
    LEDGER,
    PAYMENT_REQUESTS,
    SEEN_CALLS,
    TOPICS,
)
from tests.broker import wait_until

Make = Callable[..., Settings]


async def test_every_topic_is_created_as_specified(settings: Settings) -> None:
    found = await find_topics(settings)
    assert set(found) == {topic.name for topic in TOPICS}
    assert {topic.partitions for topic in found.values()} == {2}
    for topic in TOPICS:
        assert topic.config.items() <= found[topic.name].config.items()
        assert found[topic.name].config["min.insync.replicas"] == "1"


def test_the_log_of_record_is_never_deleted() -> None:
    config = {topic.name: topic.config for topic in TOPICS}
    assert config[ACCOUNT_EVENTS]["cleanup.policy"] == "delete"
    assert config[ACCOUNT_EVENTS]["retention.ms"] == config[ACCOUNT_EVENTS]["retention.bytes"] == "-1"


def test_states_are_compacted_and_nothing_that_is_compacted_is_deleted_by_age() -> None:
    config = {topic.name: topic.config for topic in TOPICS}
    for name in (LEDGER, CATALOGUE, PAYMENT_REQUESTS, ACCESS_EVENTS):
        assert config[name]["cleanup.policy"] == "compact"
        assert "retention.ms" not in config[name]


def test_a_record_too_large_for_a_fact_still_fits_the_log_and_then_the_dead_letters() -> None:
    config = {topic.name: topic.config for topic in TOPICS}
    assert 2_000_000 < int(config[ACCOUNT_EVENTS]["max.message.bytes"]) < int(config[DEAD_LETTERS]["max.message.bytes"])


def test_calls_are_remembered_longer_than_the_default_duplicate_retention() -> None:
    config = {topic.name: topic.config for topic in TOPICS}
    assert int(config[SEEN_CALLS]["retention.ms"]) > 90 * 86_400_000


async def test_creating_again_changes_nothing_and_says_what_differs(settings: Settings) -> None:
    again = await create_topics(settings)
    assert (again.created, again.differences) == ([], [])
    assert len(again.existing) == len(TOPICS)

    wanted = settings.model_copy(update={"partitions": 6, "min_insync_replicas": 2})
    report = await create_topics(wanted)
    assert report.created == []
    assert {one.what for one in report.differences} == {"partitions", "min.insync.replicas"}
    log = next(one for one in report.differences if one.topic == settings.topic(ACCOUNT_EVENTS))
    assert (log.wanted, log.found) == ("6", "2")
    assert {topic.partitions for topic in (await find_topics(settings)).values()} == {2}


async def test_two_creations_at_once_do_no_harm(make_settings: Make) -> None:
    settings = make_settings(topics=False, partitions=1)
    reports = await asyncio.gather(create_topics(settings), create_topics(settings))
    created = [topic for report in reports for topic in report.created]
    assert sorted(created) == sorted(settings.topic(topic.name) for topic in TOPICS)


async def test_a_topic_that_is_added_later_gets_the_partitions_of_the_log(settings: Settings) -> None:
    topic = settings.topic(ALERTS)
    await _delete(settings, topic)
    report = await create_topics(settings.model_copy(update={"partitions": 9}))
    assert report.created == [topic]
    assert (await find_topics(settings))[ALERTS].partitions == settings.partitions


async def test_a_missing_topic_is_named_with_the_command_that_creates_it(settings: Settings) -> None:
    await _delete(settings, settings.topic(LEDGER))
    with pytest.raises(TopicMissing, match=f"no topic {settings.topic(LEDGER)} at .*callmeter topics create"):
        await check_topics(settings, [ACCOUNT_EVENTS, LEDGER])
    assert await check_topics(settings, [ACCOUNT_EVENTS]) == settings.partitions


async def test_a_topic_with_other_partitions_than_its_peers_is_refused(settings: Settings) -> None:
    topic = settings.topic(LEDGER)
    await _delete(settings, topic)
    async with administration(settings) as admin:
        await admin.create_topics([NewTopic(topic, 3, 1)])
    await wait_until(lambda: _has(settings, LEDGER))
    with pytest.raises(TopicMissing, match=f"{topic} has 3 partitions, but .* has 2"):
        await check_topics(settings, [ACCOUNT_EVENTS, LEDGER])


async def test_a_replication_that_the_cluster_cannot_give_is_refused_by_name(make_settings: Make) -> None:
    settings = make_settings(topics=False, replication=3)
    with pytest.raises(CallmeterError, match=r"the broker refuses topic .*eplication factor"):
        await create_topics(settings)


async def test_no_broker_is_one_line_at_once(make_settings: Make, caplog: pytest.LogCaptureFixture) -> None:
    settings = make_settings(topics=False).model_copy(update={"kafka_bootstrap": "127.0.0.1:1"})
    # Had it been waited for, the line would say how long.
    with pytest.raises(BrokerUnreachable, match=r"no Kafka broker answers at 127\.0\.0\.1:1;.*callmeter kafka start"):
        await check_topics(settings, [LEDGER])


async def test_a_broker_that_hangs_counts_as_away_after_some_seconds(
    settings: Settings, broker: KafkaBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ANSWER_TIMEOUT_S", 1.0)
    broker.freeze()
    try:
        with pytest.raises(BrokerUnreachable, match="within 1 s"):
            await find_topics(settings)
    finally:
        broker.thaw()
    monkeypatch.undo()
    await wait_until(lambda: _has(settings, LEDGER))


def test_the_librarys_own_warnings_do_not_reach_a_commands_output() -> None:
    assert any(isinstance(handler, logging.NullHandler) for handler in logging.getLogger("aiokafka").handlers)


async def _delete(settings: Settings, topic: str) -> None:
    async with administration(settings) as admin:
        await admin.delete_topics([topic])
    name = topic.removeprefix(settings.topic_prefix)

    async def gone() -> bool:
        return not await _has(settings, name)

    await wait_until(gone)


async def _has(settings: Settings, name: str) -> bool:
    return name in await find_topics(settings)


async def test_a_broker_that_has_just_come_back_is_waited_for(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Until the controller has let it in again, its metadata has no broker; the library ignores such an answer.
    answers = itertools.count(1)
    real = ClusterMetadata.update_metadata

    def update(cluster: ClusterMetadata, metadata: Any) -> None:
        if next(answers) > 3:
            real(cluster, metadata)

    monkeypatch.setattr(ClusterMetadata, "update_metadata", update)
    assert await check_topics(settings, [ACCOUNT_EVENTS]) == settings.partitions
    assert next(answers) > 4
