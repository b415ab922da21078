"""Where an account stands, read from the broker by someone who is not the meter: for commands, before they write.

A fact is judged before it is sent by folding it here, with the very code of the meter, over the account's own ledger
records and whatever the meter has not rated yet. So a command refuses what would become a dead letter, for the same
reason and in the same words.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
from aiokafka.structs import ConsumerRecord

from rating import ledger
from rating.account import Account
from rating.alerts import standing
from rating.corrections import CALL_FIELDS
from rating.facts import SubscriptionStarted, Undecodable, account_of, decode
from rating.fold import Fold, cards_named
from rating.forecast import Forecast, forecast
from rating.outputs import RATED_CALLS, DeadLetter
from rating.partitioner import partition_of
from rating.seen import SeenInMemory
from rating.terms import Terms
from streams.administration import check_topics
from streams.cards import CardShelf
from streams.errors import LedgerUnusable
from streams.ratings import first_rating
from streams.restore import read_some, read_to_end, unreadable
from streams.settings import Settings
from streams.topics import ACCOUNT_EVENTS, LEDGER, RATE_CARDS

# More facts than that behind, and the meter is not just busy: judging them here would take as long as rating them.
MOST_PENDING = 20_000
# Of a call's fields, those that say which one it is.
CALL_IDS = ("call_id", "account_id", "agency_id")


class Outcome(NamedTuple):
    """What the meter would make of a fact.

    Attributes:
        refused: reason and detail of its dead letter; None where it is accepted.
        outputs: what it would give out: topic and value, decoded.
    """

    refused: tuple[str, str] | None
    outputs: list[tuple[str, dict[str, Any]]]


class Rating(NamedTuple):
    """How a call is rated: the record of ``rated-calls``, decoded; ``voided``: none of it stands any more."""

    rated: dict[str, Any]
    voided: bool


class AccountView:
    """An account as of now.

    Attributes:
        account_id: the account.
        row: its state as the meter left it (`rating.ledger.account_row`), None if it was never subscribed.
        pending: facts of its partition that the meter has not rated yet.
        certain: they were few enough to be taken into account.
    """

    def __init__(self, settings: Settings, account_id: str, fold: Fold, shelf: CardShelf) -> None:
        self.account_id = account_id
        self.row: dict[str, Any] | None = None
        self.pending = 0
        self.certain = True
        self._settings = settings
        self._fold = fold
        self._shelf = shelf
        # Of calls that the meter has not rated yet: how it will.
        self._pending_ratings: dict[str, bytes] = {}
        self._found: dict[str, bytes | None] = {}

    async def take(self, value: bytes | None, offset: int) -> None:
        """Take into account a fact that the meter has not rated yet."""
        self.pending += 1
        if self.pending > MOST_PENDING:
            self.certain = False
            return
        rated = None
        if account_of(value) == self.account_id:
            await self._shelf.load(cards_named(value))
            rated = await self._corrected(value)
        for topic, key, rating in self._apply(value, offset, rated):
            if topic == RATED_CALLS and key == self.account_id.encode():
                self._pending_ratings[_call_of(rating).call_id] = rating

    @property
    def account(self) -> Account | None:
        """Its state, pending facts counted; None if it was never subscribed. Not to be changed."""
        return self._fold.books.account(self.account_id)

    @property
    def subscription(self) -> tuple[str, str] | None:
        """Id and status of its last subscription, as `rating.account` has them; pending facts count."""
        account = self.account
        return (account.subscription.subscription_id, account.subscription.status) if account else None

    @property
    def agency_id(self) -> str | None:
        """Its agency; None if it was never subscribed, pending facts count."""
        account = self._fold.books.account(self.account_id)
        return account.agency_id if account else None

    @property
    def currency(self) -> str | None:
        """Its currency; None if it was never subscribed, pending facts count."""
        account = self._fold.books.account(self.account_id)
        return account.currency if account else None

    @property
    def plan(self) -> str | None:
        """The plan that it is, or was last, on; pending facts count."""
        account = self.account
        return account.subscription.plan if account else None

    @property
    def terms(self) -> Terms | None:
        """The terms that it is, or was last, on; pending facts count."""
        account = self.account
        return self._fold.books.tariffs[account.subscription.terms_id].terms if account else None

    @property
    def next_terms(self) -> Terms | None:
        """The terms that its next period will be on, where they are others."""
        account = self.account
        terms_id = account.subscription.next_terms_id if account else None
        return self._fold.books.tariffs[terms_id].terms if terms_id else None

    def forecast(self, now: datetime) -> Forecast | None:
        """What its newest period comes to; pending facts count."""
        return _forecast(self._fold, self.account_id, now)

    def knows(self, fact_id: str) -> bool:
        """Whether a fact of this id was applied to the account: another one would change nothing."""
        return fact_id in self._fold.books.history(self.account_id).fact_ids

    async def rating(self, call_id: str) -> Rating | None:
        """How a call of the account is rated now; None where it was not, or too long ago to be found.

        Raises:
            CallmeterError: what the broker has of it cannot be read.
        """
        known = self._fold.books.history(self.account_id).corrections.get(call_id)
        if known is not None:
            return Rating(msgspec.json.decode(known.latest), known.voided)
        rated = await self._first_rating(call_id)
        return Rating(msgspec.json.decode(rated), voided=False) if rated is not None else None

    async def reported(self, rating: Rating) -> dict[str, Any]:
        """What a rating came of: the fields of the call, but for ids, as they were reported, or corrected, last.

        Raises:
            LedgerUnusable: the log does not have it.
        """
        topic, offset = self._settings.topic(ACCOUNT_EVENTS), rating.rated["source_offset"]
        records = await read_some(self._settings, topic, self._fold.partition, offset)
        if records and records[0].offset == offset:
            fact = msgspec.json.decode(records[0].value)
            return {name: fact[name] for name in CALL_FIELDS if name in fact and name not in CALL_IDS}
        raise LedgerUnusable(f"{topic}-{self._fold.partition} has nothing at offset {offset}, where a call was rated")

    async def outcome(self, fact: bytes) -> Outcome:
        """What the meter would make of a fact that came now. It is taken into account from here on.

        Raises:
            CallmeterError: it corrects a call, and what the broker has of that cannot be read.
        """
        await self._shelf.load(cards_named(fact))
        given = self._apply(fact, self._fold.position, await self._corrected(fact))
        refused = next(((value.reason, value.detail) for _, _, value in given if isinstance(value, DeadLetter)), None)
        outputs = [(topic, msgspec.json.decode(value)) for topic, _, value in given if isinstance(value, bytes)]
        return Outcome(refused, outputs)

    async def _corrected(self, value: bytes | None) -> bytes | None:
        """Of a correction, how the call was rated first, where the fold does not know it."""
        call_id = self._fold.corrected_call(value)
        return await self._first_rating(call_id) if call_id is not None else None

    async def _first_rating(self, call_id: str) -> bytes | None:
        if call_id not in self._found:
            partition = self._fold.partition
            self._found[call_id] = await first_rating(self._settings, partition, self.account_id, call_id)
        return self._found[call_id] or self._pending_ratings.get(call_id)

    def _apply(self, value: bytes | None, offset: int, rated: bytes | None = None) -> list[Any]:
        while not self._fold.fold(value, offset, rated=rated):
            continue
        given = list(self._fold.outputs)
        self._fold.outputs.clear()
        return given


class _Named(msgspec.Struct):
    call_id: str


_call_of = msgspec.json.Decoder(_Named).decode


def _forecast(fold: Fold, account_id: str, now: datetime) -> Forecast | None:
    account = fold.books.account(account_id)
    if account is None or account.newest is None:
        return None
    tariff = fold.books.tariffs[account.newest.terms_id]
    return forecast(standing(account, account.newest), tariff, tariff.has_rate, now)


async def view_account(settings: Settings, account_id: str) -> AccountView:
    """Read where an account stands: its partition of the ledger, then what the meter has not rated yet.

    Raises:
        BrokerUnreachable, TopicMissing: there is nothing to read from.
        LedgerUnusable: a ledger record of the account cannot be read by this version.
    """
    partitions = await check_topics(settings, [LEDGER, ACCOUNT_EVENTS, RATE_CARDS])
    partition = partition_of(account_id.encode(), partitions)
    kinds = (ledger.ACCOUNT, ledger.HISTORY, ledger.HOURS)
    own = {*(kind + account_id.encode() for kind in kinds), ledger.POSITION}
    shelf = CardShelf(settings, partitions)
    fold = Fold(partition, None, SeenInMemory(), cards=shelf.cards)
    view = AccountView(settings, account_id, fold, shelf)
    for record in await _latest(settings, partition, own):
        _restore(fold, record)
        view.row = ledger.account_row(record.key, record.value) or view.row
    await shelf.load(fold.cards_needed({account_id}))
    fold.restored({account_id})
    async for records in read_to_end(settings, settings.topic(ACCOUNT_EVENTS), partition, fold.position):
        for record in records:
            await view.take(record.value, record.offset)
        if not view.certain:
            break
    return view


async def account_state(settings: Settings, account_id: str) -> dict[str, Any] | None:
    """An account's state as the meter left it: `rating.ledger.account_row`, or None if it was never subscribed.

    Raises:
        as `view_account`.
    """
    return (await view_account(settings, account_id)).row


async def forecasts(settings: Settings, account_ids: Collection[str], now: datetime) -> dict[str, Forecast]:
    """What the newest periods of some accounts come to, as the meter left them, by account; see `rating.forecast`.

    An account without a period, or whose period is too young for a forecast, is left out.

    Raises:
        as `view_account`.
    """
    found = {}
    for partition, own in (await _by_partition(settings, [LEDGER], account_ids)).items():
        fold = Fold(partition, None, SeenInMemory())
        for record in await _latest(settings, partition, {ledger.ACCOUNT + one.encode() for one in own}):
            _restore(fold, record)
        for account_id in own:
            told = _forecast(fold, account_id, now)
            if told is not None:
                found[account_id] = told
    return found


async def subscribed(settings: Settings, account_ids: Collection[str]) -> set[str]:
    """Which of some accounts were ever subscribed, by the meter or by facts that it has yet to rate.

    Raises:
        as `view_account`.
    """
    found: set[str] = set()
    for partition, own in (await _by_partition(settings, [LEDGER, ACCOUNT_EVENTS], account_ids)).items():
        fold = Fold(partition, None, SeenInMemory())
        keys = {*(ledger.ACCOUNT + one.encode() for one in own), ledger.POSITION}
        for record in await _latest(settings, partition, keys):
            _restore(fold, record)
        found.update(own & fold.books.accounts.keys())
        async for records in read_to_end(settings, settings.topic(ACCOUNT_EVENTS), partition, fold.position):
            found.update(own.intersection(filter(None, (_started_by(record.value) for record in records))))
    return found


async def _by_partition(settings: Settings, topics: list[str], account_ids: Collection[str]) -> dict[int, set[str]]:
    partitions = await check_topics(settings, topics)
    found: dict[int, set[str]] = defaultdict(set)
    for account_id in account_ids:
        found[partition_of(account_id.encode(), partitions)].add(account_id)
    return found


def _started_by(value: bytes | None) -> str | None:
    """The account that a record of the log subscribes, None if it is no such fact."""
    if value is None or b"subscription.started" not in value:
        return None
    try:
        fact = decode(value)
    except Undecodable:
        return None
    return fact.account_id if isinstance(fact, SubscriptionStarted) else None


async def running_subscriptions(settings: Settings) -> dict[tuple[str, str], dict[str, int]]:
    """How many subscriptions are active, by (agency, plan), then by ``plan_version``. Reads the whole ledger.

    Raises:
        as `view_account`.
    """
    running: dict[tuple[str, str], dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for partition in range(await check_topics(settings, [LEDGER])):
        fold = Fold(partition, None, SeenInMemory())
        for record in await _latest(settings, partition):
            _restore(fold, record)
        for account_id in fold.books.accounts:
            account = fold.books.account(account_id)
            if account and account.subscription.runs:
                version = fold.books.tariffs[account.subscription.terms_id].terms.plan_version
                running[account.agency_id, account.subscription.plan][version] += 1
    return running


def _restore(fold: Fold, record: ConsumerRecord) -> None:
    try:
        fold.restore(record.key, record.value)
    except (ValueError, RecursionError) as error:
        raise unreadable(record, error) from None


async def _latest(settings: Settings, partition: int, keys: set[bytes] | None = None) -> list[ConsumerRecord]:
    """The latest ledger record of each of some keys, or of all; terms always."""
    latest: dict[bytes, ConsumerRecord] = {}
    async for records in read_to_end(settings, settings.topic(LEDGER), partition):
        for record in records:
            if keys is None or record.key in keys or record.key.startswith((ledger.TERMS, ledger.WHOLESALE)):
                latest[record.key] = record
    return list(latest.values())
