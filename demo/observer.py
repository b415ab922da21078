"""What came out of the pipeline, read from its topics like anybody else would: committed records only."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter, defaultdict, deque
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from demo.platform import HERO
from rating.request import request_for
from streams.administration import check_topics
from streams.settings import Settings
from streams.topics import (
    ACCESS_EVENTS,
    ALERTS,
    BILLING_EVENTS,
    DEAD_LETTERS,
    DUPLICATES,
    PAYMENT_REQUESTS,
    RATED_CALLS,
)
from streams.units import minor_digits

TOPICS = (RATED_CALLS, ALERTS, ACCESS_EVENTS, BILLING_EVENTS, DUPLICATES, DEAD_LETTERS, PAYMENT_REQUESTS)
TAG = re.compile(rb"bad-\d{5}")


class Observer:
    """Keeps what the view shows and the proof needs.

    Attributes:
        rated: how often each (account, call id) was rated.
        amounts: rated micros by currency.
        usage: per account: billed seconds, amount in micros, cost and margin where known.
        closed: micros that closed periods and adjustments call for, by currency.
        unasked: micros of it below half of the smallest payable unit, by currency: not asked for.
        requests: the latest state of each payment request, by account and id.
        alerts: those fired, newest last (a few), and ``alerts_count`` of all.
        story: what happened to the hero, in order.
    """

    def __init__(self, settings: Settings) -> None:
        """Observe the topics of these settings."""
        self._settings = settings
        self._consumer: AIOKafkaConsumer | None = None
        self._task: asyncio.Task[None] | None = None
        self.rated: Counter[tuple[str, str]] = Counter()
        self.late: set[tuple[str, str]] = set()
        self.duplicates: Counter[tuple[str, str]] = Counter()
        self.dead_letters: dict[str, str] = {}
        self.dead_letters_count = 0
        self.amounts: Counter[str] = Counter()
        self.usage: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.currencies: dict[str, str] = {}
        self.closed: Counter[str] = Counter()
        self.unasked: Counter[str] = Counter()
        self.requests: dict[tuple[str, str], dict[str, Any]] = {}
        self.alerts: deque[dict[str, Any]] = deque(maxlen=6)
        self.alerts_count = 0
        self.access: dict[str, dict[str, Any]] = {}
        self.story: list[tuple[str, str, str, dict[str, Any]]] = []
        self.hero = {"allowance_left_s": 0, "wallet_left_s": 0, "amount_micros": 0}

    async def start(self) -> None:
        """Begin to read, from the start of each topic."""
        self._consumer = AIOKafkaConsumer(
            **self._settings.kafka_client(),
            isolation_level="read_committed",
            auto_offset_reset="earliest",
            max_poll_records=5_000,
            fetch_max_wait_ms=50,
        )
        await self._consumer.start()
        count = await check_topics(self._settings, TOPICS)
        partitions = [TopicPartition(self._settings.topic(name), n) for name in TOPICS for n in range(count)]
        self._consumer.assign(partitions)
        await self._consumer.seek_to_beginning(*partitions)
        self._task = asyncio.create_task(self._read())

    async def stop(self) -> None:
        """Read no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._consumer is not None:
            await self._consumer.stop()

    async def _read(self) -> None:
        assert self._consumer is not None
        take = {
            self._settings.topic(RATED_CALLS): self._rated,
            self._settings.topic(ALERTS): self._alert,
            self._settings.topic(ACCESS_EVENTS): self._access,
            self._settings.topic(BILLING_EVENTS): self._billing,
            self._settings.topic(DUPLICATES): self._duplicate,
            self._settings.topic(PAYMENT_REQUESTS): self._request,
        }
        dead_letters = self._settings.topic(DEAD_LETTERS)
        while True:
            for tp, records in (await self._consumer.getmany(timeout_ms=200)).items():
                for record in records:
                    if tp.topic == dead_letters:
                        self._dead_letter(record)
                    elif record.value is not None:
                        take[tp.topic](json.loads(record.value))
                await asyncio.sleep(0)

    def _rated(self, call: dict[str, Any]) -> None:
        name = (call["account_id"], call["call_id"])
        self.rated[name] += 1
        if call["late"]:
            self.late.add(name)
        self.amounts[call["currency"]] += call["amount_micros"]
        self.currencies[call["account_id"]] = call["currency"]
        usage = self.usage[call["account_id"]]
        usage["calls"] += 1
        for field in ("billed_s", "allowance_s", "wallet_s", "overage_s", "written_off_s", "amount_micros"):
            usage[field] += call[field]
        if call["margin_micros"] is not None:
            usage["cost_micros"] += call["cost_micros"]
            usage["margin_micros"] += call["margin_micros"]
        if call["account_id"] == HERO:
            before, self.hero = self.hero, call
            self._tell_pools(before, call)

    def _tell_pools(self, before: dict[str, Any], call: dict[str, Any]) -> None:
        for pool in ("allowance_left_s", "wallet_left_s"):
            if before[pool] and not call[pool]:
                self.story.append((call["ended_at"], "pool", pool, call))

    def _alert(self, alert: dict[str, Any]) -> None:
        self.alerts_count += 1
        self.alerts.append(alert)
        if alert["account_id"] == HERO:
            self.story.append((alert["at"], "alert", alert["type"], alert))

    def _access(self, event: dict[str, Any]) -> None:
        self.access[event["account_id"]] = event
        if event["account_id"] == HERO:
            self.story.append((event["at"], "access", event["reason"], event))

    def _billing(self, event: dict[str, Any]) -> None:
        amount = 0
        if event["type"] == "cycle.closed":
            amount = event["usage_micros"] + event["adjustments_micros"]
        elif event["type"] == "usage.adjusted" and event["at_once"]:
            amount = event["amount_micros"]
        if amount:
            self.closed[event["currency"]] += amount
            if request_for(event, minor_digits) is None:
                self.unasked[event["currency"]] += amount
        if event["account_id"] == HERO:
            self.story.append((event["at"], "billing", event["type"], event))

    def _duplicate(self, duplicate: dict[str, Any]) -> None:
        self.duplicates[duplicate["account_id"], duplicate["call_id"]] += 1

    def _dead_letter(self, record: Any) -> None:
        self.dead_letters_count += 1
        reason = dict(record.headers)["reason"].decode()
        found = TAG.search(record.value or b"")
        self.dead_letters[found[0].decode() if found else f"untagged-{self.dead_letters_count}"] = reason

    def _request(self, request: dict[str, Any]) -> None:
        self.requests[request["account_id"], request["payment_request_id"]] = request
        if request["account_id"] == HERO:
            self.story.append((request["updated_at"], "request", request["status"], request))
