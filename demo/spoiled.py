"""Records that must not be rated, and the reason why."""

from __future__ import annotations

import json
from typing import Any

Fact = dict[str, Any]


def spoiled(fact: Fact, number: int) -> tuple[str, bytes]:
    """A call made unusable in the way of this number: the reason it must be refused for, and its bytes."""
    ways = (_not_json, _wrong_type, _unknown_account, _impossible, _wrong_agency)
    return ways[number % len(ways)](fact)


def _not_json(fact: Fact) -> tuple[str, bytes]:
    return "malformed", json.dumps(fact).encode()[:-1]


def _wrong_type(fact: Fact) -> tuple[str, bytes]:
    return "malformed", json.dumps({**fact, "cost_micros": "12 cents"}).encode()


def _unknown_account(fact: Fact) -> tuple[str, bytes]:
    return "no_subscription", json.dumps({**fact, "account_id": "nobody-" + fact["call_id"]}).encode()


def _impossible(fact: Fact) -> tuple[str, bytes]:
    return "impossible_times", json.dumps({**fact, "ended_at": "2026-10-30T00:00:00Z"}).encode()


def _wrong_agency(fact: Fact) -> tuple[str, bytes]:
    return "wrong_agency", json.dumps({**fact, "agency_id": "someone-else"}).encode()
