"""What must have come out, worked out from the input log alone by the oracle of `tests.oracle`.

One oracle a partition, for that is what a partition is: an ordered log with ticks of its own. What the oracle says is
not kept: of each account's outputs in each topic there is a running digest, of money there are sums. An account that
does not agree is looked at in detail in a second pass. So memory grows with the accounts and the calls' ids only.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import blake2b
from typing import Any

from aiokafka.partitioner import murmur2
from aiokafka.structs import ConsumerRecord

from streams.topics import FORWARDED_HEADER
from tests.faults.facts import SENT
from tests.oracle.anchored import in_ids
from tests.oracle.book import Account
from tests.oracle.checks import Fact
from tests.oracle.compare import comparable
from tests.oracle.cycles import _due, advance
from tests.oracle.oracle import LONGEST_STEP, Oracle
from tests.oracle.reading import Refused, read

Output = dict[str, Any]
# (topic, account); an account that cannot be read is None.
Group = tuple[str, str | None]
SUMS = ("amount_micros", "billed_s", "allowance_s", "wallet_s", "credit_micros", "overage_s", "written_off_s")
SENT_BY = re.compile(rb'\{"%s": "(\S+)-(\d+)"' % SENT.encode())
MINOR_UNITS = {"JPY": 1_000_000}
CENT = 10_000


class QuickOracle(Oracle):
    """The oracle, but a tick looks only at accounts that have something due: a run has many ticks and accounts."""

    def __init__(self) -> None:
        super().__init__(with_agencies=False)
        self._due: dict[str, datetime | None] = {}

    def _tick(self, fact: Fact) -> None:
        at: datetime = fact["at"]
        if self.clock is not None:
            if at <= self.clock:
                return
            if at - self.clock > LONGEST_STEP and not fact["jump"]:
                raise Refused("impossible_times")
        self.clock = at
        for name in sorted(name for name, due in self._due.items() if due is not None and due <= at):
            account = self.accounts[name]
            advance(self.journal, account, at)
            self.journal.access(account, at)
            self._look(account)

    def touched(self, account_id: str) -> None:
        """A fact of this account was folded."""
        if account := self.accounts.get(account_id):
            self._look(account)

    def _look(self, account: Account) -> None:
        due = [when for when, *_ in _due(account)]
        if account.today is not None and account.open_periods():
            due.append(account.today.end)
        self._due[account.account_id] = min(due, default=None)


@dataclass
class Digests:
    """Outputs of accounts, by topic: how many, and a digest of all of them in order.

    Attributes:
        fields: what outputs of a topic and type have, as the oracle says them, which may be this or that (an alert of a
            cap with a name, or without); more fields may be added by the product.
    """

    fields: dict[tuple[str, str], set[frozenset[str]]] = field(default_factory=lambda: defaultdict(set))
    found: dict[Group, tuple[int, bytes]] = field(default_factory=dict)

    def learn(self, output: Output) -> None:
        """Take in an output of the oracle."""
        value = comparable(output)
        self.fields[output["topic"], value.get("type", "")].add(frozenset(value))
        self._add(output, value)

    def take(self, output: Output) -> None:
        """Take in an output of the product."""
        value = comparable(output)
        known = self.fields.get((output["topic"], value.get("type", "")), ())
        names = max((each for each in known if each <= value.keys()), key=len, default=frozenset(value))
        self._add(output, {name: item for name, item in value.items() if name in names})

    def _add(self, output: Output, value: Output) -> None:
        group = group_of(output)
        count, digest = self.found.get(group, (0, b""))
        content = json.dumps(value, sort_keys=True).encode()
        self.found[group] = count + 1, blake2b(digest + content, digest_size=16).digest()


def group_of(output: Output) -> Group:
    """Topic and account of an output. The key of a payment request is the request; its partition is the account's."""
    topic = output["topic"]
    return topic, output["value"]["account_id"] if topic == "payment-requests" else output["key"]


