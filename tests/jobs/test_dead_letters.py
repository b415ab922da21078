"""Dead letters on the real broker and meter: found by their filters, re-driven once, rated once."""

from __future__ import annotations

import asyncio
import gc
import json
import shutil
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from jobs import redrive
from jobs.dead_letters import Wanted
from jobs.redrive import Redrive
from rating.partitioner import partition_of
from streams.errors import CallmeterError
from streams.fenced import FencedProducer
from streams.redriven import redriven_of
from streams.settings import Settings
from streams.topics import ACCOUNT_EVENTS, DEAD_LETTERS, DUPLICATES, RATED_CALLS, REDRIVES, SEEN_CALLS
from tests.broker import process, produce, read_topic, read_values, wait_until
from tests.cli.commands import Ran, as_settings, run
from tests.rating.builders import call, pack, subscription, tick
from tests.streams.meters import headers_of, rated


async def ran(settings: Settings, *arguments: str) -> Ran:
    """``callmeter dead-letters ...``."""
    with as_settings(settings):
        return await asyncio.to_thread(run, "dead-letters", *arguments)


async def told(settings: Settings, *arguments: str) -> Any:
    """What ``callmeter dead-letters ... --json`` prints."""
    return (await ran(settings, *arguments, "--json")).json


async def listed(settings: Settings, *arguments: str, count: int) -> list[dict[str, Any]]:
    """The listed letters, once there are so many."""

    async def found() -> tuple[list[dict[str, Any]]]:
        rows = await told(settings, "list", *arguments)
        assert len(rows) == count, rows
        return (rows,)

    (rows,) = await wait_until(found, what=f"{count} letters")
    return rows


async def of_account(settings: Settings, topic: str, account: str) -> list[dict[str, Any]]:
    return [value for value in await read_values(settings, topic) if value["account_id"] == account]


async def calls_rated(settings: Settings, account: str, count: int) -> list[str]:
    """Ids of the account's rated calls, once there are so many."""

    async def found() -> list[dict[str, Any]]:
        values = await of_account(settings, RATED_CALLS, account)
        assert len(values) >= count
        return values

    return [value["call_id"] for value in await wait_until(found, what=f"{count} rated calls of {account}")]


async def caught_up(settings: Settings, account: str) -> None:
    """Everything that the account has in the log was rated or refused: a call after it was."""
    marker = call(f"marker_{len(await of_account(settings, RATED_CALLS, account))}", account=account)
    await produce(settings, [marker])

    async def there() -> bool:
        return any(one["call_id"] == marker["call_id"] for one in await of_account(settings, RATED_CALLS, account))

    await wait_until(there, what="the marker")


async def test_a_call_without_a_subscription_is_rated_once_that_exists_and_it_is_redriven(pipeline: Settings) -> None:
    account = ("--account", "early")
    await produce(
        pipeline, [call(1, account="early"), call(2, "2026-10-03T10:10:00Z", "2026-10-03T10:00:00Z", "early")]
    )
    first, second = await listed(pipeline, *account, count=2)
    assert (first["reason"], first["state"], first["type"]) == ("no_subscription", "open", "call.completed")
    await produce(pipeline, [subscription(account="early", sub="sub_early")])
    assert await told(pipeline, "redrive", *account) == {
        "dry_run": False,
        "redriven": {"no_subscription": 2},
        "skipped": {},
    }
    assert await calls_rated(pipeline, "early", 1) == ["call_1"]
    # The other one ended before the subscription began: refused again, by a letter that names the first one.
    (again,) = await listed(pipeline, *account, count=1)
    assert (again["reason"], again["came_from"], again["state"]) == ("no_subscription", second["letter"], "open")
    everything = await listed(pipeline, *account, "--all", count=3)
    assert [row["state"] for row in everything] == ["re-driven", "re-driven", "open"]

    origins = {
        record.offset: redriven_of(record.headers)
        for record in await read_topic(pipeline, ACCOUNT_EVENTS)
        if record.headers and record.key == b"early"
    }
    assert [(one.dead_letter, one.source) for one in origins.values() if one] == [
        (row["letter"], row["source"]) for row in (first, second)
    ]
    # Before the first tick there is no clock: the time is that of the letter, and the second letter keeps it.
    (letter,) = [
        one for one in await read_topic(pipeline, DEAD_LETTERS) if f"{one.partition}:{one.offset}" == again["letter"]
    ]
    origin = redriven_of(letter.headers)
    assert origin and origin.refused_at == datetime.fromisoformat(second["refused_at"])


