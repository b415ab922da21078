"""Every bill that was computed by hand comes out of the core, and the oracle agrees with it."""

from __future__ import annotations

import pkgutil
from importlib import import_module

import pytest

from rating.cards import NO_CARDS
from tests.golden import bills
from tests.oracle.compare import first_difference
from tests.oracle.oracle import run
from tests.oracle.rate_cards import BY_ID, FIELDS, RateCard

MODULES = [module.name for module in pkgutil.iter_modules(bills.__path__)]


@pytest.mark.parametrize("name", MODULES)
def test_a_bill_is_what_it_is_by_hand(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = import_module(f"tests.golden.bills.{name}")
    cards = getattr(module, "CARDS", NO_CARDS)
    for card in cards.values():
        rows = tuple({field: getattr(row, field) for field in FIELDS} for row in card.rows)
        monkeypatch.setitem(BY_ID, card.card_id, RateCard(card.name, card.currency, rows))
    bill = bills.Bill(module.FACTS, getattr(module, "UNITS", None), cards)
    module.check(bill)
    assert first_difference(run(bill.lines), bill.outputs) is None
