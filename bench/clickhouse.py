"""Questions to ClickHouse over very many rated calls: an agency's month by day, and its top accounts.

The embedded engine, as `callmeter migrate` makes it; the calls are made by the engine itself, a month of them, in
inserts of as many rows as a busy sink writes. Each question is asked by the view that dashboards use, and timed from
asking to the answer: at once, while the engine still merges what came in minutes, and when it has, as after a month.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from bench.figure import Run, size
from bench.lab import Lab, step
from sinks.clickhouse import Store, Target
from sinks.migrate import migrate

TITLE = "questions over rated calls in the embedded ClickHouse engine"
ROWS_OF_AN_INSERT = 500_000
AGENCIES = 50
POLL_S = 0.5
AGENCY = "agency_07"
# Of a month; each account belongs to one agency, and to one partition, for ever.
COLUMNS = {
    "kafka_partition": "(account % {partitions})::Int32",
    "kafka_offset": "number",
    "agency_id": f"concat('agency_', leftPad(toString(account % {AGENCIES}), 2, '0'))",
    "account_id": "concat('acct_', leftPad(toString(account), 6, '0'))",
    "call_id": "concat('call_', leftPad(toString(number), 27, '0'))",
    "subscription_id": "concat('sub_', toString(account))",
    "campaign_id": "concat('camp_', toString(account % 7))",
    "agent_id": "concat('agent_', toString(rand(2) % 20))",
    "direction": "'outbound'",
    "from_number": "concat('+1415555', leftPad(toString(account % 10000), 4, '0'))",
    "to_number": "concat('+49', leftPad(toString(rand(3) % 100000000), 8, '0'))",
    "duration_s": "1 + rand(4) % 400",
    "ended_at": "toDateTime64('2026-11-01 00:00:00', 6, 'UTC') + toIntervalSecond(intDiv(number * 2592000, {calls}))",
    "answered_at": "ended_at - toIntervalSecond(duration_s)",
    "started_at": "answered_at - toIntervalSecond(6)",
    "outcome": "'answered'",
    "period_start": "toDateTime64('2026-11-01 00:00:00', 6, 'UTC')",
    "billed_s": "60 + intDiv(duration_s + 5, 6) * 6",
    "overage_s": "billed_s",
    "amount_micros": "billed_s * 2000",
    "cost_micros": "billed_s * 500",
    "margin_micros": "amount_micros - cost_micros",
    "currency": "'USD'",
    "source_partition": "kafka_partition",
    "source_offset": "kafka_offset",
}
MADE = f"""INSERT INTO rated_calls ({", ".join(COLUMNS)})
SELECT {", ".join(f"{expression} AS {name}" for name, expression in COLUMNS.items())}
FROM (SELECT number, rand(1) % {{accounts}} AS account FROM numbers({{first}}, {{rows}}))"""
QUESTIONS = {
    "an agency's month by day": f"""SELECT day, sum(calls), sum(billed_s), sum(amount_micros), sum(margin_micros)
        FROM usage_by_day WHERE agency_id = '{AGENCY}' AND day >= '2026-11-01' AND day < '2026-12-01'
        GROUP BY day ORDER BY day""",
    "an agency's top accounts": f"""SELECT account_id, sum(calls), sum(amount_micros) AS spent
        FROM usage_by_account WHERE agency_id = '{AGENCY}' GROUP BY account_id ORDER BY spent DESC LIMIT 20""",
}


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    calls: int = size(100_000_000, "rated calls in the table")
    accounts: int = size(100_000, "accounts, of 50 agencies")
    partitions: int = size(12, "partitions of rated-calls")
    rounds: int = size(10, "how often each question is asked")


async def measure(lab: Lab, sizes: Sizes) -> AsyncIterator[Run]:
    """Each question once a round."""
    target = Target("chdb", folder=str(lab.folder / "questions"))
    await asyncio.to_thread(migrate, target)
    store = Store(target)
    try:
        for first in range(0, sizes.calls, ROWS_OF_AN_INSERT * sizes.partitions):
            rows = min(ROWS_OF_AN_INSERT * sizes.partitions, sizes.calls - first)
            with step(f"{first:,} of {sizes.calls:,} calls are in the table"):
                given = {"partitions": sizes.partitions, "calls": sizes.calls, "accounts": sizes.accounts}
                await asyncio.to_thread(store.command, MADE.format(**given, first=first, rows=rows))
        for state in ("a month loaded in minutes", "merged"):
            if state == "merged":
                with step("waiting until the engine has merged its parts"):
                    await _merged(store)
            for _ in range(sizes.rounds):
                for what, question in QUESTIONS.items():
                    began = time.perf_counter()
                    answer = await asyncio.to_thread(store.rows, question)
                    seconds = time.perf_counter() - began
                    assert answer, what
                    yield Run(f"{what}, {state}", {"ms": seconds * 1e3})
    finally:
        await asyncio.to_thread(store.close)


async def _merged(store: Store) -> None:
    while await asyncio.to_thread(store.value, "SELECT count() FROM system.merges"):
        await asyncio.sleep(POLL_S)


def lines(runs: Sequence[Run]) -> list[str]:
    """Nothing more than the table."""
    return []
