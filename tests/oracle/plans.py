"""Terms of every shape, and the moments in time where they get interesting."""

from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

from tests.oracle.rate_cards import CARDS, UNKNOWN

ZONES = ("UTC", "America/New_York", "Europe/Berlin", "Australia/Lord_Howe", "Asia/Kathmandu")
RATES = (0, 1, 7, 29, 30, 31, 59, 60, 61, 119_999, 120_000, 1_234_567)
LEVELS: tuple[list[int], ...] = ([80, 90, 100], [80, 90, 100], [100, 50], [1], [], [33, 66, 99, 100])
CAP_LEVELS: tuple[list[int], ...] = ([80, 100], [80, 100], [100], [50, 10, 100], [])


def _local(zone: str, *fields: int, fold: int = 0) -> datetime:
    return datetime(*fields, tzinfo=ZoneInfo(zone), fold=fold).astimezone(UTC)  # type: ignore[arg-type, misc]


# Month ends, leap days, skipped hours and hours that come twice.
ANCHORS = (
    _local("UTC", 2026, 11, 1),
    _local("UTC", 2026, 1, 29, 12),
    _local("UTC", 2024, 2, 29, 23, 59, 59, 999999),
    _local("America/New_York", 2026, 1, 31),
    _local("America/New_York", 2026, 2, 8, 2, 30),
    _local("America/New_York", 2026, 3, 7, 2, 30),
    _local("America/New_York", 2026, 10, 31, 1, 30),
    _local("America/New_York", 2026, 11, 1, 1, 30),
    _local("America/New_York", 2026, 11, 1, 1, 30, fold=1),
    _local("Europe/Berlin", 2026, 3, 28, 2, 30),
    _local("Europe/Berlin", 2026, 2, 28, 2, 30),
    _local("Europe/Berlin", 2025, 12, 31, 23, 30),
    _local("Europe/Berlin", 2026, 10, 25, 2, 30, fold=1),
    _local("Australia/Lord_Howe", 2026, 10, 3, 2, 15),
    _local("Australia/Lord_Howe", 2026, 4, 4, 1, 45),
    _local("Australia/Lord_Howe", 2026, 4, 5, 1, 45, fold=1),
    _local("Asia/Kathmandu", 2026, 8, 30),
    _local("Asia/Kathmandu", 2024, 2, 29, 0, 0, 0, 1),
)
LENGTHS = {
    "day": timedelta(days=1),
    "week": timedelta(days=7),
    "month": timedelta(days=30),
    "year": timedelta(days=365),
}


def some_cap(random: Random) -> dict[str, Any] | None:
    if random.random() < 0.35:
        return None
    on = random.random()
    return {
        "minutes": random.choice((1, 1, 2, 3, 5, 10, 60)) if on < 0.7 else None,
        "spend_micros": random.choice((1, 60, 1_000, 100_000, 1_000_000)) if on > 0.5 else None,
        "mode": random.choice(("hard", "hard", "soft")),
        "alerts_percent": random.choice(CAP_LEVELS),
    }


def some_caps(random: Random) -> list[dict[str, Any]]:
    """Mostly small limits; sometimes one is set twice, which is refused."""
    caps = []
    for name in random.sample(("a", "b", "c", "d", "e"), random.choice((0, 1, 1, 2, 3))):
        on = random.choice(("minutes", "spend", "cost", "margin", "wallet"))
        limits = {
            "minutes": (0, 1, 2, 3, 10),
            "spend": (0, 1, 60, 1_000, 100_000, 1_000_000),
            "cost": (0, 1, 40_000, 100_000, 2**53),
            "margin": (-100_000, -40_000, 0, 0, 1, 100_000, -(2**53)),
            "wallet": (0, 1, 2, 3),
        }
        cap: dict[str, Any] = {"name": name, "on": on, "limit": random.choice(limits[on])}
        cap |= {"per": random.choice(("period", "day")), "mode": random.choice(("hard", "soft"))}
        cap["alerts_percent"] = random.choice(CAP_LEVELS)
        for field in ("per", "mode", "alerts_percent"):
            if random.random() < 0.1:
                del cap[field]
        caps.append(cap)
    if caps and random.random() < 0.03:
        caps.append(caps[0])
    return caps


