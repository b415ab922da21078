"""The books of one partition: accounts, clock, rules, and what the facts at hand give out.

The modules of the rules (`calls`, `cycle`, `access`, `alerts`, `changes`, `payments`) are functions on books and one
account. They refuse before they change anything, so a refused fact leaves no trace but its dead letter.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import msgspec

from rating.account import Account, History, Hours, Period, Wholesale
from rating.agency_sums import AgencySums
from rating.cards import NO_CARDS, Card, Cards
from rating.ledger import decode_account, decode_history, decode_hours
from rating.outputs import BILLING_EVENTS, Output, encode
from rating.period import EPOCH, unix_micros
from rating.terms import LARGEST, Tariff, Terms, WholesaleTerms

# More than a rated call takes.
ENCODED_BYTES = 2_048
# Values that many accounts have in common: beyond so many, few accounts have each.
MOST_SHARED = 4_096


class Refusal(Exception):
    """A fact that the rules refuse: it becomes a dead letter with this reason and detail."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class Rules(msgspec.Struct, array_like=True):
    """Settings that change money, as of the last ``rules.set`` of the partition."""

    max_future_s: int = 86_400
    max_call_s: int = 86_400
    duplicate_retention_days: int = 90


class AccessOfAgency(msgspec.Struct, array_like=True):
    """What was last told about all accounts of an agency: the fact's place in their order, and whether they are off."""

    sequence: int
    off: bool


class TickAtWork(msgspec.Struct, array_like=True):
    """A tick that has more to do; saved with the position, so that whoever restores goes on with it.

    Attributes:
        offset: of the tick.
        at_micros: its time, in unix microseconds.
        before_micros: the clock before it, in unix microseconds; None before the first tick.
        later: accounts that later facts gave something to do by its time: that is for the next tick.
    """

    offset: int
    at_micros: int
    before_micros: int | None
    later: set[str] = msgspec.field(default_factory=set)

    @property
    def at(self) -> datetime:
        """Its time."""
        return EPOCH + timedelta(microseconds=self.at_micros)

    @property
    def before(self) -> datetime | None:
        """The clock before it."""
        return None if self.before_micros is None else EPOCH + timedelta(microseconds=self.before_micros)


