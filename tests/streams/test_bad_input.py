"""Bad input on the real broker: each kind is a dead letter that says why, and the next record is rated."""

from __future__ import annotations

import asyncio
import uuid

import pytest

from streams.administration import create_topics
from streams.settings import Settings
from tests.broker import delete_topics, process, produce, read_topic
from tests.rating.builders import call, subscription
from tests.streams.meters import encoded, headers_of, rated

TWO_MEGABYTES = encoded(call(900, campaign_id="x" * 2_000_000))
# name: (what is sent, the reason it is refused for)
KINDS = {
    "not JSON": (b"call me", "malformed"),
    "JSON, but no object": (b"[1, 2]", "malformed"),
    "wrong types": (encoded({**call(901), "ended_at": 12}), "malformed"),
    "a missing field": (encoded({name: value for name, value in call(902).items() if name != "outcome"}), "malformed"),
    "an unknown type": (encoded({**call(903), "type": "call.dreamt"}), "unknown_type"),
    "times in the wrong order": (
        encoded(call(904, ended="2026-11-03T09:00:00Z", answered="2026-11-03T10:00:00Z")),
        "impossible_times",
    ),
    "an unknown account": (encoded(call(905, account="nobody")), "no_subscription"),
    "a negative number": (encoded(call(906, cost_micros=-1)), "malformed"),
    "a negative price": (encoded(subscription(account="acct_2", price_micros=-1)), "malformed"),
    "two megabytes": (TWO_MEGABYTES, "too_large"),
    "invalid UTF-8": (b'{"type":"call.completed","call_id":"\xff"}', "malformed"),
    "an empty value": (b"", "malformed"),
    "a tombstone": (None, "malformed"),
}


@pytest.fixture(scope="module")
def folded(broker, tmp_path_factory):
    """All kinds in one partition, each with a good call after it, and a meter that rated them: (letters, call ids)."""
    name = f"t{uuid.uuid4().hex[:10]}"
    settings = Settings(
        kafka_bootstrap=broker.bootstrap,
        data_folder=tmp_path_factory.mktemp("bad"),
        topic_prefix=f"{name}-",
        group_id=name,
        transactional_id=name,
        partitions=1,
        http_port=0,
    )

    async def run():
        await create_topics(settings)
        sent = [encoded(subscription())]
        for number, (value, _) in enumerate(KINDS.values()):
            sent += [value, encoded(call(number))]
        await produce(settings, sent)
        with process(settings, "meter") as meter:
            ids = await rated(settings, len(KINDS))
            letters = await read_topic(settings, "dead-letters")
            assert meter.stop() == 0, meter.output
        await delete_topics(settings)
        return settings, letters, ids

    return asyncio.run(run())


@pytest.mark.parametrize("kind", KINDS)
def test_bad_input_is_a_dead_letter(kind, folded):
    settings, letters, ids = folded
    number = list(KINDS).index(kind)
    value, reason = KINDS[kind]
    offset = 1 + 2 * number
    (letter,) = [one for one in letters if headers_of(one)["offset"] == str(offset)]
    headers = headers_of(letter)
    assert headers["reason"] == reason
    assert headers["detail"]
    assert headers["topic"] == settings.topic("account-events")
    assert headers["partition"] == "0"
    assert letter.value == value
    assert ids[number] == f"call_{number}"


def test_nothing_else_is_refused(folded):
    _, letters, ids = folded
    assert len(letters) == len(ids) == len(KINDS)
