"""The golden log as told: small lives, each of which turns on some rules, with amounts and times that hit the bounds.

`python -m tests.golden` writes it as ``log.jsonl``. Every fact says what it is there for, in a field that nobody reads.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.golden.cards import LANDLINES, RETAIL

Fact = dict[str, Any]
Line = Fact | bytes
TERMS: Fact = {
    "plan": "starter",
    "plan_version": "v1",
    "currency": "USD",
    "interval": "month",
    "price_micros": 49_000_000,
    "included_minutes": 10,
    "overage": "billed",
    "overage_micros_per_minute": 120_000,
    "increments": "60/6",
    "due_days": 14,
    "grace_days": 7,
}
HARD = {"minutes": 5, "spend_micros": None, "mode": "hard", "alerts_percent": [50, 80, 100]}


class Teller:
    """Makes facts of one account, each with an id of its own."""

    def __init__(self, account: str, agency: str = "ag_1", count: int = 0) -> None:
        self.account = account
        self.agency = agency
        # Where an account has a second teller, that one counts on.
        self._count = count

    def started(self, at: str, about: str, sub: str = "sub_1", **terms: Any) -> Fact:
        """A subscription."""
        return self.fact("subscription.started", at, about, subscription_id=sub, terms={**TERMS, **terms})

    def fact(self, kind: str, at: str, about: str, /, **fields: Any) -> Fact:
        """A fact of any other type."""
        self._count += 1
        own = {"account_id": self.account, "agency_id": self.agency, "fact_id": f"{self.account}-{self._count}"}
        return {"type": kind, **own, "at": at, "about": about, **fields}

    def call(self, ended: str, seconds: float, about: str, **fields: Any) -> Fact:
        """A call that ended at some time and had been answered so many seconds before."""
        self._count += 1
        answered = stamp(datetime.fromisoformat(ended) - timedelta(seconds=seconds))
        own = {"account_id": self.account, "agency_id": self.agency, "call_id": f"{self.account}-{self._count}"}
        return {
            "type": "call.completed", **own, "campaign_id": "camp_1", "direction": "outbound", "started_at": answered,
            "answered_at": answered, "ended_at": ended, "outcome": "answered", "about": about, **fields,
        }  # fmt: skip

    def pack(self, at: str, about: str, **fields: Any) -> Fact:
        """A pack of 60 minutes, unless told otherwise."""
        content = {"pack": "boost-60", "minutes": 60, "credit_micros": 0, "price_micros": 9_000_000, "currency": "USD"}
        return self.fact("pack.applied", at, about, **{**content, **fields})


def stamp(at: datetime) -> str:
    """ISO 8601 in UTC."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def tick(at: str, about: str = "time goes on", **fields: Any) -> Fact:
    """The time."""
    return {"type": "tick", "at": at, "about": about, **fields}


def story() -> Iterator[Line]:
    """The whole log, in order."""
    yield {
        "type": "rules.set",
        "at": "2025-12-31T00:00:00Z",
        "about": "bounds of the deployment",
        "max_future_s": 3_600,
    }
    yield tick("2025-12-31T23:00:00Z", "the first tick")
    yield from daylight_saving()
    yield tick("2026-01-01T06:00:00Z")
    yield from straddles()
    yield from increments()
    yield from policies()
    yield from credit()
    yield from late_calls()
    yield tick("2026-01-03T03:00:00Z")
    yield from caps()
    yield from named_caps()
    yield from blocked()
    yield tick("2026-01-03T05:00:00Z")
    yield from cancellations()
    yield tick("2026-01-03T07:00:00Z")
    yield from requests()
    yield from duplicates()
    yield from month_ends()
    yield from agency_access()
    yield from refusals()
    yield from malformed()
    yield from lives()
    yield from numbers()
    yield from rate_cards()
    yield from wholesale()
    yield from steps("2026-01-20T00:00:00Z", "2027-02-01T00:00:00Z", timedelta(days=13, hours=7))
    yield from watched()
    yield from topped_up()
    yield from corrected()
    yield tick("2027-02-02T00:00:00Z", "not past the clock by a jump that needs none", jump=True)
    yield tick("2030-01-01T00:00:00Z", "a leap of years without leave")
    yield from unpaid()
    yield tick("2027-06-01T00:00:00Z", "a leap of months, with leave: every period in turn", jump=True)


def steps(first: str, last: str, step: timedelta) -> Iterator[Fact]:
    """Ticks at even steps."""
    at, end = datetime.fromisoformat(first), datetime.fromisoformat(last)
    while at < end:
        yield tick(stamp(at))
        at += step


def straddles() -> Iterator[Line]:
    """One call may draw on allowance, wallet, credit and overage; the worked example of the domain among them."""
    one = Teller("acct_straddle")
    yield one.started("2026-01-01T00:00:00Z", "100 minutes, 0.12 a minute", included_minutes=100, timezone="UTC")
    yield one.call("2026-01-01T02:00:00+00:00", 5_870, "leaves 130 s of the allowance")
    yield one.pack("2026-01-01T00:00:00Z", "one minute for the wallet", minutes=1)
    yield one.call("2026-01-01T00:10:00Z", 243.2, "246 s billed: 130 of the allowance, 60 of the wallet, 56 overage")
    yield one.call("2026-01-01T00:20:00Z", 0.000001, "a microsecond is a second, and a whole increment")
    yield one.pack("2026-01-01T00:30:00Z", "credit of 0.1 and a minute", minutes=1, credit_micros=100_000)
    yield one.call("2026-01-01T00:40:00Z", 200, "wallet, credit and overage")
    two = Teller("acct_all_four")
    yield two.started("2026-01-01T00:00:00Z", "one minute, so that one call straddles all", included_minutes=1)
    yield two.pack("2026-01-01T00:00:01Z", "wallet and credit", minutes=1, credit_micros=60_000)
    yield two.call("2026-01-01T01:00:00Z", 300, "60 s of each pool and what is left as overage", cost_micros=150_000)
    yield two.call(
        "2026-01-01T01:10:00Z", 60, "cost in another currency: no margin", cost_micros=1, cost_currency="EUR"
    )
    yield two.call("2026-01-01T01:20:00Z", 60, "cost at the bound", cost_micros=2**53)
    yield two.call("2026-01-01T07:00:00Z", 60, "as far in the future as calls may be")