class Books:
    """State of one partition.

    Attributes:
        partition: number of the partition.
        offset: position of the fact at hand.
        clock: latest tick, None before the first.
        tick: the latest one while it has more to do, see `rating.ticks`.
        accounts: by id; restored ones stay bytes until touched.
        histories: the cold part of the accounts.
        hours_of: the hours of the accounts that are watched for unusual usage.
        cards: rate cards by id, as far as they were loaded.
        wholesale: what the platform charges agencies, of those for which that was said.
        tariffs: terms in use, by the hash of their content.
        outputs: what the facts gave out and nobody has taken yet.
        due: heap of (unix microseconds, account id); an entry counts only while it is the account's ``next_due``.
        agencies: what is to be told about agencies; ``agency_sums`` is where the last call of each was counted.
        accounts_of: accounts by their agency.
        access_of: agencies whose access was ever changed for all their accounts.
        buffer: for encoding one output.
    """

    def __init__(self, partition: int, cards: Cards = NO_CARDS) -> None:
        self.partition = partition
        self.cards = cards
        self.wholesale: dict[str, Wholesale] = {}
        self.touched_wholesale: set[str] = set()
        self._wholesale_tariffs: dict[WholesaleTerms, Tariff] = {}
        self.offset = 0
        self.clock: datetime | None = None
        self.tick: TickAtWork | None = None
        self.rules = Rules()
        self.accounts: dict[str, Account | bytes] = {}
        self.histories: dict[str, History | bytes] = {}
        self.hours_of: dict[str, Hours | bytes] = {}
        self.tariffs: dict[bytes, Tariff] = {}
        self.outputs: list[Output] = []
        self.due: list[tuple[int, str]] = []
        self.touched: dict[str, Account] = {}
        self.touched_histories: set[str] = set()
        self.touched_hours: set[str] = set()
        self.new_terms: list[bytes] = []
        self.agencies = AgencySums(partition)
        self.agency_sums = self.agencies.latest
        self.accounts_of: dict[str, list[str]] = {}
        self.access_of: dict[str, AccessOfAgency] = {}
        self.touched_access: set[str] = set()
        self.buffer = bytearray(ENCODED_BYTES)
        self._shared: dict[Any, Any] = {}

    def account(self, account_id: str) -> Account | None:
        """The account, decoded on first touch; None if it was never subscribed."""
        account = self.accounts.get(account_id)
        if type(account) is bytes:
            account = self.accounts[account_id] = decode_account(account)
            self._share(account)
        return account  # type: ignore[return-value]

    def _share(self, account: Account) -> None:
        """Have what is the same for many accounts be one object: a third less memory, and warm in the caches.

        A call reads most of these: of a cold account each would be a wait for memory of its own.
        """
        shared = self._shared
        if len(shared) > MOST_SHARED:
            shared.clear()
        one = shared.setdefault
        account.agency_id = one(account.agency_id, account.agency_id)
        account.currency = one(account.currency, account.currency)
        subscription = account.subscription
        subscription.plan = one(subscription.plan, subscription.plan)
        subscription.status = one(subscription.status, subscription.status)
        subscription.anchor = one(subscription.anchor, subscription.anchor)
        subscription.terms_id = one(subscription.terms_id, subscription.terms_id)
        for period in account.periods:
            period.start = one(period.start, period.start)
            period.end = one(period.end, period.end)
            period.included_s = one(period.included_s, period.included_s)
            period.terms_id = self.tariffs[period.terms_id].terms_id
            if period.subscription_id == subscription.subscription_id:
                period.subscription_id = subscription.subscription_id

    def touch(self, account: Account) -> None:
        """Have the account written to the ledger with this transaction."""
        self.touched[account.account_id] = account

    def history(self, account_id: str) -> History:
        """The account's history, empty if there is none yet."""
        history = self.histories.get(account_id)
        if history is None:
            history = self.histories[account_id] = History()
        elif type(history) is bytes:
            history = self.histories[account_id] = decode_history(history)
        return history  # type: ignore[return-value]

    def changed_history(self, account_id: str) -> History:
        """The account's history, to be changed: it is written to the ledger with this transaction."""
        self.touched_histories.add(account_id)
        return self.history(account_id)

    def hours(self, account_id: str) -> Hours:
        """The account's hours before the newest one, empty if there are none yet."""
        hours = self.hours_of.get(account_id)
        if hours is None:
            hours = self.hours_of[account_id] = Hours()
        elif type(hours) is bytes:
            hours = self.hours_of[account_id] = decode_hours(hours)
        return hours  # type: ignore[return-value]

    def changed_hours(self, account_id: str) -> Hours:
        """The account's hours, to be changed: they are written to the ledger with this transaction."""
        self.touched_hours.add(account_id)
        return self.hours(account_id)

    def tariff_of(self, terms: Terms) -> Tariff:
        """The tariff of some terms, one object for equal terms.

        Raises:
            Refusal: ``unknown_rate_card``; ``wrong_currency`` where the card is in another one.
        """
        tariff = Tariff(terms, card=self.card_of(terms.rate_card, terms.currency))
        known = self.tariffs.get(tariff.terms_id)
        if known is None:
            known = self.tariffs[tariff.terms_id] = tariff
            self.new_terms.append(tariff.terms_id)
        return known

    def changed_wholesale(self, agency_id: str) -> Wholesale:
        """An agency's wholesale terms, to be changed: they are written to the ledger with this transaction."""
        self.touched_wholesale.add(agency_id)
        return self.wholesale.setdefault(agency_id, Wholesale())

    def wholesale_tariff(self, terms: WholesaleTerms) -> Tariff:
        """The tariff by which calls are priced under wholesale terms; its card is there."""
        tariff = self._wholesale_tariffs.get(terms)
        if tariff is None:
            card = None if terms.rate_card is None else self.cards[terms.rate_card]
            tariff = self._wholesale_tariffs[terms] = Tariff(terms.of_a_call, card=card)
        return tariff

    def card_of(self, card_id: str | None, currency: str) -> Card | None:
        """The rate card that terms name, None where they name none.

        Raises:
            Refusal: as `tariff_of`.
        """
        if card_id is None:
            return None
        card = self.cards.get(card_id)
        if card is None:
            raise Refusal("unknown_rate_card", f"there is no rate card {card_id}")
        if card.currency != currency:
            raise Refusal("wrong_currency", f"rate card {card_id} is in {card.currency}, the terms are in {currency}")
        return card

    def schedule(self, account: Account) -> None:
        """Set when a tick next has something to do for the account: open, end, close, or something falls due."""
        self._share(account)
        due: datetime | None = None
        subscription = account.subscription
        if subscription.ends_at is None:
            due = account.periods[-1].end
        elif subscription.runs:
            due = subscription.ends_at
        closing = first_to_close(self, account)
        if closing is not None:
            closes = closing_time(self, closing)
            due = closes if due is None or closes < due else due
        dunning = account.dunning
        if dunning is not None and dunning.due_at is not None and (due is None or dunning.due_at < due):
            due = dunning.due_at
        caps = account.caps
        if caps is not None and caps.day is not None and account.periods and (due is None or caps.day.end < due):
            due = caps.day.end
        micros = None if due is None else unix_micros(due)
        if micros != account.next_due:
            account.next_due = micros
            if micros is not None:
                if self.tick is not None and micros <= self.tick.at_micros:
                    self.tick.later.add(account.account_id)
                heapq.heappush(self.due, (micros, account.account_id))

    def emit(self, topic: str, account: Account, value: Mapping[str, Any], key: str | None = None) -> None:
        """Give out a value, with the position of the fact at hand."""
        content = {**value, "source_partition": self.partition, "source_offset": self.offset}
        self.outputs.append((topic, (key or account.account_id).encode(), encode(content)))

    def emit_billing(
        self, kind: str, account: Account, at: datetime, content: Mapping[str, Any], subscription_id: str | None = None
    ) -> None:
        """Give out a billing event of an account."""
        value = {
            "type": kind,
            "account_id": account.account_id,
            "agency_id": account.agency_id,
            "subscription_id": subscription_id or account.subscription.subscription_id,
            "at": at,
            **content,
        }
        self.emit(BILLING_EVENTS, account, value)


def closing_time(books: Books, period: Period) -> datetime:
    """When an open period closes: its end and then its late window."""
    return period.end + timedelta(seconds=books.tariffs[period.terms_id].terms.late_window_s)


def first_to_close(books: Books, account: Account) -> Period | None:
    """The open period that closes first, whichever subscription it is of."""
    found: Period | None = None
    closes: datetime | None = None
    for period in account.periods:
        # None closes before its end, and the ends ascend. There may be thousands.
        if closes is not None and period.end >= closes:
            break
        at = closing_time(books, period)
        if closes is None or at < closes:
            found, closes = period, at
    return found


def within_bounds(what: str, value: int) -> int:
    """The value, if it is one the wire can carry.

    Raises:
        Refusal: ``out_of_range`` beyond 2**53.
    """
    if value > LARGEST:
        raise Refusal("out_of_range", f"{what} would exceed 2^53")
    return value
