"""Records of our output topics as the meter writes them, without a broker: the fold itself makes them."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from aiokafka.structs import ConsumerRecord

from rating.agencies import AgencyFold
from rating.fold import Fold
from rating.outputs import DeadLetter, Output
from rating.request import request_for
from rating.seen import SeenInMemory
from streams.topics import AGENCY_LEDGER, ALERTS, BILLING_EVENTS, LEDGER
from streams.units import minor_digits
from tests.rating.builders import call, encode, fact, pack, subscription, tick

TIMESTAMP_MS = 1_793_700_000_000


def record(
    topic: str,
    offset: int,
    value: bytes | None,
    key: bytes | None = b"acct_1",
    partition: int = 0,
    headers: Sequence[tuple[str, bytes]] = (),
) -> ConsumerRecord:
    """One record as a consumer gives it."""
    return ConsumerRecord(topic, partition, offset, TIMESTAMP_MS, 0, key, value, None, 0, 0, tuple(headers))


def alerts(offsets: Iterable[int], partition: int = 0, account: str = "acct_1") -> list[ConsumerRecord]:
    """Records of ``alerts``, the simplest of our topics."""
    return [
        record(
            ALERTS,
            offset,
            json.dumps(
                {
                    "type": "allowance", "alert_id": f"{account}:{offset}", "level": 80, "account_id": account,
                    "agency_id": "ag_1", "subscription_id": "sub_1", "period_start": "2026-11-01T00:00:00Z",
                    "at": "2026-11-03T10:10:00Z", "used": 480, "limit": 600, "source_partition": partition,
                    "source_offset": offset,
                }
            ).encode(),
            partition=partition,
        )
        for offset in offsets
    ]  # fmt: skip


def written(facts: Iterable[Any]) -> dict[str, list[ConsumerRecord]]:
    """Everything that comes of some facts, by topic, in one partition; requests are raised as by the billing job."""
    fold, agencies = Fold(0, None, SeenInMemory()), AgencyFold(0, 1)
    topics: dict[str, list[ConsumerRecord]] = defaultdict(list)

    def write(topic: str, key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes]] = ()) -> None:
        topics[topic].append(record(topic, len(topics[topic]), value, key, headers=headers))

    def give_out(outputs: list[Output]) -> None:
        given, outputs[:] = list(outputs), []
        for topic, key, value in given:
            if isinstance(value, DeadLetter):
                names = ("reason", "detail", "topic", "partition", "offset")
                write(topic, key, value.value, [(name, str(getattr(value, name)).encode()) for name in names])
                continue
            write(topic, key, value)
            if topic == BILLING_EVENTS and (request := request_for(json.loads(value), minor_digits)):
                if request["account_id"]:
                    rate(json.dumps({"type": "payment_request.created", **request}).encode())
                else:
                    add_up(json.dumps({"type": "agency.payment_request_created", **request}).encode())

    def add_up(encoded: bytes) -> None:
        agencies.fold(encoded, agencies.position)
        give_out(agencies.outputs)

    def rate(encoded: bytes) -> None:
        while not fold.fold(encoded, fold.position):
            pass
        give_out(fold.outputs)
        for _, value in fold.drain_agencies():
            add_up(value)
        for key, value in fold.drain_ledger():
            write(LEDGER, key, value)
        for key, value in agencies.drain_ledger():
            write(AGENCY_LEDGER, key, value)

    for one in encode(facts):
        rate(one)
    return topics


def month() -> list[dict[str, Any] | bytes]:
    """Facts of three accounts in two agencies and two currencies, with something of everything."""
    cap = {"minutes": 12, "spend_micros": None, "mode": "hard", "alerts_percent": [80, 100]}
    return [
        tick("2026-11-01T00:00:00Z"),
        subscription(price_micros=49_000_000),
        subscription(account="acct_2", sub="sub_2", cap=cap),
        subscription(account="acct_3", agency="ag_2", sub="sub_3", currency="EUR", overage_micros_per_minute=100_000),
        pack(1, minutes=2),
        tick("2026-11-04T12:00:00Z"),
        *(
            call(
                f"a{number}",
                answered=f"2026-11-03T{number:02}:00:00Z",
                ended=f"2026-11-03T{number:02}:03:{number:02}.5Z",
                campaign_id=f"camp_{number % 2}",
                agent_id=f"agent_{number % 3}",
                from_number=f"+1415555010{number % 2}",
                cost_micros=None if number == 5 else 50_000 + number,
            )
            for number in range(8)
        ),
        call("b1", account="acct_2", direction="inbound", to_number="+4930123", test=False),
        call("b2", account="acct_2", answered="2026-11-04T10:00:00Z", ended="2026-11-04T10:03:00Z"),
        call("c1", account="acct_3", agency_id="ag_2", answered="2026-11-03T00:00:00+01:00",
             ended="2026-11-03T00:20:00+01:00", cost_micros=1, cost_currency="USD"),
        call("a1", answered="2026-11-03T01:00:00Z", ended="2026-11-03T01:03:00Z"),
        call("x", account="nobody"),
        b"\xff no JSON",
        fact("wallet.adjusted", 2, minutes=-1, credit_micros=500_000, reason="goodwill"),
        tick("2026-12-01T00:00:05Z"),
        fact("payment_request.settled", 3, at="2026-12-02T00:00:00Z", status="paid", reference="wire 4711",
             payment_request_id="sub_1:20261101T000000Z:cycle"),
        fact("subscription.canceled", 4, account="acct_2", subscription_id="sub_2", at="2026-12-05T00:00:00Z",
             when="now"),
        tick("2026-12-06T00:00:00Z"),
        call("late", ended="2026-11-20T10:10:00Z", answered="2026-11-20T10:00:00Z"),
    ]  # fmt: skip


def lives() -> list[dict[str, Any] | bytes]:
    """Facts after `month`: an account that rents numbers and changes its plan for less, so that a credit waits."""
    less = {"plan": "less", "currency": "USD", "interval": "month", "overage": "blocked"}
    own = {"account": "acct_4"}

    def number(kind: str, fact_id: int, at: str, named: str, **fields: Any) -> dict[str, Any]:
        return {**fact(kind, fact_id, at, **own, **fields), "number": named}

    return [
        subscription("2026-12-01T00:00:00Z", "acct_4", sub="sub_4", price_micros=31_000_000),
        number("number.rented", 40, "2026-12-02T00:00:00Z", "+1", price_micros=2_000_000, label="desk"),
        number("number.rented", 41, "2026-12-02T00:00:00Z", "+2", price_micros=2_000_000),
        call("d1", "2026-12-02T10:01:00Z", "2026-12-02T10:00:00Z", **own, campaign_id="camp_4", from_number="+2"),
        number("number.released", 42, "2026-12-03T00:00:00Z", "+2"),
        call("d2", "2026-12-03T10:02:00Z", "2026-12-03T10:00:00Z", **own, campaign_id="camp_4", from_number="+2"),
        # 28 of 31 days are left: 28.00 of 31.00.
        fact(
            "subscription.changed", 43, "2026-12-04T00:00:00Z", **own, subscription_id="sub_4", when="now", terms=less
        ),
        fact("subscription.paused", 44, "2026-12-05T00:00:00Z", **own, subscription_id="sub_4"),
    ]


def platform() -> list[dict[str, Any] | bytes]:
    """Facts after `lives`: an agency that the platform asks for money, by the day."""
    own = {"account": "acct_5", "agency_id": "ag_3"}
    terms = {"currency": "USD", "rate_micros_per_minute": 30_000, "interval": "day", "price_micros": 1_000_000,
             "included_minutes": 1}  # fmt: skip
    head = {"type": "wholesale.set", "fact_id": "w1", "agency_id": "ag_3", "at": "2026-12-05T00:00:00Z"}
    return [
        subscription("2026-12-05T00:00:00Z", "acct_5", "ag_3", sub="sub_5"),
        {**head, "terms": terms},
        call("e1", "2026-12-05T10:01:00Z", "2026-12-05T10:00:00Z", **own),
        call("e2", "2026-12-05T10:03:00Z", "2026-12-05T10:00:00Z", **own),
        tick("2026-12-06T02:00:00Z"),
        tick("2026-12-07T02:00:00Z"),
    ]