@dataclass
class Truth:
    """What the log of a run calls for.

    Attributes:
        outputs: of all accounts.
        sums: by account: seconds and micros of its rated calls, and ``calls``.
        agencies: by agency and currency: what the totals of all its periods add up to.
        accounts: as they stand at the end, by id.
        requests: micros of every payment request that billing events call for, by account and id.
        raised: how often each of them was written to the log, and with which micros.
        astray: where the records are that must be passed on, ``partition:offset``, by the right partition.
        passed_on: where the records came from that were passed on, by the partition they were passed on to.
        sent: by sender, the numbers of its facts that are in the log.
        records, calls, ticks: how many there are in the log; ``rated``: calls that must be rated.
    """

    outputs: Digests = field(default_factory=Digests)
    sums: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    agencies: dict[tuple[str, str], Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    accounts: dict[str, Account] = field(default_factory=dict)
    requests: dict[tuple[str, str], int] = field(default_factory=dict)
    raised: dict[tuple[str, str], list[int]] = field(default_factory=lambda: defaultdict(list))
    astray: Counter[tuple[int, str]] = field(default_factory=Counter)
    passed_on: Counter[tuple[int, str]] = field(default_factory=Counter)
    sent: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    records: int = 0
    calls: int = 0
    rated: int = 0
    ticks: int = 0


class PartitionTruth:
    """Folds the log of one partition into a `Truth`."""

    def __init__(self, truth: Truth, partition: int, partitions: int, only: frozenset[str] | None = None) -> None:
        """Start at the beginning of the log.

        Args:
            truth: what is found goes there.
            partition: its number.
            partitions: how many there are.
            only: keep the outputs of these accounts, for a closer look.
        """
        self.kept: list[Output] = []
        self._truth = truth
        self._partition = partition
        self._partitions = partitions
        self._only = only
        self._oracle = QuickOracle()
        self._oracle.journal.partition = partition

    def fold(self, record: ConsumerRecord) -> None:
        """Fold one record, in the order of the log."""
        truth = self._truth
        truth.records += 1
        if found := SENT_BY.match(record.value):
            truth.sent[found[1].decode()].add(int(found[2]))
        fact = self._read(record)
        forwarded = next((value.decode() for name, value in record.headers if name == FORWARDED_HEADER), None)
        if forwarded is not None:
            truth.passed_on[self._partition, forwarded] += 1
        account = fact.get("account_id")
        if account is not None:
            right = (murmur2(account.encode()) & 0x7FFFFFFF) % self._partitions
            if right != self._partition:
                assert forwarded is None, f"{self._partition}:{record.offset} was passed on to a wrong partition"
                truth.astray[right, f"{self._partition}:{record.offset}"] += 1
                return
        truth.ticks += fact.get("type") == "tick"
        truth.calls += fact.get("type") == "call.completed"
        if fact.get("type") == "payment_request.created":
            truth.raised[fact["account_id"], fact["payment_request_id"]].append(fact["total_micros"])
        # Positions are in the ids of what is bought by itself.
        self._oracle.journal.position = record.offset - 1
        self._oracle.fold(record.value)
        if account is not None:
            self._oracle.touched(account)
        outputs, self._oracle.journal.outputs = self._oracle.journal.outputs, []
        for output in outputs:
            if output["topic"] == "dead-letters" and output["key"] is None and record.key is not None:
                # The body does not say whose it is, the key may; the oracle has not seen it.
                output["key"] = record.key.decode()
            self._take(output)

    def end(self) -> None:
        """The log has no more records."""
        self._truth.accounts.update(self._oracle.accounts)

    def _take(self, output: Output) -> None:
        truth, value = self._truth, output["value"]
        truth.outputs.learn(output)
        if output["topic"] == "rated-calls":
            truth.rated += 1
            sums = truth.sums[value["account_id"]]
            sums["calls"] += 1
            for name in SUMS:
                sums[name] += value[name]
            of_agency = truth.agencies[value["agency_id"], value["currency"]]
            # What is taken back is a rated call, too, of amounts below 0.
            calls = -1 if value.get("correction") == "refund" else 1
            of_agency.update(calls=calls, billed_s=value["billed_s"], amount_micros=value["amount_micros"])
            if value["margin_micros"] is not None:
                of_agency.update(cost_micros=value["cost_micros"], margin_micros=value["margin_micros"])
        elif output["topic"] == "billing-events":
            for request_id, micros in wanted(value):
                truth.requests[value["account_id"], request_id] = micros
        if self._only and group_of(output)[1] in self._only:
            self.kept.append(output)

    @staticmethod
    def _read(record: ConsumerRecord) -> Fact:
        try:
            return read(record.value)
        except Refused:
            return {}


def wanted(event: Output) -> Iterable[tuple[str, int]]:
    """The payment request that a billing event calls for: its id, and micros rounded to the minor unit."""
    stamp = in_ids(datetime.fromisoformat(event["period_start"])) if "period_start" in event else ""
    match event["type"]:
        case "cycle.opened":
            request = f"{event['subscription_id']}:{stamp}:cycle"
            micros = sum(line["amount_micros"] for line in event["lines"])
        case "cycle.closed":
            request = f"{event['subscription_id']}:{stamp}:usage"
            micros = event["usage_micros"] + event["adjustments_micros"] + event["lines_micros"]
        case "pack.credited":
            request, micros = f"pack:{event['fact_id']}", event["price_micros"]
        case "usage.adjusted" if event["at_once"]:
            request = f"{event['subscription_id']}:{stamp}:adjustment:{event['call_id']}"
            micros = event["amount_micros"]
        case _:
            return
    unit = MINOR_UNITS.get(event["currency"], CENT)
    rounded = (2 * micros + unit) // (2 * unit) * unit
    if rounded:
        yield request, rounded
