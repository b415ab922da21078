"""Holding what came out against what must have come out: topics, the ledger, ClickHouse, the gateway."""

from __future__ import annotations

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiokafka.structs import ConsumerRecord

from jobs.agencies import wholesale_of
from jobs.reading import TopicReader
from rating.agencies import totals_row
from rating.ledger import ACCOUNT, decode_account
from sinks.clickhouse import Store, parse_dsn
from sinks.tables import REJECTS, TABLES
from streams.settings import Settings
from streams.topics import (
    ACCOUNT_EVENTS,
    AGENCY_LEDGER,
    ALERTS,
    BILLING_EVENTS,
    LEDGER,
    PAYMENT_REQUESTS,
    RATED_CALLS,
)
from tests.faults.gateway import external_id_of
from tests.faults.truth import SUMS, Digests, Group, Output, PartitionTruth, Truth
from tests.oracle.book import Account
from tests.oracle.compare import TOPICS, first_difference

EXAMPLES = 5
AGENCY_SUMS = ("calls", "billed_s", "amount_micros", "cost_micros", "margin_micros")
# Answered by a projection, not by the rows.
DAILY = """
    SELECT toStartOfDay(ended_at), sum(amount_micros) AS amount_micros FROM rated_calls
    GROUP BY agency_id, toStartOfDay(ended_at), account_id, subscription_id, period_start, currency
"""
# What is said of agencies as a whole has an empty account there.
OF_AGENCIES = (ALERTS, BILLING_EVENTS, PAYMENT_REQUESTS)
Say = Callable[[str], None]


@dataclass
class Verdict:
    """What is wrong, and the figures of the report.

    Attributes:
        wrong: one line for each thing that is not as it must be; empty: the run is exact.
    """

    wrong: list[str] = field(default_factory=list)
    records: int = 0
    calls: int = 0
    rated: int = 0
    accounts: int = 0
    lost: int = 0
    doubled: int = 0
    wrong_accounts: int = 0
    rows: int = 0
    rows_lost: int = 0
    rows_doubled: int = 0
    requests: int = 0
    requests_lost: int = 0
    requests_doubled: int = 0

    def blame(self, what: str, examples: Iterable[Any] = ()) -> None:
        """Something is wrong; with a few examples."""
        few = list(examples)
        shown = ", ".join(str(one) for one in few[:EXAMPLES])
        more = f" and {len(few) - EXAMPLES} more" if len(few) > EXAMPLES else ""
        self.wrong.append(f"{what}: {shown}{more}" if few else what)


async def judge(
    settings: Settings, partitions: int, dsn: str, gateway: Path, done: Mapping[str, int], say: Say
) -> Verdict:
    """Judge a run whose processes have ended, with broker and ClickHouse still there.

    Args:
        settings: of the run.
        partitions: of every topic.
        dsn: of its ClickHouse.
        gateway: folder of the gateway's outside.
        done: by sender, how many facts were acknowledged.
        say: is told what is being done.
    """
    verdict, truth, found = Verdict(), Truth(), Digests()
    bounds: dict[tuple[str, int], tuple[int, int]] = {}
    of_agencies: Counter[str] = Counter()
    asked = 0
    for partition in range(partitions):
        say(f"the oracle prices partition {partition}")
        folding = PartitionTruth(truth, partition, partitions)
        async for record in _records(settings, ACCOUNT_EVENTS, partitions, partition):
            folding.fold(record)
        folding.end()
    found.fields = truth.outputs.fields
    for sender, count in done.items():
        if missing := set(range(count)) - truth.sent[sender]:
            verdict.lost += len(missing)
            verdict.blame(f"acknowledged facts of {sender} are not in the log", sorted(missing))
    for topic in TOPICS:
        say(f"comparing {topic}")
        for partition in range(partitions):
            count, last = 0, -1
            async for record in _records(settings, topic, partitions, partition):
                output = output_of(topic, record)
                if topic in OF_AGENCIES and not output["value"]["account_id"]:
                    of_agencies[said_of_agency(output["value"])] += 1
                    asked += output["value"].get("usage_micros", 0)
                else:
                    found.take(output)
                count, last = count + 1, record.offset
            bounds[topic, partition] = count, last
    if said_twice := [said for said, times in of_agencies.items() if times > 1]:
        verdict.blame("alerts, periods or requests of agencies were given out more than once", said_twice)
    await _judge_wholesale(settings, partitions, asked, verdict)
    verdict.records, verdict.calls, verdict.rated = truth.records, truth.calls, truth.rated
    verdict.accounts = len(truth.accounts)
    wrong = {group for group in truth.outputs.found.keys() | found.found.keys()
             if truth.outputs.found.get(group) != found.found.get(group)}  # fmt: skip
    accounts = {account for _, account in wrong}
    if wrong:
        await _look_closer(settings, partitions, wrong, verdict)
    say("comparing the ledger")
    accounts |= await _judge_ledger(settings, partitions, truth, verdict)
    await _judge_agencies(settings, partitions, truth, verdict)
    say("comparing ClickHouse")
    accounts |= await asyncio.to_thread(_judge_clickhouse, dsn, truth, bounds, verdict)
    _judge_requests(truth, gateway, verdict)
    if truth.astray != truth.passed_on:
        astray, passed_on = truth.astray - truth.passed_on, truth.passed_on - truth.astray
        verdict.lost += astray.total()
        verdict.doubled += passed_on.total()
        verdict.blame("records in a wrong partition were not passed on once", [*astray, *passed_on])
    verdict.wrong_accounts = len(accounts)
    return verdict