def increments() -> Iterator[Line]:
    """Each kind of increment, below, at and above its bounds; minimum, free seconds, connection fee."""
    for number, spelled in enumerate(("1/1", "6/6", "30/6", "60/60")):
        one = Teller(f"acct_increments_{number}")
        yield one.started("2026-01-01T00:00:00Z", f"increments {spelled}", increments=spelled, included_minutes=2)
        for minute, seconds in enumerate((0, 1, 5.5, 6, 6.000001, 29, 30, 31, 59.999999, 60, 60.5, 61)):
            yield one.call(f"2026-01-01T03:{minute:02}:00Z", seconds, f"{seconds} s")
    one = Teller("acct_minimum")
    yield one.started(
        "2026-01-01T00:00:00Z", "at least 20 s, free below 5 s, a fee for each call", included_minutes=0,
        increments="1/1", minimum_s=20, free_below_s=5, connection_fee_micros=3_333,
    )  # fmt: skip
    for minute, seconds in enumerate((0, 4, 4.1, 5, 19, 20, 21)):
        yield one.call(f"2026-01-01T04:{minute:02}:00Z", seconds, f"{seconds} s")


def policies() -> Iterator[Line]:
    """Which outcomes are billed: as by default, and the other way round; test calls."""
    other = {"answered": False, "voicemail": False, "no_answer": True, "busy": True, "test": True}
    for name, outcomes in (("default", {}), ("other", other)):
        one = Teller(f"acct_policy_{name}")
        yield one.started("2026-01-01T00:00:00Z", f"policy: {name}", outcomes=outcomes, connection_fee_micros=500)
        for minute, outcome in enumerate(("answered", "voicemail", "no_answer", "busy", "failed", "canceled")):
            at = f"2026-01-01T05:{minute:02}:00Z"
            yield one.call(at, 10, outcome, outcome=outcome)
            yield one.call(at, 10, f"test, {outcome}", outcome=outcome, test=True)
        yield one.call("2026-01-01T05:10:00Z", 9, "never answered", answered_at=None, tier="gold", direction="inbound")


def credit() -> Iterator[Line]:
    """Credit pays the largest whole number of seconds that it can."""
    one = Teller("acct_credit")
    yield one.started("2026-01-01T00:00:00Z", "credit alone", included_minutes=0, increments="1/1")
    for minute, micros in enumerate((1, 1_999, 2_000, 2_001, 119_999)):
        yield one.pack(
            f"2026-01-01T06:{minute:02}:00Z", f"{micros} micros", minutes=0, credit_micros=micros, price_micros=0
        )
        yield one.call(f"2026-01-01T06:{minute:02}:30Z", 7, "7 s are 14,000 micros")
    yield one.fact("wallet.adjusted", "2026-01-01T06:30:00Z", "a gift", minutes=3, credit_micros=5, reason="goodwill")
    yield one.fact("wallet.adjusted", "2026-01-01T06:31:00Z", "taken back", minutes=-3, credit_micros=-5, reason="oops")


def month_ends() -> Iterator[Line]:
    """31 January monthly is 28 February, 31 March, 30 April; a leap day yearly; weeks and days."""
    for name, at, interval, count in (
        ("month", "2026-01-31T12:00:00Z", "month", 1),
        ("quarter", "2025-11-30T23:59:59.999999Z", "month", 3),
        ("leap", "2024-02-29T08:00:00Z", "year", 1),
        ("weeks", "2026-01-05T00:00:00Z", "week", 2),
        ("days", "2026-01-18T06:00:00Z", "day", 10),
    ):
        one = Teller(f"acct_{name}", "ag_2")
        at_night = {"interval": interval, "interval_count": count, "timezone": "America/New_York"}
        yield one.started(at, f"{count} {interval}", **at_night, currency="JPY", price_micros=1_234_567)
        yield one.call("2026-01-10T12:00:00Z", 700, "before or after the anchor", cost_micros=7)


def daylight_saving() -> Iterator[Line]:
    """A change keeps the wall-clock hour; a skipped hour moves on, one that comes twice is the first."""
    for name, zone, at in (
        ("skipped", "Europe/Berlin", "2026-01-29T02:30:00+01:00"),
        ("twice", "Europe/Berlin", "2025-12-25T02:30:00+01:00"),
        ("new_york", "America/New_York", "2026-01-08T02:30:00-05:00"),
        ("lord_howe", "Australia/Lord_Howe", "2026-01-04T01:45:00+11:00"),
        ("apia", "Pacific/Apia", "2026-01-01T00:00:00+13:00"),
    ):
        one = Teller(f"acct_{name}")
        yield one.started(at, f"{zone}, across its changes", timezone=zone, due_days=30, grace_days=31)


def late_calls() -> Iterator[Line]:
    """A call of a closed period: drawn now, adjusted against what it belongs to, or written off."""
    for policy in ("next_period", "adjust", "write_off"):
        one = Teller(f"acct_late_{policy}")
        yield one.started(
            "2026-01-01T00:00:00Z", f"late calls: {policy}", interval="day", included_minutes=1, late_calls=policy,
            late_window_s=900, connection_fee_micros=7,
        )  # fmt: skip
    yield tick("2026-01-01T12:00:00Z")
    for policy in ("next_period", "adjust", "write_off"):
        one = Teller(f"acct_late_{policy}", count=1)
        yield one.call("2026-01-01T12:00:00Z", 30, "half of the first day's allowance")
    yield tick("2026-01-02T00:00:00Z", "the day is over, the window is not")
    for policy in ("next_period", "adjust", "write_off"):
        one = Teller(f"acct_late_{policy}")
        yield one.call("2026-01-01T23:59:59.999999Z", 12, "in its window: its own day", call_id=f"{policy}-window")
        yield one.call("2026-01-02T00:00:00Z", 12, "the very first of the next day", call_id=f"{policy}-next")
    yield tick("2026-01-02T00:15:00Z", "the window is over, too")
    for policy in ("next_period", "adjust", "write_off"):
        one = Teller(f"acct_late_{policy}")
        yield one.call("2026-01-01T13:00:00Z", 90, "late: what was left, then overage", call_id=f"{policy}-late")
        yield one.call("2026-01-01T14:00:00Z", 90, "late again", call_id=f"{policy}-later")
    yield tick("2026-01-03T00:00:00Z")
    yield tick("2026-01-03T00:20:00Z", "adjustments are part of this close")
    for policy in ("next_period", "adjust", "write_off"):
        one = Teller(f"acct_late_{policy}", count=50)
        end = {"subscription_id": "sub_1", "when": "period_end"}
        yield one.fact("subscription.canceled", "2026-01-03T00:30:00Z", "or the log would be full of its days", **end)


