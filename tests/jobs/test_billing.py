"""The billing job on the real broker: every billing event is asked for once, whatever happens to the job."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from jobs.gateways.base import identity
from rating.partitioner import partition_of
from rating.simulate import simulate_encoded
from streams.fenced import decode_position
from streams.settings import Settings
from tests.broker import ROOT, environment, process, produce, read_topic, read_values, wait_until
from tests.jobs.gateway_process import external_id_of
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


@contextmanager
def billing_with_gateway(settings: Settings, folder: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """The billing job with a `FolderGateway`, as a process of its own."""
    command = [sys.executable, "-m", "tests.jobs.gateway_process", str(folder), *arguments]
    running = subprocess.Popen(command, cwd=ROOT, env=environment(settings), stderr=subprocess.DEVNULL)
    try:
        yield running
    finally:
        running.kill()
        running.wait()


def in_another_group(settings: Settings) -> Settings:
    """For a job that gets all partitions at once, though the other one's are not free yet."""
    return settings.model_copy(update={"group_id": f"{settings.group_id}-other"})


async def facts_of(settings: Settings, count: int = REQUESTS) -> list[dict[str, Any]]:
    """The facts in the log, once there are so many."""

    async def found() -> list[dict[str, Any]] | None:
        facts = await read_values(settings, "account-events")
        return facts if len(facts) >= count else None

    return await wait_until(found)


def created(folder: Path) -> list[str]:
    """What was asked of a gateway, in order."""
    log = folder / "creations.log"
    return log.read_text().split() if log.exists() else []


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
        assert record.partition == partition_of(record.key, 4)
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


async def test_a_job_killed_between_the_gateway_and_the_fact_asks_once(settings: Settings, tmp_path: Path) -> None:
    await produce(settings, billing_events(), "billing-events")
    with billing_with_gateway(settings, tmp_path, "17") as first:
        await wait_until(lambda: first.poll() is not None)
    asked = created(tmp_path)
    known = {identity(fact) for fact in await read_values(settings, "account-events")}
    assert len(asked) == 17
    assert asked[-1] not in known
    with billing_with_gateway(in_another_group(settings), tmp_path):
        facts = await facts_of(settings)
    assert len(facts) == REQUESTS
    assert sorted(created(tmp_path)) == sorted(map(identity, facts))
    assert all(fact["external_id"] == external_id_of(fact) for fact in facts)


async def test_of_two_jobs_at_once_one_is_fenced_and_everything_is_asked_for_once(
    settings: Settings, tmp_path: Path
) -> None:
    events = billing_events()
    await produce(settings, events[: len(events) // 2], "billing-events")
    with billing_with_gateway(settings, tmp_path) as one:
        await wait_until(lambda: len(created(tmp_path)) > 0)
        with billing_with_gateway(in_another_group(settings), tmp_path) as other:
            await produce(settings, events[len(events) // 2 :], "billing-events")
            facts = await facts_of(settings)
            await wait_until(lambda: all_read(settings))
            assert one.poll() is None or other.poll() is None
    assert len(facts) == REQUESTS
    assert set(created(tmp_path)) == set(map(identity, facts))
    assert len(await read_values(settings, "account-events")) == REQUESTS


async def test_two_jobs_share_the_partitions(settings: Settings, tmp_path: Path) -> None:
    with billing_with_gateway(settings, tmp_path), billing_with_gateway(settings, tmp_path):
        await produce(settings, billing_events(), "billing-events")
        facts = await facts_of(settings)
    assert len(facts) == REQUESTS
    assert sorted(created(tmp_path)) == sorted(map(identity, facts))
