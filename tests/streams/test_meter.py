"""The meter as processes: whatever happens to it, each call is rated once."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
from collections import Counter

from streams.administration import administration
from tests.broker import ROOT, Process, environment, process, produce, read_topic, read_values, wait_until
from tests.streams.meters import ask, calls, partitions_of, rated, ready, subscribed

ACCOUNTS = 20


async def test_a_restart_goes_on_where_it_was(settings):
    await produce(settings, subscribed(ACCOUNTS) + calls(ACCOUNTS, 0, 100))
    with process(settings, "meter") as meter:
        await rated(settings, 100)
        assert meter.stop() == 0, meter.output
    await produce(settings, calls(ACCOUNTS, 100, 100))
    with process(settings, "meter") as meter:
        ids = await rated(settings, 200)
        assert meter.stop() == 0, meter.output
    assert Counter(ids) == Counter(f"call_{number}" for number in range(200))
    assert await read_topic(settings, "dead-letters") == []
    assert [value["type"] for value in await read_values(settings, "billing-events")].count("cycle.opened") == ACCOUNTS


async def test_two_workers_share_the_partitions_and_one_takes_over_when_the_other_stops(make_settings):
    settings = make_settings(partitions=4)
    await produce(settings, subscribed(ACCOUNTS))
    with process(settings, "meter") as first, process(settings, "meter") as second:

        def shared() -> bool:
            ours, theirs = partitions_of(first), partitions_of(second)
            return len(ours) == len(theirs) == 2 and ours | theirs == {0, 1, 2, 3}

        await wait_until(shared, what="two partitions each")
        await produce(settings, calls(ACCOUNTS, 0, 200))
        await rated(settings, 200)
        assert first.stop() == 0, first.output
        await wait_until(lambda: partitions_of(second) == {0, 1, 2, 3}, what="all partitions at the second")
        await produce(settings, calls(ACCOUNTS, 200, 200))
        ids = await rated(settings, 400)
        assert second.stop() == 0, second.output
    assert Counter(ids) == Counter(f"call_{number}" for number in range(400))


async def test_kill_9_under_load_loses_and_doubles_nothing(make_settings):
    settings = make_settings(partitions=2, batch_records=300, flight_records=600)
    await produce(settings, subscribed(ACCOUNTS))
    total = 12_000

    async def load() -> None:
        for first in range(0, total, 500):
            await produce(settings, calls(ACCOUNTS, first, 500))

    loading = asyncio.create_task(load())
    for goal in (1_000, 5_000):
        with process(settings, "meter") as meter:
            await rated(settings, goal)
            meter.kill()
    with process(settings, "meter") as meter:
        await loading
        # The one before may have rated all of it by the time it was killed.
        await ready(meter)
        ids = await rated(settings, total)
        assert meter.stop() == 0, meter.output
    assert Counter(ids) == Counter(f"call_{number}" for number in range(total))
    assert await read_topic(settings, "duplicates") == []


async def test_a_frozen_worker_that_wakes_doubles_nothing(make_settings):
    settings = make_settings(partitions=1)
    await produce(settings, subscribed(ACCOUNTS) + calls(ACCOUNTS, 0, 10))
    other_machine = settings.model_copy(update={"data_folder": settings.folder / "other"})
    with process(settings, "meter") as zombie:
        await rated(settings, 10)
        # Who is frozen while it opens a partition fences its successor when it wakes: both end, and are started anew.
        await ready(zombie)
        zombie.freeze()
        with process(other_machine, "meter") as meter:
            await produce(settings, calls(ACCOUNTS, 10, 10))
            await rated(settings, 20)
            zombie.thaw()
            await produce(settings, calls(ACCOUNTS, 20, 10))
            ids = await rated(settings, 30)
            assert meter.stop() == 0, meter.output
    assert Counter(ids) == Counter(f"call_{number}" for number in range(30))


async def test_fausts_own_command_runs_it_too(settings, tmp_path):
    await produce(settings, subscribed(1) + calls(1, 0, 5))
    with (tmp_path / "faust.log").open("wb") as log:
        popen = subprocess.Popen(
            [sys.executable, "-m", "faust", "-A", "streams.meter", "worker", "-l", "info"],
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env=environment(settings),
        )
    worker = Process(popen, tmp_path / "faust.log")
    try:
        assert len(await rated(settings, 5)) == 5
        assert worker.stop() == 0, worker.output
    finally:
        if worker.alive():
            worker.kill()


async def test_it_tells_the_truth_about_itself(make_settings):
    settings = make_settings(partitions=1, log_format="json")
    await produce(settings, [*subscribed(2), *calls(2, 0, 6), *calls(2, 0, 1), b"{}"])
    await produce(settings, [{"type": "tick", "at": "2026-11-03T12:00:00Z"}])
    with process(settings, "meter") as meter:
        await ready(meter)
        await rated(settings, 6)
        expected = {
            "callmeter_calls_rated_total 6.0",
            "callmeter_duplicates_total 1.0",
            'callmeter_dead_letters_total{reason="malformed"} 1.0',
            'callmeter_accounts{partition="0"} 2.0',
            'callmeter_partition_clock_seconds{partition="0"} 1.7937072e+09',
            'callmeter_lag_records{partition="0"} 0.0',
            'callmeter_ready{role="meter"} 1.0',
        }
        await wait_until(lambda: expected <= set(ask(meter, "/metrics")[1].splitlines()), what="the metrics")
        assert "acct_" not in ask(meter, "/metrics")[1]
        told = {"status": "ok", "roles": ["meter", "agencies"]}
        await wait_until(lambda: json.loads(ask(meter, "/health")[1]) == told)
        all_ready = {role: {"ready": True, "waiting_for": None} for role in ("meter", "agencies")}
        # The second fold begins after the first.
        await wait_until(lambda: json.loads(ask(meter, "/ready")[1]) == {"ready": True, "roles": all_ready})
        assert meter.stop() == 0, meter.output
        assert all(json.loads(line)["event"] for line in meter.output.splitlines())


async def test_lag_tools_see_where_it_is(make_settings):
    settings = make_settings(partitions=1)
    await produce(settings, subscribed(1) + calls(1, 0, 9))
    with process(settings, "meter") as meter:
        await rated(settings, 9)

        async def published() -> bool:
            async with administration(settings) as admin:
                offsets = await admin.list_consumer_group_offsets(f"{settings.group_id}-meter")
            return [offset.offset for offset in offsets.values()] == [10]

        await wait_until(published, what="the group's offset")
        assert meter.stop() == 0


async def test_duplicates_are_found_after_a_restart_even_if_the_index_was_lost(make_settings):
    settings = make_settings(partitions=1)
    await produce(settings, subscribed(2) + calls(2, 0, 50))
    with process(settings, "meter") as meter:
        await rated(settings, 50)
        assert meter.stop() == 0, meter.output
    shutil.rmtree(settings.folder / "seen-calls")
    await produce(settings, calls(2, 40, 20))
    with process(settings, "meter") as meter:
        ids = await rated(settings, 60)
        assert meter.stop() == 0, meter.output
    assert ids == [f"call_{number}" for number in range(60)]
    duplicates = await read_values(settings, "duplicates")
    assert [(value["call_id"], value["source_first_offset"], value["source_offset"]) for value in duplicates] == [
        (f"call_{number}", 2 + number, 12 + number) for number in range(40, 50)
    ]
