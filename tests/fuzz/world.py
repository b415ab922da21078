"""Two partitions of the meter, without a broker, watched: each input has one outcome, and no micro goes astray.

Records are folded as the meter folds them: batch by batch, looked ahead, ticks in slices, records of another partition
passed on, ledgers drained with each batch and restored now and then. What billing events ask for comes back as facts.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from random import Random
from typing import Any, NamedTuple

import msgspec
from aiokafka.structs import ConsumerRecord

from rating import ledger
from rating.facts import (
    AgencyAccess,
    CallCompleted,
    Fact,
    RulesSet,
    Tick,
    Undecodable,
    WholesaleSet,
    account_of,
    decode,
)
from rating.fold import Fold
from rating.outputs import DeadLetter, Output, encode
from rating.partitioner import partition_of
from rating.request import request_for
from rating.seen import SeenInMemory
from sinks.tables import TABLES
from streams.units import minor_digits

PARTITIONS = 2
LARGEST = 2**53
# Sums of amounts may be larger than any amount; what is used of a cap is one.
LARGEST_SUM = 2**62
SUMS = {
    "subtotal_micros",
    "total_micros",
    "credited_micros",
    "left_micros",
    "paid_micros",
    "adjustments_micros",
    "amount_micros",
    "lines_micros",
    "used",
}
# Rated or another fact accepted; a duplicate or a fact known; ticks and rules; passed on; a dead letter.
OUTCOMES = ("rated", "accepted", "duplicate", "known", "time", "forwarded", "dead")
_tables = {table.topic: table for table in TABLES}
_json = msgspec.json.Decoder().decode


class Broken(AssertionError):
    """An invariant does not hold."""


@dataclass
class Account:
    """What an account's outputs add up to. Micros and seconds."""

    rated: int = 0
    asked: int = 0
    wallet_s: int = 0
    credit: int = 0


@dataclass
class Partition:
    """One partition: its fold, what its ledger holds, and the books kept beside it."""

    fold: Fold
    seen: SeenInMemory
    stored: dict[bytes, bytes] = field(default_factory=dict)
    accounts: dict[str, Account] = field(default_factory=lambda: defaultdict(Account))
    offset: int = 0


class Record(NamedTuple):
    """A record of the log."""

    value: bytes
    offset: int
    key: bytes
    headers: list[tuple[str, bytes]]


