"""Who sells what to whom in the demo: agencies, plans, rate cards and wholesale prices; the accounts that buy."""

from __future__ import annotations

import csv
import random
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

from catalogue.collection import Catalogue
from catalogue.load import load
from catalogue.model import Plan
from rating.period import instant

FOLDER = Path(__file__).parent
CATALOGUE = FOLDER / "catalogue.yaml"
# What acme's clients pay by destination, and what acme pays.
RETAIL_CARD = FOLDER / "world.csv"
WHOLESALE_CARD = FOLDER / "carrier.csv"
CARD_CURRENCY = "USD"

HERO = "jane-dental"
# They are asked for a year in advance. One pays late, one never.
PAYS_LATE, NEVER_PAYS = DEBTORS = ("bay-fitness", "harbor-taxi")
DEBTORS_PLAN = "yearly"
LOCAL_START = datetime(2026, 11, 1)


@dataclass(frozen=True)
class Tenant:
    """An account of the simulated platform: the plan it is on, its number, how busy it is compared with others."""

    account_id: str
    agency_id: str
    plan: str
    timezone: str
    number: str
    weight: float


@dataclass(frozen=True)
class Destination:
    """A row of a rate card: a prefix of called numbers, and what a minute there costs."""

    prefix: str
    name: str
    rate_micros: int
    increments: str
    fee_micros: int


@dataclass(frozen=True)
class Wholesale:
    """What the platform charges an agency: a card, or a price for all minutes; and whether reported costs win."""

    currency: str
    rate_micros: int | None
    increments: str = "1/1"
    reported: bool = False


# Plan, agency, time zone, share of the accounts.
MARKET = (
    ("starter", "acme", "America/New_York", 0.20),
    ("business", "acme", "America/New_York", 0.10),
    ("prepaid", "acme", "America/New_York", 0.08),
    ("refill", "acme", "America/New_York", 0.07),
    ("world", "acme", "America/New_York", 0.15),
    ("basis", "nordlicht", "Europe/Berlin", 0.15),
    ("woche", "nordlicht", "Europe/Berlin", 0.10),
    ("hyojun", "sakura", "Asia/Tokyo", 0.15),
)
WHOLESALE = {
    "acme": Wholesale("USD", None, increments="6/6"),
    "nordlicht": Wholesale("EUR", 25_000, reported=True),
    "sakura": Wholesale("JPY", 4_000_000),
}
HOME_PREFIX = {"acme": "1", "nordlicht": "49", "sakura": "81"}


def tenants_of(count: int, seed: int) -> list[Tenant]:
    """The accounts: the hero first, then those that do not pay in time, then others, spread over the market's plans."""
    rnd = random.Random(f"tenants {seed}")
    found = [Tenant(HERO, "acme", "starter", "America/New_York", "+14155550100", 0.0)]
    for number, debtor in enumerate(DEBTORS, 101):
        found.append(Tenant(debtor, "acme", DEBTORS_PLAN, "America/New_York", f"+14155550{number}", 0.0))
    for number in range(1, count - len(DEBTORS)):
        plan, agency, timezone, _ = rnd.choices(MARKET, [row[3] for row in MARKET])[0]
        own_number = f"+{HOME_PREFIX[agency]}555{number:07d}"
        found.append(Tenant(f"{agency}-{number:03d}", agency, plan, timezone, own_number, rnd.paretovariate(1.4)))
    return found


@cache
def book() -> Catalogue:
    """The agencies' price lists."""
    return load(CATALOGUE)


@cache
def plan_of(tenant: Tenant) -> Plan:
    """The plan an account starts on."""
    return book().plan(tenant.plan, tenant.agency_id)[1]


@cache
def destinations(file: Path) -> dict[str, Destination]:
    """The rows of a card's file by prefix, as a person would read them."""
    with file.open(newline="") as lines:
        return {
            row["prefix"]: Destination(
                row["prefix"],
                row["description"],
                micros(row["rate"]),
                row["increments"] or WHOLESALE["acme"].increments,
                micros(row["connection_fee"]),
            )
            for row in csv.DictReader(lines)
        }


def number_in(prefix: str, rnd: random.Random) -> str:
    """A number of a destination: it begins with this prefix, and with no longer one that has a price of its own."""
    longer = tuple(other for other in destinations(RETAIL_CARD) if len(other) > len(prefix))
    while True:
        number = prefix + "".join(rnd.choices("23456789" if not prefix else "0123456789", k=11 - len(prefix)))
        if not number.startswith(longer):
            return f"+{number}"


def wholesale_terms(agency_id: str, card_id: str) -> dict[str, Any]:
    """An agency's wholesale terms, as `wholesale.set` has them."""
    prices = WHOLESALE[agency_id]
    return {
        "currency": prices.currency,
        "rate_card": card_id if prices.rate_micros is None else None,
        "rate_micros_per_minute": prices.rate_micros,
        "increments": prices.increments,
        "cost_policy": "reported" if prices.reported else "card",
        "timezone": book().agency(agency_id).timezone,
    }


def micros(amount: str | Decimal) -> int:
    """An amount as a person writes it, in millionths; nothing is 0."""
    return int(Decimal(amount or 0) * 1_000_000)


def month_start(timezone: str) -> datetime:
    """Midnight of 1 November where an agency is."""
    return instant(LOCAL_START, timezone)


def text(at: datetime) -> str:
    """A time as the platform reports it."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
