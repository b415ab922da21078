"""Where an account stands, read from the broker by someone who is not the meter: for commands, before they write.

A fact is judged before it is sent by folding it here, with the very code of the meter, over the account's own ledger
records and whatever the meter has not rated yet. So a command refuses what would become a dead letter, for the same
reason and in the same words.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime
from typing import Any

from aiokafka.structs import ConsumerRecord

from rating import ledger
from rating.alerts import standing
from rating.facts import account_of
from rating.fold import Fold, cards_named
from rating.forecast import Forecast, forecast
from rating.outputs import DeadLetter
from rating.partitioner import partition_of
from rating.seen import SeenInMemory
from streams.administration import check_topics
from streams.cards import CardShelf
from streams.restore import read_to_end, unreadable
from streams.settings import Settings
from streams.topics import ACCOUNT_EVENTS, LEDGER, RATE_CARDS

# More facts than that behind, and the meter is not just busy: judging them here would take as long as rating them.
MOST_PENDING = 20_000


class AccountView:
    """An account as of now.

    Attributes:
        account_id: the account.
        row: its state as the meter left it (`rating.ledger.account_row`), None if it was never subscribed.
        pending: facts of its partition that the meter has not rated yet.
        certain: they were few enough to be taken into account.
    """

    def __init__(self, account_id: str, fold: Fold, row: dict[str, Any] | None, shelf: CardShelf) -> None:
        self.account_id = account_id
        self.row = row
        self.pending = 0
        self.certain = True
        self._fold = fold
        self._shelf = shelf

    def take(self, value: bytes | None, offset: int) -> None:
        """Take into account a fact that the meter has not rated yet."""
        self.pending += 1
        if self.pending > MOST_PENDING:
            self.certain = False
        else:
            self._apply(value, offset)

    @property
    def subscription(self) -> tuple[str, str] | None:
        """Id and status of its last subscription, as `rating.account` has them; pending facts count."""
        account = self._fold.books.account(self.account_id)
        return (account.subscription.subscription_id, account.subscription.status) if account else None

    @property
    def plan(self) -> str | None:
        """The plan that it is, or was last, on; pending facts count."""
        account = self._fold.books.account(self.account_id)
        return account.subscription.plan if account else None

    def forecast(self, now: datetime) -> Forecast | None:
        """What its newest period comes to; pending facts count."""
        account = self._fold.books.account(self.account_id)
        if account is None or account.newest is None:
            return None
        tariff = self._fold.books.tariffs[account.newest.terms_id]
        return forecast(standing(account, account.newest), tariff, tariff.has_rate, now)

    def knows(self, fact_id: str) -> bool:
        """Whether a fact of this id was applied to the account: another one would change nothing."""
        return fact_id in self._fold.books.history(self.account_id).fact_ids

    async def refusal(self, fact: bytes) -> tuple[str, str] | None:
        """What the meter would say of a fact that came now: reason and detail of its dead letter, or None.

        The fact is taken into account from here on.
        """
        await self._shelf.load(cards_named(fact))
        for _, _, value in self._apply(fact, self._fold.position):
            if isinstance(value, DeadLetter):
                return value.reason, value.detail
        return None

    def _apply(self, value: bytes | None, offset: int) -> list[Any]:
        while not self._fold.fold(value, offset):
            continue
        given = list(self._fold.outputs)
        self._fold.outputs.clear()
        return given


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
    row = None
    found = await _latest(settings, partition, own)
    for record in found:
        _restore(fold, record)
        row = ledger.account_row(record.key, record.value) or row
    await shelf.load(fold.cards_needed({account_id}))
    fold.restored({account_id})
    view = AccountView(account_id, fold, row, shelf)
    async for records in read_to_end(settings, settings.topic(ACCOUNT_EVENTS), partition, fold.position):
        for record in records:
            if account_of(record.value) == account_id:
                await shelf.load(cards_named(record.value))
            view.take(record.value, record.offset)
        if not view.certain:
            break
    return view


async def account_state(settings: Settings, account_id: str) -> dict[str, Any] | None:
    """An account's state as the meter left it: `rating.ledger.account_row`, or None if it was never subscribed.

    Raises:
        as `view_account`.
    """
    return (await view_account(settings, account_id)).row


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