class World:
    """The partitions, fed with inputs.

    Attributes:
        outcomes: how often each of `OUTCOMES` was; they add up to the records folded.
        reasons: how often each reason of a dead letter was.
    """

    def __init__(self, seed: str = "") -> None:
        self.outcomes: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        self.folded = 0
        self._random = Random(seed)
        self._partitions = []
        for number in range(PARTITIONS):
            seen = SeenInMemory()
            self._partitions.append(Partition(Fold(number, PARTITIONS, seen, slice_accounts=3), seen))
        self._given: dict[str, list[ConsumerRecord]] = defaultdict(list)
        # Facts of the billing job, to be written to the log.
        self._asked: list[bytes] = []

    def feed(self, inputs: Sequence[bytes]) -> None:
        """Fold some inputs as one batch of each partition, then check the books.

        Raises:
            Broken, or whatever the fold lets escape.
        """
        facts, self._asked = self._asked, []
        batches: list[list[tuple[bytes, bool]]] = [[] for _ in self._partitions]
        for value in (*facts, *inputs):
            for number in self._targets(value):
                batches[number].append((value, False))
        # Passed on records come behind, as from the log.
        for _ in range(2):
            forwards: list[list[tuple[bytes, bool]]] = [[] for _ in self._partitions]
            for number, batch in enumerate(batches):
                self._fold_batch(number, batch, forwards)
            batches = forwards
        if any(batches):
            raise Broken("a record was passed on twice")
        for topic, records in self._given.items():
            if rejects := _tables[topic].chunk(records).rejects:
                raise Broken(f"the sink rejects an output of {topic}: {rejects[0]}")
        self._given.clear()

    def check(self) -> None:
        """Check the books of every account, and that the ledger holds what the fold does."""
        for partition in self._partitions:
            for account_id, book in partition.accounts.items():
                _check_account(partition.fold, account_id, book)

    # -- where an input goes

    def _targets(self, value: bytes) -> Iterable[int]:
        account_id = _account_of(value)
        if account_id is None and isinstance(_decoded(value)[0], Tick | RulesSet | AgencyAccess | WholesaleSet):
            return range(PARTITIONS)
        if account_id is None or self._random.random() < 0.05:
            return (self._random.randrange(PARTITIONS),)
        return (partition_of(account_id.encode(), PARTITIONS),)

    # -- folding

    def _fold_batch(
        self, number: int, batch: Sequence[tuple[bytes, bool]], forwards: list[list[tuple[bytes, bool]]]
    ) -> None:
        partition = self._partitions[number]
        fold = partition.fold
        records = [
            Record(value, partition.offset + at, b"hint", [("forwarded", b"")] if forwarded else [])
            for at, (value, forwarded) in enumerate(batch)
        ]
        alone = self._random.random() < 0.3
        at = 0
        while at < len(records):
            done = 0 if alone else fold.fold_calls(records[at:])
            if done:
                self._judge_calls(partition, records[at : at + done])
                at += done
            else:
                self._fold_one(partition, records[at])
                at += 1
            for forward in fold.forwards:
                if forward.key != (_account_of(forward.value) or "").encode():
                    raise Broken(f"passed on with the key {forward.key!r}")
                forwards[forward.partition].append((forward.value, True))
            fold.forwards.clear()
        fold.drain_agencies()
        partition.stored.update(fold.drain_ledger())
        if self._random.random() < 0.05:
            self._restore(number)

    def _restore(self, number: int) -> None:
        """Go on as another worker would, from the ledger."""
        partition = self._partitions[number]
        before = _state_of(partition.fold)
        fold = Fold(number, PARTITIONS, partition.seen, slice_accounts=3)
        for key, value in partition.stored.items():
            fold.restore(key, value)
        fold.restored()
        if _state_of(fold) != before or fold.position != partition.offset:
            raise Broken("the ledger restores another state")
        partition.fold = fold

    def _judge_calls(self, partition: Partition, records: Sequence[Record]) -> None:
        """What came of calls that were folded together."""
        fold = partition.fold
        given: dict[int, list[Output]] = {record.offset: [] for record in records}
        for output in fold.outputs:
            given[_offset_of(output)].append(output)
        fold.outputs.clear()
        for record in records:
            fact, _ = _decoded(record.value)
            self._count(partition, record, fact, self._outcome(fold, record, fact, False, given[record.offset], ""))
            self._account_for(partition, given[record.offset])

    def _fold_one(self, partition: Partition, record: Record) -> None:
        fold = partition.fold
        fact, reason = _decoded(record.value)
        watched = self._random.random() < 0.03
        before = _state_of(fold) if watched else None
        known = _known(fold, fact)
        outputs: list[Output] = []
        while not fold.fold(record.value, record.offset, record.key, bool(record.headers)):
            outputs += fold.outputs
            fold.outputs.clear()
            fold.drain_agencies()
            partition.stored.update(fold.drain_ledger())
        outputs += fold.outputs
        fold.outputs.clear()
        if any(_offset_of(output) != record.offset for output in outputs):
            raise Broken("an output of another record")
        outcome = self._outcome(fold, record, fact, known, outputs, reason)
        opened = outcome == "dead" and len(outputs) > 1
        if (
            outcome in ("dead", "duplicate", "known", "forwarded")
            and watched
            and not opened
            and _state_of(fold) != before
        ):
            raise Broken(f"{outcome}, and yet the state has changed")
        self._count(partition, record, fact, outcome)
        self._account_for(partition, outputs)

    def _count(self, partition: Partition, record: Record, fact: Fact | None, outcome: str) -> None:
        if outcome in ("rated", "duplicate") and not isinstance(fact, CallCompleted):
            raise Broken(f"{type(fact).__name__} came out as {outcome}")
        if partition.offset != record.offset or partition.fold.position <= record.offset:
            raise Broken("the position is not behind the record")
        partition.offset += 1
        self.outcomes[outcome] += 1
        self.folded += 1

    # -- what came of it

    def _outcome(
        self, fold: Fold, record: Record, fact: Fact | None, known: bool, outputs: Sequence[Output], reason: str
    ) -> str:
        """The one outcome of a record; Broken if it has none, or two."""
        counts = Counter(topic for topic, *_ in outputs)
        found = []
        if counts["dead-letters"]:
            found.append("dead")
            self._check_letter(outputs, record, reason)
        if counts["rated-calls"]:
            found.append("rated")
        if counts["duplicates"]:
            found.append("duplicate")
        if any(forward.offset == record.offset for forward in fold.forwards):
            found.append("forwarded")
        if not found and isinstance(fact, Tick | RulesSet | AgencyAccess | WholesaleSet):
            found.append("time")
            if isinstance(fact, Tick) and (fold.clock is None or fold.clock < fact.at):
                raise Broken("a tick that has not come to pass")
        elif not found and fact is not None and not isinstance(fact, CallCompleted):
            if known:
                found.append("known")
            elif _known(fold, fact):
                found.append("accepted")
        calls = counts["rated-calls"] + counts["duplicates"]
        if len(found) != 1 or calls != (found[0] in ("rated", "duplicate")):
            raise Broken(f"outcomes {found}, outputs {dict(counts)}")
        if found[0] in ("duplicate", "known", "forwarded") and len(outputs) != calls:
            raise Broken(f"{found[0]}, with outputs {dict(counts)}")
        return found[0]

    def _check_letter(self, outputs: Sequence[Output], record: Record, reason: str) -> None:
        *before, (_, _, letter) = outputs
        if not isinstance(letter, DeadLetter) or (before and not _opens_a_period(before, record)):
            raise Broken("a dead letter, and more beside it")
        if letter.value != record.value or letter.offset != record.offset:
            raise Broken("a dead letter of another record")
        if reason and letter.reason != reason:
            raise Broken(f"decoded {reason}, dead-lettered {letter.reason}")
        letter.detail.encode()
        self.reasons[letter.reason] += 1

    def _account_for(self, partition: Partition, outputs: Iterable[Output]) -> None:
        """Add the outputs up, and keep them for the sink."""
        for number, (topic, key, value) in enumerate(outputs):
            if isinstance(value, DeadLetter):
                continue
            content = _json(value)
            # A tick that jumps over years gives out thousands of the same kind.
            if thorough := number < 4 or not number % 100:
                _check_content(topic, content)
                self._given[topic].append(_record(topic, key, value))
            book = partition.accounts[content["account_id"]]
            if topic == "rated-calls":
                _rated(book, content)
            elif topic == "billing-events":
                _billed(book, content)
                if thorough:
                    self._bill(content)

    def _bill(self, event: dict[str, Any]) -> None:
        """What the billing job does with an event; its fact must be one that can be read."""
        request = request_for(event, minor_digits)
        if request is None:
            return
        fact = encode({"type": "payment_request.created", **request, "gateway": "manual", "external_id": None})
        try:
            decode(fact)
        except Undecodable as undecodable:
            raise Broken(f"nobody can be asked for {fact!r}: {undecodable}") from None
        if self._random.random() < 0.2:
            self._asked.append(fact)


