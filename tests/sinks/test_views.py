"""Views give the right numbers on a small story, and sums equal the rows at every moment."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

import pytest

from sinks.clickhouse import Store
from sinks.exactly_once import Appender
from sinks.migrate import migrate
from sinks.tables import TABLES
from sinks.usage import REPORTS, usage
from tests.sinks.story import month, written

STORY = written(month())
CALLS = [json.loads(record.value) for record in STORY["rated-calls"]]
SUMMED = (
    "duration_s", "billed_s", "allowance_s", "wallet_s", "credit_s", "credit_micros", "overage_s", "written_off_s",
    "fee_micros", "amount_micros",
)  # fmt: skip
KEYS: dict[str, tuple[str, ...]] = {
    "usage_by_hour": ("hour", "agency_id", "account_id", "currency"),
    "usage_by_day": ("day", "agency_id", "account_id", "currency"),
    "usage_by_account": ("agency_id", "account_id", "currency"),
    "usage_by_agency": ("day", "agency_id", "currency"),
    "usage_by_campaign": ("day", "agency_id", "account_id", "campaign_id", "currency"),
    "usage_by_number": ("day", "agency_id", "account_id", "number", "currency"),
    "usage_by_agent": ("day", "agency_id", "account_id", "agent_id", "currency"),
    "usage_by_period": ("agency_id", "account_id", "subscription_id", "period_start", "currency"),
    "usage_by_origin": ("hour", "agency_id", "account_id", "campaign_id", "agent_id", "number", "currency"),
}


@pytest.fixture(scope="module", params=["chdb", "http"])
def filled(request: pytest.FixtureRequest) -> Iterator[Store]:
    """The story in a database, stored in two halves, as chunks come."""
    from sinks.clickhouse import Target, parse_dsn

    if request.param == "chdb":
        target = Target("chdb", "views", folder=str(request.getfixturevalue("engine")))
    else:
        target = parse_dsn(request.getfixturevalue("clickhouse").dsn("views"))
    migrate(target)
    for table in TABLES:
        records = STORY[table.topic]
        appender = Appender(Store(target), table.name)
        position = None
        for half in (records[: len(records) // 2], records[len(records) // 2 :]):
            chunk = table.chunk(half)
            assert not chunk.rejects
            position = appender.append(0, chunk.columns, position)
        appender.close()
    with Store(target) as store:
        yield store


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def key_of(call: dict[str, Any], keys: tuple[str, ...]) -> tuple[Any, ...]:
    hour = at(call["ended_at"]).replace(minute=0, second=0, microsecond=0)
    number = {"inbound": call["to_number"], "outbound": call["from_number"]}[call["direction"]]
    told = {"hour": hour, "day": hour.replace(hour=0), "number": number or "", "period_start": at(call["period_start"])}
    return tuple(told[name] if name in told else call[name] or "" for name in keys)


def summed(calls: list[dict[str, Any]], keys: tuple[str, ...]) -> dict[tuple[Any, ...], dict[str, Any]]:
    """The sums a second time, in Python."""
    result = {}
    calls = sorted(calls, key=lambda call: key_of(call, keys))
    for key, group in groupby(calls, key=lambda call: key_of(call, keys)):
        listed = list(group)
        known = [call for call in listed if call["margin_micros"] is not None]
        result[key] = {
            "calls": len(listed),
            "late_calls": sum(call["late"] for call in listed),
            **{name: sum(call[name] for call in listed) for name in SUMMED},
            "calls_with_cost": len(known),
            "known_cost_micros": sum(call["cost_micros"] for call in known) if known else None,
            "margin_micros": sum(call["margin_micros"] for call in known) if known else None,
        }
    return result


def by_key(rows: list[dict[str, Any]], keys: tuple[str, ...]) -> dict[tuple[Any, ...], dict[str, Any]]:
    result = {tuple(row.pop(name) for name in keys): row for row in rows}
    assert len(result) == len(rows)
    return result


@pytest.mark.parametrize("view", KEYS)
def test_a_view_of_usage_is_the_sum_of_the_rows(filled: Store, view: str) -> None:
    assert by_key(filled.rows(f"SELECT * FROM {view}"), KEYS[view]) == summed(CALLS, KEYS[view])


@pytest.mark.parametrize("view", ["usage_by_hour", "usage_by_origin"])
@pytest.mark.parametrize("use", [0, 1])
def test_sums_are_the_same_with_and_without_projections(filled: Store, view: str, use: int) -> None:
    rows = filled.rows(f"SELECT * FROM {view} SETTINGS optimize_use_projections = {use}")
    assert by_key(rows, KEYS[view]) == summed(CALLS, KEYS[view])


@pytest.mark.parametrize(
    "query",
    [
        "SELECT maxOrNull(kafka_offset) FROM rated_calls WHERE kafka_partition = 0",
        "SELECT * FROM usage_by_hour WHERE agency_id = 'ag_1' AND hour >= '2026-11-03 00:00:00'",
        "SELECT * FROM usage_by_day WHERE agency_id = 'ag_1'",
        "SELECT * FROM usage_by_agency",
        "SELECT * FROM usage_by_period",
        "SELECT * FROM usage_by_campaign WHERE account_id = 'acct_1'",
        "SELECT * FROM usage_by_number",
        "SELECT * FROM usage_by_agent",
    ],
)
def test_large_questions_are_answered_by_projections(filled: Store, query: str) -> None:
    rows = filled.rows(f"EXPLAIN {query} SETTINGS force_optimize_projection = 1")
    assert any("ReadFromMergeTree" in row["explain"] and "rated_calls" not in row["explain"] for row in rows)


@pytest.mark.parametrize("by", REPORTS)
def test_reports_agree_with_the_rows(filled: Store, by: str) -> None:
    keys = (*REPORTS[by], "currency")
    assert by_key(usage(filled, by), keys) == summed(CALLS, keys)


@pytest.mark.parametrize("by", REPORTS)
@pytest.mark.parametrize("end", ["2026-11-04T00:00:00Z", "2026-11-03T04:00:00Z", "2026-11-03T04:03:04.5Z"])
def test_reports_of_whole_days_whole_hours_and_any_times(filled: Store, by: str, end: str) -> None:
    calls = [call for call in CALLS if at("2026-11-02T00:00:00Z") <= at(call["ended_at"]) < at(end)]
    assert 0 < len(calls) < len(CALLS)
    keys = (*REPORTS[by], "currency")
    assert by_key(usage(filled, by, None, at("2026-11-02T00:00:00Z"), at(end)), keys) == summed(calls, keys)


def test_reports_take_filters_and_times(filled: Store) -> None:
    begin, end = at("2026-11-03T02:00:00Z"), at("2026-11-03T04:03:04.5Z")
    calls = [call for call in CALLS if call["account_id"] == "acct_1" and begin <= at(call["ended_at"]) < end]
    assert 0 < len(calls) < len(CALLS)
    keys = ("day", "currency")
    assert by_key(usage(filled, "day", {"account": "acct_1"}, begin, end), keys) == summed(calls, keys)
    assert usage(filled, "agent", {"campaign": "nobody's"}) == []


def test_usage_of_a_closed_cycle_is_the_sum_of_its_calls(filled: Store) -> None:
    cycles = filled.rows(
        "SELECT c.calls AS calls, c.usage_micros AS usage_micros, c.billed_s AS billed_s,"
        " u.calls AS u_calls, u.amount_micros AS u_micros, u.billed_s AS u_billed_s"
        " FROM cycles AS c JOIN usage_by_period AS u USING (agency_id, account_id, subscription_id, period_start)"
        " WHERE c.closed"
    )
    assert len(cycles) == 3
    for cycle in cycles:
        assert (cycle["calls"], cycle["usage_micros"], cycle["billed_s"]) == (
            cycle["u_calls"],
            cycle["u_micros"],
            cycle["u_billed_s"],
        )


def test_cycles_show_open_and_closed_periods(filled: Store) -> None:
    rows = filled.rows(
        "SELECT account_id, period_start, period_end, closed, plan FROM cycles ORDER BY account_id, period_start"
    )
    december, january = at("2026-12-01T00:00:00Z"), at("2027-01-01T00:00:00Z")
    found = [(row["account_id"], row["period_start"].month, row["period_end"], row["closed"]) for row in rows]
    assert found == [
        ("acct_1", 11, december, 1),
        ("acct_1", 12, january, 0),
        ("acct_2", 11, december, 1),
        ("acct_2", 12, at("2026-12-05T00:00:00Z"), 1),
        ("acct_3", 11, december, 1),
        ("acct_3", 12, january, 0),
    ]
    assert {row["plan"] for row in rows} == {"starter"}


def test_the_latest_state_of_a_request_counts(filled: Store) -> None:
    requests = {row["payment_request_id"]: row for row in filled.rows("SELECT * FROM payment_requests_current")}
    latest = {(value := json.loads(record.value))["payment_request_id"]: value for record in STORY["payment-requests"]}
    assert len(STORY["payment-requests"]) > len(latest)
    assert {key: row["status"] for key, row in requests.items()} == {
        key: value["status"] for key, value in latest.items()
    }
    paid = requests["sub_1:20261101T000000Z:cycle"]
    assert (paid["status"], paid["reference"]) == ("paid", "wire 4711")
    assert paid["paid_at"] == at("2026-12-02T00:00:00Z")
    assert paid["lines.amount_micros"] == [49_000_000]
    assert filled.value(
        "SELECT countIf(arraySum(`lines.amount_micros`) != subtotal_micros) FROM payment_requests_current"
    ) == 0  # fmt: skip


def test_the_latest_access_counts(filled: Store) -> None:
    latest = {(value := json.loads(record.value))["account_id"]: value for record in STORY["access-events"]}
    assert len(STORY["access-events"]) > len(latest) > 0
    rows = filled.rows("SELECT account_id, allowed, reason, reasons FROM access_current")
    assert {row.pop("account_id"): row for row in rows} == {
        key: {name: value[name] for name in ("allowed", "reason", "reasons")} for key, value in latest.items()
    }


def test_accounts_are_shown_in_their_latest_state_even_before_a_merge(filled: Store) -> None:
    assert filled.value("SELECT count() FROM accounts") > 3
    rows = filled.rows("SELECT account_id, status, access_allowed FROM accounts_current ORDER BY account_id")
    # What was asked of the first at the month's end is not paid.
    assert [tuple(row.values()) for row in rows] == [
        ("acct_1", "blocked", False),
        ("acct_2", "canceled", False),
        ("acct_3", "active", True),
    ]


def test_high_usage_is_told_in_percent_and_ranked_in_each_agency(store: Store) -> None:
    values = [
        # agency, account, included, left, billed, usage, cap minutes, cap spend, period
        ("ag_1", "half", 600, 300, 300, 0, "NULL", "NULL", "now()"),
        ("ag_1", "capped", 600, 600, 540, 9, 10, 10, "now()"),
        ("ag_1", "spends", 0, 0, 0, 30, "NULL", 20, "now()"),
        ("ag_1", "closed", 600, 0, 600, 0, "NULL", "NULL", "NULL"),
        ("ag_2", "alone", 0, 0, 0, 0, "NULL", "NULL", "now()"),
    ]
    rows = ", ".join(
        f"('{agency}', '{account}', {included}, {left}, {billed}, {used}, {minutes}, {spend}, {period})"
        for agency, account, included, left, billed, used, minutes, spend, period in values
    )
    store.command(
        "INSERT INTO accounts (agency_id, account_id, included_s, allowance_left_s, billed_s, usage_micros,"
        f" cap_minutes, cap_spend_micros, period_start) VALUES {rows}"
    )
    found = store.rows(
        "SELECT account_id, allowance_percent, cap_percent, spend_percent, highest_percent, agency_rank"
        " FROM high_usage_accounts ORDER BY agency_id, agency_rank"
    )
    assert [tuple(row.values()) for row in found] == [
        ("spends", None, None, 150.0, 150.0, 1),
        ("capped", 0.0, 90.0, 90.0, 90.0, 2),
        ("half", 50.0, None, None, 50.0, 3),
        ("alone", None, None, None, 0.0, 1),
    ]


def test_totals_of_agencies_are_the_sums_of_their_rated_calls(filled: Store) -> None:
    sums = "count() AS calls, sum(billed_s) AS billed_s, sum(amount_micros) AS amount_micros"
    calls = filled.rows(f"SELECT agency_id, currency, {sums} FROM rated_calls GROUP BY ALL ORDER BY ALL")
    of_totals = sums.replace("count()", "sum(t.calls)").replace("sum(", "sum(t.").replace("t.t.", "t.")
    totals = filled.rows(
        f"SELECT agency_id, currency, {of_totals} FROM agency_totals_current AS t GROUP BY ALL ORDER BY ALL"
    )
    assert totals == calls