async def _records(settings: Settings, topic: str, partitions: int, partition: int) -> AsyncIterator[ConsumerRecord]:
    async with TopicReader(settings, topic, partitions) as reader:
        async for record in reader.read_all([partition]):
            yield record


def output_of(topic: str, record: ConsumerRecord) -> Output:
    """A record of an output topic, as the oracle says its outputs."""
    key = None if record.key is None else record.key.decode(errors="replace")
    if topic == "dead-letters":
        reason = dict(record.headers)["reason"].decode()
        return {"topic": topic, "key": key, "value": {"reason": reason, "value": record.value.decode(errors="replace")}}
    return {"topic": topic, "key": key, "value": json.loads(record.value)}


async def _look_closer(settings: Settings, partitions: int, wrong: set[Group], verdict: Verdict) -> None:
    """The outputs of the accounts that do not agree, side by side."""
    accounts = frozenset(account for _, account in wrong if account is not None)
    rated, expected_rated, differences = Counter[tuple[str, str]](), Counter[tuple[str, str]](), []
    for partition in range(partitions):
        folding = PartitionTruth(Truth(), partition, partitions, accounts)
        async for record in _records(settings, ACCOUNT_EVENTS, partitions, partition):
            folding.fold(record)
        kept: dict[str, tuple[list[Output], list[Output]]] = defaultdict(lambda: ([], []))
        for output in folding.kept:
            kept[output["value"].get("account_id") or output["key"]][0].append(output)
        for topic in TOPICS:
            async for record in _records(settings, topic, partitions, partition):
                output = output_of(topic, record)
                account = output["value"].get("account_id") or output["key"]
                if account in accounts:
                    kept[account][1].append(output)
        for ours, theirs in kept.values():
            expected_rated.update(_calls(ours))
            rated.update(_calls(theirs))
            if difference := first_difference(ours, theirs):
                differences.append(difference)
    verdict.lost += (expected_rated - rated).total()
    verdict.doubled += (rated - expected_rated).total()
    verdict.blame("outputs differ", differences or wrong)


def _calls(outputs: Iterable[Output]) -> Iterable[tuple[str, str]]:
    return [
        (output["value"]["account_id"], output["value"]["call_id"])
        for output in outputs
        if output["topic"] == "rated-calls"
    ]


