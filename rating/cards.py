"""Rate cards: what a minute costs by destination, direction and tier of the agent.

A card is immutable, and found by the hash of its content: whoever names one names its prices, for good. The number
that is looked up is the called one, without its ``+``. Rows whose direction and tier are the call's, or left open, are
candidates; of those counts the one with the longest prefix, then one with the call's direction, then one with its tier.

So that a look-up in 100,000 rows takes less than a microsecond, a card has one table for each direction and tier that
its rows tell apart, in which each prefix has the one row that would win. A table is arrays of
integers: of the few places where another row begins to count among numbers with the same first digits, a bisection
finds the right one.
"""

from __future__ import annotations

import hashlib
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Annotated, Literal, NamedTuple

import msgspec
from msgspec import Meta

from rating.terms import Count, Currency, Id, check_increments

CARD_ID_BYTES = 16
# A part's record stays far below what a broker takes.
ROWS_IN_A_PART = 5_000
# The longest prefix; numbers are looked up by as many digits.
DIGITS = 15
# What fills a number of so many digits up.
TENS = tuple(10 ** (DIGITS - length) for length in range(DIGITS + 1))
# Numbers that have the first four digits in common.
HEAD = 10 ** (DIGITS - 4)
NO_ROW = -1

Direction = Literal["inbound", "outbound", "web"]
Prefix = Annotated[str, Meta(pattern=r"^[0-9]{0,15}\Z")]


