"""Every bill that was computed by hand comes out of the core, and the oracle agrees with it."""

from __future__ import annotations

import pkgutil
from importlib import import_module

import pytest

from tests.golden import bills
from tests.oracle.compare import first_difference
from tests.oracle.oracle import run

MODULES = [module.name for module in pkgutil.iter_modules(bills.__path__)]


@pytest.mark.parametrize("name", MODULES)
def test_a_bill_is_what_it_is_by_hand(name: str) -> None:
    module = import_module(f"tests.golden.bills.{name}")
    bill = bills.Bill(module.FACTS, getattr(module, "UNITS", None))
    module.check(bill)
    assert first_difference(run(bill.lines), bill.outputs) is None
