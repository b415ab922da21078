"""Kill -9 of the meter, the sink and the billing job in the middle of the demo's load ends in the same sums."""

from __future__ import annotations

import asyncio
import re
import urllib.request

import pytest

from demo.market import text
from demo.observer import Observer
from demo.orders import cards
from demo.platform import Platform
from demo.proof import TALLY, prove, stored_in
from rating.request import request_for
from sinks.clickhouse import open_store
from streams.cards import put_card
from streams.topics import ACCOUNT_EVENTS
from streams.units import minor_digits
from tests.broker import command, process, produce, read_values, wait_until

CALLS = 4_000
SETTLED = b"payment_request.settled"
STORED = re.compile(r'^callmeter_sink_rows_total\{partition="\d+",table="rated_calls"\} (\S+)$', re.M)


def month(platform):
    """All records of the month, in order, with their ticks; at the end every period closes."""
    for at, facts in platform.hours():
        yield from (fact.value for fact in facts if fact.topic == ACCOUNT_EVENTS and SETTLED not in fact.value)
        yield {"type": "tick", "at": text(at)}
    yield {"type": "tick", "at": "2027-01-03T00:00:00Z"}


def stored_by(sink):
    """How many rated calls a sink process has stored, as its own metrics say."""
    url = re.search(r"url=(http://\S+)", sink.output)
    if not url:
        return 0
    with urllib.request.urlopen(url[1] + "/metrics", timeout=30) as answer:
        return int(sum(map(float, STORED.findall(answer.read().decode()))))


def stored_before(settings):
    """How many rows of rated calls ClickHouse has, with no sink running."""
    with open_store(settings) as store:
        return sum(row["calls"] for row in store.rows(TALLY))


@pytest.mark.slow
async def test_a_kill_of_each_role_under_load_loses_nothing_and_doubles_nothing(settings):
    assert command(settings, "migrate").returncode == 0
    platform = Platform(accounts=30, calls=CALLS, seed=11)
    records = list(month(platform))
    # Nobody waits here until an agency's cap is reached, and raises it, nor until something is due, and pays it.
    platform.planted.agency_cap = None
    platform.planted.debts.clear()
    stored = len(platform.planted.calls) + len(platform.planted.voided) + 2 * len(platform.planted.corrected)
    observer = Observer(settings)
    observed = observer.seen
    for card in cards():
        await put_card(settings, card, "2026-10-31T00:00:00Z")

    async def load():
        for start in range(0, len(records), 200):
            await produce(settings, records[start : start + 200])

    def rated(share):
        return lambda: observed.rated.total() >= CALLS * share

    def complete():
        return (
            observed.rated.keys() >= platform.planted.calls.keys()
            and observed.rated.total() + observed.corrections.total() == stored
            and observed.duplicates.total() == len(platform.planted.duplicates)
            and sum(observed.amounts.values()) == sum(observed.closed.values())
            # Agencies' periods close when the slowest partition has come so far.
            and sum(observed.wholesale.values()) == sum(usage["cost_micros"] for usage in observed.agencies.values())
        )

    with (
        process(settings, "meter") as meter,
        process(settings, "sink") as sink,
        process(settings, "billing") as billing,
    ):
        await observer.start()
        loading = asyncio.create_task(load())
        await wait_until(rated(0.1), 60, "the meter rates")
        meter.kill()
        with process(settings, "meter"):
            await wait_until(rated(0.3), 60, "the next meter goes on")
            await wait_until(lambda: stored_by(sink), 60, "the sink stores")
            sink.kill()
            billing.kill()
            before = stored_before(settings)
            assert 0 < before < stored
            with process(settings, "sink") as next_sink, process(settings, "billing"):
                await loading
                await wait_until(complete, 90, "every call is rated, every period closed")
                events = await read_values(settings, "billing-events")
                requests = [(event["account_id"], request_for(event, minor_digits)) for event in events]
                wanted = {(account, request["payment_request_id"]) for account, request in requests if request}
                await wait_until(lambda: observed.requests.keys() >= wanted, 60, "every request is raised")
                await wait_until(lambda: before + stored_by(next_sink) >= stored, 60, "everything is stored")
    await observer.stop()
    with open_store(settings) as store:
        proof = prove(platform.planted, observed, stored_in(store))
    assert [check for check in proof.checks if not check.holds] == []
    assert observed.requests.keys() == wanted
