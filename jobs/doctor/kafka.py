"""The broker: is it there, what time is it there, and are the topics as they should be?"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping

from aiokafka.errors import ClusterAuthorizationFailedError, IncompatibleBrokerVersion

from jobs.doctor.finding import Finding, failed, ok, skew, warning
from streams.administration import Difference, Found, administration, differences, find_topics
from streams.cluster import controller_time_ms, kafka_version
from streams.settings import Settings
from streams.topics import ACCOUNT_EVENTS, TOPICS

# Settings of topics that records are lost by, or refused; the others cost room or time.
HARMFUL = {"cleanup.policy", "unclean.leader.election.enable", "max.message.bytes", "retention.ms", "retention.bytes"}


async def look_at_broker(settings: Settings) -> AsyncIterator[Finding]:
    """Whether a broker answers, its version, and its clock.

    Raises:
        BrokerUnreachable: none answers.
    """
    async with administration(settings) as admin:
        version = await kafka_version(admin)
        named = f"Kafka {version}" if version else "a Kafka older than 3.3, or no Apache Kafka"
        brokers = len((await admin.describe_cluster())["brokers"])
        yield ok("broker", f"{settings.bootstrap} answers: {named}, {brokers} broker{'s' * (brokers != 1)}")
        try:
            asked = time.time()
            there = await controller_time_ms(admin)
            answered = time.time()
        except (ClusterAuthorizationFailedError, IncompatibleBrokerVersion) as error:
            there, told = None, f"Kafka does not tell the time: {error}"
        else:
            told = "Kafka does not tell the time"
        if there is None:
            yield warning("clock of Kafka", told, "compare the clocks by hand, or allow DESCRIBE on the cluster")
        else:
            ahead = (asked + answered) / 2 - there / 1000
            yield skew("clock of Kafka", "Kafka's controller", ahead, (answered - asked) / 2)


async def look_at_topics(settings: Settings) -> AsyncIterator[Finding]:
    """Whether the topics are there, alike, and set as `streams.topics` has them.

    Raises:
        BrokerUnreachable: no broker answers.
    """
    found = await find_topics(settings)
    missing = [settings.topic(topic.name) for topic in TOPICS if topic.name not in found]
    if missing:
        yield failed("topics", f"missing: {', '.join(missing)}", "run: callmeter topics create")
    else:
        yield ok("topics", f"all {len(found)} are there")
    if not found:
        return
    yield _partitions(settings, found)
    differ = [one for one in differences(settings, found) if one.what not in ("partitions", "min.insync.replicas")]
    if not differ:
        yield ok("settings of topics", "as they are created")
    for one in differ:
        yield _difference(one)
    yield _copies(settings, found)


def _partitions(settings: Settings, found: Mapping[str, Found]) -> Finding:
    """All topics need as many partitions as the log has."""
    first = found.get(ACCOUNT_EVENTS) or next(iter(found.values()))
    other = [one for one in found.values() if one.partitions != first.partitions]
    if other:
        listed = ", ".join(f"{settings.topic(one.name)} has {one.partitions}" for one in other)
        return failed(
            "partitions",
            f"{settings.topic(first.name)} has {first.partitions} partitions, but {listed}",
            "all need the same number: delete the others if they are empty, and run: callmeter topics create",
        )
    if first.partitions != settings.partitions:
        return warning(
            "partitions",
            f"every topic has {first.partitions}, but CALLMETER_PARTITIONS is {settings.partitions}",
            f"set it to {first.partitions}; the number of a topic is never changed",
        )
    return ok("partitions", f"every topic has {first.partitions}")


def _difference(one: Difference) -> Finding:
    detail = f"{one.topic}: {one.what} is {one.found or 'not set'}, wanted {one.wanted}"
    if one.what == "replication":
        return warning(
            "settings of topics", detail, "kafka-reassign-partitions.sh changes it, or set CALLMETER_REPLICATION"
        )
    advice = (
        f"kafka-configs.sh --alter --entity-type topics --entity-name {one.topic} --add-config {one.what}={one.wanted}"
    )
    if one.what not in HARMFUL or _is_longer(one):
        return warning("settings of topics", detail, f"if it is not on purpose: {advice}")
    return failed("settings of topics", detail, advice)


def _is_longer(one: Difference) -> bool:
    """Kept for longer, or larger, than needed."""
    try:
        wanted, found = int(one.wanted), int(one.found)
    except ValueError:
        return False
    return found == -1 or (wanted != -1 and found > wanted)


def _copies(settings: Settings, found: Mapping[str, Found]) -> Finding:
    """How many copies there are, and how many must have a record before it counts as written."""
    for one in found.values():
        needed = int(one.config["min.insync.replicas"] or 1)
        topic = settings.topic(one.name)
        if needed > one.replication:
            return failed(
                "copies",
                f"{topic} has {one.replication} copies, but min.insync.replicas is {needed}: nothing can be written",
                f"set its min.insync.replicas to {max(1, one.replication - 1)}, or give it more copies",
            )
        if needed == one.replication > 1:
            return warning(
                "copies",
                f"{topic} has {one.replication} copies, and min.insync.replicas is {needed}: one broker that is away "
                "stops everything",
                f"set its min.insync.replicas to {one.replication - 1}, or give it more copies",
            )
        if needed != settings.min_insync_replicas:
            return warning(
                "copies",
                f"{topic}: min.insync.replicas is {needed}, but CALLMETER_MIN_INSYNC_REPLICAS is "
                f"{settings.min_insync_replicas}",
                "make them the same",
            )
    if min(one.replication for one in found.values()) == 1:
        return warning(
            "copies",
            "topics have one copy: a lost disk is a lost log",
            "in production: three brokers, CALLMETER_REPLICATION=3 and CALLMETER_MIN_INSYNC_REPLICAS=2",
        )
    return ok("copies", "more of each topic than have to be there")