def caps() -> Iterator[Line]:
    """Caps on minutes and on spend, hard and soft; alerts of allowance and cap; a cap raised, a new period."""
    for name, cap in (
        ("hard", HARD),
        ("soft", {**HARD, "mode": "soft"}),
        ("spend", {"minutes": None, "spend_micros": 500_000, "mode": "hard", "alerts_percent": [100]}),
        ("none", {"minutes": None, "spend_micros": None, "mode": "hard", "alerts_percent": []}),
    ):
        one = Teller(f"acct_cap_{name}")
        yield one.started("2026-01-01T00:00:00Z", f"cap: {name}", cap=cap, included_minutes=3, interval="week")
        for minute in range(8):
            yield one.call(f"2026-01-03T01:{minute:02}:00Z", 60, f"minute {minute + 1}")
    one = Teller("acct_cap_hard", count=50)
    yield one.fact("cap.set", "2026-01-03T02:00:00Z", "raised: access is on again", cap={**HARD, "minutes": 20})
    yield one.fact("cap.set", "2026-01-03T02:01:00Z", "lowered: off", cap={**HARD, "minutes": 1})
    yield one.fact("cap.set", "2026-01-03T02:02:00Z", "gone: on", cap=None)


def named_caps() -> Iterator[Line]:
    """Caps with a name, each on another measure: floors and ceilings, of the period and of the day."""
    one = Teller("acct_caps")
    yield one.started(
        "2026-01-01T00:00:00Z", "two minutes", included_minutes=2, increments="1/1", timezone="America/Noronha"
    )
    yield one.pack("2026-01-03T01:30:00Z", "a wallet of three minutes", minutes=3)
    caps = [
        {"name": "minutes", "on": "minutes", "limit": 10, "per": "day", "alerts_percent": [50, 100]},
        {"name": "spend", "on": "spend", "limit": 200_000, "mode": "soft"},
        {"name": "cost", "on": "cost", "limit": 100_000, "mode": "soft", "alerts_percent": [100]},
        {"name": "margin", "on": "margin", "limit": 0, "mode": "soft", "alerts_percent": [100]},
        {"name": "wallet", "on": "wallet", "limit": 1, "mode": "soft", "alerts_percent": [50, 100]},
    ]
    yield one.fact("caps.set", "2026-01-03T01:31:00Z", "five at once", caps=caps)
    cost = {"cost_micros": 20_000, "cost_currency": "USD"}
    for minute in range(7):
        yield one.call(f"2026-01-03T01:4{minute}:00Z", 60, f"minute {minute + 1}", **cost)
    yield one.pack("2026-01-03T01:50:00Z", "the wallet is above its floor again", minutes=3)
    yield one.call("2026-01-03T01:55:00Z", 180, "and below it; ten minutes of the day: off", cost_micros=1)
    caps[0]["limit"] = 20
    yield one.fact("caps.set", "2026-01-03T01:56:00Z", "raised: on at once", caps=caps)
    caps[0]["limit"] = 9
    yield one.fact("caps.set", "2026-01-03T01:57:00Z", "lowered: off at once", caps=caps)
    yield tick("2026-01-03T02:00:00Z", "the next day at Fernando de Noronha: on")
    yield one.fact("caps.set", "2026-01-03T02:01:00Z", "none", caps=[])


def agency_access() -> Iterator[Line]:
    """An agency's cap turns all its accounts off, and on again."""
    for number in (1, 2):
        one = Teller(f"acct_of_many_{number}", agency="ag_many")
        yield one.started("2026-01-03T02:10:00Z", "one of an agency's accounts")
    for number, allowed, about in ((1, False, "off"), (2, True, "on"), (1, False, "older than the last: nothing")):
        own = {"fact_id": f"agency.access:{number}", "agency_id": "ag_many", "at": "2026-01-03T02:20:00Z"}
        yield {"type": "agency.access", **own, "sequence": number, "allowed": allowed, "about": about}
        yield one.call(f"2026-01-03T02:2{number}:00Z", 60, "rated all the same")


def blocked() -> Iterator[Line]:
    """Overage off: what a call uses beyond the pools is written off, and access is off until there is more."""
    one = Teller("acct_blocked")
    yield one.started("2026-01-01T00:00:00Z", "no overage", overage="blocked", included_minutes=1, interval="week")
    yield one.call("2026-01-03T03:00:00Z", 150, "a minute of the allowance, the rest written off")
    yield one.pack("2026-01-03T03:01:00Z", "a minute: access is on again", minutes=1)
    yield one.call("2026-01-03T03:10:00Z", 60, "and off")
    yield one.pack("2026-01-03T03:11:00Z", "credit that pays one second", minutes=0, credit_micros=2_000)
    yield one.call("2026-01-03T03:20:00Z", 90, "a second of credit, the rest written off")
    two = Teller("acct_blocked_at_once")
    yield two.started(
        "2026-01-01T00:00:00Z", "nothing included: off from the start", overage="blocked", included_minutes=0
    )


