"""The clock on the real broker; the rule of 35 days by itself."""

from __future__ import annotations

import re
import urllib.request
from collections import defaultdict
from datetime import UTC, datetime, timedelta

import pytest

from jobs.clock import aligned
from jobs.ticks import check_step, clocks, steps_to
from rating.fold import LONGEST_STEP
from streams.errors import Refused
from streams.settings import Settings
from tests.broker import command, process, produce, read_topic, read_values, wait_until
from tests.rating.builders import tick


def page(url: str) -> str:
    """What a role shows of itself."""
    with urllib.request.urlopen(url) as answer:
        return str(answer.read().decode())


async def times(settings: Settings) -> dict[int, list[str]]:
    """The times of the ticks in each partition, in order."""
    found = defaultdict(list)
    for record in await read_topic(settings, "account-events"):
        at = re.fullmatch(rb'\{"type":"tick","at":"([^"]*)"\}', record.value)
        assert at, record.value
        found[record.partition].append(at[1].decode())
    return found


async def test_every_partition_gets_aligned_ticks_until_the_clock_is_stopped(settings: Settings) -> None:
    often = settings.model_copy(update={"tick_interval_s": 0.2})

    async def ticks() -> dict[int, list[str]] | None:
        found = await times(settings)
        return found if len(found.get(0, [])) > 2 else None

    with process(often, "clock") as running:
        await wait_until(ticks)
        url = re.search(r"url=(\S+)", running.output)
        assert url
        metrics = page(f"{url[1]}/metrics")
        assert '"ready": true' in page(f"{url[1]}/ready")
        assert running.stop() == 0
    found = await times(settings)
    assert set(found) == set(range(settings.partitions))
    assert found[0] == found[1] == sorted(set(found[0]), key=datetime.fromisoformat)
    written = re.search(r"^callmeter_ticks_total (\S+)$", metrics, re.M)
    assert written and float(written[1]) > 2
    for at in found[0]:
        assert datetime.fromisoformat(at).microsecond % 200_000 == 0
    latest = datetime.fromisoformat(found[0][-1])
    assert datetime.now(UTC) - timedelta(minutes=1) < latest <= datetime.now(UTC)


async def test_two_clocks_write_the_same_times(settings: Settings) -> None:
    with process(settings, "clock"), process(settings, "clock"):

        async def both() -> bool:
            found = (await times(settings)).get(0, [])
            return len(found) > len(set(found))

        await wait_until(both)


async def test_a_clock_far_ahead_of_the_log_stops_and_says_what_to_do(settings: Settings) -> None:
    await produce(settings, [tick("2026-01-01T00:00:00Z")])
    done = command(settings, "clock")
    assert done.returncode == 1
    assert done.stderr.startswith("error: impossible_times: ") and done.stderr.count("\n") == 1
    assert "callmeter close --until" in done.stderr
    assert len(await read_topic(settings, "account-events")) == settings.partitions


async def test_one_tick_is_written_to_every_partition(settings: Settings) -> None:
    done = command(settings, "clock", "--once", "--at", "2026-11-01T00:00:00-05:00", "--json")
    assert (done.returncode, done.stdout) == (0, '{"at":"2026-11-01T05:00:00Z"}\n')
    assert await times(settings) == {partition: ["2026-11-01T05:00:00Z"] for partition in range(settings.partitions)}


async def test_one_tick_jumps_only_where_it_is_told_to(settings: Settings) -> None:
    await produce(settings, [tick("2026-11-01T00:00:00Z")])
    refused = command(settings, "clock", "--once", "--at", "2027-01-01")
    assert refused.returncode == 1 and refused.stderr.startswith("error: impossible_times: ")
    assert command(settings, "clock", "--once", "--at", "2027-01-01", "--jump").returncode == 0
    facts = await read_values(settings, "account-events")
    jump = tick("2027-01-01T00:00:00Z", jump=True)
    assert facts == [tick("2026-11-01T00:00:00Z"), jump] * settings.partitions


async def test_the_latest_tick_counts_whether_it_was_rated_or_not(settings: Settings) -> None:
    assert await clocks(settings) == dict.fromkeys(range(settings.partitions))
    await produce(settings, [b"not JSON", tick("2026-11-02T00:00:00Z"), tick("2026-11-01T00:00:00Z")])
    assert await clocks(settings) == dict.fromkeys(range(settings.partitions), datetime(2026, 11, 2, tzinfo=UTC))


@pytest.mark.parametrize("arguments", [["clock"], ["clock", "--once"], ["billing"], ["close", "--until", "2026-12-01"]])
def test_a_broker_that_is_not_there_is_one_clear_line(settings: Settings, arguments: list[str]) -> None:
    done = command(settings.model_copy(update={"kafka_bootstrap": "127.0.0.1:1"}), *arguments)
    assert done.returncode == 1
    assert done.stderr.startswith("error: no Kafka broker answers at 127.0.0.1:1") and done.stderr.count("\n") == 1


def test_at_and_jump_are_for_one_tick_only(settings: Settings) -> None:
    done = command(settings, "clock", "--jump")
    assert done.returncode == 1 and "--once" in done.stderr


@pytest.mark.parametrize("days", [0, 1, 34, 35, 36, 70, 400])
def test_steps_reach_the_time_and_none_is_too_long(days: int) -> None:
    clock = datetime(2026, 11, 1, tzinfo=UTC)
    until = clock + timedelta(days=days)
    steps = steps_to(until, clock)
    assert all(later - earlier <= LONGEST_STEP for earlier, later in zip([clock, *steps], steps, strict=False))
    assert steps[-1:] == ([until] if days else [])
    assert len(steps) == -(-days // 35)


def test_the_first_tick_may_be_any() -> None:
    until = datetime(2099, 1, 1, tzinfo=UTC)
    assert steps_to(until, None) == [until]
    check_step(until, {0: None})


def test_a_step_of_35_days_is_the_longest() -> None:
    clock = datetime(2026, 11, 1, tzinfo=UTC)
    check_step(clock + LONGEST_STEP, {0: clock, 1: None})
    with pytest.raises(Refused, match="partition 1"):
        check_step(clock + LONGEST_STEP, {0: clock, 1: clock - timedelta(microseconds=1)})


def test_times_are_whole_multiples_of_the_interval() -> None:
    at = datetime(2026, 11, 1, 10, 0, 7, 654_321, tzinfo=UTC)
    assert aligned(at, timedelta(seconds=5)) == datetime(2026, 11, 1, 10, 0, 5, tzinfo=UTC)
    assert aligned(at, timedelta(seconds=0.2)) == datetime(2026, 11, 1, 10, 0, 7, 600_000, tzinfo=UTC)