async def test_a_call_that_the_platform_sends_again_meanwhile_is_rated_once(pipeline: Settings) -> None:
    await produce(pipeline, [call(1, account="twice")])
    await listed(pipeline, "--account", "twice", count=1)
    await produce(pipeline, [subscription(account="twice", sub="sub_twice"), call(1, account="twice")])
    await calls_rated(pipeline, "twice", 1)
    assert (await told(pipeline, "redrive", "--account", "twice"))["redriven"] == {"no_subscription": 1}
    await caught_up(pipeline, "twice")
    assert Counter(await calls_rated(pipeline, "twice", 2))["call_1"] == 1
    assert [value["call_id"] for value in await of_account(pipeline, DUPLICATES, "twice")] == ["call_1"]
    assert await listed(pipeline, "--account", "twice", count=0) == []


async def test_redriving_again_does_nothing(pipeline: Settings) -> None:
    facts = [pack(1, account="again", minutes=7), call(1, account="again")]
    await produce(pipeline, facts)
    await listed(pipeline, "--account", "again", count=2)
    await produce(pipeline, [subscription(account="again", sub="sub_again")])
    dry = await told(pipeline, "redrive", "--account", "again", "--dry-run")
    assert dry == {"dry_run": True, "redriven": {"no_subscription": 2}, "skipped": {}}
    assert (await told(pipeline, "redrive", "--account", "again"))["redriven"] == {"no_subscription": 2}
    for _ in range(2):
        again = await told(pipeline, "redrive", "--account", "again")
        assert again == {"dry_run": False, "redriven": {}, "skipped": {"already re-driven": 2}}
    await caught_up(pipeline, "again")
    assert len([one for one in await read_topic(pipeline, ACCOUNT_EVENTS) if one.key == b"again" and one.headers]) == 2
    assert await of_account(pipeline, DUPLICATES, "again") == []
    balances = [value["wallet_left_s"] for value in await of_account(pipeline, RATED_CALLS, "again")]
    assert max(balances) == 7 * 60


async def test_what_is_no_fact_and_ticks_and_rules_are_left(pipeline: Settings) -> None:
    await produce(pipeline, [b'{"type": "call.dreamt", "account_id": "odd", "agency_id": "ag_odd"}'])
    (row,) = await listed(pipeline, "--agency", "ag_odd", count=1)
    assert (await told(pipeline, "redrive", row["letter"]))["skipped"] == {"no fact": 1}
    assert await listed(pipeline, "--type", "call.dreamt", count=1) == [row]


async def test_letters_are_found_by_reason_time_and_position_and_shown_whole(pipeline: Settings) -> None:
    began = datetime.now(UTC).isoformat()
    await produce(pipeline, [call(1, account="found", agency_id="ag_found"), b"\xff\x00found", None])
    mine = ("--agency", "ag_found")
    (row,) = await listed(pipeline, *mine, "--since", began, "--reason", "no_subscription", count=1)
    assert row["source"].startswith(f"{partition_of(b'found', pipeline.partitions)}:")
    for arguments in (("--until", began), ("--reason", "malformed"), ("--type", "tick"), ("--account", "other")):
        assert await told(pipeline, "list", *mine, *arguments) == []
    assert (
        await told(pipeline, "list", row["letter"]) == await told(pipeline, "list", "--source", row["source"]) == [row]
    )

    shown = await told(pipeline, "show", row["letter"])
    assert json.loads(shown["value"]) == call(1, account="found", agency_id="ag_found")
    assert {name: shown["headers"][name] for name in ("reason", "detail")} == {
        "reason": "no_subscription",
        "detail": "account found was never subscribed",
    }
    text = (await ran(pipeline, "show", row["letter"])).out
    assert "no_subscription: account found was never subscribed" in text and '"call_id": "call_1"' in text

    raw, tombstone = await listed(pipeline, "--since", began, "--reason", "malformed", count=2)
    assert "ff00666f756e64" in (await ran(pipeline, "show", raw["letter"])).out.splitlines()
    assert "(a tombstone)" in (await ran(pipeline, "show", tombstone["letter"])).out
    table = await ran(pipeline, "list", "--since", began)
    assert raw["letter"] in table.out and table.error == "3 dead letters: malformed 2 · no_subscription 1\n"


