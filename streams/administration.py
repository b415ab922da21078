"""Asking the broker about topics, and creating them: always ours, for Faust's own creation is off.

Nothing here changes a topic that exists: partitions cannot be changed without moving accounts, and a retention that
somebody set by hand was set for a reason. What differs is said.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.conn import collect_hosts, create_conn
from aiokafka.errors import (
    IllegalSaslStateError,
    KafkaError,
    SaslAuthenticationFailed,
    TopicAlreadyExistsError,
    UnsupportedSaslMechanismError,
    for_code,
)

from streams.errors import BrokerUnreachable, CallmeterError, TopicMissing
from streams.security import TokenUnavailable
from streams.settings import Settings
from streams.topics import ACCOUNT_EVENTS, TOPICS, Topic

# How long a broker may take to answer before it counts as away.
ANSWER_TIMEOUT_S = 8.0
RETRY_S = 0.05
# How long new topics may take until every partition has a leader.
LEADERS_TIMEOUT_S = 30.0

# Without any logging set up (a command), Python would print the library's own warnings beside our one line.
logging.getLogger("aiokafka").addHandler(logging.NullHandler())


@dataclass(frozen=True)
class Found:
    """A topic as the broker has it; ``config`` holds its values of everything that we set."""

    name: str
    partitions: int
    replication: int
    config: Mapping[str, str]


@dataclass(frozen=True)
class Difference:
    """Something about an existing topic that is not as our settings or specification want it."""

    topic: str
    what: str
    wanted: str
    found: str


@dataclass(frozen=True)
class Report:
    """What ``create_topics`` did: topics with prefix, each either created or there before, and what differs."""

    created: list[str]
    existing: list[str]
    differences: list[Difference]


@asynccontextmanager
async def administration(settings: Settings) -> AsyncIterator[AIOKafkaAdminClient]:
    """A connected administration client.

    Raises:
        BrokerUnreachable: no broker answers within 8 s, here or later inside the block.
        CallmeterError: it answers, and refuses.
    """
    admin = AIOKafkaAdminClient(**settings.kafka_client(), request_timeout_ms=int(ANSWER_TIMEOUT_S * 1000))
    try:
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                await admin.start()
                # A broker that has just come, or come back, tells of no broker for a moment, not even of itself.
                while not admin._client.cluster.brokers():
                    await asyncio.sleep(RETRY_S)
                    await admin._client.force_metadata_update()
        except (KafkaError, OSError) as error:
            raise unreachable(settings, await _cause(settings, error)) from None
        try:
            yield admin
        except (KafkaError, OSError) as error:
            if isinstance(error, OSError) or error.retriable:
                raise unreachable(settings, error) from None
            raise CallmeterError(f"the Kafka broker at {settings.bootstrap} refuses: {error}") from None
    finally:
        with suppress(KafkaError, OSError):
            await admin.close()


async def _cause(settings: Settings, error: BaseException) -> BaseException:
    """Why no connection was made, where the library hides it: that certificate or password are refused, above all."""
    if settings.kafka_security_protocol == "PLAINTEXT" or isinstance(error, TimeoutError):
        return error
    arguments = settings.kafka_client()
    for host, port, _ in collect_hosts(arguments.pop("bootstrap_servers")):
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                connection = await create_conn(host, port, **arguments)
            connection.close()
        except (KafkaError, OSError) as cause:
            return cause
    return error


def unreachable(settings: Settings, error: BaseException) -> BrokerUnreachable:
    """The one line for a broker that is not there, or does not let us in; with the cause where it says more."""
    at = settings.bootstrap
    if isinstance(error, ssl.SSLError):
        reason = getattr(error, "verify_message", None) or error.reason or "handshake failed"
        return BrokerUnreachable(
            f"TLS with the Kafka broker at {at} fails: {reason}; see CALLMETER_KAFKA_SECURITY_PROTOCOL and the "
            "CALLMETER_KAFKA_SSL settings"
        )
    if isinstance(error, TokenUnavailable):
        return BrokerUnreachable(f"no token for the Kafka broker at {at}: {error.args[0]}")
    if isinstance(error, SaslAuthenticationFailed | UnsupportedSaslMechanismError | IllegalSaslStateError):
        return BrokerUnreachable(
            f"the Kafka broker at {at} does not let us in: {error}; see the CALLMETER_KAFKA_SASL settings"
        )
    # The library's own words for a connection refused, of which it hides the reason.
    told = "" if not str(error) or "Unable to bootstrap" in str(error) else f" ({error})"
    if isinstance(error, TimeoutError):
        told = f" within {ANSWER_TIMEOUT_S:.0f} s"
    told += _doubt(settings)
    return BrokerUnreachable(
        f"no Kafka broker answers at {at}{told}; "
        "start one with `callmeter kafka start`, or set CALLMETER_KAFKA_BOOTSTRAP"
    )


def _doubt(settings: Settings) -> str:
    """What else than its absence can be behind a broker's silence: it hangs up on whom it does not know."""
    protocol = settings.kafka_security_protocol
    if protocol == "SSL" and settings.kafka_ssl_certfile is None:
        return ", or it asks for a certificate (CALLMETER_KAFKA_SSL_CERTFILE)"
    if protocol.startswith("SASL") and settings.kafka_sasl_mechanism == "OAUTHBEARER":
        return ", or it refuses the token"
    return "" if protocol == "PLAINTEXT" else f" by {protocol}"