async def _judge_ledger(settings: Settings, partitions: int, truth: Truth, verdict: Verdict) -> set[str | None]:
    """Accounts whose state in the ledger is not the oracle's."""
    newest: dict[str, bytes] = {}
    async with TopicReader(settings, LEDGER, partitions) as reader:
        async for record in reader.read_all():
            if record.key.startswith(ACCOUNT):
                newest[record.key[len(ACCOUNT) :].decode()] = record.value
    wrong: dict[str | None, str] = {}
    for account_id in newest.keys() | truth.accounts.keys():
        have = _of_ledger(newest[account_id]) if account_id in newest else None
        want = _of_oracle(truth.accounts[account_id]) if account_id in truth.accounts else None
        if have != want:
            wrong[account_id] = f"{account_id}: ledger {have}, oracle {want}"
    if wrong:
        verdict.blame("accounts in the ledger are wrong", wrong.values())
    return set(wrong)


def said_of_agency(value: Mapping[str, Any]) -> str:
    """What an alert, a billing event or a request of an agency is known by."""
    if "alert_id" in value:
        return str(value["alert_id"])
    if "payment_request_id" in value:
        return f"{value['payment_request_id']} {value['status']}"
    return f"{value['type']} {value['agency_id']} {value['period_start']}"


async def _judge_wholesale(settings: Settings, partitions: int, asked: int, verdict: Verdict) -> None:
    """What closed periods of agencies asked for, and open ones will, is what their calls cost."""
    cost = still_open = 0
    async with TopicReader(settings, RATED_CALLS, partitions) as reader:
        async for record in reader.read_all():
            call = json.loads(record.value)
            cost += call["cost_micros"] if "cost_source" in call else 0
    for agency_id in ("ag_0", "ag_1"):
        for period in (await wholesale_of(settings, agency_id))["periods"]:
            still_open += period["cost_micros"] + period["reported_micros"]
    if asked + still_open != cost:
        verdict.blame(f"calls cost agencies {cost}; asked for are {asked}, and {still_open} in open periods")


async def _judge_agencies(settings: Settings, partitions: int, truth: Truth, verdict: Verdict) -> None:
    """Totals of agencies are the sums of their rated calls."""
    rows: dict[bytes, dict[str, Any]] = {}
    async with TopicReader(settings, AGENCY_LEDGER, partitions) as reader:
        async for record in reader.read_all():
            row = totals_row(record.key, record.value)
            if row is not None:
                rows[record.key] = row
    _differ(verdict, "totals of agencies", _by_agency(rows.values()), _without_nothing(truth.agencies))


def _by_agency(rows: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], dict[str, int]]:
    found: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for row in rows:
        found[row["agency_id"], row["currency"]].update({name: row[name] for name in AGENCY_SUMS})
    return _without_nothing(found)


def _without_nothing(sums: Mapping[tuple[str, str], Counter[str]]) -> dict[tuple[str, str], dict[str, int]]:
    return {key: {name: value for name, value in one.items() if value} for key, one in sums.items()}


def _of_ledger(value: bytes) -> tuple[Any, ...]:
    account = decode_account(value)
    periods = [
        (period.start, period.calls, period.billed_s, period.allowance_left_s, period.usage_micros)
        for period in account.periods
    ]
    return account.wallet_s, account.credit_micros, set(account.reasons), account.subscription.status, periods


def _of_oracle(account: Account) -> tuple[Any, ...]:
    periods = [
        (each.start, each.totals["calls"], each.totals["billed_s"], each.allowance_left_s, each.totals["amount_micros"])
        for each in account.open_periods()
    ]
    return account.wallet_s, account.credit_micros, set(account.reasons), account.subscription.status, periods