def cancellations() -> Iterator[Line]:
    """Ends now, or with the period; calls afterwards; a second subscription; terms of each of its own."""
    now = Teller("acct_ends_now")
    yield now.started("2026-01-01T00:00:00Z", "to be ended at once", late_window_s=3_600)
    yield now.call("2026-01-03T04:00:00Z", 100, "before the end")
    end = {"subscription_id": "sub_1"}
    yield now.fact("subscription.canceled", "2026-01-03T04:30:00Z", "now", **end, when="now")
    yield now.call("2026-01-03T04:20:00Z", 100, "before the end, told after it")
    yield now.call("2026-01-03T04:30:00Z", 100, "at the end: no subscription")
    yield now.started("2026-01-03T04:30:00Z", "again, on other terms", sub="sub_2", interval="week", included_minutes=1)
    yield now.call("2026-01-03T05:00:00Z", 100, "of the new one")
    period = Teller("acct_ends_with_period")
    yield period.started("2026-01-01T00:00:00Z", "to be ended with its period", interval="week", late_calls="write_off")
    yield period.fact("subscription.canceled", "2026-01-03T05:30:00Z", "period end", **end, when="period_end")
    yield period.fact("subscription.canceled", "2026-01-03T05:31:00Z", "a second time", **end, when="period_end")
    yield period.call("2026-01-03T05:40:00Z", 100, "until then as ever")
    gone = Teller("acct_gone")
    yield gone.started("2026-01-01T00:00:00Z", "to be ended before it is a day old", included_minutes=1)
    yield gone.fact("subscription.canceled", "2026-01-01T12:00:00Z", "now", **end, when="now")
    yield tick("2026-01-03T06:00:00Z", "it is closed")
    yield gone.call("2026-01-01T11:00:00Z", 90, "of a closed period, with none open: asked for at once")


def requests() -> Iterator[Line]:
    """The life of payment requests."""
    one = Teller("acct_asked")
    yield one.started("2026-01-01T00:00:00Z", "somebody to be asked")
    line = {
        "line_id": "recurring", "kind": "recurring", "description": "Plan starter", "quantity": 1, "unit": "period",
        "unit_price_micros": 49_000_000, "amount_micros": 49_000_000, "period_start": "2026-01-01T00:00:00Z",
        "period_end": "2026-02-01T00:00:00Z",
    }  # fmt: skip
    request = {
        "kind": "cycle", "currency": "USD", "subtotal_micros": 49_000_000, "rounding_micros": 0, "tax_micros": 0,
        "total_micros": 49_000_000, "due_at": "2026-01-15T01:00:00+01:00", "grace_ends_at": "2026-01-22T00:00:00Z",
        "subscription_id": "sub_1", "period_start": "2026-01-01T00:00:00Z", "period_end": "2026-02-01T00:00:00Z",
    }  # fmt: skip
    for name in ("paid", "failed", "canceled", "taken"):
        about = f"to be {name}"
        at = "2026-01-03T07:00:00Z"
        yield one.fact("payment_request.created", at, about, payment_request_id=name, lines=[line], **request)
    at = "2026-01-03T07:10:00Z"
    yield one.fact(
        "payment_request.created", at, "its id is taken", payment_request_id="taken", lines=[line], **request
    )
    euros = {**request, "currency": "EUR"}
    yield one.fact("payment_request.created", at, "other money", payment_request_id="euro", lines=[line], **euros)
    wrong = {**request, "total_micros": 1}
    yield one.fact("payment_request.created", at, "does not add up", payment_request_id="sum", lines=[line], **wrong)
    for status, name in (("paid", "paid"), ("failed", "failed"), ("canceled", "canceled"), ("paid", "failed")):
        reference = {"reference": "wire 4711", "note": None}
        yield one.fact("payment_request.settled", at, name, payment_request_id=name, status=status, **reference)
    yield one.fact("payment_request.settled", at, "final already", payment_request_id="paid", status="canceled")
    yield one.fact("payment_request.settled", at, "nobody asked", payment_request_id="nobody", status="paid")


def asked(teller: Teller, name: str, at: str, due: str, grace: str, about: str, **fields: Any) -> Fact:
    """A payment request of one line."""
    line = {
        "line_id": "recurring", "kind": "recurring", "description": "Plan starter", "quantity": 1, "unit": "period",
        "unit_price_micros": 49_000_000, "amount_micros": 49_000_000, "period_start": None, "period_end": None,
    }  # fmt: skip
    request = {
        "kind": "cycle", "currency": "USD", "subtotal_micros": 49_000_000, "rounding_micros": 0, "tax_micros": 0,
        "total_micros": 49_000_000, "due_at": due, "grace_ends_at": grace, "subscription_id": "sub_1",
    }  # fmt: skip
    return teller.fact(
        "payment_request.created", at, about, payment_request_id=name, lines=[line], **{**request, **fields}
    )