@lru_cache(maxsize=512)
def _decoded(value: bytes) -> tuple[Fact | None, str]:
    """The fact, or the reason why there is none."""
    try:
        return decode(value), ""
    except Undecodable as undecodable:
        return None, undecodable.reason


def _account_of(value: bytes) -> str | None:
    fact, _ = _decoded(value)
    return account_of(value) if fact is None else getattr(fact, "account_id", None)


def _opens_a_period(outputs: Sequence[Output], record: Record) -> bool:
    """Whether these are what opening a period gives out: a call opens the one that it ended in, refused or not."""
    topics = {topic for topic, *_ in outputs}
    opened = any(topic == "billing-events" and _json(value)["type"] == "cycle.opened" for topic, _, value in outputs)
    # A cap may be reached as a period begins: that of a wallet that is empty.
    return (
        opened
        and topics <= {"billing-events", "access-events", "alerts"}
        and type(_decoded(record.value)[0]) is CallCompleted
    )


def _offset_of(output: Output) -> int:
    value = output[2]
    return value.offset if isinstance(value, DeadLetter) else int(_json(value)["source_offset"])


def _known(fold: Fold, fact: Fact | None) -> bool:
    """Whether the fold has applied a fact of this id to the account."""
    fact_id = None if isinstance(fact, AgencyAccess | WholesaleSet) else getattr(fact, "fact_id", None)
    history = fold.books.histories.get(fact.account_id) if fact_id else None  # type: ignore[union-attr]
    return history is not None and fact_id in fold.books.history(fact.account_id).fact_ids  # type: ignore[union-attr]


def _state_of(fold: Fold) -> Any:
    """Everything of a fold that a later record could tell."""
    books = fold.books
    accounts = {name: _bytes(account, ledger.encode_account) for name, account in books.accounts.items()}
    histories = {name: _history(_bytes(history, ledger.encode_history)) for name, history in books.histories.items()}
    return accounts, histories, books.clock, msgspec.structs.astuple(books.rules), set(books.tariffs)