class Row(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A price. None: any direction, any tier; the increments or the fee of the terms.

    Attributes:
        prefix: what the called number begins with, digits; empty: any number, and calls without one.
        rate_micros_per_minute: price of a minute, in micros of the card's currency.
        pools: whether allowance, wallet and credit are drawn on; if not, the whole call is charged.
    """

    prefix: Prefix
    direction: Direction | None
    tier: Id | None
    rate_micros_per_minute: Count
    increments: str | None = None
    connection_fee_micros: Count | None = None
    pools: bool = True

    def __post_init__(self) -> None:
        """Raise ValueError (a decoding error for msgspec) where the increments are none."""
        if self.increments is not None:
            check_increments(self.increments)

    @property
    def key(self) -> tuple[str, str, str]:
        """What no two rows of a card have in common; the order of rows."""
        return self.prefix, self.direction or "", self.tier or ""


class Head(msgspec.Struct, frozen=True):
    """A card but for its rows, which are kept in so many parts.

    Attributes:
        created_at: when somebody first wrote it, for people; no part of the content.
    """

    name: Id
    currency: Currency
    rows: Count
    parts: Count
    created_at: str | None = None


class NoCard(ValueError):
    """What is no card, and why."""


class _Table(NamedTuple):
    """Rows by number, a number being 15 digits here, filled up with zeros: where another row begins to count.

    Plain arrays, for a look-up waits for memory most of its time.

    Attributes:
        starts: where each row begins to count, ascending.
        rows: which row it is; -1 for none.
        heads: for each four digits, and one more, the first start of such numbers.
        by_prefix: the row of each prefix.
    """

    starts: array[int]
    rows: array[int]
    heads: array[int]
    by_prefix: dict[str, int]


class Card:
    """A rate card, ready for look-ups.

    Attributes:
        card_id: hash of its content, 32 hexadecimal digits.
        rows: sorted by prefix, direction and tier.
        least_rate: the lowest price of a minute above 0 that pools may be drawn for; 0 if there is none.
    """

    __slots__ = ("_lengths", "_only", "_tables", "card_id", "currency", "least_rate", "name", "rows")

    def __init__(self, name: str, currency: str, rows: Iterable[Row]) -> None:
        """Make a card of rows in any order.

        Raises:
            NoCard: there are no rows, or two for the same prefix, direction and tier.
        """
        self.name = name
        self.currency = currency
        self.rows = tuple(sorted(rows, key=lambda row: row.key))
        if not self.rows:
            raise NoCard("a card needs rows")
        for one, other in zip(self.rows, self.rows[1:], strict=False):
            if one.key == other.key:
                raise NoCard(f"two rows for prefix {one.prefix!r}, direction {one.direction}, tier {one.tier}")
        self.card_id = card_id_of(name, currency, self.rows)
        self._tables = _tables(self.rows)
        self._lengths = bytes(len(row.prefix) for row in self.rows)
        told_apart = len(self._tables) > 1 or len(self._tables[None]) > 1
        self._only = None if told_apart else self._tables[None][None]
        rates = [row.rate_micros_per_minute for row in self.rows if row.pools and row.rate_micros_per_minute]
        self.least_rate = min(rates, default=0)

    def find(self, to_number: str | None, direction: str, tier: str | None) -> int | None:
        """The index of the row for a call, None if there is none."""
        table = self._only
        if table is None:
            by_tier = self._tables.get(direction) or self._tables[None]
            table = by_tier.get(tier) or by_tier[None]
        number = to_number or ""
        if number[:1] == "+":
            number = number[1:]
        if not (number.isdigit() and number.isascii()):
            return table.by_prefix.get("")
        starts, rows, heads, by_prefix = table
        length = len(number)
        whole = int(number) * TENS[length] if length <= DIGITS else int(number[:DIGITS])
        head = whole // HEAD
        found = rows[bisect_right(starts, whole, heads[head], heads[head + 1]) - 1]
        if found < 0:
            return None
        return found if self._lengths[found] <= length else _longest(by_prefix, number)

    def records(self, created_at: str | None = None) -> list[tuple[bytes, bytes]]:
        """How the card is kept in its topic: (key, value) of its parts, its head last."""
        own = self.card_id.encode()
        parts = [self.rows[at : at + ROWS_IN_A_PART] for at in range(0, len(self.rows), ROWS_IN_A_PART)]
        records = [(b"%s/%d" % (own, number), _encode(part)) for number, part in enumerate(parts)]
        head = Head(self.name, self.currency, len(self.rows), len(parts), created_at)
        return [*records, (own, _encode(head))]


Cards = Mapping[str, Card]
NO_CARDS: Cards = MappingProxyType({})


def card_id_of(name: str, currency: str, rows: Iterable[Row]) -> str:
    """The id of a card: blake2b-128 of its content as compact JSON, its rows sorted, in hexadecimal digits."""
    content = _encode({"name": name, "currency": currency, "rows": list(rows)})
    return hashlib.blake2b(content, digest_size=CARD_ID_BYTES).hexdigest()


def card_of(head: Head, parts: Iterable[bytes], card_id: str) -> Card:
    """A card from the records of its topic.

    Raises:
        NoCard: a part is broken, or what there is has another hash.
    """
    try:
        card = Card(head.name, head.currency, [row for part in parts for row in _decode_rows(part)])
    except msgspec.MsgspecError as error:
        raise NoCard(f"rate card {card_id}: {error}") from None
    if card.card_id != card_id:
        raise NoCard(f"rate card {card_id}: what is kept under this id is card {card.card_id}")
    return card


def decode_head(value: bytes) -> Head:
    """The head of a card.

    Raises:
        NoCard: it is none.
    """
    try:
        return _decode_head(value)
    except msgspec.MsgspecError as error:
        raise NoCard(str(error)) from None


def split_key(key: bytes) -> tuple[str, int | None]:
    """Id and number of the part of a record's key; None for the head."""
    card_id, _, part = key.decode().partition("/")
    return card_id, int(part) if part else None


def _tables(rows: tuple[Row, ...]) -> dict[str | None, dict[str | None, _Table]]:
    """A table for each direction and tier that the rows tell apart, and (None) for all others."""
    directions = {row.direction for row in rows} | {None}
    tiers = {row.tier for row in rows} | {None}
    return {direction: {tier: _table(rows, direction, tier) for tier in tiers} for direction in directions}


def _table(rows: tuple[Row, ...], direction: str | None, tier: str | None) -> _Table:
    # Rows of a prefix are sorted: the later one has the direction where the earlier has none, else the tier.
    best = {
        row.prefix: index
        for index, row in enumerate(rows)
        if row.direction in (None, direction) and row.tier in (None, tier)
    }
    starts, found = array("q", [0]), array("q", [best.get("", NO_ROW)])
    within: list[tuple[str, int]] = []

    def put(start: int, index: int) -> None:
        if starts[-1] == start:
            found[-1] = index
        else:
            starts.append(start)
            found.append(index)

    def leave() -> None:
        _, end = within.pop()
        put(end, best[within[-1][0]] if within else NO_ROW)

    for prefix in sorted(best):
        while within and not prefix.startswith(within[-1][0]):
            leave()
        start = int(prefix or "0") * TENS[len(prefix)]
        within.append((prefix, start + TENS[len(prefix)]))
        put(start, best[prefix])
    while within:
        leave()
    heads = array("q", (bisect_left(starts, head * HEAD) for head in range(10**DIGITS // HEAD + 1)))
    # The row that counts where a head begins may have begun before: a bisection looks one to the left.
    heads[-1] = len(starts)
    return _Table(starts, found, heads, best)


def _longest(by_prefix: dict[str, int], number: str) -> int | None:
    for length in range(len(number), -1, -1):
        found = by_prefix.get(number[:length])
        if found is not None:
            return found
    return None


_encode = msgspec.json.Encoder().encode
_decode_rows = msgspec.json.Decoder(tuple[Row, ...]).decode
_decode_head = msgspec.json.Decoder(Head).decode