def unpaid() -> Iterator[Line]:
    """What is not paid becomes overdue, pauses, blocks; what is corrected is another document."""
    one, two, three = Teller("acct_unpaid"), Teller("acct_never_pays"), Teller("acct_credited")
    first, due, grace = "2027-02-01T08:00:00Z", "2027-02-05T00:00:00Z", "2027-02-12T00:00:00Z"
    for teller, zone in ((one, "America/New_York"), (two, "UTC"), (three, "UTC")):
        yield teller.started(first, "to be asked", timezone=zone, included_minutes=1, overage="blocked")
    yield asked(one, "cycle_1", first, due, grace, "due in three days")
    yield asked(one, "usage_1", first, due, grace, "of another kind: pauses nothing", kind="usage")
    yield asked(one, "cycle_2", first, "2027-02-07T00:00:00Z", "2027-02-14T00:00:00Z", "due two days later")
    yield asked(two, "cycle_1", first, due, grace, "never paid", gateway="stripe")
    for name in ("whole", "part", "gone"):
        yield asked(three, name, first, due, grace, f"credit notes: {name}")
    # As the second fold will give them: what it says again changes nothing.
    for teller, name, last in ((one, "cycle_1", 1), (one, "usage_1", 2), (two, "cycle_1", 4)):
        number = f"2027-{last:06d}"
        given = {"payment_request_id": name, "number": number, "fact_id": f"number:{number}"}
        yield {**teller.fact("payment_request.numbered", first, "its number"), **given}
    again = {"payment_request_id": "cycle_1", "number": "2027-000009"}
    yield one.fact("payment_request.numbered", first, "another number", **again)
    sent = {"payment_request_id": "cycle_1", "gateway": "stripe", "external_id": "in_1", "actor": "billing"}
    yield two.fact("payment_request.sent", first, "a gateway has it", tax_micros=4_900_000, **sent)
    yield two.fact("payment_request.sent", first, "as another one", **{**sent, "external_id": "in_2"})
    yield one.call("2027-02-01T09:00:00Z", 60, "the minute is used up: pools are empty")
    at = "2027-02-03T00:00:00Z"
    noted = {"kind": "credit_note", "currency": "USD", "actor": "jane", "description": "Line was down"}
    for about, name, amount, fields in (
        ("of a part of it", "part", 9_000_000, {}),
        ("of all that is left", "whole", 49_000_000, {"tax_micros": 1_000_000}),
        ("of more than is left", "part", 41_000_000, {}),
        ("of what is canceled", "whole", 1, {}),
        ("of a credit note", "note: of a part of it", 1, {}),
        ("of nothing that is known", "nobody", 1, {}),
        ("in euros", "part", 1, {"currency": "EUR"}),
        ("a refund of what is not paid", "part", 1, {"kind": "refund"}),
        ("more tax than it is", "part", 1, {"tax_micros": 2}),
    ):
        document = {"payment_request_id": f"note: {about}", "corrects": name, "amount_micros": amount}
        yield three.fact("payment_request.corrected", at, about, **document, **{**noted, **fields})
    yield three.fact("one_time.charged", at, "asked once", amount_micros=25_000_000, currency="USD", description="Help")
    yield three.fact("one_time.charged", at, "in euros", amount_micros=1, currency="EUR", description="Help")
    yield tick(due, "the first are due: past due, and still empty")
    yield tick("2027-02-07T00:00:00Z", "the last of them")
    paid = {"status": "paid", "actor": "jane", "reference": "wire 4711"}
    for name, about in (("cycle_1", "one is left: still past due"), ("cycle_2", "paid, still empty")):
        yield one.fact("payment_request.settled", "2027-02-08T00:00:00Z", about, payment_request_id=name, **paid)
    yield three.fact(
        "payment_request.settled", at, "nobody tries any more", payment_request_id="part", status="failed", actor="s"
    )
    back = {"corrects": "cycle_1", "kind": "refund", "currency": "USD", "actor": "jane"}
    taken = {"payment_request_id": "cycle_2", "amount_micros": 1}
    yield one.fact("payment_request.corrected", "2027-02-09T00:00:00Z", "an id that is taken", **taken, **back)
    for about, amount in (("half of it", 24_000_000), ("the rest", 25_000_000), ("more than was paid", 1)):
        document = {"payment_request_id": f"refund: {about}", "amount_micros": amount}
        yield one.fact("payment_request.corrected", "2027-02-09T00:00:00Z", about, **document, **back)
    yield from disputed(one)
    yield one.pack("2027-02-09T01:00:00Z", "and on again")
    yield two.fact("subscription.paused", "2027-02-09T02:00:00Z", "underneath", subscription_id="sub_1")
    yield tick(grace, "blocked")
    yield two.fact("subscription.resumed", "2027-02-13T00:00:00Z", "blocked all the same", subscription_id="sub_1")
    yield three.fact(
        "payment_request.settled", "2027-02-13T00:00:00Z", "canceled", payment_request_id="part", status="canceled"
    )


def disputed(one: Teller) -> Iterator[Line]:
    """What was paid with cycle_2 is disputed: in part and in vain, in part and lost, and more than is left."""
    at = "2027-02-09T00:30:00Z"
    ours = {"payment_request_id": "cycle_2", "currency": "USD", "actor": "stripe", "reference": "in_2"}
    for about, dispute, status, amount, fields in (
        ("opened", "dp_1", "opened", 10_000_000, {"note": "Disputed: fraudulent"}),
        ("opened again", "dp_1", "opened", 10_000_000, {}),
        ("won", "dp_1", "won", 10_000_000, {}),
        ("lost after all", "dp_1", "lost", 10_000_000, {}),
        ("its end comes first", "dp_2", "lost", 40_000_000, {"note": "Dispute lost: fraudulent"}),
        ("its beginning later", "dp_2", "opened", 40_000_000, {}),
        ("opened once more", "dp_3", "opened", 49_000_000, {}),
        ("more than is left", "dp_3", "lost", 49_000_000, {}),
        ("another request's", "dp_3", "won", 1, {"payment_request_id": "usage_1"}),
        ("of a document", "dp_4", "opened", 1, {"payment_request_id": "dispute:dp_1"}),
        ("of nothing that is known", "dp_4", "opened", 1, {"payment_request_id": "nobody"}),
        ("in euros", "dp_4", "opened", 1, {"currency": "EUR"}),
        ("of what is not paid", "dp_5", "opened", 1, {"payment_request_id": "usage_1"}),
    ):
        told = {"dispute_id": dispute, "status": status, "amount_micros": amount}
        yield one.fact("payment_request.disputed", at, about, **told, **{**ours, **fields})


def duplicates() -> Iterator[Line]:
    """The same call again, as it was and with other times; the same id in another account; a fact told twice."""
    one, two = Teller("acct_again_1"), Teller("acct_again_2")
    for teller in (one, two):
        yield teller.started("2026-01-01T00:00:00Z", "calls come again", price_micros=0)
    first = one.call("2026-01-03T07:30:00Z", 60, "for the first time", call_id="c1")
    yield first
    yield {**first, "about": "the very same"}
    yield one.call("2026-01-03T07:40:00Z", 90, "with other times", call_id="c1")
    yield two.call("2026-01-03T07:30:00Z", 60, "of another account: rated", call_id="c1")
    applied = two.pack("2026-01-03T07:50:00Z", "once")
    yield applied
    yield {**applied, "about": "a second time: nothing"}
    yield {"type": "rules.set", "at": "2026-01-03T08:00:00Z", "about": "a short memory", "duplicate_retention_days": 10}
    yield tick("2026-01-13T07:00:00Z", "ten days later, less a bit")
    yield one.call("2026-01-13T07:00:00Z", 60, "still known", call_id="c1")
    yield tick("2026-01-14T07:00:00Z", "longer than it is remembered")
    yield one.call("2026-01-14T07:00:00Z", 60, "forgotten, as the rules want it", call_id="c1")


