"""The rate cards that the golden log's terms name."""

from __future__ import annotations

from rating.cards import Card, Row

RETAIL = Card(
    "golden-retail",
    "USD",
    [
        Row("", None, None, 600_000),
        Row("1", None, None, 60_000, "6/6"),
        Row("1900", None, None, 2_400_000, "60/60", 500_000, pools=False),
        Row("49", "outbound", None, 120_000, "60/6", 10_000),
        Row("49", None, "gold", 90_000),
        Row("4930", None, None, 59, "1/1", 0),
        Row("4930", "web", "gold", 0),
    ],
)
LANDLINES = Card("golden-landlines", "USD", [Row("49", "outbound", None, 120_000), Row("4930", None, None, 61)])
CARDS = {card.card_id: card for card in (RETAIL, LANDLINES)}
