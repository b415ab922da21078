"""A tick at work: every account that is due is brought to its time, slice by slice.

At midnight on the first that is every account of the partition, and takes seconds. Calls and facts of accounts do not
wait for it: whoever is due is brought to the time of the tick first, and then has its call rated, so what an account
gives out and in which order is the same as if the tick had been done at once.
"""

from __future__ import annotations

import heapq
from datetime import datetime

from rating.access import review_access
from rating.account import Account
from rating.books import Books, TickAtWork
from rating.cycle import advance
from rating.ledger import due_of
from rating.period import unix_micros

# A jump over years gives out a lot for each account: a slice of a tick ends after so many outputs, too.
SLICE_OUTPUTS = 20_000


def begin_tick(books: Books, at: datetime) -> None:
    """Have the tick at hand be at work. The clock is as it was before; whoever calls sets it."""
    clock = books.clock
    books.agencies.begin_tick(clock, at, books.offset)
    books.tick = TickAtWork(books.offset, unix_micros(at), None if clock is None else unix_micros(clock))


def work_on_tick(books: Books, slice_accounts: int) -> None:
    """Bring accounts that are due to the time of the tick at work, and end it when there are no more.

    Args:
        books: with a tick at work.
        slice_accounts: at most so many accounts.
    """
    tick = books.tick
    assert tick is not None
    due = books.due
    left, most = slice_accounts, len(books.outputs) + SLICE_OUTPUTS
    while due and due[0][0] <= tick.at_micros:
        micros, account_id = due[0]
        value = books.accounts[account_id]
        if (due_of(value) if type(value) is bytes else value.next_due) != micros or account_id in tick.later:  # type: ignore[union-attr]
            heapq.heappop(due)
            continue
        if not left or len(books.outputs) > most:
            return
        heapq.heappop(due)
        account = books.account(account_id)
        assert account is not None
        _bring(books, tick, account)
        left -= 1
    books.tick = None
    for account_id in sorted(tick.later):
        account = books.account(account_id)
        if account is not None and account.next_due is not None:
            heapq.heappush(due, (account.next_due, account_id))
    books.agencies.end_tick(tick.before, tick.at)


def bring_to_tick(books: Books, account: Account) -> None:
    """Bring an account to the time of the tick at work, before a later fact of the log changes it."""
    tick, due = books.tick, account.next_due
    assert tick is not None
    if due is not None and due <= tick.at_micros and account.account_id not in tick.later:
        _bring(books, tick, account)


def _bring(books: Books, tick: TickAtWork, account: Account) -> None:
    """Do what is due for an account as of the tick: with its offset, and the clock that was before it."""
    offset, clock = books.offset, books.clock
    books.offset, books.clock = tick.offset, tick.before
    account.next_due = None
    advance(books, account, tick.at)
    review_access(books, account, tick.at)
    books.touch(account)
    books.offset, books.clock = offset, clock