@pytest.mark.parametrize("arguments", [("show", "3"), ("list", "--source", "a:1"), ("redrive", "1:-1")])
async def test_what_is_no_position_is_one_line(pipeline: Settings, arguments: tuple[str, ...]) -> None:
    done = await ran(pipeline, *arguments)
    assert done.code == 1 and done.error.endswith("is no position; write <partition>:<offset>, such as 3:17")


async def test_a_letter_that_is_not_there_is_one_line(pipeline: Settings) -> None:
    done = await ran(pipeline, "show", "0:999999")
    assert (done.code, done.error) == (1, "there is no dead letter 0:999999; see `callmeter dead-letters list --all`")


@pytest.fixture
async def refused(make_settings, monkeypatch):
    """One partition with 50 letters of calls, and a subscription behind them. Redriven by tens."""
    monkeypatch.setattr(redrive, "MOST_LETTERS", 10)
    settings = make_settings(partitions=1)
    await produce(settings, [*(call(number) for number in range(50)), subscription()])
    with process(settings, "meter"):
        await letters_there(settings, 50)
        yield settings


async def letters_there(settings: Settings, count: int) -> None:
    async def enough() -> bool:
        return len(await read_topic(settings, DEAD_LETTERS)) >= count

    await wait_until(enough, what=f"{count} letters")


async def once_each(settings: Settings) -> bool:
    """All are in the log once more, and rated once."""
    ids = await rated(settings, 50)
    values = await read_values(settings, ACCOUNT_EVENTS)
    return (
        Counter(ids) == Counter(f"call_{number}" for number in range(50))
        and len(values) == 101
        and len(await read_topic(settings, REDRIVES)) == 50
        and not await read_topic(settings, DUPLICATES)
    )


class Died(Exception):
    """As if the process was killed here."""


@pytest.mark.parametrize("moment", ["before the commit", "after the commit"])
async def test_one_that_dies_half_way_is_run_again(refused, monkeypatch, moment):
    commit, commits = FencedProducer.commit, 0

    async def dying(self):
        nonlocal commits
        commits += 1
        if commits == 3 and moment == "after the commit":
            await commit(self)
        if commits == 3:
            raise Died
        return await commit(self)

    monkeypatch.setattr(FencedProducer, "commit", dying)
    with pytest.raises(Died):
        await Redrive(refused, Wanted()).run()
    monkeypatch.setattr(FencedProducer, "commit", commit)
    done = 20 if moment == "before the commit" else 30
    again = Redrive(refused, Wanted())
    await again.run()
    assert (again.redriven.total(), again.skipped) == (50 - done, {"already re-driven": done})
    assert await once_each(refused)


async def test_one_killed_in_the_middle_of_a_transaction_leaves_nothing_half_done(make_settings):
    settings = make_settings(partitions=1)
    await produce(settings, [*(call(number) for number in range(6_000)), subscription()])
    with process(settings, "meter"):
        await letters_there(settings, 6_000)
        with process(settings, "dead-letters", "redrive") as killed:

            async def begun() -> bool:
                return bool(await read_topic(settings, REDRIVES)) or not killed.alive()

            await wait_until(begun)
            killed.kill()
        summary = await told(settings, "redrive")
        assert summary["redriven"].get("no_subscription", 0) + summary["skipped"]["already re-driven"] == 6_000
        ids = await rated(settings, 6_000)
        assert Counter(ids) == Counter(f"call_{number}" for number in range(6_000))
        assert len(await read_topic(settings, REDRIVES)) == 6_000
        assert not await read_topic(settings, DUPLICATES)


