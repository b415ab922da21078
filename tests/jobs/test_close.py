"""Closing on the real broker, with the real meter and billing job."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from jobs.close import Closing
from streams.settings import Settings
from tests.broker import command, process, produce, read_values, wait_until
from tests.rating.builders import call, pack, subscription, tick

PLAN = {"price_micros": 49_000_000, "connection_fee_micros": 5_000, "late_window_s": 900}


def month_of(account: str, agency: str = "ag_1", **terms: Any) -> list[dict[str, Any]]:
    """A subscription, a pack and two calls in November; 20 minutes beyond the 10 included and the one of the pack."""
    facts = [
        subscription(account=account, agency=agency, sub=f"sub_{account}", **{**PLAN, **terms}),
        {**pack(account, minutes=1, account=account), "currency": terms.get("currency", "USD")},
        call(1, account=account, ended="2026-11-03T10:20:00Z"),
        call(2, account=account, ended="2026-11-03T10:11:00Z"),
    ]
    return [{**fact, "agency_id": agency} for fact in facts]


def close(settings: Settings, *arguments: str) -> tuple[int, dict[str, Any], str]:
    """Exit code, report and standard error of ``callmeter close --json``."""
    done = command(settings, "close", "--json", *arguments)
    return done.returncode, json.loads(done.stdout), done.stderr


async def requests_of(settings: Settings, account: str) -> dict[str, dict[str, Any]]:
    """Payment requests of an account, by id."""
    values = await read_values(settings, "payment-requests")
    return {value["payment_request_id"]: value for value in values if value["account_id"] == account}


async def test_a_closed_period_leaves_its_requests_with_the_right_lines_and_totals(pipeline: Settings) -> None:
    await produce(pipeline, month_of("lines"))
    code, report, _ = close(pipeline, "--until", "2026-12-01T00:15:00Z")
    assert code == 0
    requests = await requests_of(pipeline, "lines")
    expected = {
        "sub_lines:20261101T000000Z:cycle": ("cycle", 49_000_000),
        "sub_lines:20261201T000000Z:cycle": ("cycle", 49_000_000),
        "pack:fact_lines": ("pack", 9_000_000),
        "sub_lines:20261101T000000Z:usage": ("usage", 2_410_000),
    }
    # The clock of the module's pipeline may be further already: then there are later cycles.
    found = {name: (one["kind"], one["total_micros"]) for name, one in requests.items()}
    assert {name: found.get(name) for name in expected} == expected
    # Whoever is asked before the last tick is overdue with it: these are due at once.
    assert {one["status"] for one in requests.values()} <= {"pending", "overdue"}
    usage = requests["sub_lines:20261101T000000Z:usage"]
    assert [(line["kind"], line["quantity"], line["unit_price_micros"], line["amount_micros"])
            for line in usage["lines"]] == [
        ("allowance", 600, 0, 0),
        ("wallet", 60, 0, 0),
        ("overage", 1_200, 2_000, 2_400_000),
        ("connection_fee", 2, 5_000, 10_000),
    ]  # fmt: skip
    assert report["done"] and report["open"] == []


async def test_the_report_counts_by_agency_and_currency_what_this_closing_did(settings: Settings) -> None:
    facts = [*month_of("a"), *month_of("b"), *month_of("c", agency="ag_2", currency="JPY", price_micros=0)]
    await produce(settings, facts)
    with process(settings, "meter"), process(settings, "billing"):
        code, report, _ = close(settings, "--until", "2026-12-05T00:00:00Z")
        assert (code, report["done"], report["until"]) == (0, True, "2026-12-05T00:00:00Z")
        assert report["agencies"] == {
            "ag_1": {
                "subscriptions": 2,
                "periods_closed": 2,
                "requests": 8,
                "amounts_micros": {"USD": 2 * (2 * 49_000_000 + 9_000_000 + 2_410_000)},
                "wholesale_periods_closed": 0,
                "wholesale_amounts_micros": {},
            },
            "ag_2": {
                "subscriptions": 1,
                "periods_closed": 1,
                "requests": 2,
                "amounts_micros": {"JPY": 9_000_000 + 2_000_000},
                "wholesale_periods_closed": 0,
                "wholesale_amounts_micros": {},
            },
        }
        code, report, _ = close(settings, "--until", "2026-12-05T00:00:00Z")
        assert (code, report["done"], report["agencies"]) == (0, True, {})


async def test_months_are_closed_in_steps_that_no_partition_refuses(pipeline: Settings) -> None:
    await produce(pipeline, [tick("2026-10-20T00:00:00Z"), *month_of("steps")])
    code, _, _ = close(pipeline, "--until", "2027-05-02")
    assert code == 0
    assert [letter for letter in await read_values(pipeline, "dead-letters") if letter["type"] == "tick"] == []
    cycles = {name for name, one in (await requests_of(pipeline, "steps")).items() if one["kind"] == "cycle"}
    months = [
        f"{year}{month:02}" for year, month in [(2026, 11), (2026, 12), *((2027, month) for month in range(1, 6))]
    ]
    assert {f"sub_steps:{month}01T000000Z:cycle" for month in months} <= cycles


async def test_a_subscription_that_started_before_the_time_of_the_log_is_closed_too(pipeline: Settings) -> None:
    assert close(pipeline, "--until", "2027-01-01")[0] == 0
    await produce(pipeline, month_of("past"))
    code, report, _ = close(pipeline, "--until", "2027-01-01")
    assert (code, report["agencies"]["ag_1"]["subscriptions"]) == (0, 1)
    assert "sub_past:20261101T000000Z:usage" in await requests_of(pipeline, "past")


async def test_a_jump_gets_there_in_one_tick(settings: Settings) -> None:
    await produce(settings, [tick("2026-11-01T00:00:00Z"), subscription(account="far")])
    with process(settings, "meter"):
        code, report, _ = close(settings, "--until", "2027-05-02", "--jump")
    assert (code, report["agencies"]["ag_1"]["periods_closed"]) == (0, 6)
    ticks = [fact for fact in await read_values(settings, "account-events") if fact["type"] == "tick"]
    jump = {"type": "tick", "at": "2027-05-02T00:00:00Z", "jump": True}
    assert ticks == [tick("2026-11-01T00:00:00Z"), jump] * settings.partitions


async def is_closed(settings: Settings, account: str) -> bool:
    """Whether the meter has closed a period of an account."""
    events = await read_values(settings, "billing-events")
    return any(event["type"] == "cycle.closed" and event["account_id"] == account for event in events)


async def test_what_is_open_at_the_timeout_is_named_and_the_next_closing_waits_for_it(settings: Settings) -> None:
    await produce(settings, month_of("open"))
    code, report, said = close(settings, "--until", "2026-12-05", "--timeout", "3")
    assert (code, report["done"]) == (1, False)
    assert "2 of 2 partitions" in report["open"][0] and "callmeter meter" in said
    with process(settings, "meter"):
        await wait_until(lambda: is_closed(settings, "open"))
        code, report, said = close(settings, "--until", "2026-12-05", "--timeout", "4")
        assert code == 1
        assert "4 payment requests" in report["open"][0] and "sub_open:20261101T000000Z:usage" in said
        with process(settings, "billing"):
            code, report, _ = close(settings, "--until", "2026-12-05")
    assert (code, report["agencies"]["ag_1"]["requests"]) == (0, 4)


def test_a_table_is_shown_to_people(pipeline: Settings) -> None:
    done = command(pipeline, "close", "--until", "2026-11-01")
    assert done.returncode == 0, done.stderr
    assert "nothing was due" in done.stdout


def test_a_time_without_a_zone_is_one_clear_line(pipeline: Settings) -> None:
    done = command(pipeline, "close", "--until", "2026-11-01T00:00:00")
    assert done.returncode != 0
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1


class LateStore:
    """ClickHouse, away for a while and then behind by one row."""

    def __init__(self, newest: dict[int, int]) -> None:
        self.asked = 0
        self._newest = newest

    def rows(self, sql: str) -> list[dict[str, int]]:
        from sinks.clickhouse import ClickHouseAway

        self.asked += 1
        if self.asked == 1:
            raise ClickHouseAway("not now")
        behind = self.asked == 2
        return [{"kafka_partition": at, "newest": offset - behind} for at, offset in self._newest.items()]


@pytest.mark.parametrize("comes", [True, False])
async def test_a_closing_waits_until_the_requests_are_in_clickhouse(pipeline: Settings, comes: bool) -> None:
    account = f"stored_{comes}"
    await produce(pipeline, [subscription(account=account, price_micros=1_000_000)])
    store = LateStore({at: 10**6 if comes else -1 for at in range(pipeline.partitions)})
    closing = Closing(pipeline, datetime(2026, 11, 2, tzinfo=UTC), store=store)  # type: ignore[arg-type]
    report = await closing.run(60 if comes else 4)
    assert (report.done, report.clickhouse) == (comes, True)
    assert comes or "ClickHouse" in report.open[0]
