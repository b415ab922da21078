"""What came out of the pipeline, added up as it comes: all that the view shows, and the proof needs."""

from __future__ import annotations

import re
from collections import Counter, defaultdict, deque
from datetime import datetime
from typing import Any

from demo.market import DEBTORS, HERO
from demo.planted import Name
from rating.request import request_for
from streams.topics import (
    ACCESS_EVENTS,
    ALERTS,
    BILLING_EVENTS,
    DUPLICATES,
    PAYMENT_REQUESTS,
    RATED_CALLS,
)
from streams.units import minor_digits

# Why access is off where something is not paid.
UNPAID = frozenset(("past_due", "blocked"))
FOLLOWED = (HERO, *DEBTORS)
TAG = re.compile(rb"bad-\d{5}")
# Lines of requests that ask for rated calls.
USAGE_KINDS = frozenset(("overage", "connection_fee", "call_rounding", "adjustment"))
SUMS = ("billed_s", "allowance_s", "wallet_s", "overage_s", "written_off_s", "amount_micros")


class Observed:
    """What is known so far.

    Attributes:
        rated: how often each (account, call id) was rated, corrections not counted.
        late: calls that were marked late.
        billed: seconds of each call, after corrections.
        corrections: how often each call was given back (``refund``) or rated anew (``rerated``): (call, which).
        corrected: calls, seconds and micros of those: (which, currency).
        amounts: rated micros by currency.
        usage: per account: calls, seconds, amount in micros, cost and margin where known.
        agencies: the same per agency.
        destinations: the same per prefix of a rate card, of calls that one prices.
        closed: micros of rated calls that closed periods call for, by currency.
        unasked: micros of it below half of the smallest payable unit, by currency: not asked for.
        requests: the latest state of each payment request, by account and id.
        alerts: the newest (a few); ``alerts_told`` has how many there were of each type and level, and
            ``agency_alerts`` of each cap of an agency and level.
        capped: by account: off, on, off, ... as it was told because of its agency's caps.
        status_changes: how often subscriptions became something else: (account, when, status).
        access_changes: the same of access by payment: (account, when, reason; ``ok`` where calls are allowed).
        stories: what happened to the accounts that are followed; ``agency_story`` what agencies' caps did.
    """

    def __init__(self) -> None:
        """Nothing yet."""
        self.rated: Counter[Name] = Counter()
        self.late: set[Name] = set()
        self.billed: Counter[Name] = Counter()
        self.corrections: Counter[tuple[Name, str]] = Counter()
        self.corrected: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
        self.duplicates: Counter[Name] = Counter()
        self.dead_letters: dict[str, str] = {}
        self.dead_letters_count = 0
        self.amounts: Counter[str] = Counter()
        self.usage: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.agencies: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.destinations: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.currencies: dict[str, str] = {}
        self.closed: Counter[str] = Counter()
        self.unasked: Counter[str] = Counter()
        self.requests: dict[tuple[str, str], dict[str, Any]] = {}
        self.wholesale: Counter[str] = Counter()
        self.top_ups = 0
        self.alerts: deque[dict[str, Any]] = deque(maxlen=5)
        self.alerts_told: Counter[tuple[str, int]] = Counter()
        self.agency_alerts: Counter[tuple[str, int]] = Counter()
        self.capped: defaultdict[str, list[bool]] = defaultdict(list)
        self.status_changes: Counter[tuple[str, datetime, str]] = Counter()
        self.access_changes: Counter[tuple[str, datetime, str]] = Counter()
        self.stories: dict[str, list[tuple[str, str, str, dict[str, Any]]]] = {name: [] for name in FOLLOWED}
        self.agency_story: list[tuple[str, str, dict[str, Any]]] = []
        self.hero = {"allowance_left_s": 0, "wallet_left_s": 0}
        self._take = {
            RATED_CALLS: self._rated,
            ALERTS: self._alert,
            ACCESS_EVENTS: self._access,
            BILLING_EVENTS: self._billing,
            DUPLICATES: self._duplicate,
            PAYMENT_REQUESTS: self._request,
        }

    def take(self, topic: str, value: dict[str, Any]) -> None:
        """Take in a record of a topic, but for dead letters."""
        self._take[topic](value)

    def _rated(self, call: dict[str, Any]) -> None:
        name = (call["account_id"], call["call_id"])
        correction = call.get("correction")
        if correction:
            self.corrections[name, correction] += 1
            sums = self.corrected[correction, call["currency"]]
            for field, value in (("calls", 1), *((field, call[field]) for field in ("billed_s", "amount_micros"))):
                sums[field] += value
        else:
            self.rated[name] += 1
        if call["late"]:
            self.late.add(name)
        self.billed[name] += call["billed_s"]
        self.amounts[call["currency"]] += call["amount_micros"]
        self.currencies[call["account_id"]] = self.currencies[call["agency_id"]] = call["currency"]
        prefix = call.get("rate_prefix")
        counted = [self.usage[call["account_id"]], self.agencies[call["agency_id"]]]
        for usage in counted if prefix is None else [*counted, self.destinations[prefix]]:
            usage["calls"] += -1 if correction == "refund" else 1
            for field in SUMS:
                usage[field] += call[field]
            if call["margin_micros"] is not None:
                usage["cost_micros"] += call["cost_micros"]
                usage["margin_micros"] += call["margin_micros"]
        if call["account_id"] == HERO:
            before, self.hero = self.hero, call
            self._tell_pools(before, call)

    def _tell_pools(self, before: dict[str, Any], call: dict[str, Any]) -> None:
        for pool in ("allowance_left_s", "wallet_left_s"):
            if before[pool] and not call[pool]:
                self._tell(call, call["ended_at"], "pool", pool)

    def _alert(self, alert: dict[str, Any]) -> None:
        self.alerts.append(alert)
        self.alerts_told[alert["type"], alert["level"]] += 1
        if alert["type"] == "agency_cap":
            self.agency_alerts[alert["cap"], alert["level"]] += 1
            self.agency_story.append((alert["at"], "alert", alert))
        self._tell(alert, alert["at"], "alert", alert["type"])

    def _access(self, event: dict[str, Any]) -> None:
        told = self.capped[event["account_id"]]
        off = "agency_cap_reached" in event["reasons"]
        if off != bool(told and told[-1]):
            told.append(off)
            self.agency_story.append((event["at"], "off" if off else "on", event))
        if event["account_id"] in DEBTORS or UNPAID.intersection(event["reasons"]):
            self.access_changes[event["account_id"], datetime.fromisoformat(event["at"]), event["reason"]] += 1
        self._tell(event, event["at"], "access", event["reason"])

    def _billing(self, event: dict[str, Any]) -> None:
        if event["type"] == "agency.cycle_closed":
            self.wholesale[event["currency"]] += event["usage_micros"]
        if not event["account_id"]:
            return
        asked = sum(one["amount_micros"] for one in event.get("lines", ()) if one["kind"] in USAGE_KINDS)
        if event["type"] == "cycle.closed":
            asked += event["usage_micros"] + event["adjustments_micros"]
        elif event["type"] == "usage.adjusted" and event["at_once"]:
            asked += event["amount_micros"]
        if asked:
            self.closed[event["currency"]] += asked
            if request_for(event, minor_digits) is None:
                self.unasked[event["currency"]] += asked
        self.top_ups += event.get("automatic", False)
        if event["type"] == "subscription.status_changed":
            if event["previous"] is not None:
                self.status_changes[event["account_id"], datetime.fromisoformat(event["at"]), event["status"]] += 1
                self._tell(event, event["at"], "status", event["status"])
            return
        self._tell(event, event["at"], "billing", event["type"])

    def lines(self, *kinds: str) -> dict[str, int]:
        """What payment requests ask accounts for in lines of these kinds, in micros by currency."""
        found: Counter[str] = Counter()
        for (account_id, _), request in self.requests.items():
            for one in request["lines"] if account_id else ():
                if one["kind"] in kinds:
                    found[request["currency"]] += one["amount_micros"]
        return dict(found)

    def done(self) -> int:
        """How many reports of calls were dealt with."""
        return self.rated.total() + self.duplicates.total() + self.dead_letters_count

    def _duplicate(self, duplicate: dict[str, Any]) -> None:
        self.duplicates[duplicate["account_id"], duplicate["call_id"]] += 1

    def dead_letter(self, reason: str, value: bytes) -> None:
        """Take in a record that was refused."""
        self.dead_letters_count += 1
        found = TAG.search(value)
        self.dead_letters[found[0].decode() if found else f"untagged-{self.dead_letters_count}"] = reason

    def _request(self, request: dict[str, Any]) -> None:
        name = (request["account_id"], request["payment_request_id"])
        before, self.requests[name] = self.requests.get(name), request
        if before is None or before["status"] != request["status"]:
            self._tell(request, request["updated_at"], "request", request["status"])

    def _tell(self, record: dict[str, Any], at: str, kind: str, what: str) -> None:
        """Add a record to the story of its account, if that is followed."""
        if record["account_id"] in self.stories:
            self.stories[record["account_id"]].append((at, kind, what, record))