async def test_of_two_at_once_one_is_fenced_and_each_letter_goes_once(refused, monkeypatch, caplog):
    commit = FencedProducer.commit
    half_way, other_done = asyncio.Event(), asyncio.Event()

    async def slow(self):
        if not half_way.is_set():
            await commit(self)
            half_way.set()
            await other_done.wait()
        return await commit(self)

    monkeypatch.setattr(FencedProducer, "commit", slow)
    first, second = Redrive(refused, Wanted()), Redrive(refused, Wanted())
    running = asyncio.create_task(first.run())
    await half_way.wait()
    await second.run()
    other_done.set()
    with pytest.raises(CallmeterError, match="has taken over"):
        await running
    gc.collect()
    # One line is enough: the library's futures are not told of beside it.
    assert "never retrieved" not in caplog.text
    assert second.redriven.total() == 40
    assert await once_each(refused)


async def test_the_letters_that_a_redrive_causes_are_not_its_own_to_redrive(make_settings):
    settings = make_settings(partitions=1)
    await produce(settings, [call(1), call(2)])
    with process(settings, "meter"):
        await letters_there(settings, 2)
        for number in (1, 2, 3):
            again = Redrive(settings, Wanted())
            await again.run()
            assert (again.redriven.total(), again.skipped.total()) == (2, 2 * (number - 1))
            await letters_there(settings, 2 + 2 * number)


async def test_a_letter_tells_the_clock_by_which_it_is_forgotten_and_a_tick_is_never_redriven(make_settings):
    settings = make_settings(partitions=1)
    refused_tick = tick("2027-02-02T12:00:01Z")
    await produce(settings, [tick("2026-11-03T12:00:00Z"), call(1), subscription(), refused_tick])
    with process(settings, "meter"):
        await letters_there(settings, 2)
        await produce(settings, [{**refused_tick, "jump": True}])
        first = Redrive(settings, Wanted())
        await first.run()
        assert (first.redriven, first.skipped) == ({"no_subscription": 1}, {"tick or rules": 1})
        await letters_there(settings, 3)
    letters = [headers_of(letter) for letter in await read_topic(settings, DEAD_LETTERS)]
    assert [(letter["reason"], letter["clock"]) for letter in letters] == [
        ("no_subscription", "2026-11-03T12:00:00+00:00"),
        ("impossible_times", "2026-11-03T12:00:00+00:00"),
        ("expired", "2027-02-02T12:00:01+00:00"),
    ]
    again = Redrive(settings, Wanted())
    await again.run()
    assert (again.redriven, again.skipped) == ({}, {"already re-driven": 1, "tick or rules": 1, "expired": 1})


async def test_a_header_of_somebody_elses_is_no_header(make_settings):
    settings = make_settings(partitions=1)
    await produce(settings, [subscription()])
    async with AIOKafkaProducer(**settings.kafka_client()) as producer:
        await producer.send_and_wait(
            settings.topic(ACCOUNT_EVENTS),
            json.dumps(call(1)).encode(),
            b"acct_1",
            headers=[("callmeter-redriven", b"\xff")],
        )
    with process(settings, "meter"):
        assert await rated(settings, 1) == ["call_1"]


async def test_a_call_refused_before_the_index_was_lost_is_rated_once_when_it_is_redriven(make_settings):
    settings = make_settings(partitions=1)
    await produce(settings, [subscription(account="other", fact="f", sub="s"), call(0, account="other"), call(1)])
    with process(settings, "meter") as meter:
        await letters_there(settings, 1)
        assert await rated(settings, 1) == ["call_0"]
        assert meter.stop() == 0, meter.output
    shutil.rmtree(settings.folder / SEEN_CALLS)
    with process(settings, "meter"):
        await produce(settings, [subscription(), call(0, account="other")])
        await Redrive(settings, Wanted()).run()
        assert await rated(settings, 2) == ["call_0", "call_1"]
        await produce(settings, [call(1, "2026-11-05T10:10:00Z", "2026-11-05T10:00:00Z"), call(2)])
        assert await rated(settings, 3) == ["call_0", "call_1", "call_2"]
    assert [value["call_id"] for value in await read_values(settings, DUPLICATES)] == ["call_0", "call_1"]
