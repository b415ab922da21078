"""What the tests of the meter share: facts of many accounts, and asking a running meter about itself."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

from aiokafka.admin import NewTopic

from streams.administration import administration
from streams.errors import TopicMissing
from streams.settings import Settings
from streams.topics import RATED_CALLS
from tests.broker import Process, read_topic, read_values, wait_until
from tests.rating.builders import call, subscription


def subscribed(accounts: int, **terms: Any) -> list[dict[str, Any]]:
    """One subscription for each of ``acct_0``, ``acct_1``, ..."""
    return [
        subscription(account=f"acct_{number}", fact=f"start_{number}", sub=f"sub_{number}", **terms)
        for number in range(accounts)
    ]


def calls(accounts: int, first: int, count: int) -> list[dict[str, Any]]:
    """Calls ``call_<first>`` and so on, in turn to the accounts."""
    return [call(number, account=f"acct_{number % accounts}") for number in range(first, first + count)]


def ask(meter: Process, path: str) -> tuple[int, str]:
    """Status and body of a page of a running role; (0, "") before it serves any."""
    found = re.search(r'url(?:=|": ")(http://[^\s"]+)', meter.output)
    if not found:
        return 0, ""
    try:
        with urlopen(found[1] + path, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return 0, ""


def partitions_of(meter: Process) -> set[int]:
    """The partitions that a meter has restored, by its metrics; empty while it is not ready."""
    if ask(meter, "/ready")[0] != 200:
        return set()
    return {int(number) for number in re.findall(r'callmeter_accounts\{partition="(\d+)"\}', ask(meter, "/metrics")[1])}


async def ready(meter: Process) -> None:
    """Wait until a meter has restored its partitions."""
    await wait_until(lambda: ask(meter, "/ready")[0] == 200, what="the meter to be ready")


async def rated(settings: Settings, count: int) -> list[str]:
    """Wait for so many rated calls; their ids, by partition and offset."""

    async def enough() -> list[str]:
        values = await read_values(settings, RATED_CALLS)
        assert len(values) >= count, f"{len(values)} of {count}"
        return [value["call_id"] for value in values]

    return await wait_until(enough, what=f"{count} rated calls")


async def make_anew(settings: Settings, name: str) -> None:
    """Delete a topic of one partition and create it again, empty."""
    topic = settings.topic(name)
    async with administration(settings) as admin:
        await admin.delete_topics([topic])

        async def made() -> bool:
            answer = (await admin.create_topics([NewTopic(topic, 1, 1)])).to_object()
            return answer["topic_errors"][0]["error_code"] == 0

        await wait_until(made, what="the topic to be made anew")

    async def empty() -> bool:
        try:
            return await read_topic(settings, name) == []
        except TopicMissing:
            return False

    # The broker learns of it later than the controller says it is done.
    await wait_until(empty, what="the topic to be empty")


def headers_of(record: Any) -> dict[str, str]:
    """The headers of a dead letter."""
    return {name: value.decode() for name, value in record.headers}


def encoded(fact: Any) -> bytes:
    """A fact as its producer would write it."""
    return json.dumps(fact).encode()
