"""Bills worked out by hand are what `simulate` and the billing job's rules make of the same facts."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

from rating.request import request_for
from rating.simulate import simulate

NAMES = sorted(path.stem for path in (Path(__file__).parent / "bills").glob("[!_]*.py"))
FIELDS = ("kind", "quantity", "unit_price_micros", "amount_micros")


def billed(bill: ModuleType) -> list[tuple[str, list[tuple[object, ...]], int]]:
    """Kind, lines and total of the payment requests that the facts of a bill call for."""
    lines = [json.dumps(fact).encode() for fact in bill.FACTS]
    outputs = list(simulate(lines, getattr(bill, "CARDS", {})))
    assert not [one for one in outputs if one["topic"] == "dead-letters"]
    requests = [request_for(one["value"]) for one in outputs if one["topic"] == "billing-events"]
    return [
        (
            request["kind"],
            [tuple(line[field] for field in FIELDS) for line in request["lines"]],
            request["total_micros"],
        )
        for request in requests
        if request is not None
    ]


@pytest.mark.parametrize("name", NAMES)
def test_a_bill_is_what_was_worked_out_by_hand(name: str) -> None:
    bill = import_module(f"tests.golden.bills.{name}")
    if hasattr(bill, "BILLS"):
        assert billed(bill) == bill.BILLS