def _judge_clickhouse(
    dsn: str, truth: Truth, bounds: dict[tuple[str, int], tuple[int, int]], verdict: Verdict
) -> set[str | None]:
    """Rows against the records of each topic, and sums against the oracle's; accounts that are wrong."""
    wrong: set[str | None] = set()
    with Store(parse_dsn(dsn)) as store:
        for table in TABLES:
            if table.topic in (LEDGER, AGENCY_LEDGER):
                continue
            counted = {
                row["kafka_partition"]: row
                for row in store.rows(
                    "SELECT kafka_partition, count() AS stored, uniqExact(kafka_offset) AS offsets "
                    f"FROM {table.name} GROUP BY kafka_partition"
                )
            }
            for (topic, partition), (count, _) in bounds.items():
                if topic != table.topic:
                    continue
                row = counted.get(partition, {"stored": 0, "offsets": 0})
                verdict.rows += row["stored"]
                verdict.rows_doubled += row["stored"] - row["offsets"]
                verdict.rows_lost += max(0, count - row["offsets"])
                if not row["stored"] == row["offsets"] == count:
                    verdict.blame(f"{table.name}, partition {partition}: {row} rows of {count} records")
        if rejects := store.value(f"SELECT count() FROM {REJECTS}"):
            verdict.blame(f"{rejects} records of our own topics were rejected by the sink")
        sums = ", ".join(f"sum({name}) AS {name}" for name in SUMS)
        stored = {
            row.pop("account_id"): row
            for row in store.rows(f"SELECT account_id, count() AS calls, {sums} FROM rated_calls GROUP BY account_id")
        }
        expected = {account: {name: sums[name] for name in ("calls", *SUMS)} for account, sums in truth.sums.items()}
        wrong |= _differ(verdict, "sums in ClickHouse", stored, expected)
        daily = store.value(f"SELECT sum(amount_micros) FROM ({DAILY})")
        if daily != sum(sums["amount_micros"] for sums in truth.sums.values()):
            verdict.blame(f"the daily sums of ClickHouse are {daily}")
        balances = {
            row.pop("account_id"): tuple(row.values())
            for row in store.rows(
                "SELECT account_id, wallet_left_s, credit_left_micros, calls, usage_micros FROM accounts_current"
            )
        }
        states = {account_id: _balances(account) for account_id, account in truth.accounts.items()}
        wrong |= _differ(verdict, "accounts in ClickHouse", balances, states)
        asked = {
            (row["account_id"], row["payment_request_id"]): row["total_micros"]
            for row in store.rows("SELECT account_id, payment_request_id, total_micros FROM payment_requests_current")
        }
        totals = _by_agency(store.rows("SELECT * FROM agency_totals_current"))
        _differ(verdict, "totals of agencies in ClickHouse", totals, _without_nothing(truth.agencies))
        _differ(verdict, "payment requests in ClickHouse", asked, truth.requests)
    return wrong


def _differ(verdict: Verdict, what: str, have: Mapping[Any, Any], want: Mapping[Any, Any]) -> set[Any]:
    """Keys whose values are not those wanted."""
    wrong = {key for key in have.keys() | want.keys() if have.get(key) != want.get(key)}
    if wrong:
        verdict.blame(f"{what} differ (found, wanted)", [(key, have.get(key), want.get(key)) for key in wrong])
    return wrong


def _balances(account: Account) -> tuple[int, int, int, int]:
    newest = account.newest_open()
    calls, usage = (newest.totals["calls"], newest.totals["amount_micros"]) if newest else (0, 0)
    return account.wallet_s, account.credit_micros, calls, usage


def _judge_requests(truth: Truth, gateway: Path, verdict: Verdict) -> None:
    """Every request that is called for was written to the log once, and asked for once."""
    verdict.requests = len(truth.requests)
    raised = truth.raised
    lost = truth.requests.keys() - raised.keys()
    doubled = {request for request, amounts in raised.items() if len(amounts) > 1}
    extra = raised.keys() - truth.requests.keys()
    both = raised.keys() & truth.requests.keys()
    amounts = {request for request in both if raised[request][0] != truth.requests[request]}
    verdict.requests_lost, verdict.requests_doubled = len(lost), len(doubled) + len(extra)
    for what, requests in (
        ("requests that nobody raised", lost),
        ("requests raised twice", doubled),
        ("requests that nothing calls for", extra),
        ("requests with a wrong amount", amounts),
    ):
        if requests:
            verdict.blame(what, requests)
    wanted = {
        external_id_of({"account_id": account, "payment_request_id": request}): f"{account}/{request}\n{micros}\n"
        for (account, request), micros in truth.requests.items()
    }
    outside = {path.name: path.read_text() for path in gateway.iterdir()}
    _differ(verdict, "requests at the gateway", outside, wanted)
