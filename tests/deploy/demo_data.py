"""The demo's month in ClickHouse without a broker: fold, billing rules and the sink's own columns in one process.

The month is cut short on its last day, so that there are closed periods and full ones at the same time. Then a part of
what one account was asked for is taken back, another request is paid, and nobody tries any more to collect a third one.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from aiokafka.structs import ConsumerRecord

from demo.market import text
from demo.orders import cards
from demo.platform import Platform
from rating.agencies import AgencyFold
from rating.fold import Fold
from rating.outputs import DeadLetter
from rating.request import request_for
from rating.seen import SeenInMemory
from sinks.clickhouse import Store, Target
from sinks.exactly_once import Appender
from sinks.migrate import migrate
from sinks.tables import REJECTS, TABLES, reject_columns
from streams.topics import ACCOUNT_EVENTS, AGENCY_LEDGER, BILLING_EVENTS, LEDGER, PAYMENT_REQUESTS, RATED_CALLS
from streams.units import minor_digits

UNTIL = datetime(2026, 11, 30, 18, tzinfo=UTC)
ACCOUNTS, CALLS, SEED = 12, 600, 7
CREDITED_MICROS = 1_000_000


def fill(target: Target) -> Store:
    """Create the schema and put the month into it; the store is open."""
    migrate(target)
    store = Store(target)
    records = month()
    # Somebody else wrote into one of our topics.
    records[RATED_CALLS].append(_record(RATED_CALLS, len(records[RATED_CALLS]), None, b"not a rated call", UNTIL))
    for table in TABLES:
        chunk = table.chunk(records[table.topic])
        assert chunk.columns["kafka_offset"], f"no rows for {table.name}"
        _append(store, table.name, chunk.columns)
        if chunk.rejects:
            _append(store, REJECTS, reject_columns(table.topic, chunk.rejects))
    return store


def month() -> dict[str, list[ConsumerRecord]]:
    """Everything the meter writes for the month, by topic, in one partition."""
    known = {card.card_id: card for card in cards()}
    fold, agencies = Fold(0, None, SeenInMemory(), cards=known), AgencyFold(0, 1)
    written: dict[str, list[ConsumerRecord]] = defaultdict(list)
    rated: dict[str, bytes] = {}

    def write(topic: str, key: bytes | None, value: bytes | None, at: datetime, headers: tuple = ()) -> None:
        written[topic].append(_record(topic, len(written[topic]), key, value, at, headers))

    def rate(fact: bytes, at: datetime) -> None:
        first = rated.get(fold.corrected_call(fact) or "")
        while not fold.fold(fact, fold.position, rated=first):
            pass
        outputs = fold.outputs[:]
        fold.outputs.clear()
        for topic, key, value in outputs:
            if isinstance(value, DeadLetter):
                write(topic, key, value.value, at, _headers(value))
            else:
                write(topic, key, value, at)
            if topic == RATED_CALLS:
                rated.setdefault(json.loads(value)["call_id"], value)
            if topic == BILLING_EVENTS and (request := request_for(json.loads(value), minor_digits)):
                created = {"type": "payment_request.created", **request, "gateway": "manual", "external_id": None}
                rate(json.dumps(created).encode(), at)
        for _, value in fold.drain_agencies():
            agencies.fold(value, agencies.position)

    for at, fact in facts():
        rate(fact, at)
    requests = {json.loads(one.value)["payment_request_id"]: json.loads(one.value) for one in written[PAYMENT_REQUESTS]}
    for about in about_requests(list(requests.values())):
        rate(json.dumps(about).encode(), UNTIL)
    for key, value in fold.drain_ledger():
        write(LEDGER, key, value, UNTIL)
    for key, value in agencies.drain_ledger():
        write(AGENCY_LEDGER, key, value, UNTIL)
    return written


def facts() -> Iterator[tuple[datetime, bytes]]:
    """The facts of the month, each with the simulated time at which it comes in."""
    for at, sent in Platform(ACCOUNTS, CALLS, SEED).hours():
        if at > UNTIL:
            return
        yield from ((at, one.value) for one in sent if one.topic == ACCOUNT_EVENTS)
        yield at, json.dumps({"type": "tick", "at": text(at)}).encode()


def about_requests(requests: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """A credit note of one request, and the ends of two others, of those that are open in dollars."""
    credited, paid, failed = [one for one in requests if one["currency"] == "USD" and one["status"] == "pending"][:3]
    note = {"payment_request_id": "note", "corrects": credited["payment_request_id"], "kind": "credit_note"}
    yield {**_about(credited, "corrected"), **note, "amount_micros": CREDITED_MICROS, "currency": "USD"}
    for request, status in ((paid, "paid"), (failed, "failed")):
        yield {**_about(request, "settled"), "status": status}


def _about(request: dict[str, Any], what: str) -> dict[str, Any]:
    named = {name: request[name] for name in ("account_id", "agency_id", "payment_request_id")}
    fact_id = f"{what}-{request['payment_request_id']}"
    return {"type": f"payment_request.{what}", "fact_id": fact_id, **named, "at": text(UNTIL)}


def _headers(letter: DeadLetter) -> tuple[tuple[str, bytes], ...]:
    named = ("reason", "detail", "topic", "partition", "offset")
    return tuple((name, str(getattr(letter, name)).encode()) for name in named)


def _append(store: Store, table: str, columns: dict[str, list]) -> None:
    appender = Appender(store.another(), table)
    appender.append(0, columns, None)
    appender.close()


def _record(
    topic: str, offset: int, key: bytes | None, value: bytes | None, at: datetime, headers: tuple = ()
) -> ConsumerRecord:
    return ConsumerRecord(
        topic=topic, partition=0, offset=offset, timestamp=int(at.timestamp() * 1000), timestamp_type=0,
        key=key, value=value, checksum=None, serialized_key_size=0, serialized_value_size=0, headers=headers,
    )  # fmt: skip