def refusals() -> Iterator[Line]:
    """One of each that the rules refuse; the next record is rated as if nothing had been."""
    one = Teller("acct_refused")
    early = one.call("2026-01-14T08:00:00Z", 60, "nobody knows the account yet", call_id="early")
    yield early
    yield one.pack("2026-01-14T08:00:00Z", "no subscription to put it on")
    yield one.started("2026-01-01T00:00:00Z", "now it is known", packs=["boost-60"], currency="EUR")
    yield {**early, "about": "sent again: rated"}
    yield one.started("2026-01-10T00:00:00Z", "a second one while the first is active", sub="sub_2", currency="EUR")
    yield one.started("2026-01-10T00:00:00Z", "in other money", sub="sub_2")
    yield {**one.call("2026-01-14T08:10:00Z", 60, "of another agency"), "agency_id": "ag_2"}
    yield one.call("2025-12-31T08:00:00Z", 60, "before the subscription")
    yield one.call("2026-01-14T08:00:00.000001Z", 60, "an hour and a bit after the clock")
    yield one.call("2026-01-14T07:59:00Z", -1, "ends before it is answered")
    yield {**one.call("2026-01-14T07:59:00Z", 1, "answered before it starts"), "started_at": "2026-01-14T07:59:00Z"}
    yield one.call("2026-01-14T07:00:00Z", 86_400.000001, "longer than a day")
    yield one.call("2026-01-14T07:00:00Z", 86_400, "a day: the longest")
    yield one.pack("2026-01-14T08:00:00Z", "a pack that the terms do not have", pack="boost-999", currency="EUR")
    yield one.pack("2026-01-14T08:00:00Z", "in dollars for an account in euros")
    yield one.pack("2026-01-14T08:00:00Z", "beyond all bounds", currency="EUR", minutes=2**53)
    yield one.fact("wallet.adjusted", "2026-01-14T08:00:00Z", "would be negative", minutes=-1, reason="no")
    other = {"subscription_id": "sub_9", "when": "now"}
    yield one.fact("subscription.canceled", "2026-01-14T08:00:00Z", "one that there is not", **other)


def lives() -> Iterator[Line]:
    """Trials, changes of terms, pauses, cancellations with a credit."""
    sub = {"subscription_id": "sub_1"}
    week = {"interval": "week", "price_micros": 70_000_000, "included_minutes": 7, "cancel_credit": "unused"}
    trial = Teller("acct_trial")
    yield trial.started(
        "2026-01-13T12:00:00Z", "a day for nothing", **week, trial_days=1, trial_included_minutes=2, timezone="UTC"
    )
    yield trial.call("2026-01-14T06:00:00Z", 150, "more than the trial has: written off, access is off")
    yield trial.fact("subscription.changed", "2026-01-14T07:00:00Z", "not in a trial", **sub, when="now", terms={
        **TERMS, **week})  # fmt: skip
    yield trial.fact("subscription.paused", "2026-01-14T07:30:00Z", "paused in it", **sub)
    yield trial.fact("subscription.resumed", "2026-01-14T07:31:00Z", "a trial again", **sub)
    monthly = {**TERMS, **week, "plan": "other", "interval": "month"}
    yield trial.fact(
        "subscription.changed", "2026-01-14T07:40:00Z", "from its end on", **sub, when="next_period", terms=monthly
    )
    change = Teller("acct_change")
    yield change.started("2026-01-08T00:00:00Z", "a week of 70", **week)
    yield change.call("2026-01-14T06:10:00Z", 120, "two of seven minutes")
    terms = {**TERMS, **week, "plan": "growth", "price_micros": 140_000_000, "included_minutes": 70}
    yield change.fact(
        "subscription.changed", "2026-01-14T12:00:00Z", "half a day is left", **sub, when="now", terms=terms
    )
    yield change.call("2026-01-14T07:10:00Z", 120, "of the part before: five minutes are left there")
    lower = {**terms, "plan": "starter", "price_micros": 1}
    yield change.fact(
        "subscription.changed", "2026-01-14T12:00:00Z", "at the same instant", **sub, when="now", terms=lower
    )
    yield change.fact(
        "subscription.changed", "2026-01-14T12:00:01Z", "less: credit is left", **sub, when="now", terms=lower
    )
    other = {**terms, "interval": "month"}
    yield change.fact("subscription.changed", "2026-01-14T13:00:00Z", "other periods", **sub, when="now", terms=other)
    euro = {**terms, "currency": "EUR"}
    yield change.fact("subscription.changed", "2026-01-14T13:00:00Z", "euros", **sub, when="next_period", terms=euro)
    yield change.fact("subscription.changed", "2026-01-14T13:00:00Z", "later", **sub, when="next_period", terms=other)
    pause = Teller("acct_pause")
    yield pause.started("2026-01-10T00:00:00Z", "days of 70", **{**week, "interval": "day"})
    yield pause.fact("subscription.resumed", "2026-01-14T06:00:00Z", "what is not paused", **sub)
    yield pause.fact("subscription.paused", "2026-01-14T06:00:00Z", "the day is paid", **sub)
    yield pause.fact("subscription.paused", "2026-01-14T06:00:01Z", "a second time", **sub)
    yield pause.fact("subscription.resumed", "2026-01-15T18:00:00Z", "a quarter of a day that was not paid", **sub)
    yield pause.fact("subscription.canceled", "2026-01-16T12:00:00Z", "half of a day comes back", **sub, when="now")
    yield pause.started("2026-01-17T00:00:00Z", "what came back is used", sub="sub_2", **week)


