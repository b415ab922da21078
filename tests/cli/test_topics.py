"""`callmeter topics`: what it prints and how it ends."""

from __future__ import annotations

import json
from collections.abc import Callable

from streams.settings import Settings
from streams.topics import TOPICS
from tests.broker import command


def test_topics_are_created_then_exist(make_settings: Callable[..., Settings]) -> None:
    settings = make_settings(topics=False)
    first = command(settings, "topics", "create", "--partitions", "2", "--json")
    assert (first.returncode, first.stderr) == (0, "")
    assert len(json.loads(first.stdout)["created"]) == len(TOPICS)

    again = command(settings, "topics", "create", "--partitions", "3")
    assert again.returncode == 0
    assert f"all {len(TOPICS)} topics exist" in again.stdout
    assert f"differs: {settings.topic('ledger')}: partitions is 2, wanted 3" in again.stdout

    listed = json.loads(command(settings, "topics", "list", "--json").stdout)
    assert {one["topic"]: one["partitions"] for one in listed} == {settings.topic(topic.name): 2 for topic in TOPICS}


def test_missing_topics_are_listed_as_missing(make_settings: Callable[..., Settings]) -> None:
    done = command(make_settings(topics=False), "topics", "list")
    assert done.returncode == 0
    assert done.stdout.count("missing") == len(TOPICS)


def test_a_broker_that_is_not_there_is_one_line(make_settings: Callable[..., Settings]) -> None:
    settings = make_settings(topics=False).model_copy(update={"kafka_bootstrap": "127.0.0.1:1"})
    for group in ("create", "list"):
        done = command(settings, "topics", group)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("error: no Kafka broker answers at 127.0.0.1:1") and done.stderr.count("\n") == 1
