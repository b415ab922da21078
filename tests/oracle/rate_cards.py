"""Rate cards, found and matched the long way: every row is looked at, and the candidates are put in order."""

from dataclasses import dataclass
from hashlib import blake2b
from json import dumps
from typing import Any

from tests.oracle.checks import Fact

FIELDS = ("prefix", "direction", "tier", "rate_micros_per_minute", "increments", "connection_fee_micros", "pools")
Row = dict[str, Any]


@dataclass(frozen=True)
class RateCard:
    name: str
    currency: str
    rows: tuple[Row, ...]

    @property
    def card_id(self) -> str:
        """As docs/facts.md has it: blake2b-128 of the content as JSON without white space, rows sorted."""
        lists = [[row[field] for field in FIELDS] for row in self.rows]
        lists.sort(key=lambda row: (row[0], row[1] or "", row[2] or ""))
        content = {"name": self.name, "currency": self.currency, "rows": lists}
        text = dumps(content, separators=(",", ":"), ensure_ascii=False)
        return blake2b(text.encode(), digest_size=16).hexdigest()

    def row_for(self, call: Fact) -> Row | None:
        """Longest prefix, then the call's direction, then its tier."""
        number = (call["to_number"] or "").removeprefix("+")
        if any(digit not in "0123456789" for digit in number):
            number = ""
        candidates = [
            row
            for row in self.rows
            if number.startswith(row["prefix"])
            and row["direction"] in (None, call["direction"])
            and row["tier"] in (None, call["tier"])
        ]
        return max(
            candidates,
            key=lambda row: (len(row["prefix"]), row["direction"] is not None, row["tier"] is not None),
            default=None,
        )


def row(prefix: str, rate: int, **fields: Any) -> Row:
    """A row with everything else left open, but for what is given."""
    rest: Row = {"direction": None, "tier": None, "increments": None, "connection_fee_micros": None, "pools": True}
    return {"prefix": prefix, "rate_micros_per_minute": rate} | rest | fields


# For logs: destinations within each other, told apart by direction and tier in every way.
WIDE = RateCard(
    "wide",
    "USD",
    (
        row("", 500_000),
        row("1", 60_000),
        row("1415", 30_000, increments="6/6"),
        row("14155550", 29, increments="1/1", connection_fee_micros=7),
        row("49", 120_000, direction="outbound"),
        row("49", 90_000, tier="gold"),
        row("49", 80_000, direction="outbound", tier="gold"),
        row("4930", 61, direction="inbound", pools=False),
        row("4930", 0, direction="web"),
        row("493", 240_000, tier="gold", increments="60/60", connection_fee_micros=0),
        row("4917", 1_234_567, pools=False, connection_fee_micros=50_000),
    ),
)
# No row for all: whoever calls elsewhere pays the terms' rate, or is not rated.
NARROW = RateCard("narrow", "USD", (row("1", 59), row("4930", 30_000, direction="outbound", connection_fee_micros=1)))
EUROS = RateCard("euros", "EUR", (row("49", 120_000, pools=False), row("", 7, direction="inbound", increments="60/6")))
CARDS = (WIDE, NARROW, EUROS)
BY_ID = {card.card_id: card for card in CARDS}
UNKNOWN = "0" * 32


def card_in(terms: dict[str, Any]) -> RateCard | None:
    """The card that terms name; they are known to name one that there is."""
    return None if terms["rate_card"] is None else BY_ID[terms["rate_card"]]