def numbers() -> Iterator[Line]:
    """Rented and released in the midst of periods, twice, too early, and through a cancellation."""
    one = Teller("acct_numbers")
    yield one.started("2026-01-08T15:00:00Z", "weeks by the clock of Berlin", interval="week", timezone="Europe/Berlin")
    for digit, price in enumerate((7_000_000, 7_000_000, 5)):
        yield one.fact(
            "number.rented", f"2026-01-14T0{digit}:00:00Z", "for a day and a bit", number=f"+4930{digit}",
            price_micros=price, label=None if digit else "front desk",
        )  # fmt: skip
    yield one.fact("number.rented", "2026-01-14T05:00:00Z", "once more", number="+49300", price_micros=1)
    yield one.fact("number.rented", "2026-01-14T05:00:00Z", "euros", number="+49309", price_micros=1, currency="EUR")
    yield one.fact("number.rented", "2026-01-01T05:00:00Z", "before all", number="+49309", price_micros=1)
    yield one.fact("number.released", "2026-01-14T05:00:00Z", "one that is not there", number="+49308")
    yield one.fact("number.released", "2026-01-14T05:00:00Z", "on its first day", number="+49301")
    yield tick("2026-01-16T00:00:00Z", "two are charged in advance for the second week")
    yield one.fact("number.released", "2026-01-18T23:30:00Z", "on the 19th in Berlin", number="+49300")
    yield tick("2026-01-19T00:00:00Z")
    end = {"subscription_id": "sub_1", "when": "now"}
    yield one.fact("subscription.canceled", "2026-01-19T10:00:00Z", "numbers are settled", **end)
    yield one.fact("number.rented", "2026-01-19T11:00:00Z", "of nothing", number="+49307", price_micros=1)
    yield one.started("2026-01-19T12:00:00Z", "the number that is left", sub="sub_2", interval="month")


def watched() -> Iterator[Line]:
    """Stuck calls, hours that bill more than usual, and a period that will go beyond its pools."""
    one = Teller("acct_watched")
    yield one.started(
        "2027-01-10T07:00:00Z", "watched", included_minutes=60, max_call_s=3_601, unusual_usage=True,
        forecast_alert=True, allowance_alerts_percent=[],
    )  # fmt: skip
    for hour in range(24):
        at = datetime(2027, 1, 11, 6, 30, tzinfo=UTC) + timedelta(hours=hour)
        yield one.call(stamp(at), 60, "an hour as usual")
    yield one.call("2027-01-12T12:00:00Z", 3_601, "not stuck yet; more than usual")
    yield one.call("2027-01-12T12:00:00Z", 3_602, "stuck: cut; the hour was told already")
    yield one.call("2027-01-11T06:40:00Z", 3_700, "an hour before: nothing to compare it with")
    yield one.call("2027-01-09T06:40:00Z", 3_700, "before the subscription")


def topped_up() -> Iterator[Line]:
    """Packs that an account buys by itself, as often in a month as it said."""
    one = Teller("acct_topped_up")
    yield one.started("2027-01-10T07:00:00Z", "topped up", included_minutes=1, packs=["boost-60"])
    top_up = {"pack": "boost-60", "minutes": 2, "price_micros": 9_000_000, "currency": "USD", "below_s": 60,
              "most_per_month": 2}  # fmt: skip
    yield one.fact(
        "top_up.set", "2027-01-10T08:00:00Z", "of a pack that may not be bought", top_up={**top_up, "pack": "x"}
    )
    yield one.fact("top_up.set", "2027-01-10T08:00:00Z", "in other money", top_up={**top_up, "currency": "EUR"})
    no_credit = {**top_up, "below_s": None, "below_micros": 1}
    yield one.fact("top_up.set", "2027-01-10T08:00:00Z", "nothing to fill the credit", top_up=no_credit)
    yield one.fact("top_up.set", "2027-01-10T08:00:00Z", "below a minute", top_up=top_up)
    yield one.call("2027-01-12T08:00:00Z", 60, "the allowance is enough")
    yield one.call("2027-01-12T09:00:00Z", 60, "overage, and the first pack")
    yield one.call("2027-01-12T10:00:00Z", 60, "a minute is left, which is not below one")
    yield one.call("2027-01-12T11:00:00Z", 6, "54 s: the second pack")
    yield one.call("2027-01-12T12:00:00Z", 180, "no third one")
    yield one.fact("top_up.set", "2027-01-12T13:00:00Z", "off", top_up=None)
    yield one.call("2027-01-12T14:00:00Z", 60, "overage")


def wholesale() -> Iterator[Line]:
    """What calls cost an agency: by its card, as reported, by what was in force when they ended."""

    def set_to(number: int, at: str, about: str, **terms: Any) -> Fact:
        own = {"fact_id": f"wholesale-{number}", "agency_id": "ag_sold", "at": at, "about": about}
        return {"type": "wholesale.set", **own, "terms": {"currency": "USD", **terms}}

    one = Teller("acct_sold", "ag_sold")
    yield one.started("2026-01-14T00:00:00Z", "retail at 0.12", included_minutes=1)
    yield one.call("2026-01-14T01:00:00Z", 61, "before there is wholesale: as reported", cost_micros=5_000)
    yield set_to(1, "2026-01-14T02:00:00Z", "by card", rate_card=LANDLINES.card_id, connection_fee_micros=100)
    yield one.call("2026-01-14T01:30:00Z", 61, "ended before it was in force", to_number="+4930123")
    yield one.call("2026-01-14T02:00:00Z", 61, "61 s at 61 and a fee", to_number="+4930123", cost_micros=5_000)
    yield one.call("2026-01-14T02:30:00Z", 61, "no wholesale rate: not rated", to_number="+33123")
    yield set_to(1, "2026-01-14T02:00:00Z", "once more: nothing", rate_micros_per_minute=0)
    yield set_to(2, "2026-01-14T03:00:00Z", "as reported, else 0.06", cost_policy="reported",
                 rate_micros_per_minute=60_000, increments="60/60", rate_card=LANDLINES.card_id)  # fmt: skip
    yield one.call("2026-01-14T03:30:00Z", 61, "reported", to_number="+33123", cost_micros=5_000)
    yield one.call("2026-01-14T03:40:00Z", 61, "not reported: two minutes", to_number="+33123")
    yield one.call("2026-01-14T03:50:00Z", 0, "not billed: costs nothing", outcome="busy")
    yield set_to(3, "2026-01-14T04:00:00Z", "euros", currency="EUR", rate_micros_per_minute=1)
    yield set_to(4, "2026-01-14T04:00:00Z", "no such card", rate_card="0" * 32)
    yield set_to(5, "2026-01-14T04:00:00Z", "no price", rate_micros_per_minute=None)