def some_terms(random: Random, currency: str) -> dict[str, Any]:
    """Mostly small numbers, so that a few calls reach every level; fields with a default are sometimes left out."""
    interval = random.choice(("day", "day", "day", "week", "week", "month", "month", "month", "year"))
    overage = random.choice(("billed", "billed", "blocked"))
    terms: dict[str, Any] = {
        "plan": random.choice(("starter", "growth")),
        "plan_version": "v1",
        "currency": currency,
        "interval": interval,
        "interval_count": random.choice((1, 1, 1, 2, 3)),
        "timezone": random.choice(ZONES),
        "price_micros": random.choice((0, 49_000_000, 1)),
        "included_minutes": random.choice((0, 1, 1, 2, 3, 5, 10, 100)),
        "overage": overage,
        "overage_micros_per_minute": random.choice(RATES),
        "increments": random.choice(("1/1", "6/6", "30/6", "60/60", "60/6", "60/6", "1/60")),
        "minimum_s": random.choice((0, 0, 0, 1, 30, 61)),
        "connection_fee_micros": random.choice((0, 0, 0, 1, 5_000)),
        "free_below_s": random.choice((0, 0, 0, 1, 6, 10)),
        "outcomes": {
            name: random.random() < 0.5
            for name in ("answered", "voicemail", "no_answer", "busy", "failed", "canceled", "test")
            if random.random() < (0.1 if name == "answered" else 0.3)
        },
        "packs": random.choice((True, True, True, False, ["boost-60"], [])),
        "due_days": random.choice((0, 0, 1, 7, 30)),
        "grace_days": random.choice((0, 1, 7)),
        "late_calls": random.choice(("next_period", "adjust", "write_off")),
        "late_window_s": random.choice((0, 0, 1, 900, 900, 3_600, 86_400, 200_000)),
        "allowance_alerts_percent": random.choice(LEVELS),
        "cap": some_cap(random),
        "trial_days": random.choice((0, 0, 0, 0, 1, 2, 7)),
        "trial_included_minutes": random.choice((None, None, 0, 1, 5)),
        "cancel_credit": random.choice(("none", "unused")),
        "max_call_s": random.choice((None, None, None, 1, 30, 60, 61)),
        "unusual_usage": random.random() < 0.3,
        "forecast_alert": random.random() < 0.5,
    }
    if random.random() < 0.02:
        name = random.choice(("connection_fee_micros", "minimum_s", "included_minutes", "overage_micros_per_minute"))
        terms[name] = 2**53 // 60 if name == "included_minutes" else 2**53
    if random.random() < 0.3:
        of_currency = [card.card_id for card in CARDS if card.currency == currency]
        terms["rate_card"] = random.choice(of_currency * 4 + [CARDS[0].card_id, UNKNOWN])
        if overage == "billed" and random.random() < 0.3:
            terms["overage_micros_per_minute"] = None
    elif random.random() < 0.1:
        terms["rate_card"] = None
    if overage == "blocked" and random.random() < 0.4:
        del terms["overage_micros_per_minute"]
    if random.random() < 0.15:
        for name in random.sample(OPTIONAL, 8):
            del terms[name]
        if overage == "blocked" and random.random() < 0.5:
            del terms["overage"]
    return terms


OPTIONAL = (
    "timezone",
    "price_micros",
    "included_minutes",
    "increments",
    "minimum_s",
    "connection_fee_micros",
    "free_below_s",
    "outcomes",
    "packs",
    "due_days",
    "grace_days",
    "late_calls",
    "late_window_s",
    "allowance_alerts_percent",
    "cap",
    "trial_days",
    "trial_included_minutes",
    "cancel_credit",
    "max_call_s",
    "unusual_usage",
    "forecast_alert",
)