async def find_topics(settings: Settings) -> dict[str, Found]:
    """Those of our topics that exist, by name without prefix.

    Raises:
        BrokerUnreachable: no broker answers.
    """
    async with administration(settings) as admin:
        described = {topic["topic"]: topic["partitions"] for topic in await _describe_all(admin)}
        names = [topic.name for topic in TOPICS if settings.topic(topic.name) in described]
        configs = await _configs(admin, [settings.topic(name) for name in names])
    found = {}
    for topic in TOPICS:
        if topic.name not in names:
            continue
        name, partitions = topic.name, described[settings.topic(topic.name)]
        replication = min((len(partition["replicas"]) for partition in partitions), default=0)
        config = {key: configs[settings.topic(name)].get(key, "") for key in _wanted(settings, topic)}
        found[name] = Found(name, len(partitions), replication, config)
    return found


async def create_topics(settings: Settings) -> Report:
    """Create the topics that do not exist yet; safe to repeat, and to run twice at once.

    A topic added by a later version gets as many partitions as ``account-events`` has, whatever the settings say.

    Raises:
        BrokerUnreachable: no broker answers.
        CallmeterError: the broker refuses (replication above the number of brokers, no permission, ...).
    """
    found = await find_topics(settings)
    log = found.get(ACCOUNT_EVENTS)
    partitions = log.partitions if log else settings.partitions
    missing = [topic for topic in TOPICS if topic.name not in found]
    async with administration(settings) as admin:
        created = await _create(admin, settings, missing, partitions)
    return Report(
        created=created,
        existing=[settings.topic(name) for name in found],
        differences=differences(settings, found),
    )


def differences(settings: Settings, found: Mapping[str, Found]) -> list[Difference]:
    """What is not as wanted, of topics as `find_topics` gives them."""
    return [one for topic in TOPICS if topic.name in found for one in _compare(settings, topic, found[topic.name])]


async def check_topics(settings: Settings, names: Iterable[str]) -> int:
    """See that topics exist and have the same number of partitions.

    Args:
        settings: checked settings.
        names: names without prefix, at least one.

    Returns:
        their number of partitions.

    Raises:
        BrokerUnreachable: no broker answers.
        TopicMissing: a topic is missing, or has other partitions than the first one.
    """
    async with administration(settings) as admin:
        # All topics: asking for a missing one by its name could create it.
        counts = {topic["topic"]: len(topic["partitions"]) for topic in await _describe_all(admin)}
    needed = [settings.topic(name) for name in names]
    if missing := [topic for topic in needed if topic not in counts]:
        raise TopicMissing(
            f"there is no topic {', '.join(missing)} at {settings.bootstrap}; run `callmeter topics create`"
        )
    first = needed[0]
    for topic in needed:
        if counts[topic] != counts[first]:
            raise TopicMissing(
                f"topic {topic} has {counts[topic]} partitions, but {first} has {counts[first]}, and all need the same "
                f"number; delete {topic} if it is empty and run `callmeter topics create`"
            )
    return counts[first]


async def _create(admin: AIOKafkaAdminClient, settings: Settings, topics: list[Topic], partitions: int) -> list[str]:
    if not topics:
        return []
    wanted = [
        NewTopic(settings.topic(topic.name), partitions, settings.replication, topic_configs=_wanted(settings, topic))
        for topic in topics
    ]
    answer = (await admin.create_topics(wanted)).to_object()
    created = []
    for one in answer["topic_errors"]:
        refusal = for_code(one["error_code"])
        if one["error_code"] == 0:
            created.append(one["topic"])
        elif refusal is not TopicAlreadyExistsError:
            raise CallmeterError(f"the broker refuses topic {one['topic']}: {one['error_message'] or refusal.__name__}")
    try:
        async with asyncio.timeout(LEADERS_TIMEOUT_S):
            await _wait_for_leaders(admin, {topic.name for topic in wanted})
    except TimeoutError:
        raise CallmeterError("the new topics have no leaders yet; see the broker's log") from None
    return created


async def _wait_for_leaders(admin: AIOKafkaAdminClient, names: set[str]) -> None:
    while True:
        led = {
            topic["topic"]
            for topic in await _describe_all(admin)
            if topic["partitions"] and all(partition["leader"] >= 0 for partition in topic["partitions"])
        }
        if names <= led:
            return
        await asyncio.sleep(RETRY_S)


def _wanted(settings: Settings, topic: Topic) -> dict[str, str]:
    # A replica that lags behind must never become leader: acknowledged facts would be gone.
    return {
        **topic.config,
        "min.insync.replicas": str(settings.min_insync_replicas),
        "unclean.leader.election.enable": "false",
    }


def _compare(settings: Settings, topic: Topic, found: Found) -> list[Difference]:
    pairs = [
        ("partitions", str(settings.partitions), str(found.partitions)),
        ("replication", str(settings.replication), str(found.replication)),
        *((key, value, found.config[key]) for key, value in _wanted(settings, topic).items()),
    ]
    return [Difference(settings.topic(topic.name), what, wanted, is_) for what, wanted, is_ in pairs if wanted != is_]


async def _describe_all(admin: AIOKafkaAdminClient) -> list[dict[str, Any]]:
    topics: list[dict[str, Any]] = await admin.describe_topics()
    return topics


async def _configs(admin: AIOKafkaAdminClient, topics: list[str]) -> dict[str, dict[str, str]]:
    """Every configuration value of some topics, by topic."""
    if not topics:
        return {}
    answers = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic) for topic in topics])
    configs: dict[str, dict[str, str]] = {}
    for answer in answers:
        for resource in answer.to_object()["resources"]:
            configs[resource["resource_name"]] = {
                entry["config_names"]: entry["config_value"] for entry in resource["config_entries"]
            }
    return configs