def rate_cards() -> Iterator[Line]:
    """Prices by destination, direction and tier; `tests.golden.cards` has the cards."""
    card: Fact = {"rate_card": RETAIL.card_id, "included_minutes": 2, "increments": "30/30"}
    one = Teller("acct_card")
    yield one.started("2026-01-14T00:00:00Z", "a card, and a rate for what is not on it", "sub_card", **card)
    for hour, (number, about, fields) in enumerate(
        (
            ("+4989123456", "outbound to 49: a row for outbound, of the allowance; a fee is money", {}),
            ("+4989123456", "straddles the allowance, at 0.12 a minute", {}),
            ("+4989123456", "outbound and gold: the direction goes before the tier", {"tier": "gold"}),
            ("+4989123456", "inbound and gold: the row for gold", {"tier": "gold", "direction": "inbound"}),
            ("+4989123456", "inbound: neither, so any number", {"direction": "inbound"}),
            ("+493012345", "the longest prefix, 59 a minute, no fee", {}),
            ("+493012345", "by the web and gold: free, but overage", {"direction": "web", "tier": "gold"}),
            ("+19005550100", "a premium number draws on no pool", {}),
            ("14155550100", "without a plus", {}),
            (None, "no number: the row for any", {}),
            ("anonymous", "no digits: the row for any", {}),
        )
    ):
        yield one.call(f"2026-01-14T{hour // 2:02}:{hour % 2 * 30 + 10}:00Z", 95.5, about, to_number=number, **fields)
        if hour == 5:
            yield one.pack("2026-01-14T02:45:00Z", "minutes and credit", minutes=2, credit_micros=40_000)
    two = Teller("acct_card_only")
    only: Fact = {"rate_card": LANDLINES.card_id, "overage_micros_per_minute": None, "included_minutes": 0}
    yield two.started("2026-01-14T00:00:00Z", "overage by the card only", "sub_only", **only)
    yield two.call("2026-01-14T01:30:00Z", 61, "on the card", to_number="+4930123")
    yield two.call("2026-01-14T02:30:00Z", 61, "not on the card: not rated", to_number="+33123")
    yield two.call(
        "2026-01-14T03:30:00Z", 0, "bills nothing, so it needs no rate", to_number="+33123", answered_at=None
    )
    three = Teller("acct_card_blocked")
    blocked: Fact = {**only, "overage": "blocked", "late_calls": "write_off"}
    yield three.started("2026-01-14T00:00:00Z", "blocked, prices by the card", "sub_blocked", **blocked)
    yield three.pack("2026-01-14T01:00:00Z", "credit pays a second of the cheapest row", minutes=0, credit_micros=2)
    yield three.call("2026-01-14T02:00:00Z", 60, "61 a minute: 2 micros pay 2 s", to_number="+4930123")
    yield three.call("2026-01-14T03:00:00Z", 60, "not on the card: written off", to_number="+33123")
    four = Teller("acct_card_refused")
    yield four.started("2026-01-14T00:00:00Z", "no such card", rate_card="0" * 32)
    yield four.started("2026-01-14T00:00:00Z", "no card's id", rate_card="retail")
    yield four.started("2026-01-14T00:00:00Z", "a card in dollars", currency="EUR", **card)


def corrected() -> Iterator[Line]:
    """Calls that were others, or none: in an open period, and in a closed one."""
    one = Teller("acct_corrected")
    yield one.started("2027-01-10T07:00:00Z", "days of a minute", interval="day", included_minutes=1, grace_days=0)
    first = one.call("2027-01-10T08:00:00Z", 90, "a minute of the allowance, 30 s of overage", cost_micros=50_000)
    last = one.call("2027-01-24T08:00:00Z", 90, "in the open period, or nearly")

    def again(call: Fact, about: str, **fields: Any) -> Fact:
        content = {name: value for name, value in call.items() if name not in ("type", "call_id", "about")}
        fact = one.fact("call.corrected", "2027-01-25T00:00:00Z", about)
        return {**content, **fact, "corrects": call["call_id"], **fields}

    def gone(call: Fact, about: str) -> Fact:
        return one.fact("call.voided", "2027-01-25T01:00:00Z", about, call_id=call["call_id"])

    for call in (first, last):
        yield call
        yield again(call, "it failed", outcome="failed")
        yield again(call, "it did not")
        yield gone(call, "it never was")
        yield gone(call, "twice")
        yield again(call, "it was, and shorter", answered_at=call["ended_at"])
        yield again(call, "ends before it began", started_at="2027-01-29T00:00:00Z")
        yield again(call, "before there was a subscription", ended_at="2027-01-09T00:00:00Z",
                    started_at="2027-01-09T00:00:00Z", answered_at=None)  # fmt: skip
    yield one.fact("call.voided", "2027-01-25T02:00:00Z", "of no call", call_id="never")


def malformed() -> Iterator[Line]:
    """What is no fact at all."""
    yield b""
    yield b"not json"
    yield b"[1, 2]"
    yield b'{"type": "tick", "at": "2026-01-15T00:00:00Z"'
    yield b'{"account_id": "acct_refused"}'
    yield b'{"type": "call.dreamt", "account_id": "acct_refused"}'
    yield b'{"type": "tick", "at": "\xff"}'
    yield b'{"type": "call.completed", "call_id": "\\ud800"}'
    one = Teller("acct_refused", count=90)
    for about, fields in (
        ("no direction", {"direction": None}),
        ("a number as text", {"cost_micros": "5"}),
        ("beyond 2^53", {"cost_micros": 2**53 + 1}),
        ("a fraction", {"cost_micros": 0.5}),
        ("an id too long", {"call_id": "x" * 129}),
        ("an id too long in bytes", {"call_id": "é" * 65}),
        ("no zone", {"ended_at": "2026-01-14T07:00:00"}),
        ("seven digits", {"ended_at": "2026-01-14T07:00:00.1234567Z"}),
        ("after 2100", {"ended_at": "2100-01-01T00:00:00Z"}),
    ):
        yield {**one.call("2026-01-14T07:30:00Z", 60, about), **fields}
    yield one.started("2026-01-14T00:00:00Z", "no such zone", timezone="Mars/Olympus")
    yield one.started("2026-01-14T00:00:00Z", "no rate", overage_micros_per_minute=None)
    yield b'{"type": "tick", "about": "too large", "x": "' + b"x" * 262_144 + b'"}'
    yield one.call("2026-01-14T07:31:00Z", 60, "and the next one is rated")