def _bytes(state: Any, encoder: Any) -> bytes:
    return state if isinstance(state, bytes) else encoder(state)


def _history(value: bytes) -> Any:
    history = ledger.decode_history(value)
    return (
        frozenset(history.fact_ids),
        history.requests,
        [msgspec.structs.astuple(one) for one in history.subscriptions],
    )


def _record(topic: str, key: bytes | None, value: bytes) -> ConsumerRecord:
    return ConsumerRecord(topic, 0, 0, 0, 0, key, value, None, len(key or b""), len(value), [])


def _check_content(topic: str, content: Any, name: str = "") -> None:
    """Integers that the wire can carry, all through an output."""
    if isinstance(content, dict):
        for key, value in content.items():
            _check_content(topic, value, key)
    elif isinstance(content, list):
        for value in content:
            _check_content(topic, value, name)
    elif isinstance(content, int):
        # Costs and margins of a period are sums, and what a cap on them has used.
        largest = LARGEST_SUM if name in SUMS or (topic, name) == ("alerts", "used") else LARGEST
        if not -largest <= content <= largest:
            raise Broken(f"{name} {content} in an output of {topic}")
    elif isinstance(content, float):
        raise Broken(f"a float in an output of {topic}")


def _rated(book: Account, call: dict[str, Any]) -> None:
    parts = [call[name] for name in ("allowance_s", "wallet_s", "credit_s", "overage_s", "written_off_s")]
    if sum(parts) != call["billed_s"] or min(parts) < 0 or call["amount_micros"] < call["fee_micros"]:
        raise Broken(f"the parts do not add up: {call}")
    book.rated += call["amount_micros"]
    book.wallet_s -= call["wallet_s"]
    book.credit -= call["credit_micros"]
    left = call["allowance_left_s"], call["wallet_left_s"], call["credit_left_micros"]
    if min(left) < 0 or left[1:] != (book.wallet_s, book.credit):
        raise Broken(f"balances of {book} after {call}")


def _billed(book: Account, event: dict[str, Any]) -> None:
    match event["type"]:
        case "cycle.closed":
            if event["usage_micros"] != event["overage_micros"] + event["fee_micros"]:
                raise Broken(f"the usage does not add up: {event}")
            if event["adjustments_micros"] != sum(one["amount_micros"] for one in event["adjustments"]):
                raise Broken(f"the adjustments do not add up: {event}")
            if event["lines_micros"] != sum(one["amount_micros"] for one in event["lines"]):
                raise Broken(f"the lines do not add up: {event}")
            if event["usage_micros"] + event["adjustments_micros"] + event["lines_micros"] < 0:
                raise Broken(f"a request would be negative: {event}")
            book.asked += event["usage_micros"] + event["adjustments_micros"]
        case "cycle.opened":
            if sum(one["amount_micros"] for one in event["lines"]) < 0:
                raise Broken(f"a request would be negative: {event}")
        case "usage.adjusted":
            book.asked += event["amount_micros"] if event["at_once"] else 0
        case "pack.credited" | "wallet.adjusted":
            book.wallet_s += event["minutes"] * 60
            book.credit += event["credit_micros"]
            if (event["wallet_left_s"], event["credit_left_micros"]) != (book.wallet_s, book.credit):
                raise Broken(f"balances of {book} after {event}")


def _check_account(fold: Fold, account_id: str, book: Account) -> None:
    """What was rated is what closed periods asked for and open ones will."""
    account = fold.books.account(account_id)
    if account is None:
        raise Broken(f"outputs of {account_id!r}, which is not there")
    pending = sum(one.amount_micros for one in account.adjustments)
    usage = sum(period.usage_micros for period in account.periods)
    if book.rated != book.asked + usage + pending:
        raise Broken(f"{account_id!r}: rated {book.rated}, asked for {book.asked}, open {usage} and {pending}")
    if (account.wallet_s, account.credit_micros) != (book.wallet_s, book.credit):
        raise Broken(f"{account_id!r}: the pools are {account.wallet_s} s, {account.credit_micros}; not {book}")
    for period in account.periods:
        if period.allowance_left_s + period.allowance_s != period.included_s or period.allowance_left_s < 0:
            raise Broken(f"{account_id!r}: an allowance does not add up: {period}")
