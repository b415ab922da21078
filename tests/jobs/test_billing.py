"""The billing job on the real broker: every billing event is asked for once, whatever happens to the job."""

from __future__ import annotations

from typing import Any

import msgspec

from rating.partitioner import partition_of
from rating.simulate import simulate_encoded
from streams.fenced import decode_position
from streams.settings import Settings
from tests.broker import process, produce, read_topic, read_values, wait_until
from tests.rating.builders import encode, pack, subscription, tick

ACCOUNTS = 40


def billing_events(accounts: int = ACCOUNTS) -> list[dict[str, Any]]:
    """What the meter gives out for accounts that are put on a plan, buy a pack and see their first period end."""
    facts = []
    for number in range(accounts):
        account = f"acct_{number}"
        start = subscription(account=account, sub=f"sub_{number}", price_micros=49_000_000, overage="blocked")
        # The same fact id in every account: ids are unique in their account only.
        facts += [start, pack("one", account=account)]
    outputs = map(msgspec.json.decode, simulate_encoded(encode([*facts, tick("2026-12-01T00:00:00Z")])))
    return [output["value"] for output in outputs if output["topic"] == "billing-events"]


# Two cycles and a pack.
REQUESTS = 3 * ACCOUNTS


def in_another_group(settings: Settings) -> Settings:
    """For a job that gets all partitions at once, though the other one's are not free yet."""
    return settings.model_copy(update={"group_id": f"{settings.group_id}-other"})


async def facts_of(settings: Settings, count: int = REQUESTS) -> list[dict[str, Any]]:
    """The facts in the log, once there are so many."""

    async def found() -> list[dict[str, Any]] | None:
        facts = await read_values(settings, "account-events")
        return facts if len(facts) >= count else None

    return await wait_until(found)


async def test_each_billing_event_that_calls_for_money_becomes_one_fact_in_its_accounts_partition(
    settings: Settings,
) -> None:
    await produce(settings, billing_events(), "billing-events")
    with process(settings, "billing"):
        facts = await facts_of(settings)
        # The status changes and closings without usage come after the last request of an account: let them be read.
        await wait_until(lambda: all_read(settings))
    assert len(facts) == len({(fact["account_id"], fact["payment_request_id"]) for fact in facts}) == REQUESTS
    assert {(fact["type"], fact["gateway"], fact["external_id"]) for fact in facts} == {
        ("payment_request.created", "manual", None)
    }
    for record in await read_topic(settings, "account-events"):
        assert record.partition == partition_of(record.key, settings.partitions)
        assert msgspec.json.decode(record.value)["account_id"] == record.key.decode()


async def all_read(settings: Settings) -> bool:
    """Whether the billing job has stored a position after the last billing event of every partition."""
    last = {record.partition: record.offset + 1 for record in await read_topic(settings, "billing-events")}
    ledger = await read_topic(settings, "billing-ledger")
    return {record.partition: decode_position(record.value) for record in ledger if record.value} == last


async def test_a_job_that_starts_again_goes_on_where_it_was(settings: Settings) -> None:
    events = billing_events()
    half = len(events) // 2
    await produce(settings, events[:half], "billing-events")
    with process(settings, "billing") as running:
        await wait_until(lambda: all_read(settings))
        assert running.stop() == 0
    before = await read_values(settings, "account-events")
    await produce(settings, events[half:], "billing-events")
    with process(settings, "billing"):
        facts = await facts_of(settings)
    assert len(facts) == REQUESTS
    assert len(before) < REQUESTS


async def test_of_two_jobs_at_once_one_is_fenced_and_every_fact_is_written_once(settings: Settings) -> None:
    events = billing_events()
    await produce(settings, events[: len(events) // 2], "billing-events")
    with process(settings, "billing") as one:
        await facts_of(settings, 1)
        with process(in_another_group(settings), "billing") as other:
            await produce(settings, events[len(events) // 2 :], "billing-events")
            await facts_of(settings)
            await wait_until(lambda: all_read(settings))
            assert one.alive() or other.alive()
    assert len(await read_values(settings, "account-events")) == REQUESTS


async def test_two_jobs_share_the_partitions(settings: Settings) -> None:
    with process(settings, "billing"), process(settings, "billing"):
        await produce(settings, billing_events(), "billing-events")
        facts = await facts_of(settings)
    assert len(facts) == REQUESTS
