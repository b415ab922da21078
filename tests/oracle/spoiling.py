"""Records that cannot be rated: a sound fact with one thing wrong, or bytes that are no fact at all."""

import json
from random import Random
from typing import Any

Fact = dict[str, Any]
NO_FACTS = (
    b"",
    b" ",
    b"{",
    b"not json",
    b"[]",
    b"5",
    b"null",
    b'"call.completed"',
    b"{}",
    b"[" * 3_000,
    b"\xff\xfe{}",
    b'{"type":"call.completed","call_id":"\xc3\x28"}',
    b'{"type":"tick","at":"2026-11-01T00:00:00Z"} x',
    b'{"type":"tick","at":NaN}',
    b'{"type":5,"account_id":"acct_1"}',
    b'{"type":null,"account_id":"acct_1"}',
    b'{"account_id":"acct_1"}',
    b'{"type":"call.exploded","account_id":"acct_1","agency_id":"ag_1"}',
    b'{"type":"","account_id":"acct_2"}',
    b'{"type":"Tick","at":"2026-11-01T00:00:00Z"}',
    b'{"type":"tick"}',
    b'{"type":"tick","at":"2026-11-01T00:00:00Z","jump":1}',
    b'{"type":"tick","at":1790000000}',
    b'{"type":"call.completed","account_id":"\\ud800"}',
    b'{"type":"call.completed","account_id":""}',
    b'{"type":"call.completed","account_id":["acct_1"]}',
)
TOO_LARGE = b'{"type":"tick","at":"2026-11-01T00:00:00Z","padding":"' + b"x" * 262_200 + b'"}'
BAD_TIMES: tuple[Any, ...] = (
    "2026-11-03T10:15:30",
    "2026-11-03T10:15:30.1234567Z",
    "2026-11-03T10:15:30.1234560Z",
    "2026-11-03T10:15:30.0000000+01:00",
    "1999-12-30T00:00:00Z",
    "2101-01-02T00:00:00Z",
    "2026-13-01T00:00:00Z",
    "2026-02-30T00:00:00Z",
    "2026-11-03",
    "10:15:30Z",
    "yesterday",
    "",
    1_790_000_000,
    1_790_000_000.5,
    True,
    None,
    [],
)
BAD_IDS: tuple[Any, ...] = ("", "x" * 129, "é" * 65, 5, None, True, [], {})
BAD_NUMBERS: tuple[Any, ...] = (2**53 + 1, -(2**53) - 1, 10**30, 1.5, 1.0, "5", True, [], {})
IDS = ("account_id", "agency_id", "call_id", "fact_id", "subscription_id", "payment_request_id", "dispute_id", "actor")
TIMES = ("at", "started_at", "ended_at", "due_at", "grace_ends_at")
NATURALS = (
    "cost_micros",
    "minutes",
    "credit_micros",
    "price_micros",
    "included_minutes",
    "overage_micros_per_minute",
    "minimum_s",
    "connection_fee_micros",
    "free_below_s",
    "due_days",
    "grace_days",
    "late_window_s",
    "trial_days",
    "trial_included_minutes",
    "max_future_s",
    "max_call_s",
    "tax_micros",
    "amount_micros",
)
BAD_WORDS: dict[str, tuple[Any, ...]] = {
    "top_up": (5, "boost", {}, {"pack": "boost-60", "minutes": 1, "price_micros": 0, "currency": "USD", "below_s": 1}),
    "most_per_month": (0, -1, None, "3"),
    "direction": ("sideways", "", "INBOUND", 5, None),
    "outcome": ("exploded", "test", 5, None),
    "when": ("later", None, 5),
    "status": ("refunded", "pending", None, 5),
    "kind": ("gift", None, 5),
    "interval": ("hour", "months", None, 5),
    "overage": ("sometimes", 5, True),
    "late_calls": ("ignore", 5),
    "increments": ("6", "0/6", "6/0", "-6/6", "6/6/6", "a/b", "6.5/6", "", 6, [6, 6]),
    "timezone": ("Mars/Olympus", "", 5, "../UTC"),
    "packs": ("yes", 1, [5]),
    "allowance_alerts_percent": (80, ["80"], [80.5]),
    "outcomes": ({"answered": "yes"}, {"answered": 1}, [], "all"),
    "cap": (500, "hard", {"minutes": "5", "mode": "hard", "alerts_percent": [80]}, {"minutes": 5, "mode": "firm"}),
    "caps": (
        None,
        {},
        [5],
        [{"name": "a"}],
        [{"name": "a", "on": "minutes", "limit": -1}],
        [{"name": "", "on": "cost", "limit": 1}],
    ),
    "test": ("no", 0, 1),
    "jump": ("no", 0, 1),
    "currency": (5, None, ""),
    "terms": (None, 5, [], {}, "starter"),
    "lines": (None, 5, {}, [5]),
    "cancel_credit": ("all", 5, None),
    "number": BAD_IDS,
    "description": (5, "x" * 513, None, []),
    "tax_included": ("no", 0, 1, None),
    "label": (5, "x" * 129, "é" * 65, []),
}
REQUIRED = (
    *IDS,
    *TIMES,
    "type",
    "direction",
    "outcome",
    "when",
    "status",
    "kind",
    "interval",
    "plan",
    "currency",
    "terms",
)


def spoiled(random: Random, fact: Fact) -> bytes:
    """A line that becomes a dead letter whatever was before it; cut short it may, rarely, still be sound."""
    draw = random.random()
    if draw < 0.2:
        return random.choice(NO_FACTS)
    if draw < 0.205:
        return TOO_LARGE
    if draw < 0.25:
        return json.dumps(fact).encode()[: -random.randint(1, 20)]
    part = fact["terms"] if "terms" in fact and random.random() < 0.6 else fact
    part = part["cap"] if part.get("cap") and random.random() < 0.2 else part
    ways = [name for name in part if name in BAD_WORDS or name in REQUIRED or name in NATURALS]
    if fact["type"] == "number.rented":
        ways.remove("currency")  # may be missing, or null
    if not ways:
        return random.choice(NO_FACTS)
    name = random.choice(ways)
    if name in REQUIRED and random.random() < 0.3:
        del part[name]
    elif name in IDS:
        part[name] = random.choice(BAD_IDS)
    elif name in TIMES:
        part[name] = random.choice(BAD_TIMES)
    elif name in BAD_WORDS:
        part[name] = random.choice(BAD_WORDS[name])
    elif name in NATURALS:
        below_zero = fact["type"] == "wallet.adjusted"
        part[name] = random.choice(BAD_NUMBERS) if below_zero else random.choice((*BAD_NUMBERS, -1, -60))
    else:
        part[name] = 5
    return json.dumps(fact).encode()
